/*
 * stats: the counters of one worker, as plain numbers in memory that others may read.
 *
 * One process writes them and never reads them back for a decision; any process that maps
 * them may read at any time: each number is whole, though two need not be of one moment.
 * A row in stats.def, or in close.def, makes a counter appear everywhere.
 */
#ifndef REACTOR_STATS_H
#define REACTOR_STATS_H

#include <stddef.h>
#include <stdint.h>

enum close_reason {
	CLOSE_NONE,
#define CLOSE(name, text) CLOSE_##name,
#include "reactor/close.def"
#undef CLOSE
	CLOSE_REASONS
};

struct stats {
#define STAT(kind, name, metric, text) uint64_t name;
#include "reactor/stats.def"
#undef STAT
	uint64_t closed[CLOSE_REASONS];
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

enum stats_kind {
	STATS_COUNTER,
	STATS_GAUGE,
	STATS_PEAK,
};

/* Rows of one metric stand together; they differ in the value of its label. */
struct stats_row {
	enum stats_kind kind;
	const char *name;	   /* unique: "accepted", "closed_eof" */
	const char *metric;	   /* "weir_connections_closed_total" */
	const char *label, *value; /* reason, eof; NULL: it has none */
	const char *text;	   /* what this row counts */
	const char *metric_text;   /* what the metric counts: the same, where there is no label */
	size_t offset;		   /* of its uint64_t in struct stats */
};

extern const struct stats_row stats_rows[];
extern const size_t stats_rows_n;

const char *close_reason_name(enum close_reason reason);
uint64_t stats_value(const struct stats *stats, const struct stats_row *row);
/* Two workers' values of a row as one. */
uint64_t stats_combine(const struct stats_row *row, uint64_t a, uint64_t b);

#endif
