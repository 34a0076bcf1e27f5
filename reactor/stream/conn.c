/*
 * The turn of a connection. If the peer lets it, that is one read and one write: the protocol's
 * output lies in the outbox as spans of the input, and only what the kernel did not take is
 * copied into the write queue.
 *
 * Before anything is read, buffers for all that can come of it are known to be there: at
 * most a chunk is read at a time, so at most one chunk stays as input and one as output.
 * Only if a protocol leaves nothing, and buffers abound, is more read at once. What stays is
 * kept in a chunk of its size; if that is a small one, the next read goes behind a copy of it.
 */
#include "reactor/stream/conn_parts.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"
#include "reactor/base/sys.h"

static struct conn *conn_of(struct source *source)
{
	return CONTAINER_OF(source, struct conn, source);
}

/* ---- draining, and the end of its memory ---- */

void conn_drain(struct conn *conn)
{
	int unread = 0;

	if (conn->phase == CONNECTING)
		conn_abort(conn, CLOSE_drained);
	if (conn->draining || conn->phase >= DEAD)
		return;
	conn->draining = true;
	if (sys_ioctl(conn->source.fd, FIONREAD, &unread) == 0 && unread > 0)
		conn->drain_left = (uint32_t)unread;
	if (conn->drain_left)
		conn->source.ready |= SOURCE_IN;
	loop_wake(conn->service->table->loop, &conn->source);
}

bool conn_is_open(const struct conn *conn)
{
	return conn->phase == OPEN;
}

/* Does it take no input, because of conn_produce(), and have nothing to send for now? */
static bool conn_is_silent(const struct conn *conn)
{
	return conn_is_producing(conn) && conn->producer_idle && conn->phase == OPEN &&
	       !conn->queue.owed;
}

static bool conn_is_drained(const struct conn *conn)
{
	return conn->draining && !conn->drain_left && !conn->input_pending &&
	       !conn_is_producing(conn) && !(conn->message_open && conn->requests);
}

/* Drained, does it stay, and wait for what others may have for it? It reads no more. */
static bool conn_stays(const struct conn *conn)
{
	return conn->service->lasts && conn_is_drained(conn);
}

bool conn_has_more(const struct conn *conn)
{
	return conn->phase == OPEN && !(conn->paused & PAUSED_OWES) && !conn_is_drained(conn);
}

void conn_release(struct conn *conn)
{
	struct conn_table *table = conn->service->table;

	CHECK(!table->outbox.n);
	if (conn->fd_shared || conn->guarded) /* its registration may outlive our descriptor */
		loop_unwatch(table->loop, &conn->source);
	if (conn->guarded && conn->frozen) /* it goes on elsewhere */
		rights_leave(conn->source.fd);
	else if (conn->guarded)
		rights_close(conn->source.fd);
	else if (conn->source.fd >= 0) /* one that is CONNECTING may have none */
		(void)sys_close(conn->source.fd);
	conn->source.fd = -1;
	loop_no_deadline(table->loop, &conn->source);
	conn_drop_input(conn, table);
	queue_clear(&conn->queue, &table->buffers);
	awaits_buffers_set(conn, table, false);
	conn_forget_peer(conn);
	STATS_ADD(table->stats, connections, -1);
}

void conn_free(struct conn *conn)
{
	struct conn_table *table = conn->service->table;

	pool_give(&table->conns, conn);
	if (table->on_room)
		table->on_room(table);
}

void conn_destroy(struct conn *conn)
{
	CHECK(conn->reason);
	if (log_enabled(LOG_DEBUG))
		log_debug("closed", LOG_NUMBER("fd", conn->source.fd),
			  LOG_TEXT("reason", close_reason_name(conn->reason)));
	STATS_ADD(conn->service->table->stats, closed[conn->reason], 1);
	conn_release(conn);
	conn_free(conn);
}

/* ---- input ---- */

/* A queue above high-water pauses reading, until it has fallen to low-water: so it holds no more
 * than high-water and a chunk. */
