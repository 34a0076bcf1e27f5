/*
 * HTTP on a simulated kernel: requests, bodies and readers that take too long.
 *
 * Time stands still unless a pass waits, so that every limit is checked to the millisecond.
 */
#include <stdlib.h>

#include "tests/support/sim/sim_http_client.h"

static const struct conn_limits hurried = {WORLD_LIMITS, .request_ms = 500};

/* Sends a request byte by byte, one every ms milliseconds, until the server ends the connection. */
static void dribble(struct peer *peer, const char *text, uint32_t ms)
{
	for (; *text && !peer->closed && !peer->shut; text++) {
		peer_send(peer, text, 1);
		world_wait(&world, ms);
	}
}

START_TEST(a_slow_head_gets_408)
{
	struct peer *peer;

	begin_with(hurried);
	peer = world_connect(&world);
	world_wait(&world, 3000); /* it may be idle as long as it likes */
	peer_text(peer, GET);
	world_wait(&world, 3000);
	dribble(peer, "GET / HTTP/1.1\r\nHost: weir\r\nX: long, long, long", 100);
	take(peer);
	expect_answer(200, 2, false);
	expect_answer(408, 0, true);
	expect_no_more();
	ck_assert_uint_eq(world_stat(&world, "http_refused"), 1);
	end_with(peer, CLOSE_request_timeout);
}
END_TEST

/* Even if hardly any of the head had been looked at when the time was over. */
START_TEST(a_slow_head_of_head_gets_no_body)
{
	static const char *const cases[] = {"HEAD / HTTP/1.1\r\nHost: weir\r\nX: long, long, long",
					    "HEAD /", "HEAD "};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		static struct answer answer;
		struct peer *peer;

		begin_with(hurried);
		peer = world_connect(&world);
		dribble(peer, cases[i], 100);
		world_wait(&world, 3000);
		take(peer);
		(void)answer_read(got, got_n, true, &answer);
		ck_assert_int_eq(answer.status, 408);
		ck_assert(answer.whole && memcmp(got + got_n - 4, "\r\n\r\n", 4) == 0);
		end_with(peer, CLOSE_request_timeout);
	}
}
END_TEST

/* Old clients send an empty line after a body. */
START_TEST(an_empty_line_has_not_begun_a_request)
{
	static const char *const cases[] = {GET "\r\n", GET "\r"};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct peer *peer;

		begin_with(hurried);
		peer = world_connect(&world);
		peer_text(peer, cases[i]);
		world_wait(&world, 3000);
		peer_text(peer, i ? "\n" : "");
		world_wait(&world, 3000);
		ck_assert_uint_eq(world.table.buffers.chunks.used, 0);
		peer_text(peer, GET "\r\n");
		take(peer);
		expect_answer(200, 2, false);
		expect_answer(200, 2, false);
		expect_no_more();
		if (i) { /* nor does it delay a drain */
			conn_table_drain(&world.table);
			end_with(peer, CLOSE_drained);
			continue;
		}
		peer_text(peer, "\r\n");
		take(peer);
		expect_answer(400, 0, true);
		peer_finish(peer);
		end_with(peer, close_reason_named("bad_request"));
	}
}
END_TEST

/* All time out at the same moment, together with a client that has sent many requests at once. */
START_TEST(many_slow_heads_get_408)
{
	struct peer *peers[60], *other;

	begin_with(hurried);
	for (int i = 0; i < 60; i++) {
		peers[i] = world_connect(&world);
		peer_text(peers[i], "GET / HTTP/1.1\r\nHo");
	}
	other = world_connect(&world);
	for (int i = 0; i < 100; i++)
		peer_text(other, "HEAD / HTTP/1.1\r\nHost:\r\n\r\n");
	world_wait(&world, 501);
	for (int i = 0; i < 60; i++) {
		got_n = looked = 0;
		take(peers[i]);
		expect_answer(408, 0, true);
		expect_no_more();
		peer_finish(peers[i]);
	}
	ck_assert_uint_eq(world_stat(&world, "http_refused"), 60);
	world_run(&world);
	ck_assert_uint_eq(world.stats.closed[CLOSE_request_timeout], 60);
	peer_reset(other);
	world_run(&world);
	world_close(&world);
}
END_TEST

START_TEST(a_first_chunk_that_is_late_gets_408)
{
	struct peer *peer;

	begin_with(hurried);
	peer = world_connect(&world);
	peer_text(peer, CHUNKED "1");
	world_wait(&world, 501);
	take(peer);
	expect_answer(408, 0, true);
	expect_no_more();
	end_with(peer, CLOSE_request_timeout);
}
END_TEST

