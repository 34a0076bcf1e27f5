#include "bench/weirload/http_message.h"

#include <stdio.h>
#include <string.h>

#define HOST_MAX 256

bool http_message_path_is(const char *path)
{
	size_t n = strlen(path);

	if (path[0] != '/' || n > HTTP_PATH_MAX)
		return false;
	for (; *path; path++)
		if (*path <= ' ' || *path >= 0x7f || *path == '#')
			return false;
	return true;
}

/* What a listener calls its host: of a socket without one "localhost". A zone of an address
 * (fe80::1%eth0) is nobody else's business. */
static void host_of(char host[HOST_MAX], const char *listener)
{
	const char *at = strstr(listener, "://");
	size_t n, zone;

	at = at ? at + 3 : listener;
	n = strcspn(at, "?");
	zone = strcspn(at, "%");
	if (*at == '@' || *at == '/')
		(void)snprintf(host, HOST_MAX, "localhost");
	else if (*at == ':')
		(void)snprintf(host, HOST_MAX, "localhost%.*s", (int)n, at);
	else if (*at == '[' && zone < strcspn(at, "]"))
		(void)snprintf(host, HOST_MAX, "%.*s%.*s", (int)zone, at,
			       (int)(n - strcspn(at, "]")), at + strcspn(at, "]"));
	else
		(void)snprintf(host, HOST_MAX, "%.*s", (int)n, at);
}

void http_message_make(struct http_message *message, const char *listener, const char *path,
		       uint64_t size, bool chunked, bool closes)
{
	char host[HOST_MAX], framing[96] = "";

	host_of(host, listener);
	message->method = size ? "POST" : "GET";
	message->path = path ? path : size ? "/echo" : "/";
	message->tail = size && chunked ? "\r\n0\r\n\r\n" : NULL;
	if (size && chunked)
		(void)snprintf(framing, sizeof framing,
			       "Transfer-Encoding: chunked\r\n\r\n%llx\r\n",
			       (unsigned long long)size);
	else if (size)
		(void)snprintf(framing, sizeof framing, "Content-Length: %llu\r\n\r\n",
			       (unsigned long long)size);
	else
		(void)snprintf(framing, sizeof framing, "\r\n");
	(void)snprintf(message->head, sizeof message->head, "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s",
		       message->method, message->path, host, closes ? "Connection: close\r\n" : "",
		       framing);
}
