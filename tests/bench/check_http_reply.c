/*
 * http_reply and http_body: the result is the same if replies are read whole, in any two pieces, or
 * byte by byte; what is not a reply of HTTP/1.1 is refused however it is cut; every changed byte of
 * a body is noticed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/weirload/http/http_body.h"
#include "bench/weirload/http/http_reply.h"
#include "tests/support/harness.h"

#define BODIES_BYTES 4096
#define OK	     "HTTP/1.1 200 OK\r\n"
#define CHUNKED	     OK "Transfer-Encoding: chunked\r\n\r\n"
#define LARGE_BYTES  (HTTP_BODY_PREFIX + 5003)

/* ---- what replies say ---- */

struct reading {
	struct http_reply reply;
	struct http_head *head;
	bool to_head;
	unsigned heads, ends;
	unsigned status; /* of the last head */
	bool closes;
	char body[BODIES_BYTES]; /* all bodies, one after the other */
	size_t body_n;
	const char *wrong;
};

/* Reads a piece, which lies in memory of its own, so that a sanitizer notices reads past its end.
 */
static void give(struct reading *reading, const char *bytes, size_t n)
{
	unsigned char *own = malloc(n ? n : 1);
	const unsigned char *at = own;

	ck_assert_ptr_nonnull(own);
	memcpy(own, bytes, n);
	while (n && !reading->wrong) {
		struct http_piece piece;

		http_reply_read(&reading->reply, reading->head, at, n, &piece);
		reading->wrong = piece.wrong;
		if (piece.wrong)
			break;
		ck_assert_uint_gt(piece.taken, 0);
		ck_assert_uint_le(piece.taken, n);
		reading->heads += piece.head;
		if (piece.head) {
			reading->status = reading->reply.facts.status;
			reading->closes = reading->reply.facts.closes;
		}
		ck_assert_uint_le(reading->body_n + piece.body_n, sizeof reading->body);
		if (piece.body_n)
			memcpy(reading->body + reading->body_n, piece.body, piece.body_n);
		reading->body_n += piece.body_n;
		reading->ends += piece.whole;
		if (piece.whole)
			http_reply_begin(&reading->reply, reading->to_head);
		at += piece.taken;
		n -= piece.taken;
	}
	free(own);
}

/* Reads bytes in pieces that end at `from`, and after each `step` bytes from there. */
static void read_in_pieces(struct reading *reading, struct http_head *head, const char *bytes,
			   size_t n, size_t from, size_t step)
{
	*reading = (struct reading){.head = head};
	give(reading, bytes, from);
	for (size_t at = from; at < n; at += step)
		give(reading, bytes + at, step < n - at ? step : n - at);
}

