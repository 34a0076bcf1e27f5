/*
 * annals: what happened since weir was started, over all of its masters and workers.
 *
 * Memory that a master shares with the next one, and with no worker: no counter that is kept
 * here goes back at an upgrade, or when a worker ends. The first master makes it, each one
 * gives its descriptor on. Where there is no memory for it, nothing is written down, and all
 * is 0; the same before annals_open().
 *
 * A seat is a process' place, as the board has them for workers; masters have one each, too.
 */
#ifndef MASTER_METRICS_LIFETIME_COUNTERS_H
#define MASTER_METRICS_LIFETIME_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "worker/scoreboard.h"

enum annal { ANNAL_RELOADS, ANNAL_RELOADS_FAILED, ANNAL_UPGRADES, ANNAL_UPGRADES_FAILED, ANNALS };

/* Those of a master before us (-1: there was none, or it had none), or new ones. */
void annals_open(int inherited);
int annals_fd(void); /* -1: there are none */
void annals_close(void);

void annals_add(enum annal annal);
uint64_t annals_count(enum annal annal);
/* What all masters together have counted of a row of stats, of which `value` is this one's part.
 * Only the master that serves may ask. */
uint64_t annals_own(size_t row, uint64_t value);
/* Writes down what this master counted, for the next one to go on from. */
void annals_leave_own(const struct stats *own);
/* Unix time, in microseconds, of the first annals_open(). */
uint64_t annals_began_us(void);

/* A worker came because the one before had died. */
void annals_restarted(unsigned slot);
uint64_t annals_restarts(unsigned slot);

/* ---- processes ---- */

#define ANNALS_MASTER SEATS_MAX /* and one more, for the next master */

/* This process is there from now on; before it was forked anew, the last one had ended. */
void annals_here(unsigned seat, pid_t pid);
/* It was reaped, and this is what it had used. */
void annals_gone(unsigned seat, const struct rusage *used);
/* This master's own; it is no worker's, nor another master's. */
void annals_here_master(void);

struct annals_process {
	uint64_t cpu_us;       /* of all that were in this seat; never goes back */
	uint64_t memory_bytes; /* 0: nobody is there now */
	char state;	       /* as proc.h has it; 0: the same, or it is not known */
	uint64_t born_us;      /* Unix time; 0: nobody was there yet */
};

/* Asks /proc. */
struct annals_process annals_look(unsigned seat);

#endif
