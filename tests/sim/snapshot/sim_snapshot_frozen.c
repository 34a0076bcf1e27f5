/*
 * A connection that is frozen for a move: what others do to it meanwhile, and the end of a process
 * that has frozen connections. If it does not move after all, it goes on as if nothing had
 * happened.
 */
#include "tests/sim/snapshot/snapshot_probe.h"

/* ---- while it is frozen ---- */

/* Everything that can become ready or due does, and is not handled. */
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
	sim_move_run(&move);
	conn = freeze(peer);
	ck_assert(!conn_freeze(conn));
	kernel_count_anew();
	turns = here->stats.turns;
	peer_text(peer, "and more");
	peer_expect(peer, "more than ", 10);
	world_wait(here, 100);
	loop_wake(&here->loop, &conn->source);
	world_run(here);
	peer_finish(peer);
	world_run(here);
	peer_reset(peer);
	world_run(here);
	ck_assert_uint_le(here->stats.turns - turns, 6);
	ck_assert_uint_eq(kernel_calls_all(), kernel.calls[KERNEL_epoll_wait]);
	/* Nor does the loop wake up because of it. */
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
			sim_move_run(&move);
			conn = freeze(peer);
			load_take(&load, conn, peer);
			if (!after)
				peer_reset(peer);
			sim_move_run(&move);
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
			sim_move_run(&move);
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

/* What it was given before it was described moves with it; what it was given later stays, and is
 * sent only if it thaws here. */
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
		sim_move_run(&move);
		conn = freeze(peer);
		peer_expect(peer, "ech", 3);
		peer->space = 100;
		share(conn, "before ", true);
		sim_move_run(&move);
		load_take(&load, conn, peer);
		ck_assert_uint_eq(load.n, 9);
		share(conn, "after", true);
		sim_move_run(&move);
		peer_expect(peer, "", 0);
		if (moves) {
			ck_assert(load_leave(&load, &there->service));
			sim_move_run(&move);
			conn_depart(conn);
		} else {
			(void)sys_close(load.fd);
			free(load.bytes);
			conn_thaw(conn);
		}
		ck_assert_uint_eq(here->table.buffers.chunks.used, moves ? 0 : 3);
		sim_move_run(&move);
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
		sim_move_run(&move);
		conn = freeze(peer);
		if (how == 0) { /* before it was described: no process takes it */
			conn_abort(conn, CLOSE_slow_consumer);
			load_take(&load, conn, peer);
			ck_assert(!load_leave(&load, &there->service));
		} else {
			load_take(&load, conn, peer);
			conn_abort(conn, CLOSE_slow_consumer);
		}
		share(conn, "nothing", false);
		sim_move_run(&move);
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
		sim_move_run(&move);
		ck_assert_int_eq(peer->closed, how != 1);
		ck_assert_int_eq(probe.ended, 1);
		finish(peer, how == 1 ? CLOSE_eof : CLOSE_slow_consumer);
	}
}
END_TEST

