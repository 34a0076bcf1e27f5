/*
 * All connections of a process.
 */
#include "reactor/stream/conn_parts.h"

#include "reactor/base/check.h"
#include "reactor/base/rights.h"
#include "reactor/base/sys.h"

#define CONNS_SPARE_BYTES (64u << 10)
#define SCRATCH_BYTES	  (CONN_TURN_BYTES + OUTBOX_COPIES)

static void fd_refuse(const struct service *service, int fd, enum close_reason reason)
{
	if (service->local)
		rights_close(fd);
	else
		(void)sys_close(fd);
	STATS_ADD(service->table->stats, closed[reason], 1);
}

/* Urgent bytes are read in their place, like others. A connection of TCP inherits that from its
 * listener, one of a unix socket does not; kernels that refuse it have no urgent bytes there. */
static void keep_urgent_bytes(const struct service *service, int fd)
{
	int on = 1;

	if (service->local)
		(void)sys_setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
}

/* The process that handed it over has counted it till now. */
static void count_passed(const struct conn_table *table, enum conn_origin origin)
{
	if (origin == CONN_PASSED)
		STATS_ADD(table->stats, handed_over, 1);
}

void conn_open(struct service *service, int fd, enum conn_origin origin,
	       const struct sockaddr *peer)
{
	struct conn_table *table = service->table;
	uint32_t handle = 0;
	struct conn *conn;
	int error;

	STATS_ADD(table->stats, accepted, 1);
	if (!conn_table_places(table)) {
		count_passed(table, origin);
		fd_refuse(service, fd, CLOSE_overload);
		return;
	}
	if (peer && !service->protocol->is_prefix && !per_ip_take(&table->per_ip, peer, &handle)) {
		count_passed(table, origin);
		fd_refuse(service, fd, CLOSE_too_many_per_ip);
		return;
	}
	conn = pool_take(&table->conns);
	CHECK(conn);
	*conn = (struct conn){.service = service, .peer = handle};
	source_init(&conn->source, fd, conn_turn);
	conn->fd_shared = origin == CONN_PASSED;
	conn->guarded = service->local && rights_may_come(fd);
	conn->active_ms = conn->progress_ms = table->loop->now_ms;
	conn->source.ready = SOURCE_OUT;
	/* With a system call between these two, the master could see the connection in neither of
	 * them, or count it twice if we die there. */
	STATS_ADD(table->stats, connections, 1);
	count_passed(table, origin);
	keep_urgent_bytes(service, fd);
	error = loop_watch(table->loop, &conn->source, CONN_EVENTS);
	if (error) {
		table->refused_until_us = table->loop->now_us + CONN_RETRY_US;
		conn->phase = CLOSING; /* it was never open */
		conn_die_of(conn, error);
		conn_destroy(conn);
		return;
	}
	if (service->protocol->open) {
		service->protocol->open(conn);
		conn_flush(conn, table);
	}
	if (table->draining)
		conn_drain(conn);
	if (conn->phase != OPEN)
		conn->source.ready |= SOURCE_WOKEN;
	conn->source.want = conn_want(conn);
	conn_arm(conn, table);
	loop_requeue(table->loop, &conn->source);
}

void conn_table_promise(struct conn_table *table, struct conn_promise *promise,
			struct conn_promise now)
{
	struct conn_promise was = *promise;

	*promise = now;
	table->promised.connections += now.connections - was.connections;
	table->promised.chunks += now.chunks - was.chunks;
	STATS_SET(table->stats, connections_promised, table->promised.connections);
	if (now.connections < was.connections && table->on_room)
		table->on_room(table);
	if (now.chunks < was.chunks && table->awaiting_buffers && !table->starvation.source.queued)
		loop_wake(table->loop, &table->starvation.source);
}

