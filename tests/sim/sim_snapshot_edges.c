/*
 * The edges of a move: what others do to a connection that is frozen, what is counted, and
 * where it can't go: then nothing has happened, and it goes on where it was.
 */
#include <netinet/in.h>

#include "tests/support/sim/sim_move.h"

static struct sim_move move;
static struct world *here, *there; /* the two of it; they stay */

/* ---- a protocol that tells what is asked of it ---- */

static struct {
	int opened, arrived, ended;
	bool waits; /* it takes the first half of what it is offered, and waits */
	size_t offered;
	unsigned char state[CONN_STATE_BYTES];
} probe;

static void probe_open(struct conn *conn)
{
	probe.opened++;
	memcpy(conn_state(conn), "abcdefghijklmnopqrstuvwx", CONN_STATE_BYTES);
}

static void probe_restore(struct conn *conn)
{
	probe.arrived++;
	memcpy(probe.state, conn_state(conn), CONN_STATE_BYTES);
}

static void probe_close(struct conn *conn)
{
	(void)conn;
	probe.ended++;
}

static size_t probe_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	probe.offered = n;
	if (probe.waits) {
		conn_message_begun(conn);
		n /= 2;
		conn_pause_input(conn);
	}
	if (n && bytes[n - 1] == '.')
		conn_finish(conn, CLOSE_finished);
	else
		conn_send(conn, bytes, n);
	return n;
}

static const struct protocol probe_protocol = {.name = "probe",
					       .open = probe_open,
					       .restore = probe_restore,
					       .close = probe_close,
					       .input = probe_input};

static void begin_with(const char *protocol, struct conn_limits limits)
{
	memset(&probe, 0, sizeof probe);
	sim_move_open(&move, protocol ? protocol : "echo", limits, BUFFERS_MIN);
	here = &move.worlds[0];
	there = &move.worlds[1];
	if (!protocol)
		here->service.protocol = there->service.protocol = &probe_protocol;
	sim_move_pass(&move);
}

static void begin(const char *protocol)
{
	begin_with(protocol, (struct conn_limits){WORLD_LIMITS});
}

static struct conn *freeze(struct peer *peer)
{
	struct conn *conn = world_conn(sim_move_here(&move), peer);

	ck_assert(!conn_is_frozen(conn));
	ck_assert(conn_freeze(conn));
	ck_assert(conn_is_frozen(conn));
	return conn;
}

static void finish(struct peer *peer, enum close_reason reason)
{
	if (!peer->closed)
		peer_finish(peer);
	sim_move_settle(&move);
	ck_assert(peer->closed);
	ck_assert_int_eq(sim_move_reason(&move), reason);
	sim_move_close(&move);
}

/* ---- what is counted, and called ---- */

START_TEST(one_leaves_and_one_arrives)
{
	struct peer *peer;

	begin(NULL);
	peer = world_connect(here);
	sim_move_settle(&move);
	for (int i = 1; i <= 5; i++) {
		ck_assert(sim_move_move(&move, peer));
		ck_assert_int_eq(probe.opened, 1);
		ck_assert_int_eq(probe.arrived, i);
		ck_assert_int_eq(probe.ended, i);
		ck_assert_int_eq(memcmp(probe.state, "abcdefghijklmnopqrstuvwx", 24), 0);
		ck_assert_uint_eq(here->stats.connections + there->stats.connections, 1);
		ck_assert_uint_eq(sim_move_here(&move)->table.conns.used, 1);
		sim_move_settle(&move);
		ck_assert_uint_eq(sim_move_there(&move)->table.conns.used, 0);
	}
	ck_assert_uint_eq(here->stats.moved_out, 3);
	ck_assert_uint_eq(here->stats.moved_in, 2);
	ck_assert_uint_eq(there->stats.moved_out, 2);
	ck_assert_uint_eq(there->stats.moved_in, 3);
	ck_assert_uint_eq(here->stats.accepted, 1);
	ck_assert_uint_eq(there->stats.accepted, 0);
	ck_assert_int_eq(sim_move_reason(&move), CLOSE_NONE);
	finish(peer, CLOSE_eof);
	ck_assert_int_eq(probe.ended, 6);
}
END_TEST

