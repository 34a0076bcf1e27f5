/*
 * What once went wrong on an odd path, each case shown on a simulated kernel: turns that went on
 * for ever and did nothing, verbs in an order that nobody had thought of, stale clocks.
 *
 * It can't see whether a real kernel takes the same path.
 */
#include <string.h>

#include "tests/support/sim/kernel.h"

static struct world world;
static unsigned char newlines[1 << 16];

static void begin(const char *protocol, struct conn_limits limits)
{
	memset(newlines, '\n', sizeof newlines);
	world_open(&world, protocol, limits, BUFFERS_MIN);
}

/* Expects the loop to sleep: nothing is left to do, and no source asks for a turn. */
static void expect_sleep(void)
{
	for (int i = 0; i < 20; i++)
		world_pass(&world);
	ck_assert_ptr_null(world.loop.first);
}

static void end(struct peer *peer)
{
	peer_reset(peer);
	world_run(&world);
	world_close(&world);
}

START_TEST(messages_behind_a_full_queue_wait_asleep)
{
	struct peer *peer;

	begin("line", (struct conn_limits){.high_water = 1, .low_water = 1, .connections_max = 64});
	peer = world_connect(&world);
	peer->space = 1;
	peer_send(peer, newlines, sizeof newlines);
	expect_sleep();
	ck_assert(world_conn(&world, peer)->input_pending);
	/* Space alone is enough for all of them to come back. */
	size_t came = 0;
	peer->space = 1 << 20;
	for (int i = 0; i < 1000 && came < sizeof newlines; i++) {
		came += peer_receive(peer, NULL, 1 << 20);
		world_run(&world);
	}
	ck_assert_uint_eq(came, sizeof newlines);
	end(peer);
}
END_TEST

START_TEST(messages_that_wait_for_buffers_wait_asleep)
{
	struct chunk *taken[BUFFERS_MIN / CHUNK_SIZE];
	struct peer *peer;
	size_t n = 0;

	begin("line", (struct conn_limits){WORLD_LIMITS});
	peer = world_connect(&world);
	peer_send(peer, newlines, CHUNK_BYTES);
	world_pass(&world); /* the first turn's messages; the rest is kept */
	ck_assert(world_conn(&world, peer)->input_pending);
	while ((taken[n] = chunk_new(&world.table.buffers)))
		n++;
	expect_sleep();
	ck_assert(world_conn(&world, peer)->paused & PAUSED_BUFFERS);
	while (n)
		chunk_release(&world.table.buffers, taken[--n]);
	world_wait(&world, 1000);
	world_run(&world);
	ck_assert_uint_eq(peer->out.n, CHUNK_BYTES);
	end(peer);
}
END_TEST

static void say_nothing(struct conn *conn)
{
	(void)conn;
}

START_TEST(whoever_has_nothing_to_say_is_left_asleep)
{
	static const struct protocol silent = {.name = "silent", .writable = say_nothing};
	struct peer *peer;

	begin("echo", (struct conn_limits){WORLD_LIMITS});
	world.service.protocol = &silent;
	peer = world_connect(&world);
	expect_sleep();
	end(peer);
}
END_TEST

static size_t hold_twice(struct conn *conn, unsigned char *bytes, size_t n)
{
	conn_hold(conn, "a", 1);
	conn_hold(conn, "b", 1);
	if (bytes[n - 1] == '.')
		conn_send(conn, "c", 1);
	return n;
}

START_TEST(what_is_held_twice_goes_in_order)
{
	static const struct protocol holder = {.name = "holder", .input = hold_twice};
	struct peer *peer;

	begin("echo", (struct conn_limits){WORLD_LIMITS});
	world.service.protocol = &holder;
	peer = world_connect(&world);
	peer_text(peer, "x");
	world_run(&world);
	ck_assert_uint_eq(peer->out.n, 0);
	peer_text(peer, ".");
	world_run(&world);
	peer_expect(peer, "ababc", 5);
	end(peer);
}
END_TEST

static size_t answer_in_pieces(struct conn *conn, unsigned char *bytes, size_t n)
{
	static unsigned char much[4 * CONN_SPANS * 8192];

	(void)bytes;
	for (size_t i = 0; i < 4 * CONN_SPANS; i++) {
		memset(much + i * 8192, (int)i, 8191);
		conn_send(conn, much + i * 8192, 8191); /* a byte apart, so that none are joined */
	}
	return n;
}

/* An answer larger than all buffers ends with no_buffers, and what was sent of it has no hole. */
START_TEST(an_answer_too_large_has_no_hole)
{
	static const struct protocol pieces = {.name = "pieces", .input = answer_in_pieces};
	static unsigned char got[8192];
	struct peer *peer;
	size_t at = 0, n;

	begin("echo", (struct conn_limits){WORLD_LIMITS});
	world.service.protocol = &pieces;
	peer = world_connect(&world);
	peer->space = 8 << 20;
	peer_text(peer, "x");
	world_run(&world);
	ck_assert_uint_eq(world.stats.closed[CLOSE_no_buffers], 1);
	while ((n = peer_receive(peer, got, sizeof got)))
		for (size_t i = 0; i < n; i++, at++)
			ck_assert_uint_eq(got[i], (unsigned char)(at / 8191));
	world_close(&world);
}
END_TEST

