/*
 * http_parse: the syntax of HTTP/1.1 and 1.0, as RFC 9110 and RFC 9112 have it, strict.
 *
 * Functions of bytes: no I/O, no allocation, nothing kept. Each is given the bytes that have come
 * so far, from the beginning of what it is to read, and returns how long that is, or that more
 * bytes are needed, or the status with which it is refused. The first wrong byte decides, so that
 * the answer does not depend on how the bytes came: a prefix that is refused is refused with
 * whatever follows. No byte behind the end of what it reads is looked at.
 */
#ifndef PROTOCOL_HTTP_HTTP_PARSE_H
#define PROTOCOL_HTTP_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In bytes, but for HTTP_FIELDS_MAX. What exceeds the first four is refused with 501, 414, 431 and
 * 431. A whole head fits in a chunk. */
#define HTTP_METHOD_MAX	    32
#define HTTP_TARGET_MAX	    8000
#define HTTP_HEAD_MAX	    16000 /* with all its line ends */
#define HTTP_FIELDS_MAX	    100
#define HTTP_CHUNK_LINE_MAX 256	 /* a chunk's size with leading zeros, extensions and CRLF */
#define HTTP_TRAILER_MAX    4096 /* all lines behind the last chunk */

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_DELETE,
	HTTP_CONNECT,
	HTTP_OPTIONS,
	HTTP_TRACE,
	HTTP_PATCH,
};

struct http_request {
	enum http_method method; /* any other is 501 */
	unsigned minor;		 /* of the version: 0 or 1 (1.1 and above) */
	const char *path;	 /* of the target, not decoded and without its query (which may have
				  * what browsers send); "/" if it has none, "*" for OPTIONS *,
				  * HOST:PORT for CONNECT */
	size_t path_n;		 /* path lies in the bytes that were read; no 0 ends it */
	bool keep_alive;	 /* another request may follow on this connection */
	bool chunked;		 /* a body follows, in chunks */
	bool has_length;	 /* a body of `length` bytes follows (maybe 0); neither: no body */
	uint64_t length;	 /* UINT64_MAX if that many or more are said */
	bool expects_continue;	 /* Expect: 100-continue, of 1.1 only */
};

/*
 * Reads the head of a request, which one empty line may precede. Returns
 *   > 0  its length, line ends and all; *request is filled in
 *   0    more has to come (never if there are HTTP_HEAD_MAX bytes)
 *   < 0  minus the status that refuses it: 400, 414, 417, 431, 501, 505
 *
 * If it is not > 0, request->method is still the request's method if that has come, else GET: an
 * answer to HEAD has no body, whatever its status.
 */
int http_parse_head(const unsigned char *bytes, size_t n, struct http_request *request);

/* Reads the line before a chunk, with its CRLF. Returns its length, 0 or -400. *digits: how many
 * hexadecimal digits it begins with; *size: their value (0: the last chunk; a trailer follows). */
int http_parse_chunk(const unsigned char *bytes, size_t n, uint64_t *size, unsigned *digits);

/* Reads all that is behind the last chunk's line, up to and with the empty line. Returns its
 * length, 0, -400 or -431. Its fields are checked and thrown away. */
int http_parse_trailer(const unsigned char *bytes, size_t n);

/* "OK" and the like; "" for a status that weir never sends. */
const char *http_reason(int status);

#endif
