/*
 * conn_snapshot: a connection on its way to another process.
 *
 * Its owner freezes it here, describes it, sends the description, the bytes that follow it and a
 * copy of the descriptor (SCM_RIGHTS), and keeps the frozen connection until the other process has
 * answered. If that process took it, it departs here; if not, it is thawed. What travels is plain
 * bytes, for the same machine; SNAPSHOT_VERSION goes before them: count it up if they change their
 * meaning.
 *
 * Between conn_freeze() and the answer only the process that adopted it may read, write or shut the
 * socket. A frozen connection is not freed by its turn: it must be thawed, depart, or end with its
 * table.
 */
#ifndef REACTOR_STREAM_CONN_SNAPSHOT_H
#define REACTOR_STREAM_CONN_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "reactor/stream/conn.h"

#define SNAPSHOT_VERSION 2

enum {
	SNAPSHOT_MESSAGE_OPEN = 1,    /* a message has begun */
	SNAPSHOT_OVER_HIGH_WATER = 2, /* it was above high-water, and is not below low-water yet */
	SNAPSHOT_INPUT_PENDING = 4,   /* its input has to be offered again as it is */
	SNAPSHOT_PRODUCING = 8,	      /* it has not sent all that conn_produce() began */
	SNAPSHOT_PEER = 16,	      /* a proxy gave its peer's address, which follows too */
	SNAPSHOT_TIMER = 32,	      /* its timer is set: the state has how long it takes */
	SNAPSHOT_CARRIES = 64,	      /* its protocol takes bytes along, which follow too */
};

struct conn_snapshot {
	uint32_t service;	    /* set by whoever moves it; 0 here */
	uint32_t input, owed, held; /* bytes that follow, in this order */
	uint32_t idle_ms;	    /* since a byte moved, either way */
	uint32_t progress_age_ms,
	    message_age_ms; /* since owed bytes moved; since the message began */
	uint16_t flags;
	uint8_t phase, reason;
	unsigned char state[CONN_STATE_BYTES];
};

_Static_assert(sizeof(struct conn_snapshot) == 56, "no padding travels");

#define SNAPSHOT_PEER_BYTES 20 /* behind the others, and before what the protocol carries */

/* How many of the bytes that follow a description take buffers, how many its protocol carries, and
 * how many follow in all: what another process says, so at most 4 * UINT32_MAX. */
static inline uint64_t snapshot_buffer_bytes(const struct conn_snapshot *snapshot)
{
	return (uint64_t)snapshot->input + snapshot->owed + snapshot->held;
}

static inline uint32_t snapshot_carried_bytes(const struct conn_snapshot *snapshot,
					      const struct protocol *protocol)
{
	uint32_t n = 0;

	if (snapshot->flags & SNAPSHOT_CARRIES && protocol->carry)
		memcpy(&n, snapshot->state + protocol->carries_at, sizeof n);
	return n;
}

static inline uint64_t snapshot_bytes(const struct conn_snapshot *snapshot,
				      const struct protocol *protocol)
{
	return snapshot_buffer_bytes(snapshot) +
	       (snapshot->flags & SNAPSHOT_PEER ? SNAPSHOT_PEER_BYTES : 0) +
	       snapshot_carried_bytes(snapshot, protocol);
}

/* ---- where it is ---- */

/* Not to be called in its own turn. From now on no turn reads, writes or ends it, whatever becomes
 * ready or due. What others do to it, conn_share(), conn_abort(), conn_resume_input(), a drain,
 * takes effect when it thaws. False: it has ended, is frozen already, or is one that we opened
 * (conn_connect.h), which nobody there would know what to do with. */
bool conn_freeze(struct conn *conn);
bool conn_can_freeze(const struct conn *conn);
/* It goes on here, as if nothing had happened. */
void conn_thaw(struct conn *conn);

/* How many bytes follow its description now, and how many of them take buffers. */
size_t conn_snapshot_bytes(const struct conn *conn);
size_t conn_buffer_bytes(const struct conn *conn);
/* Describes a frozen one as it is now; bytes may be NULL if none follow, here and below. What
 * conn_share() gives it later stays here. One that was aborted since it froze is described as DEAD,
 * and conn_adopt() refuses it. */
void conn_describe(const struct conn *conn, struct conn_snapshot *snapshot, unsigned char *bytes);

/* It belongs to another process from now on: what is left of it here is freed, and the peer notices
 * nothing. Not to be touched after that. */
void conn_depart(struct conn *conn);

/* ---- where it goes ---- */

/* How many chunks one with so many bytes in buffers takes at most. */
size_t conn_snapshot_chunks(size_t bytes);
/* Is there room for one more, and for that many bytes in buffers? The limits of newcomers, and
 * promises, do not count, because it was admitted where it comes from. Changes nothing. */
bool conn_can_adopt(const struct service *service, size_t bytes);
/* Takes over fd; the connection has its first turn in the next pass. False: there is no room, the
 * kernel does not watch one more, or the description is not valid; then nothing was done, and fd is
 * still the caller's. If conn_can_adopt() is true, and this version described it, it was the kernel
 * that refused. */
bool conn_adopt(struct service *service, int fd, const struct conn_snapshot *snapshot,
		const unsigned char *bytes);

#endif
