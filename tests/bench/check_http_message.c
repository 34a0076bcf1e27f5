/*
 * http_message: weirload's requests, byte for byte, and which words of a command line are allowed
 * in them: none that would make two requests of one.
 */
#include "bench/weirload/http/http_message.h"

#include <string.h>

#include "tests/support/suite.h"

#define GET "GET / HTTP/1.1\r\n"
#define AT  "Host: a:1\r\n"

static const struct {
	struct http_request request;
	const char *headers[4];
	const char *head, *tail;
} messages[] = {
    {.request = {.listener = "http://127.0.0.1:80"}, .head = GET "Host: 127.0.0.1:80\r\n\r\n"},
    {.request = {.listener = "http://:8080?accept=shared", .path = "/a?b=c", .closes = true},
     .head = "GET /a?b=c HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n"},
    {.request = {.listener = "http://[::1]:80", .size = 10},
     .head = "POST /echo HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 10\r\n\r\n"},
    {.request = {.listener = "http://[fe80::1%eth0]:80", .path = "/", .size = 26, .chunked = true},
     .head = "POST / HTTP/1.1\r\nHost: [fe80::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n1a\r\n",
     .tail = "\r\n0\r\n\r\n"},
    {.request = {.listener = "http://@name"}, .head = GET "Host: localhost\r\n\r\n"},
    {.request = {.listener = "http:///run/x"}, .head = GET "Host: localhost\r\n\r\n"},
    {.request = {.listener = "http://a:1", .method = "HEAD", .path = "/x"},
     .head = "HEAD /x HTTP/1.1\r\n" AT "\r\n"},
    {.request = {.listener = "http://a:1", .method = "POST"},
     .head = "POST / HTTP/1.1\r\n" AT "Content-Length: 0\r\n\r\n"},
    {.request = {.listener = "http://a:1", .method = "DELETE"},
     .head = "DELETE / HTTP/1.1\r\n" AT "\r\n"},
    {.request = {.listener = "http://a:1", .method = "PUT", .path = "/x", .size = 5},
     .head = "PUT /x HTTP/1.1\r\n" AT "Content-Length: 5\r\n\r\n"},
    {.request = {.listener = "http://a:1", .headers_n = 3, .closes = true},
     .headers = {"Accept:text/html", "X-Empty:", "Cookie: \t a=b; c"},
     .head = GET AT "Accept: text/html\r\nX-Empty: \r\nCookie: a=b; c\r\n"
		    "Connection: close\r\n\r\n"},
    {.request = {.listener = "http://a:1", .headers_n = 1},
     .headers = {"host: other"},
     .head = GET "host: other\r\n\r\n"},
    {.request = {.listener = "http://a:1", .headers_n = 1},
     .headers = {"Hosts: other"},
     .head = GET AT "Hosts: other\r\n\r\n"},
};

START_TEST(asks_well)
{
	for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
		struct http_request request = messages[i].request;
		static struct http_message message;

		request.headers = messages[i].headers;
		http_message_make(&message, &request);
		ck_assert_str_eq(message.head, messages[i].head);
		ck_assert(messages[i].tail
			      ? message.tail && strcmp(message.tail, messages[i].tail) == 0
			      : !message.tail);
		ck_assert_int_eq(message.to_head, strncmp(message.head, "HEAD ", 5) == 0);
	}
}
END_TEST

/* A head is whole even with the longest path, method and headers that are allowed. */
START_TEST(has_room_for_all_that_may_be_told)
{
	static char path[HTTP_PATH_MAX + 1], header[HTTP_HEADERS_BYTES / HTTP_HEADERS_MAX + 1];
	static struct http_message message;
	const char *headers[HTTP_HEADERS_MAX];
	struct http_request request = {.listener = "http://127.0.0.1:80",
				       .method = "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF",
				       .path = path,
				       .size = 1u << 30,
				       .chunked = true,
				       .closes = true,
				       .headers = headers,
				       .headers_n = HTTP_HEADERS_MAX};

	memset(path, 'a', HTTP_PATH_MAX);
	path[0] = '/';
	memset(header, 'b', sizeof header - 1);
	header[1] = ':';
	for (size_t i = 0; i < HTTP_HEADERS_MAX; i++)
		headers[i] = header;
	ck_assert(http_message_method_is(request.method) && http_message_path_is(path));
	ck_assert_ptr_null(http_message_header_wrong(header));
	http_message_make(&message, &request);
	ck_assert_ptr_nonnull(strstr(message.head, "\r\n\r\n40000000\r\n"));
	ck_assert_uint_gt(strlen(message.head), HTTP_HEADERS_BYTES + HTTP_PATH_MAX);
}
END_TEST

START_TEST(knows_a_path)
{
	char path[HTTP_PATH_MAX + 2];

	memset(path, 'a', sizeof path);
	path[0] = '/';
	path[HTTP_PATH_MAX + 1] = '\0';
	ck_assert(!http_message_path_is(path));
	path[HTTP_PATH_MAX] = '\0';
	ck_assert(http_message_path_is(path));
	ck_assert(http_message_path_is("/") && http_message_path_is("/a/b?c=%20&d"));
	ck_assert(!http_message_path_is("") && !http_message_path_is("a") &&
		  !http_message_path_is("/a b") && !http_message_path_is("/\r") &&
		  !http_message_path_is("/#a") && !http_message_path_is("/\xe4"));
}
END_TEST

START_TEST(knows_a_method)
{
	ck_assert(http_message_method_is("GET") && http_message_method_is("M-SEARCH"));
	ck_assert(!http_message_method_is("") && !http_message_method_is("GET /") &&
		  !http_message_method_is("GET\r\nX:") && !http_message_method_is("G\xc3\x84T") &&
		  !http_message_method_is("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG"));
}
END_TEST

/* A byte that ends a line is refused in every place. */
START_TEST(knows_a_header)
{
	static const char *const good[] = {"A: b",	  "A:",	    "A:b", "a-b_c: \"x\", y:z",
					   "A: \xc3\xa4", "A: b\tc"};
	static const char *const bad[] = {"",
					  "A",
					  "A b: c",
					  ": b",
					  " A: b",
					  "A : b",
					  "\xc3\xa4: b",
					  "A: \x01",
					  "A: \x7f",
					  "Content-Length: 5",
					  "transfer-encoding: chunked"};
	static const char whole[] = "A-b: c d";

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		ck_assert_msg(!http_message_header_wrong(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(http_message_header_wrong(bad[i]) != NULL, "%s", bad[i]);
	for (size_t i = 0; i < sizeof whole - 1; i++)
		for (int which = 0; which < 2; which++) {
			char header[sizeof whole];

			memcpy(header, whole, sizeof whole);
			header[i] = which ? '\r' : '\n';
			ck_assert_msg(http_message_header_wrong(header) != NULL, "at %zu", i);
		}
}
END_TEST

SUITE("http_message", {"asks well", asks_well, 10},
      {"has room for all that may be told", has_room_for_all_that_may_be_told, 10},
      {"knows a path", knows_a_path, 10}, {"knows a method", knows_a_method, 10},
      {"knows a header", knows_a_header, 10})
