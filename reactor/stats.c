#include "reactor/stats.h"

const struct stats_row stats_rows[] = {
#define STAT(kind, name, metric, text)                                                             \
	{STATS_##kind, #name, metric, NULL, NULL, text, text, offsetof(struct stats, name)},
#include "reactor/stats.def"
#undef STAT
#define CLOSE(name, text)                                                                          \
	{STATS_COUNTER,                                                                            \
	 "closed_" #name,                                                                          \
	 "weir_connections_closed_total",                                                          \
	 "reason",                                                                                 \
	 #name,                                                                                    \
	 text,                                                                                     \
	 "connections that ended, by reason",                                                      \
	 offsetof(struct stats, closed[CLOSE_##name])},
#include "reactor/close.def"
#undef CLOSE
};

const size_t stats_rows_n = sizeof stats_rows / sizeof *stats_rows;

static const char *const close_names[] = {
    [CLOSE_NONE] = "none",
#define CLOSE(name, text) [CLOSE_##name] = #name,
#include "reactor/close.def"
#undef CLOSE
};

const char *close_reason_name(enum close_reason reason)
{
	return (unsigned)reason < CLOSE_REASONS ? close_names[reason] : "unknown";
}

uint64_t stats_value(const struct stats *stats, const struct stats_row *row)
{
	const char *at = (const char *)stats + row->offset;

	return __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_RELAXED);
}

uint64_t stats_combine(const struct stats_row *row, uint64_t a, uint64_t b)
{
	if (row->kind == STATS_PEAK)
		return a > b ? a : b;
	return a + b;
}