static bool conn_owes_too_much(struct conn *conn, struct conn_table *table)
{
	const struct conn_limits *limits = &table->limits;
	bool owes = conn->paused & PAUSED_OWES;

	if (!owes && conn->queue.owed > limits->high_water) {
		conn_pause(conn, PAUSED_OWES, true);
		STATS_ADD(table->stats, backpressure_on, 1);
		return true;
	}
	if (owes && conn->queue.owed <= limits->low_water) {
		conn_pause(conn, PAUSED_OWES, false);
		conn->message_ms = table->loop->now_ms; /* the delay was ours, not the peer's */
		STATS_ADD(table->stats, backpressure_off, 1);
		return false;
	}
	return owes;
}

static void conn_ended(struct conn *conn, struct conn_table *table)
{
	const struct protocol *protocol = conn->service->protocol;

	conn->half_closed = conn->feeding;
	if (conn->half_closed)
		return;
	if (protocol->ended) {
		protocol->ended(conn);
		conn_flush(conn, table);
	}
	conn_finish(conn, conn->message_open || conn->input ? CLOSE_truncated : CLOSE_eof);
}

/* A read costs at least CONN_READ_COST, so that the budget bounds the reads of a turn, too: a peer
 * may send single bytes as fast as they are read. */
static void budget_spend(size_t *budget, size_t n)
{
	size_t cost = n < CONN_READ_COST ? CONN_READ_COST : n;

	*budget -= cost < *budget ? cost : *budget;
}

/* Returns the kept bytes, in a place with room for a whole chunk: more is read behind them. */
static unsigned char *conn_input_start(const struct conn *conn, const struct conn_table *table)
{
	if (!conn->input)
		return table->scratch;
	if (chunk_room(&table->buffers, conn->input) == CHUNK_BYTES)
		return conn->input->bytes;
	return memcpy(table->scratch, conn->input->bytes, conn->input->used);
}

static ssize_t conn_receive(const struct conn *conn, void *bytes, size_t n)
{
	return conn->guarded ? rights_read(conn->source.fd, bytes, n)
			     : sys_read(conn->source.fd, bytes, n);
}

/* Reads behind what was left the last time. False: nothing came. */
static bool conn_read(struct conn *conn, struct conn_table *table, struct iovec *input,
		      size_t *budget)
{
	size_t kept = conn->input ? conn->input->used : 0;
	unsigned char *start = conn_input_start(conn, table);
	size_t room = conn_room(conn, table);
	ssize_t n;

	if (room > *budget)
		room = *budget;

	do
		n = conn_receive(conn, start + kept, room);
	while (n == -EINTR);
	if (n <= 0) {
		if (n == 0)
			conn_ended(conn, table);
		else if (n != -EAGAIN)
			conn_die_of(conn, n);
		conn->source.ready &= (uint8_t)~SOURCE_IN;
		conn->drain_left = 0;
		return false;
	}
	if (conn->draining && !conn->drain_left)
		conn->read_past_drain = true;
	/* A short read has drained it, unless the end came in the same event, which gives no edge
	 * of its own. */
	conn->drain_left -= conn->drain_left < (size_t)n ? conn->drain_left : (uint32_t)n;
	if ((size_t)n < room && !conn_ready(conn, SOURCE_ENDED) && !conn->drain_left)
		conn->source.ready &= (uint8_t)~SOURCE_IN;
	budget_spend(budget, (size_t)n);
	conn->active_ms = table->loop->now_ms;
	STATS_ADD(table->stats, received_bytes, n);
	*input = (struct iovec){start, kept + (size_t)n};
	return true;
}

/* Keeps n bytes, instead of those kept before, in a chunk of their size. False: there is none. */
static bool conn_keep_bytes(struct conn *conn, struct conn_table *table, const void *bytes,
			    size_t n)
{
	struct buffers *buffers = &table->buffers;
	struct chunk *before = conn->input, *chunk = before;

	if (!before || !chunk_fits(buffers, before, n)) {
		chunk = chunk_new_for(buffers, n);
		if (!chunk && before && n <= chunk_room(buffers, before))
			chunk = before;
		if (!chunk)
			return false;
	}
	memmove(chunk->bytes, bytes, n); /* they may lie in the chunk before */
	chunk->used = (uint32_t)n;
	conn->input = chunk;
	if (before && before != chunk)
		chunk_release(buffers, before);
	return true;
}

