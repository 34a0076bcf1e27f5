#include "bench/weirload/http/http_reply.h"

#include <string.h>
#include <strings.h>

#define LENGTH_DIGITS_MAX 18
#define CHUNK_DIGITS_MAX  15
#define STATUS_LINE_BYTES 13 /* the shortest: "HTTP/1.1 200 ", without a reason */

static const char version[] = "HTTP/1.1 ", old_version[] = "HTTP/1.0 ";
static const char *const no_status_line = "a first line that is not HTTP/1.1, nor 1.0";

/* A line without its ending, cut to the bytes that are looked at. */
struct line {
	const char *at;
	size_t n;
	bool cut;
};

void http_reply_begin(struct http_reply *reply, bool to_head)
{
	memset(reply, 0, offsetof(struct http_reply, line));
	reply->to_head = to_head;
}

bool http_reply_is_begun(const struct http_reply *reply)
{
	return reply->at != HTTP_REPLY_STATUS || reply->lines_n;
}

bool http_reply_end(const struct http_reply *reply)
{
	return reply->at == HTTP_REPLY_BODY && reply->facts.until_close;
}

/* ---- lines ---- */

static const char *check_text(struct http_reply *reply, const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (reply->cr)
			return "a CR without LF";
		if (bytes[i] == '\r')
			reply->cr = true;
		else if ((bytes[i] < ' ' && bytes[i] != '\t') || bytes[i] == 0x7f)
			return "a control character in a line";
	}
	return NULL;
}

static void line_keep(struct http_reply *reply, const unsigned char *bytes, size_t n)
{
	if (reply->line_n < HTTP_REPLY_LINE_MAX) {
		size_t room = HTTP_REPLY_LINE_MAX - reply->line_n;

		memcpy(reply->line + reply->line_n, bytes, n < room ? n : room);
	}
	reply->line_n += (uint32_t)n;
}

/* Whether what has come of the first line can still become one. */
static bool begins_well(const struct http_reply *reply)
{
	size_t n = sizeof version - 1 < reply->line_n ? sizeof version - 1 : reply->line_n;

	return reply->at != HTTP_REPLY_STATUS || memcmp(reply->line, version, n) == 0 ||
	       memcmp(reply->line, old_version, n) == 0;
}

/* Takes a line; if it is not whole yet, takes what there is of it and sets line->at to NULL. */
static const char *line_take(struct http_reply *reply, const unsigned char *bytes, size_t n,
			     size_t *taken, struct line *line)
{
	const unsigned char *end = memchr(bytes, '\n', n);
	size_t text_n = end ? (size_t)(end - bytes) : n;
	const char *wrong = check_text(reply, bytes, text_n);

	line->at = NULL;
	*taken = text_n + (end != NULL);
	reply->lines_n += (uint32_t)*taken;
	if (wrong)
		return wrong;
	if (end && !reply->cr)
		return "a line that ends in LF alone";
	if (reply->lines_n > HTTP_REPLY_LINES_MAX)
		return "lines without an end";
	if (!end || reply->line_n)
		line_keep(reply, bytes, text_n);
	if (!end)
		return begins_well(reply) ? NULL : no_status_line;
	line->at = reply->line_n ? reply->line : (const char *)bytes;
	line->n = (reply->line_n ? reply->line_n : text_n) - 1;
	line->cut = line->n > HTTP_REPLY_LINE_MAX;
	if (line->cut)
		line->n = HTTP_REPLY_LINE_MAX;
	reply->line_n = 0;
	reply->cr = false;
	return NULL;
}

