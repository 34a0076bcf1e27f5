#include "reactor/base/stats.h"

#include <errno.h>

#define ROW(kind, name, metric, label, value, text, metric_text, field)                            \
	{                                                                                          \
		kind, name, metric, label, value, text, metric_text, offsetof(struct stats, field) \
	}

#define ACCEPT_ROW(name, value, text, field)                                                       \
	ROW(STATS_COUNTER, "accept_errors_" name, "weir_accept_errors_total", "errno", value,      \
	    text, "accepts that failed, but for an empty queue, by errno", field)
#define CLOSE_ROW(name, text)                                                                      \
	ROW(STATS_COUNTER, "closed_" #name, "weir_connections_closed_total", "reason", #name,      \
	    text, "connections that ended, by reason", closed[CLOSE_##name])
#define CALL_ROW(name)                                                                             \
	ROW(STATS_COUNTER, "calls_" #name, "weir_system_calls_total", "call", #name,               \
	    "calls of " #name, "system calls, by the name that the C library has for them",        \
	    calls[CALL_##name])

#define LAG_TEXT "passes of the loop by how long they took, which is how long what came had to wait"
#define LAG_ROW(name, value, text, field)                                                          \
	ROW(STATS_BUCKET, "loop_lag_" name, "weir_loop_lag_seconds", "le", value, text, LAG_TEXT,  \
	    field)

const struct stats_row stats_rows[] = {
#define STAT(kind, name, metric, text)                                                             \
	ROW(STATS_##kind, #name, metric, NULL, NULL, text, text, name),
#include "reactor/base/stats.def"
#undef STAT
#define LAG(us, seconds)                                                                           \
	LAG_ROW(#us "us", seconds, "passes of at most " #us " us, and of no smaller step",         \
		lag[LAG_##us]),
#include "reactor/base/lag.def"
#undef LAG
    LAG_ROW("more", "+Inf", "passes that took longer than any step", lag[LAG_MORE]),
    /* What all passes took together is how long the loop was busy. */
    ROW(STATS_SUM, "loop_lag_us", "weir_loop_lag_seconds", NULL, NULL, "microseconds of all passes",
	LAG_TEXT, loop_busy_us),
#define CLOSE(name, text) CLOSE_ROW(name, text),
#include "reactor/base/close.def"
#undef CLOSE
#define ACCEPT_ERROR(error, name, whose, text)                                                     \
	ACCEPT_ROW(#name, #error, text, accept_errors[ACCEPT_##error]),
#include "reactor/base/accept_error.def"
#undef ACCEPT_ERROR
    ACCEPT_ROW("other", "other", "any other error", accept_errors[ACCEPT_OTHER]),
#define SYS(type, name, parameters, arguments) CALL_ROW(name),
#include "reactor/base/sys.def"
#undef SYS
};

const size_t stats_rows_n = sizeof stats_rows / sizeof *stats_rows;

static const char *const close_names[] = {
    [CLOSE_NONE] = "none",
#define CLOSE(name, text) [CLOSE_##name] = #name,
#include "reactor/base/close.def"
#undef CLOSE
};

const char *close_reason_name(enum close_reason reason)
{
	return (unsigned)reason < CLOSE_REASONS ? close_names[reason] : "unknown";
}

_Static_assert(LAG_16 == 0, "lag_of() counts from the first step");

enum accept_error accept_error_of(int error)
{
	switch (error) {
#define ACCEPT_ERROR(error, name, whose, text)                                                     \
	case error:                                                                                \
		return ACCEPT_##error;
#include "reactor/base/accept_error.def"
#undef ACCEPT_ERROR
	default:
		return ACCEPT_OTHER;
	}
}

bool accept_error_is_of_one(enum accept_error error)
{
	enum whose { ALL, ONE };
	static const enum whose whose_is[ACCEPT_ERRORS] = {
#define ACCEPT_ERROR(error, name, whose, text) [ACCEPT_##error] = whose,
#include "reactor/base/accept_error.def"
#undef ACCEPT_ERROR
	    [ACCEPT_OTHER] = ALL,
	};

	return whose_is[error] == ONE;
}

static uint64_t *stats_at(struct stats *stats, const struct stats_row *row)
{
	return (uint64_t *)(void *)((char *)stats + row->offset);
}

uint64_t stats_value(const struct stats *stats, const struct stats_row *row)
{
	const char *at = (const char *)stats + row->offset;

	return __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_RELAXED);
}

void stats_store(struct stats *stats, const struct stats_row *row, uint64_t value)
{
	__atomic_store_n(stats_at(stats, row), value, __ATOMIC_RELAXED);
}

uint64_t stats_combine(const struct stats_row *row, uint64_t a, uint64_t b)
{
	if (row->kind == STATS_PEAK)
		return a > b ? a : b;
	return a + b;
}

bool stats_grows(const struct stats_row *row)
{
	return row->kind != STATS_GAUGE && row->kind != STATS_PEAK;
}

void stats_clear_gauges(struct stats *stats)
{
	for (size_t i = 0; i < stats_rows_n; i++)
		if (stats_rows[i].kind == STATS_GAUGE)
			stats_store(stats, &stats_rows[i], 0);
}
