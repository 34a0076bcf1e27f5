/*
 * A connection on a simulated kernel: the exact system calls of its life, its turns'
 * budgets, backpressure, shared buffers, deadlines and ends.
 *
 * Time stands still unless a pass waits, so that every limit is checked to the millisecond.
 * It can't see what the calls cost, nor what a real TCP makes of them.
 */
#include <netinet/in.h>

#include "tests/support/sim/kernel.h"

#define LARGE (1u << 20)

static struct world world;
static unsigned char sent[LARGE], got[LARGE];

static void begin_with(const char *protocol, struct conn_limits limits)
{
	uint64_t seed = 9;

	for (size_t i = 0; i < sizeof sent; i++)
		sent[i] = (unsigned char)sim_random(&seed);
	world_open(&world, protocol, limits, BUFFERS_MIN);
}

static void begin(const char *protocol)
{
	begin_with(protocol, (struct conn_limits){WORLD_LIMITS});
}

static void end_with(struct peer *peer, enum close_reason reason)
{
	ck_assert(peer->closed);
	ck_assert_msg(world.stats.closed[reason] == world_closed(&world), "other reasons than %s",
		      close_reason_name(reason));
	world_close(&world);
}

/* Expects n such calls since the counts were last set to 0. */
static void expect_calls(enum kernel_call call, unsigned long n)
{
	ck_assert_msg(kernel.calls[call] == n, "%s: %lu calls, not %lu", kernel_call_names[call],
		      kernel.calls[call], n);
}

static void settle_and_take(struct peer *peer, size_t *at)
{
	world_run(&world);
	while (peer->out.n) {
		*at += peer_receive(peer, got + *at, sizeof got - *at);
		world_run(&world);
	}
}

/* ---- calls ---- */

START_TEST(opening_is_one_epoll_ctl)
{
	struct peer *peer;

	begin("echo");
	kernel_count_anew();
	peer = world_connect(&world);
	expect_calls(KERNEL_epoll_ctl, 1);
	ck_assert_uint_eq(kernel_calls_all(), 1);
	peer_finish(peer);
	world_run(&world);
	end_with(peer, CLOSE_eof);
}
END_TEST

START_TEST(a_message_is_one_read_and_one_write)
{
	static const char *const protocols_of_it[] = {"echo", "line", "frame"};

	for (int i = 0; i < 3; i++) {
		struct peer *peer;

		begin(protocols_of_it[i]);
		peer = world_connect(&world);
		world_run(&world);
		for (int k = 0; k < 50; k++) {
			kernel_count_anew();
			peer_send(peer, "\0\0\0\3ab\n", 7);
			world_run(&world);
			expect_calls(KERNEL_epoll_wait, 1);
			expect_calls(KERNEL_read, 1);
			expect_calls(KERNEL_write, 1);
			ck_assert_uint_eq(kernel_calls_all(), 3);
			peer_expect(peer, "\0\0\0\3ab\n", 7);
			/* The loop would sleep until the next message. */
			loop_pass(&world.loop, -1);
			ck_assert_int_eq(kernel.wait_asked, -1);
		}
		ck_assert_uint_eq(world.table.buffers.chunks.used, 0);
		peer_finish(peer);
		world_run(&world);
		end_with(peer, CLOSE_eof);
	}
}
END_TEST

START_TEST(out_is_added_once_at_the_first_short_write)
{
	size_t at = 0;
	struct peer *peer;

	begin("echo");
	kernel_count_anew();
	peer = world_connect(&world);
	peer->space = 1000;
	for (int round = 0; round < 5; round++) {
		peer_send(peer, sent + at, 5000);
		world_pass(&world);
		expect_calls(KERNEL_epoll_ctl, 2);
		if (!round) /* the short write is enough: no second one to get EAGAIN */
			expect_calls(KERNEL_write, 1);
		settle_and_take(peer, &at);
		ck_assert_uint_eq(at, 5000u * (unsigned)(round + 1));
	}
	expect_calls(KERNEL_epoll_ctl, 2);
	ck_assert_int_eq(memcmp(got, sent, at), 0);
	peer_finish(peer);
	world_run(&world);
	end_with(peer, CLOSE_eof);
}
END_TEST

