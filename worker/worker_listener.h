/*
 * worker_listener: one listener of a worker, and what its connections share; or its socket of
 * datagrams.
 *
 * It is set up at once, so that nothing can fail later, and lets nobody in before
 * worker_listener_serve(). Its number is the listener's, the same in all generations that serve it.
 * It owns its copies of the sockets; other copies belong to the master and to other workers.
 */
#ifndef WORKER_WORKER_LISTENER_H
#define WORKER_WORKER_LISTENER_H

#include "reactor/stream/conn.h"
#include "reactor/udp/datagram.h"
#include "reactor/loop/listener.h"
#include "worker/migration/migration.h"
#include "worker/worker.h"

#define SERVICES_MAX (PROTOCOL_REACHED_MAX + 1) /* of a listener: the last is for a prefix */

struct worker_listener {
	uint32_t number;
	struct listener stream;		       /* fd -1: none, or the master's */
	struct service services[SERVICES_MAX]; /* the first has the listener's protocol */
	size_t services_n;		       /* 0: it has none, but datagrams */
	struct service *newcomers;	       /* the one that they come to */
	struct datagram_socket datagrams;      /* fd -1: none */
	struct datagram_service datagram_service;
	int datagram_fd; /* before it serves; -1: none */
	bool emptied;
	bool borrowed; /* others have the socket after us, whatever becomes of weir */
};

/* What the listeners of a worker share. Borrowed. */
struct worker_listener_shared {
	const struct worker_setup *setup;
	struct conn_table *table;
	struct delivery *delivery;
	const struct migration *migration;
	struct reflection_guard guard;
	void (*stopped)(void); /* called when one has been emptied, and is closed */
	uint64_t moved_before; /* connections that had moved away when its retiring began */
};

/* The i-th listener of the configuration, whose socket the setup names. Dies if it can't. */
void worker_listener_open(struct worker_listener *listener,
			  const struct worker_listener_shared *shared, size_t i);
void worker_listener_serve(struct worker_listener *listener);
/* There is room again. */
void worker_listener_has_room(struct worker_listener *listener);
/* Nobody reads it after us: takes in clients that wait, answers datagrams that have come, and
 * closes. A borrowed one is only closed. leaves_rest: clients for whom there is no room are left to
 * the master. */
void worker_listener_empty(struct worker_listener *listener, bool leaves_rest);
/* Closes at once: clients that wait are left to others who have the socket, or will have it. */
void worker_listener_close(struct worker_listener *listener);
/* The same for datagrams, once the answers in hand have gone. */
void worker_listener_leave_datagrams(struct worker_listener *listener);
void worker_listener_close_datagrams(struct worker_listener *listener);

static inline bool worker_listener_is_closed(const struct worker_listener *listener)
{
	return listener->stream.source.fd < 0;
}

static inline bool worker_listener_has_datagrams(const struct worker_listener *listener)
{
	return listener->datagrams.source.fd >= 0;
}

#endif
