/*
 * liveness: does a worker that is awake make progress?
 *
 * The counters of turns and passes that a worker keeps on the scoreboard are its heartbeat: one
 * that is busy moves them, and one that waits for events says there that it is asleep. So a look
 * costs the worker nothing, and wakes nobody. One look says little, because the worker may have
 * been woken, or stopped, this very moment: two looks are compared.
 *
 * The one watch is the master's, and lives as long as its loop. It aborts a worker that makes no
 * progress for --watchdog, so that it leaves a core and its last words and is replaced like any
 * that dies, and it tells systemd's watchdog that all is well only while every worker moves. It
 * must never abort a worker that a debugger holds, nor all of them because the machine stood still.
 */
#ifndef MASTER_LIVENESS_H
#define MASTER_LIVENESS_H

#include "master/change/generation.h"

/* What one look at a process found. */
struct liveness_look {
	pid_t pid;
	uint64_t progress; /* its turns and passes so far */
	bool asleep;	   /* it waits for events, by its own word */
	bool stopped;	   /* by a signal, or a debugger */
};

/* Should it make progress? One that waits for events need not, unless it is stopped. */
static inline bool liveness_should_move(const struct liveness_look *look)
{
	return look->stopped || !look->asleep;
}

/* The one test that all use: it has made no progress since the look before, and it should have. */
static inline bool liveness_is_still(const struct liveness_look *before,
				     const struct liveness_look *now)
{
	return before->pid == now->pid && before->progress == now->progress &&
	       liveness_should_move(now);
}

struct liveness {
	bool stopped;	   /* by a signal, or a debugger */
	uint64_t still_us; /* for so long at least; 0: it moves, or is asleep */
};

/* How a slot's worker is; a slot without a process has {false, 0}. Time counts from the first of
 * two looks that both found that it should move, and between which it did not: every look helps
 * later ones. */
struct liveness liveness_of(const struct scoreboard *scoreboard, const struct slot *slot);
/* The same if its state in /proc has just been read; 0: it is not known. */
struct liveness liveness_of_state(const struct scoreboard *scoreboard, const struct slot *slot,
				  char state);
/* It does not serve, whatever its slot's state says. */
bool liveness_is_bad(struct liveness liveness);

/* Begins the watch. Borrows loop and scoreboard. watchdog_ms is asked for at each look, because a
 * reload may change it; 0: nobody is aborted. status is called at each look. */
void liveness_watch(struct loop *loop, const struct scoreboard *scoreboard,
		    uint32_t (*watchdog_ms)(void), void (*status)(void));
/* Looks soon: the configuration that the watch goes by has changed. */
void liveness_look_soon(void);

#endif
