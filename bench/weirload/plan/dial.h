/*
 * dial: the sockets of the load, made ready to connect as the plan says.
 *
 * A descriptor belongs to whoever asked for it. Nothing here waits, but dial_choose().
 */
#ifndef BENCH_WEIRLOAD_PLAN_DIAL_H
#define BENCH_WEIRLOAD_PLAN_DIAL_H

#include "bench/weirload/plan/plan.h"

/* For the nth connection of the run, which chooses its local address; receive_bytes is its
 * SO_RCVBUF, 0 the kernel's own. The descriptor, or -errno and the call that failed. */
int dial_socket(const struct plan *plan, uint64_t nth, int receive_bytes, const char **call);
/* Which of several addresses of a name answers first in their order; none: the first. Those of
 * another family than from (NULL: any) are passed over. Of one alone it is not asked; else this
 * waits for each, once, before the run. */
size_t dial_choose(const struct endpoint *addresses, size_t n, const struct address *from);
/* connect() of the nth connection, which chooses where to: 0 or -errno. */
int dial_connect(const struct plan *plan, uint64_t nth, int fd);
bool dial_is_up(int fd);

#endif
