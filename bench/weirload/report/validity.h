/*
 * validity_check: whether a run may be believed, and who was its limit.
 *
 * INVALID is a run that met limits of the generator's own: no local port, descriptor or memory
 * left, or an open loop whose messages left late although there was room for them, or that was
 * not there to send, or to read what made room.
 */
#ifndef BENCH_WEIRLOAD_REPORT_VALIDITY_H
#define BENCH_WEIRLOAD_REPORT_VALIDITY_H

#include "bench/weirload/run.h"

/* A generator or server thread is at its limit when it ran, or waited for a CPU, so much of
 * the time. */
#define VALIDITY_BUSY 0.95
/* A generator that stood still so much of the time was not there to load anything; and one
 * message of an open loop in so many may have been due meanwhile. */
#define VALIDITY_FROZEN	     0.1
#define VALIDITY_FROZEN_OPEN 0.01
/* Messages of an open loop may leave so late at the 99th percentile, or a tenth of the
 * response time there, if that is more. */
#define VALIDITY_SLIP_NS 1000000

/* Answers that a generator may fail to read, in so many. */
#define VALIDITY_DROPPED 0.001

void validity_conclude(struct outcome *outcome, const struct plan *plan);

/* It waited for a CPU more than it had one. */
bool validity_starved(const struct outcome *outcome);
/* It did not run for much of the time that is measured. */
bool validity_frozen(const struct outcome *outcome);
/* Whether a run without a message is a fault. */
bool validity_expects_messages(const struct outcome *outcome, const struct plan *plan);
/* "server", "generator", "neither", or "unknown" */
const char *validity_limit_name(const struct outcome *outcome);

#endif
