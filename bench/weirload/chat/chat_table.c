#include "bench/weirload/chat/chat_table.h"

#include <unistd.h>

#include "bench/weirload/chat/chat_line.h"
#include "bench/weirload/clock.h"
#include "reactor/base/sys.h"

struct chat_table *chat_table_map(const struct plan *plan)
{
	size_t bytes = sizeof(struct chat_table) + plan->senders * sizeof(uint64_t);
	struct chat_table *table = sys_map(bytes, MAP_SHARED | MAP_ANONYMOUS, -1);
	uint64_t some = clock_ns() ^ (uint64_t)getpid() << 32;

	if (table)
		table->base = (uint32_t)(some * 0x9e3779b97f4a7c15 >> 40) & CHAT_SENDER_MASK;
	return table;
}

/* n: by process. */
static bool are_all(const uint32_t *n, const struct plan *plan)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < plan->processes; i++)
		sum += CHAT_TABLE_READ(n[i]);
	return sum >= plan->connections;
}

bool chat_table_all_come(const struct chat_table *table, const struct plan *plan)
{
	return are_all(table->come, plan);
}

bool chat_table_all_settled(const struct chat_table *table, const struct plan *plan)
{
	return are_all(table->settled, plan);
}
