#include "protocol/http/http_resource.h"

#include <string.h>

static bool find_bytes(const char *digits, size_t n, uint64_t *number)
{
	uint64_t value = 0;

	if (!n || n > 13)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return false;
		value = value * 10 + (unsigned)(digits[i] - '0');
	}
	*number = value;
	return value <= HTTP_BYTES_MAX;
}

static bool path_is(const struct http_request *request, const char *path, size_t n)
{
	return request->path_n == n && memcmp(request->path, path, n) == 0;
}

#define PATH_IS(request, path) path_is(request, path, sizeof path - 1)

enum http_resource http_find(const struct http_request *request, uint64_t *bytes)
{
	static const char prefix[] = "/bytes/";
	const size_t prefix_n = sizeof prefix - 1;

	if (PATH_IS(request, "/"))
		return HTTP_HELLO;
	if (PATH_IS(request, "/echo"))
		return HTTP_ECHO;
	if (PATH_IS(request, "*"))
		return HTTP_SERVER;
	if (request->path_n > prefix_n && memcmp(request->path, prefix, prefix_n) == 0 &&
	    find_bytes(request->path + prefix_n, request->path_n - prefix_n, bytes))
		return HTTP_BYTES;
	return HTTP_NOTHING;
}
