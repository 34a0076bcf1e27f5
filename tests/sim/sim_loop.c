/*
 * The loop on a simulated kernel: poll, then turns, in order, bounded; deadlines; spin.
 * Then what depends on its clock: the timeouts of connections, and a graceful stop.
 *
 * It sees passes exactly, because time stands still. It can't see whether a real epoll gives the
 * same events as the simulated one: the tests against a running server show that.
 */
#include "tests/support/sim/kernel.h"

#define SOURCES 8

static struct {
	struct loop loop;
	struct stats stats;
	struct source sources[SOURCES];
	struct peer *peers[SOURCES];
	int order[64], order_n; /* which sources had turns */
	uint64_t pass[64];	/* in which pass each turn was */
	uint8_t ready[64];	/* the ready bits of each turn */
	unsigned long waits;	/* epoll_wait calls, seen by the last turn */
	int wakes;		/* the source that the turn of source 0 wakes; -1: none */
} t;

static void recording_turn(struct loop *loop, struct source *source)
{
	int i = (int)(source - t.sources);

	ck_assert_int_lt(t.order_n, 64);
	t.order[t.order_n] = i;
	t.pass[t.order_n] = loop->stats->harvests;
	t.ready[t.order_n++] = source->ready;
	source->ready = 0;
	if (i == 0 && t.wakes >= 0) {
		int which = t.wakes;

		t.wakes = -1;
		loop_wake(loop, &t.sources[which]);
	}
}

static void set_up(uint32_t spin_us)
{
	kernel_begin();
	t.order_n = 0;
	t.wakes = -1;
	ck_assert_int_eq(loop_open(&t.loop, &t.stats, spin_us), 0);
	for (int i = 0; i < SOURCES; i++) {
		int fd;

		t.peers[i] = peer_new(&fd);
		source_init(&t.sources[i], fd, recording_turn);
		t.sources[i].want = SOURCE_IN;
		ck_assert_int_eq(loop_watch(&t.loop, &t.sources[i], EPOLLIN | EPOLLRDHUP | EPOLLET),
				 0);
	}
}

static void tear_down(void)
{
	for (int i = 0; i < SOURCES; i++)
		(void)sys_close(t.sources[i].fd);
	loop_close(&t.loop);
	kernel_end();
}

static void expect_turns(const int *order, int n)
{
	ck_assert_int_eq(t.order_n, n);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(t.order[i], order[i]);
	t.order_n = 0;
}

#define EXPECT_TURNS(...)                                                                          \
	expect_turns((const int[]){__VA_ARGS__}, (int)(sizeof(int[]){__VA_ARGS__} / sizeof(int)))

START_TEST(kernel_is_the_real_one_until_it_is_not)
{
	int pipes[2], n;
	char byte;

	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq((int)sys_write(pipes[1], "x", 1), 1);
	kernel_begin();
	/* Descriptors that are not simulated are still real. */
	ck_assert_int_eq((int)sys_read(pipes[0], &byte, 1), 1);
	n = sys_close(pipes[0]);
	ck_assert_int_eq(n, 0);
	ck_assert_uint_eq(kernel.calls[KERNEL_read], 1);
	kernel_fail(KERNEL_write, 2, EIO);
	(void)signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq((int)sys_write(pipes[1], "x", 1), -EPIPE);
	ck_assert_int_eq((int)sys_write(pipes[1], "x", 1), -EIO);
	ck_assert_int_eq((int)sys_write(pipes[1], "x", 1), -EPIPE);
	kernel_end();
	(void)close(pipes[1]);
}
END_TEST

