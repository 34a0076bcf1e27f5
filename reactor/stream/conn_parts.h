/*
 * conn_parts: what the files of the connection's room share, and nobody else may use.
 *
 *     conn_peer.c      who its peer is
 *     conn_end.c       how one ends: its phase and its reason
 *     conn_buffers.c   how they share the buffers of a process
 *     outbox.c         the write of a turn
 *     conn_clock.c     deadlines
 *     conn_dial.c      one that is not up yet
 *     conn.c           the turn: input, output, the last phases
 *     conn_table.c     all connections of a process
 *     conn_connect.c   one that we open
 *     conn_snapshot.c  one on its way to another process
 *     framing.c        messages, for protocols that speak in them
 *
 * A file calls only those above it in this list.
 */
#ifndef REACTOR_STREAM_CONN_PARTS_H
#define REACTOR_STREAM_CONN_PARTS_H

#include "reactor/stream/conn.h"

/*
 * The phases of a connection. DEAD and DEPARTED end with its next turn.
 *
 *                input                owed bytes        ends with
 *   CONNECTING   its addresses        none              OPEN, or DEAD: all addresses have failed
 *      OPEN      offered, or paused   are sent          conn_finish(), conn_abort(), an error
 *      CLOSING   left unread          are sent          all of them sent; a deadline, an error
 *      LINGER    thrown away          the kernel's      the peer's end, or after LINGER_MS
 *      DEAD      left unread          dropped           its turn, which closes and frees it
 *      DEPARTED  another process'     another process'  its turn, which frees what is left here
 *
 * One that is frozen is OPEN, CLOSING or LINGER, or was until it was aborted. It has no turn, since
 * another process may have it by now; it thaws to the phase that it has, or departs.
 */
enum conn_phase {
	OPEN,
	CLOSING,
	LINGER,
	DEAD, /* those before it have a peer, and may travel: their numbers do */
	DEPARTED,
	CONNECTING
};

#define CHUNKS_FOR_A_READ 3 /* for input, for output, and a small one that is replaced */

#define LINGER_MS      2000 /* for a peer that goes on sending after our FIN */
#define LINGER_LOOK_MS 100  /* how often the kernel is asked what it still holds */

/* What a lingering connection remembers, in the state that its protocol no longer uses. */
struct lingering {
	uint32_t began_ms;
	int unsent; /* bytes that the kernel held when it was last asked */
};

_Static_assert(sizeof(struct lingering) <= CONN_STATE_BYTES, "lingering fits the state");

static inline bool conn_ready(const struct conn *conn, uint8_t bits)
{
	return conn->source.ready & bits;
}

/* From now on, or no longer, it does not read because of this. */
static inline void conn_pause(struct conn *conn, enum conn_paused why, bool on)
{
	unsigned paused = on ? conn->paused | (unsigned)why : conn->paused & ~(unsigned)why;

	conn->paused = paused & 15u;
}

static inline bool conn_is_producing(const struct conn *conn)
{
	return conn->paused & PAUSED_PRODUCING;
}

/* Does its protocol take input now? */
static inline bool conn_listens(const struct conn *conn)
{
	return !(conn->paused & (PAUSED_INPUT | PAUSED_PRODUCING));
}

/* Does it hold buffers? */
static inline bool conn_holds_buffers(const struct conn *conn)
{
	return conn->input || queue_bytes(&conn->queue);
}

/* Is its protocol asked for more as soon as nothing is owed? */
static inline bool conn_has_output(const struct conn *conn)
{
	return conn_is_producing(conn) || conn->feeding ||
	       (conn->service->protocol->writable && !conn->draining);
}

static inline void conn_drop_input(struct conn *conn, struct conn_table *table)
{
	if (conn->input)
		chunk_release(&table->buffers, conn->input);
	conn->input = NULL;
	conn->input_pending = false;
}

/* conn_peer.c */
/* An IP address and port, as plain bytes, which travel. */
struct packed_peer {
	unsigned char address[16]; /* IPv4 as ::ffff:a.b.c.d */
	uint16_t port;
	uint16_t is_ip4; /* it was given as such */
};
struct conn_peer {
	struct packed_peer at;
	uint32_t per_ip_handle; /* 0: not counted there */
};
/* What another process says that a proxy gave: a packed_peer, however it is aligned. */
void conn_restore_peer(struct conn *conn, const unsigned char *bytes);
/* What a proxy gave; NULL: nothing. */
const struct packed_peer *conn_packed_peer(const struct conn *conn);
/* Counts one that was let in elsewhere, also over the limit. */
void conn_recount_peer(struct conn *conn);
/* It ends: it is not counted any more. */
void conn_forget_peer(struct conn *conn);

/* conn_end.c */
/* The first reason stands, unless the connection was still CLOSING: one that is reset, or stalls,
 * while its last owed bytes go out ends for that. */
void conn_die(struct conn *conn, enum close_reason reason);
void conn_die_of(struct conn *conn, ssize_t error); /* -errno */
/* Enters one of the last phases; tells the protocol if it was OPEN. */
void conn_leave_open(struct conn *conn, enum conn_phase phase);

/* conn.c */
void conn_turn(struct loop *loop, struct source *source);
uint8_t conn_want(const struct conn *conn);
void conn_destroy(struct conn *conn); /* counts why */
/* Its two halves: frees all that it holds; frees its memory, when it is no longer queued. */
void conn_release(struct conn *conn);
void conn_free(struct conn *conn);
/* Serves what has come by now, and nothing that comes later. */
void conn_drain(struct conn *conn);

/* outbox.c */
void outbox_clear(struct outbox *outbox);
/* Sends what it can of queue and outbox, and queues the rest; the outbox is empty afterwards. */
void conn_flush(struct conn *conn, struct conn_table *table);

/* conn_clock.c */
/* When its timer is due, on the loop's clock. */
static inline uint32_t *conn_timer_ms(struct conn *conn)
{
	return (uint32_t *)(void *)(conn->state + conn->service->protocol->timer_at);
}
void conn_look_at_clock(struct conn *conn, struct conn_table *table);
void conn_arm(struct conn *conn, struct conn_table *table);

/* conn_dial.c */
/* Its addresses are its input; it must be up at due_ms. */
void conn_dial_init(struct conn *conn, uint32_t due_ms);
/* The turn of one that is CONNECTING. False: it still is, and all is done that its turn does. */
bool conn_dial(struct conn *conn, struct conn_table *table);

/* conn_buffers.c */
void starvation_init(struct starvation *starvation);
static inline bool awaits_buffers(const struct conn *conn)
{
	return conn->paused & PAUSED_BUFFERS;
}
void awaits_buffers_set(struct conn *conn, struct conn_table *table, bool awaits);
/* After a turn: if it has freed enough for one that waits, a sweep begins. */
void starvation_look(struct conn_table *table);
/* May it read, or send, a chunk more? If not, it awaits buffers from now on. */
bool conn_has_buffers(struct conn *conn, struct conn_table *table);
/* How much it may then read at once: a chunk, or less if buffers are scarce; or a whole turn's
 * bytes if its protocol uses all, buffers abound, and high-water and a chunk allow it. */
size_t conn_room(const struct conn *conn, const struct conn_table *table);

#endif
