/*
 * bench/http and bench/slow: that their arithmetic is right, that a run without a figure is in no
 * ratio, that they understand wrk's output, and that they leave nothing behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/script.h"

/*
 * A weirload whose figures are known: 4 us for http_floor, 8 us for weir with one request under
 * way; with more, wrong answers.
 */
static const char false_weirload[] =
    "#!/bin/sh\n"
    "while [ $# -gt 1 ]; do\n"
    "	case $1 in --json) json=$2 ;; --server-pid) pid=$2 ;; -p) depth=$2 ;; esac\n"
    "	shift\n"
    "done\n"
    "case $(cat /proc/$pid/comm) in weir*) us=8.000 ;; *) us=4.000 ;; esac\n"
    "printf '{\\n  \"messages_per_s\": 1000.0,\\n  \"server_cpu_us_per_message\": %s,\\n' $us "
    ">$json\n"
    "printf '  \"limit\": \"generator\",\\n  \"errors_wrong\": %s\\n}\\n' $((depth - 1)) >>$json\n"
    "[ $depth = 1 ]\n";

/* A false wrk that counts answers other than 200 if it is asked for 16 at once. */
static const char false_wrk[] =
    "#!/bin/sh\n"
    "while [ $# -gt 1 ]; do\n"
    "	case $1 in -s) script=$2 ;; esac\n"
    "	shift\n"
    "done\n"
    "if grep -q 'if 16 > 1' $script; then status=7; else status=0; fi\n"
    "printf 'sums\\t5000\\t2000000\\t500000\\t120\\t900\\t0\\t0\\t0\\t0\\t%s\\n' $status\n";

static const char *false_path(const char *wrk)
{
	static char path[4096];
	char made[512];

	(void)snprintf(made, sizeof made, "%s/path", temporary_folder());
	ck_assert_int_eq(mkdir(made, 0755), 0);
	(void)chmod(write_file("path/wrk", wrk), 0755);
	(void)snprintf(path, sizeof path, "%s:%s", made, getenv("PATH"));
	return path;
}

START_TEST(requests_are_compared)
{
	const char *folder;

	if (!script_can_load("requests are compared"))
		return;
	folder = script_false_build(false_weirload);
	script_mark();
	ck_assert_int_eq(script_run("BUILD=%s bench/http -n 3 -d 1 --driver weirload -o %s/out "
				    "http_floor weir",
				    folder, folder),
			 3); /* all runs with 16 under way are wrong, so that table has no figure */
	ck_assert_int_eq(script_run("grep 'weirload/1	weir' %s/out/ratios.tsv", folder), 0);
	ck_assert_str_eq(script_output, "weirload/1\tweir\thttp_floor\t8\t2\t2\t2\t3\t1000\t-\t-\t"
					"generator\t-\n");
	ck_assert_int_eq(
	    script_run("grep 'weirload/1	http_floor again' %s/out/ratios.tsv", folder), 0);
	script_expect("\thttp_floor\t4\t1\t1\t1\t3\t");
	/* A run without a figure is shown as such, and is in no ratio. */
	ck_assert_int_eq(script_run("grep 'weirload/16	weir' %s/out/ratios.tsv", folder), 0);
	ck_assert_str_eq(script_output, "weirload/16\tweir\thttp_floor\t-\t-\t-\t-\t0\t-\t-\t-\t-\t"
					"ERRORS: 15 wrong (3 of 3)\n");
	script_expect_json(in_folder("out/results.json"), "\"errors_wrong\": 15");
	script_expect_nothing_left();
}
END_TEST

START_TEST(what_wrk_says)
{
	const char *folder, *path;

	if (!script_can_load("what wrk says"))
		return;
	folder = script_false_build("#!/bin/sh\n");
	path = false_path(false_wrk);
	script_mark();
	ck_assert_int_eq(
	    script_run("PATH='%s' BUILD=%s bench/http -n 1 -d 1 --driver wrk -o %s/out "
		       "http_floor",
		       path, folder, folder),
	    3);
	script_expect("Bytes of an answer: http_floor 100.");
	ck_assert_int_eq(script_run("grep 'wrk/1	http_floor	' %s/out/ratios.tsv | "
				    "cut -f 9-",
				    folder),
			 0);
	ck_assert_str_eq(script_output, "2500\t120\t900\tneither\t-\n");
	ck_assert_int_eq(script_run("grep 'wrk/16	http_floor	' %s/out/ratios.tsv | "
				    "cut -f 4-",
				    folder),
			 0);
	ck_assert_str_eq(script_output, "-\t-\t-\t-\t0\t-\t-\t-\t-\tERRORS: 7 status (1 of 1)\n");
	script_expect_json(in_folder("out/results.json"), "\"errors_status\": 7");
	script_expect_nothing_left();
}
END_TEST

/* A false weirload that calls a run INVALID unless it is told -p 1. */
static const char invalid_weirload[] =
    "#!/bin/sh\n"
    "status=3\n"
    "while [ $# -gt 1 ]; do\n"
    "	case $1 in --json) json=$2 ;; -p) [ $2 != 1 ] || status=0 ;; esac\n"
    "	shift\n"
    "done\n"
    "printf '{\\n  \"invalid_why\": \"it slept\"\\n}\\n' >$json\n"
    "exit $status\n";

