/*
 * The turn of a frozen connection does nothing: what becomes ready or due is collected in its ready
 * bits, for when it thaws.
 *
 * Readiness does not travel. The new registration reports all that is ready when it is made, the
 * first write just tries whether there is space, and kept input is offered in the first turn.
 */
#include "reactor/stream/conn_snapshot.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/stream/conn_parts.h"
#include "reactor/stream/framing.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"
#include "reactor/base/sys.h"

#define FLAGS_ALL                                                                                  \
	(SNAPSHOT_MESSAGE_OPEN | SNAPSHOT_OVER_HIGH_WATER | SNAPSHOT_INPUT_PENDING |               \
	 SNAPSHOT_PRODUCING | SNAPSHOT_PEER | SNAPSHOT_TIMER | SNAPSHOT_CARRIES)

/* ---- where it is ---- */

bool conn_can_freeze(const struct conn *conn)
{
	return conn->phase < DEAD && !conn->frozen && !conn->service->protocol->stays &&
	       conn->service->listener != SERVICE_NO_LISTENER;
}

bool conn_freeze(struct conn *conn)
{
	if (!conn_can_freeze(conn))
		return false;
	conn->frozen = true;
	conn->fd_shared = true; /* there may be a copy of its descriptor, whatever happens next */
	if (awaits_buffers(conn)) { /* it no longer counts as waiting; its turn checks again */
		awaits_buffers_set(conn, conn->service->table, false);
		conn->source.ready |= SOURCE_WOKEN;
	}
	return true;
}

void conn_thaw(struct conn *conn)
{
	CHECK(conn->frozen);
	conn->frozen = false;
	/* What has come while it was frozen is in time, even if a deadline has passed meanwhile: it
	 * is read first, and the turn arms the deadline that follows from that. */
	if (conn->phase == OPEN && conn_ready(conn, SOURCE_DUE))
		conn->source.ready = (uint8_t)((conn->source.ready & ~SOURCE_DUE) | SOURCE_WOKEN);
	loop_requeue(conn->service->table->loop, &conn->source);
}

size_t conn_buffer_bytes(const struct conn *conn)
{
	return (conn->input ? conn->input->used : 0) + queue_bytes(&conn->queue);
}

/* After OPEN, its protocol no longer knows it. */
static size_t carried_bytes(const struct conn *conn)
{
	const struct protocol *protocol = conn->service->protocol;

	return protocol->carry && conn->phase == OPEN ? protocol->carried_bytes(conn) : 0;
}

size_t conn_snapshot_bytes(const struct conn *conn)
{
	return conn_buffer_bytes(conn) + (conn->peer_given ? SNAPSHOT_PEER_BYTES : 0) +
	       carried_bytes(conn);
}

static uint16_t conn_flags(const struct conn *conn)
{
	uint16_t peer = conn->peer_given ? SNAPSHOT_PEER : 0;
	uint16_t open = (uint16_t)(peer | (conn->message_open ? SNAPSHOT_MESSAGE_OPEN : 0));

	if (conn->phase != OPEN) /* whether a message has begun decides how it ends: conn_end() */
		return conn->phase == CLOSING ? open : peer;
	if (conn->service->protocol->carry)
		open |= SNAPSHOT_CARRIES;
	return (uint16_t)(open | (conn->paused & PAUSED_OWES ? SNAPSHOT_OVER_HIGH_WATER : 0) |
			  (conn->input_pending ? SNAPSHOT_INPUT_PENDING : 0) |
			  (conn_is_producing(conn) ? SNAPSHOT_PRODUCING : 0) |
			  (conn->has_timer ? SNAPSHOT_TIMER : 0));
}

/* As the time that is left. */
static void describe_timer(const struct conn *conn, struct conn_snapshot *snapshot)
{
	uint32_t now_ms = conn->service->table->loop->now_ms, due_ms;
	unsigned char *at = snapshot->state + conn->service->protocol->timer_at;

	memcpy(&due_ms, at, sizeof due_ms);
	due_ms = time_reached(now_ms, due_ms) ? 0 : due_ms - now_ms;
	memcpy(at, &due_ms, sizeof due_ms);
}

/* Another process may say any time. */
static void restore_timer(struct conn *conn)
{
	uint32_t left_ms = *conn_timer_ms(conn);

	conn_set_timer(conn, left_ms < WHEEL_MS_MAX ? left_ms : WHEEL_MS_MAX - 1);
}

/* They are the last of the bytes that follow. */
static void describe_carried(const struct conn *conn, struct conn_snapshot *snapshot,
			     unsigned char *bytes)
{
	const struct protocol *protocol = conn->service->protocol;
	uint32_t n = (uint32_t)protocol->carried_bytes(conn);

	memcpy(snapshot->state + protocol->carries_at, &n, sizeof n);
	if (n)
		protocol->carry(conn, bytes + snapshot_bytes(snapshot, protocol) - n);
}

