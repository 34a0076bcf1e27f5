/*
 * weirctl top, with real servers: on a pseudo-terminal, and without one. Its lines are tested in
 * check_frame, its rates in check_top_rates. Not tested: how a real terminal shows it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/ctl.h"
#include "tests/support/json.h"
#include "tests/support/server_control.h"
#include "tests/support/clients/terminal.h"
#include "tests/support/trace.h"
#include "tests/master/weirctl/looked_at.h"

#define TOP(columns, rows, ...)                                                                    \
	TERMINAL(columns, rows, "--control", path, "--interval", "100ms", ##__VA_ARGS__, "top")

/* Waits until there are rates: then the CPU use of a worker is shown. */
static void wait_rates(void)
{
	terminal_wait("worker");
	terminal_wait_not("accepted/s     -");
}

/* ---- without a terminal ---- */

static size_t times(const char *text, const char *part)
{
	size_t n = 0;

	for (; (text = strstr(text, part)); text++)
		n++;
	return n;
}

START_TEST(elsewhere_it_is_plain)
{
	char line[64];

	start();
	ck_assert_int_eq(ASK("--interval", "100ms", "top"), 0);
	ck_assert_str_eq(err, "");
	ck_assert_uint_eq(times(out, "WORKER "), 1);
	ck_assert_uint_eq(times(out, "\033"), 0);
	ck_assert_uint_eq(times(out, "quit"), 0);
	for (unsigned i = 0; i < 2; i++) {
		(void)snprintf(line, sizeof line, "\n     %u %7d ready        0      0 ", i,
			       (int)server_wait_worker(server, i, 0));
		has(out, line);
	}
	for (const char *at = out; *at; at += strcspn(at, "\n") + 1)
		ck_assert_uint_le(strcspn(at, "\n"), 80);
	ck_assert_int_eq(ASK("--interval", "100ms", "--count", "3", "top"), 0);
	ck_assert_uint_eq(times(out, "WORKER "), 3);
	if (access("/dev/full", W_OK) == 0) { /* a write that fails is an error */
		char command[512];

		(void)snprintf(command, sizeof command, "%s --control %s top 2>&1 >/dev/full",
			       built("weirctl"), path);
		ck_assert_int_eq(WEXITSTATUS(system(command)), 1);
	}
	/* A dumb terminal does not count as a terminal. */
	ck_assert_int_eq(setenv("TERM", "dumb", 1), 0);
	TOP(80, 24);
	ck_assert_int_eq(terminal_end(), 0);
	ck_assert_uint_eq(times(terminal_plain(), "WORKER "), 1);
	stop();
}
END_TEST

START_TEST(wrong_usage_exits_2)
{
	(void)snprintf(path, sizeof path, "/nowhere");
	ck_assert_int_eq(ASK("--interval", "1s", "status"), 2);
	has(err, "--interval is for top alone");
	ck_assert_int_eq(ASK("--count", "1", "drain"), 2);
	has(err, "--count is for top alone");
	ck_assert_int_eq(ASK("--interval", "99ms", "top"), 2);
	has(err, "--interval takes 100ms or more, not \"99ms\"");
	ck_assert_int_eq(ASK("--interval", "1", "top"), 2);
	ck_assert_int_eq(ASK("--count", "-1", "top"), 2);
	has(err, "--count takes a number, not \"-1\"");
	ck_assert_int_eq(ASK("top"), 3);
}
END_TEST

/* ---- the live table ---- */

/* Each number ends where its heading ends, and there is a space before its column. */
static void columns_are_aligned(size_t columns)
{
	const char *headings = terminal_line_of("WORKER"), *row;
	char name[16];

	ck_assert_ptr_nonnull(headings);
	for (unsigned worker = 0; worker < 3; worker++) {
		(void)snprintf(name, sizeof name, worker < 2 ? "%u " : "all ", worker);
		row = terminal_line_of(name);
		ck_assert_ptr_nonnull(row);
		for (size_t i = 1; i < columns; i++) {
			if (headings[i - 1] == ' ' || headings[i] != ' ')
				continue;
			ck_assert_msg(row[i] == ' ' || strncmp(headings + i - 5, "STATE", 5) == 0,
				      "%s\n%s\nat %zu", headings, row, i);
			ck_assert_msg(row[i - 1] != ' ' || worker == 2 ||
					  strncmp(headings + i - 5, "STATE", 5) == 0,
				      "%s\n%s\nat %zu", headings, row, i - 1);
		}
	}
}

