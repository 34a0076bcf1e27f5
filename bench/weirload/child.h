/*
 * child: how every sending process begins: its signals, its loop, and the doorbell between it and
 * the conductor (run).
 *
 * The conductor says when to go on, by a byte on the doorbell and the times in struct schedule. The
 * process tells the conductor, by a byte too, how far it has come. Nothing here outlives the
 * process.
 */
#ifndef BENCH_WEIRLOAD_CHILD_H
#define BENCH_WEIRLOAD_CHILD_H

#include "bench/weirload/report/tally.h"
#include "reactor/loop/loop.h"

/* On the doorbell: */
#define DOORBELL_GO  'g' /* to the process: start_ns and measure_ns are set */
#define DOORBELL_END 'e' /* to the process: end_ns is set, and has come */
/* To the conductor: all connections are up, or have failed; with --idle once more, when their last
 * messages have been answered. */
#define DOORBELL_READY 'r'

/* Shared by all processes; the conductor writes it before it rings. Times are clock_ns()'s. */
struct schedule {
	uint64_t start_ns, measure_ns, end_ns;
};

/* Prepares signals, descriptors and the loop; doorbell is this process' end of a socketpair. If a
 * step fails the process ends. */
void child_begin(struct loop *loop, int doorbell);
/* Has the loop watch the doorbell, and a timer that gets a turn when it is due. */
void child_watch(struct loop *loop, struct source *doorbell, struct source *timer);
void child_timer_arm(struct source *timer, uint64_t at_ns);
void child_ring(struct source *doorbell, char what);

#endif