void conn_describe(const struct conn *conn, struct conn_snapshot *snapshot, unsigned char *bytes)
{
	uint32_t now_ms = conn->service->table->loop->now_ms;

	CHECK(conn->frozen);
	*snapshot = (struct conn_snapshot){.input = conn->input ? conn->input->used : 0,
					   .owed = conn->queue.owed,
					   .held = conn->queue.held,
					   .idle_ms = now_ms - conn->active_ms,
					   .progress_age_ms = now_ms - conn->progress_ms,
					   .flags = conn_flags(conn),
					   .phase = conn->phase,
					   .reason = conn->reason};
	if (conn->message_open && conn_listens(conn)) /* else the delay is ours, not the peer's */
		snapshot->message_age_ms = now_ms - conn->message_ms;
	memcpy(snapshot->state, conn->state, CONN_STATE_BYTES);
	if (snapshot->flags & SNAPSHOT_TIMER)
		describe_timer(conn, snapshot);
	if (conn->phase == LINGER) {
		struct lingering linger;

		memcpy(&linger, conn->state, sizeof linger);
		linger.began_ms = now_ms - linger.began_ms; /* an age, too: see moment() */
		memcpy(snapshot->state, &linger, sizeof linger);
	}
	if (conn->input)
		memcpy(bytes, conn->input->bytes, conn->input->used);
	if (queue_bytes(&conn->queue))
		queue_copy(&conn->queue, bytes + snapshot->input);
	if (conn->peer_given)
		memcpy(bytes + snapshot_buffer_bytes(snapshot), conn_packed_peer(conn),
		       SNAPSHOT_PEER_BYTES);
	if (snapshot->flags & SNAPSHOT_CARRIES)
		describe_carried(conn, snapshot, bytes);
}

void conn_depart(struct conn *conn)
{
	struct conn_table *table = conn->service->table;

	CHECK(conn->frozen);
	if (log_enabled(LOG_DEBUG))
		log_debug("moved out", LOG_NUMBER("fd", conn->source.fd));
	conn_leave_open(conn, DEPARTED);
	conn_release(conn);
	STATS_ADD(table->stats, moved_out, 1);
	if (!conn->source.queued)
		conn_free(conn);
}

/* ---- where it goes ---- */

/* One more, because input has a chunk of its own. */
size_t conn_snapshot_chunks(size_t bytes)
{
	return bytes ? (bytes + CHUNK_BYTES - 1) / CHUNK_BYTES + 1 : 0;
}

bool conn_can_adopt(const struct service *service, size_t bytes)
{
	const struct conn_table *table = service->table;
	const struct buffers *buffers = &table->buffers;
	size_t chunks = conn_snapshot_chunks(bytes);

	if (!pool_free(&table->conns) || table->loop->now_us < table->refused_until_us)
		return false;
	if (!bytes)
		return true;
	return buffers_free_chunks(buffers) >= chunks + CHUNKS_FOR_A_READ + table->chunks_kept &&
	       pool_free(&buffers->segments) >= chunks;
}

/* Can it be the state of a connection of this protocol, and of its framing? */
static bool state_is_valid(const struct protocol *protocol, const unsigned char *state,
			   bool producing)
{
	const struct framing *framing = protocol->framing;

	if (framing && framing->state_valid &&
	    !framing->state_valid(state + CONN_STATE_BYTES - framing->state_bytes))
		return false;
	return !protocol->state_valid || protocol->state_valid(state, producing);
}

/* What its protocol carries, and *n, how many bytes that is. */
static const unsigned char *carried_of(const struct conn_snapshot *snapshot,
				       const struct protocol *protocol, const unsigned char *bytes,
				       uint32_t *n)
{
	*n = snapshot_carried_bytes(snapshot, protocol);
	return *n ? bytes + snapshot_bytes(snapshot, protocol) - *n : NULL;
}

static bool carried_is_valid(const struct conn_snapshot *snapshot, const struct protocol *protocol,
			     const unsigned char *bytes)
{
	uint32_t n;
	const unsigned char *carried = carried_of(snapshot, protocol, bytes, &n);

	if (!protocol->carry)
		return !(snapshot->flags & SNAPSHOT_CARRIES);
	return !n || !protocol->carried_valid || protocol->carried_valid(carried, n);
}

static bool snapshot_is_valid(const struct conn_snapshot *snapshot, const struct service *service,
			      const unsigned char *bytes)
{
	bool open = snapshot->phase == OPEN;
	unsigned flags = snapshot->flags & ~(unsigned)SNAPSHOT_PEER;

	if (snapshot->phase >= DEAD || snapshot->reason >= close_reasons_end() ||
	    open != (snapshot->reason == CLOSE_NONE))
		return false;
	if (snapshot->input > CHUNK_BYTES || snapshot->owed > UINT32_MAX - snapshot->held ||
	    (snapshot->held && service->delivery))
		return false;
	if (snapshot->phase == LINGER)
		return !flags && !snapshot->input && !snapshot->held && !snapshot->owed;
	if (snapshot->phase == CLOSING)
		return !(flags & ~(unsigned)SNAPSHOT_MESSAGE_OPEN) && !snapshot->input &&
		       !snapshot->held;
	if ((flags & SNAPSHOT_PRODUCING && !service->protocol->produce) ||
	    (flags & SNAPSHOT_TIMER && !service->protocol->timer))
		return false;
	if (!state_is_valid(service->protocol, snapshot->state, flags & SNAPSHOT_PRODUCING))
		return false;
	return !(flags & ~(unsigned)FLAGS_ALL) &&
	       carried_is_valid(snapshot, service->protocol, bytes) &&
	       (snapshot->input || !(flags & SNAPSHOT_INPUT_PENDING));
}

