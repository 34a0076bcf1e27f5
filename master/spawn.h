/*
 * spawn: forks the worker of a slot, with the descriptors that are its own and no others.
 */
#ifndef MASTER_SPAWN_H
#define MASTER_SPAWN_H

#include <sys/types.h>

#include "worker/worker.h"

/* Fills in setup->channel for the child, and answers the child's pid and, in *channel, the
 * master's end (non-blocking, closed on exec); -errno where there is no child. The child
 * never returns. */
pid_t spawn_worker(struct worker_setup *setup, int *channel);

#endif
