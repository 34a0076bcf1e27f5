/*
 * entrance: a listener of a worker, and what its connections share; or its socket of datagrams.
 *
 * It is set up at once, so that nothing can fail later, and lets nobody in before
 * entrance_serve(). Its number is the listener's, the same in all generations that serve it.
 * It owns its copies of the sockets; the others are the master's and other workers'.
 */
#ifndef WORKER_WORKER_LISTENER_H
#define WORKER_WORKER_LISTENER_H

#include "reactor/stream/conn.h"
#include "reactor/udp/datagram.h"
#include "reactor/loop/listener.h"
#include "reactor/pubsub/topic.h"
#include "worker/migration/migration.h"
#include "worker/worker.h"

struct entrance {
	uint32_t number;
	struct listener listener; /* fd -1: none, or the master's */
	struct service service;
	struct topic topic; /* of its LISTENER, if this is the first of its addresses */
	struct datagram_socket datagrams; /* fd -1: none */
	struct datagram_service datagram_service;
	int datagram_fd; /* before it serves; -1: none */
	bool emptied;
	bool borrowed; /* others have the socket after us, whatever becomes of weir */
};

/* What the entrances of a worker share. Borrowed. */
struct entrance_hall {
	const struct worker_setup *setup;
	struct conn_table *table;
	struct relay *relay;
	const struct mover *mover;
	struct guard guard;
	void (*stopped)(void); /* one has been emptied, and is closed */
	uint64_t moved_before; /* connections that had moved away when its retiring began */
};

/* The i-th listener of the configuration, whose socket the setup names. Dies where it can't. */
void entrance_open(struct entrance *entrance, const struct entrance_hall *hall, size_t i);
void entrance_serve(struct entrance *entrance);
/* There is room again. */
void entrance_has_room(struct entrance *entrance);
/* Nobody reads it after us: takes in who waits, answers what has come, and closes. One that is
 * borrowed it closes only. leaves_rest: whoever there is no room for is the master's to take. */
void entrance_empty(struct entrance *entrance, bool leaves_rest);
/* At once: who waits is for others who have it, or will. */
void entrance_close(struct entrance *entrance);
/* The same of datagrams, once the answers in hand have gone. */
void entrance_leave_datagrams(struct entrance *entrance);
void entrance_close_datagrams(struct entrance *entrance);

static inline bool entrance_is_closed(const struct entrance *entrance)
{
	return entrance->listener.source.fd < 0;
}

static inline bool entrance_has_datagrams(const struct entrance *entrance)
{
	return entrance->datagrams.source.fd >= 0;
}

#endif
