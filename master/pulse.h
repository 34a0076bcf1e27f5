/*
 * pulse: looks now and then whether all workers move, and tells systemd so.
 *
 * What a worker's counters of turns say on the scoreboard is its heartbeat: one that is busy moves
 * them, and one that waits for events says so there. One that does neither for --watchdog, or
 * was stopped, is aborted, so that it leaves a core and its last words, and is replaced as any
 * that dies; but not while a debugger holds it. Nobody is woken for this. systemd's watchdog
 * hears of us only while every worker moves.
 */
#ifndef MASTER_PULSE_H
#define MASTER_PULSE_H

#include "master/change/generation.h"

/* Borrows both. watchdog_ms is asked for each time: a reload may change it; 0: nobody is aborted.
 */
void pulse_open(struct loop *loop, const struct scoreboard *scoreboard,
		uint32_t (*watchdog_ms)(void), void (*status)(void));

/* What it goes by has changed. */
void pulse_look(void);

#endif
