/*
 * Deadlines of connections that move: each connection ends at the millisecond at which it would
 * have ended without the move; one that became due while it was frozen ends as soon as it is not.
 *
 * Time goes on a millisecond at a time, for both processes.
 */
#include <stdio.h>

#include "tests/support/sim/sim_move.h"

#define FIRST_MS  5
#define THEN_MS	  20
#define OPENS_MS  25
#define LINGER_MS 100 /* the end of lingering may be so much later */

static struct sim_move sim;

struct plot {
	const char *name, *protocol;
	struct conn_limits limits;
	const char *first, *then; /* what comes at FIRST_MS, and at THEN_MS */
	uint32_t first_n, then_n;
	size_t space;	/* of the peer, which does not read */
	bool far, away; /* nothing reaches the peer before OPENS_MS; nothing ever does */
	enum close_reason reason;
	const char *own_reason;	   /* of its protocol; NULL: it is the one above */
	uint32_t ends_ms, late_ms; /* late_ms: how much later is right, too */
};

static enum close_reason reason_of(const struct plot *plot)
{
	return plot->own_reason ? close_reason_named(plot->own_reason) : plot->reason;
}

static const struct plot plots[] = {
    {.name = "idle",
     .protocol = "echo",
     .limits = {WORLD_LIMITS, .idle_ms = 50},
     .first = "a",
     .first_n = 1,
     .then = "b",
     .then_n = 1,
     .space = 100,
     .reason = CLOSE_idle_timeout,
     .ends_ms = THEN_MS + 50},
    {.name = "half a line",
     .protocol = "line",
     .limits = {WORLD_LIMITS, .request_ms = 40},
     .first = "ab",
     .first_n = 2,
     .then = "cd",
     .then_n = 2,
     .space = 100,
     .reason = CLOSE_request_timeout,
     .ends_ms = FIRST_MS + 40},
    {.name = "half a prefix",
     .protocol = "frame",
     .limits = {WORLD_LIMITS, .request_ms = 40, .idle_ms = 60},
     .first = "\0",
     .first_n = 1,
     .then = "\0",
     .then_n = 1,
     .space = 100,
     .reason = CLOSE_request_timeout,
     .ends_ms = FIRST_MS + 40},
    {.name = "owed",
     .protocol = "echo",
     .limits = {WORLD_LIMITS, .write_ms = 40},
     .first = "ab",
     .first_n = 2,
     .then = "cdef",
     .then_n = 4,
     .space = 3,
     .reason = CLOSE_write_timeout,
     .ends_ms = THEN_MS + 40},
    {.name = "owed, and paused",
     .protocol = "frame",
     .limits =
	 {.high_water = 2, .low_water = 1, .connections_max = 64, .request_ms = 20, .write_ms = 40},
     .first = "\0\0",
     .first_n = 2,
     .then = "\0\20abcdef",
     .then_n = 8,
     .space = 3,
     .reason = CLOSE_write_timeout,
     .ends_ms = THEN_MS + 40},
    {.name = "owed, and idle",
     .protocol = "echo",
     .limits = {WORLD_LIMITS, .write_ms = 60, .idle_ms = 40},
     .first = "ab",
     .first_n = 2,
     .then = "cdef",
     .then_n = 4,
     .space = 3,
     .reason = CLOSE_idle_timeout,
     .ends_ms = THEN_MS + 40},
    {.name = "closing, and owed",
     .protocol = "frame",
     .limits = {WORLD_LIMITS, .write_ms = 40},
     .first = "\0\0\0\1a",
     .first_n = 5,
     .then = "\1\0\0\0",
     .then_n = 4,
     .space = 3,
     .reason = CLOSE_write_timeout,
     .ends_ms = FIRST_MS + 40},
    {.name = "lingering, not delivered",
     .protocol = "line",
     .limits = {WORLD_LIMITS, .write_ms = 300, .idle_ms = 60},
     .first = "a\n",
     .first_n = 2,
     .then = "01234567890",
     .then_n = 11,
     .space = 100,
     .far = true,
     .away = true,
     .own_reason = "line_too_long",
     .ends_ms = THEN_MS + 300,
     .late_ms = LINGER_MS},
    {.name = "lingering, delivered",
     .protocol = "line",
     .limits = {WORLD_LIMITS, .write_ms = 300, .idle_ms = 60},
     .first = "a\n",
     .first_n = 2,
     .then = "01234567890",
     .then_n = 11,
     .space = 100,
     .far = true,
     .own_reason = "line_too_long",
     .ends_ms = THEN_MS + 2000,
     .late_ms = LINGER_MS},
};