static const struct {
	const char *bytes, *bodies;
	unsigned heads, ends, status;
	bool closes;
} replies[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", 1, 1, 200, false},
    {"HTTP/1.1 200 \r\ncontent-LENGTH:2\r\n\r\nok", "ok", 1, 1, 200, false},
    {"HTTP/1.1 200 OK\r\nContent-Length:\t 0 \t\r\n\r\n", "", 1, 1, 200, false},
    {"HTTP/1.1 200 OK\r\nA: \xe4 (\"x\")\r\nContent-Length: 3\r\nB:\r\n\r\na\nb", "a\nb", 1, 1, 200,
     false},
    {"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", "a", 1, 1, 200,
     false},
    {"HTTP/1.1 200 OK\r\nConnection: x, Close ,y\r\nContent-Length: 1\r\n\r\na", "a", 1, 1, 200,
     true},
    {"HTTP/1.1 200 OK\r\nConnection: closed\r\nContent-Length: 1\r\n\r\na", "a", 1, 1, 200, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", 1, 1, 200,
     false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
     "00000000000000000002\r\nok\r\n00000000000000000000\r\n\r\n",
     "ok", 1, 1, 200, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
     "00A;x=\"\r;\";y \r\n0123456789\r\n1\r\nx\r\n000;z\r\nT: 1\r\nU: 2\r\n\r\n",
     NULL, 0, 0, 0, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
     "00A ;x=\";\";y \r\n0123456789\r\n1\r\nx\r\n000;z\r\nT: 1\r\nContent-Length: 7\r\n\r\n",
     "0123456789x", 1, 1, 200, false},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\nContent-Length: 5\r\n\r\n"
     "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
     "a", 1, 1, 200, false},
    {"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "", 1, 1, 101, false},
    {"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "no", 1, 1, 404, false},
    {"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\nHTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n"
     "\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
     "a", 3, 3, 200, false},
    /* Bodies of any length, ended by the end of the connection. */
    {OK "\r\n", "", 1, 0, 200, true},
    {OK "Connection: keep-alive\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", OK "\r\n", 1, 0, 200, true},
    {"HTTP/1.0 200 OK\r\n\r\na", "a", 1, 0, 200, true},
    {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", "a", 1, 1, 200, true},
    {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\na", "a", 1, 1, 200,
     false},
    {"HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 0\r\n\r\n", "", 1, 1, 200,
     true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n!\r\n0\r\n\r\n",
     "okno!", 3, 3, 200, false},
};
#define REPLIES (sizeof replies / sizeof *replies)

static void expect(const struct reading *reading, size_t i, size_t from, size_t step)
{
	if (!replies[i].bodies) {
		ck_assert_msg(reading->wrong != NULL, "reply %zu from %zu by %zu", i, from, step);
		return;
	}
	ck_assert_msg(!reading->wrong, "reply %zu from %zu by %zu: %s", i, from, step,
		      reading->wrong);
	ck_assert_msg(reading->heads == replies[i].heads && reading->ends == replies[i].ends &&
			  reading->status == replies[i].status &&
			  reading->closes == replies[i].closes,
		      "reply %zu from %zu by %zu: %u heads, %u ends, status %u", i, from, step,
		      reading->heads, reading->ends, reading->status);
	ck_assert_uint_eq(reading->body_n, strlen(replies[i].bodies));
	ck_assert_mem_eq(reading->body, replies[i].bodies, reading->body_n);
}

START_TEST(reads_replies_however_they_come)
{
	struct http_head heads[] = {{.n = 0}, {.n = 0}}, *head = _i ? &heads[0] : NULL;
	static struct reading reading;

	for (size_t i = 0; i < REPLIES; i++) {
		const char *bytes = replies[i].bytes;
		size_t n = strlen(bytes);

		for (size_t from = 0; from <= n; from++) {
			read_in_pieces(&reading, head, bytes, n, from, n);
			expect(&reading, i, from, n);
		}
		for (size_t step = 1; step < 9; step++) {
			read_in_pieces(&reading, head, bytes, n, 0, step);
			expect(&reading, i, 0, step);
		}
	}
	ck_assert(!head || head->n);
}
END_TEST

/* An answer to HEAD has the header fields of a body, but no body. */
START_TEST(reads_no_body_behind_a_head)
{
	static const char *const heads[] = {OK "Content-Length: 7\r\n\r\n",
					    OK "Transfer-Encoding: chunked\r\n\r\n", OK "\r\n"};
	static struct reading reading;

	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		reading = (struct reading){.to_head = true};
		http_reply_begin(&reading.reply, true);
		for (int n = 1; n <= 3; n++) {
			give(&reading, heads[i], strlen(heads[i]));
			ck_assert(!reading.wrong && !reading.body_n && reading.ends == (unsigned)n);
			ck_assert(!reading.closes && !http_reply_is_begun(&reading.reply));
		}
	}
}
END_TEST

/* A connection may end at the end of a body, between replies, or in the middle of one. */
START_TEST(knows_where_an_end_may_come)
{
	static const struct {
		const char *bytes;
		bool begun, whole;
	} rows[] = {
	    {"", false, false},
	    {"H", true, false},
	    {"HTTP/1.1 100 x\r\n\r\n", true, false},
	    {OK, true, false},
	    {OK "\r\n", true, true},
	    {OK "\r\nabc", true, true},
	    {"HTTP/1.0 200 OK\r\n\r\nabc", true, true},
	    {OK "Content-Length: 2\r\n\r\na", true, false},
	    {OK "Content-Length: 2\r\n\r\nab", false, false},
	    {CHUNKED "1\r\na\r\n", true, false},
	    {CHUNKED "1\r\na\r\n0\r\n", true, false},
	};
	static struct reading reading;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		read_in_pieces(&reading, NULL, rows[i].bytes, strlen(rows[i].bytes), 0, 3);
		ck_assert(!reading.wrong);
		ck_assert_msg(http_reply_is_begun(&reading.reply) == rows[i].begun, "row %zu", i);
		ck_assert_msg(http_reply_end(&reading.reply) == rows[i].whole, "row %zu", i);
	}
}
END_TEST

