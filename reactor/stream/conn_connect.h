/*
 * conn_connect: a connection that we open.
 *
 * It is one of the table's, like those that were accepted: it has a place, a descriptor and a turn,
 * and once it is up, its protocol's open() is called and nothing differs any more. Until then it is
 * CONNECTING. What becomes of one that conn_connect() returned, its protocol hears once:
 *
 *     open()         it is up; later close() is called, as always
 *     unconnected()  it never came to be, and why: the callbacks end with that
 *
 * Both are called in its turn, never in conn_connect(); unconnected() also wherever it is ended: in
 * conn_abort(), and when its table drains or closes. Whether to try again, when, and with which
 * addresses, is its owner's to say, who keeps a timer and lets the pauses grow; not in these
 * callbacks, because the place is free only after them. Names are looked up by
 * reactor/loop/resolver.h.
 *
 * Its owner has a service of its own, without a listener:
 *
 *     owner->service = (struct service){.protocol = &speaks, .table = table,
 *                                       .listener = SERVICE_NO_LISTENER};
 *     error = conn_connect(&owner->service, addresses, n, 3000, &owner->conn);
 *
 * and finds itself in callbacks by conn->service (CONTAINER_OF). owner->conn may be used until
 * close() or unconnected(). Such a connection never moves to another process, where it would have
 * no owner: conn_freeze() refuses it, and it ends with its worker, or drains with its table.
 *
 * Limits: it counts against connections_max, but not against those of an address. Idle-timeout and
 * the others are those of the table: an owner that has nothing to say for that long has a timer
 * that says something (conn_set_timer), or a table of its own.
 *
 *
 * Addresses are tried in turn, in the order given, one at a time. Each has an equal share of the
 * time that is left when its turn comes: with three addresses and 3 s, a silent first one costs 1
 * s, and if the second refuses at once, the third has the rest, 2 s. One that fails gives way at
 * once, whatever the error is. RFC 8305 would begin the next after 250 ms and keep both; that
 * halves the wait of somebody who looks at a page, but our connections are few and long, the
 * addresses are of one service more often than of two families, and each would need two places and
 * two descriptors, and show servers connections that nobody uses. A SYN that is lost is sent again
 * after 1 s: a deadline of less than 1 s, or somewhat more, for each address takes a lost packet
 * for a dead peer.
 *
 * Why it failed is what the last address that was tried says, because that one had all the time
 * that was left: connect_refused, connect_reset, connect_unreachable, connect_timeout (the
 * network's, or ours), or connect_failed, whose errno is in the log. Each failed address is logged
 * (debug). A peer that resets before we have seen that it is up counts as one that refuses: a proxy
 * whose server is down does that. So does a connection to itself, which Linux makes if nobody
 * listens at a local port that was chosen as our own (see check_connect).
 */
#ifndef REACTOR_STREAM_CONN_CONNECT_H
#define REACTOR_STREAM_CONN_CONNECT_H

#include "reactor/stream/conn.h"

#define CONN_ADDRESSES_MAX 8

/*
 * Begins a connection to one of n addresses, 1 to CONN_ADDRESSES_MAX, of IP or unix sockets, which
 * are copied; it must be up within ms, which is more than 0 and less than WHEEL_MS_MAX. 0, and
 * *conn; or -errno, and no callback is called: -EAGAIN: there is no place (on_room() of the table
 * says when there is), -ENOBUFS: no buffers, -ESHUTDOWN: the table drains or closes.
 */
int conn_connect(struct service *service, const struct address *addresses, size_t n, uint32_t ms,
		 struct conn **conn);

/* Why it ends, for its protocol's close(). */
static inline enum close_reason conn_reason(const struct conn *conn)
{
	return (enum close_reason)conn->reason;
}

#endif
