#include "protocol/http/http_parse_parts.h"

#include <arpa/inet.h>
#include <string.h>

/* No further than n bytes from at. */
static const unsigned char *limit(const unsigned char *at, const unsigned char *end, ptrdiff_t n)
{
	return end - at > n ? at + n : end;
}

static bool find_method(const unsigned char *at, size_t n, enum http_method *method)
{
	static const struct {
		char text[9];
		unsigned char n;
	} methods[] = {
	    [HTTP_GET] = {"GET", 3},	     [HTTP_HEAD] = {"HEAD", 4},
	    [HTTP_POST] = {"POST", 4},	     [HTTP_PUT] = {"PUT", 3},
	    [HTTP_DELETE] = {"DELETE", 6},   [HTTP_CONNECT] = {"CONNECT", 7},
	    [HTTP_OPTIONS] = {"OPTIONS", 7}, [HTTP_TRACE] = {"TRACE", 5},
	    [HTTP_PATCH] = {"PATCH", 5},
	};

	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
		if (methods[i].n == n && memcmp(at, methods[i].text, n) == 0) {
			*method = (enum http_method)i;
			return true;
		}
	}
	return false;
}

static const unsigned char *read_method(struct http_reading *reading, const unsigned char *at)
{
	const unsigned char *last = limit(at, reading->end, HTTP_METHOD_MAX + 1);
	const unsigned char *end = http_skip(at, last, TOKEN);

	if (end - at > HTTP_METHOD_MAX)
		return http_refuse(reading, 501);
	if (end == last)
		return http_want_more(reading);
	if (end == at || *end != ' ')
		return http_refuse(reading, 400);
	if (!find_method(at, (size_t)(end - at), &reading->request->method))
		return http_refuse(reading, 501);
	return end + 1;
}

/* What stands between [ and ]. */
static bool is_ip_literal(const unsigned char *at, const unsigned char *end)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr ip;
	size_t n = (size_t)(end - at);

	if (n && (*at == 'v' || *at == 'V')) {
		const unsigned char *dot = http_skip(at + 1, end, HEX);

		if (dot == at + 1 || dot == end || *dot != '.' || ++dot == end)
			return false;
		while (dot < end && (http_is(*dot, HOST) || *dot == ':'))
			dot++;
		return dot == end;
	}
	if (n >= sizeof text)
		return false;
	memcpy(text, at, n);
	text[n] = '\0';
	return inet_pton(AF_INET6, text, &ip) == 1;
}

bool http_is_authority(const unsigned char *at, const unsigned char *end,
		       const unsigned char **colon)
{
	if (at < end && *at == '[') {
		const unsigned char *close = memchr(at, ']', (size_t)(end - at));

		if (!close || !is_ip_literal(at + 1, close))
			return false;
		at = close + 1;
	} else {
		while ((at = http_skip(at, end, HOST)) < end && *at == '%') {
			if (end - at < 3 || !http_is(at[1], HEX) || !http_is(at[2], HEX))
				return false;
			at += 3;
		}
	}
	*colon = at;
	return at == end || (*at == ':' && http_skip(at + 1, end, DIGIT) == end);
}

/* Reads up to the first byte that can't be part of it; that byte must have come. */
static const unsigned char *read_authority(struct http_reading *reading, const unsigned char *at,
					   const unsigned char *end, const unsigned char **colon)
{
	const unsigned char *begin = at;

	while ((at = http_skip(at, end, HOST)) < end &&
	       (*at == ':' || *at == '[' || *at == ']' || *at == '%'))
		at++;
	if (at == end)
		return http_want_more(reading);
	if (!http_is_authority(begin, at, colon) || *colon == begin)
		return http_refuse(reading, 400);
	return at;
}

/* RFC 9110 9.3.6: there must be a port, and a valid one. */
static const unsigned char *read_target_of_connect(struct http_reading *reading,
						   const unsigned char *at,
						   const unsigned char *end)
{
	const unsigned char *colon, *begin = at;
	unsigned port = 0;

	if (!(at = read_authority(reading, at, end, &colon)))
		return NULL;
	for (const unsigned char *digit = colon + 1; digit < at && port <= 65535; digit++)
		port = port * 10 + (unsigned)(*digit - '0');
	if (*at != ' ' || !port || port > 65535)
		return http_refuse(reading, 400);
	reading->request->path = (const char *)begin;
	reading->request->path_n = (size_t)(at - begin);
	return at;
}

/* Ends at the first byte that is not part of it. */
static const unsigned char *read_encoded(struct http_reading *reading, const unsigned char *at,
					 const unsigned char *end)
{
	while ((at = http_skip(at, end, PATH)) < end) {
		if (*at != '%')
			return at;
		for (int i = 1; i <= 2; i++) {
			if (at + i == end)
				return http_want_more(reading);
			if (!http_is(at[i], HEX))
				return http_refuse(reading, 400);
		}
		at += 3;
	}
	return http_want_more(reading);
}