/* From at_ms on it is frozen for frozen_ms; then it moves, or thaws where it is. */
struct move {
	uint32_t at_ms, frozen_ms, every_ms; /* every_ms: it moves again so often; 0: once */
	bool thaws;
};

static void play(const struct plot *plot, struct peer *peer, uint32_t ms)
{
	if (ms == FIRST_MS)
		peer_send(peer, plot->first, plot->first_n);
	if (ms == THEN_MS)
		peer_send(peer, plot->then, plot->then_n);
	if (ms == OPENS_MS && !plot->away)
		peer->window = SIZE_MAX;
}

static void leave(struct conn *conn, struct peer *peer, bool thaws)
{
	struct load load;

	if (thaws) {
		conn_thaw(conn);
	} else {
		load_take(&load, conn, peer);
		EXPECT(load_leave(&load, &sim_move_there(&sim)->service));
		conn_depart(conn);
		sim.here = !sim.here;
	}
	sim_move_run(&sim);
}

/* Runs a plot. Returns when the connection ended, in ms. */
static uint32_t run(const struct plot *plot, struct move move)
{
	struct conn *conn = NULL;
	struct peer *peer;
	uint32_t ms = 0;

	sim_move_open(&sim, plot->protocol, plot->limits, BUFFERS_MIN);
	for (int i = 0; i < 2; i++)
		sim.worlds[i].service.settings[0] = 10;
	if (strcmp(plot->protocol, "frame") == 0)
		sim.worlds[0].service.settings[0] = sim.worlds[1].service.settings[0] = 1000;
	sim_move_pass(&sim);
	peer = world_connect(sim_move_here(&sim));
	peer->space = plot->space;
	peer->window = plot->far ? 0 : SIZE_MAX;
	sim_move_run(&sim);
	for (; !peer->closed; ms++, sim_move_wait(&sim, 1)) {
		EXPECT_MSG(ms < 10000, "%s: does not end", plot->name);
		play(plot, peer, ms);
		sim_move_run(&sim);
		if (peer->closed)
			break;
		if (move.every_ms && !conn && ms > move.at_ms && ms % move.every_ms == 0)
			move.at_ms = ms;
		if (ms == move.at_ms) {
			conn = world_conn(sim_move_here(&sim), peer);
			EXPECT(conn_freeze(conn));
		}
		if (conn && ms == move.at_ms + move.frozen_ms) {
			leave(conn, peer, move.thaws);
			conn = NULL;
			if (peer->closed)
				break;
		}
	}
	EXPECT_MSG(sim_move_reason(&sim) == reason_of(plot), "%s, moved at %u ms: closed for %s",
		   plot->name, move.at_ms, close_reason_name(sim_move_reason(&sim)));
	peer_free(peer);
	sim_move_close(&sim);
	return ms;
}

static void expect_end(const struct plot *plot, struct move move)
{
	uint32_t thaw_ms = move.at_ms + move.frozen_ms;
	uint32_t ends_ms = plot->ends_ms, ended_ms = run(plot, move), late_ms = plot->late_ms;

	if (move.at_ms <= ends_ms && thaw_ms >= ends_ms) {
		ends_ms = thaw_ms;
		late_ms += 1; /* it first reads what has come, and then looks at the clock */
	}
	EXPECT_MSG(ended_ms >= ends_ms && ended_ms <= ends_ms + late_ms,
		   "%s, moved at %u ms, frozen for %u: ended at %u ms, not %u", plot->name,
		   move.at_ms, move.frozen_ms, ended_ms, ends_ms);
}

START_TEST(they_end_when_they_would_have_ended)
{
	const struct plot *plot = &plots[_i];
	unsigned long runs = 0;
	uint32_t step = (plot->ends_ms > 500 ? 37 : 1) * (suite_sanitized() ? 5u : 1u);

	expect_end(plot, (struct move){.at_ms = UINT32_MAX});
	for (uint32_t at_ms = 0; at_ms < plot->ends_ms; at_ms += step, runs++)
		expect_end(plot, (struct move){.at_ms = at_ms});
	for (uint32_t every_ms = 1; every_ms < 10; every_ms++, runs++)
		expect_end(plot, (struct move){.every_ms = every_ms});
	(void)printf("FIGURE %s, moved: %lu runs\n", plot->name, runs);
	(void)fflush(stdout);
}
END_TEST

