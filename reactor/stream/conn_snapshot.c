/*
 * A frozen connection has another turn, which does nothing: what becomes ready or due is
 * gathered in its ready bits, and is there when the first turn is its own again.
 *
 * Readiness does not travel. The new registration reports all that holds when it is made, space
 * to write is tried for, and input that is held is offered in the first turn.
 */
#include "reactor/stream/conn_snapshot.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/stream/conn_parts.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"
#include "reactor/base/sys.h"

#define FLAGS_ALL (TRANSIT_MESSAGE_OPEN | TRANSIT_PAUSED | TRANSIT_STALLED | TRANSIT_SPEAKS)

/* ---- where it is ---- */

static void frozen_turn(struct loop *loop, struct source *source)
{
	(void)loop;
	(void)source; /* its ready bits stay */
}

static void departed_turn(struct loop *loop, struct source *source)
{
	(void)loop;
	conn_free(CONTAINER_OF(source, struct conn, source));
}

bool conn_is_frozen(const struct conn *conn)
{
	return conn->source.turn == frozen_turn;
}

bool conn_can_freeze(const struct conn *conn)
{
	return conn->phase != DEAD && conn->source.turn == conn_turn;
}

bool conn_freeze(struct conn *conn)
{
	if (!conn_can_freeze(conn))
		return false;
	conn->source.turn = frozen_turn;
	conn->passed = true; /* there may be a copy of its descriptor, whatever comes of it */
	if (conn->starved) { /* nobody waits for it, it looks again itself */
		starved_set(conn, conn->service->table, false);
		conn->source.ready |= SOURCE_POKED;
	}
	return true;
}

void conn_thaw(struct conn *conn)
{
	CHECK(conn_is_frozen(conn));
	conn->source.turn = conn_turn;
	/* What has come while it was frozen counts before the deadline that passed meanwhile: it
	 * is read first, and the turn arms what is due then. */
	if (conn->phase == OPEN && conn_ready(conn, SOURCE_DUE))
		conn->source.ready = (uint8_t)((conn->source.ready & ~SOURCE_DUE) | SOURCE_POKED);
	loop_settle(conn->service->table->loop, &conn->source);
}

size_t conn_transit_bytes(const struct conn *conn)
{
	return (conn->input ? conn->input->used : 0) + queue_bytes(&conn->queue);
}

static uint16_t conn_flags(const struct conn *conn)
{
	uint16_t open = conn->message_open ? TRANSIT_MESSAGE_OPEN : 0;

	if (conn->phase != OPEN) /* then it says how to end */
		return conn->phase == CLOSING ? open : 0;
	return (uint16_t)(open | (conn->paused ? TRANSIT_PAUSED : 0) |
			  (conn->stalled ? TRANSIT_STALLED : 0) |
			  (conn->speaks ? TRANSIT_SPEAKS : 0));
}

void conn_describe(const struct conn *conn, struct transit *transit, unsigned char *bytes)
{
	uint32_t now_ms = conn->service->table->loop->now_ms;

	CHECK(conn_is_frozen(conn));
	*transit = (struct transit){.input = conn->input ? conn->input->used : 0,
				    .owed = conn->queue.owed,
				    .held = conn->queue.held,
				    .idle_ms = now_ms - conn->active_ms,
				    .progress_age_ms = now_ms - conn->progress_ms,
				    .flags = conn_flags(conn),
				    .phase = conn->phase,
				    .reason = conn->reason};
	if (conn->message_open && conn_listens(conn)) /* else we let it wait, not the peer */
		transit->message_age_ms = now_ms - conn->message_ms;
	memcpy(transit->state, conn->state, CONN_STATE_BYTES);
	if (conn->phase == LINGER) {
		struct lingering linger;

		memcpy(&linger, conn->state, sizeof linger);
		linger.began_ms = now_ms - linger.began_ms; /* an age, too */
		memcpy(transit->state, &linger, sizeof linger);
	}
	if (conn->input)
		memcpy(bytes, conn->input->bytes, conn->input->used);
	if (queue_bytes(&conn->queue))
		queue_copy(&conn->queue, bytes + transit->input);
}

void conn_depart(struct conn *conn)
{
	struct conn_table *table = conn->service->table;

	CHECK(conn_is_frozen(conn));
	if (log_enabled(LOG_DEBUG))
		log_debug("moved out", LOG_NUMBER("fd", conn->source.fd));
	conn_leave_open(conn, DEAD);
	conn_release(conn);
	STATS_ADD(table->stats, moved_out, 1);
	conn->source.turn = departed_turn;
	if (!conn->source.queued)
		conn_free(conn);
}

/* ---- where it goes ---- */

/* Input has a chunk of its own. */
size_t transit_chunks(size_t bytes)
{
	return bytes ? (bytes + CHUNK_BYTES - 1) / CHUNK_BYTES + 1 : 0;
}

