/*
 * answers: datagrams on their way out of one socket, with few calls.
 *
 * Those to one asker that follow one another and are alike in length leave as a train: one
 * message, which the kernel (or the network card) cuts (UDP_SEGMENT in udp(7)). A train that it
 * refuses, say because a route takes shorter packets only, leaves as single datagrams. What the
 * kernel has no room for stays here, in order, until it has; what it refuses is given up, and
 * counted. The bytes are not copied: they must stay where they are until all have gone.
 */
#ifndef REACTOR_UDP_UDP_TX_H
#define REACTOR_UDP_UDP_TX_H

#include "reactor/udp/udp_peer.h"
#include "reactor/base/stats.h"

#define ANSWERS_MESSAGES 64  /* trains, or datagrams, at a time */
#define ANSWERS_SPANS	 512 /* pieces of memory that they are in */
#define ANSWERS_SEGMENTS 64  /* of a train (UDP_MAX_SEGMENTS of the older kernels) */
/* Longer ones leave alone: what fits into Ethernet's 1,500 bytes with a header of IPv6. */
#define ANSWERS_SEGMENT_BYTES 1452
#define ANSWERS_TRAIN_BYTES   65507

struct answers_message;

struct answers {
	struct answers_batch *batch;
	unsigned n, sent; /* messages: in all, and those of them that have gone */
	unsigned spans_n;
	bool again;	 /* the first of those left was refused once: it may have been an error of
			  * another one, which the network reports late */
	bool full;	 /* it found no room, and waits for an event that there is */
	bool cut;	 /* the first of those left is a train that leaves as single datagrams */
	unsigned span;	 /* of it, the piece that is next, */
	size_t offset;	 /* and how far in that */
	unsigned delays; /* that it has had for want of memory */
};

/* 0 or -ENOMEM. */
int answers_open(struct answers *answers);
void answers_close(struct answers *answers);

static inline bool answers_empty(const struct answers *answers)
{
	return answers->sent == answers->n;
}

/* There may be no room for one more: send first. */
static inline bool answers_full(const struct answers *answers)
{
	return answers->n == ANSWERS_MESSAGES || answers->spans_n == ANSWERS_SPANS;
}

/* One more datagram of n bytes, where none of those before has gone yet. */
void answers_add(struct answers *answers, const struct asker *asker, unsigned char *bytes,
		 size_t n);

/* 0: all have gone, or were given up. -EAGAIN: the rest waits for room in the socket's send
 * queue. -ENOBUFS: it waits for memory, try later; after many times one is given up. */
int answers_send(struct answers *answers, int fd, struct stats *stats);

#endif