/* ---- the head ---- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A byte of a field's name. */
static bool is_token(char c)
{
	return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *status_line(struct http_reply *reply, const struct line *line)
{
	const char *at = line->at;

	reply->facts.old =
	    line->n >= STATUS_LINE_BYTES && memcmp(at, old_version, sizeof old_version - 1) == 0;
	if (line->n < STATUS_LINE_BYTES ||
	    (!reply->facts.old && memcmp(at, version, sizeof version - 1) != 0) ||
	    !is_digit(at[9]) || !is_digit(at[10]) || !is_digit(at[11]) || at[12] != ' ')
		return no_status_line;
	reply->facts.status =
	    (uint16_t)((at[9] - '0') * 100 + (at[10] - '0') * 10 + (at[11] - '0'));
	if (reply->facts.status < 100)
		return "a status below 100";
	reply->at = HTTP_REPLY_FIELD;
	return NULL;
}

static struct line trimmed(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return (struct line){.at = at, .n = (size_t)(end - at)};
}

static bool line_is(const struct line *line, const char *text)
{
	return line->n == strlen(text) && strncasecmp(line->at, text, line->n) == 0;
}

static const char *content_length(struct http_facts *facts, const struct line *value)
{
	if (facts->has_length)
		return "Content-Length twice";
	if (!value->n || value->n > LENGTH_DIGITS_MAX)
		return "a Content-Length that is no length";
	for (size_t i = 0; i < value->n; i++) {
		if (!is_digit(value->at[i]))
			return "a Content-Length that is no length";
		facts->length = facts->length * 10 + (uint64_t)(value->at[i] - '0');
	}
	facts->has_length = true;
	return NULL;
}

static const char *transfer_encoding(struct http_facts *facts, const struct line *value)
{
	if (facts->chunked)
		return "Transfer-Encoding twice";
	facts->chunked = line_is(value, "chunked");
	return facts->chunked ? NULL : "a Transfer-Encoding that is not chunked";
}

static void connection_field(struct http_facts *facts, const struct line *value)
{
	const char *at = value->at, *end = value->at + value->n;

	while (at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		struct line option = trimmed(at, comma ? comma : end);

		facts->says_close |= line_is(&option, "close");
		facts->keeps |= line_is(&option, "keep-alive");
		at = comma ? comma + 1 : end;
	}
}

static const char *field(struct http_facts *facts, const struct line *line)
{
	const char *colon = memchr(line->at, ':', line->n);
	struct line name, value;
	bool of_length, of_encoding, of_connection;

	name.at = line->at;
	name.n = colon ? (size_t)(colon - line->at) : 0;
	for (size_t i = 0; i < name.n; i++)
		if (!is_token(name.at[i]))
			return "a field whose name is none";
	if (!name.n)
		return "a field without a name";
	of_length = line_is(&name, "content-length");
	of_encoding = line_is(&name, "transfer-encoding");
	of_connection = line_is(&name, "connection");
	if (!of_length && !of_encoding && !of_connection)
		return NULL;
	if (line->cut)
		return "a field that is too long";
	value = trimmed(colon + 1, line->at + line->n);
	if (of_length)
		return content_length(facts, &value);
	if (of_encoding)
		return transfer_encoding(facts, &value);
	connection_field(facts, &value);
	return NULL;
}

/* Prepares for what follows a head that says this. */
static void head_adopt(struct http_reply *reply, const struct http_facts *facts,
		       struct http_piece *piece)
{
	reply->facts = *facts;
	reply->left = facts->until_close ? UINT64_MAX : facts->length;
	reply->lines_n = 0;
	reply->at = facts->chunked ? HTTP_REPLY_CHUNK_LINE : HTTP_REPLY_BODY;
	piece->head = true;
	piece->whole = facts->bodiless || (!facts->chunked && !reply->left);
}

static const char *head_end(struct http_reply *reply, struct http_piece *piece)
{
	struct http_facts facts = reply->facts;

	if (facts.status < 200 && facts.status != 101) { /* another reply follows it */
		uint32_t lines_n = reply->lines_n;

		http_reply_begin(reply, reply->to_head);
		reply->lines_n = lines_n;
		return NULL;
	}
	if (facts.has_length && facts.chunked)
		return "Content-Length and Transfer-Encoding in one head";
	if (facts.old && facts.chunked)
		return "Transfer-Encoding in a head of HTTP/1.0";
	facts.bodiless =
	    reply->to_head || facts.status == 101 || facts.status == 204 || facts.status == 304;
	facts.until_close = !facts.bodiless && !facts.has_length && !facts.chunked;
	facts.closes = facts.says_close || facts.until_close || (facts.old && !facts.keeps);
	head_adopt(reply, &facts, piece);
	return NULL;
}

/* ---- chunks ---- */

static const char *chunk_line(struct http_reply *reply, const struct line *line)
{
	size_t i = 0;

	reply->left = 0;
	while (i < line->n && (is_digit(line->at[i]) ||
			       ((line->at[i] | 0x20) >= 'a' && (line->at[i] | 0x20) <= 'f'))) {
		char c = line->at[i++];
		unsigned digit =
		    is_digit(c) ? (unsigned)(c - '0') : (unsigned)(c | 0x20) - 'a' + 10;

		if (reply->left >> (4 * (CHUNK_DIGITS_MAX - 1)))
			return "a chunk without a proper size";
		reply->left = reply->left << 4 | digit;
	}
	if (!i)
		return "a chunk without a proper size";
	while (i < line->n && (line->at[i] == ' ' || line->at[i] == '\t'))
		i++;
	if (i < line->n && line->at[i] != ';')
		return "a chunk without a proper size";
	reply->at = reply->left ? HTTP_REPLY_CHUNK : HTTP_REPLY_TRAILER;
	return NULL;
}

/* ---- the reply ---- */

static const char *line_read(struct http_reply *reply, const struct line *line,
			     struct http_piece *piece)
{
	struct http_facts nothing = {0};

	switch (reply->at) {
	case HTTP_REPLY_STATUS:
		return status_line(reply, line);
	case HTTP_REPLY_FIELD:
		return line->n ? field(&reply->facts, line) : head_end(reply, piece);
	case HTTP_REPLY_CHUNK_LINE:
		return chunk_line(reply, line);
	case HTTP_REPLY_CHUNK_END:
		reply->at = HTTP_REPLY_CHUNK_LINE;
		reply->lines_n = 0;
		return line->n ? "a chunk that is longer than it says" : NULL;
	default:
		piece->whole = line->n == 0;
		return line->n ? field(&nothing, line) : NULL;
	}
}

static void body_read(struct http_reply *reply, const unsigned char *bytes, size_t n,
		      struct http_piece *piece)
{
	piece->body = bytes;
	piece->body_n = n < reply->left ? n : (size_t)reply->left;
	piece->taken += piece->body_n;
	reply->left -= piece->body_n;
	reply->body_n += piece->body_n;
	if (reply->left)
		return;
	if (reply->at == HTTP_REPLY_CHUNK)
		reply->at = HTTP_REPLY_CHUNK_END;
	else
		piece->whole = true;
}

void http_reply_read(struct http_reply *reply, struct http_head *head, const unsigned char *bytes,
		     size_t n, struct http_piece *piece)
{
	bool fresh = reply->at == HTTP_REPLY_STATUS && !reply->lines_n;

	*piece = (struct http_piece){0};
	if (fresh && head && head->n && n >= head->n && memcmp(bytes, head->bytes, head->n) == 0) {
		piece->taken = head->n;
		head_adopt(reply, &head->facts, piece);
		fresh = false;
	}
	while (piece->taken < n && !piece->body_n && !piece->whole) {
		struct line line;
		size_t taken;

		if (reply->at == HTTP_REPLY_BODY || reply->at == HTTP_REPLY_CHUNK) {
			body_read(reply, bytes + piece->taken, n - piece->taken, piece);
			return;
		}
		piece->wrong =
		    line_take(reply, bytes + piece->taken, n - piece->taken, &taken, &line);
		piece->taken += taken;
		if (!piece->wrong && line.at)
			piece->wrong = line_read(reply, &line, piece);
		if (piece->wrong)
			return;
		if (piece->head && fresh && head && piece->taken <= HTTP_HEAD_BYTES) {
			head->facts = reply->facts;
			head->n = piece->taken;
			memcpy(head->bytes, bytes, head->n);
			fresh = false;
		}
	}
}
