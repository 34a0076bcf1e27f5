/*
 * http_reader: reads an HTTP answer like a client that trusts nothing but the bytes.
 *
 * An answer whose form is not the one that weir writes, or whose body is longer than ANSWER_BODY,
 * fails the test. The body is in the struct.
 */
#ifndef TESTS_SUPPORT_CLIENTS_HTTP_READER_H
#define TESTS_SUPPORT_CLIENTS_HTTP_READER_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ANSWER_BODY 20000

struct answer {
	int status;
	bool closes, keeps, chunked, has_date, has_server, has_length;
	size_t length; /* as the head says */
	char date[32], type[80], allow[80];
	bool whole; /* if not, it ended within the body */
	size_t body_n;
	unsigned char body[ANSWER_BODY];
};

/* Overwrites all dates with the same text. */
static inline void answer_mask_dates(unsigned char *bytes, size_t n)
{
	static const char name[] = "\r\nDate: ";
	const size_t name_n = sizeof name - 1, date_n = 29;

	for (unsigned char *at = bytes; (at = memchr(at, '\r', n - (size_t)(at - bytes))); at++)
		if (n - (size_t)(at - bytes) >= name_n + date_n && memcmp(at, name, name_n) == 0)
			memset(at + name_n, 'x', date_n);
}

static inline void answer_field(struct answer *answer, const char *line, const char *end)
{
	const char *value = memchr(line, ':', (size_t)(end - line));
	size_t n = value ? (size_t)(value - line) : 0;

	if (!value || value[1] != ' ')
		ck_abort_msg("a field is \"%.*s\"", (int)(end - line), line);
	value += 2;
#define IS(name) (n == sizeof name - 1 && strncasecmp(line, name, n) == 0)
#define SAYS(text)                                                                                 \
	((size_t)(end - value) == sizeof text - 1 && memcmp(value, text, sizeof text - 1) == 0)
	if (IS("Date"))
		answer->has_date = memcpy(answer->date, value, 29) && end - value == 29;
	if (IS("Server"))
		answer->has_server = SAYS("weir");
	if (IS("Content-Length")) {
		if (answer->has_length)
			ck_abort_msg("two lengths");
		answer->has_length = true;
		answer->length = strtoul(value, NULL, 10);
	}
	if (IS("Transfer-Encoding"))
		answer->chunked = SAYS("chunked");
	if (IS("Connection")) {
		answer->closes = SAYS("close");
		answer->keeps = SAYS("keep-alive");
	}
	if (IS("Content-Type"))
		(void)memcpy(answer->type, value, (size_t)(end - value));
	if (IS("Allow"))
		(void)memcpy(answer->allow, value, (size_t)(end - value));
#undef IS
#undef SAYS
}

static inline size_t answer_body(struct answer *answer, const unsigned char *at, size_t n)
{
	size_t part = n < answer->length ? n : answer->length;

	if (part > ANSWER_BODY)
		ck_abort_msg("a body of %zu", part);
	answer->whole = part == answer->length;
	answer->body_n = part;
	memcpy(answer->body, at, part);
	return part;
}

/* Reads chunks, which have to be without extensions, up to the last one, without a trailer. */
static inline size_t answer_chunks(struct answer *answer, const unsigned char *bytes, size_t n)
{
	const unsigned char *at = bytes, *end = bytes + n;

	for (;;) {
		const unsigned char *line = memmem(at, (size_t)(end - at), "\r\n", 2);
		char *digits_end;
		size_t size, part;

		if (!line)
			return n;
		size = strtoul((const char *)at, &digits_end, 16);
		if ((const unsigned char *)digits_end != line || digits_end == (const char *)at)
			ck_abort_msg("a chunk's line is \"%.*s\"", (int)(line - at), at);
		at = line + 2;
		part = (size_t)(end - at) < size ? (size_t)(end - at) : size;
		if (answer->body_n + part > ANSWER_BODY)
			ck_abort_msg("a body of chunks is too large");
		memcpy(answer->body + answer->body_n, at, part);
		answer->body_n += part;
		at += part;
		if (end - at < 2)
			return n;
		if (memcmp(at, "\r\n", 2) != 0)
			ck_abort_msg("a chunk has no end");
		at += 2;
		if (!size) {
			answer->whole = true;
			return (size_t)(at - bytes);
		}
	}
}

/* Reads one answer. Returns its length in bytes. Its head has to be whole; to_head: the request was
 * HEAD, so there is no body. */
static inline size_t answer_read(const unsigned char *bytes, size_t n, bool to_head,
				 struct answer *answer)
{
	const char *end = memmem(bytes, n, "\r\n\r\n", 4), *line = (const char *)bytes, *next;
	size_t head;

	*answer = (struct answer){0};
	if (!end || strncmp(line, "HTTP/1.1 ", 9) != 0)
		ck_abort_msg("no head: \"%.*s\"", (int)(n < 200 ? n : 200), line);
	head = (size_t)(end + 4 - line);
	answer->status = atoi(line + 9);
	line = (const char *)memmem(line, head, "\r\n", 2) + 2;
	for (; line < end; line = next + 2) {
		next = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
		answer_field(answer, line, next);
	}
	if (answer->status == 100 || to_head) {
		answer->whole = true;
		return head;
	}
	if (answer->chunked == answer->has_length)
		ck_abort_msg("a length, or chunks, not both");
	if (answer->chunked)
		return head + answer_chunks(answer, bytes + head, n - head);
	return head + answer_body(answer, bytes + head, n - head);
}

#endif
