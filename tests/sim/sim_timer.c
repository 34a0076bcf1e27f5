/*
 * The timer of a connection, on a simulated kernel: to the millisecond, set anew, stopped, beside
 * other deadlines, moved to another process, and after the protocol that set it. The protocol is
 * the test's: a byte says what to do with the timer, which says "tick".
 */
#include "tests/support/sim/sim_move.h"

static struct sim_move move;
static unsigned ticks;

struct ticker {
	uint32_t every_ms, due_ms;
};

static void ticker_open(struct conn *conn)
{
	struct ticker *ticker = conn_state(conn);

	ticker->every_ms = 100;
}

static size_t ticker_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	struct ticker *ticker = conn_state(conn);

	for (size_t i = 0; i < n; i++)
		switch (bytes[i]) {
		case 's':
			conn_set_timer(conn, ticker->every_ms);
			break;
		case 'x':
			conn_stop_timer(conn);
			break;
		case 'f': /* with its next tick the connection ends */
			ticker->every_ms = 0;
			break;
		default:
			conn_message_begun(conn);
		}
	return n;
}

static void ticker_timer(struct conn *conn)
{
	const struct ticker *ticker = conn_state(conn);

	ticks++;
	conn_send(conn, "tick", 4);
	if (ticker->every_ms)
		conn_set_timer(conn, ticker->every_ms);
	else
		conn_finish(conn, CLOSE_finished);
}

static const struct protocol ticker = {
    .name = "ticker",
    .state_bytes = sizeof(struct ticker),
    .open = ticker_open,
    .input = ticker_input,
    .timer = ticker_timer,
    .timer_at = offsetof(struct ticker, due_ms),
};

static struct peer *begin(struct conn_limits limits)
{
	sim_move_open(&move, "echo", limits, BUFFERS_MIN);
	move.worlds[0].service.protocol = move.worlds[1].service.protocol = &ticker;
	ticks = 0;
	return world_connect(&move.worlds[0]);
}

#define LIMITS                                                                                     \
	(struct conn_limits)                                                                       \
	{                                                                                          \
		WORLD_LIMITS                                                                       \
	}

static void end_with(struct peer *peer, enum close_reason reason)
{
	sim_move_run(&move);
	EXPECT(peer->closed);
	EXPECT(sim_move_reason(&move) == reason);
	sim_move_close(&move);
}

START_TEST(it_is_due_to_the_millisecond)
{
	struct peer *peer = begin(LIMITS);

	sim_move_wait(&move, 1000);
	ck_assert_uint_eq(ticks, 0); /* nobody has set it */
	peer_text(peer, "s");
	sim_move_run(&move);
	for (unsigned i = 1; i < 5; i++) {
		sim_move_wait(&move, 99);
		ck_assert_uint_eq(ticks, i - 1);
		sim_move_wait(&move, 1);
		ck_assert_uint_eq(ticks, i);
		peer_expect(peer, "tick", 4);
	}
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

START_TEST(it_is_set_anew_and_stopped)
{
	struct peer *peer = begin(LIMITS);

	for (int i = 0; i < 10; i++) {
		peer_text(peer, "s");
		sim_move_wait(&move, 90);
	}
	ck_assert_uint_eq(ticks, 0);
	sim_move_wait(&move, 10);
	ck_assert_uint_eq(ticks, 1);
	peer_text(peer, "x");
	sim_move_wait(&move, 1000);
	ck_assert_uint_eq(ticks, 1);
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

START_TEST(it_costs_no_call)
{
	struct peer *peer = begin(LIMITS);

	kernel_count_anew();
	peer_text(peer, "s");
	sim_move_run(&move);
	ck_assert_uint_eq(kernel_calls_all() - kernel.calls[KERNEL_epoll_wait], 1); /* the read */
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* Each deadline keeps its time, and the timer its own. */
START_TEST(other_deadlines_stand_beside_it)
{
	struct peer *peer =
	    begin((struct conn_limits){WORLD_LIMITS, .idle_ms = 1000, .request_ms = 450});

	peer_text(peer, "ms");
	sim_move_run(&move);
	sim_move_wait(&move, 449);
	ck_assert_uint_eq(ticks, 4);
	ck_assert(!peer->closed);
	sim_move_wait(&move, 1);
	end_with(peer, CLOSE_request_timeout);
	/* What it says is a sign of life. */
	peer = begin((struct conn_limits){WORLD_LIMITS, .idle_ms = 150});
	peer_text(peer, "s");
	sim_move_wait(&move, 1000);
	ck_assert_uint_eq(ticks, 10);
	peer_text(peer, "x");
	sim_move_wait(&move, 149);
	ck_assert(!peer->closed);
	sim_move_wait(&move, 1);
	end_with(peer, CLOSE_idle_timeout);
}
END_TEST

/* As much of it is left as where it comes from; one that was due while it was on its way is late.
 */
START_TEST(it_moves_along)
{
	struct peer *peer = begin(LIMITS);

	peer_text(peer, "s");
	sim_move_run(&move);
	for (int i = 0; i < 9; i++) {
		sim_move_wait(&move, 10);
		ck_assert(sim_move_move(&move, peer));
	}
	sim_move_wait(&move, 9);
	ck_assert_uint_eq(ticks, 0);
	sim_move_wait(&move, 1);
	ck_assert_uint_eq(ticks, 1);
	kernel_advance(150);
	ck_assert(sim_move_move(&move, peer));
	sim_move_wait(&move, 1);
	ck_assert_uint_eq(ticks, 2);
	sim_move_wait(&move, 100);
	ck_assert_uint_eq(ticks, 3);
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

START_TEST(another_process_may_say_any_time)
{
	static const uint32_t times[] = {WHEEL_MS_MAX - 1, WHEEL_MS_MAX, UINT32_MAX};

	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		struct peer *peer = begin(LIMITS);
		struct conn *conn;
		struct load load;

		peer_text(peer, "s");
		sim_move_run(&move);
		conn = world_conn(&move.worlds[0], peer);
		ck_assert(conn_freeze(conn));
		load_take(&load, conn, peer);
		memcpy(load.snapshot.state + offsetof(struct ticker, due_ms), &times[i], 4);
		ck_assert(load_leave(&load, &move.worlds[1].service));
		conn_depart(conn);
		sim_move_wait(&move, 1000);
		ck_assert_uint_eq(ticks, 0);
		peer_finish(peer);
		end_with(peer, CLOSE_eof);
	}
}
END_TEST

START_TEST(it_may_end_the_connection)
{
	struct peer *peer = begin(LIMITS);

	peer_text(peer, "fs");
	sim_move_wait(&move, 1);
	peer_expect(peer, "tick", 4);
	ck_assert_uint_eq(ticks, 1);
	sim_move_wait(&move, 5000);
	end_with(peer, CLOSE_finished);
}
END_TEST

SUITE("sim_timer", {"it is due to the millisecond", it_is_due_to_the_millisecond, 10},
      {"it is set anew, and stopped", it_is_set_anew_and_stopped, 10},
      {"it costs no call", it_costs_no_call, 10},
      {"other deadlines stand beside it", other_deadlines_stand_beside_it, 10},
      {"it moves along", it_moves_along, 10},
      {"another process may say any time", another_process_may_say_any_time, 10},
      {"it may end the connection", it_may_end_the_connection, 10})
