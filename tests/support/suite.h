/*
 * suite: one test program, on libcheck. A file lists its tests and ends with
 *
 *     SUITE("pool", {"takes up to its cap", takes_up_to_its_cap, 10},
 *	     {"a GiB goes through", a_gib_goes_through, 60, .kind = SUITE_LONG}, ...)
 *
 * Each test runs in a process of its own, in its own process group. Its limit in seconds is what
 * it takes on a quiet machine, with room to spare. The limit is there to end a test that hangs, not
 * to judge one that other programs slow down: so it is multiplied by suite_slowness().
 *
 * Which tests of the table run:
 *   SUITE_KINDS=usual|alone|long|long-alone   the tests of one kind (tests/run asks for each)
 *   SUITE_TEST=part                           those whose name contains that part
 */
#ifndef TESTS_SUPPORT_SUITE_H
#define TESTS_SUPPORT_SUITE_H

#include <check.h>
#include <stdbool.h>

/* Other programs run at the same time, as many as there are CPUs and more, unless a test says: */
enum suite_kind {
	SUITE_ALONE = 1, /* it measures a time or a spread: nothing else runs meanwhile */
	SUITE_LONG = 2,	 /* it belongs to `make check-long` */
};

struct suite_test {
	const char *name;
	const TTest *test;
	int limit_s;
	int times; /* above 0: it runs so often, with _i counting up */
	int kind;  /* bits of enum suite_kind */
};

int suite_main(const char *name, const struct suite_test *tests, int n);

/* Says that the test is skipped: the runner counts "SKIP" lines. The test has to return after it.
 */
void suite_skip(const char *test, const char *reason);

/* Says that this test sends datagrams over the real loopback, which may lose them: what happens
 * then is described in tests/run. */
void suite_datagrams(void);

/* Whether this build has a sanitizer, so that its use of memory and time is not the product's. */
bool suite_sanitized(void);
/* How many times longer than on a quiet machine anything may take: a factor of all limits. */
unsigned suite_slowness(void);
/* The amount for a test that needs large amounts: n, or n / 10 if all is slower. */
unsigned long suite_volume(unsigned long n);

#define SUITE(name, ...)                                                                           \
	_Pragma("GCC diagnostic ignored \"-Wmissing-field-initializers\"") int main(void)          \
	{                                                                                          \
		const struct suite_test tests_[] = {__VA_ARGS__};                                  \
		return suite_main(name, tests_, (int)(sizeof tests_ / sizeof *tests_));            \
	}

#endif
