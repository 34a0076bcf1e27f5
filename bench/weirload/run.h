/*
 * run: the conductor: carries out the plan, and keeps the results.
 *
 * Forks the senders, lets them open their connections, starts them all at one moment, reads CPU
 * time and counters together at the beginning and at the end of the time that is measured, and
 * waits for the senders to end. It sends no load itself; on a terminal it shows how far the run has
 * come.
 */
#ifndef BENCH_WEIRLOAD_RUN_H
#define BENCH_WEIRLOAD_RUN_H

#include "bench/weirload/plan/plan.h"
#include "bench/weirload/report/tally.h"
#include "bench/weirload/report/usage.h"

struct outcome {
	struct tally all; /* of all senders, over their whole life */
	/* In the time that is measured: */
	uint64_t measured_ns;
	uint64_t messages, lines, connects, sent_bytes, received_bytes;
	uint64_t reopened, reopened_by_reset, retried;
	struct usage server, generator;
	bool server_known; /* server_pid was given, and was there at both ends */
	/* How long the connections took to come up, were held, and took to end: */
	uint64_t ramp_ns, held_ns, finish_ns; /* the last two with --idle */
	uint64_t held;
	int64_t server_base_bytes, server_held_bytes, kernel_held_bytes;
	unsigned cpus; /* of this machine */
	bool interrupted;
	/* Set by validity_conclude(): */
	enum { LIMIT_UNKNOWN, LIMIT_NEITHER, LIMIT_SERVER, LIMIT_GENERATOR } limit;
	char invalid_why[200]; /* empty: valid */
	int exit_status;
};

/* outcome has to be zeroed; it is too large for the stack. If the run cannot begin the process
 * ends. */
void run(struct outcome *outcome, const struct plan *plan);

#endif
