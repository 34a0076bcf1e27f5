/*
 * udp_rx: datagrams as they come in: a batch of them with one call, handed out one by one.
 *
 * The kernel may deliver many datagrams of one sender and one length as one, a train (UDP_GRO in
 * udp(7)); here each is a datagram again. The bytes of a batch, and its senders, stay where they
 * are until the next udp_rx_receive(). Memory for the longest batch is reserved when it is opened,
 * and used only as far as datagrams are long.
 */
#ifndef REACTOR_UDP_UDP_RX_H
#define REACTOR_UDP_UDP_RX_H

#include "reactor/udp/udp_peer.h"

#define UDP_RX_BATCH 32
#define UDP_RX_BYTES 65536 /* more than UDP can carry */

struct udp_incoming {
	unsigned char *bytes;
	size_t n;
	const struct udp_peer *from;
	bool truncated; /* there was more of it */
};

/* As long as no more than one has been seen to wait, one is received at a time, with the cheapest
 * call; every so many times a batch is tried, to see whether more wait now. */
#define UDP_RX_LOOK 16

struct udp_rx_batch;

struct udp_rx {
	struct udp_rx_batch *batch;
	unsigned n, at;	    /* how many the batch has; the next one */
	size_t offset;	    /* in it, if it is a train */
	uint32_t dropped;   /* how many the socket's queue has dropped so far, if that is known */
	size_t batch_bytes; /* all that came with the batch */
	bool many;	    /* more than one have been seen to wait */
	bool single;	    /* no control data comes: recvfrom() may take one alone */
	unsigned looks;
};

/* Of a bound socket. 0 or -ENOMEM. */
int udp_rx_open(struct udp_rx *rx, int fd);
void udp_rx_close(struct udp_rx *rx);

/* Takes a batch; none of the last one may be left. Returns how many messages of the kernel that
 * was, at least 1, or -errno. If it is UDP_RX_BATCH, more are likely to wait. */
int udp_rx_receive(struct udp_rx *rx, int fd);
static inline bool udp_rx_empty(const struct udp_rx *rx)
{
	return rx->at == rx->n;
}

/* The next one, which stays the next one until udp_rx_done(). False: none is left. */
bool udp_rx_next(const struct udp_rx *rx, struct udp_incoming *incoming);
void udp_rx_done(struct udp_rx *rx, const struct udp_incoming *incoming);

/* From now on takes batches only; asks the kernel for trains. */
void udp_rx_expect_many(struct udp_rx *rx, int fd);
/* Asks the kernel how many have been dropped by now. */
void udp_rx_count_drops(struct udp_rx *rx, int fd);

#endif
