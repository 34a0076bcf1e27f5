/*
 * Connections that we open, on a simulated kernel: every error at every call, every end before it
 * is up, limits, and moves of all others. How one comes up: sim_connect.
 */
#include "reactor/base/log.h"
#include "tests/support/sim/sim_caller.h"

/* ---- faults ---- */

/* The kernel was asked while we were stopped, and told nothing (EINTR). */
START_TEST(what_came_in_time_counts)
{
	begin();
	answers[1] = LATER;
	connect_to(1, 1000);
	world_run(&world);
	peer_answer(attempts[0].peer);
	kernel_advance(5000);
	kernel_fail(KERNEL_epoll_wait, 1, EINTR);
	world_pass(&world);
	ck_assert_uint_eq(owner.opened, 1);
	world_run(&world);
	expect_opened();
}
END_TEST

START_TEST(a_signal_does_not_matter)
{
	begin();
	answers[1] = TAKES;
	connect_to(1, 1000);
	kernel_fail(KERNEL_connect, 1, EINTR);
	world_run(&world);
	ck_assert(kernel.failed);
	expect_opened();
}
END_TEST

/* Whatever fails, it comes up or not, and is told once; nothing is left. */
static void run_with_fault(enum kernel_call call, unsigned k, int error, const struct address *last)
{
	const struct address list[] = {at(1), at(2), *last};

	begin();
	owner.ends_at_once = true; /* if connect(2) says that it has begun, and has not */
	answers[1] = LATER;
	answers[2] = REFUSES;
	answers[3] = TAKES;
	EXPECT(connect_to_all(list, 3, 900) == 0);
	kernel_fail(call, k, error);
	world_run(&world);
	if (attempts_n && attempts[0].host == 1 && attempts[0].peer->unconnected)
		peer_refuse(attempts[0].peer, EHOSTUNREACH);
	world_wait(&world, 1000);
	kernel_fail(call, 0, 0);
	EXPECT_MSG(owner.opened + owner.unconnected == 1, "%s %u fails with %s: told %u, %u",
		   kernel_call_names[call], k, strerror(error), owner.opened, owner.unconnected);
	if (owner.opened && !owner.closed)
		conn_abort(owner.conn, CLOSE_finished);
	world_run(&world);
	EXPECT(owner.closed == owner.opened);
	EXPECT(world.stats.connected == owner.opened);
	EXPECT(world.stats.connect_failures == owner.unconnected);
	EXPECT(world_closed(&world) == 1);
	world_close(&world);
}

START_TEST(every_error_at_every_call)
{
	static const enum kernel_call calls[] = {
	    KERNEL_socket,     KERNEL_epoll_ctl,   KERNEL_setsockopt,
	    KERNEL_getsockopt, KERNEL_getsockname, KERNEL_getpeername,
	    KERNEL_close,      KERNEL_write,	   KERNEL_connect,
	};
	static const int errors[] = {
	    EMFILE, ENFILE,	   ENOMEM,     ENOBUFS,	  EACCES,      EPERM,	EAFNOSUPPORT,
	    ENOSPC, ECONNREFUSED,  ECONNRESET, ETIMEDOUT, EIO,	       EINVAL,	ENETUNREACH,
	    EAGAIN, EADDRNOTAVAIL, EINTR,      EALREADY,  EINPROGRESS, EISCONN, /* of connect(2) */
	};
	const struct address last[] = {at(3), at_unix()};
	unsigned came_up = 0, failed = 0;

	log_open(LOG_ERROR, LOG_LOGFMT);
	for (size_t call = 0; call < sizeof calls / sizeof *calls; call++)
		for (size_t error = 0; error < sizeof errors / sizeof *errors; error++) {
			if (calls[call] != KERNEL_connect && errors[error] == EINTR)
				break;
			for (unsigned k = 0; k <= 4; k++)
				for (int local = 0; local < 2; local++) {
					/* For ever, these would be tried for ever. */
					if (!k &&
					    (calls[call] == KERNEL_write || errors[error] == EINTR))
						continue;
					run_with_fault(calls[call], k, errors[error], &last[local]);
					came_up += owner.opened;
					failed += owner.unconnected;
				}
		}
	ck_assert_uint_gt(came_up, 100);
	ck_assert_uint_gt(failed, 100);
}
END_TEST

