/*
 * Deadlines of a connection. None is moved when a byte moves: the one that is armed fires,
 * the turn looks at the stamps, and arms one anew for what is due next.
 */
#include "reactor/stream/conn_parts.h"

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

/*
 * Has close() give up what the kernel holds, too. Else the kernel would keep megabytes for minutes,
 * for a peer that does not read, and then end the stream as if that had been all.
 */
static void conn_reset(struct conn *conn)
{
	struct linger at_once = {.l_onoff = 1};

	(void)sys_setsockopt(conn->source.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static bool linger_is_over(struct conn *conn, struct conn_table *table)
{
	struct lingering *linger = conn_state(conn);
	uint32_t now_ms = table->loop->now_ms;
	uint32_t patience_ms = table->limits.write_ms ? table->limits.write_ms : 30000;
	int unsent = 0;

	if (sys_ioctl(conn->source.fd, TIOCOUTQ, &unsent) < 0)
		return true;
	if (unsent != linger->unsent) {
		linger->unsent = unsent;
		conn->progress_ms = now_ms;
	}
	if (unsent) {
		if (!time_reached(now_ms, conn->progress_ms + patience_ms))
			return false;
		conn_reset(conn);
		return true;
	}
	return time_reached(now_ms, linger->began_ms + LINGER_MS);
}

/* ---- the timer of its protocol ---- */

void conn_set_timer(struct conn *conn, uint32_t ms)
{
	CHECK(conn->service->protocol->timer && ms < WHEEL_MS_MAX && conn->phase != CONNECTING);
	conn->has_timer = true;
	*conn_timer_ms(conn) = conn->service->table->loop->now_ms + ms;
}

void conn_stop_timer(struct conn *conn)
{
	conn->has_timer = false;
}

static void conn_ring_timer(struct conn *conn, struct conn_table *table)
{
	conn->has_timer = false;
	conn->service->protocol->timer(conn);
	conn_flush(conn, table);
}

/* ---- deadlines ---- */

/* The soonest of several deadlines, and the reason to close if it has passed. */
struct due {
	uint32_t at_ms;
	unsigned reason; /* CLOSE_NONE: there is none */
};

#define DUE_TIMER CLOSE_REASONS_MAX /* no reason to close */

static void due_at(struct due *due, uint32_t at_ms, unsigned reason)
{
	if (due->reason && time_reached(at_ms, due->at_ms))
		return;
	*due = (struct due){at_ms, reason};
}

static struct due conn_due(struct conn *conn, const struct conn_limits *limits)
{
	struct due due = {0};

	if (limits->idle_ms)
		due_at(&due, conn->active_ms + limits->idle_ms, CLOSE_idle_timeout);
	if (limits->write_ms && conn->queue.owed)
		due_at(&due, conn->progress_ms + limits->write_ms, CLOSE_write_timeout);
	/* Not while we do not read, because the peer can't finish its message then. But a
	 * connection that holds buffers has this deadline even while it waits for more: else it
	 * could hold them for ever. */
	if (limits->request_ms && conn->message_open && conn->phase == OPEN &&
	    !(conn->paused & ~(unsigned)PAUSED_BUFFERS) &&
	    !(awaits_buffers(conn) && !conn_holds_buffers(conn)))
		due_at(&due, conn->message_ms + limits->request_ms, CLOSE_request_timeout);
	if (conn->has_timer && conn->phase == OPEN)
		due_at(&due, *conn_timer_ms(conn), DUE_TIMER);
	return due;
}

static void conn_expire(struct conn *conn, struct conn_table *table, enum close_reason reason)
{
	const struct protocol *protocol = conn->service->protocol;
	bool said = false;

	if (conn->phase == OPEN && reason != CLOSE_write_timeout && protocol->timeout) {
		protocol->timeout(conn);
		said = table->outbox.n != 0;
		conn_flush(conn, table);
	}
	if (said || reason == CLOSE_request_timeout) {
		conn_finish(conn, reason);
		return;
	}
	if (reason == CLOSE_write_timeout)
		conn_reset(conn);
	conn_die(conn, reason);
}

void conn_look_at_clock(struct conn *conn, struct conn_table *table)
{
	struct due due = conn_due(conn, &table->limits);

	if (conn->phase == DEAD)
		return;
	if (conn->phase == LINGER) {
		if (linger_is_over(conn, table))
			conn_die(conn, conn->reason);
	} else if (due.reason && time_reached(table->loop->now_ms, due.at_ms)) {
		if (due.reason == DUE_TIMER)
			conn_ring_timer(conn, table);
		else
			conn_expire(conn, table, (enum close_reason)due.reason);
	}
}

void conn_arm(struct conn *conn, struct conn_table *table)
{
	struct due due;

	if (conn->phase == LINGER) {
		loop_deadline(table->loop, &conn->source, table->loop->now_ms + LINGER_LOOK_MS);
		return;
	}
	due = conn_due(conn, &table->limits);
	if (due.reason)
		loop_deadline(table->loop, &conn->source, due.at_ms);
}
