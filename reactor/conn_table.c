/*
 * All connections of a process, and how they share its buffers.
 */
#include "reactor/conn_parts.h"

#include "reactor/check.h"
#include "reactor/sys.h"
#include "reactor/transit.h"

#define CONNS_SPARE_BYTES (64u << 10)
#define STARVATION_MS	  1000 /* without a byte sent: then somebody has to go */

/* ---- starvation: connections that wait for buffers ---- */

void starved_set(struct conn *conn, struct conn_table *table, bool starved)
{
	if (conn->starved == starved)
		return;
	conn->starved = starved;
	if (!starved) {
		if (!conn_in_hand(conn))
			conn->message_ms = table->loop->now_ms; /* we let it wait, not the peer */
		if (--table->starved == 0)
			loop_no_deadline(table->loop, &table->starvation);
		return;
	}
	STATS_ADD(table->stats, buffer_waits, 1);
	if (table->starved++ == 0)
		table->sent_when_starved = table->stats->sent_bytes;
	if (!deadline_armed(&table->starvation.deadline))
		loop_deadline(table->loop, &table->starvation, table->loop->now_ms + STARVATION_MS);
}

/* Chunks that nobody has, and nobody was promised: the last who comes is to find some to read with,
 * too (conn_can_adopt). */
static size_t chunks_left(const struct conn_table *table)
{
	size_t left = buffers_free_chunks(&table->buffers), promised = table->promised.chunks;

	if (promised)
		promised += CHUNKS_FOR_A_READ + table->chunks_kept;
	return left > promised ? left - promised : 0;
}

/*
 * A connection that has nothing in hand may use the last buffers; one that does leaves a
 * quarter of them to the others. So those who read what they are owed go on beside any
 * number of those who do not.
 */
static bool buffers_for_read(const struct conn *conn, const struct conn_table *table)
{
	size_t left = chunks_left(table);

	if (conn->service->topic && conn->input) /* to go on takes no more, and frees this one */
		return true;
	return left >= (conn_in_hand(conn) ? table->buffers.chunks.objects_max / 4
					   : CHUNKS_FOR_A_READ + table->chunks_kept);
}

bool conn_has_buffers(struct conn *conn, struct conn_table *table)
{
	starved_set(conn, table, !buffers_for_read(conn, table));
	return !conn->starved;
}

size_t conn_room(const struct conn *conn, const struct conn_table *table)
{
	size_t room = table->limits.high_water + CHUNK_BYTES - conn->queue.owed;

	if (conn->input)
		return CHUNK_BYTES - conn->input->used;
	if (!conn->service->protocol->uses_all ||
	    chunks_left(table) <
		table->buffers.chunks.objects_max / 4 + CONN_TURN_BYTES / CHUNK_BYTES)
		return CHUNK_BYTES;
	return room < CONN_TURN_BYTES ? room : CONN_TURN_BYTES;
}

/* Whose bytes lie here the longest? */
static struct conn *longest_stalled(struct conn_table *table)
{
	struct conn *conn, *victim = NULL;
	size_t cursor = 0;

	while ((conn = pool_next(&table->conns, &cursor))) {
		if (conn->phase == DEAD || !conn_in_hand(conn) || conn_is_frozen(conn))
			continue;
		if (!victim || (int32_t)(conn->progress_ms - victim->progress_ms) < 0)
			victim = conn;
	}
	return victim;
}

/* Gives a turn to those for whom there are buffers now. How many? */
static size_t starvation_wake(struct loop *loop, struct conn_table *table)
{
	struct conn *conn;
	size_t cursor = 0, woken = 0;

	while ((conn = pool_next(&table->conns, &cursor))) {
		if (!conn->starved || !buffers_for_read(conn, table))
			continue;
		loop_poke(loop, &conn->source);
		woken++;
	}
	return woken;
}

/* Each STARVATION_MS while somebody waits, and when a turn has freed buffers. */
static void starvation_turn(struct loop *loop, struct source *source)
{
	struct conn_table *table = CONTAINER_OF(source, struct conn_table, starvation);
	bool due = source->ready & SOURCE_DUE;
	size_t woken;

	source->ready = 0;
	if (!table->starved)
		return;
	woken = starvation_wake(loop, table);
	/* What is promised to others ends soon, and so frees more than a victim would. */
	if (due && !woken && !table->promised.chunks &&
	    table->stats->sent_bytes == table->sent_when_starved) {
		struct conn *victim = longest_stalled(table);

		if (victim)
			conn_abort(victim, CLOSE_no_buffers);
	}
	if (due)
		table->sent_when_starved = table->stats->sent_bytes;
	loop_deadline(loop, source, loop->now_ms + STARVATION_MS);
}

