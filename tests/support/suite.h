/*
 * suite: one test program, on libcheck. A file lists its tests and ends with
 *
 *     SUITE("pool", {"takes up to its cap", takes_up_to_its_cap, 10},
 *	     {"a GiB goes through", a_gib_goes_through, 60, .kind = SUITE_LONG}, ...)
 *
 * Each test runs in a process of its own, in its own process group. Its limit in seconds is what
 * it takes on a quiet machine, with room to spare: it is there to end a test that hangs, not to
 * judge one that other programs slow down, and is multiplied for that (suite_slowness()).
 *
 * What of the table runs:
 *   SUITE_KINDS=usual|alone|long|long-alone   the tests of one kind (tests/run asks for each)
 *   SUITE_TEST=part                           those whose name has that part
 */
#ifndef TESTS_SUPPORT_SUITE_H
#define TESTS_SUPPORT_SUITE_H

#include <check.h>
#include <stdbool.h>

/* Other programs run beside a test, as many as there are CPUs and more, if it does not say: */
enum suite_kind {
	SUITE_ALONE = 1, /* what it shows is a time or a spread: nothing runs beside it */
	SUITE_LONG = 2,	 /* it belongs to `make check-long` */
};

struct suite_test {
	const char *name;
	const TTest *test;
	int limit_s;
	int times; /* more than once if above 0, _i counting up */
	int kind;  /* of enum suite_kind, together */
};

int suite_main(const char *name, const struct suite_test *tests, int n);

/* Ends the test as not run: the runner counts "SKIP" lines. Return after it. */
void suite_skip(const char *test, const char *reason);

/* This test sends datagrams over the real loopback, which may lose them: tests/run says what it
 * does then. */
void suite_datagrams(void);

/* A sanitizer is in this build: memory and time are not what they are in the product. */
bool suite_sanitized(void);
/* How many times longer than on a quiet machine anything may take: all limits have it. */
unsigned suite_slowness(void);
/* Less of something that is only there in volume, where things are slower: n, or n / 10. */
unsigned long suite_volume(unsigned long n);

#define SUITE(name, ...)                                                                           \
	_Pragma("GCC diagnostic ignored \"-Wmissing-field-initializers\"") int main(void)          \
	{                                                                                          \
		const struct suite_test tests_[] = {__VA_ARGS__};                                  \
		return suite_main(name, tests_, (int)(sizeof tests_ / sizeof *tests_));            \
	}

#endif
