/*
 * suite: one test program, on libcheck. A file lists its tests and ends with
 *
 *     SUITE("pool", {"takes up to its cap", takes_up_to_its_cap, 10}, ...)
 *
 * Each test runs in a process of its own, in its own process group, with a limit in seconds
 * (ten times that under a sanitizer or valgrind). SUITE_TEST=part runs those whose name has
 * that part.
 */
#ifndef TESTS_SUITE_H
#define TESTS_SUITE_H

#include <check.h>
#include <stdbool.h>

struct suite_test {
	const char *name;
	const TTest *test;
	int limit_s;
	int times; /* more than once where above 0, _i counting up */
};

int suite_main(const char *name, const struct suite_test *tests, int n);

/* Ends the test as not run: the runner counts "SKIP" lines. Return after it. */
void suite_skip(const char *test, const char *reason);

/* A sanitizer is in this build: memory and time are not what they are in the product. */
bool suite_sanitized(void);
/* Less of something that is only there in volume, where things are slower: n, or n / 10. */
unsigned long suite_volume(unsigned long n);

#define SUITE(name, ...)                                                                           \
	_Pragma("GCC diagnostic ignored \"-Wmissing-field-initializers\"") int main(void)          \
	{                                                                                          \
		const struct suite_test tests_[] = {__VA_ARGS__};                                  \
		return suite_main(name, tests_, (int)(sizeof tests_ / sizeof *tests_));            \
	}

#endif
