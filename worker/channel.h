/*
 * channel: what the master and one worker say to each other.
 *
 * A SOCK_SEQPACKET pair (reactor/loop/seqpacket.h), made before the fork. It is the lifeline too:
 * when it ends, the worker knows without a signal that the master is gone. Each datagram is one
 * message. Both sides keep what the other one does not take at once, and the worker reads on only
 * when its own answers have gone. An answer names what it answers. To a worker, a message of
 * another size or kind is a programmer's error; the master, which trusts no worker, drops it.
 *
 *     staged --SERVE--> serving --RETIRE, MOVE_OUT...--> retiring --LEAVE--> gone
 *                       serving --DRAIN, LAST--> draining --> gone
 */
#ifndef WORKER_CHANNEL_H
#define WORKER_CHANNEL_H

#include <stdint.h>

enum ipc_kind {
	/* to the master: */
	IPC_READY = 1, /* all is set up: it serves, or is staged */
	IPC_TAKEN,     /* the first count of that batch of connections were taken, the rest not */
	IPC_MOVED_OUT, /* that order to move is over: count went, `end` says why, `left` stay */
	IPC_LEAVING,   /* this worker was asked to end; does weir end, too? */
	IPC_SERVING, /* the answer to SERVE: by now the scoreboard shows all room promised before */
	IPC_HISTORY_BEGINS, /* it has published, and the journal held nothing (history_age.h) */
	/* to the worker: */
	IPC_SERVE,	 /* it was staged: it serves from now on */
	IPC_CONNECTIONS, /* batch `order`: beside it, count connections of this listener */
	IPC_MOVE_OUT,	 /* give count connections over the move channel beside it */
	IPC_MOVE_IN,	 /* take what comes over the move channel beside it: count, `left` chunks */
	IPC_EMPTY,	 /* take in clients that wait, for nobody will later; count: if they fit */
	IPC_RETIRE,	 /* leave all other listeners to its successors */
	IPC_LEAVE,	 /* drain what is left and end; weir goes on */
	IPC_DRAIN,	 /* weir ends: end gracefully; connections may still follow */
	IPC_LAST,	 /* the same, and no connection follows any more */
	IPC_DOORBELLS,	 /* those of the seats from `count` on are beside it */
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
