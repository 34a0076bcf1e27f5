/*
 * helper: a child process that does one thing for this one, and never outlives it.
 */
#ifndef REACTOR_BASE_HELPER_H
#define REACTOR_BASE_HELPER_H

#include <sys/types.h>

/*
 * As fork(2), but -errno for an error. The child is killed when this process ends: what it has
 * copies of, connections, listening sockets and locks, would be in others' way. It counts nothing
 * in its parent's counters, which may be in memory that both share, and its last words are not its
 * parent's.
 */
pid_t helper_fork(void);

#endif