/* ---- ends before it is up ---- */

/* Nobody answers it; it has had a turn, or none yet. */
static void begin_unanswered(bool turns)
{
	begin();
	answers[1] = SILENT;
	connect_to(1, 1000);
	if (turns)
		world_run(&world);
}

START_TEST(its_owner_ends_it)
{
	for (int turns = 0; turns < 2; turns++) {
		begin_unanswered(turns);
		conn_abort(owner.conn, CLOSE_finished);
		ck_assert_uint_eq(owner.unconnected, 1); /* and at once */
		conn_abort(owner.conn, CLOSE_reset);
		world_run(&world);
		ck_assert_uint_eq(attempts_n, (unsigned)turns);
		ck_assert_uint_eq(kernel.calls[KERNEL_close], (unsigned)turns);
		expect_unconnected(CLOSE_finished);
	}
}
END_TEST

START_TEST(a_drain_ends_it)
{
	struct address address = at(1);

	for (int turns = 0; turns < 2; turns++) {
		begin_unanswered(turns);
		conn_table_drain(&world.table);
		world_run(&world);
		ck_assert_int_eq(connect_to_all(&address, 1, 1000), -ESHUTDOWN);
		expect_unconnected(CLOSE_drained);
	}
	/* One that is up drains like any other. */
	begin();
	answers[1] = TAKES;
	connect_to(1, 1000);
	world_run(&world);
	peer_text(attempts[0].peer, "bytes");
	conn_table_drain(&world.table);
	world_run(&world);
	ck_assert_uint_eq(owner.received, 5);
	ck_assert_uint_eq(owner.closed, 1);
	ck_assert_int_eq(owner.why, CLOSE_drained);
	world_close(&world);
}
END_TEST

START_TEST(a_table_that_closes_ends_it)
{
	for (int turns = 0; turns < 2; turns++) {
		begin_unanswered(turns);
		owner.tries_again = true;
		conn_table_close(&world.table);
		ck_assert_uint_eq(owner.unconnected, 1);
		ck_assert_int_eq(owner.why, CLOSE_stopped);
		ck_assert_int_eq(owner.again, -ESHUTDOWN);
		ck_assert_uint_eq(world.stats.connections, 0);
		loop_close(&world.loop);
		kernel_end();
	}
}
END_TEST

START_TEST(a_stop_aborts_it)
{
	begin_unanswered(true);
	conn_table_flush(&world.table);
	conn_table_abort(&world.table, CLOSE_drain_timeout);
	world_run(&world);
	expect_unconnected(CLOSE_drain_timeout);
}
END_TEST

/* ---- limits ---- */

START_TEST(there_is_no_place)
{
	struct peer *peer;
	struct address address = at(1);

	begin_with((struct conn_limits){.high_water = 256 << 10,
					.low_water = 64 << 10,
					.connections_max = 1,
					.connections_per_ip = 1});
	answers[1] = TAKES;
	peer = world_connect(&world);
	world_run(&world);
	ck_assert_int_eq(connect_to_all(&address, 1, 1000), -EAGAIN);
	peer_finish(peer);
	world_run(&world);
	connect_to(1, 1000);
	world_connect(&world); /* it has the only place from the beginning on */
	ck_assert_uint_eq(world.stats.closed[CLOSE_overload], 1);
	world_run(&world);
	ck_assert_uint_eq(world.stats.connected, 1);
	expect_opened();
}
END_TEST

/* The limit of an address is for those who come. */
START_TEST(those_to_one_address_are_not_counted)
{
	begin_with((struct conn_limits){WORLD_LIMITS, .connections_per_ip = 1});
	answers[1] = TAKES;
	for (unsigned i = 0; i < 5; i++) {
		struct address address = at(1);

		ck_assert_int_eq(connect_to_all(&address, 1, 1000), 0);
		world_run(&world);
		ck_assert_uint_eq(owner.opened, i + 1);
	}
	for (unsigned i = 0; i < 5; i++)
		peer_finish(attempts[i].peer);
	world_run(&world);
	world_close(&world);
}
END_TEST