START_TEST(the_end_of_an_accepted_one_is_a_read_and_a_close)
{
	struct peer *peer;

	begin("echo");
	peer = world_connect(&world);
	world_run(&world);
	kernel_count_anew();
	peer_finish(peer);
	world_run(&world);
	expect_calls(KERNEL_epoll_wait, 1);
	expect_calls(KERNEL_read, 1);
	expect_calls(KERNEL_close, 1);
	ck_assert_uint_eq(kernel_calls_all(), 3);
	end_with(peer, CLOSE_eof);
}
END_TEST

START_TEST(a_passed_one_is_taken_out_of_epoll)
{
	struct peer *peer;
	int fd;

	begin("echo");
	peer = peer_new(&fd);
	peer->shared = true;
	conn_open(&world.service, fd, CONN_PASSED, NULL);
	kernel_count_anew();
	peer_send_and_finish(peer, "x", 1);
	world_run(&world);
	expect_calls(KERNEL_epoll_ctl, 1);
	expect_calls(KERNEL_shutdown, 0);
	ck_assert_uint_eq(kernel.stale, 0);
	peer_expect(peer, "x", 1);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* ---- ends ---- */

START_TEST(no_lingering_if_nothing_is_owed)
{
	struct peer *peer;

	begin("line");
	world.service.settings[0] = 3;
	peer = world_connect(&world);
	world_run(&world);
	kernel_count_anew();
	peer_text(peer, "abc\nabcd\n");
	world_run(&world);
	expect_calls(KERNEL_ioctl, 1);
	expect_calls(KERNEL_shutdown, 0);
	peer_expect(peer, "abc\n", 4);
	end_with(peer, close_reason_named("line_too_long"));
}
END_TEST

START_TEST(owed_bytes_reach_a_peer_that_has_more_to_say)
{
	size_t at = 0;
	struct peer *peer;

	begin("frame");
	world.service.settings[0] = 50000;
	peer = world_connect(&world);
	peer->space = 5000;
	peer->window = 1000;
	memcpy(sent, "\0\0\xc3\x50", 4);
	peer_send(peer, sent, 50004);
	peer_send(peer, "\xff\xff\xff\xff", 4);
	peer_send(peer, sent, 200000); /* which the server will not read */
	kernel_count_anew();
	for (int i = 0; i < 200 && !peer->closed; i++) {
		world_wait(&world, 10);
		at += peer_receive(peer, got + at, 700);
		peer_send(peer, "and more", 8);
		if (at == 50004)
			peer_finish(peer);
	}
	world_run(&world);
	expect_calls(KERNEL_shutdown, 1);
	ck_assert(peer->shut);
	ck_assert(!peer->got_reset);
	ck_assert_uint_eq(at, 50004);
	ck_assert_int_eq(memcmp(got, sent, at), 0);
	end_with(peer, close_reason_named("frame_too_large"));
}
END_TEST

START_TEST(lingering_has_an_end)
{
	struct peer *talker, *sleeper;
	uint32_t begin_ms;

	begin_with("frame", (struct conn_limits){WORLD_LIMITS, .write_ms = 5000});
	talker = world_connect(&world);
	sleeper = world_connect(&world);
	sleeper->window = 1;
	world_run(&world);
	begin_ms = world.loop.now_ms;
	for (int i = 0; i < 2; i++) {
		struct peer *peer = i ? sleeper : talker;

		peer_send(peer, "\0\0\0\3abc\xff\xff\xff\xff", 11);
		peer_send(peer, sent, 100000);
	}
	while (!talker->closed) {
		ck_assert_uint_lt(world.loop.now_ms - begin_ms, 2200);
		peer_text(talker, "on and on");
		world_wait(&world, 10);
	}
	ck_assert_uint_ge(world.loop.now_ms - begin_ms, 1900);
	/* Sending what is owed may take its time, as long as it makes progress. */
	ck_assert(!sleeper->closed);
	world_wait(&world, 1000);
	(void)peer_receive(sleeper, NULL, 2);
	world_wait(&world, 4800);
	ck_assert(!sleeper->closed);
	world_wait(&world, 500);
	end_with(sleeper, close_reason_named("frame_too_large"));
}
END_TEST

START_TEST(data_and_end_in_one_event_are_fully_served)
{
	static const size_t sizes[] = {1,
				       100,
				       CHUNK_BYTES - 1,
				       CHUNK_BYTES,
				       CHUNK_BYTES + 1,
				       CONN_TURN_BYTES,
				       CONN_TURN_BYTES + 1,
				       300000};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (int little = 0; little < 2; little++) {
			struct peer *peer;
			size_t at = 0;

			begin("echo");
			peer = world_connect(&world);
			peer->space = little ? 777 : 4 * PEER_SPACE;
			peer_send_and_finish(peer, sent, sizes[i]);
			settle_and_take(peer, &at);
			ck_assert_uint_eq(at, sizes[i]);
			ck_assert_int_eq(memcmp(got, sent, at), 0);
			ck_assert(!peer->got_reset);
			end_with(peer, CLOSE_eof);
		}
}
END_TEST

START_TEST(a_reset_ends_it_at_once)
{
	for (int way = 0; way < 3; way++) {
		struct peer *peer;

		begin("echo");
		peer = world_connect(&world);
		peer->space = way ? 100 : PEER_SPACE;
		peer_send(peer, sent, way ? 300000 : 10);
		if (way < 2)
			world_run(&world);
		peer_reset(peer);
		world_run(&world);
		end_with(peer, CLOSE_reset);
	}
}
END_TEST

START_TEST(abort_sends_nothing_more)
{
	struct peer *peers[3];

	begin("echo");
	for (int i = 0; i < 3; i++) {
		peers[i] = world_connect(&world);
		peers[i]->space = 100;
		if (i)
			peer_send(peers[i], sent, 50000);
	}
	world_run(&world);
	kernel_count_anew();
	conn_abort(world_conn(&world, peers[1]), CLOSE_overload);
	ck_assert(!peers[1]->closed); /* it is closed only in its own turn */
	conn_table_abort(&world.table, CLOSE_stopped);
	world_pass(&world);
	expect_calls(KERNEL_write, 0);
	expect_calls(KERNEL_writev, 0);
	expect_calls(KERNEL_close, 3);
	end_with(peers[0], CLOSE_stopped);
}
END_TEST

START_TEST(the_table_closes_what_is_open)
{
	begin("line");
	for (int i = 0; i < 10; i++) {
		struct peer *peer = world_connect(&world);

		peer->space = 10;
		peer_text(peer, "a line and\na half");
	}
	world_run(&world);
	ck_assert_uint_gt(world.table.buffers.chunks.used, 0);
	conn_table_close(&world.table);
	ck_assert_uint_eq(world.stats.closed[CLOSE_stopped], 10);
	ck_assert_uint_eq(world.stats.connections, 0);
	loop_close(&world.loop);
	kernel_end();
}
END_TEST

START_TEST(limits_of_connections_turn_away)
{
	struct sockaddr_in from = {.sin_family = AF_INET};
	struct peer *peers[4];

	begin_with("echo", (struct conn_limits){WORLD_LIMITS, .connections_per_ip = 2});
	world.table.limits.connections_max = 3;
	for (int i = 0; i < 4; i++) {
		int fd;

		peers[i] = peer_new(&fd);
		from.sin_addr.s_addr = htonl(i == 3 ? 2 : 1);
		kernel_count_anew();
		conn_open(&world.service, fd, CONN_ACCEPTED, (struct sockaddr *)&from);
		ck_assert_uint_eq(kernel_calls_all(), 1); /* epoll_ctl or close */
	}
	ck_assert(!peers[1]->closed && peers[2]->closed && !peers[3]->closed);
	ck_assert_uint_eq(world.stats.closed[CLOSE_too_many_per_ip], 1);
	(void)world_connect(&world);
	ck_assert_uint_eq(world.stats.closed[CLOSE_overload], 1);
	peer_reset(peers[0]);
	world_run(&world);
	(void)world_connect(&world);
	ck_assert_uint_eq(world.stats.closed[CLOSE_overload], 1);
	conn_table_abort(&world.table, CLOSE_stopped);
	world_run(&world);
	world_close(&world);
}
END_TEST

/* ---- budgets ---- */

START_TEST(a_turn_reads_no_more_than_its_bytes)
{
	size_t at = 0, left = 500000;
	struct peer *peer, *other;

	begin("echo");
	peer = world_connect(&world);
	other = world_connect(&world);
	world_run(&world);
	peer_send(peer, sent, left);
	for (int pass = 0; left; pass++) {
		uint64_t events = world.stats.events;
		size_t before = peer->in.n, others = other->out.n;

		peer_text(other, "x");
		world_pass(&world);
		ck_assert_uint_le(before - peer->in.n, CONN_TURN_BYTES);
		ck_assert_uint_eq(before - peer->in.n,
				  before < CONN_TURN_BYTES ? before : CONN_TURN_BYTES);
		left = peer->in.n;
		at += peer_receive(peer, got + at, LARGE);
		ck_assert_uint_eq(at, 500000 - left);
		/* Only the other peer causes new edges; and that one is served in each pass. */
		ck_assert_uint_eq(world.stats.events - events, pass ? 1 : 2);
		ck_assert_uint_eq(other->out.n, others + 1);
	}
	ck_assert_int_eq(memcmp(got, sent, at), 0);
	ck_assert_uint_eq(world.stats.budget_yields, 500000 / CONN_TURN_BYTES);
	peer_finish(peer);
	peer_finish(other);
	world_run(&world);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* Sends n frames, whose sizes are sizes[] over and over. */
static void turns_of_frames(const unsigned char *sizes, size_t sizes_n, size_t n)
{
	struct peer *peer;
	size_t at = 0, in_n = 0;

	begin("frame");
	peer = world_connect(&world);
	world_run(&world);
	for (size_t i = 0; i < n; i++) {
		memcpy(sent + in_n, (unsigned char[4]){0, 0, 0, sizes[i % sizes_n]}, 4);
		in_n += 4u + sizes[i % sizes_n];
	}
	peer_send(peer, sent, in_n);
	while (at < in_n) {
		uint64_t before = world.stats.messages, events = world.stats.events;

		world_pass(&world);
		ck_assert_uint_gt(world.stats.messages - before, 0);
		ck_assert_uint_le(world.stats.messages - before, CONN_TURN_MESSAGES);
		ck_assert(!at || world.stats.events == events);
		at += peer_receive(peer, got + at, LARGE);
	}
	ck_assert_uint_eq(world.stats.messages, n);
	ck_assert_int_eq(memcmp(got, sent, in_n), 0);
	peer_finish(peer);
	world_run(&world);
	end_with(peer, CLOSE_eof);
}

START_TEST(a_turn_handles_no_more_than_its_messages)
{
	turns_of_frames((const unsigned char[]){0}, 1, 5000);
	turns_of_frames((const unsigned char[]){0, 3, 17, 1}, 4, 9000);
}
END_TEST

/* 1024 messages, the last of which ends exactly at the end of a full read, and more has come. */
START_TEST(nor_if_the_last_of_them_ends_a_full_read)
{
	unsigned char sizes[128];

	memset(sizes, 12, sizeof sizes); /* 127 * 16 + 15 = CHUNK_BYTES / 8 */
	sizes[0] = 11;
	turns_of_frames(sizes, sizeof sizes, 4096);
}
END_TEST

START_TEST(chargen_says_no_more_than_a_turn_allows)
{
	struct peer *peer;

	begin("chargen");
	peer = world_connect(&world);
	peer->space = LARGE;
	for (int i = 0; i < 5; i++) {
		size_t before = peer->out.n;

		world_pass(&world);
		ck_assert_uint_gt(peer->out.n, before);
		ck_assert_uint_le(peer->out.n - before, CONN_TURN_BYTES + CHUNK_BYTES);
	}
	/* A peer that does not read holds one chunk, and nothing spins. */
	peer->space = peer->out.n + 1000;
	world_run(&world);
	ck_assert_uint_eq(world.table.buffers.chunks.used, 1);
	peer_reset(peer);
	world_run(&world);
	end_with(peer, CLOSE_reset);
}
END_TEST

/* ---- backpressure ---- */

START_TEST(reading_stops_at_high_water_and_goes_on_at_low)
{
	const uint32_t high = 100 << 10, low = 20 << 10;
	struct conn_limits limits = {WORLD_LIMITS};
	size_t at = 0, stopped_at;
	struct peer *peer;
	struct conn *conn;

	limits.high_water = high;
	limits.low_water = low;
	begin_with("echo", limits);
	peer = world_connect(&world);
	conn = world_conn(&world, peer);
	peer->space = 3000;
	peer_send(peer, sent, LARGE);
	world_run(&world);
	stopped_at = peer->in.n;
	ck_assert_uint_gt(conn->queue.owed, high);
	ck_assert_uint_gt(stopped_at, 0);
	while (at < LARGE) {
		bool paused = conn->paused & PAUSED_OWES;
		size_t before = peer->in.n;

		ck_assert_uint_le(conn->queue.owed, high + CHUNK_BYTES);
		at += peer_receive(peer, got + at, LARGE);
		world_run(&world);
		/* It reads again as soon as, and only if, no more than low-water is owed. */
		if (paused && before)
			ck_assert_int_eq(before != peer->in.n,
					 at + peer->out.n + low >= LARGE - before);
	}
	ck_assert_int_eq(memcmp(got, sent, LARGE), 0);
	ck_assert_uint_gt(world.stats.backpressure_on, 5);
	ck_assert_uint_eq(world.stats.backpressure_on, world.stats.backpressure_off);
	ck_assert_uint_le(world.stats.queued_bytes_max, high + CHUNK_BYTES);
	peer_finish(peer);
	world_run(&world);
	end_with(peer, CLOSE_eof);
}
END_TEST

START_TEST(an_idle_connection_owns_no_chunk)
{
	static const struct {
		const char *protocol, *whole, *part;
		size_t whole_n, part_n, chunks;
	} of[] = {{"echo", "abc", "", 3, 0, 0},
		  {"discard", "abc", "", 3, 0, 0},
		  {"increment", "a^bc", "", 4, 0, 0},
		  {"line", "abc\n", "ab", 4, 2, 1},
		  {"frame", "\0\0\0\1x", "\0\0", 5, 2, 1}};

	for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
		struct peer *peer;

		begin(of[i].protocol);
		peer = world_connect(&world);
		for (int round = 0; round < 3; round++) {
			peer_send(peer, of[i].whole, of[i].whole_n);
			world_run(&world);
			ck_assert_uint_eq(world.table.buffers.chunks.used, 0);
		}
		peer_send(peer, of[i].part, of[i].part_n);
		world_run(&world);
		ck_assert_uint_eq(world.table.buffers.chunks.used, of[i].chunks);
		peer_finish(peer);
		world_run(&world);
		end_with(peer, of[i].part_n ? CLOSE_truncated : CLOSE_eof);
	}
}
END_TEST

SUITE("sim_conn", {"opening is one epoll_ctl", opening_is_one_epoll_ctl, 10},
      {"a message is one read and one write", a_message_is_one_read_and_one_write, 10},
      {"OUT is added once, at the first short write", out_is_added_once_at_the_first_short_write,
       10},
      {"the end of an accepted one is a read and a close",
       the_end_of_an_accepted_one_is_a_read_and_a_close, 10},
      {"a passed one is taken out of epoll", a_passed_one_is_taken_out_of_epoll, 10},
      {"no lingering if nothing is owed", no_lingering_if_nothing_is_owed, 10},
      {"owed bytes reach a peer that has more to say", owed_bytes_reach_a_peer_that_has_more_to_say,
       10},
      {"lingering has an end", lingering_has_an_end, 10},
      {"data and end in one event are fully served", data_and_end_in_one_event_are_fully_served,
       10},
      {"a reset ends it at once", a_reset_ends_it_at_once, 10},
      {"abort sends nothing more", abort_sends_nothing_more, 10},
      {"the table closes what is open", the_table_closes_what_is_open, 10},
      {"limits of connections turn away", limits_of_connections_turn_away, 10},
      {"a turn reads no more than its bytes", a_turn_reads_no_more_than_its_bytes, 10},
      {"a turn handles no more than its messages", a_turn_handles_no_more_than_its_messages, 10},
      {"nor if the last of them ends a full read", nor_if_the_last_of_them_ends_a_full_read, 10},
      {"chargen says no more than a turn allows", chargen_says_no_more_than_a_turn_allows, 10},
      {"reading stops at high-water and goes on at low",
       reading_stops_at_high_water_and_goes_on_at_low, 10},
      {"an idle connection owns no chunk", an_idle_connection_owns_no_chunk, 10})