/* The moment age_ms ago; at most as long ago as a wheel can tell. */
static uint32_t moment(const struct conn_table *table, uint32_t age_ms)
{
	return table->loop->now_ms - (age_ms < WHEEL_MS_MAX ? age_ms : WHEEL_MS_MAX);
}

static void conn_recall(struct conn *conn, const struct conn_snapshot *snapshot)
{
	const struct conn_table *table = conn->service->table;

	conn->active_ms = moment(table, snapshot->idle_ms);
	conn->progress_ms = moment(table, snapshot->progress_age_ms);
	conn->message_ms = moment(table, snapshot->message_age_ms);
	conn->phase = snapshot->phase & 15u;
	conn->reason = snapshot->reason;
	conn->message_open = snapshot->flags & SNAPSHOT_MESSAGE_OPEN;
	conn_pause(conn, PAUSED_OWES, snapshot->flags & SNAPSHOT_OVER_HIGH_WATER);
	conn->input_pending = snapshot->flags & SNAPSHOT_INPUT_PENDING;
	conn_pause(conn, PAUSED_PRODUCING, snapshot->flags & SNAPSHOT_PRODUCING);
	memcpy(conn->state, snapshot->state, CONN_STATE_BYTES);
	if (snapshot->flags & SNAPSHOT_TIMER)
		restore_timer(conn);
	if (conn->phase == LINGER) {
		struct lingering *linger = conn_state(conn);

		linger->began_ms = moment(table, linger->began_ms);
	}
}

static void conn_refill(struct conn *conn, const struct conn_snapshot *snapshot,
			const unsigned char *bytes)
{
	struct buffers *buffers = &conn->service->table->buffers;
	bool kept = true;

	if (snapshot->input) {
		conn->input = chunk_new_for(buffers, snapshot->input);
		CHECK(conn->input);
		memcpy(conn->input->bytes, bytes, snapshot->input);
		conn->input->used = snapshot->input;
	}
	if (snapshot->owed)
		kept = queue_append(&conn->queue, buffers, bytes + snapshot->input, snapshot->owed);
	if (kept && snapshot->held)
		kept = queue_hold(&conn->queue, buffers, bytes + snapshot->input + snapshot->owed,
				  snapshot->held);
	CHECK(kept);
}

static void restore_carried(struct conn *conn, const struct conn_snapshot *snapshot,
			    const unsigned char *bytes)
{
	const struct protocol *protocol = conn->service->protocol;
	uint32_t n;
	const unsigned char *carried = carried_of(snapshot, protocol, bytes, &n);

	memset(conn->state + protocol->carries_at, 0, sizeof n);
	protocol->carried(conn, carried, n);
}

bool conn_adopt(struct service *service, int fd, const struct conn_snapshot *snapshot,
		const unsigned char *bytes)
{
	struct conn_table *table = service->table;
	size_t n = (size_t)snapshot_buffer_bytes(snapshot);
	struct conn *conn;

	if (!snapshot_is_valid(snapshot, service, bytes) || !conn_can_adopt(service, n))
		return false;
	conn = pool_take(&table->conns);
	CHECK(conn);
	*conn = (struct conn){.service = service, .fd_shared = true};
	source_init(&conn->source, fd, conn_turn);
	rights_disarm(fd);
	conn->guarded = service->local && rights_may_come(fd);
	conn->source.ready = SOURCE_OUT; /* perhaps: the first write tells */
	if (loop_watch(table->loop, &conn->source, CONN_EVENTS)) {
		pool_give(&table->conns, conn);
		return false;
	}
	conn_recall(conn, snapshot);
	conn_refill(conn, snapshot, bytes);
	if (snapshot->flags & SNAPSHOT_PEER)
		conn_restore_peer(conn, bytes + n);
	if (!service->protocol->is_prefix)
		conn_recount_peer(conn);
	STATS_ADD(table->stats, connections, 1);
	STATS_ADD(table->stats, moved_in, 1);
	if (conn->phase == OPEN && service->protocol->carry)
		restore_carried(conn, snapshot, bytes);
	if (conn->phase == OPEN && service->protocol->restore)
		service->protocol->restore(conn);
	CHECK(!table->outbox.n && !table->outbox.held.iov_len);
	if (table->draining)
		conn_drain(conn);
	if (conn->phase != OPEN) /* else one that moves often would never look at the clock */
		conn->source.ready |= SOURCE_DUE;
	loop_wake(table->loop, &conn->source);
	if (log_enabled(LOG_DEBUG))
		log_debug("moved in", LOG_NUMBER("fd", fd));
	return true;
}