START_TEST(tables_without_a_figure_are_a_failure)
{
	const char *folder;

	if (!script_can_load("tables without a figure are a failure"))
		return;
	folder = script_false_build(invalid_weirload);
	script_mark();
	ck_assert_int_eq(script_run("BUILD=%s bench/slow -q -o %s/slow", folder, folder), 3);
	script_expect("INVALID: it slept (1 of 1)");
	script_expect("no run that was fine");
	ck_assert_int_eq(script_run("BUILD=%s bench/http -n 1 -d 1 --driver weirload --depth 1 "
				    "-o %s/one http_floor",
				    folder, folder),
			 0);
	/* One of two tables has no figure. */
	ck_assert_int_eq(script_run("BUILD=%s bench/http -n 1 -d 1 --driver weirload -o %s/two "
				    "http_floor",
				    folder, folder),
			 3);
	script_expect_nothing_left();
}
END_TEST

/* Status 3 is right, too: on a busy machine it may be that no run of a table was fine. */
static void expect_run_in_earnest(int status)
{
	ck_assert_msg(status == 0 || status == 3, "status %d\n%s", status, script_output);
}

/* Only one table for each driver, because a whole quick run takes a minute. */
START_TEST(http_in_earnest)
{
	if (!script_can_load("http in earnest"))
		return;
	script_mark();
	expect_run_in_earnest(
	    script_run("bench/http -q --driver weirload --depth 1 -o %s weir", temporary_folder()));
	script_expect("\nweirload, 64 connections, 1 request under way on each\n");
	script_expect("weir again");
	script_expect_json(in_folder("results.json"), "\"point\": \"weirload/1\"");
	if (!command_exists("wrk")) {
		suite_skip("http in earnest", "needs wrk");
		return;
	}
	expect_run_in_earnest(
	    script_run("bench/http -q --driver wrk --depth 16 -o %s weir", temporary_folder()));
	script_expect("\nwrk, 64 connections, 16 requests under way on each\n");
	script_expect_json(in_folder("results.json"), "\"answer_bytes\"");
	script_expect_nothing_left();
}
END_TEST

START_TEST(http_of_several)
{
	const char *others = "";

	if (!script_can_load("http of several in earnest"))
		return;
	if (!command_exists("wrk")) {
		suite_skip("http of several in earnest", "needs wrk");
		return;
	}
	if (command_exists("nginx") && command_exists("haproxy"))
		others = " nginx haproxy";
	script_mark();
	expect_run_in_earnest(script_run("bench/http -q -o %s weir%s", temporary_folder(), others));
	script_expect("\nwrk, 64 connections, 16 requests under way on each\n");
	script_expect("\nweirload, 64 connections, 1 request under way on each\n");
	script_expect("weir again");
	ck_assert_msg(!strstr(script_output, "Not here"), "%s", script_output);
	/* Each server has a figure at each point, unless the machine was so busy that nothing was
	 * answered. */
	ck_assert_int_eq(
	    script_run("awk -F '\\t' '$4 == \"-\" && $13 == \"-\"' %s", in_folder("ratios.tsv")),
	    0);
	ck_assert_str_eq(script_output, "");
	/* A request that was not answered in time counts as unanswered, too. */
	(void)script_run("grep -E '\"errors_[a-z]*\": [1-9]' %s | grep -v -e timeout -e unanswered",
			 in_folder("results.json"));
	ck_assert_str_eq(script_output, "");
	script_expect_json(in_folder("results.json"), "\"answer_bytes\"");
	script_expect_nothing_left();
}
END_TEST

/* `make` builds, with weir, what these scripts measure it with. */
START_TEST(make_builds_what_they_need)
{
	ck_assert_int_eq(script_run("env -u MAKEFLAGS -u MAKELEVEL make -n BUILD=%s/none all | "
				    "grep -o -e '-o [^ ]*/clients/[^ ]*' -e '-o [^ ]*/peers/[^ ]*'",
				    temporary_folder()),
			 0);
	script_expect("none/clients/slowly\n");
	script_expect("none/peers/http_floor\n");
}
END_TEST

START_TEST(slow_in_earnest)
{
	if (!script_can_load("slow in earnest"))
		return;
	script_mark();
	expect_run_in_earnest(script_run("bench/slow -q -o %s", temporary_folder()));
	script_expect("50, headers");
	script_expect_json(in_folder("results.json"), "\"ended_408\"");
	/* All slow clients were ended, each kind for its own reason, and no other client was. */
	ck_assert_int_eq(
	    script_run("awk -F '\\t' 'NR > 1 { print $2, ($8 > 0), ($10 > 0), ($11 > 0) }' %s",
		       in_folder("slow.tsv")),
	    0);
	ck_assert_str_eq(script_output, "none 0 0 0\n"
					"headers 1 1 0\n"
					"body 0 1 0\n"
					"read 0 0 1\n"
					"again 0 0 0\n");
	script_expect_nothing_left();
}
END_TEST

SUITE("scripts http", {"requests are compared", requests_are_compared, 60},
      {"what wrk says", what_wrk_says, 60},
      {"tables without a figure are a failure", tables_without_a_figure_are_a_failure, 60},
      {"http in earnest", http_in_earnest, 120},
      {"http of several in earnest", http_of_several, 120, .kind = SUITE_LONG},
      {"make builds what they need", make_builds_what_they_need, 30},
      {"slow in earnest", slow_in_earnest, 120})