START_TEST(a_slow_body_ends_without_a_word)
{
	static const char *const heads[] = {
	    CHUNKED "1000\r\n", "POST /echo HTTP/1.1\r\nHost: weir\r\nContent-Length: 4096\r\n\r\n",
	    "GET / HTTP/1.1\r\nHost: weir\r\nContent-Length: 4096\r\n\r\n"};

	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		struct peer *peer;

		begin_with(hurried);
		peer = world_connect(&world);
		peer_text(peer, heads[i]);
		dribble(peer, "one byte at a time", 100);
		ck_assert(peer->closed || peer->shut);
		take(peer);
		ck_assert_ptr_null(memmem(got, got_n, " 408 ", 5));
		ck_assert_uint_eq(world_stat(&world, "http_refused"),
				  1); /* the answer is broken off */
		end_with(peer, CLOSE_request_timeout);
	}
}
END_TEST

/* Each 4 KiB of it come in time, but the whole body takes longer than request-timeout. */
START_TEST(a_body_that_goes_on_is_given_time)
{
	static const char *const heads[] = {
	    CHUNKED "20000\r\n",
	    "POST /echo HTTP/1.1\r\nHost: weir\r\nContent-Length: 131072\r\n\r\n"};

	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
		unsigned char bytes[4096] = {0};
		struct peer *peer;

		begin_with(hurried);
		peer = world_connect(&world);
		peer_text(peer, heads[i]);
		for (int k = 0; k < 32; k++) {
			peer_send(peer, bytes, 4096);
			world_wait(&world, 400);
			take(peer);
		}
		if (!i)
			peer_text(peer, "\r\n0\r\n\r\n");
		peer_text(peer, GET);
		take(peer);
		ck_assert_ptr_nonnull(memmem(got + 130000, got_n - 130000, "\r\n\r\nok", 6));
		ck_assert_uint_eq(world.stats.messages, 2);
		peer_finish(peer);
		end_with(peer, CLOSE_eof);
	}
}
END_TEST

START_TEST(idle_timeout_says_408_in_a_request_only)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {{"", 0},
		     {GET, 200},
		     {"GET / HTT", 408},
		     {CHUNKED, 408},
		     {"POST /echo HTTP/1.1\r\nHost:\r\nContent-Length: 1\r\n\r\n", 408},
		     {"POST /echo HTTP/1.1\r\nHost:\r\nContent-Length: 2\r\n\r\na", 200},
		     {CHUNKED "5\r\nab", 200}};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct peer *peer;

		begin_with((struct conn_limits){WORLD_LIMITS, .idle_ms = 300});
		peer = world_connect(&world);
		peer_text(peer, cases[i].text);
		world_run(&world);
		world_wait(&world, 299);
		ck_assert(!peer->closed && !peer->shut);
		world_wait(&world, 2);
		ck_assert(peer->closed || peer->shut);
		ck_assert_int_eq(peer->closed, cases[i].status != 408); /* with 408 it lingers */
		got_n = looked = 0;
		while (peer->out.n)
			got_n += peer_receive(peer, got + got_n, sizeof got - got_n);
		if (cases[i].status)
			ck_assert_int_eq(atoi((char *)got + 9), cases[i].status);
		else
			ck_assert_uint_eq(got_n, 0);
		end_with(peer, CLOSE_idle_timeout);
	}
}
END_TEST

START_TEST(write_timeout_ends_an_answer_that_is_not_read)
{
	struct peer *peer;

	begin_with((struct conn_limits){WORLD_LIMITS, .write_ms = 200, .request_ms = 50});
	peer = world_connect(&world);
	peer->space = 1000;
	peer_text(peer, "GET /bytes/100000 HTTP/1.1\r\nHost: weir\r\nContent-Length: 5\r\n\r\n");
	world_run(&world);
	for (int i = 0; i < 20; i++) { /* not as long as it reads a little */
		world_wait(&world, 150);
		ck_assert(!peer->closed);
		got_n += peer_receive(peer, got + got_n, 900);
		world_run(&world);
	}
	world_wait(&world, 199);
	ck_assert(!peer->closed);
	world_wait(&world, 2);
	ck_assert(peer->closed);
	end_with(peer, CLOSE_write_timeout);
}
END_TEST

/* Space that epoll does not report, because it is less than a third, is found when the
 * write-timeout is over: answers to requests that wait are written into it, and get a write-timeout
 * of their own.
 */
