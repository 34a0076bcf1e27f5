#include "bench/weirload/chat/chat_ledger.h"

#include <stdlib.h>
#include <string.h>

static void gap_remove(struct chat_ledger *ledger, unsigned i)
{
	ledger->gaps_n--;
	memmove(&ledger->gaps[i], &ledger->gaps[i + 1],
		(ledger->gaps_n - i) * sizeof *ledger->gaps);
}

struct chat_gap chat_ledger_give_up(struct chat_ledger *ledger)
{
	struct chat_gap gap = {0};

	if (ledger->gaps_n) {
		gap = ledger->gaps[0];
		gap_remove(ledger, 0);
	}
	return gap;
}

static void gap_add(struct chat_ledger *ledger, struct chat_gap gap, struct chat_gap *lost)
{
	if (!ledger->gaps)
		ledger->gaps = calloc(CHAT_GAPS_MAX, sizeof *ledger->gaps);
	if (!ledger->gaps) {
		*lost = gap;
		return;
	}
	if (ledger->gaps_n == CHAT_GAPS_MAX)
		*lost = chat_ledger_give_up(ledger);
	ledger->gaps[ledger->gaps_n++] = gap;
}

enum chat_entry chat_ledger_enter(struct chat_ledger *ledger, uint32_t sender, uint32_t number,
				  struct chat_gap *lost)
{
	*lost = (struct chat_gap){0};
	if (number > ledger->next[sender]) {
		gap_add(ledger, (struct chat_gap){sender, ledger->next[sender], number}, lost);
		ledger->next[sender] = number + 1;
		return CHAT_AHEAD;
	}
	for (unsigned i = 0; i < ledger->gaps_n; i++) {
		struct chat_gap gap = ledger->gaps[i];

		if (gap.sender != sender || number < gap.from || number >= gap.to)
			continue;
		gap_remove(ledger, i);
		if (gap.from < number)
			gap_add(ledger, (struct chat_gap){sender, gap.from, number}, lost);
		if (number + 1 < gap.to)
			gap_add(ledger, (struct chat_gap){sender, number + 1, gap.to}, lost);
		return CHAT_LATE;
	}
	return CHAT_AGAIN;
}
