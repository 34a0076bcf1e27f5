/*
 * histogram: how often each span of time was seen, to 3 significant digits.
 *
 * Log-linear: each power of two has 1,024 slots (below 2,048 ns each value has its own), so
 * two values of one slot differ by less than 1/1000, up to 2^64 - 1: nothing is cut off.
 * Plain counters without pointers: 440 KiB that may lie in shared memory, of which only pages
 * with counted values are ever touched. All zero is an empty histogram.
 * One process writes; others may read at any time: each number is whole, but two numbers may be
 * from different moments.
 */
#ifndef BENCH_WEIRLOAD_REPORT_HISTOGRAM_H
#define BENCH_WEIRLOAD_REPORT_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_SLOT_BITS   10 /* a power of two has 2^10 slots */
#define HISTOGRAM_POWER_SLOTS (1u << HISTOGRAM_SLOT_BITS)
#define HISTOGRAM_SLOTS	      ((65 - HISTOGRAM_SLOT_BITS) * HISTOGRAM_POWER_SLOTS)

struct histogram {
	uint64_t n;
	uint64_t sum;	   /* stays at UINT64_MAX instead of overflowing */
	uint64_t max, min; /* mean nothing if n is 0 */
	uint64_t counts[HISTOGRAM_SLOTS];
};

/* A plain store for the one writer, whole for readers. */
#define HISTOGRAM_SET(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)

/* The number of low bits that the slot leaves out, followed by the other bits of the value. */
static inline unsigned histogram_slot(uint64_t value)
{
	unsigned shift =
	    (unsigned)(63 - __builtin_clzll(value | HISTOGRAM_POWER_SLOTS)) - HISTOGRAM_SLOT_BITS;

	return (shift << HISTOGRAM_SLOT_BITS) + (unsigned)(value >> shift);
}

/* Counts are stored last, so that a reader that sees a count sees max and min that fit it, or soon
 * will. */
static inline void histogram_add_n(struct histogram *histogram, uint64_t value_ns, uint64_t count)
{
	uint64_t *slot = &histogram->counts[histogram_slot(value_ns)];
	uint64_t product, sum;

	if (!count)
		return;
	if (__builtin_mul_overflow(value_ns, count, &product) ||
	    __builtin_add_overflow(histogram->sum, product, &sum))
		sum = UINT64_MAX;
	if (value_ns > histogram->max)
		HISTOGRAM_SET(histogram->max, value_ns);
	if (value_ns < histogram->min || !histogram->n)
		HISTOGRAM_SET(histogram->min, value_ns);
	HISTOGRAM_SET(histogram->sum, sum);
	HISTOGRAM_SET(*slot, *slot + count);
	HISTOGRAM_SET(histogram->n, histogram->n + count);
}

static inline void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
	histogram_add_n(histogram, value_ns, 1);
}

/* Adds all values of `from` to `into`. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/* At least that percentage of the values is no larger than the result: the end of the slot of that
 * rank, but never above max. 100 gives max; 0 if nothing was counted. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);
/* In ns; 0 if nothing was counted. For the deviation each value is the middle of its slot. */
double histogram_mean(const struct histogram *histogram);
double histogram_deviation(const struct histogram *histogram);

/* Prints HdrHistogram's text form of percentiles, 5 lines for each halving of the distance to 100;
 * values are in units of unit_ns, 1000 for microseconds. */
void histogram_print_hdr(const struct histogram *histogram, FILE *file, double unit_ns);

#endif
