/*
 * http_read: all that http_parse finds in bytes, written as in the corpus.
 *
 * It does, in a simple way, what weir does around the parser: it reads one request after the other,
 * with its body, until one is refused, closes the connection, or is incomplete.
 */
#ifndef TESTS_PROTOCOL_HTTP_READ_H
#define TESTS_PROTOCOL_HTTP_READ_H

#include <stdio.h>
#include <string.h>

#include "protocol/http/http_parse.h"
#include "tests/support/suite.h"

struct http_read {
	int status;  /* with which it was refused, or 0 */
	bool inside; /* it was refused, or ended, in a body */
	size_t at;   /* where the first byte is that was not read */
	size_t n;    /* complete requests */
	unsigned char methods[2 * HTTP_HEAD_MAX / 16]; /* theirs, and the next one's */
	size_t reads_n;
	char reads[2 * HTTP_HEAD_MAX]; /* the complete requests, as in the corpus */
};

static inline void http_read_add(struct http_read *of, const void *bytes, size_t n)
{
	ck_assert_uint_lt(of->reads_n + n, sizeof of->reads);
	memcpy(of->reads + of->reads_n, bytes, n);
	of->reads_n += n;
	of->reads[of->reads_n] = '\0';
}

/* > 0: the length of the chunk, with its line and the line end after it. */
static inline int http_read_chunk(struct http_read *of, const unsigned char *bytes, size_t n,
				  bool *last)
{
	uint64_t size;
	unsigned digits;
	int line = http_parse_chunk(bytes, n, &size, &digits);

	if (line <= 0)
		return line;
	ck_assert_uint_le((size_t)line, n);
	*last = size == 0;
	if (*last)
		return line;
	bytes += line;
	n -= (size_t)line;
	if (size < n && bytes[size] != '\r')
		return -400;
	if (n < 2 || size > n - 2)
		return 0;
	if (bytes[size + 1] != '\n')
		return -400;
	http_read_add(of, bytes, size);
	return line + (int)size + 2;
}

static inline int http_read_body(struct http_read *of, const struct http_request *request,
				 const unsigned char *bytes, size_t n)
{
	size_t at = 0;
	bool last = false;
	int part;

	if (request->length > INT64_MAX)
		return -413;
	if (request->has_length) {
		if (request->length > n)
			return 0;
		http_read_add(of, bytes, request->length);
		return (int)request->length;
	}
	while (!last) {
		part = http_read_chunk(of, bytes + at, n - at, &last);
		if (part <= 0)
			return part;
		at += (size_t)part;
	}
	part = http_parse_trailer(bytes + at, n - at);
	if (part > 0)
		ck_assert_uint_le((size_t)part, n - at);
	return part > 0 ? (int)at + part : part;
}

static inline struct http_read http_read_all(const unsigned char *bytes, size_t n)
{
	static const char *const methods[] = {"GET",	 "HEAD",    "POST",  "PUT",  "DELETE",
					      "CONNECT", "OPTIONS", "TRACE", "PATCH"};
	struct http_read of;
	struct http_request request = {.keep_alive = true};

	of.status = 0;
	of.inside = false;
	of.at = of.n = of.reads_n = 0;
	of.reads[0] = '\0';
	while (request.keep_alive && of.at < n) {
		size_t before = of.reads_n, head_end;
		int head = http_parse_head(bytes + of.at, n - of.at, &request), body = 0;
		char line[HTTP_TARGET_MAX + 64];

		ck_assert_uint_lt(of.n, sizeof of.methods);
		of.methods[of.n] = (unsigned char)request.method;
		of.inside = head > 0;
		of.status = head < 0 ? -head : 0;
		if (head <= 0)
			return of;
		ck_assert_uint_le((size_t)head, n - of.at);
		http_read_add(&of, line,
			      (size_t)snprintf(line, sizeof line, "%s %.*s %s ",
					       methods[request.method], (int)request.path_n,
					       request.path,
					       request.keep_alive ? "keep" : "close"));
		head_end = of.reads_n;
		if (request.chunked || (request.has_length && request.length)) {
			body = http_read_body(&of, &request, bytes + of.at + head,
					      n - of.at - (size_t)head);
			if (body <= 0) {
				of.status = -body;
				of.reads[of.reads_n = before] = '\0';
				return of;
			}
		}
		if (of.reads_n == head_end)
			of.reads_n--;
		http_read_add(&of, "\n", 1);
		of.n++;
		of.at += (size_t)(head + body);
		of.inside = false;
	}
	return of;
}

#endif