START_TEST(knows_a_head_again_and_no_other)
{
	static const char first[] = "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 2\r\n\r\nok";
	static const char other[] = "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 3\r\n\r\nok!";
	static const char twice[] = "HTHTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 2\r\n\r\nok";
	struct http_head head = {.n = 0};
	static struct reading reading;

	read_in_pieces(&reading, &head, first, strlen(first), 0, strlen(first));
	ck_assert_uint_eq(head.n, strlen(first) - 2);
	head.facts.length = 1; /* a false value, to show whether the head is parsed again */
	read_in_pieces(&reading, &head, first, strlen(first) - 1, 0, strlen(first));
	ck_assert(!reading.wrong && reading.ends == 1 && reading.body_n == 1);
	read_in_pieces(&reading, &head, other, strlen(other), 0, strlen(other));
	ck_assert(!reading.wrong && reading.ends == 1 && reading.body_n == 3);
	read_in_pieces(&reading, &head, first, strlen(first), 0, strlen(first));
	ck_assert(!reading.wrong && reading.ends == 1 && reading.body_n == 2);
	/* An end after the beginning of a reply is an error. */
	read_in_pieces(&reading, &head, twice, strlen(twice), 2, strlen(twice));
	ck_assert(reading.wrong != NULL);
}
END_TEST

START_TEST(reads_a_head_that_is_too_long_to_be_known_again)
{
	struct http_head *head = calloc(1, sizeof *head);
	static struct reading reading;
	char reply[3 * HTTP_HEAD_BYTES];

	ck_assert_ptr_nonnull(head);
	for (int pad = HTTP_HEAD_BYTES - 100; pad < 2 * HTTP_HEAD_BYTES; pad++) {
		int n = snprintf(reply, sizeof reply, OK "X: %0*d\r\nContent-Length: 1\r\n\r\na",
				 pad, pad);

		head->n = 0;
		read_in_pieces(&reading, head, reply, (size_t)n, 0, (size_t)n);
		ck_assert(!reading.wrong && reading.ends == 1 && reading.body_n == 1);
		ck_assert_uint_eq(head->n, n - 1 <= HTTP_HEAD_BYTES ? (size_t)n - 1 : 0);
	}
	free(head);
}
END_TEST

START_TEST(reads_chunks_without_end)
{
	static struct reading reading;
	const char *chunk = "1;x=y\r\nx\r\n";

	read_in_pieces(&reading, NULL, CHUNKED, strlen(CHUNKED), 0, 10);
	for (int i = 0; i < 2 * HTTP_REPLY_LINES_MAX / 8; i++) {
		give(&reading, chunk, strlen(chunk));
		ck_assert(!reading.wrong && reading.body_n == 1 && !reading.ends);
		reading.body_n = 0;
	}
	give(&reading, "0\r\n\r\n", 5);
	ck_assert(!reading.wrong && reading.ends == 1);
}
END_TEST

/* ---- what is not a reply ---- */

