/*
 * children: processes that a design starts, and how it gets rid of them.
 *
 * A child that has ended is a zombie until its parent waits for it: an entry in the process table
 * that cannot be killed, because it is dead. The handler of SIGCHLD waits in a loop, because
 * signals are not queued: one may stand for many children. (If SIGCHLD is ignored the kernel reaps
 * children by itself; but then their CPU time is not added to the parent's, and that is what is
 * measured here.) Children end with their parent, whatever ended it.
 */
#ifndef BENCH_DESIGNS_CHILDREN_H
#define BENCH_DESIGNS_CHILDREN_H

#include "bench/designs/serve.h"

/* From now on children are reaped as they end. Call once. */
void children_reap(void);
/* fork(): returns 0 in the child. If max children live it first waits for one to end. -1: it
 * failed, and the log says so. */
int children_fork(unsigned max);
/* Forks serve->workers workers; run() never returns. They are not replaced: if one ends all end. */
void children_prefork(struct serve *serve, void (*run)(struct serve *serve, unsigned worker));
/* For a child that was not forked by these functions: from now on it ends with its parent. */
void children_end_with_parent(void);

#endif
