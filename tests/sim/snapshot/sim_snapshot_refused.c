/*
 * A connection that can't move: its description is invalid, there is no room or no buffers, or the
 * kernel refuses. Then nothing has changed, the descriptor belongs to the caller, and the
 * connection goes on where it was. And calls that fail just after a move.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/sim_move.h"

static struct sim_move move;
static struct world *here, *there; /* the worlds of `move`, always in this order */
static unsigned char much[2u << 20];

static void begin_with(const char *protocol, struct conn_limits limits)
{
	sim_move_open(&move, protocol, limits, BUFFERS_MIN);
	here = &move.worlds[0];
	there = &move.worlds[1];
	sim_move_pass(&move);
}

static void begin(const char *protocol)
{
	begin_with(protocol, (struct conn_limits){WORLD_LIMITS});
}

static void finish(struct peer *peer, enum close_reason reason)
{
	if (!peer->closed)
		peer_finish(peer);
	sim_move_run(&move);
	ck_assert(peer->closed);
	ck_assert_int_eq(sim_move_reason(&move), reason);
	sim_move_close(&move);
}

/* All that an adoption may change. */
struct world_state {
	struct stats stats;
	size_t conns, chunks, segments, descriptors, ready_n;
	unsigned long epoll_ctl, close;
	struct source *first;
};

static struct world_state state_of(const struct world *world)
{
	return (struct world_state){.stats = world->stats,
				    .conns = world->table.conns.used,
				    .chunks = world->table.buffers.chunks.used,
				    .segments = world->table.buffers.segments.used,
				    .descriptors = kernel.descriptors,
				    .ready_n = kernel.ready_n,
				    .epoll_ctl = kernel.calls[KERNEL_epoll_ctl],
				    .close = kernel.calls[KERNEL_close],
				    .first = world->loop.first};
}

static bool refused(const struct conn_snapshot *snapshot, const unsigned char *bytes, int fd)
{
	struct world_state before = state_of(there), after;
	bool adopted = conn_adopt(&there->service, fd, snapshot, bytes);

	after = state_of(there);
	EXPECT(adopted || memcmp(&before, &after, sizeof after) == 0);
	return !adopted;
}

/* ---- invalid descriptions ---- */

