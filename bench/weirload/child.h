/*
 * child: what every sending process has, whatever it sends: how it begins, its timetable, the
 * doorbell between it and the conductor, a timer that is exact, and its pulse.
 *
 * The conductor says when, by a byte on the doorbell and the times in struct schedule; the process
 * tells it by a byte that it has come so far. The pulse measures how long the process stood
 * still although it had something to do. Nothing here outlives the process.
 */
#ifndef BENCH_WEIRLOAD_CHILD_H
#define BENCH_WEIRLOAD_CHILD_H

#include <time.h>

#include "bench/weirload/report/tally.h"
#include "reactor/loop/loop.h"

/* On the doorbell: */
#define DOORBELL_GO  'g' /* to the process: start_ns and measure_ns are set */
#define DOORBELL_END 'e' /* to the process: end_ns is set, and has come */
/* To the conductor: all connections have come up, or failed; with --idle, once more when their last
 * messages are answered. */
#define DOORBELL_READY 'r'

/* Shared by all, written by the conductor before it rings. CLOCK_MONOTONIC. */
struct schedule {
	uint64_t start_ns, measure_ns, end_ns;
};

struct pulse {
	struct source source;
	const struct schedule *schedule;
	struct tally *tally;
	uint64_t seen_ns; /* when the process was last seen to run */
	bool stopped;	  /* the next beat, which may be late, is the last */
};

static inline uint64_t clock_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Signals, descriptors and the loop; doorbell is its end of a socketpair. Dies where it cannot. */
void child_begin(struct loop *loop, int doorbell);
/* The doorbell, and a timer that has a turn when it is due. */
void child_watch(struct loop *loop, struct source *doorbell, struct source *timer);
void child_timer_arm(struct source *timer, uint64_t at_ns);
void child_ring(struct source *doorbell, char what);

void pulse_start(struct pulse *pulse, struct loop *loop, const struct schedule *schedule,
		 struct tally *tally);
/* It runs: said by whoever knows the time, so that one long pass is not taken for standing
 * still. */
void pulse_seen(struct pulse *pulse, uint64_t now_ns);

#endif