static const char *const wrongs[] = {
    "hello",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 503 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    " HTTP/1.1 200 OK\r\n",
    "\r\nHTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200\r\n",
    "HTTP/1.1  200 OK\r\n",
    "HTTP/1.1 20 OK\r\n",
    "HTTP/1.1 2000 OK\r\n",
    "HTTP/1.1 -20 OK\r\n",
    "HTTP/1.1 099 OK\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "HTTP/1.1 200 O\rK\r\n",
    "HTTP/1.1 200 OK\r\r\n",
    "HTTP/1.1 200 O\vK\r\n",
    OK "Content-Length: 2\nA: b\r\n\r\n",
    OK "A: bc\nContent-Length: 2\r\n\r\nok",
    OK "Content-Length : 2\r\n",
    OK "Content-Length\r\n",
    OK ": 2\r\n",
    OK "A: b\r\n c\r\n",
    OK "\tA: b\r\n",
    OK "A\"B: c\r\n",
    OK "A: \x01\r\n",
    OK "A: \x7f\r\n",
    OK "A: b\rc\r\n",
    OK "Content-Length: \r\n",
    OK "Content-Length: 2 2\r\n",
    OK "Content-Length: +2\r\n",
    OK "Content-Length: 2, 2\r\n",
    OK "Content-Length: 0x2\r\n",
    OK "Content-Length: 9999999999999999999\r\n",
    OK "Content-Length: 2\r\nContent-Length: 2\r\n",
    OK "Transfer-Encoding: gzip, chunked\r\n",
    OK "Transfer-Encoding: identity\r\n",
    OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    OK "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
    CHUNKED "\r\n",
    CHUNKED "x\r\n",
    CHUNKED "-1\r\n",
    CHUNKED " 1\r\n",
    CHUNKED "0x1\r\n",
    CHUNKED "1 1\r\n",
    CHUNKED "1\na",
    CHUNKED "1234567890abcdef\r\n",
    CHUNKED "1;\x01\r\n",
    CHUNKED "1\r\nab\r\n",
    CHUNKED "1\r\na\n",
    CHUNKED "2\r\na\r\n0\r\n",
    CHUNKED "0\r\nA b\r\n",
    CHUNKED "0\r\n\n",
};
#define WRONGS (sizeof wrongs / sizeof *wrongs)

START_TEST(refuses_what_is_none_however_it_comes)
{
	static struct reading reading;

	for (size_t i = 0; i < WRONGS; i++) {
		size_t n = strlen(wrongs[i]);

		for (size_t from = 0; from <= n; from++) {
			read_in_pieces(&reading, NULL, wrongs[i], n, from, n);
			ck_assert_msg(reading.wrong && !reading.ends, "case %zu from %zu", i, from);
		}
		read_in_pieces(&reading, NULL, wrongs[i], n, 0, 1);
		ck_assert_msg(reading.wrong && !reading.ends, "case %zu by bytes", i);
	}
}
END_TEST

/* A NUL is not allowed anywhere in a head: tried in each place in turn. */
START_TEST(refuses_a_nul_at_every_place)
{
	static const char whole[] =
	    OK "A: b\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n";
	size_t n = sizeof whole - 1, body = (size_t)(strstr(whole, "\na\r") + 1 - whole);
	static struct reading reading;
	char bytes[sizeof whole];

	for (size_t i = 0; i < n; i++) {
		memcpy(bytes, whole, sizeof bytes);
		bytes[i] = '\0';
		read_in_pieces(&reading, NULL, bytes, n, 0, n);
		ck_assert_msg((reading.wrong != NULL) == (i != body), "at byte %zu", i);
	}
}
END_TEST

/* Sends the same piece again and again, and expects that to be refused in time. */
static void endless(const char *begin, const char *again)
{
	static struct reading reading;
	size_t given = 0;

	read_in_pieces(&reading, NULL, begin, strlen(begin), 0, 7);
	ck_assert_ptr_null(reading.wrong);
	while (!reading.wrong && given <= HTTP_REPLY_LINES_MAX + 1000) {
		give(&reading, again, strlen(again));
		given += strlen(again);
	}
	ck_assert_msg(reading.wrong && given <= HTTP_REPLY_LINES_MAX + 1000, "%s", again);
}

START_TEST(bounds_every_line)
{
	endless("HTTP/1.1 200 ", "OK ");
	endless(OK, "Field: value\r\n");
	endless(OK "Field: ", "value");
	endless(OK "Fi", "eld");
	endless("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 x\r\n\r\n");
	endless(CHUNKED "1;", "ext");
	endless(CHUNKED "0\r\n", "Field: value\r\n");
}
END_TEST