/* The simulated kernel gives edges like Linux: all other tests rest on this. */
START_TEST(kernel_gives_an_edge_once)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET}, got[4];
	char bytes[64];
	int ep, fd;
	struct peer *peer;

	kernel_begin();
	ep = sys_epoll_create1(0);
	peer = peer_new(&fd);
	peer->space = 8;
	ck_assert_int_eq(sys_epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event), 0);
	ck_assert_int_eq(sys_epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event), -EEXIST);
	ck_assert_int_eq(sys_epoll_wait(ep, got, 4, 0), 0);
	peer_text(peer, "ab");
	ck_assert_int_eq(sys_epoll_wait(ep, got, 4, 0), 1);
	ck_assert_uint_eq(got[0].events, EPOLLIN);
	ck_assert_int_eq(sys_epoll_wait(ep, got, 4, 0), 0); /* unread, but no new edge */
	peer_send_and_finish(peer, "c", 1);
	ck_assert_int_eq(sys_epoll_wait(ep, got, 4, 0), 1);
	ck_assert_uint_eq(got[0].events, EPOLLIN | EPOLLRDHUP);
	ck_assert_int_eq((int)sys_read(fd, bytes, sizeof bytes), 3);
	ck_assert_int_eq((int)sys_read(fd, bytes, sizeof bytes), 0);
	/* Space: a short write arms the edge; MOD after it opened reports it too. */
	ck_assert_int_eq((int)sys_write(fd, "0123456789", 10), 8);
	ck_assert_int_eq((int)sys_write(fd, "89", 2), -EAGAIN);
	(void)peer_receive(peer, NULL, 8);
	ck_assert_int_eq(sys_epoll_wait(ep, got, 4, 0), 0);
	event.events |= EPOLLOUT;
	ck_assert_int_eq(sys_epoll_ctl(ep, EPOLL_CTL_MOD, fd, &event), 0);
	ck_assert_int_eq(sys_epoll_wait(ep, got, 4, 0), 1);
	ck_assert(got[0].events & EPOLLOUT);
	(void)sys_close(fd);
	(void)sys_close(ep);
	kernel_end();
}
END_TEST

START_TEST(all_events_are_read_before_the_first_turn)
{
	set_up(0);
	for (int i = SOURCES - 1; i >= 0; i--)
		peer_text(t.peers[i], "x");
	/* If events were read between turns, source 3 would not have its deadline's bit yet. */
	loop_deadline(&t.loop, &t.sources[3], t.loop.now_ms + 5);
	kernel_advance(5);
	loop_pass(&t.loop, 0);
	ck_assert_uint_eq(t.stats.harvests, 1);
	ck_assert_uint_eq(t.stats.events, SOURCES);
	ck_assert_uint_eq(t.stats.turns, SOURCES);
	ck_assert_uint_eq(t.ready[4], SOURCE_IN | SOURCE_DUE);
	EXPECT_TURNS(7, 6, 5, 4, 3, 2, 1, 0);
	tear_down();
}
END_TEST

START_TEST(wakes_are_served_first_in_first_out)
{
	set_up(0);
	loop_wake(&t.loop, &t.sources[5]);
	loop_wake(&t.loop, &t.sources[2]);
	loop_wake(&t.loop, &t.sources[7]);
	loop_wake(&t.loop, &t.sources[5]); /* again: it keeps its place and has one turn */
	peer_text(t.peers[0], "x");	   /* found by the poll, so after these */
	peer_text(t.peers[2], "x");
	loop_pass(&t.loop, 0);
	ck_assert_uint_eq(t.ready[1], SOURCE_IN | SOURCE_WOKEN);
	EXPECT_TURNS(5, 2, 7, 0);
	loop_pass(&t.loop, 0);
	ck_assert_int_eq(t.order_n, 0);
	tear_down();
}
END_TEST