/* Keeps what the protocol left. */
static void conn_keep(struct conn *conn, struct conn_table *table, struct iovec input, size_t used)
{
	size_t left = input.iov_len - used;

	CHECK(used <= input.iov_len && left <= CHUNK_BYTES);
	if (!left || conn->phase != OPEN) {
		conn_drop_input(conn, table);
		return;
	}
	if (!conn_keep_bytes(conn, table, (char *)input.iov_base + used, left)) {
		conn_die(conn, CLOSE_no_buffers);
		return;
	}
	conn->input_pending = table->switched || table->messages_left == 0 || !conn_listens(conn);
	if (left == CHUNK_BYTES && !conn->input_pending)
		conn_finish(conn, CLOSE_input_too_long);
}

static void conn_offer(struct conn *conn, struct conn_table *table, struct iovec input)
{
	const struct protocol *protocol = conn->service->protocol;
	size_t used = input.iov_len;

	table->switched = false;
	if (protocol->input)
		used = protocol->input(conn, input.iov_base, input.iov_len);
	else if (protocol->stream)
		protocol->stream(conn, input.iov_base, input.iov_len);
	conn_flush(conn, table);
	conn_keep(conn, table, input, used);
}

/* Reads, offers and writes, until there is nothing to read, the budget is spent, or the
 * peer does not take what it is owed. */
static void conn_take_input(struct conn *conn, struct conn_table *table)
{
	size_t budget = CONN_TURN_BYTES;

	table->messages_left = CONN_TURN_MESSAGES;
	while (conn->phase == OPEN && conn_listens(conn) && !conn_stays(conn) &&
	       !conn_owes_too_much(conn, table)) {
		struct iovec input;

		if (!conn->input_pending && !conn_ready(conn, SOURCE_IN))
			return;
		if (!conn_has_buffers(conn, table))
			return;
		if (conn->input_pending)
			input = (struct iovec){conn->input->bytes, conn->input->used};
		else if (!budget || !table->messages_left)
			break;
		else if (!conn_read(conn, table, &input, &budget))
			continue;
		conn_offer(conn, table, input);
		if (conn->input_pending)
			break;
	}
	if (conn->phase == OPEN && !(conn->paused & ~(unsigned)PAUSED_BUFFERS) && !conn_stays(conn))
		STATS_ADD(table->stats, budget_yields, 1);
}

static void conn_make_output(struct conn *conn, struct conn_table *table)
{
	size_t budget = CONN_TURN_BYTES;

	while (conn->phase == OPEN && conn_has_output(conn) && !conn->queue.owed &&
	       conn_ready(conn, SOURCE_OUT)) {
		const struct service *service = conn->service;
		size_t made;

		if (!conn_has_buffers(conn, table))
			return;
		(conn_is_producing(conn) || conn->feeding ? service->protocol->produce
							  : service->protocol->writable)(conn);
		made = table->outbox.bytes + conn->queue.owed; /* conn_copy() may queue some */
		conn->producer_idle = !made && conn->service == service;
		conn_flush(conn, table);
		if (!made || budget < made + CHUNK_BYTES)
			return;
		budget -= made;
	}
}

void conn_message_begun(struct conn *conn)
{
	if (conn->message_open)
		return;
	conn->message_open = true;
	conn->message_ms = conn->service->table->loop->now_ms;
}

void conn_request_begun(struct conn *conn)
{
	conn->requests = true;
	conn_message_begun(conn);
}

void conn_message_progress(struct conn *conn)
{
	conn->message_ms = conn->service->table->loop->now_ms;
}

static inline bool message_end(struct conn *conn, bool answers)
{
	struct conn_table *table = conn->service->table;

	conn->message_open = false;
	STATS_ADD(table->stats, messages, 1);
	if (answers)
		STATS_ADD(table->stats, messages_sent, 1);
	if (table->messages_left)
		table->messages_left--;
	return table->messages_left != 0;
}

bool conn_message_done(struct conn *conn)
{
	return message_end(conn, true);
}

