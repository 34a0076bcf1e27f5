/*
 * http_parse: what it finds in a head, every limit to the byte, and which bytes are allowed where.
 *
 * check_http_prefixes has the corpus, and all prefixes of it.
 */
#include <string.h>

#include "protocol/http/http_parse.h"
#include "tests/support/harness.h"

static int parse(const char *text, struct http_request *request)
{
	return http_parse_head((const unsigned char *)text, strlen(text), request);
}

/* ---- what is found ---- */

static const struct found {
	const char *text;
	struct http_request request; /* its path points into text */
} founds[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
     {.method = HTTP_GET, .minor = 1, .path = "/", .keep_alive = true}},
    {"\r\nHEAD /a/b?c HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n",
     {.method = HTTP_HEAD, .minor = 1, .path = "/a/b"}},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n",
     {HTTP_POST, 1, "/echo", 0, true, false, true, 12, false}},
    {"PUT /%41 HTTP/1.1\r\nhost:a\r\ntransfer-encoding:\tChunked \r\n\r\n",
     {HTTP_PUT, 1, "/%41", 0, true, true, false, 0, false}},
    {"DELETE https://a:1/b?c?d HTTP/1.1\r\nHost: b\r\n\r\n",
     {.method = HTTP_DELETE, .minor = 1, .path = "/b", .keep_alive = true}},
    {"CONNECT [::1]:65535 HTTP/1.1\r\nHost: b\r\n\r\n",
     {.method = HTTP_CONNECT, .minor = 1, .path = "[::1]:65535", .keep_alive = true}},
    {"OPTIONS * HTTP/1.9\r\nHost: b\r\n\r\n",
     {.method = HTTP_OPTIONS, .minor = 1, .path = "*", .keep_alive = true}},
    {"TRACE http://a HTTP/1.1\r\nHost: b\r\n\r\n",
     {.method = HTTP_TRACE, .minor = 1, .path = "/", .keep_alive = true}},
    {"PATCH hTTp://a?/b HTTP/1.0\r\n\r\n", {.method = HTTP_PATCH, .path = "/"}},
    {"GET / HTTP/1.0\r\nConnection: KEEP-alive\r\nContent-Length: 0\r\n\r\n",
     {HTTP_GET, 0, "/", 0, true, false, true, 0, false}},
    {"POST / HTTP/1.1\r\nExpect: 100-CONTINUE\r\nContent-Length: 9223372036854775807\r\n"
     "Host: a\r\n\r\n",
     {HTTP_POST, 1, "/", 0, true, false, true, INT64_MAX, true}},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
     {HTTP_POST, 1, "/", 0, true, false, true, UINT64_MAX, false}},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
     {HTTP_POST, 1, "/", 0, true, false, true, UINT64_MAX, false}},
    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999990\r\n\r\n",
     {HTTP_POST, 1, "/", 0, true, false, true, UINT64_MAX, false}},
    {"POST / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n", {.method = HTTP_POST, .path = "/"}},
};

START_TEST(a_head_says_what_it_says)
{
	for (size_t i = 0; i < sizeof founds / sizeof *founds; i++) {
		const struct http_request *want = &founds[i].request;
		const char *text = founds[i].text;
		struct http_request is;

		memset(&is, 0xee, sizeof is);
		ck_assert_msg(parse(text, &is) == (int)strlen(text), "%s", text);
		ck_assert_msg(is.method == want->method && is.minor == want->minor &&
				  is.keep_alive == want->keep_alive &&
				  is.chunked == want->chunked &&
				  is.has_length == want->has_length && is.length == want->length &&
				  is.expects_continue == want->expects_continue,
			      "%s", text);
		ck_assert_msg(is.path_n == strlen(want->path) &&
				  memcmp(is.path, want->path, is.path_n) == 0,
			      "%s: %.*s", text, (int)is.path_n, is.path);
		ck_assert(is.path > text && is.path < text + strlen(text));
	}
}
END_TEST

/* With two reasons to refuse, the first one in the bytes is reported; one that is known only at the
 * head's end comes last. */