START_TEST(there_are_no_buffers)
{
	struct address address = at(1);
	struct chunk *taken = NULL, *all = NULL;

	begin();
	while ((taken = chunk_new(&world.table.buffers))) {
		memcpy(taken->bytes, &all, sizeof all);
		all = taken;
	}
	ck_assert_int_eq(connect_to_all(&address, 1, 1000), -ENOBUFS);
	while (all) {
		taken = all;
		memcpy(&all, taken->bytes, sizeof all);
		chunk_release(&world.table.buffers, taken);
	}
	ck_assert_uint_eq(world.table.conns.used, 0);
	answers[1] = TAKES;
	connect_to(1, 1000);
	world_run(&world);
	expect_opened();
}
END_TEST

/* ---- moves ---- */

/* It stays, before it is up and after, and goes on. */
START_TEST(all_others_move)
{
	static struct sim_move move;
	struct peer *peers[5];

	sim_move_open(&move, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	memset(&owner, 0, sizeof owner);
	attempts_n = 0;
	kernel.on_connect = on_connect;
	began_us = kernel.now_us;
	answers[1] = LATER;
	caller_service = (struct service){
	    .protocol = &caller, .table = &move.worlds[0].table, .listener = SERVICE_NO_LISTENER};
	for (int i = 0; i < 5; i++)
		peers[i] = world_connect(&move.worlds[0]);
	for (int up = 0; up < 2; up++) {
		struct address address = at(1);

		if (!up)
			ck_assert_int_eq(connect_to_all(&address, 1, 1000), 0);
		ck_assert(!conn_can_freeze(owner.conn) && !conn_freeze(owner.conn));
		sim_move_run(&move);
		ck_assert(!conn_can_freeze(owner.conn) && !conn_freeze(owner.conn));
		for (int i = 0; i < 5; i++) {
			move.here = (unsigned)up;
			ck_assert(sim_move_move(&move, peers[i]));
			peer_text(peers[i], "x");
			sim_move_run(&move);
			peer_expect(peers[i], "x", 1);
		}
		if (!up)
			peer_answer(attempts[0].peer);
		sim_move_run(&move);
		ck_assert_uint_eq(owner.opened, 1);
	}
	peer_expect(attempts[0].peer, "hello", 5);
	peer_finish(attempts[0].peer);
	for (int i = 0; i < 5; i++)
		peer_finish(peers[i]);
	sim_move_close(&move);
	ck_assert_uint_eq(owner.closed, 1);
}
END_TEST

/* One that another process says is connecting is not taken. */
START_TEST(none_arrives_that_is_not_up)
{
	static struct sim_move move;
	struct peer *peer;
	struct conn *conn;
	struct load load;

	sim_move_open(&move, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	peer = world_connect(&move.worlds[0]);
	conn = world_conn(&move.worlds[0], peer);
	sim_move_run(&move);
	for (unsigned phase = 3; phase < 8; phase++) {
		ck_assert(conn_freeze(conn));
		load_take(&load, conn, peer);
		load.snapshot.phase = (uint8_t)phase;
		ck_assert(!load_leave(&load, &move.worlds[1].service));
		conn_thaw(conn);
	}
	peer_finish(peer);
	sim_move_close(&move);
}
END_TEST

SUITE("sim_connect_ends", {"what came in time counts", what_came_in_time_counts, 10},
      {"a signal does not matter", a_signal_does_not_matter, 10},
      {"every error at every call", every_error_at_every_call, 60},
      {"its owner ends it", its_owner_ends_it, 10}, {"a drain ends it", a_drain_ends_it, 10},
      {"a table that closes ends it", a_table_that_closes_ends_it, 10},
      {"a stop aborts it", a_stop_aborts_it, 10}, {"there is no place", there_is_no_place, 10},
      {"those to one address are not counted", those_to_one_address_are_not_counted, 10},
      {"there are no buffers", there_are_no_buffers, 10}, {"all others move", all_others_move, 10},
      {"none arrives that is not up", none_arrives_that_is_not_up, 10})