bool conn_can_adopt(const struct service *service, size_t bytes)
{
	const struct conn_table *table = service->table;
	const struct buffers *buffers = &table->buffers;
	size_t chunks = transit_chunks(bytes);

	if (!pool_free(&table->conns) || table->loop->now_us < table->refused_until_us)
		return false;
	if (!bytes)
		return true;
	return buffers_free_chunks(buffers) >= chunks + CHUNKS_FOR_A_READ + table->chunks_kept &&
	       pool_free(&buffers->segments) >= chunks;
}

static bool transit_is_sound(const struct transit *transit, const struct service *service)
{
	bool open = transit->phase == OPEN;

	if (transit->phase >= DEAD || transit->reason >= CLOSE_REASONS ||
	    open != (transit->reason == CLOSE_NONE))
		return false;
	if (transit->input > CHUNK_BYTES || transit->owed > UINT32_MAX - transit->held ||
	    (transit->held && service->topic))
		return false;
	if (transit->phase == LINGER)
		return !transit->flags && !transit->input && !transit->held && !transit->owed;
	if (transit->phase == CLOSING)
		return !(transit->flags & ~TRANSIT_MESSAGE_OPEN) && !transit->input &&
		       !transit->held;
	if (transit->flags & TRANSIT_SPEAKS && !service->protocol->speak)
		return false;
	if (service->protocol->sound &&
	    !service->protocol->sound(transit->state, transit->flags & TRANSIT_SPEAKS))
		return false;
	return !(transit->flags & ~FLAGS_ALL) &&
	       (transit->input || !(transit->flags & TRANSIT_STALLED));
}

/* A moment that long ago. Beyond what a wheel can tell, one long ago is as good as another. */
static uint32_t moment(const struct conn_table *table, uint32_t age_ms)
{
	return table->loop->now_ms - (age_ms < WHEEL_MS_MAX ? age_ms : WHEEL_MS_MAX);
}

static void conn_recall(struct conn *conn, const struct transit *transit)
{
	const struct conn_table *table = conn->service->table;

	conn->active_ms = moment(table, transit->idle_ms);
	conn->progress_ms = moment(table, transit->progress_age_ms);
	conn->message_ms = moment(table, transit->message_age_ms);
	conn->phase = transit->phase;
	conn->reason = transit->reason;
	conn->message_open = transit->flags & TRANSIT_MESSAGE_OPEN;
	conn->paused = transit->flags & TRANSIT_PAUSED;
	conn->stalled = transit->flags & TRANSIT_STALLED;
	conn->speaks = transit->flags & TRANSIT_SPEAKS;
	memcpy(conn->state, transit->state, CONN_STATE_BYTES);
	if (conn->phase == LINGER) {
		struct lingering *linger = conn_state(conn);

		linger->began_ms = moment(table, linger->began_ms);
	}
}

static void conn_refill(struct conn *conn, const struct transit *transit,
			const unsigned char *bytes)
{
	struct buffers *buffers = &conn->service->table->buffers;
	bool kept = true;

	if (transit->input) {
		conn->input = chunk_new_for(buffers, transit->input);
		CHECK(conn->input);
		memcpy(conn->input->bytes, bytes, transit->input);
		conn->input->used = transit->input;
	}
	if (transit->owed)
		kept = queue_append(&conn->queue, buffers, bytes + transit->input, transit->owed);
	if (kept && transit->held)
		kept = queue_hold(&conn->queue, buffers, bytes + transit->input + transit->owed,
				  transit->held);
	CHECK(kept);
}

static uint32_t client_of(struct conn *conn, struct conn_table *table)
{
	struct address peer;

	if (!clients_counted(&table->clients) || !conn_peer(conn, &peer))
		return 0;
	return clients_add(&table->clients, (const struct sockaddr *)&peer.socket);
}

bool conn_adopt(struct service *service, int fd, const struct transit *transit,
		const unsigned char *bytes)
{
	struct conn_table *table = service->table;
	size_t n = (size_t)transit->input + transit->owed + transit->held;
	struct conn *conn;

	if (!transit_is_sound(transit, service) || !conn_can_adopt(service, n))
		return false;
	conn = pool_take(&table->conns);
	CHECK(conn);
	*conn = (struct conn){.service = service, .passed = true};
	source_init(&conn->source, fd, conn_turn);
	rights_disarm(fd);
	conn->guarded = service->local && rights_may_come(fd);
	conn->source.ready = SOURCE_OUT; /* who knows: it tries */
	if (loop_watch(table->loop, &conn->source, CONN_EVENTS)) {
		pool_give(&table->conns, conn);
		return false;
	}
	conn->client = client_of(conn, table);
	conn_recall(conn, transit);
	conn_refill(conn, transit, bytes);
	STATS_ADD(table->stats, connections, 1);
	STATS_ADD(table->stats, moved_in, 1);
	if (conn->phase == OPEN && service->protocol->arrived)
		service->protocol->arrived(conn);
	CHECK(!table->outbox.n && !table->outbox.held.iov_len);
	if (table->draining)
		conn_drain(conn);
	if (conn->phase != OPEN) /* one that moves often would never come to look */
		conn->source.ready |= SOURCE_DUE;
	loop_poke(table->loop, &conn->source);
	if (log_enabled(LOG_DEBUG))
		log_debug("moved in", LOG_NUMBER("fd", fd));
	return true;
}