START_TEST(the_first_reason_is_told)
{
	static const struct {
		const char *text;
		int status;
	} heads[] = {
	    {"BREW bad HTTP/2.0\n", 501},
	    {"BREW\n", 400},
	    {"GET bad HTTP/2.0\r\n", 400},
	    {"GET / HTTP/2.0\n", 505},
	    {"GET / HTTP/2x", 400},
	    {"GET / HTTP/1.1\r\nExpect: a\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nExpect: a\r\nHost: b\r\nHost: c\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nHost: b\r\nExpect: a\r\nX\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nHost: b\r\nExpect: a\r\nExpect: 100-continue\r\n\r\n", 417},
	    {"GET / HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nExpect: a\r\n\r\n", 417},
	    {"GET / HTTP/1.1\r\nHost: b\r\nExpect: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
	     501},
	    {"GET / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: a\r\nContent-Length: 1\r\n\r\n", 400},
	    {"GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400},
	};

	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		struct http_request request;
		int verdict = parse(heads[i].text, &request);

		ck_assert_msg(verdict == -heads[i].status, "%s: %d", heads[i].text, verdict);
	}
}
END_TEST

/* ---- limits ---- */

/* begin, then as many `fill` as make n bytes together with `end`. */
static const unsigned char *filled(const char *begin, char fill, const char *end, size_t n)
{
	static char bytes[2 * HTTP_HEAD_MAX];
	size_t middle = n - strlen(begin) - strlen(end);

	ck_assert_uint_lt(n, sizeof bytes);
	(void)stpcpy(bytes, begin);
	memset(bytes + strlen(begin), fill, middle);
	(void)stpcpy(bytes + strlen(begin) + middle, end);
	return (const unsigned char *)bytes;
}

#define HEAD_END " HTTP/1.1\r\nHost: a\r\n\r\n"

START_TEST(a_method_is_cut_off)
{
	struct http_request request;
	const unsigned char *bytes = filled("", 'M', " / ", HTTP_METHOD_MAX + 4);

	ck_assert_int_eq(http_parse_head(bytes, HTTP_METHOD_MAX, &request), 0);
	ck_assert_int_eq(http_parse_head(bytes, HTTP_METHOD_MAX + 1, &request), -501);
	bytes = filled("", 'M', "\r", HTTP_METHOD_MAX + 1);
	ck_assert_int_eq(http_parse_head(bytes, HTTP_METHOD_MAX + 1, &request), -400);
	bytes = filled("", 'M', "\r", HTTP_METHOD_MAX + 2);
	ck_assert_int_eq(http_parse_head(bytes, HTTP_METHOD_MAX + 2, &request), -501);
}
END_TEST

/* Begins of targets, which are filled up to the limit and to one byte more. */
START_TEST(a_target_is_cut_off)
{
	static const char *const begins[] = {"GET /",	      "GET /?",	      "GET http://a/",
					     "GET http://a?", "GET http://a", "OPTIONS http://"};
	struct http_request request;

	for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
		size_t before = (size_t)(strchr(begins[i], ' ') + 1 - begins[i]);
		size_t end = before + HTTP_TARGET_MAX, n = end + strlen(HEAD_END);
		const unsigned char *bytes = filled(begins[i], 'a', HEAD_END, n);

		ck_assert_int_eq(http_parse_head(bytes, n, &request), (int)n);
		ck_assert_int_eq(http_parse_head(bytes, end, &request), 0);
		bytes = filled(begins[i], 'a', HEAD_END, n + 1);
		ck_assert_int_eq(http_parse_head(bytes, end, &request), 0);
		ck_assert_int_eq(http_parse_head(bytes, end + 1, &request), -414);
		ck_assert_int_eq(http_parse_head(bytes, n + 1, &request), -414);
		bytes = filled(begins[i], 'a', "<", end + 1);
		ck_assert_int_eq(http_parse_head(bytes, end + 1, &request), -400);
		bytes = filled(begins[i], 'a', "<", end + 2);
		ck_assert_int_eq(http_parse_head(bytes, end + 2, &request), -414);
	}
}
END_TEST