START_TEST(a_wake_in_a_turn_comes_after_the_next_poll)
{
	set_up(0);
	t.wakes = 1;
	loop_wake(&t.loop, &t.sources[0]);
	loop_pass(&t.loop, -1);
	EXPECT_TURNS(0);
	peer_text(t.peers[4], "x");
	loop_pass(&t.loop, -1);
	/* With a queued source the loop does not sleep, and that source comes before polled ones.
	 */
	ck_assert_int_eq(kernel.wait_asked, 0);
	ck_assert_uint_eq(t.pass[0], 2);
	EXPECT_TURNS(1, 4);
	/* A source that always wakes itself has one turn in each pass. */
	t.wakes = 0;
	loop_wake(&t.loop, &t.sources[0]);
	loop_pass(&t.loop, -1);
	t.wakes = 0;
	loop_pass(&t.loop, -1);
	loop_pass(&t.loop, -1);
	ck_assert_uint_eq(t.pass[0], 3);
	ck_assert_uint_eq(t.pass[1], 4);
	ck_assert_uint_eq(t.pass[2], 5);
	EXPECT_TURNS(0, 0, 0);
	loop_pass(&t.loop, -1);
	ck_assert_int_eq(kernel.wait_asked, -1);
	tear_down();
}
END_TEST

START_TEST(a_deadline_comes_when_it_is_due_and_not_before)
{
	static const uint32_t ahead[] = {1, 2, 63, 64, 65, 499, 500, 501, 4096, 70000, 20000000};

	set_up(0);
	for (size_t i = 0; i < sizeof ahead / sizeof *ahead; i++) {
		uint32_t due_ms = t.loop.now_ms + ahead[i];
		int passes = 0;

		loop_deadline(&t.loop, &t.sources[1], due_ms);
		/* The clock's 32 bits wrap among these. */
		while (!t.order_n) {
			ck_assert_int_lt(passes++, 16);
			loop_pass(&t.loop, -1);
			ck_assert_int_gt(kernel.wait_asked, 0);
		}
		ck_assert_uint_eq(t.loop.now_ms, due_ms);
		ck_assert_uint_eq(t.ready[0], SOURCE_DUE);
		EXPECT_TURNS(1);
	}
	tear_down();
}
END_TEST

START_TEST(an_earlier_deadline_stays_and_a_disarmed_one_never_comes)
{
	uint32_t begin_ms;

	set_up(0);
	begin_ms = t.loop.now_ms;
	loop_deadline(&t.loop, &t.sources[1], begin_ms + 10);
	loop_deadline(&t.loop, &t.sources[1], begin_ms + 500);
	loop_deadline(&t.loop, &t.sources[2], begin_ms + 500);
	loop_deadline(&t.loop, &t.sources[2], begin_ms + 20);
	loop_deadline(&t.loop, &t.sources[3], begin_ms + 5);
	loop_no_deadline(&t.loop, &t.sources[3]);
	for (int i = 0; i < 20; i++)
		loop_pass(&t.loop, 100);
	EXPECT_TURNS(1, 2);
	/* A deadline that has passed already comes at once, in the next slot of the wheel. */
	loop_deadline(&t.loop, &t.sources[4], t.loop.now_ms - 100);
	loop_pass(&t.loop, 100);
	ck_assert_int_eq(kernel.wait_asked, 1);
	EXPECT_TURNS(4);
	tear_down();
}
END_TEST

START_TEST(wait_is_never_longer_than_was_asked)
{
	set_up(0);
	loop_deadline(&t.loop, &t.sources[1], t.loop.now_ms + 30);
	loop_pass(&t.loop, 7);
	ck_assert_int_eq(kernel.wait_asked, 7);
	ck_assert_int_eq(t.order_n, 0);
	loop_pass(&t.loop, 0);
	ck_assert_int_eq(kernel.wait_asked, 0);
	t.loop.stopped = true;
	loop_pass(&t.loop, -1);
	ck_assert_int_eq(kernel.wait_asked, 0);
	tear_down();
}
END_TEST

START_TEST(readiness_that_nobody_wants_waits)
{
	set_up(0);
	t.sources[1].want = 0;
	peer_text(t.peers[1], "x");
	loop_pass(&t.loop, 0);
	ck_assert_int_eq(t.order_n, 0);
	ck_assert_uint_eq(t.sources[1].ready, SOURCE_IN);
	/* Wanting it later is a flag, not a call. */
	kernel_count_anew();
	t.sources[1].want = SOURCE_IN;
	loop_requeue(&t.loop, &t.sources[1]);
	ck_assert_uint_eq(kernel_calls_all(), 0);
	loop_pass(&t.loop, 0);
	EXPECT_TURNS(1);
	tear_down();
}
END_TEST

