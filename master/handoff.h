/*
 * handoff: the master accepts, and passes each connection to the worker that has fewest.
 *
 * A pending_conn is a connection on its way. The master keeps its own copy of the descriptor until
 * the worker has said that it took it (IPC_TAKEN); pending_conns that a worker did not take, or
 * that were under way when it died, go to another one. So no connection is lost that no worker had.
 */
#ifndef MASTER_HANDOFF_H
#define MASTER_HANDOFF_H

#include "master/listen/listen.h"
#include "reactor/loop/loop.h"
#include "reactor/loop/seqpacket.h"
#include "worker/scoreboard.h"

/* Borrows both. Serves nothing yet. */
void handoff_open(struct loop *loop, const struct scoreboard *scoreboard);
/* From now on accepts from the listeners of this set that have this mode. Those of the set before
 * that are not in it are emptied into the workers that there are, and closed. */
void handoff_serve(const struct listen_set *set);
/* Passes on a connection that was accepted elsewhere; handoff closes it. */
void handoff_give(uint32_t number, int fd);
/* Accepts what waits, passes it on, and stops; calls idle once nothing is under way. */
void handoff_stop(void (*idle)(void));
/* Nothing more is accepted here, because another master has the sockets. What no worker of ours
 * takes goes to that master by elsewhere(), which borrows the descriptor. What elsewhere() refuses
 * waits here, for that master or for workers of ours. Until handoff_serve(). */
void handoff_leave(bool (*elsewhere)(uint32_t number, int fd));
void handoff_close(void);

/* The worker in that seat of the scoreboard takes connections from now on, over channel. Said
 * again, it changes nothing. */
void handoff_worker_up(unsigned seat, struct seqpacket *channel);
/* Its channel had no room, and has some again. */
void handoff_worker_has_room(unsigned seat);
/* It gets no more connections; those under way to it it takes, or another worker gets them. */
void handoff_worker_leaves(unsigned seat);
/* It has gone: another worker gets what is under way to it. */
void handoff_worker_gone(unsigned seat);
/* Of a worker that has gone: how many it said that it took and never opened. */
uint64_t handoff_lost(unsigned seat);
/* It took the first count of that batch. False: there is no such batch. */
bool handoff_taken(unsigned seat, uint32_t batch, uint32_t count);

#endif