START_TEST(it_fits_its_terminal)
{
	static const struct {
		size_t columns, rows;
	} sizes[] = {{80, 24}, {132, 50}, {256, 30}, {300, 30}, {60, 20}};
	size_t columns = sizes[_i].columns, rows = sizes[_i].rows;
	char pid[32];

	start();
	TOP(columns, rows);
	wait_rates();
	columns_are_aligned(columns > 256 ? 256 : columns);
	(void)snprintf(pid, sizeof pid, "  pid %d ", (int)server->pid);
	has(terminal_line(0), "weir 0.1.0  serving  ");
	has(terminal_line(0), pid);
	has(terminal_line(1), "workers 2 of 2 ");
	has(terminal_line(rows - 1), "q quit ");
	ck_assert_int_eq(terminal_line_of("WORKER")[columns] ? 1 : 0, 0);
	ck_assert_int_eq(terminal_has("IN/S"), columns >= 80);
	ck_assert_int_eq(terminal_has(" GEN"), columns >= 132);
	terminal_type("q");
	ck_assert_int_eq(terminal_end(), 0);
	stop();
}
END_TEST

START_TEST(it_follows_its_size)
{
	start();
	TOP(80, 24);
	wait_rates();
	terminal_resize(132, 40, "q quit");
	terminal_wait(" GEN");
	terminal_resize(40, 12, "q quit");
	terminal_wait("WORKER ");
	ck_assert(terminal_has(" CPU%  LAG") && !terminal_has("PID"));
	ck_assert_ptr_nonnull(terminal_line_of("1 "));
	terminal_resize(1, 1, "q");
	terminal_resize(80, 24, "q quit");
	terminal_wait("IN/S");
	columns_are_aligned(80);
	terminal_type("q");
	ck_assert_int_eq(terminal_end(), 0);
	stop();
}
END_TEST

START_TEST(it_counts)
{
	int fd, other;

	start();
	fd = connect_to(server->ports[0]);
	TOP(80, 24);
	terminal_wait("connections     1 ");
	terminal_wait("CLOSED  none so far");
	other = connect_to(server->ports[0]);
	terminal_wait("connections     2 ");
	(void)close(other);
	terminal_wait("eof                        1 ");
	reset(fd);
	terminal_wait("reset                      1 ");
	terminal_wait("connections     0 ");
	terminal_type("q");
	ck_assert_int_eq(terminal_end(), 0);
	stop();
}
END_TEST

START_TEST(keys_do_what_the_foot_says)
{
	struct wait wait = wait_begin();
	char frame[100];

	start();
	TOP(80, 24);
	terminal_wait("sort by WORKER ");
	terminal_type("s");
	terminal_wait("sort by PID ");
	terminal_type(">");
	terminal_wait("sort by CONNS ");
	terminal_type("<<x");
	terminal_wait("sort by WORKER ");
	/* Reversed: the last worker comes first. */
	wait_rates();
	has(terminal_line(5), "     0 ");
	terminal_type("r");
	while (strncmp(terminal_line(5), "     1 ", 7) != 0) {
		terminal_next();
		wait_more(&wait, "worker 1 above");
	}
	terminal_type("r");
	while (strncmp(terminal_line(5), "     0 ", 7) != 0) {
		terminal_next();
		wait_more(&wait, "worker 0 above");
	}
	terminal_type(" ");
	terminal_wait("space go on");
	has(terminal_line(22), "paused");
	(void)snprintf(frame, sizeof frame, "%s", terminal_line(1));
	ck_assert_int_ge(connect_to(server->ports[0]), 0);
	server_wait_stat(server, "accepted", 1);
	ck_assert_int_eq(ASK("--interval", "1500ms", "top"), 0); /* takes longer than an interval */
	terminal_type("s"); /* a new frame, with the old figures */
	terminal_wait("sort by PID ");
	/* It asks nothing while it is paused, and must not report that the server is silent. */
	for (int i = 0; i < 3; i++, terminal_next())
		ck_assert_str_eq(terminal_line(1), frame);
	has(terminal_line(22), "paused");
	terminal_type(" ");
	terminal_wait("connections     1 ");
	ck_assert_str_eq(terminal_plain(), ""); /* keys are not echoed */
	terminal_type("q");
	ck_assert_int_eq(terminal_end(), 0);
	stop();
}
END_TEST

static void wait_first(const char *begin)
{
	struct wait wait = wait_begin();

	while (strncmp(terminal_line(0), begin, strlen(begin)) != 0) {
		terminal_next();
		wait_more(&wait, begin);
	}
}

