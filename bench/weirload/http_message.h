/*
 * http_message: the requests of HTTP that a run sends, but for the bytes of their bodies.
 *
 * All requests of a run have the same head and the same tail: what is before the body of --size
 * bytes and behind it, or the whole of a GET. Made once from the command line, and only read
 * after.
 */
#ifndef BENCH_WEIRLOAD_HTTP_MESSAGE_H
#define BENCH_WEIRLOAD_HTTP_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#define HTTP_PATH_MAX 1024

struct http_message {
	const char *method, *path;
	const char *tail; /* NULL: none */
	char head[HTTP_PATH_MAX + 512];
};

/* Whether it is one that can stand in a request. */
bool http_message_path_is(const char *path);
/* listener: its text, which names the host. path: NULL is / or /echo. size: of the body, which is
 * POSTed; 0: none, a GET. closes: it is the only one on its connection. */
void http_message_make(struct http_message *message, const char *listener, const char *path,
		       uint64_t size, bool chunked, bool closes);

#endif
