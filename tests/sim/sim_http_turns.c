/*
 * HTTP on a simulated kernel: how many calls a request takes, what memory an unread answer holds,
 * how a refusal reaches its peer, and what is still answered in a drain.
 */
#include "tests/support/sim/sim_http_client.h"
#include "tests/support/sim/sim_move.h"

static unsigned long writes(void)
{
	return kernel.calls[KERNEL_write] + kernel.calls[KERNEL_writev];
}

/* ---- calls ---- */

START_TEST(many_requests_are_one_read_and_one_write)
{
	struct peer *peer;

	begin();
	peer = world_connect(&world);
	for (int n = 1; n <= 60; n++) {
		got_n = looked = 0;
		for (int i = 0; i < n; i++)
			peer_text(peer, GET);
		kernel_count_anew();
		world_run(&world);
		ck_assert_uint_eq(kernel.calls[KERNEL_read], 1);
		ck_assert_uint_eq(kernel.calls[KERNEL_write], 1);
		ck_assert_uint_eq(kernel.calls[KERNEL_writev], 0); /* one span, too */
		take(peer);
		for (int i = 0; i < n; i++)
			expect_answer(200, 2, false);
		expect_no_more();
	}
	ck_assert_uint_eq(world.stats.messages, 60 * 61 / 2);
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

START_TEST(answers_of_all_kinds_leave_in_one_write)
{
	struct peer *peer;

	begin();
	peer = world_connect(&world);
	for (int i = 0; i < 3; i++) {
		peer_text(peer, GET "GET /nothing HTTP/1.1\r\nHost: weir\r\n\r\n");
		peer_text(peer, "GET /bytes/500 HTTP/1.1\r\nHost: weir\r\n\r\n");
		peer_text(peer, CHUNKED "3;x\r\nabc\r\n0\r\n\r\n");
	}
	kernel_count_anew();
	world_run(&world);
	ck_assert_uint_eq(writes(), 1);
	take(peer);
	for (int i = 0; i < 3; i++) {
		expect_answer(200, 2, false);
		expect_answer(404, 0, false);
		expect_answer(200, 500, false);
		expect_answer(200, 3, false);
	}
	expect_no_more();
	ck_assert_uint_eq(world_stat(&world, "http_refused"), 3);
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* The connection may have moved to a worker with a lower limit. */
START_TEST(a_limit_that_became_less_holds_for_a_body_under_way)
{
	struct peer *peer;

	begin();
	peer = world_connect(&world);
	peer_text(peer, CHUNKED "5\r\nhello\r\n");
	take(peer);
	world.service.settings[0] = 4;
	peer_text(peer, "1\r\nx\r\n0\r\n\r\n");
	take(peer);
	ck_assert_uint_eq(world_stat(&world, "http_refused"), 1);
	ck_assert_uint_eq(world.stats.messages, 0);
	peer_finish(peer);
	end_with(peer, close_reason_named("bad_request"));
}
END_TEST

/* ---- memory ---- */

/* The answers have up to four hundred times the length of the requests. */
START_TEST(answers_that_nobody_reads_hold_two_chunks)
{
	static const struct {
		const char *text;
		int n, status;
		size_t body_n;
	} requests[] = {
	    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 3000, 200, 2},
	    {"GET /bytes/512 HTTP/1.1\r\nHost:\r\n\r\n", 3000, 200, 512},
	    {"GET /bytes/16000 HTTP/1.1\r\nHost:\r\n\r\n", 200, 200, 16000},
	    {"PUT / HTTP/1.1\r\nHost:\r\n\r\n", 3000, 405, 0},
	    {"POST /echo HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n", 3000, 200, 0},
	    {"POST /echo HTTP/1.1\r\nHost:\r\nContent-Length: 9\r\n\r\n123456789", 3000, 200, 9}};

	for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
		struct peer *peer;

		begin();
		peer = world_connect(&world);
		peer->space = 10;
		for (int k = 0; k < requests[i].n; k++)
			peer_text(peer, requests[i].text);
		for (int k = 0; k < 1000; k++)
			world_pass(&world);
		ck_assert_uint_le(world.stats.chunks, 2);
		peer->space = PEER_SPACE;
		got[got_n++] = *(peer->out.at + peer->out.start);
		(void)peer_receive(peer, NULL, 1);
		take(peer);
		for (int k = 0; k < requests[i].n; k++)
			expect_answer(requests[i].status, requests[i].body_n, false);
		expect_no_more();
		ck_assert_uint_le(world.stats.chunks_max, 3); /* 3 while one replaces another */
		peer_finish(peer);
		end_with(peer, CLOSE_eof);
	}
}
END_TEST

