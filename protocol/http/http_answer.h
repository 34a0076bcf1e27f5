/*
 * http_answer: the head of an answer, composed, for all who answer HTTP.
 *
 * Functions of what they are given, but for the date: the wall clock is read at most once in
 * its second, by the clock of the loop's pass, so that it is one and the same within a pass.
 * Always HTTP/1.1, whatever the request was, as RFC 9110, 6.2 wants it. No allocation.
 */
#ifndef PROTOCOL_HTTP_HTTP_ANSWER_H
#define PROTOCOL_HTTP_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/http/http_parse.h"

#define HTTP_DATE_BYTES	 29  /* "Sun, 06 Nov 1994 08:49:37 GMT" */
#define HTTP_ANSWER_HEAD 256 /* the longest head without the caller's texts */
#define HTTP_REFUSAL	 512 /* the longest refusal without them */

struct http_date {
	char text[HTTP_DATE_BYTES + 1];
	int64_t second; /* of the epoch: whoever keeps a copy of the text compares it */
};

/* Of now; now_us: the pass' (loop->now_us). The same place each time. */
const struct http_date *http_date(uint64_t now_us);
/* Of any second from 1970 to 9999. */
void http_date_format(int64_t second, char text[HTTP_DATE_BYTES + 1]);

struct http_answer {
	int status;
	const char *type;	/* Content-Type; NULL: none */
	const char *fields;	/* further lines, each with its CRLF; NULL: none */
	const char *connection; /* "close", "keep-alive"; NULL: nothing need be said */
	bool chunked;		/* else a body of length bytes follows, or none for HEAD */
	uint64_t length;
};

/* What Connection says in the answer to a request: close if it ends with it, keep-alive to
 * one of 1.0 that asked for it. */
const char *http_connection(const struct http_request *request);

/* Up to its empty line; how many bytes. room: HTTP_ANSWER_HEAD and the lengths of type and
 * fields are enough for any. */
size_t http_answer_head(char *at, size_t room, const struct http_answer *answer, uint64_t now_us);

/* A whole answer that says its status in a line of text; with_body: not to HEAD. room: as above,
 * with HTTP_REFUSAL. */
size_t http_answer_refusal(char *at, size_t room, int status, const char *connection,
			   const char *fields, bool with_body, uint64_t now_us);

#endif
