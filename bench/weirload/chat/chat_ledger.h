/*
 * chat_ledger: which lines of each sender one client has received.
 *
 * For each sender it has the number of the line that comes next, and, if lines were skipped, a few
 * gaps. An earlier line is late if it lies in a gap, and else a duplicate. If there is no room for
 * one more gap the oldest is given up: the lines in it are lost.
 * Owned by the client; the numbers lie in one table of its process.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_LEDGER_H
#define BENCH_WEIRLOAD_CHAT_CHAT_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#define CHAT_GAPS_MAX 32

/* Lines [from, to) of a sender. */
struct chat_gap {
	uint32_t sender, from, to;
};

struct chat_ledger {
	uint32_t *next; /* by sender */
	struct chat_gap *gaps;
	unsigned gaps_n;
};

enum chat_entry {
	CHAT_AHEAD, /* lines before it were skipped */
	CHAT_LATE,  /* it had been skipped */
	CHAT_AGAIN, /* it had been there already */
};

/* Enters a line if it is the next one of its sender; else returns false. */
static inline bool chat_ledger_next(struct chat_ledger *ledger, uint32_t sender, uint32_t number)
{
	if (number != ledger->next[sender])
		return false;
	ledger->next[sender]++;
	return true;
}

/* Enters a line that is not the next one. If a gap has to be given up for it, *lost is that gap;
 * else lost->to is 0. */
enum chat_entry chat_ledger_enter(struct chat_ledger *ledger, uint32_t sender, uint32_t number,
				  struct chat_gap *lost);

/* Takes the oldest gap out; its `to` is 0 if there is none. */
struct chat_gap chat_ledger_give_up(struct chat_ledger *ledger);

#endif
