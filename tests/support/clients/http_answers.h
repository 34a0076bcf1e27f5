/*
 * http_answers: finds the answers in the bytes that a server sent.
 *
 * The methods of the requests have to be given, because an answer to HEAD has no body.
 */
#ifndef TESTS_SUPPORT_CLIENTS_HTTP_ANSWERS_H
#define TESTS_SUPPORT_CLIENTS_HTTP_ANSWERS_H

#include <stdlib.h>
#include <string.h>

#include "protocol/http/http_parse.h"
#include "tests/support/bytes.h"
#include "tests/support/suite.h"

struct http_answers {
	size_t n;	   /* whole answers, 1xx not counted */
	bool broken;	   /* after these comes something that is not a whole answer */
	int last_status;   /* of the last answer, even a broken one; 0: none */
	struct bytes body; /* of the last whole answer; the caller owns it */
};

/* The value of a field of a head, which ends with an empty line; NULL: there is no such field. */
static inline const char *http_answer_field(const char *head, const char *name)
{
	const char *end = strstr(head, "\r\n\r\n"), *line = head;

	while ((line = strstr(line, "\r\n")) && line < end) {
		line += 2;
		if (strncasecmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
			return line + strlen(name) + 1 + strspn(line + strlen(name) + 1, " ");
	}
	return NULL;
}

/* The length of a chunked body, whose bytes are added to *body; 0: it is not all there. */
static inline size_t http_answer_chunks(const unsigned char *bytes, size_t n, struct bytes *body)
{
	size_t at = 0;
	uint64_t size;
	unsigned digits;
	int part;

	do {
		part = http_parse_chunk(bytes + at, n - at, &size, &digits);
		ck_assert_msg(part >= 0, "a chunk of an answer is malformed");
		at += (size_t)part;
		if (!part || (size && n - at < size + 2))
			return 0;
		bytes_add(body, bytes + at, size);
		if (size)
			ck_assert(memcmp(bytes + at + size, "\r\n", 2) == 0);
		at += size ? size + 2 : 0;
	} while (size);
	part = http_parse_trailer(bytes + at, n - at);
	ck_assert_msg(part >= 0, "the trailer of an answer is malformed");
	return part ? at + (size_t)part : 0;
}

/* The length of the first answer; 0: it is not all there. text ends with a zero byte. */
static inline size_t http_answer_length(const char *text, size_t n, bool head_only,
					struct http_answers *answers)
{
	const char *end = strstr(text, "\r\n\r\n"), *length, *coding;
	size_t head, body = 0;

	if (!end)
		return 0;
	ck_assert_msg(strncmp(text, "HTTP/1.", 7) == 0, "no answer: %.40s", text);
	answers->last_status = atoi(text + 9);
	head = (size_t)(end + 4 - text);
	if (head_only || answers->last_status < 200)
		return head;
	length = http_answer_field(text, "Content-Length");
	coding = http_answer_field(text, "Transfer-Encoding");
	ck_assert_msg(!length != !coding, "one of length and coding: %.200s", text);
	answers->body.n = answers->body.start = 0;
	if (coding) {
		body = http_answer_chunks((const unsigned char *)text + head, n - head,
					  &answers->body);
		return body ? head + body : 0;
	}
	body = strtoul(length, NULL, 10);
	if (n - head < body)
		return 0;
	bytes_add(&answers->body, text + head, body);
	return head + body;
}

/* methods: those of the requests, from enum http_method. One more answer may be to a request that
 * was refused. */
static inline struct http_answers http_answers_of(const void *bytes, size_t n,
						  const unsigned char *methods, size_t methods_n)
{
	struct http_answers answers = {0};
	char *text = malloc(n + 1);
	size_t at = 0;

	ck_assert_ptr_nonnull(text);
	memcpy(text, bytes, n);
	text[n] = '\0';
	while (at < n) {
		bool head_only = answers.n < methods_n && methods[answers.n] == HTTP_HEAD;
		size_t length = http_answer_length(text + at, n - at, head_only, &answers);

		if (!length)
			break;
		answers.n += answers.last_status >= 200;
		at += length;
	}
	answers.broken = at < n;
	free(text);
	return answers;
}

#endif
