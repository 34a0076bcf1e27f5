/*
 * datagram: a socket that takes datagrams, and answers each with at most one.
 *
 *     SERVING -> STOPPING (answers what has come) -> gone
 *             -> LEAVING (answers what it has in hand) -> gone
 *
 * A turn takes batches off the socket's queue, offers each datagram to the protocol, and sends
 * the answers; if the send queue is full it takes no more until they have gone. What comes
 * meanwhile waits in the kernel's queue, which drops what it cannot hold: that is counted, and
 * nothing else is ever lost. There is no state between two datagrams. Several processes may have
 * the same socket; it lives as long as whoever made it (the master), a worker's copy as long as
 * that worker.
 *
 * Not answered, but counted: what the reflection guard refuses; what was sent to a broadcast or
 * multicast address; what is over the rate of its address; what did not fit. No answer is longer
 * than the datagram that it answers.
 */
#ifndef REACTOR_UDP_DATAGRAM_H
#define REACTOR_UDP_DATAGRAM_H

#include "reactor/udp/udp_tx.h"
#include "reactor/stream/conn.h"
#include "reactor/udp/reflection_guard.h"
#include "reactor/udp/limiter.h"
#include "reactor/loop/loop.h"
#include "reactor/udp/udp_rx.h"

#define DATAGRAM_TURN_BATCHES 4
#define DATAGRAM_TURN_BYTES   (256 * 1024)
#define DATAGRAM_TURN_MAX     1024 /* datagrams: a batch may be one of trains */
/* Answers wait in the send queue for up to 3 s for a neighbour that may not be there (arp(7)). If
 * the queue were as short as the kernel makes it, some 300 datagrams from forged addresses of our
 * own network would hold up all others. */
#define DATAGRAM_SEND_BYTES (4 * 1024 * 1024)
#define DATAGRAM_RETRY_MS   10 /* until what failed is tried again */
/* On an inherited socket trains are asked for only after this long: a process that still reads it
 * without expecting trains would take one for a datagram. */
#define DATAGRAM_ALONE_MS 1000

/* As a protocol sees it: what came in, and then the answer. */
struct datagram {
	unsigned char *bytes; /* the answer may be made in place, or lie elsewhere, unchanged */
	size_t n;
};

/* What the sockets of one listener have in common, in all processes. Borrowed. */
struct datagram_service {
	const struct protocol *protocol;
	const struct reflection_guard *guard;
	struct limiter *limiter; /* NULL: no limit */
	uint32_t *dropped;	 /* how many of this socket's drops were counted so far; shared */
	bool shared;		 /* other processes wait on the same socket */
	bool inherited;		 /* a process that had it before may still read it for a moment */
};

struct datagram_socket {
	struct source source; /* fd -1: it has gone */
	const struct datagram_service *service;
	struct stats *stats;
	struct udp_rx rx;
	struct udp_tx tx;
	uint8_t phase;
	uint32_t opened_ms;
	unsigned errors;  /* of receiving, in a row */
	uint32_t watched; /* the events it is registered for; 0: none */
	void (*gone)(struct datagram_socket *socket);
};

/* Takes over fd; gone() is called once STOPPING or LEAVING has ended. 0 or -errno. */
int datagram_open(struct datagram_socket *socket, struct loop *loop, int fd,
		  const struct datagram_service *service,
		  void (*gone)(struct datagram_socket *socket));
/* Answers what has come, and takes nothing that comes later, for all processes that have the
 * socket. */
void datagram_stop(struct loop *loop, struct datagram_socket *socket);
/* Leaves what has come to the processes that have the socket, now or later. */
void datagram_leave(struct loop *loop, struct datagram_socket *socket);
/* At once, whatever is in hand. It may still get a turn in this pass, in which it does nothing, so
 * its memory must stay, and not be opened again, until the pass is over. */
void datagram_close(struct loop *loop, struct datagram_socket *socket);

struct datagram_options {
	bool reuseport;		   /* one socket of several on this address */
	uint64_t queue_bytes;	   /* of received datagrams; 0: what the kernel gives */
	uint64_t send_queue_bytes; /* of answers; 0: DATAGRAM_SEND_BYTES */
};

/* Makes a bound non-blocking socket; port 0 becomes the one that the kernel chose. If it is bound
 * to every address, the kernel will say which one was asked. fd or -errno; *step says which call
 * failed. */
int datagram_bind(struct address *address, const struct datagram_options *options,
		  const char **step);
/* Sets the options of a socket that others bound, as datagram_bind() does, whatever they were
 * before; except those that count only before bind(2). 0 or -errno. */
int datagram_adopt(int fd, const struct address *address, const struct datagram_options *options,
		   const char **step);

#endif
