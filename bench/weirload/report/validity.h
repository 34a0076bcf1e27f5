/*
 * validity: whether a run may be believed, and whether server or generator was its limit.
 *
 * A run is INVALID if it met limits of the generator: no local port, descriptor or memory was
 * left; or the messages of an open loop left late although there was room for them; or the
 * generator did not run while it should have sent, or read.
 */
#ifndef BENCH_WEIRLOAD_REPORT_VALIDITY_H
#define BENCH_WEIRLOAD_REPORT_VALIDITY_H

#include "bench/weirload/run.h"

/* A thread of generator or server is at its limit if it ran, or waited for a CPU, for this share of
 * the time. */
#define VALIDITY_BUSY 0.95
/* A generator that stood still for this share of the time did not load the server; in an open loop
 * even the second, smaller share is too much, because messages were due in it. */
#define VALIDITY_FROZEN	     0.1
#define VALIDITY_FROZEN_OPEN 0.01
/* How late messages of an open loop may leave, at the 99th percentile; if a tenth of the response
 * time there is more, that late. */
#define VALIDITY_SLIP_NS 1000000

/* The share of answers that a generator may fail to read. */
#define VALIDITY_DROPPED 0.001

/* Sets the limit, why the run is invalid, if it is, and the exit status. */
void validity_conclude(struct outcome *outcome, const struct plan *plan);

/* Whether the generator waited for a CPU longer than it ran. */
bool validity_starved(const struct outcome *outcome);
/* Whether the generator did not run for much of the time that is measured. */
bool validity_frozen(const struct outcome *outcome);
/* Whether a run without a message is a fault. */
bool validity_expects_messages(const struct outcome *outcome, const struct plan *plan);
/* "server", "generator", "neither", or "unknown" */
const char *validity_limit_name(const struct outcome *outcome);

#endif