START_TEST(space_that_is_found_late_is_used)
{
	struct peer *peer;

	begin_with((struct conn_limits){
	    .high_water = 100, .low_water = 50, .connections_max = 64, .write_ms = 200});
	peer = world_connect(&world);
	peer->space = 3000;
	peer_text(peer, "GET /bytes/3500 HTTP/1.1\r\nHost: weir\r\n\r\n" GET GET GET GET);
	world_run(&world);
	ck_assert(peer_receive(peer, NULL, 900) == 900);
	world_wait(&world, 199);
	ck_assert_uint_eq(peer->out.n, 2100);
	world_wait(&world, 2);
	ck_assert_uint_eq(peer->out.n, 3000);
	world_wait(&world, 200);
	ck_assert(peer->closed);
	end_with(peer, CLOSE_write_timeout);
}
END_TEST

/* It says nothing even if half a request has come. */
START_TEST(write_timeout_says_nothing)
{
	struct peer *peer;

	begin_with((struct conn_limits){WORLD_LIMITS, .write_ms = 200});
	peer = world_connect(&world);
	peer->space = 10;
	peer_text(peer, GET "GET / HT");
	world_wait(&world, 199);
	ck_assert(!peer->closed);
	world_wait(&world, 2);
	ck_assert(peer->closed);
	end_with(peer, CLOSE_write_timeout);
}
END_TEST

/* The time of a body does not run while it is not read. */
START_TEST(a_body_behind_a_large_answer_has_its_time)
{
	struct peer *peer;

	begin_with(hurried);
	peer = world_connect(&world);
	peer->space = 1000;
	peer_text(peer, "GET /bytes/20000 HTTP/1.1\r\nHost: weir\r\nContent-Length: 5\r\n\r\n");
	world_run(&world);
	world_wait(&world, 3000);
	take(peer);
	world_wait(&world, 400);
	peer_text(peer, "12345" GET);
	take(peer);
	ck_assert_int_eq(memcmp(got + got_n - 6, "\r\n\r\nok", 6), 0);
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* ---- a worker that had no turn for longer than its peers may take ---- */

static void stand_still(void)
{
	kernel_advance(3000);
	world_run(&world);
}

/* Whatever has come when the worker runs again was in time; what has not come is late. */
START_TEST(a_request_that_has_come_counts_before_its_limit)
{
	struct peer *peer;

	begin_with(hurried);
	peer = world_connect(&world);
	peer_text(peer, "GET / HTTP/1.1\r\nHost: we");
	world_wait(&world, 100);
	peer_text(peer, "ir\r\n\r\n");
	stand_still();
	take(peer);
	expect_answer(200, 2, false);
	expect_no_more();
	peer_text(peer, "GET / HTTP/1.1\r\nHost: we");
	world_wait(&world, 100);
	peer_text(peer, "i");
	stand_still();
	take(peer);
	expect_answer(408, 0, true);
	end_with(peer, CLOSE_request_timeout);
}
END_TEST

START_TEST(a_byte_that_has_come_counts_before_the_idle_limit)
{
	struct peer *peer;

	begin_with((struct conn_limits){WORLD_LIMITS, .idle_ms = 500});
	peer = world_connect(&world);
	world_wait(&world, 100);
	peer_text(peer, GET);
	stand_still();
	take(peer);
	expect_answer(200, 2, false);
	expect_no_more();
	stand_still();
	end_with(peer, CLOSE_idle_timeout);
}
END_TEST

SUITE("sim_http_clock", {"a slow head gets 408", a_slow_head_gets_408, 10},
      {"a slow head of HEAD gets no body", a_slow_head_of_head_gets_no_body, 10},
      {"an empty line has not begun a request", an_empty_line_has_not_begun_a_request, 10},
      {"many slow heads get 408", many_slow_heads_get_408, 10},
      {"a first chunk that is late gets 408", a_first_chunk_that_is_late_gets_408, 10},
      {"a slow body ends without a word", a_slow_body_ends_without_a_word, 10},
      {"a body that goes on is given time", a_body_that_goes_on_is_given_time, 10},
      {"a request that has come counts before its limit",
       a_request_that_has_come_counts_before_its_limit, 10},
      {"a byte that has come counts before the idle limit",
       a_byte_that_has_come_counts_before_the_idle_limit, 10},
      {"idle-timeout says 408 in a request only", idle_timeout_says_408_in_a_request_only, 10},
      {"write-timeout ends an answer that is not read",
       write_timeout_ends_an_answer_that_is_not_read, 10},
      {"space that is found late is used", space_that_is_found_late_is_used, 10},
      {"write-timeout says nothing", write_timeout_says_nothing, 10},
      {"a body behind a large answer has its time", a_body_behind_a_large_answer_has_its_time, 10})
