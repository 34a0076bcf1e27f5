/*
 * talk_output: what a talk writes to stdout and stderr.
 */
#ifndef BENCH_WEIRLOAD_TALK_TALK_OUTPUT_H
#define BENCH_WEIRLOAD_TALK_TALK_OUTPUT_H

#include "bench/weirload/talk/talk_state.h"

/* Says on stderr what went wrong. Returns 1, the exit status. */
__attribute__((format(printf, 2, 3))) int talk_output_complain(const struct talk *talk,
							       const char *format, ...);
/* Writes some of what waits for stdout: so much that a pipe takes it without blocking if poll() has
 * said that there is room. False: nobody reads stdout any more. */
bool talk_output_some(struct talk *talk);
/* Writes all that waits for stdout. False: that failed, and errno says why. */
bool talk_output_all(struct talk *talk);

#endif