/* The target ends with %41, the last `over` bytes of which are above the limit. */
START_TEST(percent_at_the_end_of_a_target_is_cut_off)
{
	struct http_request request;

	for (size_t over = 0; over <= 3; over++) {
		size_t n = strlen("GET ") + HTTP_TARGET_MAX + over + strlen(HEAD_END);
		const unsigned char *bytes = filled("GET /", 'a', "%41" HEAD_END, n);

		ck_assert_int_eq(http_parse_head(bytes, n, &request), over ? -414 : (int)n);
	}
}
END_TEST

START_TEST(a_head_is_cut_off)
{
	static const char *const begins[] = {
	    "GET / HTTP/1.1\r\nHost: a\r\nX: ", "\r\nGET / HTTP/1.1\r\nHost: a\r\nX: ",
	    "GET / HTTP/1.1\r\nHost: a\r\nX:"};
	struct http_request request;

	for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
		const unsigned char *bytes = filled(begins[i], 'x', "\r\n\r\n", HTTP_HEAD_MAX);

		ck_assert_int_eq(http_parse_head(bytes, HTTP_HEAD_MAX, &request), HTTP_HEAD_MAX);
		ck_assert_int_eq(http_parse_head(bytes, HTTP_HEAD_MAX - 1, &request), 0);
		for (size_t more = 1; more <= 5; more++) {
			bytes = filled(begins[i], 'x', "\r\n\r\n", HTTP_HEAD_MAX + more);
			ck_assert_int_eq(http_parse_head(bytes, HTTP_HEAD_MAX - 1, &request), 0);
			ck_assert_int_eq(http_parse_head(bytes, HTTP_HEAD_MAX, &request), -431);
			ck_assert_int_eq(http_parse_head(bytes, HTTP_HEAD_MAX + more, &request),
					 -431);
		}
		/* A wrong byte is noticed at the last allowed place, and not after it. */
		bytes = filled(begins[i], 'x', "\n", HTTP_HEAD_MAX);
		ck_assert_int_eq(http_parse_head(bytes, HTTP_HEAD_MAX, &request), -400);
		bytes = filled(begins[i], 'x', "\n", HTTP_HEAD_MAX + 1);
		ck_assert_int_eq(http_parse_head(bytes, HTTP_HEAD_MAX + 1, &request), -431);
	}
}
END_TEST

START_TEST(fields_are_counted)
{
	struct http_request request;
	char text[4096] = "GET / HTTP/1.1\r\nHost: a\r\n";
	char *at = text + strlen(text);

	for (int i = 1; i < HTTP_FIELDS_MAX; i++)
		at = stpcpy(at, "X:\r\n");
	(void)stpcpy(at, "\r\n");
	ck_assert_int_eq(parse(text, &request), (int)strlen(text));
	(void)stpcpy(at, "X");
	ck_assert_int_eq(parse(text, &request), 0);
	(void)stpcpy(at, "X:");
	ck_assert_int_eq(parse(text, &request), -431);
}
END_TEST

static int parse_chunk(const char *text, uint64_t *size, unsigned *digits)
{
	return http_parse_chunk((const unsigned char *)text, strlen(text), size, digits);
}

START_TEST(sizes_of_chunks)
{
	static const struct {
		const char *text;
		uint64_t size;
		unsigned digits;
	} sizes[] = {
	    {"0\r\n", 0, 1},
	    {"9\r\n", 9, 1},
	    {"aF\r\n", 0xaf, 2},
	    {"123456789abcdef\r\n", 0x123456789abcdef, 15},
	    {"ABCDEF\r\n", 0xabcdef, 6},
	    {"0000000000000005\r\n", 5, 16},
	    {"7fffffffffffffff\r\n", INT64_MAX, 16},
	    {"00000000000000000000\r\n", 0, 20},
	    {"000000000000000000007fffffffffffffff;a\r\n", INT64_MAX, 36},
	    {"5;a=\"\\\"\"; b\r\n", 5, 1},
	};
	uint64_t size;
	unsigned digits;

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		ck_assert_msg(parse_chunk(sizes[i].text, &size, &digits) ==
				  (int)strlen(sizes[i].text),
			      "%s", sizes[i].text);
		ck_assert_uint_eq(size, sizes[i].size);
		ck_assert_uint_eq(digits, sizes[i].digits);
	}
	ck_assert_int_eq(parse_chunk("8000000000000000\r\n", &size, &digits), -400);
	ck_assert_int_eq(parse_chunk("7fffffffffffffff0", &size, &digits), -400);
	ck_assert_int_eq(parse_chunk("00000000000000000", &size, &digits), 0);
	ck_assert_int_eq(parse_chunk("", &size, &digits), 0);
	ck_assert_int_eq(parse_chunk("\r", &size, &digits), -400);
}
END_TEST