/* There is room for one of two workers. Keys as terminals send them, in both modes. */
START_TEST(keys_scroll)
{
	static const char *const down[] = {"j",		"\033[B",    "\033OB",	"\033[6~",
					   "\033[F",	"\033[4~",   "\033[8~", "\033OF",
					   "\033[1;5B", "\033\033[B"};
	static const char *const up[] = {"k",	    "\033[A",  "\033OA", "\033[5~",   "\033[H",
					 "\033[1~", "\033[7~", "\033OH", "\033[5;2~", "\033[15~k"};

	start();
	TOP(80, 3);
	for (size_t i = 0; i < sizeof down / sizeof *down; i++) {
		wait_first("     0 ");
		terminal_type(down[i]);
		wait_first("     1 ");
		terminal_type(up[i]);
	}
	terminal_resize(80, 24, "q quit");
	terminal_type("?");
	terminal_wait("twice the true value");
	ck_assert(!terminal_has("CLOSED"));
	terminal_type("h");
	terminal_wait("CLOSED");
	terminal_type("\033q"); /* Escape, and then another key */
	ck_assert_int_eq(terminal_end(), 0);
	stop();
}
END_TEST

/* ---- its end ---- */

START_TEST(whatever_ends_it_the_terminal_is_restored)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

	start();
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		TOP(80, 24);
		terminal_wait("WORKER");
		ck_assert_int_eq(kill(terminal_pid(), signals[i]), 0);
		ck_assert_int_eq(terminal_end(), 0);
	}
	TOP(80, 24);
	terminal_wait("WORKER");
	terminal_type("\003"); /* Ctrl-C */
	ck_assert_int_eq(terminal_end(), 0);
	TOP(80, 24, "--count", "2");
	ck_assert_int_eq(terminal_end(), 0);
	stop();
}
END_TEST

/* It is ended by a key, or by Ctrl-C, at which the kernel discards all unread output. */
START_TEST(a_terminal_that_does_not_read_is_restored)
{
	static const char *const keys[] = {"q", "\003"};

	start();
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		struct wait wait;

		TOP(80, 24);
		terminal_wait("WORKER");
		terminal_neglect();
		terminal_type(keys[i]);
		for (wait = wait_begin(); process_state(terminal_pid()) != 'Z';)
			wait_more(&wait, "weirctl's end");
		ck_assert_int_eq(terminal_end(), 0);
	}
	stop();
}
END_TEST

START_TEST(it_can_be_stopped_and_goes_on)
{
	start();
	TOP(80, 24);
	terminal_wait("WORKER");
	terminal_type("\032"); /* Ctrl-Z */
	terminal_wait_stopped();
	ck_assert_int_eq(kill(terminal_pid(), SIGCONT), 0);
	terminal_next();
	terminal_wait("WORKER");
	terminal_type("s"); /* single keys are read again */
	terminal_wait("sort by PID ");
	/* It can't notice SIGSTOP, only that it goes on afterwards. */
	ck_assert_int_eq(kill(terminal_pid(), SIGSTOP), 0);
	terminal_shell();
	ck_assert_int_eq(kill(terminal_pid(), SIGCONT), 0);
	terminal_type("s");
	terminal_wait("sort by CONNS ");
	terminal_type("q");
	ck_assert_int_eq(terminal_end(), 0);
	stop();
}
END_TEST

/* ---- workers without progress, and servers that end ---- */

START_TEST(a_worker_that_stands_is_marked)
{
	pid_t pid;
	char text[100];

	start();
	pid = server_wait_worker(server, 1, 0);
	TOP(80, 24);
	wait_rates();
	ck_assert(!terminal_has("!"));
	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	(void)snprintf(text, sizeof text, "worker 1 (pid %d) has made no progress for ", (int)pid);
	terminal_wait(text);
	has(terminal_line_of("1 "), " !stopped ");
	has(terminal_line_of("0 "), " ready ");
	/* The others go on. */
	terminal_next();
	ck_assert(!terminal_has("no answer"));
	ck_assert_int_eq(ASK("--interval", "100ms", "-j", "top"), 0);
	has(worker_row(out, 1), "\"stopped\":true,\"still_us\":");
	has(worker_row(out, 0), "\"stopped\":false,\"still_us\":0}");
	ck_assert_int_eq(kill(pid, SIGCONT), 0);
	terminal_wait_not("!stopped");
	terminal_wait_not("has made no progress");
	terminal_type("q");
	ck_assert_int_eq(terminal_end(), 0);
	stop();
}
END_TEST

START_TEST(a_master_that_is_silent_is_told)
{
	start();
	TOP(80, 24);
	wait_rates();
	ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
	terminal_wait("no answer for ");
	has(terminal_line(0), "serving");
	ck_assert_ptr_nonnull(terminal_line_of("1 "));
	ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
	terminal_wait_not("no answer for ");
	terminal_type("q");
	ck_assert_int_eq(terminal_end(), 0);
	ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
	ck_assert_int_eq(ASK("--timeout", "200ms", "top"), 1);
	has(err, "weirctl: top: the time is over, and there is no answer\n");
	ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
	stop();
}
END_TEST

