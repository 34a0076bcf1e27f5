/*
 * worker: the life of one process that serves.
 *
 *     set up -> ready -> serving -> draining -> gone
 *
 * It makes its loop, its table of connections and a listener for each socket that its slot
 * has; all of it is its own and ends with it. It drains when the master says so, when the
 * master is gone, and on TERM; it stops at once on QUIT.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "reactor/bus.h"
#include "reactor/limiter.h"
#include "worker/board.h"
#include "worker/config.h"
#include "worker/identity.h"

/* What all workers' sockets of one listener of datagrams share; of others nothing. */
struct datagram_ledger {
	struct limiter *limiter; /* NULL: no limit */
	uint32_t *dropped; /* by the slot's socket, or [0], the shared one's: in shared memory */
};

struct worker_setup {
	const struct config *config;
	const struct identity *identity; /* NULL: as the master */
	struct board_slot *slot;
	struct bus *bus; /* its seats are numbered as the slots; NULL: no listener has a topic */
	unsigned index;
	int channel;		      /* to the master; -1: there is none */
	int listeners[LISTENERS_MAX]; /* a socket for each endpoint; -1: the master hands over */
	const struct datagram_ledger *ledgers; /* one for each endpoint */
	void (*ready)(void);		       /* without a master: it serves now; may be NULL */
};

/* Serves until the end; the process' exit status. */
int worker_run(const struct worker_setup *setup);

#endif