START_TEST(broken_always_gives_a_turn)
{
	set_up(0);
	t.sources[1].want = 0;
	peer_reset(t.peers[1]);
	loop_pass(&t.loop, 0);
	ck_assert_uint_eq(t.ready[0],
			  SOURCE_IN | SOURCE_OUT | SOURCE_ENDED | SOURCE_BROKEN | SOURCE_HUNG_UP);
	EXPECT_TURNS(1);
	tear_down();
}
END_TEST

START_TEST(a_signal_during_the_wait_is_a_pass_without_events)
{
	set_up(0);
	peer_text(t.peers[1], "x");
	kernel_fail(KERNEL_epoll_wait, 1, EINTR);
	loop_deadline(&t.loop, &t.sources[2], t.loop.now_ms + 3);
	kernel_advance(3);
	loop_pass(&t.loop, -1);
	EXPECT_TURNS(2); /* deadlines are noticed even so */
	loop_pass(&t.loop, -1);
	EXPECT_TURNS(1);
	tear_down();
}
END_TEST

START_TEST(more_events_than_one_poll_takes_are_all_seen)
{
	enum { MANY = 600 };
	static struct source sources[MANY];

	set_up(0);
	for (int i = 0; i < MANY; i++) {
		int fd;
		struct peer *peer = peer_new(&fd);

		source_init(&sources[i], fd, recording_turn);
		ck_assert_int_eq(loop_watch(&t.loop, &sources[i], EPOLLIN | EPOLLET), 0);
		peer_text(peer, "x"); /* no source wants input: it gets the bit, but no turn */
	}
	for (int pass = 0; pass < 3; pass++)
		loop_pass(&t.loop, 0);
	ck_assert_uint_eq(t.stats.events, MANY);
	for (int i = 0; i < MANY; i++) {
		ck_assert_uint_eq(sources[i].ready, SOURCE_IN);
		(void)sys_close(sources[i].fd);
	}
	tear_down();
}
END_TEST

START_TEST(spin_polls_for_as_long_as_it_says)
{
	set_up(3000);
	for (int i = 0; i < 3; i++) {
		loop_pass(&t.loop, -1);
		ck_assert_int_eq(kernel.wait_asked, 0);
		kernel_advance(1);
	}
	/* The clock was last read before the third millisecond. */
	loop_pass(&t.loop, -1);
	loop_pass(&t.loop, -1);
	ck_assert_int_eq(kernel.wait_asked, -1);
	/* An event makes it spin again. */
	peer_text(t.peers[1], "x");
	loop_pass(&t.loop, -1);
	loop_pass(&t.loop, -1);
	ck_assert_int_eq(kernel.wait_asked, 0);
	tear_down();
}
END_TEST

/* ---- deadlines of connections ---- */

static struct world world;

/* How long it takes until the peer sees the end of its connection, in ms. */
static uint32_t wait_for_end(struct peer *peer, uint32_t ms_max)
{
	uint32_t begin_ms = world.loop.now_ms;

	while (!peer->closed) {
		ck_assert_uint_le(world.loop.now_ms - begin_ms, ms_max);
		loop_pass(&world.loop, -1);
	}
	return world.loop.now_ms - begin_ms;
}

static void end_with(enum close_reason reason, uint64_t n)
{
	ck_assert_uint_eq(world.stats.closed[reason], n);
	ck_assert_uint_eq(world_closed(&world), n);
	world_close(&world);
}

START_TEST(idle_timeout_counts_from_the_last_byte_either_way)
{
	struct peer *peer;

	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS, .idle_ms = 300}, BUFFERS_MIN);
	peer = world_connect(&world);
	ck_assert_uint_eq(wait_for_end(peer, 400), 300);
	peer = world_connect(&world);
	for (int i = 0; i < 5; i++) {
		world_wait(&world, 290);
		peer_text(peer, "x");
	}
	world_pass(&world);
	peer->space = 100;
	peer_send(peer, (char[200]){0}, 200);
	world_pass(&world);
	world_wait(&world, 290); /* from here on the peer only reads */
	(void)peer_receive(peer, NULL, 50);
	world_run(&world);
	ck_assert_uint_eq(wait_for_end(peer, 400), 300);
	end_with(CLOSE_idle_timeout, 2);
}
END_TEST