#define SET(...)                                                                                   \
	{                                                                                          \
		struct conn_snapshot bad = load.snapshot;                                          \
		__VA_ARGS__;                                                                       \
		EXPECT_MSG(refused(&bad, load.bytes, load.fd), "taken: %s", #__VA_ARGS__);         \
	}

START_TEST(a_description_that_is_none_is_refused)
{
	struct peer *peer;
	struct conn *conn;
	struct load load;

	begin("frame");
	peer = world_connect(here);
	peer->space = 3;
	peer_send(peer, "\0\0\0\5abcde\0\0\1", 12);
	sim_move_run(&move);
	conn = world_conn(here, peer);
	ck_assert(conn_freeze(conn));
	load_take(&load, conn, peer);
	ck_assert_uint_eq(load.snapshot.input, 3);
	ck_assert_uint_eq(load.snapshot.owed, 6);
	SET(bad.phase = 3)
	SET(bad.phase = 4)
	SET(bad.phase = 255)
	SET(bad.reason = CLOSE_eof)
	SET(bad.reason = (uint8_t)close_reasons_end())
	SET(bad.reason = 255)
	SET(bad.phase = 1) /* without a reason */
	/* Only the first phase can have input, held bytes or a message under way. */
	SET(bad.phase = 1, bad.flags = 0, bad.reason = CLOSE_eof)
	SET(bad.phase = 1, bad.flags = 0, bad.reason = CLOSE_eof, bad.input = 0, bad.held = 1)
	SET(bad.phase = 1, bad.flags = SNAPSHOT_OVER_HIGH_WATER, bad.reason = CLOSE_eof,
	    bad.input = 0)
	SET(bad.phase = 1, bad.flags = 0, bad.reason = CLOSE_NONE, bad.input = 0)
	SET(bad.phase = 1, bad.flags = 0, bad.reason = (uint8_t)close_reasons_end(), bad.input = 0)
	SET(bad.phase = 2, bad.flags = 0, bad.reason = CLOSE_eof, bad.input = 0) /* and owes */
	SET(bad.phase = 2, bad.flags = 0, bad.reason = CLOSE_NONE, bad.input = 0, bad.owed = 0)
	SET(bad.input = CHUNK_BYTES + 1)
	SET(bad.input = UINT32_MAX)
	SET(bad.owed = UINT32_MAX)
	SET(bad.held = UINT32_MAX)
	SET(bad.owed = UINT32_MAX, bad.held = 10)
	SET(bad.owed = 64 * CHUNK_BYTES)
	SET(bad.flags = 8)
	SET(bad.flags = 0x8000)
	SET(bad.flags = UINT16_MAX)
	SET(bad.input = 0, bad.flags = SNAPSHOT_INPUT_PENDING)
	/* The original description is still accepted. */
	ck_assert(load_leave(&load, &there->service));
	conn_depart(conn);
	peer_send(peer, "\1x", 2);
	for (int i = 0; i < 10; i++) {
		sim_move_run(&move);
		peer_expect(peer, (const unsigned char *)"\0\0\0\5abcde\0\0\1\1x" + 3 * i,
			    i < 4 ? 3 : peer->out.n);
	}
	finish(peer, CLOSE_truncated);
}
END_TEST

/* A protocol's state is taken unchanged, so an impossible one could steer the process that takes
 * it. */
START_TEST(a_state_that_is_none_is_refused)
{
	static const unsigned char step = 18, blank = 19; /* offsets in struct http */
	struct peer *peer;
	struct conn *conn;
	struct load load;

	begin("http");
	for (int i = 0; i < 2; i++)
		move.worlds[i].service.settings[0] = 100;
	peer = world_connect(here);
	peer_text(peer, "POST /echo HTTP/1.1\r\nHost:\r\nContent-Length: 5\r\n\r\nab");
	sim_move_run(&move);
	(void)peer_receive(peer, much, peer->out.n);
	conn = world_conn(here, peer);
	ck_assert(conn_freeze(conn));
	load_take(&load, conn, peer);
	ck_assert_uint_eq(load.snapshot.state[step], 1);
	for (unsigned i = 6; i < 256; i++)
		SET(bad.state[step] = (unsigned char)i)
	SET(bad.state[step] = 0) /* although some of a body is to come */
	SET(bad.state[blank] = 3)
	SET(bad.state[0] = 1) /* more to say, but it is not saying anything */
	SET(bad.state[7] = 1, bad.flags |= SNAPSHOT_PRODUCING)
	SET(memset(bad.state + 8, 0, 4)) /* in a body of which nothing is to come */
	SET(bad.state[11] = 1)		 /* more of a body to come than it may have */
	SET(memset(bad.state + 16, 255, 2))
	SET(memset(bad.state, 255, sizeof bad.state))
	ck_assert(load_leave(&load, &there->service));
	conn_depart(conn);
	peer_text(peer, "cde");
	sim_move_run(&move);
	peer_expect(peer, "cde", 3);
	finish(peer, CLOSE_eof);
}
END_TEST

/* Held bytes are refused in a topic, because lines of others may have to be sent in between. */
START_TEST(a_member_of_a_topic_holds_nothing)
{
	struct conn_snapshot snapshot = {.held = 1};
	int fd;
	struct peer *peer;

	begin("discard");
	peer = peer_new(&fd);
	there->service.delivery = (struct delivery *)(void *)much;
	ck_assert(refused(&snapshot, (const unsigned char *)"x", fd));
	there->service.delivery = NULL;
	ck_assert(!refused(&snapshot, (const unsigned char *)"x", fd));
	finish(peer, CLOSE_eof);
}
END_TEST

static uint32_t random_size(uint64_t *seed)
{
	static const uint32_t most[] = {1, 4, 300, CHUNK_BYTES + 2, 100000, UINT32_MAX};

	return (uint32_t)sim_below(seed, most[sim_below(seed, 6)]);
}

static struct conn_snapshot random_snapshot(uint64_t *seed)
{
	struct conn_snapshot snapshot = {.input = random_size(seed),
					 .owed = random_size(seed),
					 .held = random_size(seed),
					 .idle_ms = random_size(seed),
					 .progress_age_ms = random_size(seed),
					 .message_age_ms = random_size(seed)};

	if (sim_below(seed, 2))
		snapshot.flags = (uint16_t)sim_below(seed, 256);
	if (sim_below(seed, 2)) {
		snapshot.phase = (uint8_t)sim_below(seed, 4);
		snapshot.reason = (uint8_t)sim_below(seed, CLOSE_REASONS + 1);
		snapshot.input = sim_below(seed, 2) ? snapshot.input : 0;
		snapshot.owed = sim_below(seed, 2) ? snapshot.owed : 0;
		snapshot.held = sim_below(seed, 2) ? snapshot.held : 0;
		snapshot.flags = sim_below(seed, 2) ? snapshot.flags : 0;
	}
	for (size_t i = 0; i < sizeof snapshot.state; i++)
		snapshot.state[i] = sim_below(seed, 3) ? 0 : (unsigned char)sim_random(seed);
	return snapshot;
}

/* A random description is either refused, or becomes a connection that lives and ends like any
 * other. */
START_TEST(random_descriptions)
{
	static const char *const names[] = {"echo",  "discard",	  "chargen", "line",
					    "frame", "increment", "http"};
	struct conn_limits limits = {WORLD_LIMITS, .idle_ms = 1000, .write_ms = 300,
				     .request_ms = 200};
	unsigned long taken = 0, n = suite_volume(100000);
	uint64_t seed = 11;

	limits.high_water = 3000;
	limits.low_water = 1000;
	begin_with("echo", limits);
	for (unsigned long i = 0; i < n; i++) {
		struct conn_snapshot snapshot = random_snapshot(&seed);
		struct peer *peer;
		int fd;

		there->service.protocol = protocol_find(names[i % 7]);
		peer = peer_new(&fd);
		peer->space = sim_below(&seed, 100);
		if (refused(&snapshot, much, fd)) {
			(void)sys_close(fd);
		} else {
			taken++;
			peer_text(peer, "some input\n");
			for (int pass = 0; pass < 5; pass++)
				world_pass(there);
			if (i % 2)
				peer_reset(peer);
			else
				conn_table_abort(&there->table, CLOSE_stopped);
			world_run(there);
		}
		EXPECT(peer->closed);
		peer_free(peer);
		world_expect_free(there);
	}
	(void)printf("FIGURE random descriptions: %lu, of which %lu were taken\n", n, taken);
	(void)fflush(stdout);
	ck_assert_uint_gt(taken, n / 20);
	ck_assert_uint_lt(taken, n / 2);
	sim_move_close(&move);
}
END_TEST

/* ---- no room ---- */

START_TEST(a_full_table_takes_nobody)
{
	struct conn_limits limits = {WORLD_LIMITS};
	struct peer *peers[3];

	limits.connections_max = 2;
	begin_with("echo", limits);
	for (int i = 0; i < 3; i++)
		peers[i] = world_connect(i ? there : here);
	ck_assert(!conn_can_adopt(&there->service, 0));
	ck_assert(!sim_move_move(&move, peers[0]));
	peer_text(peers[0], "goes on");
	sim_move_run(&move);
	peer_expect(peers[0], "goes on", 7);
	peer_finish(peers[1]);
	sim_move_run(&move);
	ck_assert(conn_can_adopt(&there->service, 0));
	ck_assert(sim_move_move(&move, peers[0]));
	peer_finish(peers[0]);
	peer_finish(peers[2]);
	sim_move_run(&move);
	ck_assert_uint_eq(there->stats.closed[CLOSE_eof], 3);
	sim_move_close(&move);
}
END_TEST

/* Connections that begin something leave alone the buffers that are promised to those that will
 * move here; none is closed for lack of buffers meanwhile; and they go on when the promise ends. */
START_TEST(what_is_promised_is_left)
{
	static char half_a_line[5000]; /* so long that it takes a chunk of its own */
	struct conn_promise promise = {0};
	struct peer *peers[50];
	uint64_t received;

	begin("line");
	memset(half_a_line, 'x', sizeof half_a_line);
	conn_table_promise(&there->table, &promise, (struct conn_promise){.chunks = 40});
	for (int i = 0; i < 50; i++) {
		peers[i] = world_connect(there);
		peer_send(peers[i], half_a_line, sizeof half_a_line);
		sim_move_run(&move);
		ck_assert(conn_can_adopt(&there->service, 30 * CHUNK_BYTES));
	}
	sim_move_wait(&move, 5000);
	ck_assert(conn_can_adopt(&there->service, 30 * CHUNK_BYTES));
	received = there->stats.received_bytes;
	conn_table_promise(&there->table, &promise, (struct conn_promise){0});
	sim_move_run(&move);
	ck_assert_uint_gt(there->stats.received_bytes, received);
	ck_assert(!conn_can_adopt(&there->service, 30 * CHUNK_BYTES));
	for (int i = 0; i < 50; i++)
		ck_assert(!peers[i]->closed);
	conn_table_abort(&there->table, CLOSE_stopped);
	sim_move_run(&move);
	sim_move_close(&move);
}
END_TEST

/* Newcomers get only the room that is not promised; those that move here need no such room. */
START_TEST(a_promised_place_is_no_newcomers)
{
	struct conn_limits limits = {WORLD_LIMITS};
	struct conn_promise promise = {0};
	struct peer *moved, *peers[2];

	limits.connections_max = 2;
	limits.connections_capacity = 3;
	begin_with("echo", limits);
	moved = world_connect(here);
	conn_table_promise(&there->table, &promise, (struct conn_promise){.connections = 1});
	ck_assert_uint_eq(conn_table_room(&there->table), 1);
	peers[0] = world_connect(there);
	ck_assert(conn_table_full(&there->table));
	conn_table_promise(&there->table, &promise, (struct conn_promise){0});
	peers[1] = world_connect(there);
	ck_assert(conn_table_full(&there->table));
	ck_assert(sim_move_move(&move, moved));
	ck_assert_uint_eq(conn_table_room(&there->table), 0);
	ck_assert(!conn_can_adopt(&there->service, 0));
	peer_finish(peers[0]);
	sim_move_run(&move);
	ck_assert_uint_eq(conn_table_room(&there->table), 0);
	peer_finish(peers[1]);
	sim_move_run(&move);
	ck_assert_uint_eq(conn_table_room(&there->table), 1);
	peer_finish(moved);
	sim_move_run(&move);
	sim_move_close(&move);
}
END_TEST

/* conn_can_adopt() is right, however many buffers are left; and after it enough are left to read
 * with. */
START_TEST(it_is_known_before_whether_buffers_suffice)
{
	struct buffers *buffers;
	struct chunk *chunks[64];
	size_t n = 0, yes = 0, no = 0;

	begin("discard");
	buffers = &there->table.buffers;
	there->table.chunks_kept = 4;
	while (buffers_free_chunks(buffers)) {
		for (size_t bytes = 0; bytes < 20 * CHUNK_BYTES; bytes += CHUNK_BYTES / 2 - 1) {
			size_t input = bytes / 2 < CHUNK_BYTES ? bytes / 2 : CHUNK_BYTES;
			struct conn_snapshot snapshot = {.input = (uint32_t)input};
			bool can = conn_can_adopt(&there->service, bytes);
			struct peer *peer;
			int fd;

			snapshot.owed = (uint32_t)(bytes - snapshot.input) / 2;
			snapshot.held = (uint32_t)bytes - snapshot.input - snapshot.owed;
			peer = peer_new(&fd);
			peer->space = 0;
			ck_assert(can || bytes);
			ck_assert_int_eq(refused(&snapshot, much, fd), !can);
			yes += can;
			no += !can;
			if (can && bytes)
				ck_assert_uint_ge(buffers_free_chunks(buffers), 4 + 2);
			if (!can)
				(void)sys_close(fd);
			else
				conn_table_abort(&there->table, CLOSE_stopped);
			sim_move_run(&move);
			peer_free(peer);
		}
		chunks[n++] = chunk_new(buffers);
	}
	ck_assert(yes > 100 && no > 100);
	while (n)
		chunk_release(buffers, chunks[--n]);
	sim_move_close(&move);
}
END_TEST

#define HOARDERS 12
#define HOARD	 (120u << 10)

/* A frozen connection does not count as waiting for buffers, and is not the one that is closed. */
START_TEST(a_frozen_one_does_not_wait_for_buffers)
{
	struct peer *peers[HOARDERS];
	struct conn *conns[HOARDERS];
	size_t starved, frozen = 0;

	begin("echo");
	for (int i = 0; i < HOARDERS; i++) {
		peers[i] = world_connect(here);
		peers[i]->space = 1000;
		peer_send(peers[i], much, HOARD);
		world_run(here);
		world_wait(here, 10);
		conns[i] = world_conn(here, peers[i]);
	}
	starved = here->table.awaiting_buffers;
	ck_assert_uint_gt(starved, 1);
	for (int i = 0; i < HOARDERS; i++)
		if ((conns[i]->paused & PAUSED_BUFFERS) || i == 0) {
			ck_assert(conn_freeze(conns[i]));
			frozen++;
		}
	ck_assert_uint_eq(here->table.awaiting_buffers, 0);
	world_wait(here, 3000);
	ck_assert_int_eq(sim_move_reason(&move), CLOSE_NONE);
	/* All thaw except the first, which has stalled the longest: so the next one is closed if
	 * nothing moves. */
	for (int i = 1; i < HOARDERS; i++)
		if (conn_is_frozen(conns[i]))
			conn_thaw(conns[i]);
	world_run(here);
	ck_assert_uint_gt(here->table.awaiting_buffers, 0);
	while (!here->stats.closed[CLOSE_no_buffers])
		loop_pass(&here->loop, -1);
	ck_assert(!peers[0]->closed && peers[1]->closed);
	conn_thaw(conns[0]);
	world_run(here);
	ck_assert(!peers[0]->closed);
	/* The other process has enough buffers. */
	for (int i = 2; i < HOARDERS; i++) {
		move.here = 0;
		if (!peers[i]->closed)
			ck_assert(sim_move_move(&move, peers[i]) || i > 6);
	}
	sim_move_run(&move);
	ck_assert_uint_eq(here->table.awaiting_buffers, 0);
	conn_table_abort(&here->table, CLOSE_stopped);
	conn_table_abort(&there->table, CLOSE_stopped);
	sim_move_close(&move);
}
END_TEST

/* ---- a kernel that refuses ---- */

START_TEST(one_that_is_not_watched_is_not_taken)
{
	static const int errors[] = {ENOMEM, ENOSPC, EPERM, EEXIST, EBADF};
	struct peer *peer;
	struct conn *conn;
	struct load load;

	begin("line");
	for (int i = 0; i < 2; i++)
		move.worlds[i].service.settings[0] = 100;
	peer = world_connect(here);
	peer->space = 3;
	peer_text(peer, "line\nand half");
	sim_move_run(&move);
	conn = world_conn(here, peer);
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		struct world_state before, after;

		ck_assert(conn_freeze(conn));
		load_take(&load, conn, peer);
		before = state_of(there);
		kernel_fail(KERNEL_epoll_ctl, 1, errors[i]);
		ck_assert(!conn_adopt(&there->service, load.fd, &load.snapshot, load.bytes));
		ck_assert(kernel.failed);
		after = state_of(there);
		before.epoll_ctl++;
		ck_assert_int_eq(memcmp(&before, &after, sizeof after), 0);
		kernel_fail(KERNEL_epoll_ctl, 0, 0);
		if (i % 2) { /* the second try succeeds, and then it moves back */
			ck_assert(load_leave(&load, &there->service));
			conn_depart(conn);
			move.here = 1;
			ck_assert(sim_move_move(&move, peer));
			conn = world_conn(here, peer);
		} else {
			(void)sys_close(load.fd);
			free(load.bytes);
			conn_thaw(conn);
		}
		sim_move_run(&move);
	}
	peer->space = 100;
	peer_expect(peer, "lin", 3);
	peer_text(peer, " is whole\n");
	sim_move_run(&move);
	peer_expect(peer, "e\nand half is whole\n", 20);
	finish(peer, CLOSE_eof);
}
END_TEST

