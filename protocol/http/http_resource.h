/*
 * http_resource: what a request's path names, among the things that http serves.
 */
#ifndef PROTOCOL_HTTP_HTTP_RESOURCE_H
#define PROTOCOL_HTTP_HTTP_RESOURCE_H

#include "protocol/http/http_parse.h"

#define HTTP_BYTES_MAX (UINT64_C(1) << 40)

enum http_resource {
	HTTP_NOTHING,
	HTTP_HELLO,  /* / */
	HTTP_BYTES,  /* /bytes/N, at most HTTP_BYTES_MAX */
	HTTP_ECHO,   /* /echo */
	HTTP_SERVER, /* *, which is the server as a whole */
};

/* bytes: set to the N of HTTP_BYTES. */
enum http_resource http_find(const struct http_request *request, uint64_t *bytes);

#endif
