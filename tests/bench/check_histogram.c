/*
 * histogram: compared with sorted arrays of all values, over the whole range of 64 bits.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/weirload/report/histogram.h"
#include "tests/support/harness.h"

/* ck_assert() writes a mark each time it is passed, which is slow for a million of them. */
#define MUST(condition) ((condition) ? (void)0 : ck_abort_msg("%s does not hold", #condition))

#define VALUES 20000

static struct histogram histogram, other, whole;
static uint64_t values[VALUES];

/* With a random number of bits, so that nanoseconds are as frequent as centuries. */
static uint64_t random_value(uint64_t *seed)
{
	uint64_t value = next_random(seed);

	return value >> (next_random(seed) >> 32) % 64;
}

/* A percentile may be the value, or a little more. */
static void must_be_near(uint64_t said, uint64_t value)
{
	MUST(said >= value);
	MUST((said - value) <= value / 1000);
}

/* There are two values in the histogram, so that the lower one's percentile comes from its slot,
 * not from max. */
static void must_be_precise(uint64_t value)
{
	memset(&histogram, 0, sizeof histogram);
	histogram_add(&histogram, value);
	MUST(histogram_percentile(&histogram, 50) == value);
	histogram_add(&histogram, UINT64_MAX);
	must_be_near(histogram_percentile(&histogram, 50), value);
	MUST(histogram_percentile(&histogram, 100) == UINT64_MAX);
	MUST(histogram.min == value && histogram.max == UINT64_MAX && histogram.n == 2);
}

START_TEST(every_power_of_two_and_its_neighbours_are_precise)
{
	must_be_precise(0);
	must_be_precise(UINT64_MAX);
	for (unsigned bit = 0; bit < 64; bit++)
		for (uint64_t off = 0; off < 3; off++)
			must_be_precise((1ULL << bit) + off - 1);
}
END_TEST

START_TEST(random_values_are_precise)
{
	unsigned long n = suite_volume(20000);
	uint64_t seed = 1;

	for (unsigned long i = 0; i < n; i++)
		must_be_precise(random_value(&seed));
}
END_TEST

/* Slots neither overlap nor leave a gap, and the last value has the last slot. */
START_TEST(slots_are_in_the_order_of_values)
{
	uint64_t seed = 2;

	for (uint64_t value = 0; value < 100000; value++)
		MUST(histogram_slot(value + 1) - histogram_slot(value) <= 1);
	for (int i = 0; i < 1000000; i++) {
		uint64_t value = random_value(&seed) >> 1;

		MUST(histogram_slot(value + 1) - histogram_slot(value) <= 1);
	}
	ck_assert_uint_eq(histogram_slot(0), 0);
	ck_assert_uint_eq(histogram_slot(UINT64_MAX), HISTOGRAM_SLOTS - 1);
}
END_TEST

/* ---- percentiles ---- */

static int value_order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* A value of one of these kinds of data: few and close together, a long tail, anything, all equal.
 */
static uint64_t draw(int kind, uint64_t *seed)
{
	uint64_t random = next_random(seed);

	switch (kind) {
	case 0:
		return 50000 + random % 1000;
	case 1:
		return random % 100 ? 20000 + random % 30000 : 300000000 + random % 100000000;
	case 2:
		return random_value(seed);
	default:
		return 777777777;
	}
}

START_TEST(percentiles_agree_with_a_sorted_array)
{
	/* In thousandths of a percent, so that ranks can be computed in whole numbers. */
	static const unsigned asked[] = {1,	10,    100,   1000,  25000, 50000, 90000,
					 95000, 99000, 99900, 99990, 99999, 100000};
	static const size_t sizes[] = {1, 2, 3, 10, 99, 100, 101, 1000, 1001, VALUES};
	uint64_t seed = 3;

	for (int round = 0; round < 4 * 10; round++) {
		size_t n = sizes[round / 4];

		memset(&histogram, 0, sizeof histogram);
		for (size_t i = 0; i < n; i++)
			histogram_add(&histogram, values[i] = draw(round % 4, &seed));
		qsort(values, n, sizeof *values, value_order);
		for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
			size_t rank = (n * asked[i] + 99999) / 100000;
			uint64_t said = histogram_percentile(&histogram, asked[i] / 1000.0);

			must_be_near(said, values[rank - 1]);
			MUST(said <= values[n - 1]);
		}
		MUST(histogram_percentile(&histogram, 100) == values[n - 1]);
		MUST(histogram.max == values[n - 1] && histogram.min == values[0]);
	}
}
END_TEST

