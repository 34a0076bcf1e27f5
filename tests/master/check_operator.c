/*
 * What an operator sees: starts that fail and why, log lines, process titles, the pid file,
 * signals. --user is in root_operator.
 */
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/harness.h"

static void echoes(int fd)
{
	send_text(fd, "hello");
	expect_text(fd, "hello");
	(void)close(fd);
}

/* ---- starts that fail ---- */

/* Exit status 1, and a message that names the step that failed and its object. */
START_TEST(what_cannot_run_says_why)
{
	char output[4096], listener[160];

	ck_assert_int_eq(RUN(output, "--pid-file", "/nowhere/weir.pid", "echo://127.0.0.1:0"), 1);
	ck_assert_msg(strstr(output, "pid-file /nowhere/weir.pid: No such file"), "%s", output);
	ck_assert_int_eq(RUN(output, "echo:///nowhere/x.sock"), 1);
	ck_assert_msg(strstr(output, "echo:///nowhere/x.sock: bind: No such file"), "%s", output);
	ck_assert_int_eq(RUN(output, "echo://192.0.2.1:7878"), 1);
	ck_assert_msg(strstr(output, "echo://192.0.2.1:7878: bind: Cannot assign"), "%s", output);
	/* What it had already made is removed. */
	(void)snprintf(listener, sizeof listener, "echo://%s", in_folder("made.sock"));
	ck_assert_int_eq(RUN(output, listener, "echo:///nowhere/x.sock"), 1);
	ck_assert_msg(!exists(in_folder("made.sock")), "a socket file is left behind");
}
END_TEST

START_TEST(the_pid_file_is_there_while_weir_is)
{
	const char *path = in_folder("weir.pid");
	struct server *server = SERVER("--workers", "1", "--pid-file", path, "echo://127.0.0.1:0");
	const char *text = read_whole(path);
	char pid[32];

	(void)snprintf(pid, sizeof pid, "%d\n", (int)server->pid);
	ck_assert_ptr_nonnull(text);
	ck_assert_str_eq(text, pid);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(!exists(path));
	/* A pid file that another server has written since is not removed. */
	server = SERVER("--workers", "1", "--pid-file", path, "echo://127.0.0.1:0");
	(void)write_file("weir.pid", "1\n");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(exists(path));
}
END_TEST

START_TEST(a_pid_file_has_one_server)
{
	const char *path = in_folder("one.pid");
	struct server *server = SERVER("--workers", "1", "--pid-file", path, "echo://127.0.0.1:0");
	char output[4096], says[64];

	ck_assert_int_eq(RUN(output, "--pid-file", path, "echo://127.0.0.1:0"), 1);
	(void)snprintf(says, sizeof says, "weir runs already, as pid %d", (int)server->pid);
	ck_assert_msg(strstr(output, says) != NULL, "%s", output);
	ck_assert(exists(path));
	/* A killed server leaves its pid file: the next one takes it over. */
	ck_assert_int_eq(server_stop(server, SIGKILL), 128 + SIGKILL);
	server = SERVER("--workers", "1", "--pid-file", path, "echo://127.0.0.1:0");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(!exists(path));
}
END_TEST