/* The k-th call after the move fails once, in a harmless way. */
static bool moved_and(enum kernel_call call, unsigned long k, int error)
{
	struct peer *peer;

	begin("echo");
	peer = world_connect(here);
	peer->space = 5000;
	peer_send(peer, much, 60000);
	sim_move_run(&move);
	peer_expect(peer, much, 5000);
	kernel_fail(call, k, error);
	ck_assert(sim_move_move(&move, peer));
	for (size_t at = 5000; at < 60000; at += 5000) {
		sim_move_run(&move);
		EXPECT_MSG(peer->out.n == 5000, "%s, %lu: stands still at %zu",
			   kernel_call_names[call], k, at);
		peer_expect(peer, much + at, 5000);
	}
	finish(peer, CLOSE_eof);
	return kernel.failed;
}

START_TEST(what_means_nothing_after_a_move_changes_nothing)
{
	static const struct {
		enum kernel_call call;
		int error;
	} faults[] = {{KERNEL_read, EINTR},    {KERNEL_read, EAGAIN},	{KERNEL_write, EINTR},
		      {KERNEL_write, EAGAIN},  {KERNEL_write, ENOBUFS}, {KERNEL_writev, EINTR},
		      {KERNEL_writev, EAGAIN}, {KERNEL_writev, ENOMEM}, {KERNEL_epoll_wait, EINTR},
		      {KERNEL_close, EINTR}};
	unsigned long runs = 0;

	for (size_t i = 0; i < sizeof much; i++)
		much[i] = (unsigned char)(i * 2654435761u >> 24);
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		for (unsigned long k = 1; moved_and(faults[i].call, k, faults[i].error); k++)
			runs++;
	(void)printf("FIGURE faults after a move: %lu runs\n", runs);
	(void)fflush(stdout);
	ck_assert_uint_gt(runs, 20);
}
END_TEST