START_TEST(what_is_due_while_frozen_comes_after)
{
	const struct plot *plot = &plots[_i];
	static const uint32_t frozen_ms[] = {1, 7, 30, 100, 2500};
	uint32_t step = (plot->ends_ms > 500 ? 370 : 3) * (suite_sanitized() ? 5u : 1u);

	for (uint32_t at_ms = OPENS_MS + 1; at_ms < plot->ends_ms; at_ms += step)
		for (size_t i = 0; i < sizeof frozen_ms / sizeof *frozen_ms; i++)
			for (int thaws = 0; thaws < 2; thaws++)
				expect_end(plot, (struct move){.at_ms = at_ms,
							       .frozen_ms = frozen_ms[i],
							       .thaws = thaws});
}
END_TEST

/* Adopts a connection whose ages are greater than any of this process (because it comes from one
 * with other limits, or from one that lies), and expects it to be due at once. */
static void expect_due(const struct conn_snapshot *snapshot, struct conn_limits limits,
		       const char *what)
{
	struct peer *peer;
	int fd;

	sim_move_open(&sim, "discard", limits, BUFFERS_MIN);
	peer = peer_new(&fd);
	peer->space = 0;
	sim_move_pass(&sim);
	EXPECT(conn_adopt(&sim.worlds[0].service, fd, snapshot, (const unsigned char *)"x"));
	sim_move_wait(&sim, 2);
	EXPECT_MSG(peer->closed, "%s, age %x", what, snapshot->idle_ms);
	peer_free(peer);
	sim_move_close(&sim);
}

START_TEST(what_was_long_ago_is_due_at_once)
{
	static const uint32_t ages_ms[] = {WHEEL_MS_MAX - 1, WHEEL_MS_MAX, WHEEL_MS_MAX + 1,
					   0x7fffffff,	     0x80000000u,  0x80000001u,
					   UINT32_MAX - 100, UINT32_MAX};
	uint32_t age_ms = ages_ms[_i];
	struct conn_snapshot owed = {
	    .owed = 1, .idle_ms = age_ms, .progress_age_ms = age_ms, .message_age_ms = age_ms};
	struct conn_snapshot begun = owed, lingering = owed;

	begun.owed = lingering.owed = 0;
	begun.flags = SNAPSHOT_MESSAGE_OPEN;
	lingering.phase = 2;
	lingering.reason = (uint8_t)close_reason_named("line_too_long");
	memcpy(lingering.state, &age_ms, sizeof age_ms);
	for (uint32_t limit_ms = 1; limit_ms < WHEEL_MS_MAX; limit_ms = limit_ms * 8 + 7) {
		expect_due(&owed, (struct conn_limits){WORLD_LIMITS, .idle_ms = limit_ms}, "idle");
		expect_due(&owed, (struct conn_limits){WORLD_LIMITS, .write_ms = limit_ms}, "owed");
		expect_due(&begun, (struct conn_limits){WORLD_LIMITS, .request_ms = limit_ms},
			   "begun");
		expect_due(&lingering, (struct conn_limits){WORLD_LIMITS}, "lingering");
	}
}
END_TEST

/* The peer was in time: what came while the connection was frozen is read before the clock is. */
START_TEST(what_comes_while_frozen_comes_in_time)
{
	struct conn_limits limits = {WORLD_LIMITS, .idle_ms = 50, .request_ms = 30};

	for (int thaws = 0; thaws < 2; thaws++) {
		struct peer *peer;
		struct conn *conn;

		sim_move_open(&sim, "line", limits, BUFFERS_MIN);
		for (int i = 0; i < 2; i++)
			sim.worlds[i].service.settings[0] = 100;
		peer = world_connect(sim_move_here(&sim));
		peer_text(peer, "half");
		sim_move_wait(&sim, 10);
		conn = world_conn(sim_move_here(&sim), peer);
		ck_assert(conn_freeze(conn));
		sim_move_wait(&sim, 10);
		peer_text(peer, " and half\n");
		sim_move_wait(&sim, 80);
		leave(conn, peer, thaws);
		sim_move_wait(&sim, 40);
		peer_expect(peer, "half and half\n", 14);
		ck_assert(!peer->closed);
		sim_move_wait(&sim, 20);
		ck_assert(peer->closed);
		ck_assert_int_eq(sim_move_reason(&sim), CLOSE_idle_timeout);
		peer_free(peer);
		sim_move_close(&sim);
	}
}
END_TEST

#define PLOTS (int)(sizeof plots / sizeof *plots)

SUITE("sim_snapshot_clock",
      {"they end when they would have ended", they_end_when_they_would_have_ended, 30, PLOTS},
      {"what is due while frozen comes after", what_is_due_while_frozen_comes_after, 30, PLOTS},
      {"what was long ago is due at once", what_was_long_ago_is_due_at_once, 10, 8},
      {"what comes while frozen comes in time", what_comes_while_frozen_comes_in_time, 10})
