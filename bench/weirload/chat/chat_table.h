/*
 * chat_table: what the sending processes of a chat tell each other.
 *
 * How far each process has come in the ramp, and, when the time is over, how many lines each sender
 * has sent. Until then nobody can tell which of a sender's lines are missing; if its connection
 * failed nobody ever can. In shared memory, made before the fork. Each field has one writer, which
 * stores it whole; all others only read.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_TABLE_H
#define BENCH_WEIRLOAD_CHAT_CHAT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/weirload/plan/plan.h"

#define CHAT_SENT_OPEN	  0	     /* the sender may send more */
#define CHAT_SENT_UNKNOWN UINT64_MAX /* its connection failed, perhaps with lines under way */

struct chat_table {
	uint32_t
	    base; /* added to each sender's number, so that another run's lines are recognised */
	uint32_t come[PLAN_PROCESSES_MAX];    /* clients that are connected, or failed to */
	uint32_t settled[PLAN_PROCESSES_MAX]; /* those that had a probe line, or failed */
	uint64_t sent[];		      /* by sender: lines + 1, or CHAT_SENT_* */
};

/* NULL: no memory. */
struct chat_table *chat_table_map(const struct plan *plan);
/* Whether all clients of all processes have connected, or failed to. */
bool chat_table_all_come(const struct chat_table *table, const struct plan *plan);
bool chat_table_all_settled(const struct chat_table *table, const struct plan *plan);

#define CHAT_TABLE_SET(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
#define CHAT_TABLE_READ(field)	     __atomic_load_n(&(field), __ATOMIC_ACQUIRE)

#endif