START_TEST(an_empty_one_answers_0)
{
	memset(&histogram, 0, sizeof histogram);
	ck_assert_uint_eq(histogram_percentile(&histogram, 50), 0);
	ck_assert_uint_eq(histogram_percentile(&histogram, 100), 0);
	ck_assert_double_eq(histogram_mean(&histogram), 0);
	ck_assert_double_eq(histogram_deviation(&histogram), 0);
	histogram_add_n(&histogram, 5, 0);
	ck_assert_uint_eq(histogram.n, 0);
	ck_assert_uint_eq(histogram.max, 0);
}
END_TEST

/* ---- merging ---- */

START_TEST(merging_is_as_if_all_were_in_one)
{
	uint64_t seed = 4;

	for (int part = 0; part < 5; part++) {
		memset(&other, 0, sizeof other);
		for (int i = 0; i < part * 1000; i++) { /* the first one is empty */
			uint64_t value = random_value(&seed), count = next_random(&seed) % 5;

			histogram_add_n(&other, value, count);
			for (uint64_t j = 0; j < count; j++)
				histogram_add(&whole, value);
		}
		histogram_merge(&histogram, &other);
	}
	ck_assert(memcmp(&histogram, &whole, sizeof whole) == 0);
	memset(&other, 0, sizeof other);
	histogram_merge(&histogram, &other);
	ck_assert(memcmp(&histogram, &whole, sizeof whole) == 0);
}
END_TEST

/* ---- mean and deviation ---- */

static void must_be_about(double said, double right, double relative)
{
	ck_assert_msg(fabs(said - right) <= right * relative, "%g is not %g", said, right);
}

START_TEST(mean_and_deviation_are_those_of_the_values)
{
	uint64_t seed = 5;

	for (int kind = 0; kind < 3; kind++) {
		double mean = 0, variance = 0;

		memset(&histogram, 0, sizeof histogram);
		for (size_t i = 0; i < VALUES; i++) {
			histogram_add(&histogram, values[i] = draw(kind, &seed));
			mean += (double)values[i] / VALUES;
		}
		for (size_t i = 0; i < VALUES; i++)
			variance +=
			    ((double)values[i] - mean) * ((double)values[i] - mean) / VALUES;
		must_be_about(histogram_mean(&histogram), mean, 0.001);
		must_be_about(histogram_deviation(&histogram), sqrt(variance), 0.01);
	}
}
END_TEST

START_TEST(a_sum_beyond_64_bits_does_not_spoil_the_mean)
{
	memset(&histogram, 0, sizeof histogram);
	histogram_add_n(&histogram, 1ULL << 62, 3);
	ck_assert_double_eq(histogram_mean(&histogram), 0x1p62);
	histogram_add_n(&histogram, 1ULL << 62, 1000000);
	ck_assert_uint_eq(histogram.sum, UINT64_MAX);
	must_be_about(histogram_mean(&histogram), 0x1p62, 0.001);
	ck_assert_double_le(histogram_deviation(&histogram), 0x1p62 / 1000);

	histogram_add(&histogram, 1);
	ck_assert_uint_eq(histogram.sum, UINT64_MAX);
	memset(&other, 0, sizeof other);
	histogram_add(&other, 1);
	histogram_merge(&other, &histogram);
	must_be_about(histogram_mean(&other), 0x1p62, 0.001);
}
END_TEST

/* ---- shared memory ---- */

