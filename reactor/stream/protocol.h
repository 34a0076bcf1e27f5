/*
 * protocol: what the bytes of a connection mean, as a constant table of callbacks.
 *
 * It never sees a descriptor, EAGAIN, a partial read or write, or the clock. What it may do in its
 * callbacks are the verbs of conn.h. Callbacks may be NULL. What it keeps of a connection is plain
 * bytes, without pointers.
 */
#ifndef REACTOR_STREAM_PROTOCOL_H
#define REACTOR_STREAM_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reactor/base/stats.h"

#define CONN_STATE_BYTES 24

struct conn;
struct datagram;

struct protocol {
	const char *name;
	/* The connection is there; conn_state() is 24 zero bytes. */
	void (*open)(struct conn *conn);
	/* A connection that conn_connect() began never came up, because of this: called once,
	 * instead of open(), also from outside a turn. There is no state. */
	void (*unconnected)(struct conn *conn, enum close_reason why);
	/* There are n bytes: those that it left the last time, and what has come since. Returns
	 * how many it used; the rest, at most a chunk, is offered again with more behind it. The
	 * bytes may be changed in place, and stay where they are until the turn ends. NULL: all
	 * input is thrown away. */
	size_t (*input)(struct conn *conn, unsigned char *bytes, size_t n);
	/* Nothing is owed and there is space to write: it may send more. If it sends nothing, it
	 * is asked again in the next turn that something else causes. */
	void (*writable)(struct conn *conn);
	/* Nothing is owed and there is space to write: it sends more of what conn_produce() began,
	 * also in a drain. If it sends nothing, it is asked again in the next turn, which
	 * conn_wake() causes; if its peer hangs up before that, the connection ends. */
	void (*produce)(struct conn *conn);
	/* The connection ends now, by request-timeout or idle-timeout: it may send a last word. */
	void (*timeout)(struct conn *conn);
	/* The peer has ended its side, perhaps in the middle of a message, of which
	 * conn_offered_before() bytes are kept: it may send a last word. */
	void (*ended)(struct conn *conn);
	/* The time of conn_set_timer() has passed. timer_at: where in the state a uint32_t is kept
	 * for that, a multiple of 4. */
	void (*timer)(struct conn *conn);
	uint16_t timer_at;
	/* From now on there is no more input, and nothing can be sent. Called once after open(),
	 * also from outside a turn; the state is there for the last time. */
	void (*close)(struct conn *conn);
	/* input() always uses all of what it is offered, so that more may be read at a time. */
	bool uses_all;
	/* Its messages are answered: a drain waits for the end of one that has begun, and a peer
	 * that is refused in the middle of one is given time to read why. */
	bool answers;
	/* Those that conn_switch() may turn it into; NULL ends the list. */
	const struct protocol *const *turns_into;
	/* It stands before another protocol, which begins at conn_end_prefix(); until then the
	 * connection does not count as one of its peer's address. */
	bool is_prefix;
	/* The connections of a listener, on all workers, are members of one topic. */
	bool has_topic;
	/* Which limit of the service is its conn_message_max()? */
	enum {
		MESSAGE_MAX_NONE,
		MESSAGE_MAX_LINE,
		MESSAGE_MAX_FRAME,
		MESSAGE_MAX_BODY
	} message_max;
	uint32_t message_cap; /* no more than that, whatever the limit says; 0: no cap */
	/* How its state travels to another process, which may be another version of weir: if these
	 * differ there, the connection stays here. Count the version up if the bytes change their
	 * meaning. */
	uint16_t state_bytes, state_version;
	/* Instead of open(), if the connection comes from another process, with its state. It must
	 * not send: what is owed comes along. */
	void (*restore)(struct conn *conn);
	/* Can state, from another process, be that of a connection? If not, it is not taken, so
	 * that a process that was taken over cannot steer the next one. NULL: any can. */
	bool (*state_valid)(const void *state, bool producing);
	/* Turns a datagram into its answer, which has no more bytes; false: there is no answer.
	 * NULL: it does not serve datagrams. See reactor/udp/datagram.h. */
	bool (*datagram)(struct datagram *datagram);
};

#endif
