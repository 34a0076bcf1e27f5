/*
 * http_parse_parts: what the files of http_parse share, and nobody else may use.
 *
 *     http_parse.c       fields and what they say together, chunks, trailers
 *     http_parse_line.c  method, target and version
 *     http_classes.c     which bytes may stand where
 *
 * A step reads one thing, from left to right. It is given where that begins and returns where it
 * ends; or NULL, and then the reading's verdict is minus a status, or 0 if bytes are missing. It
 * looks at no byte behind the first that decides, and never beyond the reading's end.
 */
#ifndef PROTOCOL_HTTP_HTTP_PARSE_PARTS_H
#define PROTOCOL_HTTP_HTTP_PARSE_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/http/http_parse.h"

/* What a byte may be part of. '%' begins two hexadecimal digits, wherever it may stand. */
#define DIGIT  1
#define HEX    2
#define TOKEN  4
#define HOST   8  /* a registered name, and what stands in an IPvFuture beside ':' */
#define PATH   16 /* of a target */
#define QUOTED 32 /* in a quoted string without a backslash */
#define VALUE  64 /* of a field */
#define BLANK  128

#define TEXT  (VALUE | QUOTED)
#define DELIM (TEXT | HOST | PATH) /* sub-delims of RFC 3986 that no token may have */
#define NAME  (DELIM | TOKEN)	   /* its unreserved ones, and its other sub-delims */

extern const unsigned char http_classes[256];

struct http_reading {
	const unsigned char *end;
	int verdict;
	unsigned fields;
	bool trailer;
	bool has_host, has_coding, codings_unknown, closes, stays, expects_other;
	struct http_request *request;
};

static inline const unsigned char *http_refuse(struct http_reading *reading, int status)
{
	reading->verdict = -status;
	return NULL;
}

static inline const unsigned char *http_want_more(struct http_reading *reading)
{
	reading->verdict = 0;
	return NULL;
}

static inline bool http_is(unsigned char byte, unsigned class)
{
	return http_classes[byte] & class;
}

static inline const unsigned char *http_skip(const unsigned char *at, const unsigned char *end,
					     unsigned class)
{
	while (at < end && http_is(*at, class))
		at++;
	return at;
}

static inline const unsigned char *http_read_line_end(struct http_reading *reading,
						      const unsigned char *at)
{
	if (at < reading->end && *at != '\r')
		return http_refuse(reading, 400);
	if (reading->end - at < 2)
		return http_want_more(reading);
	return at[1] == '\n' ? at + 2 : http_refuse(reading, 400);
}

/* The request line, with its end. */
const unsigned char *http_read_request_line(struct http_reading *reading, const unsigned char *at);
/* uri-host [":" port] of RFC 3986, from at to end; *colon is where its host ends. */
bool http_is_authority(const unsigned char *at, const unsigned char *end,
		       const unsigned char **colon);

#endif