START_TEST(a_chunk_line_is_cut_off)
{
	static const char *const begins[] = {"5;", "5;a=\"", "5;a=\"\\", "5 "};
	static const char *const ends[] = {"\r\n", "\"\r\n", "\"\r\n", ";a\r\n"};
	static const char fills[] = {'a', ' ', 'a', '\t'};
	uint64_t size;
	unsigned digits;

	for (size_t i = 0; i < sizeof fills; i++) {
		const unsigned char *bytes =
		    filled(begins[i], fills[i], ends[i], HTTP_CHUNK_LINE_MAX);

		ck_assert_int_eq(http_parse_chunk(bytes, HTTP_CHUNK_LINE_MAX, &size, &digits),
				 HTTP_CHUNK_LINE_MAX);
		ck_assert_int_eq(http_parse_chunk(bytes, HTTP_CHUNK_LINE_MAX - 1, &size, &digits),
				 0);
		bytes = filled(begins[i], fills[i], ends[i], HTTP_CHUNK_LINE_MAX + 1);
		ck_assert_int_eq(http_parse_chunk(bytes, HTTP_CHUNK_LINE_MAX - 1, &size, &digits),
				 0);
		ck_assert_int_eq(http_parse_chunk(bytes, HTTP_CHUNK_LINE_MAX, &size, &digits),
				 -400);
		ck_assert_int_eq(http_parse_chunk(bytes, HTTP_CHUNK_LINE_MAX + 1, &size, &digits),
				 -400);
	}
}
END_TEST

START_TEST(a_trailer_is_cut_off)
{
	const unsigned char *bytes = filled("X: y\r\nZ:", 'z', "\r\n\r\n", HTTP_TRAILER_MAX);

	ck_assert_int_eq(http_parse_trailer(bytes, HTTP_TRAILER_MAX), HTTP_TRAILER_MAX);
	ck_assert_int_eq(http_parse_trailer(bytes, HTTP_TRAILER_MAX - 1), 0);
	bytes = filled("X: y\r\nZ:", 'z', "\r\n\r\n", HTTP_TRAILER_MAX + 1);
	ck_assert_int_eq(http_parse_trailer(bytes, HTTP_TRAILER_MAX - 1), 0);
	ck_assert_int_eq(http_parse_trailer(bytes, HTTP_TRAILER_MAX), -431);
	ck_assert_int_eq(http_parse_trailer((const unsigned char *)"\r\n\r\n", 4), 2);
	ck_assert_int_eq(http_parse_trailer(bytes, 0), 0);
}
END_TEST

/* ---- which byte is allowed where ---- */

static bool is_one_of(int byte, const char *bytes)
{
	return byte && strchr(bytes, byte);
}

static bool is_letter_or_digit(int byte)
{
	return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= 'a' && byte <= 'z');
}

static bool is_token(int byte) /* RFC 9110 5.6.2 */
{
	return is_letter_or_digit(byte) || is_one_of(byte, "!#$%&'*+-.^_`|~");
}

static bool is_value(int byte) /* RFC 9110 5.5 */
{
	return byte == '\t' || (byte >= ' ' && byte != 0x7f);
}

static bool is_quoted(int byte) /* qdtext of RFC 9110 5.6.4 */
{
	return is_value(byte) && byte != '"' && byte != '\\';
}

