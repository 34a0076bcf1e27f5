/*
 * pulse: a timer of a sending process that notices its own lateness.
 *
 * How late a message left does not show that the process stood still: after a sleep it reads the
 * reply, and sends the next message at once. A timer that is due every 10 ms and comes late does
 * show it. The time for which the process did not run is added to frozen_ns of its tally.
 */
#ifndef BENCH_WEIRLOAD_PULSE_H
#define BENCH_WEIRLOAD_PULSE_H

#include "bench/weirload/child.h"

struct pulse {
	struct source source;
	const struct schedule *schedule;
	struct tally *tally;
	uint64_t seen_ns; /* when the process was last seen to run */
	bool stopped;	  /* the next beat, which may be late, is the last */
};

void pulse_start(struct pulse *pulse, struct loop *loop, const struct schedule *schedule,
		 struct tally *tally);
/* Says that the process runs. Call it whenever the clock has just been read, so that one long pass
 * of the loop is not taken for a process that got no CPU. */
void pulse_seen(struct pulse *pulse, uint64_t now_ns);

#endif
