/*
 * udp_tx: answers on their way out of one socket, with few calls.
 *
 * Answers to one peer that follow one another and have the same length leave as a train: one
 * message, which the kernel (or the network card) cuts (UDP_SEGMENT in udp(7)). A train that the
 * kernel refuses, perhaps because the route takes only shorter packets, leaves as single datagrams.
 * What the kernel has no room for stays here, in order, until it has; what it refuses is given up
 * and counted. The bytes are not copied: they must stay where they are until all have gone.
 */
#ifndef REACTOR_UDP_UDP_TX_H
#define REACTOR_UDP_UDP_TX_H

#include "reactor/udp/udp_peer.h"
#include "reactor/base/stats.h"

#define UDP_TX_MESSAGES 64  /* trains, or datagrams, at a time */
#define UDP_TX_SPANS	512 /* pieces of memory that they are in */
#define UDP_TX_SEGMENTS 64  /* of a train (UDP_MAX_SEGMENTS of the older kernels) */
/* Longer ones leave alone: this fits into Ethernet's 1,500 bytes behind headers of IPv6 and UDP. */
#define UDP_TX_SEGMENT_BYTES 1452
#define UDP_TX_TRAIN_BYTES   65507

struct udp_tx_message;

struct udp_tx {
	struct udp_tx_batch *batch;
	unsigned n, sent; /* messages: in all, and those of them that have gone */
	unsigned spans_n;
	bool again;	 /* the first of those left was refused once; the error may have been that
			  * of an earlier one, which the network reports late */
	bool full;	 /* it found no room, and waits for the event that says there is */
	bool cut;	 /* the first of those left is a train that leaves as single datagrams */
	unsigned span;	 /* of it, the piece that is next, */
	size_t offset;	 /* and how far in that */
	unsigned delays; /* how often it was put off because memory was short */
};

/* 0 or -ENOMEM. */
int udp_tx_open(struct udp_tx *tx);
void udp_tx_close(struct udp_tx *tx);

static inline bool udp_tx_empty(const struct udp_tx *tx)
{
	return tx->sent == tx->n;
}

/* There may be no room for one more: send first. */
static inline bool udp_tx_full(const struct udp_tx *tx)
{
	return tx->n == UDP_TX_MESSAGES || tx->spans_n == UDP_TX_SPANS;
}

/* Adds a datagram of n bytes. None of those before it may have been sent yet. */
void udp_tx_add(struct udp_tx *tx, const struct udp_peer *from, unsigned char *bytes, size_t n);

/* 0: all have gone, or were given up. -EAGAIN: the rest waits for room in the socket's send
 * queue. -ENOBUFS: it waits for memory; try later. After many such delays one is given up. */
int udp_tx_send(struct udp_tx *tx, int fd, struct stats *stats);

#endif
