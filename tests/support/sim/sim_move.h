/*
 * ferry: two processes on a simulated kernel, and a connection that is moved between them.
 *
 * Each has a loop, a table and a service of its own; what lies between them, a socket that
 * carries descriptors, is left out. The test owns the struct; ferry_close() fails where a
 * connection, a buffer, a descriptor or a registration is left.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_MOVE_H
#define TESTS_SUPPORT_SIM_SIM_MOVE_H

#include "reactor/stream/conn_snapshot.h"
#include "tests/support/sim/kernel.h"

struct ferry {
	struct world worlds[2];
	unsigned here; /* where connections are made, and those that were not moved are */
};

/* What travels, a place for its bytes, and the descriptor. */
struct load {
	struct transit transit;
	unsigned char *bytes;
	size_t n;
	int fd;
};

static inline void ferry_open(struct ferry *ferry, const char *protocol, struct conn_limits limits,
			      size_t buffers_size)
{
	struct world *other = &ferry->worlds[1];

	*ferry = (struct ferry){0};
	world_open(&ferry->worlds[0], protocol, limits, buffers_size);
	*other = (struct world){.service = ferry->worlds[0].service};
	other->service.table = &other->table;
	EXPECT(loop_open(&other->loop, &other->stats, 0) == 0);
	EXPECT(conn_table_open(&other->table, &other->loop, &limits, buffers_size) == 0);
}

static inline struct world *ferry_here(struct ferry *ferry)
{
	return &ferry->worlds[ferry->here];
}

static inline struct world *ferry_there(struct ferry *ferry)
{
	return &ferry->worlds[!ferry->here];
}

static inline void ferry_pass(struct ferry *ferry)
{
	world_pass(&ferry->worlds[0]);
	world_pass(&ferry->worlds[1]);
}

static inline void ferry_settle(struct ferry *ferry)
{
	for (int i = 0;
	     ferry->worlds[0].loop.first || ferry->worlds[1].loop.first || kernel.ready_n; i++) {
		EXPECT_MSG(i < 100000, "the loops find no end");
		ferry_pass(ferry);
	}
}

/* A millisecond at a time. */
static inline void ferry_wait(struct ferry *ferry, uint32_t ms)
{
	ferry_settle(ferry);
	for (uint32_t i = 0; i < ms; i++) {
		kernel_advance(1);
		ferry_pass(ferry);
		ferry_settle(ferry);
	}
}

static inline void ferry_close(struct ferry *ferry)
{
	struct world *other = &ferry->worlds[1];

	ferry_settle(ferry);
	world_expect_free(other);
	conn_table_close(&other->table);
	loop_close(&other->loop);
	world_close(&ferry->worlds[0]);
}

/* Counted by either. */
static inline uint64_t ferry_closed(const struct ferry *ferry, enum close_reason reason)
{
	return ferry->worlds[0].stats.closed[reason] + ferry->worlds[1].stats.closed[reason];
}

/* The one reason that was counted, once; CLOSE_NONE: none was. */
static inline enum close_reason ferry_reason(const struct ferry *ferry)
{
	enum close_reason reason = CLOSE_NONE;
	uint64_t all = 0;

	for (int i = 0; i < CLOSE_REASONS; i++) {
		uint64_t n = ferry_closed(ferry, (enum close_reason)i);

		reason = n ? (enum close_reason)i : reason;
		all += n;
	}
	EXPECT_MSG(all <= 1, "closed %llu times", (unsigned long long)all);
	return reason;
}

/* ---- the steps of a move ---- */

/* Describes one that is frozen. Its bytes are exactly as long as they have to be: beyond them
 * a sanitizer looks. */
static inline void load_take(struct load *load, struct conn *conn, struct peer *peer)
{
	load->n = conn_transit_bytes(conn);
	load->bytes = load->n ? malloc(load->n) : NULL;
	EXPECT(load->bytes || !load->n);
	memset(&load->transit, 0xa5, sizeof load->transit);
	conn_describe(conn, &load->transit, load->bytes);
	EXPECT(load->n == (size_t)load->transit.input + load->transit.owed + load->transit.held);
	load->fd = peer_copy(peer);
}

static inline bool load_leave(struct load *load, struct service *service)
{
	bool taken = conn_adopt(service, load->fd, &load->transit, load->bytes);

	if (!taken)
		(void)sys_close(load->fd);
	free(load->bytes);
	load->bytes = NULL;
	return taken;
}

/* All of it at once. False: it has ended, or is not adopted, and goes on here. */
static inline bool ferry_move(struct ferry *ferry, struct peer *peer)
{
	struct conn *conn;
	struct load load;

	if (peer->closed)
		return false;
	conn = world_conn(ferry_here(ferry), peer);
	if (!conn_freeze(conn))
		return false;
	load_take(&load, conn, peer);
	if (!load_leave(&load, &ferry_there(ferry)->service)) {
		conn_thaw(conn);
		return false;
	}
	conn_depart(conn);
	ferry->here = !ferry->here;
	return true;
}

#endif
