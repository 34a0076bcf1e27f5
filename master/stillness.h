/*
 * stillness: does a worker that is awake move?
 *
 * Seen from outside, by its progress on the scoreboard and what /proc says, so that it costs the
 * worker nothing. Time runs from the first of two looks between which it made no progress and was
 * not asleep: one look says little. Whoever looks helps whoever looks later; nothing is
 * done here about what is seen.
 */
#ifndef MASTER_STILLNESS_H
#define MASTER_STILLNESS_H

#include "master/change/generation.h"

struct stillness {
	bool stopped;	   /* by a signal, or a debugger */
	uint64_t still_us; /* for so long at least; 0: it moves, or is asleep */
};

/* Of a slot that has a process; another has none. */
struct stillness stillness_look(const struct scoreboard *scoreboard, const struct slot *slot);
/* The same where its state in /proc has just been read; 0: it is not known. */
struct stillness stillness_of(const struct scoreboard *scoreboard, const struct slot *slot,
			      char state);
/* It does not serve, whatever its state says. */
bool stillness_is_bad(struct stillness stillness);

#endif