START_TEST(another_process_reads_what_one_writes)
{
	struct histogram *shared =
	    mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct wait wait = wait_begin();
	uint64_t seen = 0;
	int status;
	pid_t pid;

	ck_assert_ptr_ne(shared, MAP_FAILED);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		for (uint64_t value = 1; value <= 200000; value++)
			histogram_add(shared, value * 100);
		_exit(0);
	}
	while (seen < 200000) {
		uint64_t n = __atomic_load_n(&shared->n, __ATOMIC_RELAXED);

		MUST(n >= seen);
		seen = n;
		MUST(histogram_percentile(shared, 99) <= 200000 * 100);
		wait_more(&wait, "the other process' counts");
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_uint_eq(shared->max, 200000 * 100);
	must_be_near(histogram_percentile(shared, 50), 100000 * 100);
	(void)munmap(shared, sizeof *shared);
}
END_TEST

/* If all values are of one power of two, all functions together touch no more than its pages. */
START_TEST(pages_that_were_not_counted_in_stay_untouched)
{
	long page = sysconf(_SC_PAGESIZE);
	size_t pages = (sizeof histogram + (size_t)page - 1) / (size_t)page, resident = 0;
	struct histogram *shared =
	    mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned char *in_memory = calloc(pages, 1);

	ck_assert_ptr_ne(shared, MAP_FAILED);
	ck_assert_ptr_nonnull(in_memory);
	for (uint64_t value = 32768; value < 65536; value++)
		histogram_add(shared, value);
	memset(&other, 0, sizeof other);
	histogram_merge(&other, shared);
	(void)histogram_percentile(shared, 99.9);
	(void)histogram_deviation(shared);
	ck_assert_int_eq(mincore(shared, sizeof *shared, in_memory), 0);
	for (size_t i = 0; i < pages; i++)
		resident += in_memory[i] & 1;
	ck_assert_uint_le(resident, 2 + HISTOGRAM_POWER_SLOTS * sizeof(uint64_t) / (size_t)page);
	free(in_memory);
	(void)munmap(shared, sizeof *shared);
}
END_TEST

/* ---- the text form ---- */

static char *print(double unit_ns)
{
	char *text = NULL;
	size_t n = 0;
	FILE *file = open_memstream(&text, &n);

	ck_assert_ptr_nonnull(file);
	histogram_print_hdr(&histogram, file, unit_ns);
	ck_assert_int_eq(fclose(file), 0);
	return text;
}

/* Reads the lines of four columns. Returns how many there were; rest is what follows them. */
static size_t read_columns(const char *text, const char **rest)
{
	double value, level, inverse, value_before = 0, level_before = -1, inverse_before = 0;
	unsigned long long count, count_before = 0;
	size_t lines = 0;
	int n;

	while (sscanf(text, "%lf %lf %llu %lf\n%n", &value, &level, &count, &inverse, &n) == 4) {
		MUST(value >= value_before && level > level_before && count >= count_before);
		MUST(inverse > inverse_before);
		MUST(level > 0.999999 || fabs(inverse * (1 - level) - 1) < 0.02);
		MUST((double)count >= level * (double)histogram.n * (1 - 1e-9));
		value_before = value;
		level_before = level;
		count_before = count;
		inverse_before = inverse;
		text += n;
		lines++;
	}
	MUST(level >= 1 && isinf(inverse) && count == histogram.n);
	*rest = text;
	return lines;
}

START_TEST(the_text_form_is_what_plotters_read)
{
	static const char header[] =
	    "         Value      Percentile   TotalCount 1/(1-Percentile)\n\n";
	double mean, deviation, max;
	unsigned long long n;
	uint64_t seed = 6;
	const char *rest;
	unsigned buckets, slots;
	char *text;

	memset(&histogram, 0, sizeof histogram);
	for (int i = 0; i < 100000; i++)
		histogram_add(&histogram, draw(1, &seed));
	text = print(1000);
	ck_assert(strncmp(text, header, strlen(header)) == 0);
	ck_assert_uint_ge(read_columns(text + strlen(header), &rest), 5 * 15);
	ck_assert_int_eq(sscanf(rest,
				"#[Mean    = %lf, StdDeviation   = %lf]\n"
				"#[Max     = %lf, Total count    = %llu]\n"
				"#[Buckets = %u, SubBuckets     = %u]\n",
				&mean, &deviation, &max, &n, &buckets, &slots),
			 6);
	must_be_about(mean, histogram_mean(&histogram) / 1000, 0.001);
	must_be_about(deviation, histogram_deviation(&histogram) / 1000, 0.001);
	must_be_about(max, (double)histogram.max / 1000, 0.001);
	ck_assert_uint_eq(n, 100000);
	ck_assert_uint_eq(slots, 2048);
	ck_assert_ptr_nonnull(strstr(text, " 1.000000000000       100000              inf\n#["));
	free(text);
}
END_TEST