START_TEST(write_timeout_counts_from_the_last_byte_taken)
{
	struct peer *peer, *idle;

	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS, .write_ms = 200},
		   BUFFERS_MIN);
	idle = world_connect(&world);
	peer = world_connect(&world);
	world_wait(&world, 1000);
	peer->space = 100;
	peer_send(peer, (char[2000]){0}, 2000);
	world_run(&world);
	for (int i = 0; i < 10; i++) {
		world_wait(&world, 190);
		ck_assert_uint_gt(peer_receive(peer, NULL, 90), 0);
		world_run(&world);
	}
	world_wait(&world, 100);
	peer_text(peer, "bytes that it sends do not help");
	ck_assert_uint_eq(wait_for_end(peer, 400), 100);
	ck_assert(!idle->closed); /* it owes nothing */
	peer_reset(idle);
	world_run(&world);
	ck_assert_uint_eq(world.stats.closed[CLOSE_reset], 1);
	world.stats.closed[CLOSE_reset] = 0;
	end_with(CLOSE_write_timeout, 1);
}
END_TEST

START_TEST(request_timeout_counts_from_the_first_byte_of_a_message)
{
	static const char *const framings[] = {"line", "frame"};

	for (int i = 0; i < 2; i++) {
		struct peer *peer;

		world_open(&world, framings[i],
			   (struct conn_limits){WORLD_LIMITS, .request_ms = 500}, BUFFERS_MIN);
		peer = world_connect(&world);
		world_wait(&world, 2000);
		/* Whole messages may come as slowly as they like. */
		for (int k = 0; k < 3; k++) {
			peer_send(peer, "\0\0\0\3ab\n", 7);
			world_wait(&world, 400);
		}
		peer_expect(peer, "\0\0\0\3ab\n\0\0\0\3ab\n\0\0\0\3ab\n", 21);
		/* More bytes of the same message do not put the timeout off. */
		peer_send(peer, "\0", 1);
		world_pass(&world);
		for (int k = 0; k < 4; k++) {
			world_wait(&world, 100);
			peer_send(peer, "\0", k < 2 ? 1 : 0);
		}
		ck_assert_uint_eq(wait_for_end(peer, 200), 100);
		end_with(CLOSE_request_timeout, 1);
	}
}
END_TEST

