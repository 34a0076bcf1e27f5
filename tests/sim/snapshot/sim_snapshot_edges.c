/*
 * The edges of a move: what is counted, and which calls are made, in the process that a connection
 * leaves and in the one where it arrives.
 */
#include <netinet/in.h>

#include "tests/sim/snapshot/snapshot_probe.h"

/* ---- what is counted, and called ---- */

START_TEST(one_leaves_and_one_arrives)
{
	struct peer *peer;

	begin(NULL);
	peer = world_connect(here);
	sim_move_run(&move);
	for (int i = 1; i <= 5; i++) {
		ck_assert(sim_move_move(&move, peer));
		ck_assert_int_eq(probe.opened, 1);
		ck_assert_int_eq(probe.arrived, i);
		ck_assert_int_eq(probe.ended, i);
		ck_assert_int_eq(memcmp(probe.state, "abcdefghijklmnopqrstuvwx", 24), 0);
		ck_assert_uint_eq(here->stats.connections + there->stats.connections, 1);
		ck_assert_uint_eq(sim_move_here(&move)->table.conns.used, 1);
		sim_move_run(&move);
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

/* Its protocol has been told of its end already, and is not told again. */
START_TEST(one_that_has_ended_arrives_quietly)
{
	struct peer *peer;

	begin(NULL);
	peer = world_connect(here);
	peer->space = 3;
	peer_text(peer, "owed and");
	sim_move_run(&move);
	peer_text(peer, "the end.");
	sim_move_run(&move);
	ck_assert_int_eq(probe.ended, 1);
	ck_assert(sim_move_move(&move, peer));
	sim_move_run(&move);
	ck_assert_int_eq(probe.arrived, 0);
	ck_assert_int_eq(probe.ended, 1);
	ck_assert_uint_eq(there->stats.closed[CLOSE_finished], 0);
	for (size_t n = 0; n < 8; sim_move_run(&move))
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

/* A source that is queued is not freed before its turn; everything else is freed at once. */
START_TEST(the_memory_of_one_that_is_queued_goes_in_its_turn)
{
	struct peer *peers[2];
	struct conn *conn;

	begin("echo");
	here->table.on_room = on_room;
	rooms = 0;
	for (int i = 0; i < 2; i++)
		peers[i] = world_connect(here);
	sim_move_run(&move);
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
	/* Whatever looks at all connections meanwhile ignores it. */
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
	sim_move_run(&move);
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
	for (int i = 0; i < 5; i++) { /* two that move, two more that move, and one that stays */
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
	/* Four there, which is above the limit, and one here. */
	ck_assert_uint_eq(there->stats.connections, 4);
	ck_assert_uint_eq(here->stats.connections, 1);
	ck_assert_uint_eq(there->table.per_ip.entries[0].connections, 4);
	ck_assert_uint_eq(here->table.per_ip.entries[0].connections, 1);
	peers[0] = peer_new(&fd);
	conn_open(&there->service, fd, CONN_ACCEPTED, (struct sockaddr *)&from);
	ck_assert_uint_eq(there->stats.closed[CLOSE_too_many_per_ip], 1);
	/* If the address can't be found out, it is not counted, but the connection moves. */
	move.here = 0;
	kernel_fail(KERNEL_getpeername, 1, ENOTCONN);
	ck_assert(sim_move_move(&move, peers[4]));
	ck_assert(kernel.failed);
	ck_assert_uint_eq(there->table.per_ip.entries[0].connections, 4);
	ck_assert_uint_eq(here->table.per_ip.entries[0].connections, 0);
	conn_table_abort(&there->table, CLOSE_stopped);
	sim_move_run(&move);
	ck_assert_uint_eq(there->table.per_ip.entries[0].connections, 0);
	sim_move_close(&move);
}
END_TEST

START_TEST(a_move_is_four_calls)
{
	struct peer *peer;

	begin("echo");
	peer = world_connect(here);
	sim_move_run(&move);
	kernel_count_anew();
	ck_assert(sim_move_move(&move, peer));
	ck_assert_uint_eq(kernel.calls[KERNEL_epoll_ctl], 2); /* ADD there, DEL here */
	ck_assert_uint_eq(kernel.calls[KERNEL_close], 1);
	ck_assert_uint_eq(kernel.calls[KERNEL_setsockopt], 1); /* so that close() never waits */
	ck_assert_uint_eq(kernel_calls_all(), 4);
	sim_move_run(&move);
	ck_assert_uint_eq(kernel.calls[KERNEL_read], 0);
	ck_assert_uint_eq(kernel.calls[KERNEL_write], 0);
	/* Owed bytes are written at once, without asking for space. */
	peer->space = 3;
	peer_text(peer, "owed");
	sim_move_run(&move);
	peer_expect(peer, "owe", 3);
	kernel_count_anew();
	ck_assert(sim_move_move(&move, peer));
	sim_move_run(&move);
	ck_assert_uint_eq(kernel.calls[KERNEL_epoll_ctl], 2);
	ck_assert_uint_eq(kernel.calls[KERNEL_write], 1);
	peer_expect(peer, "d", 1);
	finish(peer, CLOSE_eof);
}
END_TEST

SUITE("sim_snapshot_edges", {"one leaves and one arrives", one_leaves_and_one_arrives, 10},
      {"one that has ended arrives quietly", one_that_has_ended_arrives_quietly, 10},
      {"the memory of one that is queued goes in its turn",
       the_memory_of_one_that_is_queued_goes_in_its_turn, 10},
      {"addresses are counted where the connection is",
       addresses_are_counted_where_the_connection_is, 10},
      {"a move is four calls", a_move_is_four_calls, 10})
