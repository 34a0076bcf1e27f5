/*
 * board: memory that the master and its workers share, a slot for each worker.
 *
 * The master makes it before the first fork and keeps it as long as it runs. A worker
 * writes its own slot only; the counters go on growing when the slot's next worker comes.
 * The master reads, and trusts nothing there: a number is shown or compared, never used as
 * an index, a pid or a length, and texts are copied with their end put in.
 */
#ifndef WORKER_BOARD_H
#define WORKER_BOARD_H

#include <stdint.h>

#include "reactor/stats.h"
#include "worker/config.h"

#define BOARD_NAME	 "weir-board" /* of the memfd, as /proc/PID/fd shows it */
#define BOARD_VERSION	 1
#define LAST_WORDS_BYTES 256

struct board_slot {
	_Alignas(64) struct stats stats;
	char last_words[LAST_WORDS_BYTES]; /* why a worker aborted; empty: it did not say */
};

struct board {
	uint32_t version, slots;
	_Alignas(64) struct board_slot slot[WORKERS_MAX];
};

/* NULL: no memory. The descriptor stays open in the master (closed on exec). */
struct board *board_open(int *fd);

/* Copies, and clears, what the last worker of the slot left; "" where it left nothing. */
void board_take_last_words(struct board_slot *slot, char words[LAST_WORDS_BYTES]);

#endif
