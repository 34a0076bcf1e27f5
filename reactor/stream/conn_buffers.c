/*
 * How connections share the buffers: which ones wait for them, and which are closed to free some.
 *
 *     free chunks:           all         1/4         1/8      a read's       0
 *     it owes its peer        reads       | waits
 *     it has part of a message,
 *     or more to say by itself            goes on     | waits
 *     it holds nothing                                reads    | waits
 *
 * So connections that come and go are served beside any number of those that hold buffers. If one
 * has to wait all the same, and owes nothing, others that hold some are closed: those of which no
 * byte has moved, either way, for the longest time, which is at least STALLED_MS, and STARVATION_MS
 * longer if they wait for buffers themselves. If all that wait owe their peers something, they may
 * wait, and one is closed each time that nothing at all has moved for STARVATION_MS.
 *
 * A sweep looks at all connections, a slice in each turn. It finds out when the one that has stood
 * still for the longest time last moved: this is the mark that the next sweep goes by.
 */
#include "reactor/stream/conn_parts.h"

#define STARVATION_MS 1000
#define STALLED_MS    250 /* longer than the way to a peer and back takes */
#define SLICE	      2048

static size_t chunks_quarter(const struct conn_table *table)
{
	return buffers_chunks(&table->buffers) / 4;
}

static size_t chunks_eighth(const struct conn_table *table)
{
	return buffers_chunks(&table->buffers) / 8;
}

/* Chunks that are neither taken nor promised. Some more are set aside with a promise, so that even
 * the last connection that moves here finds some to read with (conn_can_adopt). */
static size_t chunks_left(const struct conn_table *table)
{
	size_t left = buffers_free_chunks(&table->buffers), promised = table->promised.chunks;

	if (!promised)
		return left;
	promised += CHUNKS_FOR_A_READ + table->chunks_kept;
	return left > promised ? left - promised : 0;
}

/* How many chunks have to be free for it to go on? */
static size_t chunks_needed(const struct conn *conn, const struct conn_table *table)
{
	/* What its input publishes leaves this chunk for the journal: to go on takes no chunk, and
	 * frees this one; unless it has more to send, too. */
	if (conn->service->delivery && conn->input && !conn->feeding &&
	    (conn->input_pending || chunk_room(&table->buffers, conn->input) == CHUNK_BYTES))
		return 0;
	if (conn->queue.owed)
		return chunks_quarter(table);
	if (conn_holds_buffers(conn) || conn_has_output(conn))
		return chunks_eighth(table);
	return CHUNKS_FOR_A_READ + table->chunks_kept;
}

static uint64_t bytes_moved(const struct conn_table *table)
{
	return table->stats->sent_bytes + table->stats->received_bytes;
}

static void starvation_begin(struct conn_table *table)
{
	struct starvation *starvation = &table->starvation;
	uint32_t now_ms = table->loop->now_ms;

	if (now_ms - starvation->swept_ms > STARVATION_MS)
		starvation->has_mark = false;
	starvation->swept_ms = starvation->quiet_ms = now_ms;
	starvation->moved = bytes_moved(table);
	starvation->chunks_wanted = SIZE_MAX;
	loop_deadline(table->loop, &starvation->source, now_ms + STARVATION_MS);
}

void awaits_buffers_set(struct conn *conn, struct conn_table *table, bool awaits)
{
	if (awaits_buffers(conn) == awaits)
		return;
	conn_pause(conn, PAUSED_BUFFERS, awaits);
	if (!awaits) {
		if (!conn_holds_buffers(conn))
			conn->message_ms =
			    table->loop->now_ms; /* the delay was ours, not the peer's */
		if (--table->awaiting_buffers == 0)
			loop_no_deadline(table->loop, &table->starvation.source);
		return;
	}
	STATS_ADD(table->stats, buffer_waits, 1);
	if (table->awaiting_buffers++ == 0)
		starvation_begin(table);
}

static void starvation_note(struct conn_table *table, size_t needed)
{
	struct starvation *starvation = &table->starvation;

	if (needed < starvation->chunks_wanted)
		starvation->chunks_wanted = needed;
}

bool conn_has_buffers(struct conn *conn, struct conn_table *table)
{
	size_t needed, left = chunks_left(table);

	if (!awaits_buffers(conn) && left >= chunks_quarter(table)) /* enough for anybody */
		return true;
	needed = chunks_needed(conn, table);
	awaits_buffers_set(conn, table, left < needed);
	if (!awaits_buffers(conn))
		return true;
	starvation_note(table, needed);
	if (!conn->queue.owed) /* others may have to be closed */
		loop_wake(table->loop, &table->starvation.source);
	return false;
}

/* For a connection that holds nothing, if little is left: all that is read may have to be kept, so
 * little is read. Then what a sweep frees is enough for many that wait, and the first of them do
 * not take all of it. */
static size_t scarce_room(size_t left, const struct conn_table *table)
{
	return chunk_kind_room(left < chunks_eighth(table) / 2 ? 0 : 1);
}

size_t conn_room(const struct conn *conn, const struct conn_table *table)
{
	size_t room = table->limits.high_water + CHUNK_BYTES - conn->queue.owed;
	size_t left = chunks_left(table);

	if (conn->input)
		return CHUNK_BYTES - conn->input->used;
	if (left < chunks_eighth(table))
		return scarce_room(left, table);
	if (conn->service->protocol->input ||
	    left < chunks_quarter(table) + CONN_TURN_BYTES / CHUNK_BYTES)
		return CHUNK_BYTES;
	return room < CONN_TURN_BYTES ? room : CONN_TURN_BYTES;
}

/* ---- the sweep ---- */

