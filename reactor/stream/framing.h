/*
 * framing: what stands between bytes and messages, for protocols that speak in messages.
 *
 * Such a protocol takes whole messages (message()) and sends some (conn_send_message()); what cuts
 * them out of the input, and what stands around them on their way out, is its framing. Who has
 * which is static: the same functions may stand in several struct protocols, each with another
 * framing. All other callbacks and verbs are as ever; if a framing has something to say when a
 * connection ends, whoever puts the two together names a function that lets both speak.
 *
 * A message is contiguous: with all that cut() leaves until it is whole it has at most CHUNK_BYTES.
 * A framing refuses a longer one for a reason of its own, by its length if that comes first. (If
 * one is to hand on longer ones in parts, that is a field more of struct message.)
 */
#ifndef REACTOR_STREAM_FRAMING_H
#define REACTOR_STREAM_FRAMING_H

#include "reactor/base/check.h"
#include "reactor/stream/conn.h"

struct message {
	unsigned char *bytes; /* of its input they may be changed in place, as in input() */
	uint32_t n;
	uint32_t kind; /* a number of its framing's, which passes it on; 0: the usual one */
};

struct framed;

/* The values of a framing's settings stand at the end of its service's. */
#define FRAMING_SETTING(i) (PROTOCOL_SETTINGS_MAX - 1 - (i))

struct framing {
	/* What do the n bytes, at least one, begin with? Returns how many are used, with the
	 * message that they are; *message is empty before. If it needs more: 0, and the same come
	 * again with more behind them. If they say nothing to the protocol (the head of a frame, a
	 * ping), *message stays empty; what stands between two parts of a message is taken out by
	 * moving the first part behind it. It may use all verbs. That a message has begun is said
	 * for it; after bytes that are no part of one (a ping) it says that this was all:
	 * conn_message_taken(). NULL: messages are only sent, and input() is the protocol's own. */
	size_t (*cut)(struct conn *conn, unsigned char *bytes, size_t n, struct message *message);
	/* The protocol has taken the message that cut() found last; else cut() is called with the
	 * same bytes again, however it has changed them. NULL: cut() remembers nothing of it. */
	void (*taken)(struct conn *conn);
	/* Says what goes out for a message, piece by piece, and does nothing else: so that one for
	 * many receivers is framed once. There may be any number of pieces, such as a prefix before
	 * each line of it. */
	void (*frame)(struct framed *framed, struct message message);
	/* Its tables and its state of a connection, as in struct protocol. The state lies at the
	 * end of the 24 bytes, which aligns it, and the protocol's at their beginning; both are
	 * zero when the protocol begins, and move along. */
	struct setting *settings;
	struct reason *reasons;
	struct counter *counters;
	uint16_t state_bytes, state_version;
	bool (*state_valid)(const void *state);
};

/* The input() of every protocol that has a framing. */
size_t framing_input(struct conn *conn, unsigned char *bytes, size_t n);

/* ---- the verbs of a protocol that has one ---- */

static inline struct message message_of(const void *bytes, size_t n)
{
	return (struct message){.bytes = (unsigned char *)(uintptr_t)bytes, .n = (uint32_t)n};
}

/* Frames and sends it; its bytes stay where they are until the turn ends, as with conn_send(). */
void conn_send_message(struct conn *conn, struct message message);

/* ---- the verbs of a framing, in cut() ---- */

static inline const struct framing *framing_of(const struct conn *conn)
{
	return conn->service->protocol->framing;
}

static inline void *framing_state(struct conn *conn)
{
	return conn->state + CONN_STATE_BYTES - framing_of(conn)->state_bytes;
}

/* As conn_setting(), conn_fail() and conn_count(), of the framing's tables. */
static inline uint64_t framing_setting(const struct conn *conn, unsigned i)
{
	return conn->service->settings[FRAMING_SETTING(i)];
}

static inline void framing_fail(struct conn *conn, unsigned i)
{
	conn_finish(conn, (enum close_reason)framing_of(conn)->reasons[i].number);
}

static inline void framing_count(struct conn *conn, unsigned i)
{
	STATS_ADD(conn->service->table->stats, added[framing_of(conn)->counters[i].number], 1);
}

/* ---- and in frame() ---- */

/* These bytes come next; they may go at once. */
void framed_add(struct framed *framed, const void *bytes, size_t n);
/* The same of bytes of the message, which stay as long as it does. */
void framed_payload(struct framed *framed, const void *bytes, size_t n);

/* ---- for whoever has a message for many ---- */

/* Writes what conn_send_message() would send, and returns how many bytes that is; to may be NULL:
 * it only counts. In a chunk, they are for any number of conn_share(). */
size_t framing_write(const struct framing *framing, struct message message, void *to);

#endif
