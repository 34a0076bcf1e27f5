/*
 * Polite connections beside connections that hold buffers: how much of the buffers a begun message
 * takes, that a polite request never waits for a timeout, and which connection is closed when
 * buffers are used up.
 *
 * Time stands still in these tests unless they advance it: a request that is answered after a
 * world_run() has waited for nobody's timeout.
 */
#include <stdio.h>
#include <string.h>

#include "tests/support/sim/kernel.h"

#define ATTACKERS   300
#define CHUNKS	    (BUFFERS_MIN / CHUNK_SIZE)
#define LONG_LINE   60000
#define REQUEST	    "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define HEAD_BYTES  8000
#define PIECE_BYTES 4000

static struct world world;
static struct peer *attackers[12 * ATTACKERS];
static char many[LONG_LINE + 1];

static void begin(const char *protocol)
{
	memset(many, 'x', LONG_LINE);
	many[LONG_LINE] = '\n';
	world_open(&world, protocol,
		   (struct conn_limits){.high_water = 256 << 10,
					.low_water = 64 << 10,
					.request_ms = 10000,
					.connections_max = 13 * ATTACKERS},
		   BUFFERS_MIN);
}

static void end(void)
{
	conn_table_abort(&world.table, CLOSE_stopped);
	world_run(&world);
	world_close(&world);
}

static void attack(int first, int last, const char *text, size_t n)
{
	for (int i = first; i < last; i++) {
		attackers[i] = world_connect(&world);
		peer_send(attackers[i], text, n);
	}
}

static void expect_served(struct peer *peer)
{
	char answer[1024];
	size_t n;

	peer_text(peer, REQUEST);
	world_run(&world);
	ck_assert(!peer->closed);
	n = peer_receive(peer, answer, sizeof answer);
	ck_assert_uint_gt(n, 20);
	ck_assert_int_eq(memcmp(answer, "HTTP/1.1 200 OK", 15), 0);
	ck_assert_int_eq(memcmp(answer + n - 2, "ok", 2), 0);
}

/* ---- what a byte takes ---- */

START_TEST(a_byte_of_a_message_takes_its_share)
{
	static const struct {
		const char *protocol, *begins;
	} all[] = {
	    {"http", "G"}, {"line", "x"}, {"frame", "\1"}, {"http", "GET / HTTP/1.1\r\nHos"}};
	const char *begins = all[_i].begins;

	begin(all[_i].protocol);
	attack(0, 5 * ATTACKERS, begins, strlen(begins));
	world_run(&world);
	ck_assert_uint_gt(world.table.buffers.chunks.used, 0);
	ck_assert_uint_le(world.table.buffers.chunks.used, 5 * ATTACKERS / 64 + 1);
	ck_assert_uint_eq(world.stats.buffer_waits, 0);
	ck_assert_uint_eq(world_closed(&world), 0);
	end();
}
END_TEST

