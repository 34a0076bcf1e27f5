/*
 * pending: a connection of a server with one thread, which must not wait for any of them.
 *
 * What the kernel does not take of an answer is kept, and nothing more is read from that
 * peer until it is gone: this is the whole backpressure, and bounds what is kept to what
 * comes of one read. The memory for it is there only while it is needed; an idle connection
 * is a struct pending and its socket. Its owner waits for what pending_waits_for() says,
 * calls pending_turn() then, and forgets the connection when that answers false.
 */
#ifndef DESIGNS_PENDING_H
#define DESIGNS_PENDING_H

#include "bench/designs/serve.h"

struct pending {
	struct conn conn;
	unsigned char *owed; /* SERVE_BYTES; NULL: nothing is owed */
	size_t owed_at, owed_end;
};

/* Takes fd over, which does not block. NULL: it has ended already. */
struct pending *pending_open(struct service *service, int fd);
/* Reads once, or writes what is owed. False: it has ended and is freed. */
bool pending_turn(struct pending *pending);

/* POLLIN or POLLOUT */
short pending_waits_for(const struct pending *pending);

#endif
