#include "reactor/base/stats.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "reactor/base/check.h"

#define ROW(kind, name, metric, label, value, text, metric_text, field)                            \
	{                                                                                          \
		kind, name, metric, label, value, text, metric_text, offsetof(struct stats, field) \
	}

#define ACCEPT_ROW(name, value, text, field)                                                       \
	ROW(STATS_COUNTER, "accept_errors_" name, "weir_accept_errors_total", "errno", value,      \
	    text, "accepts that failed, but for an empty queue, by errno", field)
#define CLOSE_METRIC	  "weir_connections_closed_total"
#define CLOSE_METRIC_TEXT "connections that ended, by reason"
#define CLOSE_ROW(name, text)                                                                      \
	ROW(STATS_COUNTER, "closed_" #name, CLOSE_METRIC, "reason", #name, text,                   \
	    CLOSE_METRIC_TEXT, closed[CLOSE_##name])
#define CALL_ROW(name)                                                                             \
	ROW(STATS_COUNTER, "calls_" #name, "weir_system_calls_total", "call", #name,               \
	    "calls of " #name, "system calls, by the name that the C library has for them",        \
	    calls[CALL_##name])

#define LAG_TEXT "passes of the loop by how long they took, which is how long what came had to wait"
#define LAG_ROW(name, value, text, field)                                                          \
	ROW(STATS_BUCKET, "loop_lag_" name, "weir_loop_lag_seconds", "le", value, text, LAG_TEXT,  \
	    field)

#define DELIVERY_TEXT                                                                              \
	"batches of records by how long it took from when the first one was published to when "    \
	"the "                                                                                     \
	"last subscriber of the worker had it in its queue"
#define DELIVERY_ROW(name, value, text, field)                                                     \
	ROW(STATS_BUCKET, "delivery_lag_" name, "weir_delivery_lag_seconds", "le", value, text,    \
	    DELIVERY_TEXT, field)

/* One for each number: closed[CLOSE_NONE] has none, and the sums of the lags show those of others.
 */
#define ROWS_MAX       (sizeof(struct stats) / sizeof(uint64_t) + 1)
#define ROWS_OF_TABLES (ROWS_MAX - (CLOSE_REASONS_MAX - CLOSE_REASONS) - STATS_ADDED_MAX)

static struct stats_row rows[ROWS_MAX] = {
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
#define LAG(us, seconds)                                                                           \
	DELIVERY_ROW(#us "us", seconds,                                                            \
		     "batches delivered within " #us " us, and in no smaller step",                \
		     delivery_lag[LAG_##us]),
#include "reactor/base/lag.def"
#undef LAG
    DELIVERY_ROW("more", "+Inf", "batches that took longer than any step", delivery_lag[LAG_MORE]),
    ROW(STATS_SUM, "delivery_lag_us", "weir_delivery_lag_seconds", NULL, NULL,
	"microseconds of all batches", DELIVERY_TEXT, delivery_us),
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

const struct stats_row *const stats_rows = rows;
size_t stats_rows_n = ROWS_OF_TABLES;

static const char *close_names[CLOSE_REASONS_MAX] = {
    [CLOSE_NONE] = "none",
#define CLOSE(name, text) [CLOSE_##name] = #name,
#include "reactor/base/close.def"
#undef CLOSE
};

static unsigned reasons_end = CLOSE_REASONS;
static size_t added_n;

const char *close_reason_name(unsigned reason)
{
	return reason < reasons_end ? close_names[reason] : "unknown";
}

unsigned close_reasons_end(void)
{
	return reasons_end;
}

enum close_reason close_reason_named(const char *name)
{
	unsigned reason = reasons_end - 1;

	while (reason && strcmp(close_names[reason], name) != 0)
		reason--;
	return (enum close_reason)reason;
}

/* ---- rows that are added ---- */

static struct stats_row *insert_row(size_t at, struct stats_row row)
{
	CHECK(stats_rows_n < ROWS_MAX && strlen(row.name) < STATS_NAME_BYTES);
	memmove(rows + at + 1, rows + at, (stats_rows_n - at) * sizeof *rows);
	stats_rows_n++;
	rows[at] = row;
	return &rows[at];
}

/* Rows of one metric stand together. */
static size_t after_last_reason(void)
{
	size_t at = stats_rows_n;

	while (strcmp(rows[at - 1].metric, CLOSE_METRIC) != 0)
		at--;
	return at;
}

enum close_reason stats_add_reason(const char *name, const char *text)
{
	static char names[CLOSE_REASONS_MAX][STATS_NAME_BYTES];
	enum close_reason reason = close_reason_named(name);
	char *row_name = names[reasons_end];

	if (reason)
		return reason;
	CHECK(reasons_end < CLOSE_REASONS_MAX);
	(void)snprintf(row_name, STATS_NAME_BYTES, "closed_%s", name);
	insert_row(after_last_reason(), (struct stats_row){STATS_COUNTER, row_name, CLOSE_METRIC,
							   "reason", name, text, CLOSE_METRIC_TEXT,
							   offsetof(struct stats, closed) +
							       reasons_end * sizeof(uint64_t)});
	close_names[reasons_end] = name;
	return (enum close_reason)reasons_end++;
}

size_t stats_add_counter(const char *name, const char *metric, const char *text)
{
	const size_t added = offsetof(struct stats, added);

	for (size_t i = stats_rows_n; i-- && rows[i].offset >= added;)
		if (strcmp(rows[i].name, name) == 0)
			return (rows[i].offset - added) / sizeof(uint64_t);
	CHECK(added_n < STATS_ADDED_MAX);
	insert_row(stats_rows_n, (struct stats_row){STATS_COUNTER, name, metric, NULL, NULL, text,
						    text, added + added_n * sizeof(uint64_t)});
	return added_n++;
}

/* ---- */

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