/* When did a byte of it last move, either way? What others gave it to send counts from the moment
 * when it began to be owed. */
static uint32_t conn_moved_ms(const struct conn *conn)
{
	return time_reached(conn->active_ms, conn->progress_ms) ? conn->active_ms
								: conn->progress_ms;
}

static size_t conn_weight(const struct conn *conn, const struct conn_table *table)
{
	return queue_weight(&conn->queue) +
	       (conn->input ? chunk_weight(&table->buffers, conn->input) : 0);
}

/* Does it hold buffers, and neither its protocol nor another process keeps it waiting? */
static bool conn_holds(const struct conn *conn)
{
	return conn->phase < DEAD && conn_holds_buffers(conn) && !(conn->paused & PAUSED_INPUT) &&
	       !conn_is_frozen(conn);
}

static void sweep_wake(struct conn *conn, struct conn_table *table)
{
	size_t needed = chunks_needed(conn, table);

	if (chunks_left(table) < needed) {
		starvation_note(table, needed);
		table->starvation.presses |= !conn->queue.owed;
		return;
	}
	awaits_buffers_set(conn, table, false); /* its own turn checks again */
	loop_wake(table->loop, &conn->source);
}

static void sweep_look(struct conn *conn, struct conn_table *table)
{
	struct starvation *starvation = &table->starvation;
	uint32_t moved_ms = conn_moved_ms(conn);

	if (awaits_buffers(conn)) { /* for us: those that wait for a peer go first */
		moved_ms += STARVATION_MS;
		sweep_wake(conn, table);
	}
	if (!conn_holds(conn))
		return;
	if (!time_reached(table->loop->now_ms, moved_ms + STALLED_MS))
		return;
	if (starvation->goal && starvation->has_mark &&
	    time_reached(starvation->mark_ms, moved_ms)) {
		size_t weight = conn_weight(conn, table);

		starvation->goal -= weight < starvation->goal ? weight : starvation->goal;
		starvation->closed = true;
		conn_abort(conn, CLOSE_no_buffers);
	} else if (!starvation->has_longest || time_reached(starvation->longest_ms, moved_ms)) {
		starvation->has_longest = true;
		starvation->longest_ms = moved_ms;
	}
}

/* How many bytes is this sweep to free? None while there is a promise: it ends soon, which frees
 * more than closing a connection would. */
static size_t sweep_goal(const struct conn_table *table, bool quiet)
{
	size_t free = chunks_left(table);
	size_t wanted = chunks_eighth(table) + CHUNKS_FOR_A_READ + table->chunks_kept;

	if (table->promised.chunks)
		return 0;
	if (table->starvation.presses)
		return free < wanted ? (wanted - free) * CHUNK_SIZE : 0;
	return quiet ? 1 : 0;
}

static bool nothing_moves(struct conn_table *table)
{
	struct starvation *starvation = &table->starvation;
	uint64_t moved = bytes_moved(table);

	if (moved != starvation->moved)
		starvation->quiet_ms = table->loop->now_ms;
	starvation->moved = moved;
	return time_reached(table->loop->now_ms, starvation->quiet_ms + STARVATION_MS);
}

static void sweep_begin(struct conn_table *table)
{
	struct starvation *starvation = &table->starvation;

	starvation->goal = sweep_goal(table, nothing_moves(table));
	starvation->has_longest = starvation->closed = starvation->presses = false;
	starvation->chunks_wanted = SIZE_MAX;
}

/* True: the next one is to follow at once, because it has somebody to close. If one that owes
 * nothing waits, the mark takes in those that have stood still for seven eighths as long. */
static bool sweep_end(struct conn_table *table)
{
	struct starvation *starvation = &table->starvation;
	uint32_t now_ms = table->loop->now_ms, mark_ms = starvation->longest_ms;
	bool later;

	starvation->swept_ms = now_ms;
	if (starvation->closed && !starvation->presses)
		starvation->quiet_ms = now_ms; /* so at most one is closed in each STARVATION_MS */
	if (!starvation->has_longest || table->promised.chunks)
		return false;
	if (starvation->presses)
		mark_ms += (now_ms - mark_ms) / 8;
	later = !starvation->has_mark || !time_reached(starvation->mark_ms, mark_ms);
	starvation->has_mark = true;
	starvation->mark_ms = mark_ms;
	return (later || starvation->closed) && (starvation->presses || nothing_moves(table));
}

static void starvation_turn(struct loop *loop, struct source *source)
{
	struct conn_table *table = CONTAINER_OF(source, struct conn_table, starvation.source);
	struct starvation *starvation = &table->starvation;
	struct conn *conn = NULL;

	source->ready = 0;
	if (!table->awaiting_buffers) {
		starvation->cursor = 0;
		return;
	}
	if (!starvation->cursor)
		sweep_begin(table);
	for (int i = 0; i < SLICE && (conn = pool_next(&table->conns, &starvation->cursor)); i++)
		sweep_look(conn, table);
	if (!conn)
		starvation->cursor = 0;
	if (conn || sweep_end(table))
		loop_wake(loop, source);
	else if (table->awaiting_buffers)
		loop_deadline(loop, source,
			      loop->now_ms + (starvation->presses ? STALLED_MS : STARVATION_MS));
}

void starvation_look(struct conn_table *table)
{
	if (table->awaiting_buffers && !table->starvation.source.queued &&
	    chunks_left(table) >= table->starvation.chunks_wanted)
		loop_wake(table->loop, &table->starvation.source);
}

void starvation_init(struct starvation *starvation)
{
	*starvation = (struct starvation){.chunks_wanted = SIZE_MAX};
	source_init(&starvation->source, -1, starvation_turn);
}
