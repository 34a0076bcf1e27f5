/*
 * sim_move: two processes on a simulated kernel, and a connection that is moved between them.
 *
 * Each has a loop, a table and a service of its own; the socket between them, which would carry the
 * descriptor, is left out. The test owns the struct; sim_move_close() fails the test if a
 * connection, a buffer, a descriptor or a registration is left.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_MOVE_H
#define TESTS_SUPPORT_SIM_SIM_MOVE_H

#include "reactor/stream/conn_snapshot.h"
#include "tests/support/sim/kernel.h"

struct sim_move {
	struct world worlds[2];
	unsigned here; /* the world in which the connection is now */
};

/* What is sent to the other process: the snapshot, its bytes, and the descriptor. */
struct load {
	struct conn_snapshot snapshot;
	unsigned char *bytes;
	size_t n;
	int fd;
};

static inline void sim_move_open(struct sim_move *move, const char *protocol,
				 struct conn_limits limits, size_t buffers_size)
{
	struct world *other = &move->worlds[1];

	*move = (struct sim_move){0};
	world_open(&move->worlds[0], protocol, limits, buffers_size);
	*other = (struct world){.service = move->worlds[0].service};
	other->service.table = &other->table;
	EXPECT(loop_open(&other->loop, &other->stats, 0) == 0);
	EXPECT(conn_table_open(&other->table, &other->loop, &limits, buffers_size) == 0);
}

static inline struct world *sim_move_here(struct sim_move *move)
{
	return &move->worlds[move->here];
}

static inline struct world *sim_move_there(struct sim_move *move)
{
	return &move->worlds[!move->here];
}

static inline void sim_move_pass(struct sim_move *move)
{
	world_pass(&move->worlds[0]);
	world_pass(&move->worlds[1]);
}

static inline void sim_move_run(struct sim_move *move)
{
	for (int i = 0; move->worlds[0].loop.first || move->worlds[1].loop.first || kernel.ready_n;
	     i++) {
		EXPECT_MSG(i < 100000, "the loops find no end");
		sim_move_pass(move);
	}
}

/* Runs both for ms milliseconds, after each of them. */
static inline void sim_move_wait(struct sim_move *move, uint32_t ms)
{
	sim_move_run(move);
	for (uint32_t i = 0; i < ms; i++) {
		kernel_advance(1);
		sim_move_pass(move);
		sim_move_run(move);
	}
}

static inline void sim_move_close(struct sim_move *move)
{
	struct world *other = &move->worlds[1];

	sim_move_run(move);
	world_expect_free(other);
	conn_table_close(&other->table);
	loop_close(&other->loop);
	world_close(&move->worlds[0]);
}

/* How many connections both processes together closed for that reason. */
static inline uint64_t sim_move_closed(const struct sim_move *move, enum close_reason reason)
{
	return move->worlds[0].stats.closed[reason] + move->worlds[1].stats.closed[reason];
}

/* The reason that was counted, which must be a single one, once; CLOSE_NONE: none was. */
static inline enum close_reason sim_move_reason(const struct sim_move *move)
{
	enum close_reason reason = CLOSE_NONE;
	uint64_t all = 0;

	for (int i = 0; i < CLOSE_REASONS_MAX; i++) {
		uint64_t n = sim_move_closed(move, (enum close_reason)i);

		reason = n ? (enum close_reason)i : reason;
		all += n;
	}
	EXPECT_MSG(all <= 1, "closed %llu times", (unsigned long long)all);
	return reason;
}

/* ---- the steps of a move ---- */

/* Describes a frozen connection. The memory for its bytes has the exact length, so that a sanitizer
 * notices a byte beyond. */
static inline void load_take(struct load *load, struct conn *conn, struct peer *peer)
{
	load->n = conn_snapshot_bytes(conn);
	load->bytes = load->n ? malloc(load->n) : NULL;
	EXPECT(load->bytes || !load->n);
	memset(&load->snapshot, 0xa5, sizeof load->snapshot);
	conn_describe(conn, &load->snapshot, load->bytes);
	EXPECT(load->n == snapshot_bytes(&load->snapshot, conn->service->protocol));
	load->fd = peer_copy(peer);
}

static inline bool load_leave(struct load *load, struct service *service)
{
	bool taken = conn_adopt(service, load->fd, &load->snapshot, load->bytes);

	if (!taken)
		(void)sys_close(load->fd);
	free(load->bytes);
	load->bytes = NULL;
	return taken;
}

/* Does all steps. False: the connection has ended, or was not adopted and goes on here. */
static inline bool sim_move_move(struct sim_move *move, struct peer *peer)
{
	struct conn *conn;
	struct load load;

	if (peer->closed)
		return false;
	conn = world_conn(sim_move_here(move), peer);
	if (!conn_freeze(conn))
		return false;
	load_take(&load, conn, peer);
	if (!load_leave(&load,
			service_find(&sim_move_there(move)->service, conn->service->protocol))) {
		conn_thaw(conn);
		return false;
	}
	conn_depart(conn);
	move->here = !move->here;
	return true;
}

#endif