/* Its protocol is done with it: nobody is told again. */
START_TEST(one_that_has_ended_arrives_quietly)
{
	struct peer *peer;

	begin(NULL);
	peer = world_connect(here);
	peer->space = 3;
	peer_text(peer, "owed and");
	sim_move_settle(&move);
	peer_text(peer, "the end.");
	sim_move_settle(&move);
	ck_assert_int_eq(probe.ended, 1);
	ck_assert(sim_move_move(&move, peer));
	sim_move_settle(&move);
	ck_assert_int_eq(probe.arrived, 0);
	ck_assert_int_eq(probe.ended, 1);
	ck_assert_uint_eq(there->stats.closed[CLOSE_finished], 0);
	for (size_t n = 0; n < 8; sim_move_settle(&move))
		n += peer_receive(peer, NULL, 3);
	finish(peer, CLOSE_finished);
	ck_assert_uint_eq(there->stats.closed[CLOSE_finished], 1);
}
END_TEST

static unsigned rooms;

static void on_room(struct conn_table *table)
{
	(void)table;
	rooms++;
}

/* A source that is queued is not freed before its turn; all else of it goes at once. */
START_TEST(the_memory_of_one_that_is_queued_goes_in_its_turn)
{
	struct peer *peers[2];
	struct conn *conn;

	begin("echo");
	here->table.on_room = on_room;
	rooms = 0;
	for (int i = 0; i < 2; i++)
		peers[i] = world_connect(here);
	sim_move_settle(&move);
	for (int i = 0; i < 2; i++) {
		struct load load;

		conn = freeze(peers[i]);
		if (i)
			loop_wake(&here->loop, &conn->source);
		load_take(&load, conn, peers[i]);
		ck_assert(load_leave(&load, &there->service));
		conn_depart(conn);
		ck_assert_uint_eq(here->stats.connections, 1u - (unsigned)i);
		ck_assert_uint_eq(here->table.conns.used, 1);
		ck_assert_uint_eq(rooms, 1);
	}
	/* Whoever comes by meanwhile finds nothing to do. */
	kernel_count_anew();
	ck_assert(!conn_freeze(conn));
	conn_table_drain(&here->table);
	conn_table_abort(&here->table, CLOSE_drain_timeout);
	ck_assert_uint_eq(kernel_calls_all(), 0);
	world_pass(here);
	ck_assert_uint_eq(here->table.conns.used, 0);
	ck_assert_uint_eq(rooms, 2);
	ck_assert_int_eq(sim_move_reason(&move), CLOSE_NONE);
	for (int i = 0; i < 2; i++)
		peer_finish(peers[i]);
	sim_move_settle(&move);
	ck_assert_uint_eq(there->stats.closed[CLOSE_eof], 2);
	sim_move_close(&move);
}
END_TEST

