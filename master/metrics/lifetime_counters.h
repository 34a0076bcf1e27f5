/*
 * lifetime_counters: what happened since weir was started, over all of its masters and workers.
 *
 * Memory that a master shares with the next one, and with no worker: no counter that is kept here
 * goes back at an upgrade, or when a worker ends. The first master makes it, each one passes its
 * descriptor on. If there is no memory for it, nothing is counted, and all is 0; the same before
 * lifetime_counters_open().
 *
 * A seat is a process' place, as the scoreboard has them for workers; masters have one each, too.
 */
#ifndef MASTER_METRICS_LIFETIME_COUNTERS_H
#define MASTER_METRICS_LIFETIME_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "worker/scoreboard.h"

enum lifetime_counter {
	LIFETIME_RELOADS,
	LIFETIME_RELOADS_FAILED,
	LIFETIME_UPGRADES,
	LIFETIME_UPGRADES_FAILED,
	LIFETIME_COUNTERS
};

/* Those of a master before us (-1: there was none, or it had none), or new ones. */
void lifetime_counters_open(int inherited);
int lifetime_counters_fd(void); /* -1: there are none */
void lifetime_counters_close(void);

void lifetime_counters_add(enum lifetime_counter lifetime_counter);
uint64_t lifetime_counters_count(enum lifetime_counter lifetime_counter);
/* What all masters together have counted of a row of stats, of which `value` is this one's part.
 * Only the master that serves may ask. */
uint64_t lifetime_counters_of_masters(size_t row, uint64_t value);
/* Stores what this master counted, from which the next one goes on. */
void lifetime_counters_leave_master(const struct stats *own);
/* Unix time, in microseconds, of the first lifetime_counters_open(). */
uint64_t lifetime_counters_began_us(void);

/* A worker came because the one before had died. */
void lifetime_counters_count_restart(unsigned slot);
uint64_t lifetime_counters_restarts(unsigned slot);

/* ---- processes ---- */

#define LIFETIME_MASTER SEATS_MAX /* and one more, for the next master */

/* A process begins in this seat; the one before it there has ended. */
void lifetime_counters_process_began(unsigned seat, pid_t pid);
/* It was reaped, and this is what it had used. */
void lifetime_counters_process_ended(unsigned seat, const struct rusage *used);
/* The same for this master, in a seat that no worker and no other master has. */
void lifetime_counters_master_began(void);

struct lifetime_process {
	uint64_t cpu_us;       /* of all that were in this seat; never goes back */
	uint64_t memory_bytes; /* 0: nobody is there now */
	char state;	       /* as proc.h has it; 0: nobody is there, or not known */
	uint64_t born_us;      /* Unix time; 0: nobody was there yet */
};

/* Asks /proc. */
struct lifetime_process lifetime_counters_process(unsigned seat);

#endif