START_TEST(paused_input_is_offered_anew_after_a_move)
{
	struct conn_limits limits = {WORLD_LIMITS, .request_ms = 50};
	struct peer *peer;
	struct conn *conn;

	begin_with(NULL, limits);
	peer = world_connect(here);
	probe.waits = true;
	peer_text(peer, "take leave");
	sim_move_run(&move);
	peer_expect(peer, "take ", 5);
	/* After a thaw it still waits for its protocol, not for the peer. */
	conn = freeze(peer);
	probe.offered = 0;
	conn_thaw(conn);
	sim_move_wait(&move, 100);
	ck_assert_uint_eq(probe.offered, 0);
	/* A conn_resume_input() while it is frozen takes effect later. */
	conn = freeze(peer);
	conn_resume_input(conn);
	sim_move_run(&move);
	ck_assert_uint_eq(probe.offered, 0);
	conn_thaw(conn);
	sim_move_run(&move);
	ck_assert_uint_eq(probe.offered, 5);
	peer_expect(peer, "le", 2);
	sim_move_wait(&move, 60);
	probe.waits = false;
	ck_assert(sim_move_move(&move, peer));
	sim_move_run(&move);
	ck_assert_uint_eq(probe.offered, 3);
	peer_expect(peer, "ave", 3);
	/* Its message has begun when input was offered again after the move. */
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
	sim_move_run(&move);
	for (int i = 0; i < 2; i++) {
		conns[i] = freeze(peers[i]);
		peer_text(peers[i], "in time");
	}
	conn_table_drain(&here->table);
	sim_move_run(&move);
	for (int i = 0; i < 2; i++) {
		peer_expect(peers[i], "", 0);
		ck_assert(!peers[i]->closed);
	}
	load_take(&load, conns[0], peers[0]);
	ck_assert(load_leave(&load, &there->service));
	conn_depart(conns[0]);
	conn_thaw(conns[1]);
	sim_move_run(&move);
	for (int i = 0; i < 2; i++)
		peer_expect(peers[i], "in time", 7);
	/* The one that stayed drains; the other one did not take the drain along. */
	ck_assert(peers[1]->closed && !peers[0]->closed);
	ck_assert_uint_eq(here->stats.closed[CLOSE_drained], 1);
	peer_finish(peers[0]);
	sim_move_run(&move);
	ck_assert_uint_eq(there->stats.closed[CLOSE_eof], 1);
	sim_move_close(&move);
}
END_TEST

/* Like the other connections there, it serves what has come by then. */
START_TEST(one_that_arrives_at_a_draining_table_drains)
{
	struct peer *peer;

	begin("echo");
	peer = world_connect(here);
	peer->space = 3;
	peer_text(peer, "owed");
	sim_move_run(&move);
	peer->space = 100;
	peer_text(peer, ", unread");
	conn_table_drain(&there->table);
	ck_assert(sim_move_move(&move, peer));
	sim_move_run(&move);
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
	sim_move_run(&move);
	for (int i = 0; i < 3; i++)
		conns[i] = freeze(peers[i]);
	load_take(&load, conns[1], peers[1]);
	ck_assert(load_leave(&load, &there->service));
	loop_wake(&here->loop, &conns[1]->source);
	conn_depart(conns[1]);
	conn_table_abort(&here->table, CLOSE_drain_timeout);
	world_run(here);
	ck_assert(!peers[0]->closed && !peers[2]->closed);
	conn_thaw(conns[0]);
	world_run(here);
	ck_assert(peers[0]->closed);
	ck_assert_uint_eq(here->stats.closed[CLOSE_drain_timeout], 1);
	/* The table is closed while one is frozen, and another waits for the turn that frees it. */
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

/* The process that was asked to take it may have a copy of its descriptor for some time. */
START_TEST(no_registration_outlives_one_that_was_thawed)
{
	struct peer *peer;
	struct conn *conn;
	struct load load;

	begin("echo");
	peer = world_connect(here);
	sim_move_run(&move);
	conn = freeze(peer);
	load_take(&load, conn, peer);
	conn_thaw(conn);
	peer_finish(peer);
	sim_move_run(&move);
	ck_assert_uint_eq(here->stats.closed[CLOSE_eof], 1);
	ck_assert_uint_eq(kernel.stale, 0);
	ck_assert(!peer->closed);
	(void)sys_close(load.fd);
	free(load.bytes);
	finish(peer, CLOSE_eof);
}
END_TEST

SUITE("sim_snapshot_frozen", {"a frozen one is left alone", a_frozen_one_is_left_alone, 10},
      {"a reset while it is frozen is found where it is then",
       a_reset_while_it_is_frozen_is_found_where_it_is_then, 10},
      {"what others give a frozen one waits", what_others_give_a_frozen_one_waits, 10},
      {"an abort while it is frozen", an_abort_while_it_is_frozen, 10},
      {"paused input is offered anew after a move", paused_input_is_offered_anew_after_a_move, 10},
      {"a drain begins when it thaws", a_drain_begins_when_it_thaws, 10},
      {"one that arrives at a draining table drains", one_that_arrives_at_a_draining_table_drains,
       10},
      {"an end of all is an end of those that are frozen",
       an_end_of_all_is_an_end_of_those_that_are_frozen, 10},
      {"no registration outlives one that was thawed", no_registration_outlives_one_that_was_thawed,
       10})