START_TEST(addresses_are_counted_where_the_connection_is)
{
	struct conn_limits limits = {WORLD_LIMITS, .connections_per_ip = 2};
	struct sockaddr_in from = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct peer *peers[5];
	int fd;

	begin_with("echo", limits);
	for (int i = 0; i < 5; i++) { /* two, and once they are there three more */
		peers[i] = peer_new(&fd);
		conn_open(&here->service, fd, CONN_ACCEPTED, (struct sockaddr *)&from);
		ck_assert(!peers[i]->closed || i == 4);
		if (i % 2 == 0 && i < 4)
			continue;
		for (int k = i - 1; i < 4 && k <= i; k++) {
			move.here = 0;
			ck_assert(sim_move_move(&move, peers[k]));
		}
	}
	/* Four there, beyond the limit, one here. */
	ck_assert_uint_eq(there->stats.connections, 4);
	ck_assert_uint_eq(here->stats.connections, 1);
	ck_assert_uint_eq(there->table.per_ip.entries[0].connections, 4);
	ck_assert_uint_eq(here->table.per_ip.entries[0].connections, 1);
	peers[0] = peer_new(&fd);
	conn_open(&there->service, fd, CONN_ACCEPTED, (struct sockaddr *)&from);
	ck_assert_uint_eq(there->stats.closed[CLOSE_too_many_per_ip], 1);
	/* One whose address is not to be had is not counted, and comes all the same. */
	move.here = 0;
	kernel_fail(KERNEL_getpeername, 1, ENOTCONN);
	ck_assert(sim_move_move(&move, peers[4]));
	ck_assert(kernel.failed);
	ck_assert_uint_eq(there->table.per_ip.entries[0].connections, 4);
	ck_assert_uint_eq(here->table.per_ip.entries[0].connections, 0);
	conn_table_abort(&there->table, CLOSE_stopped);
	sim_move_settle(&move);
	ck_assert_uint_eq(there->table.per_ip.entries[0].connections, 0);
	sim_move_close(&move);
}
END_TEST

START_TEST(a_move_is_four_calls)
{
	struct peer *peer;

	begin("echo");
	peer = world_connect(here);
	sim_move_settle(&move);
	kernel_count_anew();
	ck_assert(sim_move_move(&move, peer));
	ck_assert_uint_eq(kernel.calls[KERNEL_epoll_ctl], 2); /* there, and not here any more */
	ck_assert_uint_eq(kernel.calls[KERNEL_close], 1);
	ck_assert_uint_eq(kernel.calls[KERNEL_setsockopt], 1); /* against a close that waits */
	ck_assert_uint_eq(kernel_calls_all(), 4);
	sim_move_settle(&move);
	ck_assert_uint_eq(kernel.calls[KERNEL_read], 0);
	ck_assert_uint_eq(kernel.calls[KERNEL_write], 0);
	/* Owed bytes are written at once, without asking for space. */
	peer->space = 3;
	peer_text(peer, "owed");
	sim_move_settle(&move);
	peer_expect(peer, "owe", 3);
	kernel_count_anew();
	ck_assert(sim_move_move(&move, peer));
	sim_move_settle(&move);
	ck_assert_uint_eq(kernel.calls[KERNEL_epoll_ctl], 2);
	ck_assert_uint_eq(kernel.calls[KERNEL_write], 1);
	peer_expect(peer, "d", 1);
	finish(peer, CLOSE_eof);
}
END_TEST

/* ---- while it is frozen ---- */

/* All that can become ready or due does, and nobody works on it. */
START_TEST(a_frozen_one_is_left_alone)
{
	struct conn_limits limits = {WORLD_LIMITS, .idle_ms = 20, .write_ms = 20};
	struct peer *peer;
	struct conn *conn;
	uint64_t turns, harvests;

	begin_with("echo", limits);
	peer = world_connect(here);
	peer->space = 10;
	peer_text(peer, "more than it takes");
	sim_move_settle(&move);
	conn = freeze(peer);
	ck_assert(!conn_freeze(conn));
	kernel_count_anew();
	turns = here->stats.turns;
	peer_text(peer, "and more");
	peer_expect(peer, "more than ", 10);
	world_wait(here, 100);
	loop_wake(&here->loop, &conn->source);
	world_settle(here);
	peer_finish(peer);
	world_settle(here);
	peer_reset(peer);
	world_settle(here);
	ck_assert_uint_le(here->stats.turns - turns, 6);
	ck_assert_uint_eq(kernel_calls_all(), kernel.calls[KERNEL_epoll_wait]);
	/* Nor does the loop wake for it. */
	harvests = here->stats.harvests;
	loop_pass(&here->loop, 1000);
	ck_assert_int_eq(kernel.wait_asked, 1000);
	ck_assert_uint_eq(here->stats.harvests, harvests + 1);
	conn_thaw(conn);
	world_pass(here);
	ck_assert(peer->closed);
	finish(peer, CLOSE_reset);
}
END_TEST

