/*
 * snapshot_probe: a connection that moves between two simulated workers, here and there, and a
 * protocol that records how it is called.
 *
 * begin(NULL) uses the probe, begin("echo") a protocol by its name. One at a time.
 */
#ifndef TESTS_SIM_SNAPSHOT_PROBE_H
#define TESTS_SIM_SNAPSHOT_PROBE_H

#include "tests/support/sim/sim_move.h"

static struct sim_move move;
static struct world *here, *there; /* the worlds of `move`, always in this order */

/* ---- a protocol that records how it is called ---- */

static struct {
	int opened, arrived, ended;
	bool waits; /* it takes the first half of what it is offered, and pauses input */
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

static inline void begin_with(const char *protocol, struct conn_limits limits)
{
	memset(&probe, 0, sizeof probe);
	sim_move_open(&move, protocol ? protocol : "echo", limits, BUFFERS_MIN);
	here = &move.worlds[0];
	there = &move.worlds[1];
	if (!protocol)
		here->service.protocol = there->service.protocol = &probe_protocol;
	sim_move_pass(&move);
}

static inline void begin(const char *protocol)
{
	begin_with(protocol, (struct conn_limits){WORLD_LIMITS});
}

static inline struct conn *freeze(struct peer *peer)
{
	struct conn *conn = world_conn(sim_move_here(&move), peer);

	ck_assert(!conn_is_frozen(conn));
	ck_assert(conn_freeze(conn));
	ck_assert(conn_is_frozen(conn));
	return conn;
}

static inline void finish(struct peer *peer, enum close_reason reason)
{
	if (!peer->closed)
		peer_finish(peer);
	sim_move_run(&move);
	ck_assert(peer->closed);
	ck_assert_int_eq(sim_move_reason(&move), reason);
	sim_move_close(&move);
}

#endif
