/*
 * listener: takes connections from a listening socket and hands them to its owner.
 *
 * Level-triggered, unlike connections: one accept4 for a lone connection and no second one
 * to learn that the queue is empty. If the socket is ready again in the next pass, that pass
 * accepts twice as many, up to LISTENER_BATCH_MAX (LISTENER_SHARED_BATCH_MAX if it is shared).
 * A listener that must leave connections waiting (a limit, no descriptors) is taken out of epoll,
 * so that nothing spins and other workers that share the socket are woken instead; it comes back
 * when its owner says that there is room, or after LISTENER_RETRY_MS.
 * The socket itself belongs to the master's slot; a listener closes only its own copy.
 */
#ifndef REACTOR_LOOP_LISTENER_H
#define REACTOR_LOOP_LISTENER_H

#include "reactor/base/address.h"
#include "reactor/base/list.h"
#include "reactor/loop/loop.h"

#define LISTENER_BATCH_MAX	  64
#define LISTENER_SHARED_BATCH_MAX 4
#define LISTENER_RETRY_MS	  50

struct listener;

struct listener_owner {
	/* Is there room for one more? */
	bool (*room)(struct listener *listener);
	/* fd is the owner's now. peer is NULL unless wants_peer. */
	void (*accepted)(struct listener *listener, int fd, const struct sockaddr *peer);
	/* Some were accepted, and the turn ends. May be NULL. */
	void (*batch_done)(struct listener *listener);
	/* After listener_stop(): it is closed. May be NULL. */
	void (*stopped)(struct listener *listener);
	/* There is no room, but perhaps only for the moment: do peers wait a while, instead of
	 * being turned away? NULL: no. */
	bool (*undecided)(struct listener *listener);
};

struct listener {
	struct source source;
	const struct listener_owner *owner;
	struct stats *stats;
	uint64_t poll_number, took_us; /* of the last turn; UINT64_MAX: its batch was not full */
	int spare;		       /* a descriptor kept for turning peers away; -1: none */
	uint16_t batch, since_renewal;
	bool shared; /* with other processes' epoll: EPOLLEXCLUSIVE */
	bool reject; /* if there is no room: accept and close, instead of letting them wait */
	bool wants_peer;
	bool local; /* a unix socket */
	bool watched;
	bool stopping, leaves_rest;
};

/* fd: a listening, non-blocking socket. */
void listener_init(struct listener *listener, int fd, const struct listener_owner *owner,
		   struct stats *stats);
/* After listener_close(): gives it another socket. It may still be queued for a turn. */
void listener_reopen(struct listener *listener, int fd);
/* Begins, or goes on after a pause. 0 or -errno: it is tried again after LISTENER_RETRY_MS. */
int listener_resume(struct loop *loop, struct listener *listener);
/* There is room again: goes on if it was paused. */
void listener_has_room(struct loop *loop, struct listener *listener);
/* Accepts whoever waits, as far as there is room, and then closes. leaves_rest: closes as soon as
 * there is no room, because others have the socket. */
void listener_stop(struct loop *loop, struct listener *listener, bool leaves_rest);
/* At once: whoever waits is left to the processes that have a copy of the socket. */
void listener_close(struct loop *loop, struct listener *listener);

/* ---- sockets ---- */

struct listen_options {
	int backlog;
	bool reuseport;
};

/* A listening socket on address, whose port 0 becomes the one that the kernel chose.
 * fd or -errno; *step says which call failed. */
int listen_on(struct address *address, const struct listen_options *options, const char **step);
/* Prepares a socket that others bound, or that listens already, as listen_on() does. Connections
 * that wait in its queue stay there. 0 or -errno. */
int listen_adopt(int fd, const struct address *address, int backlog, const char **step);
/* New connections, or datagrams, go only to the first n of the sockets that share fd's address
 * (SO_REUSEPORT), in the order in which these began to listen, or were bound; n 0: to all. */
int listen_steer(int fd, unsigned n);

#endif
