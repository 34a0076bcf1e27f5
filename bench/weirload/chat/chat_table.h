/*
 * chat_table: what the sending processes of a chat tell each other.
 *
 * How far each has come in the ramp, and, when the time is over, how many lines each sender has
 * sent. Until then nobody can tell which of a sender's lines are missing; and never, if its
 * connection failed. In shared memory, made before the fork. Each field has one writer, which
 * stores it whole; all others only read.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_TABLE_H
#define BENCH_WEIRLOAD_CHAT_CHAT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/weirload/plan/plan.h"

#define CHAT_SENT_OPEN	  0	     /* it may send more */
#define CHAT_SENT_UNKNOWN UINT64_MAX /* its connection failed: some may have gone with it */

struct chat_table {
	uint32_t base; /* added to each sender, so that lines of another run are none of this one */
	uint32_t come[PLAN_PROCESSES_MAX]; /* clients that are connected, or failed to */
	uint64_t sent[];		   /* of each sender: lines + 1, or what is above */
};

/* NULL: no memory. */
struct chat_table *chat_table_map(const struct plan *plan);
/* All clients of all processes are connected, or failed to. */
bool chat_table_all_come(const struct chat_table *table, const struct plan *plan);

#define CHAT_TABLE_SET(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
#define CHAT_TABLE_READ(field)	     __atomic_load_n(&(field), __ATOMIC_ACQUIRE)

#endif
