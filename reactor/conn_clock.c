/*
 * Deadlines of a connection. None is moved when a byte goes: the one that is armed fires,
 * looks at the stamps, and is armed anew for what is due next.
 */
#include "reactor/conn_parts.h"

#include "reactor/sys.h"

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
	if (unsent)
		return time_reached(now_ms, conn->progress_ms + patience_ms);
	return time_reached(now_ms, linger->began_ms + LINGER_MS);
}

/* The next moment at which something may have to be done; false: there is none. */
static bool conn_due(const struct conn *conn, const struct conn_table *table, uint32_t *due_ms,
		     enum close_reason *reason)
{
	const struct conn_limits *limits = &table->limits;
	bool any = false;

#define SOONER(condition, at_ms, why)                                                              \
	if ((condition) && (!any || !time_reached((at_ms), *due_ms))) {                            \
		any = true;                                                                        \
		*due_ms = (at_ms);                                                                 \
		*reason = (why);                                                                   \
	}
	SOONER(limits->idle_ms, conn->active_ms + limits->idle_ms, CLOSE_idle_timeout)
	SOONER(limits->write_ms && conn->queue.owed, conn->progress_ms + limits->write_ms,
	       CLOSE_write_timeout)
	SOONER(limits->request_ms && conn->message_open && conn->phase == OPEN && !conn->paused &&
		   !conn->starved,
	       conn->message_ms + limits->request_ms, CLOSE_request_timeout)
#undef SOONER
	return any;
}

void conn_look_at_clock(struct conn *conn, struct conn_table *table)
{
	enum close_reason reason;
	uint32_t due_ms;

	if (conn->phase == LINGER) {
		if (linger_is_over(conn, table))
			conn_die(conn, conn->reason);
	} else if (conn->phase != DEAD && conn_due(conn, table, &due_ms, &reason) &&
		   time_reached(table->loop->now_ms, due_ms)) {
		if (reason == CLOSE_request_timeout)
			conn_finish(conn, reason);
		else
			conn_die(conn, reason);
	}
}

void conn_arm(struct conn *conn, struct conn_table *table)
{
	enum close_reason reason;
	uint32_t due_ms;

	if (conn->phase == LINGER)
		loop_deadline(table->loop, &conn->source, table->loop->now_ms + LINGER_LOOK_MS);
	else if (conn_due(conn, table, &due_ms, &reason))
		loop_deadline(table->loop, &conn->source, due_ms);
}
