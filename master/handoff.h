/*
 * handoff: the master accepts, and passes each connection to the worker that has fewest.
 *
 * A parcel is a connection on its way. The master keeps its own copy of the descriptor until
 * the worker has said that it took it (NOTE_TAKEN); parcels that a worker did not take, or
 * that were under way when it died, go to another one. So no connection is lost that no
 * worker had.
 */
#ifndef MASTER_HANDOFF_H
#define MASTER_HANDOFF_H

#include "master/listen.h"
#include "reactor/loop.h"
#include "worker/board.h"

/* Borrows all of them. Does nothing where no listener is of this mode. */
void handoff_open(struct loop *loop, const struct listen_set *set, const struct board *board);
/* Accepts what waits, passes it on, and stops; calls idle once nothing is under way. */
void handoff_stop(void (*idle)(void));
void handoff_close(void);

/* The slot's worker takes connections from now on, over channel. */
void handoff_worker_up(size_t slot, int channel);
/* It has gone, or takes no more: what is under way to it goes elsewhere. */
void handoff_worker_gone(size_t slot);
/* It took the first count of the oldest batch. False: there was no such batch. */
bool handoff_taken(size_t slot, uint32_t count);

#endif
