/*
 * scrape: all that metrics say, as it was at one moment, as plain numbers.
 *
 * It does not change after it was taken, so the text (exposition.h) may be written bit by bit. It
 * costs no worker anything: counters are read from the scoreboard and the journal, CPU and memory
 * from /proc, and the rest the master knows. A slot's two seats are one worker here, so that what
 * only grows never goes back at a reload. What workers wrote on the scoreboard is shown and never
 * used.
 */
#ifndef MASTER_METRICS_SCRAPE_H
#define MASTER_METRICS_SCRAPE_H

#include "master/change/generation.h"
#include "master/journal_setup.h"

struct scrape_worker {
	const char *state;   /* of state_words.h; NULL: nobody is wanted there now */
	bool up;	     /* it serves, and moves */
	unsigned generation; /* 0: nobody was ever there */
	pid_t pid;	     /* 0: nobody is there */
	uint64_t restarts, born_us, cpu_us, memory_bytes;
	uint64_t still_us; /* liveness.h */
};

struct scrape_listener {
	uint32_t number;
	char accept[16]; /* the mode */
	char text[ENDPOINT_TEXT_BYTES];
};

struct scrape {
	unsigned generation;
	const char *state; /* of state_words.h */
	size_t workers, workers_ready;
	uint64_t began_us; /* of weir, Unix time */
	uint64_t master_born_us, master_cpu_us, master_memory_bytes;
	uint64_t reloads, reloads_failed, upgrades, upgrades_failed;
	struct journal_figures journal;
	size_t listeners_n;
	struct scrape_listener listeners[LISTENERS_MAX];
	size_t slots_n;
	struct scrape_worker slots[WORKERS_MAX];
	/* stats_rows_n of each slot, and behind them the master's own. */
	uint64_t values[];
};

static inline uint64_t *scrape_values(struct scrape *scrape, size_t slot)
{
	return scrape->values + slot * stats_rows_n;
}

static inline uint64_t scrape_value(const struct scrape *scrape, size_t slot, size_t row)
{
	return scrape->values[slot * stats_rows_n + row];
}

/* One with so many slots, all 0. NULL: no memory. To be ended by free(3). */
struct scrape *scrape_new(size_t slots);
/* Reads all as it is now; state: the master's, in a word; own: its counters. NULL: no memory. */
struct scrape *scrape_take(const struct scoreboard *scoreboard, const char *state,
			   const struct stats *own);

#endif
