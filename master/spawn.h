/*
 * spawn: forks the worker of a slot, with the descriptors that are its own and no others.
 */
#ifndef MASTER_SPAWN_H
#define MASTER_SPAWN_H

#include <sys/types.h>

#include "worker/worker.h"

/* Between a worker and its master: 0 or -errno. Neither end blocks; both are closed on exec. */
int spawn_channel(int ends[2]);
/* The child's pid, or -errno. The child has setup->channel, and never returns. */
pid_t spawn_worker(struct worker_setup *setup);

#endif