static bool is_host(int byte) /* unreserved and sub-delims of RFC 3986 2.2, 2.3 */
{
	return is_letter_or_digit(byte) || is_one_of(byte, "-._~!$&'()*+,;=");
}

static bool is_path(int byte) /* pchar of RFC 3986 3.3 without %, and what ends a segment */
{
	return is_host(byte) || is_one_of(byte, ":@/?");
}

static bool is_port(int byte)
{
	return byte >= '0' && byte <= '9';
}

static bool is_hex(int byte)
{
	return is_port(byte) || (byte >= 'A' && byte <= 'F') || (byte >= 'a' && byte <= 'f');
}

static bool is_future(int byte)
{
	return is_host(byte) || byte == ':';
}

static bool is_query(int byte)
{
	return byte > 0x20 && byte < 0x7f && !is_one_of(byte, "\"#<>");
}

/* For each place also the bytes that end this part and begin the next one. */
static bool is_port_or_path(int byte)
{
	return is_port(byte) || is_one_of(byte, "/?");
}

static bool is_name_or_colon(int byte)
{
	return is_token(byte) || byte == ':';
}

static bool is_list_of_tokens(int byte)
{
	return is_token(byte) || byte == ',';
}

static bool is_token_or_semicolon(int byte)
{
	return is_token(byte) || byte == ';';
}

static bool is_extension(int byte)
{
	return is_token(byte) || is_one_of(byte, ";=");
}

static bool is_size_or_extension(int byte)
{
	return is_hex(byte) || byte == ';';
}

#define HOSTED "Host: a\r\n"

static const struct place {
	const char *before, *behind;
	bool (*allowed)(int byte); /* between them; for others the status is 400 */
} places[] =
    {
	{"GET /a", "a HTTP/1.1\r\n" HOSTED "\r\n", is_path},
	{"GET /?a", "a HTTP/1.1\r\n" HOSTED "\r\n", is_query},
	{"GET http://a?a", "a HTTP/1.1\r\n" HOSTED "\r\n", is_query},
	{"GET http://a/a", "a HTTP/1.1\r\n" HOSTED "\r\n", is_path},
	{"GET http://a:", " HTTP/1.1\r\n" HOSTED "\r\n", is_port_or_path},
	{"GET /%", "f HTTP/1.1\r\n" HOSTED "\r\n", is_hex},
	{"GET /%0", " HTTP/1.1\r\n" HOSTED "\r\n", is_hex},
	{"GET / HTTP/1.1\r\nHost: a", "a\r\n\r\n", is_host},
	{"GET / HTTP/1.1\r\nHost: a:1", "1\r\n\r\n", is_port},
	{"GET / HTTP/1.1\r\nHost: %a", "\r\n\r\n", is_hex},
	{"GET / HTTP/1.1\r\nHost: [vf.a", "a]\r\n\r\n", is_future},
	{"GET / HTTP/1.1\r\nHost: [v", ".a]\r\n\r\n", is_hex},
	{"GET / HTTP/1.1\r\n" HOSTED "X", ": y\r\n\r\n", is_name_or_colon},
	{"GET / HTTP/1.1\r\n" HOSTED "X: 12345678", "12345678\r\n\r\n", is_value},
	{"GET / HTTP/1.1\r\n" HOSTED "X: 123", "4\r\n\r\n", is_value},
	{"GET / HTTP/1.1\r\n" HOSTED "Connection: x", "x\r\n\r\n", is_list_of_tokens},
	{"GET / HTTP/1.1\r\n" HOSTED "Content-Length: 1", "1\r\n\r\n", is_port},
},
  chunk_places[] = {
      {"5;a", "a\r\n", is_extension},	    {"5;a=a", "a;b\r\n", is_token_or_semicolon},
      {"5;a=\"", "\"\r\n", is_quoted},	    {"5;a=\"\\", "\"\r\n", is_value},
      {"5", "5\r\n", is_size_or_extension},
};

