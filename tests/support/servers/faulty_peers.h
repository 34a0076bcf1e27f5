/*
 * faulty_peers: the connections of a server that does wrong on purpose.
 *
 * A process of its own, on a free port of loopback, one thread with poll(2); it ends with the
 * test's process. Each such server has this first in what it keeps. Whoever finds no place is
 * closed.
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

/* As fork(2), with everything to run in the child. */
pid_t faulty_peers_fork(struct faulty_peers *peers, unsigned *port);
/* came: somebody has this place now; NULL: that is all the same. turn: something has happened
 * there, see revents. */
_Noreturn void faulty_peers_run(struct faulty_peers *peers,
				void (*came)(struct faulty_peers *peers, nfds_t i),
				void (*turn)(struct faulty_peers *peers, nfds_t i));
void faulty_peers_close(struct faulty_peers *peers, nfds_t i);
/* All of it, or as much as the peer lets. */
void faulty_peers_send(const struct faulty_peers *peers, nfds_t i, const void *bytes, size_t n);

#endif