bool conn_message_taken(struct conn *conn)
{
	return message_end(conn, false);
}

void conn_switch(struct conn *conn, const struct protocol *protocol)
{
	struct conn_table *table = conn->service->table;
	struct service *service = service_find(conn->service, protocol);

	CHECK(service && service != conn->service);
	if (conn->phase != OPEN)
		return;
	if (conn->service->protocol->close)
		conn->service->protocol->close(conn);
	table->outbox.held.iov_len = 0;
	queue_drop_held(&conn->queue, &table->buffers);
	conn->service = service;
	memset(conn->state, 0, sizeof conn->state);
	conn->message_open = conn->requests = conn->producer_idle = false;
	conn_pause(conn, PAUSED_INPUT, false);
	conn_pause(conn, PAUSED_PRODUCING, false);
	conn->has_timer = conn->feeding = false;
	conn->input_pending = conn->input != NULL;
	table->switched = true;
	if (protocol->open)
		protocol->open(conn);
}

void conn_end_prefix(struct conn *conn)
{
	CHECK(conn->service->protocol->is_prefix && conn->service->next);
	conn_switch(conn, conn->service->next->protocol);
}

void conn_pause_input(struct conn *conn)
{
	conn_pause(conn, PAUSED_INPUT, true);
}

void conn_resume_input(struct conn *conn)
{
	if (!(conn->paused & PAUSED_INPUT))
		return;
	conn_pause(conn, PAUSED_INPUT, false);
	conn->message_ms =
	    conn->service->table->loop->now_ms; /* the delay was ours, not the peer's */
	loop_wake(conn->service->table->loop, &conn->source);
}

void conn_wake(struct conn *conn)
{
	loop_wake(conn->service->table->loop, &conn->source);
}

void conn_produce(struct conn *conn, bool more)
{
	CHECK(!more || conn->service->protocol->produce);
	conn_pause(conn, PAUSED_PRODUCING, more);
	if (!more)
		conn->message_ms = conn->service->table->loop->now_ms; /* as above */
}

void conn_feed(struct conn *conn, bool more)
{
	CHECK(!more || conn->service->protocol->produce);
	if (more && !conn->feeding)
		loop_wake(conn->service->table->loop, &conn->source);
	conn->feeding = more;
}

/* ---- the last phases ---- */

/*
 * All that was owed is with the kernel. After the peer's FIN, close() delivers the rest.
 * Before it, input that has come, or will, makes close() send a RST that destroys what the
 * peer has not read yet: so our side is shut, and input is thrown away for a bounded time. A peer
 * that is in the middle of a message, or went on sending during the drain, may send more later.
 */
static void conn_end(struct conn *conn, struct conn_table *table)
{
	struct lingering *linger = conn_state(conn);
	bool goes_on = (conn->message_open || conn->read_past_drain) && conn->requests;
	int unsent = 0;

	if (conn->reason == CLOSE_eof || conn->reason == CLOSE_truncated ||
	    (sys_ioctl(conn->source.fd, TIOCOUTQ, &unsent) == 0 && unsent == 0 &&
	     !conn_ready(conn, SOURCE_IN) && !goes_on)) {
		conn_die(conn, conn->reason);
		return;
	}
	(void)sys_shutdown(conn->source.fd, SHUT_WR);
	*linger = (struct lingering){table->loop->now_ms, unsent};
	conn->progress_ms = table->loop->now_ms;
	conn->phase = LINGER;
	conn->source.ready |= SOURCE_IN;
}

static void conn_discard(struct conn *conn, struct conn_table *table)
{
	size_t budget = CONN_TURN_BYTES;

	while (conn_ready(conn, SOURCE_IN) && budget) {
		ssize_t n = conn_receive(conn, table->scratch, budget);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN) {
			conn->source.ready &= (uint8_t)~SOURCE_IN;
		} else if (n <= 0) {
			conn_die(conn, conn->reason);
			return;
		} else {
			budget_spend(&budget, (size_t)n);
			STATS_ADD(table->stats, received_bytes, n);
		}
	}
}

/* ---- the turn ---- */

