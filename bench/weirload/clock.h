/*
 * clock: the time of weirload, in ns of CLOCK_MONOTONIC, which all of its processes share.
 */
#ifndef BENCH_WEIRLOAD_CLOCK_H
#define BENCH_WEIRLOAD_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

#endif
