/*
 * children: processes that a design starts, and how it is rid of them.
 *
 * A child that has ended is a zombie until its parent waits for it: an entry of the process
 * table that cannot be killed, for it is dead. The handler of SIGCHLD waits in a loop, as
 * one signal may stand for many children: signals are not queued. (SIGCHLD ignored, the
 * kernel reaps by itself; but then their CPU time is not added to the parent's, which is
 * what is measured here.) Children end with their parent, whatever ended it.
 */
#ifndef DESIGNS_CHILDREN_H
#define DESIGNS_CHILDREN_H

#include "bench/designs/serve.h"

/* From now on children are waited for as they end. Call once. */
void children_reap(void);
/* fork(): 0 in the child. Where max of them live it waits for one to end. Where it fails,
 * the log says so, and it is -1. */
int children_fork(unsigned max);
/* Forks as many workers as there are to be; run never returns. They are not replaced: where
 * one ends all end. */
void children_prefork(struct serve *serve, void (*run)(struct serve *serve, unsigned worker));
/* In a child that was not forked here: ends with its parent. */
void children_end_with_parent(void);

#endif
