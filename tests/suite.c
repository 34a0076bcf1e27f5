#include "tests/suite.h"

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

unsigned long suite_volume(unsigned long n)
{
	return suite_sanitized() ? (n + 9) / 10 : n;
}

void suite_skip(const char *test, const char *reason)
{
	(void)printf("SKIP %s: %s\n", test, reason);
	(void)fflush(stdout);
}

int suite_main(const char *name, const struct suite_test *tests, int n)
{
	const char *only = getenv("SUITE_TEST");
	Suite *suite = suite_create(name);
	SRunner *runner;
	int failed;

	for (int i = 0; i < n; i++) {
		TCase *test;

		if (only && !strstr(tests[i].name, only))
			continue;
		test = tcase_create(tests[i].name);
		tcase_set_timeout(test, tests[i].limit_s * (suite_sanitized() ? 10 : 1));
		tcase_add_loop_test(test, tests[i].test, 0, tests[i].times ? tests[i].times : 1);
		suite_add_tcase(suite, test);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, getenv("SUITE_VERBOSE") ? CK_VERBOSE : CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
