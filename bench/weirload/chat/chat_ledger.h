/*
 * chat_ledger: which lines of each sender one client has had.
 *
 * For each sender the number of the line that comes next, and, where lines were jumped over, a
 * few gaps: one that comes late is told from one that comes twice by its gap. With more gaps
 * than there is room for, the oldest is given up: what lies in it is lost.
 * Owned by the client; the numbers lie in its process' one table.
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
	CHAT_AHEAD, /* it jumped over some */
	CHAT_LATE,  /* one that was jumped over */
	CHAT_AGAIN, /* one that was there already */
};

/* Whether it is the one that had to come, which is then entered. */
static inline bool chat_ledger_next(struct chat_ledger *ledger, uint32_t sender, uint32_t number)
{
	if (number != ledger->next[sender])
		return false;
	ledger->next[sender]++;
	return true;
}

/* Enters one that was not. A gap that has to be given up for it is told in lost, whose `to` is
 * 0 where there is none. */
enum chat_entry chat_ledger_enter(struct chat_ledger *ledger, uint32_t sender, uint32_t number,
				  struct chat_gap *lost);

/* Takes the oldest gap out; its `to` is 0 where there is none. */
struct chat_gap chat_ledger_give_up(struct chat_ledger *ledger);

#endif