/* A protocol may say that its connections stay; so do those that we open. */
START_TEST(one_that_stays_is_not_frozen)
{
	static const struct protocol staying = {.name = "staying", .stays = true};
	struct peer *peer;
	struct conn *conn;

	sim_move_open(&move, "discard", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	peer = world_connect(&move.worlds[0]);
	conn = world_conn(&move.worlds[0], peer);
	ck_assert(conn_can_freeze(conn));
	move.worlds[0].service.protocol = &staying;
	ck_assert(!conn_can_freeze(conn));
	ck_assert(!conn_freeze(conn));
	peer_finish(peer);
	sim_move_run(&move);
	peer_free(peer);
	sim_move_close(&move);
}
END_TEST

SUITE("sim_snapshot_refused", {"one that stays is not frozen", one_that_stays_is_not_frozen, 10},
      {"a description that is none is refused", a_description_that_is_none_is_refused, 10},
      {"a state that is none is refused", a_state_that_is_none_is_refused, 10},
      {"a member of a topic holds nothing", a_member_of_a_topic_holds_nothing, 10},
      {"random descriptions", random_descriptions, 60},
      {"a full table takes nobody", a_full_table_takes_nobody, 10},
      {"what is promised is left", what_is_promised_is_left, 10},
      {"a promised place is no newcomer's", a_promised_place_is_no_newcomers, 10},
      {"it is known before whether buffers suffice", it_is_known_before_whether_buffers_suffice,
       30},
      {"a frozen one does not wait for buffers", a_frozen_one_does_not_wait_for_buffers, 30},
      {"one that is not watched is not taken", one_that_is_not_watched_is_not_taken, 10},
      {"what means nothing after a move changes nothing",
       what_means_nothing_after_a_move_changes_nothing, 30})
