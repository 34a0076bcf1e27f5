/*
 * dial: the sockets of the load: made, bound and connected as the plan says.
 *
 * A descriptor belongs to the caller. Nothing here waits, except dial_choose().
 */
#ifndef BENCH_WEIRLOAD_PLAN_DIAL_H
#define BENCH_WEIRLOAD_PLAN_DIAL_H

#include "bench/weirload/plan/plan.h"

/* Makes a socket for the nth connection of the run; n decides its local address. receive_bytes is
 * its SO_RCVBUF; 0 keeps the kernel's. Returns the descriptor, or -errno and the call that failed.
 */
int dial_socket(const struct plan *plan, uint64_t nth, int receive_bytes, const char **call);
/* Which of the n addresses of a name to take: the first that answers, or, if none does, the first.
 * Those of another family than from (NULL: any) are skipped. Called once, before the run; tries one
 * address after the other, and waits for each. A single address is not tried. */
size_t dial_choose(const struct endpoint *addresses, size_t n, const struct address *from);
/* connect() of the nth connection; n decides its destination. 0 or -errno. */
int dial_connect(const struct plan *plan, uint64_t nth, int fd);
bool dial_is_up(int fd);

#endif