START_TEST(a_reset_while_it_is_frozen_is_found_where_it_is_then)
{
	for (int moves = 0; moves < 2; moves++)
		for (int after = 0; after < 2; after++) {
			struct peer *peer;
			struct conn *conn;
			struct load load;

			begin("echo");
			peer = world_connect(here);
			peer->space = 3;
			peer_text(peer, "owed");
			sim_move_settle(&move);
			conn = freeze(peer);
			load_take(&load, conn, peer);
			if (!after)
				peer_reset(peer);
			sim_move_settle(&move);
			if (moves) {
				ck_assert(load_leave(&load, &there->service));
			} else {
				(void)sys_close(load.fd);
				free(load.bytes);
			}
			if (after)
				peer_reset(peer);
			if (moves)
				conn_depart(conn);
			else
				conn_thaw(conn);
			sim_move_settle(&move);
			ck_assert(peer->closed);
			ck_assert_uint_eq((moves ? there : here)->stats.closed[CLOSE_reset], 1);
			finish(peer, CLOSE_reset);
		}
}
END_TEST

static void share(struct conn *conn, const char *text, bool expected)
{
	struct buffers *buffers = &here->table.buffers;
	struct chunk *chunk = chunk_new(buffers);

	ck_assert(chunk);
	chunk->used = (uint32_t)strlen(text);
	memcpy(chunk->bytes, text, chunk->used);
	ck_assert_int_eq(conn_share(conn, chunk, 0, chunk->used), expected);
	chunk_release(buffers, chunk);
}

/* What came before it was described goes along; what came later stays, and is sent here. */
START_TEST(what_others_give_a_frozen_one_waits)
{
	for (int moves = 0; moves < 2; moves++) {
		struct peer *peer;
		struct conn *conn;
		struct load load;

		begin("echo");
		peer = world_connect(here);
		peer->space = 3;
		peer_text(peer, "echo ");
		sim_move_settle(&move);
		conn = freeze(peer);
		peer_expect(peer, "ech", 3);
		peer->space = 100;
		share(conn, "before ", true);
		sim_move_settle(&move);
		load_take(&load, conn, peer);
		ck_assert_uint_eq(load.n, 9);
		share(conn, "after", true);
		sim_move_settle(&move);
		peer_expect(peer, "", 0);
		if (moves) {
			ck_assert(load_leave(&load, &there->service));
			sim_move_settle(&move);
			conn_depart(conn);
		} else {
			(void)sys_close(load.fd);
			free(load.bytes);
			conn_thaw(conn);
		}
		ck_assert_uint_eq(here->table.buffers.chunks.used, moves ? 0 : 3);
		sim_move_settle(&move);
		if (moves)
			peer_expect(peer, "o before ", 9);
		else
			peer_expect(peer, "o before after", 14);
		finish(peer, CLOSE_eof);
	}
}
END_TEST

START_TEST(an_abort_while_it_is_frozen)
{
	for (int how = 0; how < 3; how++) {
		struct peer *peer;
		struct conn *conn;
		struct load load;

		begin(NULL);
		peer = world_connect(here);
		sim_move_settle(&move);
		conn = freeze(peer);
		if (how == 0) { /* before it was described: nobody takes it any more */
			conn_abort(conn, CLOSE_slow_consumer);
			load_take(&load, conn, peer);
			ck_assert(!load_leave(&load, &there->service));
		} else {
			load_take(&load, conn, peer);
			conn_abort(conn, CLOSE_slow_consumer);
		}
		share(conn, "nothing", false);
		sim_move_settle(&move);
		ck_assert(!peer->closed);
		ck_assert_int_eq(probe.ended, 1);
		if (how == 1) {
			ck_assert(load_leave(&load, &there->service));
			conn_depart(conn);
		} else {
			if (how == 2) {
				(void)sys_close(load.fd);
				free(load.bytes);
			}
			conn_thaw(conn);
		}
		sim_move_settle(&move);
		ck_assert_int_eq(peer->closed, how != 1);
		ck_assert_int_eq(probe.ended, 1);
		finish(peer, how == 1 ? CLOSE_eof : CLOSE_slow_consumer);
	}
}
END_TEST

