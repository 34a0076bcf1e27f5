/*
 * How a connection ends, whoever finds out that it does: only its phase and its reason change here,
 * the rest is done in its own turn (conn.c). Nothing here reads, writes or frees.
 */
#include "reactor/stream/conn_parts.h"

#include <errno.h>
#include <string.h>

#include "reactor/base/log.h"
#include "reactor/base/rights.h"

void conn_leave_open(struct conn *conn, enum conn_phase phase)
{
	const struct protocol *protocol = conn->service->protocol;
	uint8_t before = conn->phase;

	conn->phase = phase & 15u;
	if (before == OPEN && protocol->close)
		protocol->close(conn);
	if (before != CONNECTING)
		return;
	STATS_ADD(conn->service->table->stats, connect_failures, 1);
	if (protocol->unconnected)
		protocol->unconnected(conn, (enum close_reason)conn->reason);
}

void conn_die(struct conn *conn, enum close_reason reason)
{
	if (conn->phase == DEPARTED)
		return;
	if (!conn->reason || conn->phase == CLOSING)
		conn->reason = (uint8_t)reason;
	conn_leave_open(conn, DEAD);
}

void conn_die_of(struct conn *conn, ssize_t error)
{
	switch (-error) {
	case EPIPE:
	case ECONNRESET:
		conn_die(conn, CLOSE_reset);
		return;
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ECONNREFUSED:
		conn_die(conn, CLOSE_lost);
		return;
	case RIGHTS_CAME:
		if (conn->guarded) {
			conn_die(conn, CLOSE_descriptors);
			return;
		}
		__attribute__((fallthrough));
	default:
		log_warn("connection failed", LOG_TEXT("error", strerror((int)-error)));
		conn_die(conn, CLOSE_error);
	}
}

void conn_abort(struct conn *conn, enum close_reason reason)
{
	conn_die(conn, reason);
	loop_wake(conn->service->table->loop, &conn->source);
}

void conn_finish(struct conn *conn, enum close_reason reason)
{
	if (conn->phase != OPEN)
		return;
	/* Finished while it drains: that its answer was the last one is because of the drain. */
	conn->reason = reason == CLOSE_finished && conn->draining ? CLOSE_drained : (uint8_t)reason;
	conn_leave_open(conn, CLOSING);
	conn->service->table->outbox.held.iov_len = 0;
	queue_drop_held(&conn->queue, &conn->service->table->buffers);
}

void conn_fail(struct conn *conn, unsigned i)
{
	conn_finish(conn, (enum close_reason)conn->service->protocol->reasons[i].number);
}