/* Much is owed when a body comes, and more requests follow it. */
START_TEST(a_body_behind_answers_holds_two_chunks)
{
	struct peer *peer;

	begin();
	peer = world_connect(&world);
	peer->space = 10;
	for (int i = 0; i < 60; i++)
		peer_text(peer, "GET / HTTP/1.1\r\nHost:\r\n\r\n");
	peer_text(peer, "POST /echo HTTP/1.1\r\nHost:\r\nContent-Length: 12000\r\n\r\n");
	peer_send(peer, (char[12000]){0}, 12000);
	for (int i = 0; i < 60; i++)
		peer_text(peer, "GET / HTTP/1.1\r\nHost:\r\n\r\n");
	world_run(&world);
	ck_assert_uint_le(world.stats.chunks_max, 2);
	got[got_n++] = *(peer->out.at + peer->out.start);
	(void)peer_receive(peer, NULL, 1);
	peer->space = PEER_SPACE;
	take(peer);
	for (int i = 0; i < 121; i++)
		expect_answer(200, i == 60 ? 12000 : 2, false);
	expect_no_more();
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

START_TEST(the_last_answer_is_said_whole)
{
	struct peer *peer;

	begin();
	peer = world_connect(&world);
	peer->space = 1000;
	peer_text(peer, "GET /bytes/100000 HTTP/1.0\r\n\r\n" GET);
	take(peer);
	ck_assert_int_eq(memcmp(got + got_n - 4, "abcd", 4), 0); /* 100,000 = 3846 * 26 + 4 */
	ck_assert_uint_gt(got_n, 100000);
	ck_assert_uint_lt(got_n, 100300);
	ck_assert(peer->closed || peer->shut);
	end_with(peer, CLOSE_finished);
}
END_TEST

START_TEST(a_large_answer_waits_for_its_reader)
{
	const size_t n = 1000000;
	struct peer *peer;
	size_t head;

	begin();
	peer = world_connect(&world);
	peer->space = 1000;
	peer_text(peer, "GET /bytes/1000000 HTTP/1.1\r\nHost: weir\r\n\r\n" GET);
	peer_text(peer, "GET / HTTP/1.0\r\n\r\n");
	world_run(&world);
	peer_finish(peer); /* half-close */
	world_run(&world);
	ck_assert_uint_le(world.table.buffers.chunks.used, 2);
	take(peer);
	head = (size_t)((unsigned char *)memmem(got, got_n, "\r\n\r\n", 4) + 4 - got);
	for (size_t i = 0; i < n; i++)
		EXPECT(got[head + i] == 'a' + (int)(i % 26));
	looked = head + n;
	expect_answer(200, 2, false);
	expect_answer(200, 2, true);
	expect_no_more();
	ck_assert_uint_le(world.stats.chunks_max, 3);
	end_with(peer, CLOSE_finished);
}
END_TEST

START_TEST(no_input_is_read_while_an_answer_is_being_said)
{
	struct peer *peer;
	unsigned long reads;

	begin();
	peer = world_connect(&world);
	peer->space = 1000;
	peer_text(peer, "GET /bytes/1000000 HTTP/1.1\r\nHost: weir\r\n\r\n");
	world_run(&world);
	reads = kernel.calls[KERNEL_read];
	for (int i = 0; i < 20; i++) {
		peer_text(peer, GET);
		got_n += peer_receive(peer, got + got_n, 1000);
		world_run(&world);
	}
	ck_assert_uint_eq(kernel.calls[KERNEL_read], reads);
	ck_assert_uint_eq(world.stats.budget_yields,
			  0); /* a client that does not read is not counted as a yield */
	peer_reset(peer);
	end_with(peer, CLOSE_reset);
}
END_TEST

/* ---- refusals ---- */

START_TEST(a_client_refused_in_a_body_may_go_on_sending)
{
	struct peer *peer;

	begin();
	world.service.settings[0] = 1000;
	peer = world_connect(&world);
	peer_text(peer, "POST /echo HTTP/1.1\r\nHost: weir\r\nContent-Length: 1001\r\n\r\n");
	take(peer);
	ck_assert(peer->shut);
	ck_assert(!peer->closed);
	for (int i = 0; i < 100; i++) {
		peer_send(peer, (char[1000]){0}, 1000);
		world_wait(&world, 10);
	}
	expect_answer(413, 0, true);
	expect_no_more();
	ck_assert(!peer->closed);
	peer_finish(peer);
	world_run(&world);
	ck_assert(peer->closed);
	ck_assert(!peer->got_reset);
	end_with(peer, close_reason_named("bad_request"));
}
END_TEST

/* The same if it moves before its peer has read the refusal. */
START_TEST(a_client_that_is_refused_and_moves_may_go_on_sending)
{
	static struct sim_move move;
	struct peer *peer;
	unsigned char bytes[2000];
	size_t n = 0;

	sim_move_open(&move, "http", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	peer = world_connect(sim_move_here(&move));
	peer->space = 20;
	peer_text(peer, "POST /echo HTTP/1.1\r\nHost: weir\r\n\r\n");
	sim_move_run(&move);
	ck_assert(sim_move_move(&move, peer));
	for (int i = 0; !peer->shut; i++) {
		ck_assert_int_lt(i, 100);
		sim_move_run(&move);
		n += peer_receive(peer, bytes + n, 20);
	}
	ck_assert_ptr_nonnull(memmem(bytes, n, " 411 ", 5));
	peer_text(peer, "as if it had been read");
	sim_move_run(&move);
	ck_assert(!peer->closed);
	peer_finish(peer);
	sim_move_run(&move);
	ck_assert(peer->closed);
	ck_assert_int_eq(sim_move_reason(&move), close_reason_named("bad_request"));
	peer_free(peer);
	sim_move_close(&move);
}
END_TEST

START_TEST(a_body_of_chunks_is_bounded)
{
	struct peer *peer;

	begin();
	world.service.settings[0] = 1000;
	peer = world_connect(&world);
	peer_text(peer, CHUNKED "3e9\r\n");
	take(peer);
	expect_answer(413, 0, true);
	expect_no_more();
	end_with(peer, close_reason_named("bad_request"));

	begin();
	world.service.settings[0] = 1000;
	peer = world_connect(&world);
	peer_text(peer, CHUNKED "3e7\r\n");
	peer_send(peer, (char[999]){0}, 999);
	peer_text(peer, "\r\n2\r\nab\r\n0\r\n\r\n");
	take(peer);
	ck_assert_uint_eq(world_stat(&world, "http_refused"), 1);
	ck_assert_int_eq(atoi((char *)got + 9), 200);
	ck_assert_int_ne(memcmp(got + got_n - 5, "0\r\n\r\n", 5), 0);
	end_with(peer, close_reason_named("bad_request"));

	begin();
	world.service.settings[0] = 1000;
	peer = world_connect(&world);
	peer_text(peer, CHUNKED "1\r\na\r\n3e7\r\n"); /* exactly as much as is allowed */
	peer_send(peer, (char[999]){0}, 999);
	peer_text(peer, "\r\n0\r\n\r\n");
	take(peer);
	expect_answer(200, 1000, false);
	expect_no_more();
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* Even if it reads the refusal so slowly that it is closed before it has all of it. */
START_TEST(a_refused_client_is_refused_once)
{
	struct peer *peer;

	begin_with((struct conn_limits){WORLD_LIMITS, .idle_ms = 300});
	peer = world_connect(&world);
	peer->space = 10;
	peer_text(peer, CHUNKED "zz\r\n");
	world_run(&world);
	ck_assert_uint_eq(world_stat(&world, "http_refused"), 1);
	world_wait(&world, 302);
	ck_assert_uint_eq(world_stat(&world, "http_refused"), 1);
	ck_assert(peer->closed);
	world_close(&world);
}
END_TEST

/* A head is not parsed again for each piece, but still it is refused once it is too long. */
START_TEST(a_head_without_an_end_is_refused)
{
	struct peer *peer;

	begin();
	memset(got, 'x', 16000);
	peer = world_connect(&world);
	peer_text(peer, "GET / HTTP/1.1\r\nX: ");
	peer_send(peer, got, 9000);
	world_run(&world);
	peer_send(peer, got, 16000 - 9000);
	take(peer);
	expect_answer(431, 0, true);
	expect_no_more();
	end_with(peer, close_reason_named("bad_request"));
}
END_TEST

/* How much of a trailer was looked at is forgotten after it. The next head has the same length, so
 * that it would show. */
START_TEST(a_trailer_in_pieces_is_behind_us)
{
	struct peer *peer;

	begin();
	peer = world_connect(&world);
	peer_text(peer, CHUNKED "0\r\nX: ");
	peer_send(peer, "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", sizeof GET - 1 - 3);
	world_run(&world);
	peer_text(peer, "\r\n\r\n");
	world_run(&world);
	peer_text(peer, GET);
	take(peer);
	expect_answer(200, 0, false);
	expect_answer(200, 2, false);
	expect_no_more();
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* ---- a drain ---- */

/* Requests that have begun by then are finished; those that begin later are not answered. */
START_TEST(a_drain_finishes_what_has_begun)
{
	static const struct {
		const char *before, *after;
		int answers;
	} cases[] = {
	    {"", "", 0},
	    {GET, "", 1},
	    {"GET / HT", "TP/1.1\r\nHost: weir\r\n\r\n", 1},
	    {"POST /echo HTTP/1.1\r\nHost: weir\r\nContent-Length: 5\r\n\r\nhe", "llo", 1},
	    {CHUNKED "5\r\nhello", "\r\n1\r\na\r\n0\r\n\r\n", 1},
	    {GET GET CHUNKED "5", "\r\nhello\r\n0\r\n\r\n" GET, 3},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct peer *peer;
		int answers = 0;

		begin();
		peer = world_connect(&world);
		peer_text(peer, cases[i].before);
		world_run(&world);
		conn_table_drain(&world.table);
		world_run(&world);
		ck_assert_int_eq(peer->closed || peer->shut, *cases[i].after == '\0');
		if (*cases[i].after)
			peer_text(peer, cases[i].after);
		take(peer);
		for (; looked < got_n; answers++) {
			static struct answer answer;

			looked += answer_read(got + looked, got_n - looked, false, &answer);
			ck_assert(answer.whole);
		}
		ck_assert_int_eq(answers, cases[i].answers);
		ck_assert(!peer->got_reset);
		peer_finish(peer);
		end_with(peer, CLOSE_drained);
	}
}
END_TEST

#define LENGTH_2 "POST /echo HTTP/1.1\r\nHost: weir\r\nContent-Length: 2\r\n\r\n"
#define HTTP_1_0 "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"

/* All requests that have come, or begun, when the drain begins are answered. The last answer says
 * close. */
START_TEST(the_last_answer_of_a_drain_says_close)
{
	static const struct {
		const char *before, *unread,
		    *after; /* unread: not read yet when the drain begins */
		int answers;
	} cases[] = {
	    {GET, GET, "", 2},
	    {"", GET GET GET, "", 3},
	    {"", GET HTTP_1_0, "", 2},
	    {"", GET "GET / HT", "TP/1.1\r\nHost: weir\r\n\r\n" GET "GET", 2},
	    {"GET / HT", "TP/1.1\r\nHost: weir\r\n\r\n", "", 1},
	    {"GET / HT", "", "TP/1.1\r\nHost: weir\r\n\r\n" GET GET, 1},
	    {"", GET "GET /nothing HTTP/1.1\r\nHost: weir\r\n\r\n", "", 2},
	    {"", LENGTH_2 "ab" LENGTH_2 "ab", "", 2},
	    {"", LENGTH_2 "a", "b" GET, 1},
	    {LENGTH_2, "a", "b" GET, 1},
	    {LENGTH_2, "", "ab" GET, 1},
	    {CHUNKED "2", "", "\r\nab\r\n0\r\n\r\n" GET, 1},
	    {"", "GET /bytes/20000 HTTP/1.1\r\nHost: weir\r\n\r\n" GET, "", 2},
	    {"", GET "GET /bytes/20000 HTTP/1.1\r\nHost: weir\r\n\r\n", "", 2},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct peer *peer;
		int answers = 0;
		bool closes = false;

		begin();
		peer = world_connect(&world);
		peer_text(peer, cases[i].before);
		world_run(&world);
		peer_text(peer, cases[i].unread);
		conn_table_drain(&world.table);
		world_run(&world);
		if (*cases[i].after)
			peer_text(peer, cases[i].after);
		take(peer);
		for (; looked < got_n; answers++) {
			static struct answer answer;

			ck_assert(!closes);
			looked += answer_read(got + looked, got_n - looked, false, &answer);
			ck_assert(answer.whole);
			closes = answer.closes;
		}
		ck_assert_int_eq(answers, cases[i].answers);
		ck_assert_msg(closes, "case %zu", i);
		ck_assert(!peer->got_reset);
		peer_finish(peer);
		end_with(peer, CLOSE_drained);
	}
}
END_TEST

/* A pipeliner whose next request has always begun already. */
START_TEST(a_drain_ends_a_busy_pipeliner)
{
	struct peer *peer;

	begin();
	peer = world_connect(&world);
	peer_text(peer, GET "GET / HT");
	take(peer);
	expect_answer(200, 2, false);
	conn_table_drain(&world.table);
	world_run(&world);
	for (int i = 0; i < 10 && !peer->closed && !peer->shut; i++) {
		peer_text(peer, "TP/1.1\r\nHost: weir\r\n\r\nGET / HT");
		take(peer);
	}
	expect_answer(200, 2, true);
	expect_no_more();
	ck_assert(peer->shut && !peer->closed); /* it lingers, because more may come */
	peer_finish(peer);
	end_with(peer, CLOSE_drained);
}
END_TEST

START_TEST(a_drain_lets_an_answer_be_read)
{
	struct peer *peer;

	begin();
	peer = world_connect(&world);
	peer->space = 1000;
	peer_text(peer, "GET /bytes/1000000 HTTP/1.1\r\nHost: weir\r\n\r\n");
	world_run(&world);
	conn_table_drain(&world.table);
	world_run(&world);
	ck_assert(!peer->closed && !peer->shut);
	take(peer);
	ck_assert_uint_gt(got_n, 1000000);
	peer_finish(peer);
	end_with(peer, CLOSE_drained);
}
END_TEST

/* The process that it moved to waits for its end, too, whatever of it had come before. */
START_TEST(a_drain_finishes_what_has_begun_elsewhere)
{
	static const char request[] =
	    "POST /echo HTTP/1.1\r\nHost: weir\r\nContent-Length: 5\r\n\r\nhello";

	for (size_t cut = 1; cut < sizeof request - 1; cut++) {
		static struct sim_move move;
		struct peer *peer;
		unsigned char bytes[1000];

		sim_move_open(&move, "http", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
		peer = world_connect(sim_move_here(&move));
		peer_send(peer, request, cut);
		sim_move_run(&move);
		ck_assert(sim_move_move(&move, peer));
		conn_table_drain(&sim_move_here(&move)->table);
		sim_move_run(&move);
		ck_assert_msg(!peer->closed && !peer->shut, "after %zu bytes", cut);
		peer_send(peer, request + cut, sizeof request - 1 - cut);
		sim_move_run(&move);
		ck_assert_uint_gt(peer_receive(peer, bytes, sizeof bytes), 0);
		peer_finish(peer);
		sim_move_run(&move);
		ck_assert_int_eq(sim_move_reason(&move), CLOSE_drained);
		peer_free(peer);
		sim_move_close(&move);
	}
}
END_TEST

SUITE("sim_http_turns",
      {"many requests are one read and one write", many_requests_are_one_read_and_one_write, 10},
      {"answers of all kinds leave in one write", answers_of_all_kinds_leave_in_one_write, 10},
      {"a limit that became less holds for a body under way",
       a_limit_that_became_less_holds_for_a_body_under_way, 10},
      {"answers that nobody reads hold two chunks", answers_that_nobody_reads_hold_two_chunks, 20},
      {"a body behind answers holds two chunks", a_body_behind_answers_holds_two_chunks, 10},
      {"the last answer is said whole", the_last_answer_is_said_whole, 10},
      {"a large answer waits for its reader", a_large_answer_waits_for_its_reader, 10},
      {"no input is read while an answer is being said",
       no_input_is_read_while_an_answer_is_being_said, 10},
      {"a client that is refused and moves may go on sending",
       a_client_that_is_refused_and_moves_may_go_on_sending, 10},
      {"a client refused in a body may go on sending", a_client_refused_in_a_body_may_go_on_sending,
       10},
      {"a refused client is refused once", a_refused_client_is_refused_once, 10},
      {"a head without an end is refused", a_head_without_an_end_is_refused, 10},
      {"a trailer in pieces is behind us", a_trailer_in_pieces_is_behind_us, 10},
      {"a body of chunks is bounded", a_body_of_chunks_is_bounded, 10},
      {"a drain finishes what has begun", a_drain_finishes_what_has_begun, 10},
      {"a drain finishes what has begun elsewhere", a_drain_finishes_what_has_begun_elsewhere, 20},
      {"the last answer of a drain says close", the_last_answer_of_a_drain_says_close, 10},
      {"a drain ends a busy pipeliner", a_drain_ends_a_busy_pipeliner, 10},
      {"a drain lets an answer be read", a_drain_lets_an_answer_be_read, 10})