static void conn_serve(struct conn *conn, struct conn_table *table)
{
	conn_take_input(conn, table);
	if (conn_has_output(conn)) {
		conn_make_output(conn, table);
		if (conn_is_silent(conn) && conn_ready(conn, SOURCE_HUNG_UP))
			conn_die(conn, CLOSE_reset); /* as a write would find out */
	}
	if (conn->half_closed && !conn->feeding && conn->phase == OPEN)
		conn_ended(conn, table);
	if (conn_is_drained(conn) && !conn_stays(conn) && !conn->feeding)
		conn_finish(conn, CLOSE_drained);
}

/* Of one that has output: one that is silent waits for what it will say, or for its peer to go. */
static uint8_t conn_wants_to_say(const struct conn *conn)
{
	if (conn_is_silent(conn))
		return SOURCE_HUNG_UP;
	return conn->producer_idle ? 0 : SOURCE_OUT;
}

uint8_t conn_want(const struct conn *conn)
{
	uint8_t want = 0;

	if ((conn->phase == OPEN && !conn->paused && !conn_stays(conn)) || conn->phase == LINGER)
		want |= SOURCE_IN;
	if (conn->queue.owed)
		want |= SOURCE_OUT;
	else if (conn->phase == OPEN && conn_has_output(conn) && !awaits_buffers(conn))
		want |= conn_wants_to_say(conn);
	return want;
}

static void conn_broken(struct conn *conn)
{
	int error = 0;
	socklen_t n = sizeof error;

	conn->source.ready &= (uint8_t)~SOURCE_BROKEN;
	if (sys_getsockopt(conn->source.fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && error)
		conn_die_of(conn, -error);
}

void conn_turn(struct loop *loop, struct source *source)
{
	struct conn *conn = conn_of(source);
	struct conn_table *table = conn->service->table;
	bool due = conn_ready(conn, SOURCE_DUE);
	uint8_t phase;

	(void)loop;
	if (conn->frozen) {
		if (conn->phase == DEPARTED)
			conn_free(conn);
		return;
	}
	if (conn_ready(conn, SOURCE_BROKEN) && conn->phase != CONNECTING)
		conn_broken(conn);
	source->ready &= (uint8_t) ~(SOURCE_DUE | SOURCE_WOKEN);
	/* epoll reports space only when a third of the socket's buffer is free: a write tells
	 * slow readers from those that do not read. And if we were stopped since epoll was asked,
	 * or while we asked it, what came in time has not been reported yet. */
	if (due)
		source->ready |= SOURCE_OUT | SOURCE_IN;
	phase = conn->phase;
	if (phase != DEAD && conn->queue.owed)
		conn_flush(conn, table);
	if (conn->phase == OPEN)
		conn_serve(conn, table);
	else if (conn->phase == CONNECTING && !conn_dial(conn, table))
		return;
	/* Not before: if it was we who had no turn for so long, what lay there came in time. */
	if (due && conn->phase == phase)
		conn_look_at_clock(conn, table);
	if (conn->phase == CLOSING && !conn->queue.owed)
		conn_end(conn, table);
	if (conn->phase == LINGER)
		conn_discard(conn, table);
	if (conn->phase != OPEN) {
		conn_drop_input(conn, table);
		awaits_buffers_set(conn, table, false);
	}
	starvation_look(table);
	if (conn->phase == DEAD) {
		outbox_clear(&table->outbox);
		if (!source->queued) /* else it was woken in this turn, and ends in the next */
			conn_destroy(conn);
		return;
	}
	CHECK(!table->outbox.n && !table->outbox.held.iov_len);
	/* In other cases space, buffers or conn_resume_input() wake it. */
	if (conn->input_pending && !conn->paused)
		source->ready |= SOURCE_WOKEN;
	source->want = conn_want(conn);
	conn_arm(conn, table);
	loop_requeue(table->loop, source);
}

void conn_table_flush(struct conn_table *table)
{
	struct conn *conn;
	size_t cursor = 0;

	while ((conn = pool_next(&table->conns, &cursor))) {
		if (conn->phase >= DEAD || conn->frozen)
			continue;
		conn_flush(conn, table);
		if (conn_has_output(conn))
			conn_make_output(conn, table);
	}
}