START_TEST(it_waits_at_a_path_for_the_next_one)
{
	char pid[32];

	start();
	TOP(80, 24);
	wait_rates();
	ck_assert_int_eq(server_stop(server, SIGKILL), 128 + SIGKILL);
	/* Longer than it would wait for a server whose path it did not know. */
	terminal_wait("the server has gone, for 4 s ");
	ck_assert_ptr_nonnull(terminal_line_of("1 ")); /* the last figures are still shown */
	start();
	(void)snprintf(pid, sizeof pid, "  pid %d ", (int)server->pid);
	terminal_wait(pid);
	terminal_wait_not("has gone");
	terminal_type("q");
	ck_assert_int_eq(terminal_end(), 0);
	stop();
}
END_TEST

START_TEST(elsewhere_it_ends_with_the_server)
{
	struct wait wait = wait_begin();
	const char *said;
	pid_t pid;

	start();
	pid = LAUNCH("--interval", "100ms", "--count", "0", "-j", "top");
	while (!(said = read_whole(in_folder("out"))) || !strchr(said, '\n'))
		wait_more(&wait, "a document");
	stop();
	ck_assert_int_eq(ctl_outcome(pid), 3);
	has(err, "weirctl: top: ");
	has(err, path);
	ck_assert_uint_ge(times(out, "\"moment_us\""), 1);
}
END_TEST

static double status_number(const char *key)
{
	ck_assert_int_eq(ASK("-j", "status"), 0);
	return number_of(out, key);
}

START_TEST(it_follows_an_upgrade)
{
	struct wait wait = wait_begin();
	char pid[32];

	server = CONTROLLED("--workers", "2", "echo://127.0.0.1:0");
	(void)snprintf(path, sizeof path, "%s", in_folder("control"));
	TOP(80, 24);
	wait_rates();
	while (status_number("up_s") < 2)
		wait_more(&wait, "two seconds of a server");
	server_control_do("upgrade");
	server_control_follow(server);
	(void)snprintf(pid, sizeof pid, "  pid %d ", (int)server->pid);
	terminal_wait(pid);
	terminal_wait("generation 2 ");
	wait_rates();
	ck_assert(!strstr(terminal_line(0), " up 0s") && !strstr(terminal_line(0), " up 1s"));
	terminal_type("q");
	ck_assert_int_eq(terminal_end(), 0);
	/* The server has been up for longer than its new master. */
	ck_assert_double_ge(status_number("up_s"), number_of(out, "master_up_s") + 1);
	ck_assert_int_eq(ASK("status"), 0);
	has(out, "\nup             ");
	has(out, "\nmaster up      ");
	server_control_wait_workers(server, 2);
	server_control_stop(server);
}
END_TEST

/* ---- what it costs ---- */

START_TEST(a_worker_makes_no_call_for_it)
{
	struct trace *trace;

	if (!tracing_works("a worker makes no call for it"))
		return;
	start();
	trace = trace_begin_settled(server_wait_worker(server, 0, 0));
	ck_assert_int_eq(ASK("--interval", "100ms", "--count", "5", "top"), 0);
	trace_window(trace);
	ck_assert_uint_eq(trace->calls_n, 0);
	trace_end(trace);
	stop();
}
END_TEST

SUITE("top", {"elsewhere it is plain", elsewhere_it_is_plain, 30},
      {"wrong usage exits 2", wrong_usage_exits_2, 20},
      {"it fits its terminal", it_fits_its_terminal, 20, 5},
      {"it follows its size", it_follows_its_size, 30}, {"it counts", it_counts, 30},
      {"keys scroll", keys_scroll, 20},
      {"keys do what the foot says", keys_do_what_the_foot_says, 30},
      {"whatever ends it, the terminal is restored", whatever_ends_it_the_terminal_is_restored, 30},
      {"a terminal that does not read is restored", a_terminal_that_does_not_read_is_restored, 30},
      {"it can be stopped, and goes on", it_can_be_stopped_and_goes_on, 30},
      {"a worker that stands is marked", a_worker_that_stands_is_marked, 30},
      {"a master that is silent is told", a_master_that_is_silent_is_told, 40},
      {"it waits at a path for the next one", it_waits_at_a_path_for_the_next_one, 40},
      {"elsewhere it ends with the server", elsewhere_it_ends_with_the_server, 30},
      {"it follows an upgrade", it_follows_an_upgrade, 40},
      {"a worker makes no call for it", a_worker_makes_no_call_for_it, 30})