START_TEST(a_limit_of_descriptors_that_cuts_is_said)
{
	struct server *server =
	    SERVER("--workers", "1", "--max-connections", "1000000000", "echo://127.0.0.1:0");

	ck_assert(server_log_has(server, "the limit of descriptors cuts max-connections"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- what a running one shows ---- */

static void proc_is(pid_t pid, const char *file, const char *wanted)
{
	struct wait wait = wait_begin();
	char path[64], what[200];
	const char *text;

	(void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	(void)snprintf(what, sizeof what, "%s to be %s", path, wanted);
	while (!(text = read_whole(path)) || strcmp(text, wanted) != 0)
		wait_more(&wait, what);
}

START_TEST(processes_have_titles)
{
	struct server *server =
	    SERVER("--workers", "2", "--drain-timeout", "1h", "chargen://127.0.0.1:0");
	int fd = connect_to(server->ports[0]);
	pid_t pids[2] = {server_wait_worker(server, 0, 0), server_wait_worker(server, 1, 0)};
	unsigned busy;

	server_wait_stat(server, "queued_bytes_max", 1); /* so that it will have to drain */
	busy = server_worker_stat(server, 0, "connections") ? 0 : 1;
	proc_is(server->pid, "cmdline", "weir: master");
	proc_is(server->pid, "comm", "weir-master\n");
	proc_is(pids[0], "cmdline", "weir: worker 0");
	proc_is(pids[0], "comm", "weir-w0\n");
	proc_is(pids[1], "cmdline", "weir: worker 1");
	proc_is(pids[1], "comm", "weir-w1\n");
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	proc_is(pids[busy], "cmdline",
		busy ? "weir: worker 1 (draining)" : "weir: worker 0 (draining)");
	(void)close(fd);
	ck_assert_int_eq(server_wait_exit(server), 0);
}
END_TEST

START_TEST(the_ready_line_says_what_there_is)
{
	struct server *server =
	    SERVER("--workers", "2", "echo://127.0.0.1:0", "line://127.0.0.1:0?max-line=1K");
	char wanted[256];

	(void)snprintf(wanted, sizeof wanted,
		       "msg=ready pid=%d workers=2 listeners=\"echo://127.0.0.1:%u "
		       "line://127.0.0.1:%u?max-line=1024\"\n",
		       (int)server->pid, server->ports[0], server->ports[1]);
	ck_assert_msg(server_log_has(server, wanted), "%s is not in: %s", wanted, server->log);
	ck_assert_uint_ne(server->ports[0], 0);
	ck_assert_uint_eq(server_log_count(server, "msg=ready"), 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* These parse a log line, which must be {"key":"text","key":123,...}. Each returns the end of its
 * part, or NULL. */
static const char *json_text(const char *at)
{
	if (*at++ != '"')
		return NULL;
	for (; *at != '"'; at++) {
		if ((unsigned char)*at < 0x20)
			return NULL;
		if (*at == '\\' && !strchr("\"\\/bfnrtu", *++at))
			return NULL;
	}
	return at + 1;
}

static const char *json_line(const char *at)
{
	char separator = '{';

	do {
		if (*at++ != separator || !(at = json_text(at)) || *at++ != ':')
			return NULL;
		if (*at == '"') {
			at = json_text(at);
		} else {
			at += *at == '-';
			if (!isdigit((unsigned char)*at))
				return NULL;
			at += strspn(at, "0123456789");
		}
		separator = ',';
	} while (at && *at == ',');
	return at && *at == '}' && at[1] == '\n' ? at + 2 : NULL;
}

START_TEST(json_lines_are_json)
{
	struct server *server = server_launch(
	    (const char *const[]){"--workers", "2", "--log-format", "json", "--log-level", "debug",
				  "echo://127.0.0.1:0", NULL});
	size_t lines = 0;

	server_wait_log(server, "\"msg\":\"ready\",\"pid\":");
	ck_assert_int_eq(kill(server->pid, SIGUSR1), 0);
	server_wait_log(server, "this signal");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	for (const char *at = server->log, *next; *at; at = next, lines++) {
		next = json_line(at);
		ck_assert_msg(next, "not JSON: %s", at);
		ck_assert_int_eq(strncmp(at, "{\"time\":\"20", 11), 0);
	}
	ck_assert_uint_ge(lines, 5);
}
END_TEST

START_TEST(log_level_error_is_quiet)
{
	const char *path = in_folder("quiet.sock");
	struct wait wait = wait_begin();
	struct server *server;
	char listener[160];

	(void)snprintf(listener, sizeof listener, "echo://%s", path);
	server = server_launch(
	    (const char *const[]){"--workers", "1", "--log-level", "error", listener, NULL});
	while (!exists(path))
		wait_more(&wait, "a socket file");
	while (!server_worker(server, 0))
		wait_more(&wait, "a worker");
	echoes(connect_unix(path));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert_str_eq(server->log, "");
}
END_TEST

START_TEST(affinity_pins_each_worker)
{
	cpu_set_t mine, its;
	struct server *server;
	size_t cpu = CPU_SETSIZE - 1;

	server = SERVER("--workers", "3", "--affinity", "on", "echo://127.0.0.1:0");
	ck_assert_int_eq(sched_getaffinity(0, sizeof mine, &mine), 0);
	for (unsigned i = 0; i < 3; i++) {
		pid_t pid = server_wait_worker(server, i, 0);

		/* The next CPU that is allowed; after the last one the first again. */
		do
			cpu = (cpu + 1) % CPU_SETSIZE;
		while (!CPU_ISSET(cpu, &mine));
		ck_assert_int_eq(sched_getaffinity(pid, sizeof its, &its), 0);
		ck_assert_int_eq(CPU_COUNT(&its), 1);
		ck_assert(CPU_ISSET(cpu, &its));
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(spin_polls_and_serves)
{
	struct server *server = SERVER("--workers", "1", "--spin", "1m", "echo://127.0.0.1:0");
	pid_t pid = server_wait_worker(server, 0, 0);
	struct wait wait = wait_begin();
	unsigned long ticks;

	echoes(connect_to(server->ports[0]));
	ticks = process_ticks(pid);
	while (process_ticks(pid) < ticks + 10)
		wait_more(&wait, "an idle worker that polls to use CPU");
	echoes(connect_to(server->ports[0]));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Workers ignore these signals. What the master does for some of them is in other tests. */
START_TEST(hup_and_its_like_do_not_kill)
{
	static const int signals[] = {SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGPIPE};
	struct server *server = SERVER("--workers", "1", "echo://127.0.0.1:0");

	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		if (signals[i] == SIGUSR1 || signals[i] == SIGPIPE)
			ck_assert_int_eq(kill(server->pid, signals[i]), 0);
		ck_assert_int_eq(kill(server_wait_worker(server, 0, 0), signals[i]), 0);
		echoes(connect_to(server->ports[0]));
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert_uint_eq(server_log_count(server, "msg=\"worker started\""), 1);
}
END_TEST

START_TEST(a_backlog_that_is_cut_is_said)
{
	unsigned long max = strtoul(read_whole("/proc/sys/net/core/somaxconn"), NULL, 10);
	char backlog[32], wanted[64];
	struct server *server;

	(void)snprintf(backlog, sizeof backlog, "%lu", max + 1);
	(void)snprintf(wanted, sizeof wanted, "backlog=%lu somaxconn=%lu", max + 1, max);
	server = SERVER("--workers", "1", "--backlog", backlog, "echo://127.0.0.1:0");
	ck_assert(server_log_has(server, wanted));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	(void)snprintf(backlog, sizeof backlog, "%lu", max);
	server = SERVER("--workers", "1", "--backlog", backlog, "echo://127.0.0.1:0");
	ck_assert(!server_log_has(server, "somaxconn"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("operator", {"what can't run says why", what_cannot_run_says_why, 20},
      {"the pid file is there while weir is", the_pid_file_is_there_while_weir_is, 20},
      {"a pid file has one server", a_pid_file_has_one_server, 20},
      {"a limit of descriptors that cuts is said", a_limit_of_descriptors_that_cuts_is_said, 20},
      {"processes have titles", processes_have_titles, 30},
      {"the ready line says what there is", the_ready_line_says_what_there_is, 20},
      {"JSON lines are JSON", json_lines_are_json, 20},
      {"--log-level error is quiet", log_level_error_is_quiet, 20},
      {"--affinity pins each worker", affinity_pins_each_worker, 20},
      {"--spin polls, and serves", spin_polls_and_serves, 30},
      {"HUP and its like do not kill", hup_and_its_like_do_not_kill, 20},
      {"a backlog that is cut is said", a_backlog_that_is_cut_is_said, 20})