START_TEST(a_held_line_gets_its_whole_write_timeout)
{
	struct peer *peer;

	begin("line", (struct conn_limits){WORLD_LIMITS, .write_ms = 1000});
	peer = world_connect(&world);
	peer->space = 4;
	peer_text(peer, "abc\nhalf");
	world_run(&world);
	world_wait(&world, 5000);
	peer_text(peer, "\n");
	world_wait(&world, 900);
	ck_assert_uint_eq(world_closed(&world), 0);
	world_wait(&world, 200);
	ck_assert_uint_eq(world.stats.closed[CLOSE_write_timeout], 1);
	world_close(&world);
}
END_TEST

static void another_byte(struct peer *peer)
{
	peer_send(peer, newlines, 1);
}

/* When a short read does not mean that the socket is drained: urgent data, or an end that has come.
 * And when the connection lingers. */
START_TEST(single_bytes_are_read_a_bounded_number_of_times_in_a_turn)
{
	struct peer *peer;

	begin("line", (struct conn_limits){WORLD_LIMITS});
	newlines[0] = 'x';
	peer = world_connect(&world);
	peer->after_read = another_byte;
	peer_send(peer, newlines, 1);
	if (_i) {
		conn_finish(world_conn(&world, peer), CLOSE_finished);
		loop_wake(&world.loop, &world_conn(&world, peer)->source);
	} else {
		world_conn(&world, peer)->source.ready |= SOURCE_ENDED;
	}
	for (int pass = 0; pass < 20; pass++) {
		kernel_count_anew();
		world_pass(&world);
		EXPECT(kernel.calls[KERNEL_read] <= CONN_TURN_BYTES / CONN_READ_COST + 1);
	}
	ck_assert_uint_gt(kernel.calls[KERNEL_read], 1);
	peer->after_read = NULL;
	peer_reset(peer);
	world_run(&world);
	world_close(&world);
}
END_TEST

/* The first slice is drained at once, each next one in a pass of its own; meanwhile newcomers are
 * served. */
START_TEST(a_drain_of_many_is_taken_in_turns)
{
	static struct peer *peers[4 * CONN_DRAIN_SLICE];
	const int n = 4 * CONN_DRAIN_SLICE;
	struct conn_limits limits = {WORLD_LIMITS};
	struct peer *late;
	int passes = 0;

	limits.connections_max = (uint32_t)n + 1;
	begin("echo", limits);
	for (int i = 0; i < n; i++)
		peers[i] = world_connect(&world);
	for (int i = 0; i < n; i++)
		peer_text(peers[i], "before");
	conn_table_drain(&world.table);
	late = world_connect(&world);
	while (world.table.conns.used) {
		uint64_t closed = world_closed(&world);

		world_pass(&world);
		ck_assert_uint_le(world_closed(&world) - closed, CONN_DRAIN_SLICE + 1);
		ck_assert_int_lt(++passes, 20);
	}
	ck_assert_int_ge(passes, 4);
	for (int i = 0; i < n; i++)
		peer_expect(peers[i], "before", 6);
	ck_assert(late->closed);
	ck_assert_uint_eq(world.stats.closed[CLOSE_drained], (uint64_t)n + 1);
	world_close(&world);
}
END_TEST

/* A process that is stopped while it asks epoll hears of no event when it goes on (EINTR), but sees
 * that a deadline has passed. What its peer said in time is served all the same. */
START_TEST(what_came_in_time_is_served_after_a_stop)
{
	struct conn_limits limits = {WORLD_LIMITS, .request_ms = 1000};
	struct peer *peer;

	begin("line", limits);
	peer = world_connect(&world);
	peer_text(peer, "hel");
	world_run(&world);
	peer_text(peer, "lo\n");
	kernel_advance(1100);
	kernel_fail(KERNEL_epoll_wait, 1, EINTR);
	world_pass(&world);
	peer_expect(peer, "hello\n", 6);
	world_run(&world);
	ck_assert(!peer->closed);
	peer_finish(peer);
	world_run(&world);
	ck_assert_uint_eq(world.stats.closed[CLOSE_eof], 1);
	world_close(&world);
}
END_TEST

SUITE("sim_attack",
      {"messages behind a full queue wait asleep", messages_behind_a_full_queue_wait_asleep, 10},
      {"messages that wait for buffers wait asleep", messages_that_wait_for_buffers_wait_asleep,
       10},
      {"whoever has nothing to say is left asleep", whoever_has_nothing_to_say_is_left_asleep, 10},
      {"what is held twice goes in order", what_is_held_twice_goes_in_order, 10},
      {"an answer too large has no hole", an_answer_too_large_has_no_hole, 10},
      {"a held line gets its whole write-timeout", a_held_line_gets_its_whole_write_timeout, 10},
      {"single bytes are read a bounded number of times in a turn",
       single_bytes_are_read_a_bounded_number_of_times_in_a_turn, 10, 2},
      {"a drain of many is taken in turns", a_drain_of_many_is_taken_in_turns, 10},
      {"what came in time is served after a stop", what_came_in_time_is_served_after_a_stop, 10})