/* With the values 1 to 1,000 it is known which value each level has. */
START_TEST(the_text_form_has_five_lines_for_each_halving)
{
	static const char *const lines[] = {
	    "         1.000  0.000000000000            1             1.00\n",
	    "       100.000  0.100000000000          100             1.11\n",
	    "       500.000  0.500000000000          500             2.00\n",
	    "       550.000  0.550000000000          550             2.22\n",
	    "       750.000  0.750000000000          750             4.00\n",
	    "       775.000  0.775000000000          775             4.44\n",
	    "      1000.000  1.000000000000         1000              inf\n"};
	char *text;

	memset(&histogram, 0, sizeof histogram);
	for (uint64_t i = 1; i <= 1000; i++)
		histogram_add(&histogram, i);
	text = print(1);
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		ck_assert_msg(strstr(text, lines[i]) != NULL, "no %sin\n%s", lines[i], text);
	free(text);
}
END_TEST

START_TEST(the_text_form_shows_nanoseconds_in_any_unit)
{
	static const struct {
		double unit_ns;
		const char *line;
	} units[] = {{1, "      1234.000  1.0"},
		     {1000, "         1.234  1.0"},
		     {1000000, "      0.001234  1.0"},
		     {1000000000, "   0.000001234  1.0"}};

	memset(&histogram, 0, sizeof histogram);
	histogram_add(&histogram, 1234);
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		char *text = print(units[i].unit_ns);

		ck_assert_msg(strstr(text, units[i].line) != NULL, "no \"%s\" in\n%s",
			      units[i].line, text);
		free(text);
	}
}
END_TEST

START_TEST(the_text_form_of_odd_histograms_ends_too)
{
	const char *rest;
	char *text;

	memset(&histogram, 0, sizeof histogram);
	text = print(1000);
	ck_assert_uint_eq(read_columns(strstr(text, "\n\n") + 2, &rest), 1);
	free(text);

	histogram_add(&histogram, 0);
	text = print(1000);
	ck_assert_uint_eq(read_columns(strstr(text, "\n\n") + 2, &rest), 2);
	free(text);

	/* So many that a double does not notice one more or less. */
	histogram_add_n(&histogram, 1, 1ULL << 62);
	histogram_add(&histogram, UINT64_MAX);
	text = print(1000);
	ck_assert_uint_le(read_columns(strstr(text, "\n\n") + 2, &rest), 5 * 36 + 1);
	free(text);
}
END_TEST

SUITE("histogram",
      {"every power of two and its neighbours are precise",
       every_power_of_two_and_its_neighbours_are_precise, 10},
      {"random values are precise", random_values_are_precise, 60},
      {"slots are in the order of values", slots_are_in_the_order_of_values, 10},
      {"percentiles agree with a sorted array", percentiles_agree_with_a_sorted_array, 30},
      {"an empty one answers 0", an_empty_one_answers_0, 10},
      {"merging is as if all were in one", merging_is_as_if_all_were_in_one, 10},
      {"mean and deviation are those of the values", mean_and_deviation_are_those_of_the_values,
       10},
      {"a sum beyond 64 bits does not spoil the mean", a_sum_beyond_64_bits_does_not_spoil_the_mean,
       10},
      {"another process reads what one writes", another_process_reads_what_one_writes, 30},
      {"pages that were not counted in stay untouched",
       pages_that_were_not_counted_in_stay_untouched, 10},
      {"the text form is what plotters read", the_text_form_is_what_plotters_read, 10},
      {"the text form has five lines for each halving",
       the_text_form_has_five_lines_for_each_halving, 10},
      {"the text form shows nanoseconds in any unit", the_text_form_shows_nanoseconds_in_any_unit,
       10},
      {"the text form of odd histograms ends too", the_text_form_of_odd_histograms_ends_too, 10})
