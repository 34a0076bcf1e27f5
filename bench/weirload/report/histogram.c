#include "bench/weirload/report/histogram.h"

#include <math.h>

#define READ(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

/* A percentile is printed with 12 decimals: after more halvings lines would look the same. */
#define HDR_HALVINGS_MAX 36
#define HDR_TICKS	 5 /* lines for each halving */

/* The largest value that slot counts. For the last slot the shift gives 0, and the result is
 * 2^64 - 1. */
static uint64_t slot_end(unsigned slot)
{
	unsigned power = slot >> HISTOGRAM_SLOT_BITS;
	unsigned shift = power ? power - 1 : 0;
	uint64_t first = slot - (shift << HISTOGRAM_SLOT_BITS);

	return ((first + 1) << shift) - 1;
}

static double slot_middle(unsigned slot)
{
	uint64_t end = slot_end(slot);

	return slot ? ((double)slot_end(slot - 1) + 1 + (double)end) / 2 : 0;
}

/* Only slots between min and max are read: reading a page of shared memory that nobody has written
 * allocates it. */
static unsigned slot_first(const struct histogram *histogram)
{
	return histogram_slot(READ(histogram->min));
}

static unsigned slot_last(const struct histogram *histogram)
{
	return histogram_slot(READ(histogram->max));
}

static uint64_t at_most(uint64_t value, uint64_t max)
{
	return value < max ? value : max;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	uint64_t n = 0, min = READ(from->min), max = READ(from->max), sum;

	if (!READ(from->n))
		return;
	if (max > into->max)
		HISTOGRAM_SET(into->max, max);
	if (min < into->min || !into->n)
		HISTOGRAM_SET(into->min, min);
	if (__builtin_add_overflow(into->sum, READ(from->sum), &sum))
		sum = UINT64_MAX;
	HISTOGRAM_SET(into->sum, sum);
	for (unsigned slot = histogram_slot(min); slot <= histogram_slot(max); slot++) {
		uint64_t count = READ(from->counts[slot]);

		if (!count)
			continue;
		HISTOGRAM_SET(into->counts[slot], into->counts[slot] + count);
		n += count;
	}
	HISTOGRAM_SET(into->n, into->n + n);
}

/* How many of n values are at or below a percentile. In floating point 99.9 % of 1,000 is a hair
 * above 999: that must not be rounded up to 1,000. */
static uint64_t rank_of(double percent, uint64_t n)
{
	double exact = percent / 100 * (double)n;
	double rank = ceil(exact - exact * 1e-12);

	if (rank < 1)
		return 1;
	return rank < (double)n ? (uint64_t)rank : n;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
	uint64_t n = READ(histogram->n), max = READ(histogram->max);
	uint64_t rank = rank_of(percent, n), seen = 0;
	unsigned last = slot_last(histogram);

	if (!n)
		return 0;
	for (unsigned slot = slot_first(histogram); percent < 100 && slot <= last; slot++) {
		seen += READ(histogram->counts[slot]);
		if (seen >= rank)
			return at_most(slot_end(slot), max);
	}
	return max;
}

static double mean_of_slots(const struct histogram *histogram, uint64_t n)
{
	unsigned last = slot_last(histogram);
	double mean = 0;

	for (unsigned slot = slot_first(histogram); slot <= last; slot++)
		mean += (double)READ(histogram->counts[slot]) / (double)n * slot_middle(slot);
	return mean;
}

double histogram_mean(const struct histogram *histogram)
{
	uint64_t n = READ(histogram->n), sum = READ(histogram->sum);

	if (!n)
		return 0;
	return sum < UINT64_MAX ? (double)sum / (double)n : mean_of_slots(histogram, n);
}

double histogram_deviation(const struct histogram *histogram)
{
	uint64_t n = READ(histogram->n);
	unsigned last = slot_last(histogram);
	double mean, variance = 0;

	if (!n)
		return 0;
	mean = histogram_mean(histogram);
	for (unsigned slot = slot_first(histogram); slot <= last; slot++) {
		double off = slot_middle(slot) - mean;

		variance += (double)READ(histogram->counts[slot]) / (double)n * off * off;
	}
	return sqrt(variance);
}

/* The levels 0, 0.1, ... 0.5, 0.55, ... 0.75, 0.775, ...: the distance to 1 is halved again and
 * again, each time in HDR_TICKS steps. */
struct levels {
	unsigned halving, tick;
};

static double levels_left(const struct levels *levels)
{
	return ldexp(1 - levels->tick / (2.0 * HDR_TICKS), -(int)levels->halving);
}

static void levels_next(struct levels *levels)
{
	if (++levels->tick < HDR_TICKS)
		return;
	levels->tick = 0;
	levels->halving++;
}

/* Enough to show a nanosecond; HdrHistogram's own tools print three. */
static int decimals_of(double unit_ns)
{
	int decimals = (int)ceil(log10(unit_ns));

	return decimals > 3 ? decimals : 3;
}

static void print_levels(const struct histogram *histogram, FILE *file, double unit_ns)
{
	int decimals = decimals_of(unit_ns);
	uint64_t n = READ(histogram->n), max = READ(histogram->max), seen = 0;
	unsigned last = slot_last(histogram);
	struct levels levels = {0, 0};

	for (unsigned slot = slot_first(histogram); slot <= last && seen < n; slot++) {
		double value = (double)at_most(slot_end(slot), max) / unit_ns;
		uint64_t count = READ(histogram->counts[slot]);

		seen += count;
		while (count && levels.halving < HDR_HALVINGS_MAX &&
		       1 - levels_left(&levels) <= (double)seen / (double)n) {
			double left = levels_left(&levels);

			(void)fprintf(file, "%14.*f %15.12f %12llu %16.2f\n", decimals, value,
				      1 - left, (unsigned long long)seen, 1 / left);
			levels_next(&levels);
			if (seen >= n)
				break;
		}
	}
	(void)fprintf(file, "%14.*f %15.12f %12llu %16s\n", decimals, (double)max / unit_ns, 1.0,
		      (unsigned long long)n, "inf");
}

void histogram_print_hdr(const struct histogram *histogram, FILE *file, double unit_ns)
{
	int decimals = decimals_of(unit_ns);

	(void)fprintf(file, "%14s %15s %12s %16s\n\n", "Value", "Percentile", "TotalCount",
		      "1/(1-Percentile)");
	print_levels(histogram, file, unit_ns);
	(void)fprintf(file, "#[Mean    = %12.*f, StdDeviation   = %12.*f]\n", decimals,
		      histogram_mean(histogram) / unit_ns, decimals,
		      histogram_deviation(histogram) / unit_ns);
	(void)fprintf(file, "#[Max     = %12.*f, Total count    = %12llu]\n", decimals,
		      (double)READ(histogram->max) / unit_ns,
		      (unsigned long long)READ(histogram->n));
	(void)fprintf(file, "#[Buckets = %12u, SubBuckets     = %12u]\n",
		      HISTOGRAM_SLOTS / HISTOGRAM_POWER_SLOTS - 1, 2 * HISTOGRAM_POWER_SLOTS);
}
