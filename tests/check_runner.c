/* tests/run, which counts all other tests: what it says about programs that pass, fail, and die. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/harness.h"

/* Makes a program that looks to tests/run like a test program with tests of the usual kind only. */
static void program(const char *name, const char *does)
{
	char text[1024], path[300];

	(void)snprintf(text, sizeof text,
		       "#!/bin/sh\n[ \"$SUITE_KINDS\" = usual ] || "
		       "{ echo '100%%: Checks: 0, Failures: 0, Errors: 0'; exit 0; }\n%s\n",
		       does);
	(void)snprintf(path, sizeof path, "%s", write_file(name, text));
	ck_assert_int_eq(chmod(path, 0755), 0);
}

#define PASSES "echo '100%: Checks: 3, Failures: 0, Errors: 0'"
#define FAILS                                                                                      \
	"echo '66%: Checks: 3, Failures: 1, Errors: 0'; "                                          \
	"echo 'x.c:7:F:case:test:0: went wrong'; exit 1"

/* Runs programs by tests/run with these settings. Returns its status; *said is what it said. */
static int run(const char *settings, const char *programs, const char **said)
{
	char command[512];
	int status;

	(void)snprintf(command, sizeof command, "%s tests/run %s %s >%s 2>&1", settings,
		       temporary_folder(), programs, in_folder("said"));
	status = system(command);
	*said = read_whole(in_folder("said"));
	ck_assert_ptr_nonnull(*said);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_said(const char *said, const char *text)
{
	ck_assert_msg(strstr(said, text) != NULL, "no \"%s\" in:\n%s", text, said);
}

static void expect_last(const char *said, const char *end)
{
	ck_assert_uint_ge(strlen(said), strlen(end));
	ck_assert_str_eq(said + strlen(said) - strlen(end), end);
}

START_TEST(it_adds_up)
{
	const char *said;

	program("check_one", PASSES);
	program("check_two", "echo 'SKIP two: no such tool'; echo 'FIGURE 12 a second'; " PASSES);
	ck_assert_int_eq(run("V=", "check_one check_two", &said), 0);
	expect_said(said, "SKIP two: no such tool\n");
	expect_last(said, "\n1 skipped, for the reasons above\n5 passed, 0 failed\n");
	ck_assert_ptr_null(strstr(said, "FIGURE"));
	ck_assert_str_eq(read_whole(in_folder("log/figures.txt")), "FIGURE 12 a second\n");
	ck_assert_int_eq(run("V=1", "check_two", &said), 0);
	expect_said(said, "    FIGURE 12 a second\n");
}
END_TEST

START_TEST(it_says_what_failed)
{
	const char *said;

	program("check_one", PASSES);
	program("check_bad", FAILS);
	program("check_dead", "kill -SEGV $$");
	ck_assert_int_eq(run("TESTS_AGAIN=0", "check_bad check_one check_dead", &said), 1);
	expect_said(said, "FAILED check_bad: x.c:7:F:case:test:0: went wrong\n");
	expect_said(said, "FAILED check_dead: check_dead ended with status 139\n");
	expect_last(said, "\n5 passed, 2 failed\n");
}
END_TEST

/* A program that passes the second time is named, and counts as passed. */
START_TEST(it_tries_again)
{
	const char *said;
	char once[512];

	(void)snprintf(once, sizeof once, "mkdir %s 2>/dev/null || { %s; exit 0; }; %s",
		       in_folder("ran"), PASSES, FAILS);
	program("check_once", once);
	ck_assert_int_eq(run("TESTS_AGAIN=1", "check_once", &said), 0);
	expect_said(said, "UNSTEADY check_once: x.c:7:F:case:test:0: went wrong\n");
	expect_last(said, "\n3 passed, 0 failed\n");
	ck_assert_int_eq(run("TESTS_AGAIN=1", "check_once", &said), 0);
	ck_assert_msg(!strstr(said, "once more"), "nothing had failed:\n%s", said);
	program("check_bad", FAILS);
	ck_assert_int_eq(run("TESTS_AGAIN=1", "check_bad", &said), 1);
	expect_last(said, "\n2 passed, 1 failed\n");
}
END_TEST

/* If the kernel lost packets while a program ran, it is run again, but only if it is about
 * datagrams. */
START_TEST(datagrams_are_tried_again_if_packets_were_lost)
{
	const char *softnet = write_file("softnet", "0000000a 00000001 00\n0000000b 00000002 00\n");
	char settings[400], lossy[900];
	const char *said;

	(void)snprintf(settings, sizeof settings, "TESTS_AGAIN=0 TESTS_SOFTNET=%s", softnet);
	(void)snprintf(lossy, sizeof lossy,
		       "mkdir %s 2>/dev/null || { %s; exit 0; }; echo 'a 1f' >>%s; "
		       "[ $0 != %s ] || echo DATAGRAMS; %s",
		       in_folder("ran"), PASSES, softnet, in_folder("check_udp"), FAILS);
	program("check_udp", lossy);
	ck_assert_int_eq(run(settings, "check_udp", &said), 0);
	expect_said(said, "again as the kernel lost packets");
	expect_last(said, "\n3 passed, 0 failed\n");
	/* It fails, but nothing is lost. */
	program("check_udp", "echo DATAGRAMS; " FAILS);
	ck_assert_int_eq(run(settings, "check_udp", &said), 1);
	/* Packets are lost, but it is not about datagrams. */
	ck_assert_int_eq(rmdir(in_folder("ran")), 0);
	program("check_tcp", lossy);
	ck_assert_int_eq(run(settings, "check_tcp", &said), 1);
	expect_last(said, "\n2 passed, 1 failed\n");
}
END_TEST

SUITE("runner", {"it adds up", it_adds_up, 30}, {"it says what failed", it_says_what_failed, 30},
      {"it tries again", it_tries_again, 30},
      {"datagrams are tried again if packets were lost",
       datagrams_are_tried_again_if_packets_were_lost, 30})