/* Allocates what grows with the number of connections. 0 or -ENOMEM. */
static int conn_table_allocate(struct conn_table *table, uint32_t capacity, size_t buffers_size)
{
	int error = pool_open(&table->conns, sizeof(struct conn), capacity, CONNS_SPARE_BYTES);

	if (!error)
		error = pool_open(&table->peers, sizeof(struct conn_peer), capacity, 0);
	if (!error)
		error = buffers_open(&table->buffers, buffers_size, capacity, table->stats);
	if (!error)
		error = per_ip_open(&table->per_ip, table->limits.connections_max, capacity,
				    table->limits.connections_per_ip);
	return error;
}

static void conn_table_free(struct conn_table *table)
{
	per_ip_close(&table->per_ip);
	buffers_close(&table->buffers);
	pool_close(&table->peers);
	pool_close(&table->conns);
}

static void drain_turn(struct loop *loop, struct source *source)
{
	struct conn_table *table = CONTAINER_OF(source, struct conn_table, drain);

	source->ready = 0;
	for (int i = 0; i < CONN_DRAIN_SLICE; i++) {
		struct conn *conn = pool_next(&table->conns, &table->drain_cursor);

		if (!conn)
			return;
		conn_drain(conn);
	}
	loop_wake(loop, source);
}

int conn_table_open(struct conn_table *table, struct loop *loop, const struct conn_limits *limits,
		    size_t buffers_size)
{
	return conn_table_open_counting(table, loop, loop->stats, limits, buffers_size);
}

int conn_table_open_counting(struct conn_table *table, struct loop *loop, struct stats *stats,
			     const struct conn_limits *limits, size_t buffers_size)
{
	uint32_t capacity = limits->connections_capacity > limits->connections_max
				? limits->connections_capacity
				: limits->connections_max;
	int error;

	*table = (struct conn_table){.loop = loop, .stats = stats, .limits = *limits};
	starvation_init(&table->starvation);
	source_init(&table->drain, -1, drain_turn);
	table->scratch = sys_map(SCRATCH_BYTES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	error = table->scratch ? 0 : -ENOMEM;
	if (!error)
		table->outbox.copies = table->scratch + CONN_TURN_BYTES;
	if (!error)
		error = conn_table_allocate(table, capacity, buffers_size);
	if (error && table->scratch && capacity > limits->connections_max) {
		/* The address space may be limited: then those that move here get no places of
		 * their own. */
		conn_table_free(table);
		error = conn_table_allocate(table, limits->connections_max, buffers_size);
	}
	if (!error)
		STATS_SET(stats, connections_capacity, limits->connections_max);
	return error;
}

void conn_table_close(struct conn_table *table)
{
	struct conn *conn;
	size_t cursor = 0;

	table->draining = true; /* whoever is told of an end now begins nothing more */
	while ((conn = pool_next(&table->conns, &cursor))) {
		if (conn->phase == DEPARTED)
			continue;
		conn_die(conn, CLOSE_stopped);
		conn_destroy(conn);
	}
	conn_table_free(table);
	if (table->scratch)
		(void)sys_munmap(table->scratch, SCRATCH_BYTES);
}

enum conn_standing conn_standing(const struct conn *conn)
{
	int unread = 0;

	if (conn->phase == CONNECTING)
		return CONN_IDLE;
	if (conn->phase >= DEAD)
		return CONN_GONE;
	if (conn->phase == LINGER)
		return CONN_LINGERS;
	if (conn->queue.owed)
		return CONN_OWES;
	if (conn->phase != OPEN || !conn_listens(conn) || conn->input_pending ||
	    awaits_buffers(conn) || (sys_ioctl(conn->source.fd, FIONREAD, &unread) == 0 && unread))
		return CONN_SERVED;
	return conn->message_open ? CONN_ASKS : CONN_IDLE;
}

void conn_table_drain(struct conn_table *table)
{
	table->draining = true; /* whoever comes from now on drains from the start */
	table->drain_cursor = 0;
	drain_turn(table->loop, &table->drain);
}

void conn_table_abort(struct conn_table *table, enum close_reason reason)
{
	struct conn *conn;
	size_t cursor = 0;

	while ((conn = pool_next(&table->conns, &cursor))) {
		conn->reason = CLOSE_NONE; /* this is why it ends now */
		conn_abort(conn, reason);
	}
}