/* Of a long line the same part is looked at, whether it comes whole or in pieces. */
START_TEST(reads_long_lines_alike)
{
	static struct reading reading;
	static char bytes[2048];

	for (size_t pad = 100; pad < 300; pad++) {
		int n = snprintf(bytes, sizeof bytes, OK "%0*d: x\r\nContent-Length: %0*d\r\n\r\n",
				 (int)pad, 1, pad % 20 ? 1 : 18, 0);
		bool wrong = pad >= HTTP_REPLY_LINE_MAX;

		for (size_t step = 1; step < 400; step += 57) {
			read_in_pieces(&reading, NULL, bytes, (size_t)n, 0, step);
			ck_assert_msg((reading.wrong != NULL) == wrong, "%zu by %zu", pad, step);
		}
		n = snprintf(bytes, sizeof bytes,
			     OK "Content-Length: 0\r\nConnection: %0*d\r\n\r\n", (int)pad, 1);
		wrong = pad > HTTP_REPLY_LINE_MAX - strlen("Connection: ");
		for (size_t step = 1; step < 400; step += 57) {
			read_in_pieces(&reading, NULL, bytes, (size_t)n, 0, step);
			ck_assert_msg((reading.wrong != NULL) == wrong, "%zu by %zu", pad, step);
		}
	}
}
END_TEST

/* ---- bodies ---- */

static unsigned char bytes[LARGE_BYTES];
static uint64_t seed = 11;

/* Reads a body in pieces of up to `most` bytes. Returns how many bytes were right. */
static size_t match_in_pieces(struct http_body *body, const unsigned char *from, size_t n,
			      size_t most, bool *right)
{
	struct http_sum sum = {0};
	size_t at = 0;

	*right = false;
	while (at < n) {
		size_t part = 1 + next_random(&seed) % most, matched;

		if (part > n - at)
			part = n - at;
		matched = http_body_match(body, &sum, at, from + at, part);
		if (matched < part)
			return at + matched;
		at += part;
	}
	*right = http_body_end(body, &sum, n);
	return n;
}

START_TEST(takes_a_body_for_the_same_in_pieces)
{
	static const size_t sizes[] = {0,
				       1,
				       8,
				       1000,
				       HTTP_BODY_PREFIX - 1,
				       HTTP_BODY_PREFIX,
				       HTTP_BODY_PREFIX + 1,
				       HTTP_BODY_PREFIX + 8,
				       LARGE_BYTES};

	fill_random(bytes, sizeof bytes, 3);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		static struct http_body body;
		bool right;

		body = (struct http_body){0};
		for (size_t most = LARGE_BYTES; most; most /= 7) {
			size_t n = match_in_pieces(&body, bytes, sizes[i], most, &right);

			ck_assert_msg(n == sizes[i] && right, "%zu bytes by %zu: %zu", sizes[i],
				      most, n);
		}
	}
}
END_TEST

START_TEST(sees_every_byte_of_a_body_that_is_another)
{
	static struct http_body body;
	bool right;

	fill_random(bytes, sizeof bytes, 4);
	(void)match_in_pieces(&body, bytes, sizeof bytes, 5000, &right);
	ck_assert(right);
	for (size_t at = 0; at < sizeof bytes; at += at < 70000 && at > 60000 ? 1 : 997) {
		size_t n;

		bytes[at] ^= 4;
		n = match_in_pieces(&body, bytes, sizeof bytes, 70000, &right);
		ck_assert_msg(n == (at < HTTP_BODY_PREFIX ? at : sizeof bytes) && !right,
			      "byte %zu: %zu", at, n);
		bytes[at] ^= 4;
	}
	ck_assert_uint_eq(match_in_pieces(&body, bytes, sizeof bytes - 1, 70000, &right),
			  sizeof bytes - 1);
	ck_assert(!right);
}
END_TEST

