/*
 * conn_connect: a connection that we open.
 *
 * It is one of the table's, like those that were accepted: it has a place, a descriptor and a turn,
 * and once it is up, its protocol's open() is called, and nothing differs any more. Until then it
 * is CONNECTING. What becomes of one that conn_connect() returned, its protocol hears once:
 *
 *     open()         it is up; later close() is called, as always
 *     unconnected()  it never came up, and why; nothing more is called
 *
 * Both are called in its turn, never in conn_connect(); unconnected() also where it is ended, in
 * conn_abort(), or by a drain or the end of its table. Whether to try again, when, and where, is
 * its owner's to say, who has a timer for that and lets the pauses grow. Names are looked up by
 * reactor/loop/resolver.h.
 */
#ifndef REACTOR_STREAM_CONN_CONNECT_H
#define REACTOR_STREAM_CONN_CONNECT_H

#include "reactor/stream/conn.h"

#define CONN_ADDRESSES_MAX 8

/*
 * Begins a connection to one of n addresses, 1 to CONN_ADDRESSES_MAX, of IP or unix sockets, which
 * are copied; it must be up within ms, which is more than 0 and less than WHEEL_MS_MAX. 0, and
 * *conn, which is there until close() or unconnected() is called (before open() only conn_abort()
 * is for it: its state is not the protocol's yet); or -errno, and no callback is called: -EAGAIN:
 * there is no place (on_room() of the table says when there is), -ENOBUFS: no buffers, -ESHUTDOWN:
 * the table drains or closes. Not to be called in unconnected() or close(): the place is free only
 * when they return.
 *
 * The service is the owner's own, and without a listener:
 *
 *     owner->service = (struct service){.protocol = &speaks, .table = table,
 *                                       .listener = SERVICE_NO_LISTENER};
 *
 * so that the owner finds itself in callbacks by conn->service (CONTAINER_OF). If its protocol has
 * tables, protocols_register() registers it with all others. Such a connection
 * never moves to another process, where it would have no owner: conn_freeze() refuses it, and it
 * drains, or ends, with its worker.
 *
 * It counts against connections_max, but not against the limit of an address. Idle-timeout and the
 * others are those of the table, once it is up: an owner that has nothing to say for so long has a
 * timer (conn_set_timer) that says something, or a table of its own.
 *
 * The addresses are tried in turn, each for an equal share of the time that is left when its turn
 * comes; one that fails gives way at once (conn_dial.c says why so). So ms is best more than 1 s
 * for each: a SYN that was lost is sent again after 1 s. The reason is that of the last one that
 * was tried: connect_refused, connect_reset, connect_unreachable, connect_timeout (the network's,
 * or ours), or connect_failed, whose errno is in the log as a warning; others are there at level
 * debug.
 */
int conn_connect(struct service *service, const struct address *addresses, size_t n, uint32_t ms,
		 struct conn **conn);

/* Why it ends, for its protocol's close(). */
static inline enum close_reason conn_reason(const struct conn *conn)
{
	return (enum close_reason)conn->reason;
}

#endif