START_TEST(one_that_waits_is_asked_anew_where_it_arrives)
{
	struct conn_limits limits = {WORLD_LIMITS, .request_ms = 50};
	struct peer *peer;
	struct conn *conn;

	begin_with(NULL, limits);
	peer = world_connect(here);
	probe.waits = true;
	peer_text(peer, "take leave");
	sim_move_settle(&move);
	peer_expect(peer, "take ", 5);
	/* Thawed, it still waits, and not for the peer. */
	conn = freeze(peer);
	probe.offered = 0;
	conn_thaw(conn);
	sim_move_wait(&move, 100);
	ck_assert_uint_eq(probe.offered, 0);
	/* Going on is kept for later. */
	conn = freeze(peer);
	conn_resume_input(conn);
	sim_move_settle(&move);
	ck_assert_uint_eq(probe.offered, 0);
	conn_thaw(conn);
	sim_move_settle(&move);
	ck_assert_uint_eq(probe.offered, 5);
	peer_expect(peer, "le", 2);
	sim_move_wait(&move, 60);
	probe.waits = false;
	ck_assert(sim_move_move(&move, peer));
	sim_move_settle(&move);
	ck_assert_uint_eq(probe.offered, 3);
	peer_expect(peer, "ave", 3);
	/* What it began has begun when it was asked again. */
	sim_move_wait(&move, 45);
	ck_assert(!peer->closed);
	sim_move_wait(&move, 10);
	finish(peer, CLOSE_request_timeout);
}
END_TEST

/* ---- the end of a process ---- */

START_TEST(a_drain_begins_when_it_thaws)
{
	struct peer *peers[2];
	struct conn *conns[2];
	struct load load;

	begin("echo");
	for (int i = 0; i < 2; i++)
		peers[i] = world_connect(here);
	sim_move_settle(&move);
	for (int i = 0; i < 2; i++) {
		conns[i] = freeze(peers[i]);
		peer_text(peers[i], "in time");
	}
	conn_table_drain(&here->table);
	sim_move_settle(&move);
	for (int i = 0; i < 2; i++) {
		peer_expect(peers[i], "", 0);
		ck_assert(!peers[i]->closed);
	}
	load_take(&load, conns[0], peers[0]);
	ck_assert(load_leave(&load, &there->service));
	conn_depart(conns[0]);
	conn_thaw(conns[1]);
	sim_move_settle(&move);
	for (int i = 0; i < 2; i++)
		peer_expect(peers[i], "in time", 7);
	/* The one drains, which does not go along with the other. */
	ck_assert(peers[1]->closed && !peers[0]->closed);
	ck_assert_uint_eq(here->stats.closed[CLOSE_drained], 1);
	peer_finish(peers[0]);
	sim_move_settle(&move);
	ck_assert_uint_eq(there->stats.closed[CLOSE_eof], 1);
	sim_move_close(&move);
}
END_TEST

/* It serves what has come by then, as the others there. */
START_TEST(who_comes_to_a_table_that_drains_drains)
{
	struct peer *peer;

	begin("echo");
	peer = world_connect(here);
	peer->space = 3;
	peer_text(peer, "owed");
	sim_move_settle(&move);
	peer->space = 100;
	peer_text(peer, ", unread");
	conn_table_drain(&there->table);
	ck_assert(sim_move_move(&move, peer));
	sim_move_settle(&move);
	peer_expect(peer, "owed, unread", 12);
	ck_assert(peer->closed);
	ck_assert_uint_eq(there->stats.closed[CLOSE_drained], 1);
	finish(peer, CLOSE_drained);
}
END_TEST

