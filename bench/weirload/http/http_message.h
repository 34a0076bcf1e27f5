/*
 * http_message: the HTTP requests that a run sends, without the bytes of their bodies.
 *
 * All requests of a run have the same head and the same tail: what stands before and after the body
 * of --size bytes, or the whole of a request without a body. Made once from the command line, and
 * read-only from then on. Whoever makes one has checked its parts with the functions below, so that
 * no part contains the end of a line.
 */
#ifndef BENCH_WEIRLOAD_HTTP_HTTP_MESSAGE_H
#define BENCH_WEIRLOAD_HTTP_HTTP_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_PATH_MAX	   1024
#define HTTP_METHOD_MAX	   32
#define HTTP_HEADERS_MAX   64	 /* given by --header */
#define HTTP_HEADERS_BYTES 16384 /* all of them together, as on the command line */

/* What is asked for. */
struct http_request {
	const char *listener; /* its text names the host */
	const char *method;   /* NULL: GET, or POST if there is a body */
	const char *path;     /* NULL: /, or /echo if there is a body */
	uint64_t size;	      /* of the body; 0: none */
	bool chunked;
	bool closes; /* it is the only request on its connection */
	const char *const *headers;
	size_t headers_n;
};

struct http_message {
	const char *method, *path;
	const char *tail; /* NULL: none */
	bool to_head;	  /* the method is HEAD: replies have no bodies */
	char
	    head[HTTP_PATH_MAX + HTTP_METHOD_MAX + HTTP_HEADERS_BYTES + 4 * HTTP_HEADERS_MAX + 512];
};

/* Whether the path may stand in a request. */
bool http_message_path_is(const char *path);
bool http_message_method_is(const char *method);
/* NULL: "NAME: VALUE" can stand in a request; else why it can't. */
const char *http_message_header_wrong(const char *header);
/* Whether "NAME: VALUE" has that name. */
bool http_message_header_is(const char *header, const char *name);

void http_message_make(struct http_message *message, const struct http_request *request);

#endif
