/*
 * pending: a connection of a server with one thread, which must not wait for any single one.
 *
 * The part of an answer that the kernel does not take is kept, and nothing more is read from that
 * peer until it has been sent. This is all the backpressure there is, and it limits what is kept to
 * the answer to one read. The memory for it exists only while it is needed; an idle connection is a
 * struct pending and its socket. Its owner waits for what pending_waits_for() says, then calls
 * pending_turn(), and forgets the connection when that returns false.
 */
#ifndef BENCH_DESIGNS_PENDING_H
#define BENCH_DESIGNS_PENDING_H

#include "bench/designs/serve.h"

struct pending {
	struct conn conn;
	unsigned char *owed; /* SERVE_BYTES; NULL: nothing is owed */
	size_t owed_at, owed_end;
};

/* Takes over fd, which must be non-blocking. NULL: the connection has ended already. */
struct pending *pending_open(struct service *service, int fd);
/* Reads once, or writes what is owed. False: it has ended and is freed. */
bool pending_turn(struct pending *pending);

/* POLLIN or POLLOUT */
short pending_waits_for(const struct pending *pending);

#endif