START_TEST(an_end_of_all_is_an_end_of_those_that_are_frozen)
{
	struct peer *peers[3];
	struct conn *conns[3];
	struct load load;

	begin("echo");
	for (int i = 0; i < 3; i++)
		peers[i] = world_connect(here);
	sim_move_settle(&move);
	for (int i = 0; i < 3; i++)
		conns[i] = freeze(peers[i]);
	load_take(&load, conns[1], peers[1]);
	ck_assert(load_leave(&load, &there->service));
	loop_wake(&here->loop, &conns[1]->source);
	conn_depart(conns[1]);
	conn_table_abort(&here->table, CLOSE_drain_timeout);
	world_settle(here);
	ck_assert(!peers[0]->closed && !peers[2]->closed);
	conn_thaw(conns[0]);
	world_settle(here);
	ck_assert(peers[0]->closed);
	ck_assert_uint_eq(here->stats.closed[CLOSE_drain_timeout], 1);
	/* One that is frozen, and one that waits for its turn to go, when the table does. */
	peers[0] = world_connect(here);
	conns[0] = freeze(peers[0]);
	move.here = 0;
	load_take(&load, conns[0], peers[0]);
	ck_assert(load_leave(&load, &there->service));
	loop_wake(&here->loop, &conns[0]->source);
	conn_depart(conns[0]);
	conn_table_close(&here->table);
	ck_assert(peers[2]->closed && !peers[0]->closed && !peers[1]->closed);
	ck_assert_uint_eq(here->stats.closed[CLOSE_drain_timeout], 2);
	ck_assert_uint_eq(here->stats.connections, 0);
	loop_close(&here->loop);
	conn_table_close(&there->table);
	loop_close(&there->loop);
	ck_assert_uint_eq(there->stats.closed[CLOSE_stopped], 2);
	kernel_end();
}
END_TEST

/* Whoever was asked to take it may have a copy of its descriptor for some time yet. */
START_TEST(no_registration_outlives_one_that_was_thawed)
{
	struct peer *peer;
	struct conn *conn;
	struct load load;

	begin("echo");
	peer = world_connect(here);
	sim_move_settle(&move);
	conn = freeze(peer);
	load_take(&load, conn, peer);
	conn_thaw(conn);
	peer_finish(peer);
	sim_move_settle(&move);
	ck_assert_uint_eq(here->stats.closed[CLOSE_eof], 1);
	ck_assert_uint_eq(kernel.stale, 0);
	ck_assert(!peer->closed);
	(void)sys_close(load.fd);
	free(load.bytes);
	finish(peer, CLOSE_eof);
}
END_TEST

SUITE("sim_snapshot_edges", {"one leaves and one arrives", one_leaves_and_one_arrives, 10},
      {"one that has ended arrives quietly", one_that_has_ended_arrives_quietly, 10},
      {"the memory of one that is queued goes in its turn",
       the_memory_of_one_that_is_queued_goes_in_its_turn, 10},
      {"addresses are counted where the connection is",
       addresses_are_counted_where_the_connection_is, 10},
      {"a move is four calls", a_move_is_four_calls, 10},
      {"a frozen one is left alone", a_frozen_one_is_left_alone, 10},
      {"a reset while it is frozen is found where it is then",
       a_reset_while_it_is_frozen_is_found_where_it_is_then, 10},
      {"what others give a frozen one waits", what_others_give_a_frozen_one_waits, 10},
      {"an abort while it is frozen", an_abort_while_it_is_frozen, 10},
      {"one that waits is asked anew where it arrives",
       one_that_waits_is_asked_anew_where_it_arrives, 10},
      {"a drain begins when it thaws", a_drain_begins_when_it_thaws, 10},
      {"who comes to a table that drains drains", who_comes_to_a_table_that_drains_drains, 10},
      {"an end of all is an end of those that are frozen",
       an_end_of_all_is_an_end_of_those_that_are_frozen, 10},
      {"no registration outlives one that was thawed", no_registration_outlives_one_that_was_thawed,
       10})
