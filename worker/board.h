/*
 * board: memory that masters and their workers share, a seat for each worker.
 *
 * The first master makes it before its first fork; it lives until the last one ends. A slot has
 * two seats, which its workers take in turns: at a reload the old one and the new one are there at
 * a time. A worker writes its own seat only; the counters go on growing when the next one comes.
 * The master reads, and trusts nothing there: a number is shown or compared, never used as
 * an index, a pid or a length, and texts are copied with their end put in.
 */
#ifndef WORKER_BOARD_H
#define WORKER_BOARD_H

#include <stdint.h>

#include "reactor/stats.h"
#include "worker/config.h"

#define BOARD_NAME	 "weir-board" /* of the memfd, as /proc/PID/fd shows it */
#define BOARD_VERSION	 2
#define LAST_WORDS_BYTES 256
#define SEATS_MAX	 (2 * WORKERS_MAX)

struct board_seat {
	_Alignas(64) struct stats stats;
	char last_words[LAST_WORDS_BYTES]; /* why a worker aborted; empty: it did not say */
};

struct board {
	uint32_t version, seats_n;
	uint64_t layout; /* what the counters are, as a hash */
	_Alignas(64) struct board_seat seats[SEATS_MAX];
};

static inline unsigned board_seat_of(unsigned slot, unsigned generation)
{
	return 2 * slot + (generation & 1);
}

/* NULL: no memory. The descriptor stays open in the master (closed on exec). */
struct board *board_open(int *fd);
/* One that another master made. NULL: there is none, or this version has other counters. */
struct board *board_attach(int fd);

/* Copies, and clears, what the last worker of the seat left; "" where it left nothing. */
void board_take_last_words(struct board_seat *seat, char words[LAST_WORDS_BYTES]);

#endif
