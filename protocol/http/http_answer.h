/*
 * http_answer: writes the head of an answer, for everything in weir that answers HTTP.
 *
 * Functions of their arguments, but for the date: the wall clock is read at most once a second, and
 * the time of the loop's pass says when, so that the date is the same throughout a pass. An answer
 * is always HTTP/1.1, whatever the request was, as RFC 9110, 6.2 wants it. No allocation.
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
	int64_t second; /* Unix time of the text: whoever keeps a copy of it compares this */
};

/* The date now; now_us: the time of the pass (loop->now_us). Returns the same address each time. */
const struct http_date *http_date(uint64_t now_us);
/* The date of any second from 1970 to 9999. */
void http_date_format(int64_t second, char text[HTTP_DATE_BYTES + 1]);

struct http_answer {
	int status;
	const char *type;	/* Content-Type; NULL: none */
	const char *fields;	/* further lines, each with its CRLF; NULL: none */
	const char *connection; /* "close", "keep-alive"; NULL: nothing need be said */
	bool chunked;		/* else a body of length bytes follows, or none for HEAD */
	uint64_t length;
};

/* What the answer's Connection field says: close if the connection ends with this request,
 * keep-alive if it is of HTTP/1.0 and asked for that; NULL: the field is left out. */
const char *http_connection(const struct http_request *request);

/* Writes a head with its empty line, and returns its length. For any head, room is enough if it is
 * HTTP_ANSWER_HEAD and the lengths of type and fields. */
size_t http_answer_head(char *at, size_t room, const struct http_answer *answer, uint64_t now_us);

/* Writes a whole answer, whose body is a line of text that says the status; with_body: false if the
 * request was HEAD. room: as above, but with HTTP_REFUSAL. */
size_t http_answer_refusal(char *at, size_t room, int status, const char *connection,
			   const char *fields, bool with_body, uint64_t now_us);

#endif