void starvation_look(struct conn_table *table)
{
	if (table->starved && !table->starvation.queued &&
	    chunks_left(table) > table->buffers.chunks.objects_max / 4)
		loop_poke(table->loop, &table->starvation);
}

/* ---- the table ---- */

static void fd_refuse(struct conn_table *table, int fd, enum close_reason reason)
{
	(void)sys_close(fd);
	STATS_ADD(table->stats, closed[reason], 1);
}

void conn_open(struct service *service, int fd, enum conn_origin origin,
	       const struct sockaddr *peer)
{
	struct conn_table *table = service->table;
	uint32_t client = 0;
	struct conn *conn;
	int error;

	STATS_ADD(table->stats, accepted, 1);
	if (!conn_table_places(table)) {
		fd_refuse(table, fd, CLOSE_overload);
		return;
	}
	if (peer && !clients_take(&table->clients, peer, &client)) {
		fd_refuse(table, fd, CLOSE_too_many_per_ip);
		return;
	}
	conn = pool_take(&table->conns);
	CHECK(conn);
	*conn = (struct conn){.service = service, .client = client};
	source_init(&conn->source, fd, conn_turn);
	conn->passed = origin == CONN_PASSED;
	conn->active_ms = conn->progress_ms = table->loop->now_ms;
	conn->source.ready = SOURCE_OUT;
	STATS_ADD(table->stats, connections, 1);
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
		conn->source.ready |= SOURCE_POKED;
	conn->source.want = conn_want(conn);
	conn_arm(conn, table);
	loop_settle(table->loop, &conn->source);
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
	if (now.chunks < was.chunks && table->starved && !table->starvation.queued)
		loop_poke(table->loop, &table->starvation);
}

/* What grows with the number of connections. 0 or -ENOMEM. */
static int conn_table_allocate(struct conn_table *table, uint32_t capacity, size_t buffers_size)
{
	int error = pool_open(&table->conns, sizeof(struct conn), capacity, CONNS_SPARE_BYTES);

	if (!error)
		error = buffers_open(&table->buffers, buffers_size, capacity, table->loop->stats);
	if (!error)
		error = clients_open(&table->clients, table->limits.connections_max, capacity,
				     table->limits.connections_per_ip);
	return error;
}

static void conn_table_free(struct conn_table *table)
{
	clients_close(&table->clients);
	buffers_close(&table->buffers);
	pool_close(&table->conns);
}

int conn_table_open(struct conn_table *table, struct loop *loop, const struct conn_limits *limits,
		    size_t buffers_size)
{
	uint32_t capacity = limits->connections_capacity > limits->connections_max
				? limits->connections_capacity
				: limits->connections_max;
	int error;

	*table = (struct conn_table){.loop = loop, .stats = loop->stats, .limits = *limits};
	source_init(&table->starvation, -1, starvation_turn);
	table->scratch = sys_map(CONN_TURN_BYTES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	error = table->scratch ? 0 : -ENOMEM;
	if (!error)
		error = conn_table_allocate(table, capacity, buffers_size);
	if (error && table->scratch && capacity > limits->connections_max) {
		/* Addresses are limited, too: then those that move are, as newcomers. */
		conn_table_free(table);
		error = conn_table_allocate(table, limits->connections_max, buffers_size);
	}
	if (!error)
		STATS_SET(loop->stats, connections_capacity, limits->connections_max);
	return error;
}

void conn_table_close(struct conn_table *table)
{
	struct conn *conn;
	size_t cursor = 0;

	while ((conn = pool_next(&table->conns, &cursor))) {
		if (conn->source.fd < 0) /* it has departed, and waits for its turn */
			continue;
		conn_die(conn, CLOSE_stopped);
		conn_destroy(conn);
	}
	conn_table_free(table);
	if (table->scratch)
		(void)sys_munmap(table->scratch, CONN_TURN_BYTES);
}

void conn_table_drain(struct conn_table *table)
{
	struct conn *conn;
	size_t cursor = 0;

	table->draining = true;
	while ((conn = pool_next(&table->conns, &cursor))) {
		conn_drain(conn);
	}
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
