/*
 * channel: what the master and one worker say to each other.
 *
 * A SOCK_SEQPACKET pair, made before the fork. It is the lifeline too: its end is how a
 * worker learns that the master is gone, without a signal. One note a datagram; anything of
 * another size or kind is a programmer's error on the worker's side, and the end of the
 * worker on the master's.
 */
#ifndef WORKER_CHANNEL_H
#define WORKER_CHANNEL_H

#include <stdint.h>

enum note_kind {
	NOTE_READY = 1,	  /* to the master: this worker serves */
	NOTE_TAKEN,	  /* to the master: count of the oldest batch were taken, the rest not */
	NOTE_CONNECTIONS, /* to the worker: count descriptors, of this listener, are beside it */
	NOTE_LEAVING,	  /* to the master: this worker was asked to end; does weir end, too? */
	NOTE_LEAVE,	  /* to the worker: weir does not, end alone */
	NOTE_DRAIN,	  /* to the worker: end gracefully; connections may still follow */
	NOTE_LAST,	  /* to the worker: none follows any more */
};

struct note {
	uint32_t kind, listener, count;
};

#endif