/* What browsers leave as it is (URL Standard, query percent-encode set), '%' without digits too:
 * more than RFC 3986 allows, but weir makes no use of a query. */
static bool is_query(unsigned char byte)
{
	return byte > ' ' && byte < 0x7f && byte != '"' && byte != '#' && byte != '<' &&
	       byte != '>';
}

static const unsigned char *read_query(struct http_reading *reading, const unsigned char *at,
				       const unsigned char *end)
{
	while (at < end && is_query(*at))
		at++;
	return at < end ? at : http_want_more(reading);
}

static const unsigned char *read_path(struct http_reading *reading, const unsigned char *at,
				      const unsigned char *end)
{
	const unsigned char *begin = at;

	if (!(at = read_encoded(reading, at, end)))
		return NULL;
	reading->request->path = (const char *)begin;
	reading->request->path_n = (size_t)(at - begin);
	if (*at == '?' && !(at = read_query(reading, at + 1, end)))
		return NULL;
	return *at == ' ' ? at : http_refuse(reading, 400);
}

static const unsigned char *read_scheme(struct http_reading *reading, const unsigned char *at,
					const unsigned char *end)
{
	static const char scheme[] = "https://";

	for (unsigned i = 0; scheme[i]; i++, at++) {
		if (at == end)
			return http_want_more(reading);
		if (i == 4 && *at == ':')
			i++;
		/* ':' and '/' have no case: 0x20 is set in both, and 0x1a and 0x0f are refused. */
		if (*at < ' ' || (*at | 0x20) != scheme[i])
			return http_refuse(reading, 400);
	}
	return at;
}

static const unsigned char *read_absolute(struct http_reading *reading, const unsigned char *at,
					  const unsigned char *end)
{
	const unsigned char *colon;

	if (!(at = read_scheme(reading, at, end)))
		return NULL;
	/* An empty path is "/", and the byte before the host is one. */
	const unsigned char *slash = at - 1;
	if (!(at = read_authority(reading, at, end, &colon)))
		return NULL;
	if (*at == '/')
		return read_path(reading, at, end);
	if (*at == '?' && !(at = read_query(reading, at + 1, end)))
		return NULL;
	if (*at != ' ')
		return http_refuse(reading, 400);
	reading->request->path = (const char *)slash;
	reading->request->path_n = 1;
	return at;
}

static const unsigned char *read_asterisk(struct http_reading *reading, const unsigned char *at,
					  const unsigned char *end)
{
	if (reading->request->method != HTTP_OPTIONS)
		return http_refuse(reading, 400);
	if (at + 1 == end)
		return http_want_more(reading);
	reading->request->path = (const char *)at;
	reading->request->path_n = 1;
	return at[1] == ' ' ? at + 1 : http_refuse(reading, 400);
}

static const unsigned char *read_target(struct http_reading *reading, const unsigned char *at)
{
	const unsigned char *end = limit(at, reading->end, HTTP_TARGET_MAX + 1), *last;

	if (at == end)
		return http_want_more(reading);
	if (reading->request->method == HTTP_CONNECT)
		last = read_target_of_connect(reading, at, end);
	else if (*at == '/')
		last = read_path(reading, at, end);
	else if (*at == '*')
		last = read_asterisk(reading, at, end);
	else
		last = read_absolute(reading, at, end);
	if (last)
		return last + 1;
	/* All of it could be a target, but it is too long. */
	if (!reading->verdict && end - at > HTTP_TARGET_MAX)
		return http_refuse(reading, 414);
	return NULL;
}

static const unsigned char *read_version(struct http_reading *reading, const unsigned char *at)
{
	static const unsigned char usual[10] = "HTTP/1.1\r\n", form[] = "HTTP/1.1";

	if (reading->end - at >= 10 && memcmp(at, usual, sizeof usual) == 0) {
		reading->request->minor = 1;
		return at + sizeof usual;
	}
	for (unsigned i = 0; i < 8; i++) {
		if (at + i == reading->end)
			return http_want_more(reading);
		if (http_is(form[i], DIGIT) ? !http_is(at[i], DIGIT) : at[i] != form[i])
			return http_refuse(reading, 400);
	}
	if (at[5] != '1')
		return http_refuse(reading, 505);
	reading->request->minor = at[7] != '0';
	return http_read_line_end(reading, at + 8);
}

const unsigned char *http_read_request_line(struct http_reading *reading, const unsigned char *at)
{
	if ((at = read_method(reading, at)) && (at = read_target(reading, at)))
		at = read_version(reading, at);
	return at;
}
