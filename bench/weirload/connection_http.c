/*
 * Replies of HTTP: each has to be 200 and well-formed. The body of a GET has to be that of the
 * first (with --body any it is not looked at), of a POST what was sent.
 */
#include "bench/weirload/connection_parts.h"

#include <stdarg.h>
#include <stdio.h>

#include "bench/weirload/http_body.h"
#include "bench/weirload/http_reply.h"

/* Stands behind the connection's flights. */
struct answer {
	struct http_reply reply;
	struct http_sum sum;
};

size_t connection_http_bytes(void)
{
	return sizeof(struct answer);
}

static struct answer *answer_of(struct connection *connection, const struct sender *sender)
{
	return (struct answer *)(void *)&connection->flights[sender->plan->pipeline];
}

static void answer_begin(struct answer *answer)
{
	http_reply_begin(&answer->reply);
	answer->sum = (struct http_sum){0};
}

void connection_http_begin(struct connection *connection, const struct sender *sender)
{
	answer_begin(answer_of(connection, sender));
}

static void fail(struct connection *connection, struct sender *sender, enum tally_error kind,
		 const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Says whose reply it was, too. */
static void fail(struct connection *connection, struct sender *sender, enum tally_error kind,
		 const char *format, ...)
{
	char detail[TALLY_DETAIL_BYTES];
	va_list arguments;
	int n = snprintf(detail, sizeof detail,
			 "connection %llu, message %llu: ", (unsigned long long)connection->key,
			 (unsigned long long)connection->received);

	va_start(arguments, format);
	(void)vsnprintf(detail + n, sizeof detail - (size_t)n, format, arguments);
	va_end(arguments);
	connection_fail(connection, sender, kind, detail);
}

/* How long the body has to be; false: that is not known yet. */
static bool body_length(const struct sender *sender, uint64_t *length)
{
	if (sender->plan->any_body)
		return false;
	*length = sender->plan->size ? sender->plan->size : sender->body->n;
	return sender->plan->size || sender->body->whole;
}

static bool head_fits(struct connection *connection, struct sender *sender,
		      const struct http_facts *facts)
{
	uint64_t length;

	if (facts->status != 200) {
		fail(connection, sender, TALLY_status, "status %u", facts->status);
		return false;
	}
	if (facts->has_length && body_length(sender, &length) && facts->length != length) {
		fail(connection, sender, TALLY_truncated, "a body of %llu bytes instead of %llu",
		     (unsigned long long)facts->length, (unsigned long long)length);
		return false;
	}
	return true;
}

/* Of a POST. bytes: where the piece stands in what was read, of which n are left. */
static bool echo_fits(struct connection *connection, struct sender *sender,
		      const struct http_piece *piece, unsigned char *bytes, size_t n)
{
	const struct plan *plan = sender->plan;
	uint32_t left = (uint32_t)plan->size - connection->received_bytes;
	uint32_t part = piece->body_n < left ? (uint32_t)piece->body_n : left;
	uint32_t matched =
	    dialect_match(plan->dialect, (uint32_t)plan->size, connection->key,
			  connection->received, connection->received_bytes, bytes, part);

	connection->received_bytes += matched;
	if (matched < part)
		connection_wrong(connection, sender, bytes + matched, n - matched);
	else if (part < piece->body_n)
		fail(connection, sender, TALLY_truncated, "a body of more than %llu bytes",
		     (unsigned long long)plan->size);
	return matched == piece->body_n;
}

/* Of a GET. */
static bool body_fits(struct connection *connection, struct sender *sender, struct answer *answer,
		      const struct http_piece *piece)
{
	uint64_t offset = answer->reply.body_n - piece->body_n;
	size_t matched = piece->body_n;

	if (!sender->plan->any_body)
		matched = http_body_match(sender->body, &answer->sum, offset, piece->body, matched);
	connection->received_bytes =
	    answer->reply.body_n < UINT32_MAX ? (uint32_t)answer->reply.body_n : UINT32_MAX;
	if (matched == piece->body_n)
		return true;
	if (sender->body->whole && offset + matched == sender->body->n)
		fail(connection, sender, TALLY_truncated, "a body of more than %llu bytes",
		     (unsigned long long)sender->body->n);
	else
		fail(connection, sender, TALLY_altered,
		     "byte %llu of its body is %02x, not as in the first reply",
		     (unsigned long long)(offset + matched), piece->body[matched]);
	return false;
}

static bool end_fits(struct connection *connection, struct sender *sender, struct answer *answer)
{
	struct http_body *body = sender->body;
	struct tally *tally = sender->tally;
	uint64_t n = answer->reply.body_n, length;

	if (body_length(sender, &length) && n != length) {
		fail(connection, sender, TALLY_truncated, "a body of %llu bytes instead of %llu",
		     (unsigned long long)n, (unsigned long long)length);
		return false;
	}
	if (sender->plan->size || sender->plan->any_body)
		return true;
	if (!http_body_end(body, &answer->sum, n)) {
		fail(connection, sender, TALLY_altered,
		     "its body is not that of the first reply, behind byte %d", HTTP_BODY_PREFIX);
		return false;
	}
	if (!tally->body_n) {
		tally->body_print = http_body_print(body);
		tally->body_n = body->n + 1;
	}
	return true;
}

/* The reply was the last of its connection, by its own words; n bytes are behind it. */
static bool closes(struct connection *connection, struct sender *sender, size_t n)
{
	if (n) {
		fail(connection, sender, TALLY_unexpected, "bytes behind a last reply");
		return false;
	}
	if (sender->plan->churn)
		return true;
	if (sender->plan->idle)
		fail(connection, sender, TALLY_closed, "its reply says Connection: close");
	else
		connection_reopen(connection, sender);
	return false;
}

bool connection_http_check(struct connection *connection, struct sender *sender,
			   unsigned char *bytes, size_t n, uint64_t now_ns)
{
	struct answer *answer = answer_of(connection, sender);
	struct http_reply *reply = &answer->reply;
	struct http_piece piece;

	for (; n; bytes += piece.taken, n -= piece.taken) {
		if (!connection_under_way(connection)) {
			fail(connection, sender, TALLY_unexpected, "it was not asked");
			return false;
		}
		http_reply_read(reply, sender->head, bytes, n, &piece);
		if (piece.wrong) {
			fail(connection, sender, TALLY_malformed, "%s", piece.wrong);
			return false;
		}
		if (piece.head && !head_fits(connection, sender, &reply->facts))
			return false;
		if (piece.body_n && sender->plan->size) {
			size_t at = (size_t)(piece.body - bytes);

			if (!echo_fits(connection, sender, &piece, bytes + at, n - at))
				return false;
		} else if (piece.body_n && !body_fits(connection, sender, answer, &piece)) {
			return false;
		}
		if (!piece.whole)
			continue;
		if (!end_fits(connection, sender, answer))
			return false;
		connection_answered(connection, sender, now_ns);
		if (reply->facts.closes && !closes(connection, sender, n - piece.taken))
			return false;
		answer_begin(answer);
	}
	return true;
}