static int parse_with(const struct place *place, int byte, bool chunk, size_t *n)
{
	unsigned char bytes[256];
	size_t before_n = strlen(place->before), behind_n = strlen(place->behind);
	struct http_request request;
	uint64_t size;
	unsigned digits;

	memcpy(bytes, place->before, before_n);
	bytes[before_n] = (unsigned char)byte;
	memcpy(bytes + before_n + 1, place->behind, behind_n);
	*n = before_n + 1 + behind_n;
	return chunk ? http_parse_chunk(bytes, *n, &size, &digits)
		     : http_parse_head(bytes, *n, &request);
}

static void try_every_byte(const struct place *place, bool chunk)
{
	for (int byte = 0; byte < 256; byte++) {
		size_t n;
		int verdict = parse_with(place, byte, chunk, &n);
		int wanted = place->allowed(byte) ? (int)n : -400;

		ck_assert_msg(verdict == wanted, "%s(%02x)%s: %d, not %d", place->before, byte,
			      place->behind, verdict, wanted);
	}
}

START_TEST(every_byte_stands_where_it_may)
{
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		try_every_byte(&places[i], false);
	for (size_t i = 0; i < sizeof chunk_places / sizeof *chunk_places; i++)
		try_every_byte(&chunk_places[i], true);
}
END_TEST

START_TEST(every_byte_in_a_method)
{
	static const struct place place = {"G", "ET / HTTP/1.1\r\n", NULL};

	for (int byte = 0; byte < 256; byte++) {
		size_t n;
		bool token = is_token(byte) || byte == ' ';

		ck_assert_int_eq(parse_with(&place, byte, false, &n), token ? -501 : -400);
	}
}
END_TEST

/* The parser checks eight bytes at once: a control is found at each place of them. */
START_TEST(a_control_is_found_at_every_place)
{
	for (size_t n = 1; n < 40; n++) {
		for (size_t at = 0; at < n; at++) {
			struct http_request request;
			char text[128] = "GET / HTTP/1.1\r\n" HOSTED "X: ",
			     *value = strchr(text, 'X') + 3;

			memset(value, 0xff, n);
			(void)strcpy(value + n, "\r\n\r\n");
			value[at] = '\t';
			ck_assert_int_eq(parse(text, &request), (int)strlen(text));
			value[at] = 0x7f;
			ck_assert_int_eq(parse(text, &request), -400);
			value[at] = 0x1f;
			ck_assert_int_eq(parse(text, &request), -400);
			value[at] = '\n';
			ck_assert_int_eq(parse(text, &request), -400);
		}
	}
}
END_TEST

START_TEST(a_status_has_its_reason)
{
	static const int said[] = {100, 200, 400, 404, 405, 408, 411,
				   413, 414, 417, 431, 501, 503, 505};

	for (size_t i = 0; i < sizeof said / sizeof *said; i++)
		ck_assert_str_ne(http_reason(said[i]), "");
	ck_assert_str_eq(http_reason(413), "Content Too Large");
	ck_assert_str_eq(http_reason(299), "");
	ck_assert_str_eq(http_reason(0), "");
}
END_TEST

SUITE("http_parse", {"a head says what it says", a_head_says_what_it_says, 10},
      {"the first reason is told", the_first_reason_is_told, 10},
      {"a method is cut off", a_method_is_cut_off, 10},
      {"a target is cut off", a_target_is_cut_off, 10},
      {"% at the end of a target is cut off", percent_at_the_end_of_a_target_is_cut_off, 10},
      {"a head is cut off", a_head_is_cut_off, 10}, {"fields are counted", fields_are_counted, 10},
      {"sizes of chunks", sizes_of_chunks, 10},
      {"a chunk line is cut off", a_chunk_line_is_cut_off, 10},
      {"a trailer is cut off", a_trailer_is_cut_off, 10},
      {"every byte stands where it may", every_byte_stands_where_it_may, 10},
      {"every byte in a method", every_byte_in_a_method, 10},
      {"a control is found at every place", a_control_is_found_at_every_place, 10},
      {"a status has its reason", a_status_has_its_reason, 10})