START_TEST(without_limits_nothing_ends_and_nothing_wakes)
{
	struct peer *peer;

	world_open(&world, "line", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	peer = world_connect(&world);
	peer_text(peer, "half a line");
	world_run(&world);
	loop_pass(&world.loop, -1);
	ck_assert_int_eq(kernel.wait_asked, -1);
	kernel_advance(100000000);
	loop_pass(&world.loop, -1);
	ck_assert(!peer->closed);
	peer_finish(peer);
	world_run(&world);
	end_with(CLOSE_truncated, 1);
}
END_TEST

/* ---- a graceful stop ---- */

START_TEST(drain_serves_what_has_come_and_ends)
{
	struct peer *idle, *waiting, *owed, *late;
	static char bytes[20000];

	memset(bytes, 'b', sizeof bytes);
	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	idle = world_connect(&world);
	waiting = world_connect(&world);
	owed = world_connect(&world);
	owed->space = 1000;
	peer_send(owed, bytes, sizeof bytes);
	world_run(&world);
	peer_send(waiting, bytes, sizeof bytes);
	conn_table_drain(&world.table);
	world_run(&world);
	ck_assert(idle->closed && waiting->closed && !owed->closed);
	peer_expect(waiting, bytes, sizeof bytes);
	while (!owed->closed || owed->out.n) {
		ck_assert_uint_lt(owed->received, sizeof bytes);
		(void)peer_receive(owed, NULL, 777);
		world_run(&world);
	}
	ck_assert_uint_eq(owed->received, sizeof bytes);
	late = world_connect(&world); /* as if it had been on its way when the stop came */
	peer_text(late, "x");
	world_run(&world);
	peer_expect(late, "x", 1);
	end_with(CLOSE_drained, 4);
}
END_TEST

/* conn.h: "every connection reads what has come": even if a turn's budget is not enough. */
static void drain_with_much_waiting(const char *protocol, size_t n, size_t space)
{
	struct conn_limits limits = {WORLD_LIMITS};
	static char bytes[400000];
	struct peer *peer;

	limits.high_water = 16 << 10;
	limits.low_water = 4 << 10;
	memset(bytes, '\n', sizeof bytes);
	world_open(&world, protocol, limits, BUFFERS_MIN);
	peer = world_connect(&world);
	world_run(&world);
	peer->space = space;
	peer_send(peer, bytes, n);
	conn_table_drain(&world.table);
	for (int i = 0; i < 1000 && !peer->closed; i++) {
		(void)peer_receive(peer, NULL, SIZE_MAX);
		world_wait(&world, 10);
	}
	(void)peer_receive(peer, NULL, SIZE_MAX);
	ck_assert_uint_eq(peer->received, n);
	end_with(CLOSE_drained, 1);
}

START_TEST(drain_serves_more_messages_than_a_turn_takes)
{
	drain_with_much_waiting("line", 10000, PEER_SPACE);
}
END_TEST

START_TEST(drain_serves_more_bytes_than_a_turn_takes)
{
	drain_with_much_waiting("echo", 200000, PEER_SPACE);
}
END_TEST

START_TEST(drain_serves_what_backpressure_held_up)
{
	drain_with_much_waiting("echo", 60000, 1000);
}
END_TEST

SUITE("sim_loop",
      {"kernel is the real one until it is not", kernel_is_the_real_one_until_it_is_not, 10},
      {"kernel gives an edge once", kernel_gives_an_edge_once, 10},
      {"all events are read before the first turn", all_events_are_read_before_the_first_turn, 10},
      {"wakes are served first in, first out", wakes_are_served_first_in_first_out, 10},
      {"a wake in a turn comes after the next poll", a_wake_in_a_turn_comes_after_the_next_poll,
       10},
      {"a deadline comes when it is due and not before",
       a_deadline_comes_when_it_is_due_and_not_before, 10},
      {"an earlier deadline stays, a disarmed one never comes",
       an_earlier_deadline_stays_and_a_disarmed_one_never_comes, 10},
      {"the wait is never longer than was asked", wait_is_never_longer_than_was_asked, 10},
      {"readiness that nobody wants waits", readiness_that_nobody_wants_waits, 10},
      {"broken always gives a turn", broken_always_gives_a_turn, 10},
      {"a signal during the wait is a pass without events",
       a_signal_during_the_wait_is_a_pass_without_events, 10},
      {"more events than one poll takes are all seen", more_events_than_one_poll_takes_are_all_seen,
       10},
      {"spin polls for as long as it says", spin_polls_for_as_long_as_it_says, 10},
      {"idle timeout counts from the last byte either way",
       idle_timeout_counts_from_the_last_byte_either_way, 10},
      {"write timeout counts from the last byte taken",
       write_timeout_counts_from_the_last_byte_taken, 10},
      {"request timeout counts from the first byte of a message",
       request_timeout_counts_from_the_first_byte_of_a_message, 10},
      {"without limits nothing ends and nothing wakes",
       without_limits_nothing_ends_and_nothing_wakes, 10},
      {"drain serves what has come and ends", drain_serves_what_has_come_and_ends, 10},
      {"drain serves more messages than a turn takes", drain_serves_more_messages_than_a_turn_takes,
       10},
      {"drain serves more bytes than a turn takes", drain_serves_more_bytes_than_a_turn_takes, 10},
      {"drain serves what backpressure held up", drain_serves_what_backpressure_held_up, 10})
