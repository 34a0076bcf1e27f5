/*
 * faulty_peers: the connections of a server that does wrong on purpose.
 *
 * Such a server is a process of its own, on a free port of loopback, one thread with poll(2); it
 * ends with the test's process. This is the first member of its state. A client that finds no free
 * place is closed.
 */
#ifndef TESTS_SUPPORT_SERVERS_FAULTY_PEERS_H
#define TESTS_SUPPORT_SERVERS_FAULTY_PEERS_H

#include <poll.h>
#include <stddef.h>
#include <sys/types.h>

#define FAULTY_PEERS_MAX 256

struct faulty_peers {
	struct pollfd fds[FAULTY_PEERS_MAX]; /* the first is the listener; fd -1: a free place */
	nfds_t n;
};

/* Like fork(2); in the child all is ready for faulty_peers_run(). */
pid_t faulty_peers_fork(struct faulty_peers *peers, unsigned *port);
/* came: called when a client has got place i; may be NULL. turn: called when something has happened
 * at place i: see revents. */
_Noreturn void faulty_peers_run(struct faulty_peers *peers,
				void (*came)(struct faulty_peers *peers, nfds_t i),
				void (*turn)(struct faulty_peers *peers, nfds_t i));
void faulty_peers_close(struct faulty_peers *peers, nfds_t i);
/* Sends all bytes, unless the peer ends the connection before. */
void faulty_peers_send(const struct faulty_peers *peers, nfds_t i, const void *bytes, size_t n);

#endif
