/*
 * sample: an answer to `top` beside the one before it, and what the kernel says of the processes:
 * numbers now, and rates over the real time between the two.
 *
 * The server says when it counted, by a clock that all processes here have, so that an answer that
 * came late makes no rate wrong. stats_rows says which fields are counters. A rate that can't be
 * known (the first answer, another server) is missing, not 0. Of processes in another pid namespace
 * nothing is known but what the server says.
 */
#ifndef MASTER_WEIRCTL_SAMPLE_H
#define MASTER_WEIRCTL_SAMPLE_H

#include <sys/types.h>

#include "master/liveness.h"
#include "master/proc.h"
#include "master/weirctl/answer.h"

struct sample_process {
	bool known;
	struct proc proc;
	uint64_t at_us; /* when it was read */
};

/* The server, or a worker. */
struct sample_row {
	const struct answer_record *now, *before; /* before NULL: rates count from 0 */
	struct sample_process process, process_before;
	struct liveness_look look;
	uint64_t moved_us; /* when it was last seen to move, or to sleep */
};

struct sample {
	struct answer answer;
	uint64_t at_us, span_us; /* span 0: there is nothing to compare with */
	struct sample_row server;
	struct sample_row *workers;
	size_t workers_n;
};

/* Takes over the answer; before (NULL: none) has to stay as long. False: it is no answer to `top`;
 * clear the sample all the same. */
bool sample_take(struct sample *sample, struct answer *answer, const struct sample *before,
		 bool local);
void sample_clear(struct sample *sample);

/* False: it is not known. */
bool sample_number(const struct sample_row *row, const char *key, double *value);
bool sample_rate(const struct sample *sample, const struct sample_row *row, const char *key,
		 double *a_second);
/* What 99 of 100 passes of its loop took at most, in steps; INFINITY: longer than any step. */
bool sample_lag(const struct sample *sample, const struct sample_row *row, double *seconds);
bool sample_cpu(const struct sample_row *row, double *percent);
/* For how long it neither moved nor slept, if that is too long; else 0. */
uint64_t sample_still_us(const struct sample *sample, const struct sample_row *row);
/* Is it still for too long, or was it found stopped at the first look? */
bool sample_is_still(const struct sample *sample, const struct sample_row *row);
/* Does this field only grow, so that it has a rate? */
bool sample_is_counter(const char *key);
/* A field that is a text; "" if there is none. */
const char *sample_text(const struct sample_row *row, const char *key);

#endif
