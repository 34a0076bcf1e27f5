/*
 * channel: what the master and one worker say to each other.
 *
 * A SOCK_SEQPACKET pair (reactor/loop/seqpacket.h), made before the fork. It is the lifeline too:
 * its end is how a worker learns that the master is gone, without a signal. One note a datagram;
 * both sides keep what the other one does not take at once, and the worker reads on only when what
 * it answered has gone. An answer names what it answers. A note of another size or kind is a
 * programmer's error on the worker's side; the master, which trusts no worker, drops it.
 *
 *     staged --SERVE--> serving --RETIRE, MOVE_OUT...--> retiring --LEAVE--> gone
 *                       serving --DRAIN, LAST--> draining --> gone
 */
#ifndef WORKER_CHANNEL_H
#define WORKER_CHANNEL_H

#include <stdint.h>

enum ipc_kind {
	/* to the master: */
	IPC_READY = 1, /* all is set up: it serves, or would */
	IPC_TAKEN,     /* the first count of that batch of connections were taken, the rest not */
	IPC_GAVE,      /* that order to move is over: count went, end says why, left are here */
	IPC_LEAVING,   /* this worker was asked to end; does weir end, too? */
	IPC_SERVING, /* the answer to SERVE: what was promised before it stands on the scoreboard */
	/* to the worker: */
	IPC_SERVE,	 /* it was staged: it begins */
	IPC_CONNECTIONS, /* a batch, order, of count descriptors of this listener beside it */
	IPC_MOVE_OUT,	 /* give count connections over the move channel beside it */
	IPC_MOVE_IN,   /* take what comes over the move channel beside it: count, with `left` chunks
			*/
	IPC_EMPTY,     /* nobody reads there after it: take in who waits; count: if they fit */
	IPC_RETIRE,    /* all other listeners are its successors' */
	IPC_LEAVE,     /* drain what is left and end; weir goes on */
	IPC_DRAIN,     /* weir ends: end gracefully; connections may still follow */
	IPC_LAST,      /* none follows any more */
	IPC_DOORBELLS, /* those of the seats from `count` on are beside it */
};

struct ipc_message {
	uint32_t kind;
	uint32_t listener; /* its number, which outlives configurations */
	uint32_t count;
	uint32_t order;
	uint32_t end; /* enum move_end */
	uint32_t left;
};

#endif
