#include "tests/support/suite.h"

#include "protocol/protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool suite_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__)
	return true;
#else
	return false;
#endif
}

unsigned suite_slowness(void)
{
	return suite_sanitized() ? 20 : 6;
}

unsigned long suite_volume(unsigned long n)
{
	return suite_sanitized() ? (n + 9) / 10 : n;
}

void suite_skip(const char *test, const char *reason)
{
	(void)printf("SKIP %s: %s\n", test, reason);
	(void)fflush(stdout);
}

/* By kind: the bits of enum suite_kind as a number. */
static const char *const kinds[] = {"usual", "alone", "long", "long-alone"};

static bool is_asked_for(const struct suite_test *test)
{
	const char *kind = getenv("SUITE_KINDS"), *part = getenv("SUITE_TEST");

	if (kind && *kind && strcmp(kind, kinds[test->kind]) != 0)
		return false;
	return !part || strstr(test->name, part);
}

int suite_main(const char *name, const struct suite_test *tests, int n)
{
	Suite *suite = suite_create(name);
	SRunner *runner;
	int failed, asked_for = 0;

	protocols_register();
	for (int i = 0; i < n; i++) {
		TCase *test;

		if (!is_asked_for(&tests[i]))
			continue;
		asked_for++;
		test = tcase_create(tests[i].name);
		tcase_set_timeout(test, tests[i].limit_s * (double)suite_slowness());
		tcase_add_loop_test(test, tests[i].test, 0, tests[i].times ? tests[i].times : 1);
		suite_add_tcase(suite, test);
	}
	if (!asked_for && !getenv("SUITE_KINDS")) { /* asked by hand, and perhaps misspelt */
		(void)fprintf(stderr, "%s has no test with such a name\n", name);
		return 1;
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, getenv("SUITE_VERBOSE") ? CK_VERBOSE : CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}

void suite_datagrams(void)
{
	static bool said;

	if (said)
		return;
	said = true;
	(void)puts("DATAGRAMS");
	(void)fflush(stdout);
}
