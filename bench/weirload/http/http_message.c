#include "bench/weirload/http/http_message.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

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

/* The length of the token at the beginning of text: RFC 9110, 5.6.2. Names of methods and of fields
 * are tokens. */
static size_t token_bytes(const char *text)
{
	return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
			    "!#$%&'*+-.^_`|~");
}

bool http_message_method_is(const char *method)
{
	size_t n = token_bytes(method);

	return n && n <= HTTP_METHOD_MAX && !method[n];
}

bool http_message_header_is(const char *header, const char *name)
{
	size_t n = strlen(name);

	return strncasecmp(header, name, n) == 0 && header[n] == ':';
}

const char *http_message_header_wrong(const char *header)
{
	size_t n = token_bytes(header);

	if (!n || header[n] != ':')
		return "it is no NAME: VALUE";
	for (const char *at = header + n; *at; at++) {
		if (*at == '\r' || *at == '\n')
			return "it would break its line: a CR or LF is in it";
		if (((unsigned char)*at < ' ' && *at != '\t') || *at == 0x7f)
			return "a control character is in it";
	}
	if (http_message_header_is(header, "Content-Length") ||
	    http_message_header_is(header, "Transfer-Encoding"))
		return "--size and --chunked say how a body is framed";
	return NULL;
}

/* HOST as the LISTENER has it; "localhost" for a unix socket. The zone of an address (fe80::1%eth0)
 * means something on this machine only, and is left out. */
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

static void add(struct http_message *message, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct http_message *message, const char *format, ...)
{
	size_t n = strlen(message->head);
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(message->head + n, sizeof message->head - n, format, arguments);
	va_end(arguments);
}

static bool request_has(const struct http_request *request, const char *name)
{
	for (size_t i = 0; i < request->headers_n; i++)
		if (http_message_header_is(request->headers[i], name))
			return true;
	return false;
}

static void add_headers(struct http_message *message, const struct http_request *request)
{
	char host[HOST_MAX];

	if (!request_has(request, "Host")) {
		host_of(host, request->listener);
		add(message, "Host: %s\r\n", host);
	}
	for (size_t i = 0; i < request->headers_n; i++) {
		const char *header = request->headers[i];
		size_t name = strcspn(header, ":");
		const char *value = header + name + 1;

		value += strspn(value, " \t");
		add(message, "%.*s: %s\r\n", (int)name, header, value);
	}
	if (request->closes)
		add(message, "Connection: close\r\n");
}

/* A request of such a method has to say that it has no body, if it has none: RFC 9110, 8.6. */
static bool has_bodies(const char *method)
{
	return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
	       strcmp(method, "PATCH") == 0;
}

void http_message_make(struct http_message *message, const struct http_request *request)
{
	unsigned long long size = request->size;

	message->method = request->method ? request->method : size ? "POST" : "GET";
	message->path = request->path ? request->path : size ? "/echo" : "/";
	message->to_head = strcmp(message->method, "HEAD") == 0;
	message->tail = size && request->chunked ? "\r\n0\r\n\r\n" : NULL;
	*message->head = '\0';
	add(message, "%s %s HTTP/1.1\r\n", message->method, message->path);
	add_headers(message, request);
	if (size && request->chunked)
		add(message, "Transfer-Encoding: chunked\r\n\r\n%llx\r\n", size);
	else if (size || has_bodies(message->method))
		add(message, "Content-Length: %llu\r\n\r\n", size);
	else
		add(message, "\r\n");
}
