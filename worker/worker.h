/*
 * worker: the life of one process that serves.
 *
 *     set up -> (staged) -> serving -> (retiring) -> draining -> gone
 *
 * It makes its loop, its table of connections and a listener for each socket that its slot
 * has; all of it is its own and ends with it. Staged, it waits for the master's word to let
 * anybody in; retiring, it lets nobody in and moves its connections to its successors. It
 * drains when the master says so, when the master is gone, and on TERM; it stops at once on
 * QUIT.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "reactor/pubsub/bus.h"
#include "reactor/udp/limiter.h"
#include "worker/scoreboard.h"
#include "worker/config/config.h"
#include "worker/identity.h"

/* What all workers' sockets of one listener of datagrams share; of others nothing. */
struct datagram_ledger {
	struct limiter *limiter; /* NULL: no limit */
	uint32_t *dropped; /* by the slot's socket, or [0], the shared one's: in shared memory */
};

struct worker_setup {
	const struct config *config;
	const struct identity *identity; /* NULL: as the master */
	struct scoreboard_seat *scoreboard;
	struct bus
	    *bus; /* its seats are numbered as the scoreboard's; NULL: no listener has a topic */
	uint64_t bus_id; /* the same for all processes that share it */
	unsigned index;	 /* of the slot */
	unsigned seat;
	bool staged;			 /* it serves when it is told so */
	int lifeline;			 /* kept open, and nothing else; -1: none */
	int channel;			 /* to the master; -1: there is none */
	int listeners[LISTENERS_MAX];	 /* a socket for each endpoint; -1: the master hands over */
	uint32_t numbers[LISTENERS_MAX]; /* of each endpoint, whatever configuration names it */
	uint32_t topics[LISTENERS_MAX];	 /* on the bus; the same of several: one topic */
	bool borrowed[LISTENERS_MAX]; /* a service manager's socket: whoever waits there is not ours
				       */
	const struct datagram_ledger *ledgers; /* one for each endpoint */
	void (*ready)(void);		       /* without a master: it serves now; may be NULL */
};

/* Serves until the end; the process' exit status. */
int worker_run(const struct worker_setup *setup);

#endif
