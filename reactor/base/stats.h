/*
 * stats: the counters of one worker, as plain numbers in memory that others may read.
 *
 * One process writes them and never reads them back for a decision; any process that maps
 * them may read at any time: each number is whole, though two need not be of one moment.
 * A row in stats.def, close.def, accept_error.def, sys.def or lag.def makes a counter appear
 * everywhere; so does one that a protocol adds, before there are any stats. How each kind is shown
 * is said below; a reader need know nothing else about a row.
 */
#ifndef REACTOR_BASE_STATS_H
#define REACTOR_BASE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum close_reason {
	CLOSE_NONE,
#define CLOSE(name, text) CLOSE_##name,
#include "reactor/base/close.def"
#undef CLOSE
	CLOSE_REASONS /* those that protocols add have numbers from here on */
};

#define CLOSE_REASONS_MAX 128
#define STATS_ADDED_MAX	  64
#define STATS_NAME_BYTES  48 /* of a row, with its 0 */

/* Every system call that sys.def has. */
enum call {
#define SYS(type, name, parameters, arguments) CALL_##name,
#include "reactor/base/sys.def"
#undef SYS
	CALLS
};

enum accept_error {
#define ACCEPT_ERROR(error, name, whose, text) ACCEPT_##error,
#include "reactor/base/accept_error.def"
#undef ACCEPT_ERROR
	ACCEPT_OTHER,
	ACCEPT_ERRORS
};

enum lag {
#define LAG(us, seconds) LAG_##us,
#include "reactor/base/lag.def"
#undef LAG
	LAG_MORE,
	LAGS
};

struct stats {
#define STAT(kind, name, metric, text) uint64_t name;
#include "reactor/base/stats.def"
#undef STAT
	uint64_t lag[LAGS];
	uint64_t delivery_lag[LAGS];
	uint64_t calls[CALLS];
	uint64_t closed[CLOSE_REASONS_MAX];
	uint64_t accept_errors[ACCEPT_ERRORS];
	uint64_t added[STATS_ADDED_MAX];
};

/* A plain add for the one writer; the relaxed store keeps it whole for readers. */
#define STATS_ADD(stats, name, n)                                                                  \
	__atomic_store_n(&(stats)->name, (stats)->name + (uint64_t)(n), __ATOMIC_RELAXED)
#define STATS_SET(stats, name, value)                                                              \
	__atomic_store_n(&(stats)->name, (uint64_t)(value), __ATOMIC_RELAXED)
#define STATS_MAX(stats, name, n)                                                                  \
	do {                                                                                       \
		if ((uint64_t)(n) > (stats)->name)                                                 \
			__atomic_store_n(&(stats)->name, (uint64_t)(n), __ATOMIC_RELAXED);         \
	} while (0)
#define STATS_READ(stats, name) __atomic_load_n(&(stats)->name, __ATOMIC_RELAXED)

/*
 *              over time     all workers  Prometheus' type and name      value
 *     COUNTER  only grows    the sum      counter    metric              itself
 *     TIME     only grows    the sum      counter    metric              microseconds, in seconds
 *     GAUGE    is now        the sum      gauge      metric              itself
 *     PEAK     was at most   the most     gauge      metric              itself
 *     BUCKET   only grows    the sum      histogram  metric_bucket{le}   and all before it
 *     SUM      only grows    the sum      histogram  metric_sum          microseconds, in seconds
 *                                                    metric_count        all buckets before it
 */
enum stats_kind {
	STATS_COUNTER,
	STATS_TIME,
	STATS_GAUGE,
	STATS_PEAK,
	STATS_BUCKET, /* in memory each counts its own; the last one's value is "+Inf" */
	STATS_SUM,    /* of the buckets just before it */
};

/* Rows of one metric stand together; they differ in the value of its label. */
struct stats_row {
	enum stats_kind kind;
	const char *name;	   /* unique: "accepted", "closed_eof" */
	const char *metric;	   /* "weir_connections_closed_total" */
	const char *label, *value; /* reason, eof; le, 0.000016; NULL: it has none */
	const char *text;	   /* what this row counts */
	const char *metric_text;   /* what the metric counts: the same, if there is no label */
	size_t offset;		   /* of its uint64_t in struct stats */
};

extern const struct stats_row *const stats_rows;
extern size_t stats_rows_n;

/* ---- what protocols add, at the start of the process; texts are borrowed ---- */

/* A reason to close a connection, and its row. Returns its number; the same if it is there. */
enum close_reason stats_add_reason(const char *name, const char *text);
/* A counter, and its row. Returns its place in `added`; the same if it is there. */
size_t stats_add_counter(const char *name, const char *metric, const char *text);

/* ---- */

const char *close_reason_name(unsigned reason);
/* CLOSE_NONE: there is none of that name. */
enum close_reason close_reason_named(const char *name);
/* Numbers of reasons are below it. */
unsigned close_reasons_end(void);
/* error: the positive errno that accept4 gave. */
enum accept_error accept_error_of(int error);
/* Is it about one connection only? If not, none can be taken now. */
bool accept_error_is_of_one(enum accept_error error);

static inline enum lag lag_of(uint64_t us)
{
	unsigned bits = us > 16 ? 64 - (unsigned)__builtin_clzll((us - 1) / 16) : 0;

	return bits < LAG_MORE ? (enum lag)bits : LAG_MORE;
}

uint64_t stats_value(const struct stats *stats, const struct stats_row *row);
void stats_store(struct stats *stats, const struct stats_row *row, uint64_t value);
/* The value of a row for two workers together. */
uint64_t stats_combine(const struct stats_row *row, uint64_t a, uint64_t b);
/* Does it go on growing from one worker of a slot to the next? Then what one of them did is a
 * difference. */
bool stats_grows(const struct stats_row *row);
/* For a worker that has gone: nothing of it is there now. */
void stats_clear_gauges(struct stats *stats);

#endif
