/*
 * scoreboard: memory that masters and their workers share, a seat for each worker.
 *
 * The first master makes it before its first fork; it lives until the last master ends, or until
 * one comes that has other counters. A slot has two seats, which its workers take in turns, because
 * at a reload the old one and the new one run at the same time. A worker writes its own seat only;
 * the counters go on growing when the next worker comes. The master reads, and trusts nothing
 * there: a number is shown or compared, never used as an index, a pid or a length, and a text is
 * copied and then ended with a 0.
 */
#ifndef WORKER_SCOREBOARD_H
#define WORKER_SCOREBOARD_H

#include <stdint.h>

#include "reactor/base/stats.h"
#include "worker/config/config.h"

#define SCOREBOARD_NAME	      "weir-board" /* of the memfd, as /proc/PID/fd shows it */
#define SCOREBOARD_VERSION    3		   /* of the head; `layout` says which counters */
#define SCOREBOARD_ROWS_MAX   512
#define SCOREBOARD_NAME_BYTES 48
#define LAST_WORDS_BYTES      256
#define SEATS_MAX	      (2 * WORKERS_MAX)

struct scoreboard_seat {
	_Alignas(64) struct stats stats;
	char last_words[LAST_WORDS_BYTES]; /* why a worker aborted; empty: it did not say */
};

/* Where a counter stands in a seat, for a next master that has other counters. */
struct scoreboard_row {
	char name[SCOREBOARD_NAME_BYTES];
	uint32_t offset, kind;
};

struct scoreboard_head {
	uint32_t version, seats_n, rows_n;
	uint32_t carries; /* not 0: `carried` is in use */
	uint64_t layout;  /* what the counters are, as a hash */
	/* Bytes from the beginning of the scoreboard, and from one seat to the next. */
	uint32_t seats_at, seat_bytes, carried_at, carried_bytes;
	struct scoreboard_row rows[SCOREBOARD_ROWS_MAX];
};

struct scoreboard {
	struct scoreboard_head head;
	_Alignas(64) struct scoreboard_seat seats[SEATS_MAX];
	/* What was counted on scoreboards of other versions, as far as this one has counters of the
	 * same name: only masters write here (master/metrics/carried_counters.h). */
	_Alignas(64) struct stats carried[SEATS_MAX];
};

static inline unsigned scoreboard_seat_of(unsigned slot, unsigned generation)
{
	return 2 * slot + (generation & 1);
}

/* NULL: no memory. The descriptor stays open in the master (closed on exec). */
struct scoreboard *scoreboard_open(int *fd);
/* One that another master made. NULL: there is none, or this version has other counters. */
struct scoreboard *scoreboard_attach(int fd);

/* What workers of that seat have counted since weir was started, on whichever scoreboard. */
uint64_t scoreboard_value(const struct scoreboard *scoreboard, size_t seat,
			  const struct stats_row *row);

/* Copies, and clears, what the last worker of the seat left; "" if it left nothing. */
void scoreboard_take_last_words(struct scoreboard_seat *seat, char words[LAST_WORDS_BYTES]);

#endif
