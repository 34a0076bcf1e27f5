/* http_answer: the head of an answer, byte for byte; its maximum size; and its date. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "protocol/http/http_answer.h"
#include "tests/support/harness.h"

/* ---- the date ---- */

static void expect_date(int64_t second, const char *text)
{
	char date[HTTP_DATE_BYTES + 1];

	http_date_format(second, date);
	ck_assert_str_eq(date, text);
}

START_TEST(dates_are_as_rfc_9110_writes_them)
{
	expect_date(0, "Thu, 01 Jan 1970 00:00:00 GMT");
	expect_date(784111777, "Sun, 06 Nov 1994 08:49:37 GMT");
	expect_date(951782399, "Mon, 28 Feb 2000 23:59:59 GMT");
	expect_date(951782400, "Tue, 29 Feb 2000 00:00:00 GMT");
	expect_date(4107542399, "Sun, 28 Feb 2100 23:59:59 GMT");
	expect_date(4107542400, "Mon, 01 Mar 2100 00:00:00 GMT");
	expect_date(253402300799, "Fri, 31 Dec 9999 23:59:59 GMT");
}
END_TEST

START_TEST(dates_are_what_strftime_says)
{
	/* Steps by days and a prime number of seconds, to get every hour, minute and second. */
	for (int64_t second = 0; second < 253402300800; second += 86400 * 31 + 3607) {
		char date[HTTP_DATE_BYTES + 1], wanted[64];
		time_t at = second;
		struct tm parts;

		http_date_format(second, date);
		ck_assert_ptr_nonnull(gmtime_r(&at, &parts));
		(void)strftime(wanted, sizeof wanted, "%a, %d %b %Y %H:%M:%S GMT", &parts);
		ck_assert_str_eq(date, wanted);
	}
}
END_TEST

/* Not time(), which may be late by a tick. */
static int64_t wall_second(void)
{
	struct timespec wall;

	(void)clock_gettime(CLOCK_REALTIME, &wall);
	return wall.tv_sec;
}

START_TEST(the_date_is_one_in_a_pass)
{
	int64_t before = wall_second(), after;
	const struct http_date *date = http_date(1000), first = *date;
	char text[HTTP_DATE_BYTES + 1];

	after = wall_second();
	ck_assert_int_ge(date->second, before);
	ck_assert_int_le(date->second, after);
	http_date_format(date->second, text);
	ck_assert_str_eq(date->text, text);
	/* Whatever the wall clock does, it is only read when the argument is in a new second. */
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(http_date(1000)->second, first.second);
	ck_assert_ptr_eq(http_date(1000), date);
	for (struct wait wait = wait_begin(); wall_second() == first.second;)
		wait_more(&wait, "the next second");
	ck_assert_int_eq(http_date(1000)->second, first.second);
	ck_assert_int_gt(http_date(1001000)->second, first.second);
	ck_assert_str_ne(date->text, first.text);
}
END_TEST

/* ---- the head ---- */

static void expect_head(const struct http_answer *answer, const char *before, const char *behind)
{
	char head[1024], wanted[1024];
	size_t n = http_answer_head(head, sizeof head, answer, 5000);

	(void)snprintf(wanted, sizeof wanted, "HTTP/1.1 %s\r\nServer: weir\r\nDate: %s\r\n%s\r\n",
		       before, http_date(5000)->text, behind);
	head[n] = '\0';
	ck_assert_str_eq(head, wanted);
}

START_TEST(a_head_says_what_it_is_given)
{
	expect_head(&(struct http_answer){.status = 200, .type = "text/plain", .length = 2},
		    "200 OK", "Content-Type: text/plain\r\nContent-Length: 2\r\n");
	expect_head(&(struct http_answer){.status = 200, .length = UINT64_MAX}, "200 OK",
		    "Content-Length: 18446744073709551615\r\n");
	expect_head(&(struct http_answer){.status = 200, .chunked = true, .connection = "close"},
		    "200 OK", "Transfer-Encoding: chunked\r\nConnection: close\r\n");
	expect_head(&(struct http_answer){.status = 405,
					  .fields = "Allow: GET, HEAD\r\n",
					  .connection = "keep-alive"},
		    "405 Method Not Allowed",
		    "Content-Length: 0\r\nAllow: GET, HEAD\r\nConnection: keep-alive\r\n");
}
END_TEST

START_TEST(a_refusal_has_a_body_of_the_length_that_it_says)
{
	static const int statuses[] = {400, 404, 405, 408, 411, 413, 414, 417, 431, 501, 503, 505};

	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
		char with[HTTP_REFUSAL + 1], without[HTTP_REFUSAL + 1], status[16], *body;
		size_t n, head;

		ck_assert_str_ne(http_reason(statuses[i]), "");
		n = http_answer_refusal(with, HTTP_REFUSAL, statuses[i], "keep-alive", NULL, true,
					5000);
		head = http_answer_refusal(without, HTTP_REFUSAL, statuses[i], "keep-alive", NULL,
					   false, 5000);
		with[n] = without[head] = '\0';
		ck_assert_mem_eq(with, without, head);
		body = strstr(with, "\r\n\r\n") + 4;
		ck_assert_ptr_eq(body, with + head);
		ck_assert_uint_eq(strtoul(strstr(with, "Content-Length: ") + 16, NULL, 10),
				  strlen(body));
		(void)snprintf(status, sizeof status, "%d ", statuses[i]);
		ck_assert_ptr_nonnull(strstr(with, status));
		ck_assert_mem_eq(body, status, strlen(status));
	}
}
END_TEST

START_TEST(the_longest_head_fits)
{
	struct http_answer answer = {
	    .status = 431,
	    .type = "",
	    .fields = "",
	    .connection = "keep-alive",
	    .length = UINT64_MAX,
	};
	char head[HTTP_REFUSAL];

	ck_assert_uint_le(http_answer_head(head, HTTP_ANSWER_HEAD, &answer, 5000),
			  HTTP_ANSWER_HEAD);
	ck_assert_uint_le(
	    http_answer_refusal(head, HTTP_REFUSAL, 431, "keep-alive", "", true, 5000),
	    HTTP_REFUSAL);
}
END_TEST

START_TEST(connection_is_said_where_it_must_be)
{
	ck_assert_ptr_null(http_connection(&(struct http_request){.minor = 1, .keep_alive = true}));
	ck_assert_str_eq(http_connection(&(struct http_request){.minor = 1}), "close");
	ck_assert_str_eq(http_connection(&(struct http_request){.minor = 0}), "close");
	ck_assert_str_eq(http_connection(&(struct http_request){.minor = 0, .keep_alive = true}),
			 "keep-alive");
}
END_TEST

SUITE("http_answer", {"dates are as RFC 9110 writes them", dates_are_as_rfc_9110_writes_them, 5},
      {"dates are what strftime says", dates_are_what_strftime_says, 5},
      {"the date is one in a pass", the_date_is_one_in_a_pass, 10},
      {"a head says what it is given", a_head_says_what_it_is_given, 5},
      {"a refusal has a body of the length that it says",
       a_refusal_has_a_body_of_the_length_that_it_says, 5},
      {"the longest head fits", the_longest_head_fits, 5},
      {"connection is said where it must be", connection_is_said_where_it_must_be, 5})
