/*
 * Replies of HTTP: each has to be well-formed, and to have a wanted status. --body says whether its
 * body has to be that of the first reply, or what was sent, or is not looked at.
 */
#include "bench/weirload/tcp/connection_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bench/weirload/http/http_body.h"
#include "bench/weirload/http/http_reply.h"
#include "bench/weirload/report/diagnosis.h"

/* The answer that is being read; lies in memory after the flights of a connection. */
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

static void answer_begin(struct answer *answer, const struct sender *sender)
{
	http_reply_begin(&answer->reply, sender->plan->message.to_head);
	answer->sum = (struct http_sum){0};
}

void connection_http_begin(struct connection *connection, const struct sender *sender)
{
	answer_begin(answer_of(connection, sender), sender);
}

bool connection_http_is_between(struct connection *connection, const struct sender *sender)
{
	return connection->received && !http_reply_is_begun(&answer_of(connection, sender)->reply);
}

static void fail(struct connection *connection, struct sender *sender, enum tally_error kind,
		 const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Counts the error, says which reply it was, and ends the connection. */
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

/* Gives the length that the body has to have; false: that is not known yet. */
static bool body_length(const struct sender *sender, uint64_t *length)
{
	bool echo = sender->plan->body == PLAN_BODY_ECHO;

	if (sender->plan->body == PLAN_BODY_ANY)
		return false;
	*length = echo ? sender->plan->size : sender->body->n;
	return echo || sender->body->whole;
}

/* Whether the reply is that of an https server to a client that speaks plain HTTP. */
static const char *tls_hint(unsigned status, const unsigned char *bytes, size_t n)
{
	return status == 400 && memmem(bytes, n, "HTTPS", 5)
		   ? ": its text is about HTTPS, so the port may be one of TLS"
		   : "";
}

/* bytes: what was read; the end of the head is in it. */
static bool head_fits(struct connection *connection, struct sender *sender,
		      const struct http_facts *facts, const unsigned char *bytes, size_t n)
{
	uint64_t length;

	if (facts->status > PLAN_STATUS_MAX || !sender->plan->wanted[facts->status]) {
		fail(connection, sender, TALLY_status, "status %u%s", facts->status,
		     tls_hint(facts->status, bytes, n));
		return false;
	}
	if (!facts->bodiless && facts->has_length && body_length(sender, &length) &&
	    facts->length != length) {
		fail(connection, sender, TALLY_truncated, "a body of %llu bytes instead of %llu",
		     (unsigned long long)facts->length, (unsigned long long)length);
		return false;
	}
	return true;
}

/* The body has to be what was sent. bytes: a piece of the body in what was read, of which n bytes
 * are left from there on. */
static bool echo_fits(struct connection *connection, struct sender *sender,
		      const struct http_piece *piece, unsigned char *bytes, size_t n)
{
	const struct plan *plan = sender->plan;
	uint32_t left = (uint32_t)plan->size - connection->received_bytes;
	uint32_t part = piece->body_n < left ? (uint32_t)piece->body_n : left;
	uint32_t matched =
	    client_protocol_match(plan->protocol, (uint32_t)plan->size, connection->key,
				  connection->received, connection->received_bytes, bytes, part);

	connection->received_bytes += matched;
	if (matched < part)
		connection_wrong(connection, sender, bytes + matched, n - matched);
	else if (part < piece->body_n)
		fail(connection, sender, TALLY_truncated, "a body of more than %llu bytes",
		     (unsigned long long)plan->size);
	return matched == piece->body_n;
}

static bool body_fits(struct connection *connection, struct sender *sender, struct answer *answer,
		      const struct http_piece *piece)
{
	uint64_t offset = answer->reply.body_n - piece->body_n;
	size_t matched = piece->body_n;

	if (sender->plan->body == PLAN_BODY_SAME)
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
	if (sender->plan->body != PLAN_BODY_SAME)
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

/* The reply says that it is the last one of its connection; n bytes follow it. */
static bool closes(struct connection *connection, struct sender *sender,
		   const struct http_facts *facts, size_t n)
{
	if (n) {
		fail(connection, sender, TALLY_unexpected, "bytes behind a last reply");
		return false;
	}
	if (sender->plan->churn)
		return true;
	if (sender->plan->idle)
		fail(connection, sender, TALLY_closed,
		     facts->says_close	  ? "its reply says Connection: close"
		     : facts->until_close ? "its reply ends with the connection"
					  : "its reply is of HTTP/1.0, without keep-alive");
	else
		connection_reopen(connection, sender, false);
	return false;
}

/* The reply is whole; n bytes follow it. False: the connection was ended because of it. */
static bool answered(struct connection *connection, struct sender *sender, struct answer *answer,
		     size_t n, uint64_t now_ns)
{
	if (!end_fits(connection, sender, answer))
		return false;
	connection_answered(connection, sender, now_ns);
	if (answer->reply.facts.closes && !closes(connection, sender, &answer->reply.facts, n))
		return false;
	answer_begin(answer, sender);
	return true;
}

bool connection_http_end(struct connection *connection, struct sender *sender)
{
	struct answer *answer = answer_of(connection, sender);

	if (!http_reply_end(&answer->reply))
		return false;
	(void)answered(connection, sender, answer, 0, clock_ns());
	return true;
}

bool connection_http_check(struct connection *connection, struct sender *sender,
			   unsigned char *bytes, size_t n, uint64_t now_ns)
{
	struct answer *answer = answer_of(connection, sender);
	struct http_reply *reply = &answer->reply;
	struct http_piece piece;
	bool begun;

	for (; n; bytes += piece.taken, n -= piece.taken) {
		if (!connection_under_way(connection)) {
			fail(connection, sender, TALLY_unexpected, "it was not asked");
			return false;
		}
		begun = http_reply_is_begun(reply);
		http_reply_read(reply, sender->head, bytes, n, &piece);
		if (piece.wrong) {
			fail(connection, sender, TALLY_malformed, "%s",
			     !begun && diagnosis_is_tls(bytes, n) ? diagnosis_tls : piece.wrong);
			return false;
		}
		if (piece.head && !head_fits(connection, sender, &reply->facts, bytes, n))
			return false;
		if (piece.body_n && sender->plan->body == PLAN_BODY_ECHO) {
			size_t at = (size_t)(piece.body - bytes);

			if (!echo_fits(connection, sender, &piece, bytes + at, n - at))
				return false;
		} else if (piece.body_n && !body_fits(connection, sender, answer, &piece)) {
			return false;
		}
		if (piece.whole && !answered(connection, sender, answer, n - piece.taken, now_ns))
			return false;
	}
	return true;
}