/* Two bodies that are read at the same time, after one that was cut off. */
START_TEST(learns_a_body_from_many)
{
	static struct http_body body;
	struct http_sum one = {0}, two = {0}, cut = {0};
	const size_t half = sizeof bytes / 2;

	fill_random(bytes, sizeof bytes, 5);
	ck_assert_uint_eq(http_body_match(&body, &cut, 0, bytes, 100), 100);
	ck_assert_uint_eq(http_body_match(&body, &one, 0, bytes, 50), 50);
	ck_assert_uint_eq(http_body_match(&body, &two, 0, bytes, half), half);
	ck_assert_uint_eq(http_body_match(&body, &one, 50, bytes + 50, sizeof bytes - 50),
			  sizeof bytes - 50);
	ck_assert(http_body_end(&body, &one, sizeof bytes));
	ck_assert_uint_eq(http_body_match(&body, &two, half, bytes + half, sizeof bytes - half - 1),
			  sizeof bytes - half - 1);
	bytes[sizeof bytes - 1] ^= 1;
	ck_assert_uint_eq(
	    http_body_match(&body, &two, sizeof bytes - 1, bytes + sizeof bytes - 1, 1), 1);
	ck_assert(!http_body_end(&body, &two, sizeof bytes));
}
END_TEST

START_TEST(sees_a_body_that_is_longer)
{
	static struct http_body body;
	struct http_sum sum = {0}, late = {0};

	ck_assert_uint_eq(http_body_match(&body, &late, 0, (const unsigned char *)"abcdef", 6), 6);
	ck_assert_uint_eq(http_body_match(&body, &sum, 0, (const unsigned char *)"abcd", 4), 4);
	ck_assert(http_body_end(&body, &sum, 4));
	ck_assert(!http_body_end(&body, &late, 6));
	sum = (struct http_sum){0};
	ck_assert_uint_eq(http_body_match(&body, &sum, 0, (const unsigned char *)"abcdef", 6), 4);
	ck_assert_uint_eq(http_body_match(&body, &sum, 4, (const unsigned char *)"ef", 2), 0);
}
END_TEST

START_TEST(tells_bodies_of_other_processes)
{
	static struct http_body bodies[4];
	uint64_t prints[4];

	fill_random(bytes, sizeof bytes, 6);
	for (size_t i = 0; i < 4; i++) {
		bool right;

		(void)match_in_pieces(&bodies[i], bytes, i == 3 ? 10 : sizeof bytes, 30000, &right);
		prints[i] = http_body_print(&bodies[i]);
		if (i == 0)
			bytes[5] ^= 1;
		else if (i == 1)
			bytes[sizeof bytes - 1] ^= 1;
	}
	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < i; k++)
			ck_assert_msg(prints[i] != prints[k], "%zu and %zu", i, k);
	fill_random(bytes, sizeof bytes, 6);
	bodies[3] = (struct http_body){0};
	ck_assert_uint_eq(
	    http_body_match(&bodies[3], &(struct http_sum){0}, 0, bytes, sizeof bytes),
	    sizeof bytes);
	ck_assert(bodies[3].known == HTTP_BODY_PREFIX);
}
END_TEST

SUITE("http_reply", {"reads replies however they come", reads_replies_however_they_come, 20, 2},
      {"reads no body behind a head", reads_no_body_behind_a_head, 10},
      {"knows where an end may come", knows_where_an_end_may_come, 10},
      {"knows a head again, and no other", knows_a_head_again_and_no_other, 10},
      {"reads a head that is too long to be known again",
       reads_a_head_that_is_too_long_to_be_known_again, 10},
      {"reads chunks without end", reads_chunks_without_end, 20},
      {"refuses what is none however it comes", refuses_what_is_none_however_it_comes, 20},
      {"refuses a NUL at every place", refuses_a_nul_at_every_place, 10},
      {"bounds every line", bounds_every_line, 10},
      {"reads long lines alike", reads_long_lines_alike, 10},
      {"takes a body for the same in pieces", takes_a_body_for_the_same_in_pieces, 20},
      {"sees every byte of a body that is another", sees_every_byte_of_a_body_that_is_another, 30},
      {"learns a body from many", learns_a_body_from_many, 10},
      {"sees a body that is longer", sees_a_body_that_is_longer, 10},
      {"tells bodies of other processes", tells_bodies_of_other_processes, 10})
