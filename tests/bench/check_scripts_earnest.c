/*
 * The scripts of bench/ with a real load: that they work from end to end, that their results are
 * JSON, and that nothing which they started outlives them. Their figures mean nothing here.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/script.h"

/* Expects the file to have a line with the figure of a server at a point; or none, if this machine
 * was too busy for that load, which its row has to say. */
static void expect_figure(const char *server, const char *point, const char *line, const char *file)
{
	if (script_run("grep -c '%s' %s", line, in_folder(file)) == 0)
		return;
	ck_assert_msg(script_run("awk -F '\\t' '$1 == \"%s\" && $2 == \"%s\" { print $4 }' %s | "
				 "grep -e '^INVALID' -e 'no message was answered'",
				 server, point, in_folder("rows.tsv")) == 0,
		      "no %s in %s", line, file);
}

START_TEST(compare_in_earnest)
{
	if (!script_can_load("compare in earnest"))
		return;
	script_mark();
	ck_assert_int_eq(
	    script_run("bench/compare -q -n 1 -d 0.1 -c 50 -o %s floor weir", temporary_folder()),
	    0);
	script_expect("64 B, 50 connections\n");
	script_expect("floor again");
	script_expect("\nweir ");
	script_expect_json(in_folder("results.json"), "\"server_cpu_us_per_message\"");
	script_expect_json(in_folder("results.json"), "\"net.core.somaxconn\"");
	ck_assert(exists(in_folder("table.txt")));
	script_expect_nothing_left();
}
END_TEST

static void ladder_of(const char *names)
{
	if (!script_can_load("ladder in earnest"))
		return;
	script_mark();
	ck_assert_int_eq(script_run("bench/ladder -q -o %s %s", temporary_folder(), names), 0);
	script_expect("\nchurn  weir ");
	script_expect("\nidle   weir ");
	script_expect_json(in_folder("results.json"), "\"connected_max\"");
	expect_figure("weir", "64/1", "^| weir | [0-9]", "ladder.md");
	script_expect_nothing_left();
}

START_TEST(ladder_in_earnest)
{
	ladder_of("weir");
}
END_TEST

START_TEST(ladder_of_several)
{
	ladder_of("weir floor");
}
END_TEST

static void ladder_of_datagrams(const char *names)
{
	ck_assert_int_eq(script_run("bench/ladder -q -o %s %s", temporary_folder(), names), 0);
	script_expect("\n50 x 16  weir-udp ");
	script_expect(" lost %  limit\n");
	ck_assert_msg(strstr(script_output, "idle") == NULL, "%s", script_output);
	script_expect_json(in_folder("results.json"), "\"loss_percent\"");
	script_expect_json(in_folder("results.json"), "echo+udp://127.0.0.1:");
	expect_figure("weir-udp", "64/50x16", "^| 50 x 16 | weir-udp | [0-9]", "ladder.md");
}

static void compare_datagrams(const char *connections)
{
	ck_assert_int_eq(
	    script_run("bench/compare -q -n 1 -d 0.1 -c '%s' -o %s iterative-udp weir-udp",
		       connections, temporary_folder()),
	    0);
	script_expect("\n64 B, 50 connections, 16 under way on each\n");
	script_expect("\niterative-udp again ");
	ck_assert_int_eq(script_run("grep -c '\"pipeline\": 16' %s", in_folder("results.json")), 0);
	script_expect("3\n");
}

START_TEST(datagrams_in_earnest)
{
	if (!script_can_load("datagrams in earnest"))
		return;
	script_mark();
	ladder_of_datagrams("weir-udp");
	compare_datagrams("50x16");
	script_expect_nothing_left();
}
END_TEST

START_TEST(datagrams_of_several)
{
	if (!script_can_load("datagrams of several"))
		return;
	script_mark();
	ladder_of_datagrams("iterative-udp weir-udp");
	compare_datagrams("1 50x16");
	script_expect_nothing_left();
}
END_TEST

/* With -r, so without a search: another test shows with a false weirload how that works. */
START_TEST(chat_in_earnest)
{
	if (!script_can_load("chat in earnest"))
		return;
	script_mark();
	ck_assert_int_eq(
	    script_run("bench/chat -q -d 0.1 -l 200 -r 400 -o %s weir", temporary_folder()), 0);
	script_expect("\nlight: 200 lines/s; 50 clients, of which 5 send lines of 64 bytes\n");
	script_expect("\nhighest: 400 lines/s; ");
	script_expect("\nsaturation: ");
	script_expect("\nslow: ");
	script_expect_json(in_folder("results.json"), "\"lines_per_s\"");
	script_expect_nothing_left();
}
END_TEST

START_TEST(chat_of_several)
{
	if (!script_can_load("chat of several"))
		return;
	script_mark();
	ck_assert_int_eq(script_run("bench/chat -q -o %s", temporary_folder()), 0);
	script_expect("\nlight: 1,000 lines/s; 50 clients, of which 5 send lines of 64 bytes\n");
	script_expect("\nsaturation: ");
	script_expect("\nslow: ");
	if (!command_exists("redis-server"))
		script_expect("not here: redis-server");
	script_expect_json(in_folder("results.json"), "\"lines_per_s\"");
	script_expect_nothing_left();
}
END_TEST

START_TEST(members_in_earnest)
{
	if (!script_can_load("members in earnest"))
		return;
	script_mark();
	ck_assert_msg(script_run("bench/members -q -o %s", temporary_folder()) == 0, "%s",
		      script_output);
	script_expect("3,000 of 3,000\n");
	script_expect("\nmissed, doubled, out of order:");
	script_expect(" of 2 above 5 ms\n");
	script_expect("\nCPU, weir over fan_floor:");
	script_expect_json(in_folder("results.json"), "\"fan_floor\"");
	script_expect_nothing_left();
}
END_TEST

START_TEST(ended_early_it_leaves_nothing)
{
	struct wait wait;
	int status, null;
	pid_t pid;

	if (!script_can_load("ended early it leaves nothing"))
		return;
	script_mark();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		(void)dup2(null, 1);
		(void)dup2(null, 2);
		(void)execl("bench/compare", "bench/compare", "-d", "30", "-o", temporary_folder(),
			    "floor", "weir", NULL);
		_exit(127);
	}
	/* Five processes: timeout, the script, its server, weirload, and weirload's sender. */
	wait = wait_begin();
	while (script_marked() < 5)
		wait_more(&wait, "weirload");
	ck_assert_int_eq(kill(pid, SIGTERM), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(!WIFEXITED(status) || WEXITSTATUS(status) != 0,
		      "it ended as if nothing were");
	script_expect_nothing_left();
}
END_TEST

SUITE("scripts in earnest", {"compare", compare_in_earnest, 140}, {"chat", chat_in_earnest, 60},
      {"members", members_in_earnest, 60}, {"datagrams", datagrams_in_earnest, 60},
      {"ladder", ladder_in_earnest, 60},
      {"chat of several", chat_of_several, 120, .kind = SUITE_LONG},
      {"datagrams of several", datagrams_of_several, 120, .kind = SUITE_LONG},
      {"ladder of several", ladder_of_several, 60, .kind = SUITE_LONG},
      {"ended early it leaves nothing", ended_early_it_leaves_nothing, 60})
