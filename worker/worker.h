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

#include "reactor/pubsub/journal.h"
#include "reactor/udp/limiter.h"
#include "worker/scoreboard.h"
#include "worker/config/config.h"
#include "worker/identity.h"

/* What the workers' sockets of a listener share, if it is one of datagrams; else all 0. */
struct datagram_ledger {
	struct limiter *limiter; /* NULL: no limit */
	uint32_t *dropped; /* for each slot's socket, or [0] for a shared one; in shared memory */
};

struct worker_setup {
	const struct config *config;
	const struct identity *identity; /* NULL: as the master */
	struct scoreboard_seat *scoreboard;
	/* Its seats are numbered as the scoreboard's; NULL: no listener has a topic. If there is no
	 * master, the worker lets go of what is older than --history-age. */
	struct journal *journal;
	uint64_t journal_id; /* the same for all processes that share it */
	unsigned index;	     /* of the slot */
	unsigned seat;
	bool staged;			 /* it serves when it is told to */
	int lifeline;			 /* kept open, and nothing else; -1: none */
	int channel;			 /* to the master; -1: there is none */
	int listeners[LISTENERS_MAX];	 /* a socket for each endpoint; -1: the master hands over */
	uint32_t numbers[LISTENERS_MAX]; /* of each endpoint, the same in all configurations */
	const char *topics[LISTENERS_MAX]; /* names; several may share one; NULL: it has none */
	bool borrowed[LISTENERS_MAX];	   /* a service manager's: clients that wait are not ours */
	const struct datagram_ledger *ledgers; /* one for each endpoint */
	void (*ready)(void);		       /* NULL, or called when it serves without a master */
};

/* Serves until the end; the process' exit status. */
int worker_run(const struct worker_setup *setup);

#endif