/* A head that comes byte by byte moves to larger and larger chunks, and stays the same. */
START_TEST(a_message_that_grows_is_whole)
{
	struct peer *peer;
	size_t largest = 0;

	begin("http");
	peer = world_connect(&world);
	peer_text(peer, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
	for (size_t i = 0; i < PIECE_BYTES + 1000; i++) {
		struct conn *conn;
		size_t weight;

		peer_send(peer, many + i, 1);
		world_run(&world);
		conn = world_conn(&world, peer);
		weight = chunk_weight(&world.table.buffers, conn->input);
		ck_assert(weight <= 256 || weight * 10 <= conn->input->used * 43u);
		largest = weight > largest ? weight : largest;
	}
	ck_assert_uint_eq(largest, CHUNK_SIZE);
	peer_text(peer, "\r\n\r\n");
	world_run(&world);
	ck_assert_uint_eq(world.table.buffers.chunks.used, 0);
	(void)peer_receive(peer, NULL, 1 << 20);
	expect_served(peer);
	end();
}
END_TEST

/* ---- a polite request among many others ---- */

/* Each attacker sends so much of a head that it takes a whole chunk, and stops. */
START_TEST(beside_those_who_hold_everything_a_request_is_served_at_once)
{
	struct peer *polite, *newcomer;

	begin("http");
	polite = world_connect(&world);
	memcpy(many, "GET /", 5);
	for (int i = 0; i < ATTACKERS; i += 5) {
		attack(i, i + 5, many, HEAD_BYTES);
		world_run(&world);
		world_wait(&world, 50);
		expect_served(polite);
	}
	world_wait(&world, 400);
	ck_assert_uint_gt(world.stats.buffer_waits, 0);
	ck_assert_uint_gt(world.stats.closed[CLOSE_no_buffers], 0);
	newcomer = world_connect(&world);
	expect_served(newcomer);
	expect_served(polite);
	ck_assert_uint_eq(world.stats.closed[CLOSE_request_timeout], 0);
	end();
}
END_TEST

/* All attackers send at once, the second time among more connections than are looked at in one
 * turn. They moved just now, so they are given a quarter of a second. */
START_TEST(beside_a_flood_a_request_waits_for_a_moment)
{
	struct peer *polite;
	uint32_t began_ms;

	begin("http");
	attack(ATTACKERS, _i ? 12 * ATTACKERS : ATTACKERS, "", 0);
	polite = world_connect(&world);
	memcpy(many, "GET /", 5);
	attack(0, ATTACKERS, many, HEAD_BYTES);
	world_run(&world);
	began_ms = world.loop.now_ms;
	peer_text(polite, REQUEST);
	while (!polite->out.n)
		loop_pass(&world.loop, -1);
	ck_assert_uint_le(world.loop.now_ms - began_ms, 500);
	ck_assert(!polite->closed);
	end();
}
END_TEST

/* The others wait already, each with more than a chunk to read: the buffers that come free do not
 * all go to the first of them. */
START_TEST(many_who_wait_for_their_first_read_do_not_keep_it_waiting)
{
	struct peer *polite;
	uint32_t began_ms;

	begin("line");
	attack(0, 3 * ATTACKERS, "", 0);
	polite = world_connect(&world);
	world_run(&world);
	for (int i = 0; i < 3 * ATTACKERS; i++)
		peer_send(attackers[i], many, 16000);
	world_run(&world);
	began_ms = world.loop.now_ms;
	peer_text(polite, "polite\n");
	while (!polite->out.n)
		loop_pass(&world.loop, -1);
	ck_assert_uint_le(world.loop.now_ms - began_ms, 1000);
	peer_expect(polite, "polite\n", 7);
	end();
}
END_TEST

/* Each attacker asks for a large answer, and takes only what fits in its socket. */
START_TEST(those_who_do_not_take_what_they_ask_for_leave_room_for_a_request)
{
	static const char asks[] = "GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\n\r\n";

	begin("http");
	for (int i = 0; i < ATTACKERS; i++) {
		attack(i, i + 1, asks, sizeof asks - 1);
		attackers[i]->space = HEAD_BYTES * 5;
	}
	world_run(&world);
	ck_assert_uint_gt(world.stats.buffer_waits, 0);
	expect_served(world_connect(&world));
	end();
}
END_TEST

/* The polite client makes no progress because the test does not read from it. It must not be
 * closed for that. */
START_TEST(a_long_line_beside_them_is_not_closed_for_waiting)
{
	struct peer *polite;

	begin("line");
	polite = world_connect(&world);
	attack(0, ATTACKERS, "", 0);
	world_run(&world);
	peer_send(polite, many, 20000);
	for (int i = 0; i < ATTACKERS; i++)
		peer_send(attackers[i], many, HEAD_BYTES);
	world_run(&world);
	peer_text(polite, "\n");
	while (!polite->out.n && !polite->closed)
		loop_pass(&world.loop, -1);
	ck_assert(!polite->closed);
	ck_assert_uint_gt(world.stats.closed[CLOSE_no_buffers], 0);
	end();
}
END_TEST

/* A little from so many that all memory is cut into small chunks: a whole one has to come free
 * again. */
START_TEST(many_small_shares_are_had_back)
{
	struct peer *polite;

	begin("http");
	polite = world_connect(&world);
	memcpy(many, "GET /", 5);
	for (int i = 0; i < 12; i++) {
		attack(i * ATTACKERS, (i + 1) * ATTACKERS, many, 500);
		world_run(&world);
		world_wait(&world, 300);
		expect_served(polite);
	}
	ck_assert_uint_gt(world.stats.closed[CLOSE_no_buffers], 0);
	ck_assert_uint_le(world.stats.closed[CLOSE_no_buffers], 10 * ATTACKERS);
	end();
}
END_TEST

/* ---- which one has to go ---- */

/* A line of 60,000 bytes needs four chunks; the others hold buffers and have been idle for 5 s. */
START_TEST(whoever_was_idle_and_moves_now_is_not_closed)
{
	struct peer *late;
	size_t at = 0;

	begin("line");
	late = world_connect(&world);
	attack(0, ATTACKERS, many, PIECE_BYTES);
	world_run(&world);
	world_wait(&world, 5000);
	while (at < LONG_LINE + 1) {
		size_t n = LONG_LINE + 1 - at < 10000 ? LONG_LINE + 1 - at : 10000;

		peer_send(late, many + at, n);
		world_run(&world);
		world_wait(&world, 300);
		at += n;
	}
	ck_assert(!late->closed);
	ck_assert_uint_eq(late->out.n, LONG_LINE + 1);
	ck_assert_uint_gt(world.stats.closed[CLOSE_no_buffers], 0);
	ck_assert_uint_lt(world.stats.closed[CLOSE_no_buffers], ATTACKERS);
	end();
}
END_TEST

/* Of many that hold about the same, one goes on sending, byte by byte: the idle ones are closed
 * before it. */
START_TEST(progress_of_input_counts)
{
	struct peer *migration, *late;

	begin("line");
	migration = world_connect(&world);
	peer_send(migration, many, PIECE_BYTES);
	attack(0, 40, many, 10000);
	world_run(&world);
	for (int i = 0; i < 30; i++) {
		peer_text(migration, "x");
		world_wait(&world, 100);
	}
	ck_assert_uint_eq(world_closed(&world), 0);
	attack(40, 80, many, 10000);
	world_run(&world);
	late = world_connect(&world);
	peer_text(late, "late\n");
	world_run(&world);
	peer_expect(late, "late\n", 5);
	ck_assert_uint_gt(world.stats.closed[CLOSE_no_buffers], 0);
	ck_assert(!migration->closed);
	for (int i = 40; i < 80; i++) /* these moved later than the first 40 */
		ck_assert(!attackers[i]->closed);
	end();
}
END_TEST

SUITE("sim_buffers",
      {"a byte of a message takes its share", a_byte_of_a_message_takes_its_share, 20, 4},
      {"a message that grows is whole", a_message_that_grows_is_whole, 20},
      {"beside those who hold everything a request is served at once",
       beside_those_who_hold_everything_a_request_is_served_at_once, 20},
      {"beside a flood a request waits for a moment", beside_a_flood_a_request_waits_for_a_moment,
       20, 2},
      {"many who wait for their first read do not keep it waiting",
       many_who_wait_for_their_first_read_do_not_keep_it_waiting, 20},
      {"those who do not take what they ask for leave room for a request",
       those_who_do_not_take_what_they_ask_for_leave_room_for_a_request, 20},
      {"a long line beside them is not closed for waiting",
       a_long_line_beside_them_is_not_closed_for_waiting, 20},
      {"many small shares are had back", many_small_shares_are_had_back, 20},
      {"whoever was idle and moves now is not closed", whoever_was_idle_and_moves_now_is_not_closed,
       20},
      {"progress of input counts", progress_of_input_counts, 20})
