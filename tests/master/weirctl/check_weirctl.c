/*
 * weirctl: the program, with real servers, and with sockets of this process that answer as no weir
 * does. Where the test may not make a mount namespace, servers are only looked for in
 * $XDG_RUNTIME_DIR.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/control/command.h"
#include "master/control/control_file.h"
#include "tests/support/ctl.h"
#include "tests/support/json.h"

static struct server *server;
static char path[100];

static void start(void)
{
	(void)snprintf(path, sizeof path, "%s", in_folder("control.sock"));
	server = SERVER("--workers", "2", "--control", path, "echo://127.0.0.1:0",
			"line://127.0.0.1:0?max-line=1K");
}

/* Starts a server with a connection that keeps it from finishing a drain. */
static int start_busy(void)
{
	int held;

	(void)snprintf(path, sizeof path, "%s", in_folder("control.sock"));
	server = SERVER("--workers", "2", "--control", path, "--write-timeout", "0",
			"--drain-timeout", "1h", "chargen://127.0.0.1:0");
	held = connect_to(server->ports[0]);
	server_wait_stat(server, "queued_bytes_max", 1);
	return held;
}

/* ---- JSON ---- */

static void is_json(const char *text)
{
	const char *end = *text == '{' ? json_value(text) : NULL;

	ck_assert_msg(end && strcmp(end, "\n") == 0, "not JSON: %s", text);
}

START_TEST(the_checker_of_json_is_strict)
{
	static const char *const bad[] = {
	    "{,}",	     "{\"a\":1,}",	"{\"a\" 1}",   "{\"a\":01}", "{\"a\":\"\t\"}",
	    "{\"a\":[1 2]}", "{\"a\":\"\\x\"}", "{\"a\":}",    "{a:1}",	     "{\"a\":[}",
	    "{\"a\":1.}",    "{\"a\":.5}",	"{\"a\":True}"};

	is_json("{ \"a\": [ {}, -1, \"\\u00e4\\\"\" ], \"b\":[]}\n");
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(!json_value(bad[i]), "%s", bad[i]);
}
END_TEST

/* ---- commands ---- */

START_TEST(status_is_for_people)
{
	char line[200];

	start();
	ck_assert_int_eq(CTL("--control", path, "status"), 0);
	ck_assert_str_eq(err, "");
	(void)snprintf(line, sizeof line, "pid            %d\n", (int)server->pid);
	has(out, line);
	has(out, "\nstate          serving\n");
	(void)snprintf(line, sizeof line,
		       "\n\n"
		       "ID  ACCEPT     STATE  LISTENER\n"
		       " 0  reuseport  open   echo://127.0.0.1:%u\n"
		       " 1  reuseport  open   line://127.0.0.1:%u?max-line=1024\n",
		       server->ports[0], server->ports[1]);
	has(out, line);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(workers_are_a_table_of_80_columns)
{
	char line[200];

	start();
	ck_assert_int_eq(CTL("--control", path, "workers"), 0);
	ck_assert_int_eq(strncmp(out, "WORKER ", 7), 0);
	for (unsigned i = 0; i < 2; i++) {
		(void)snprintf(line, sizeof line, "\n     %u  %d    1  ready ", i,
			       (int)server_wait_worker(server, i, 0));
		has(out, line);
	}
	for (const char *at = out; *at; at += strcspn(at, "\n") + 1)
		ck_assert_uint_le(strcspn(at, "\n"), 80);
	/* Reasons are shown only after a connection has ended. */
	ck_assert_ptr_null(strstr(out, "CLOSED"));
	(void)close(connect_to(server->ports[0]));
	server_wait_stat(server, "closed_eof", 1);
	ck_assert_int_eq(CTL("--control", path, "workers"), 0);
	has(out, "\n\nWORKER  CLOSED\n     0  ");
	has(out, "  eof 1\n");
	has(out, "  -\n");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(pid_is_alone_on_a_line)
{
	char wanted[32];

	start();
	(void)snprintf(wanted, sizeof wanted, "%d\n", (int)server->pid);
	ck_assert_int_eq(CTL("--control", path, "pid"), 0);
	ck_assert_str_eq(out, wanted);
	(void)snprintf(wanted, sizeof wanted, "%d\n", (int)server_wait_worker(server, 1, 0));
	ck_assert_int_eq(CTL("pid", "w1", "--control", path), 0);
	ck_assert_str_eq(out, wanted);
	ck_assert_int_eq(CTL("--control", path, "pid", "w2"), 1);
	ck_assert_str_eq(out, "");
	ck_assert_str_eq(err, "weirctl: pid: there is no worker 2 now\n");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(json_is_one_document)
{
	char wanted[64];

	start();
	ck_assert_int_eq(CTL("--control", path, "-j", "status"), 0);
	is_json(out);
	(void)snprintf(wanted, sizeof wanted, "\"server\": {\"pid\":%d,", (int)server->pid);
	has(out, wanted);
	has(out, "\"connections\":0,");
	has(out, "\"listeners\": [\n    {\"id\":0,");
	has(out, "\"outcome\":\"done\"\n}\n");
	ck_assert_int_eq(CTL("--control", path, "--json", "workers"), 0);
	is_json(out);
	has(out, "\"workers\": [\n    {\"worker\":0,");
	ck_assert_int_eq(CTL("--control", path, "-j", "pid", "w0"), 0);
	is_json(out);
	has(out, "\"process\": {\"worker\":0,\"pid\":");
	ck_assert_int_eq(CTL("--control", path, "-j", "pid", "\""), 1);
	is_json(out);
	has(out, "\"outcome\":\"failed\",\"why\":\"pid takes wN, a worker's number, not \\\"");
	has(err, "weirctl: pid: pid takes wN");
	ck_assert_int_eq(CTL("--control", path, "-j", "drain"), 0);
	is_json(out);
	has(out, "\"notes\": [");
	ck_assert_int_eq(server_wait_exit(server), 0);
}
END_TEST

START_TEST(jq_reads_it)
{
	char command[512], text[64] = "";
	FILE *pipe;

	if (!command_exists("jq")) {
		suite_skip("jq reads it", "there is no jq");
		return;
	}
	start();
	(void)snprintf(command, sizeof command,
		       "%s --control %s -j workers | jq -c '[.workers[].worker], .outcome'",
		       built("weirctl"), path);
	pipe = popen(command, "re");
	ck_assert_ptr_nonnull(pipe);
	ck_assert_uint_gt(fread(text, 1, sizeof text - 1, pipe), 0);
	ck_assert_int_eq(pclose(pipe), 0);
	ck_assert_str_eq(text, "[0,1]\n\"done\"\n");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(drain_waits_until_it_has_gone)
{
	struct wait wait = wait_begin();
	int held = start_busy();
	pid_t pid = CTL_LAUNCH("--control", path, "drain");
	const char *said;

	while (!(said = read_whole(in_folder("out"))) || !strchr(said, '\n'))
		wait_more(&wait, "a note");
	ck_assert_int_eq(strncmp(said, "connections left: 1\n", 20), 0);
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
	(void)close(held);
	ck_assert_int_eq(ctl_outcome(pid), 0);
	has(out, "\ndrain: done\n");
	/* The server has really ended: it is a zombie until this test reaps it. */
	ck_assert_int_eq(process_state(server->pid), 'Z');
	ck_assert_int_eq(server_wait_exit(server), 0);
}
END_TEST

START_TEST(stop_does_not_wait_for_anybody)
{
	int held = start_busy();

	ck_assert_int_eq(CTL("--control", path, "stop"), 0);
	ck_assert_str_eq(out, "stop: done\n");
	ck_assert_int_eq(process_state(server->pid), 'Z');
	ck_assert_int_eq(server_wait_exit(server), 0);
	(void)close(held);
}
END_TEST

START_TEST(a_timeout_ends_the_waiting)
{
	int held = start_busy();

	/* The server goes on draining if the order reached it in this time. Then it is stopped. */
	do {
		ck_assert_int_eq(CTL("--control", path, "--timeout", "300ms", "drain"), 1);
		has(err, "weirctl: drain: the time is over, and the outcome is not known\n");
		ck_assert_int_eq(CTL("--control", path, "status"), 0);
	} while (!strstr(out, "stopping\n"));
	ck_assert_int_eq(CTL("--control", path, "-j", "stop"), 0);
	is_json(out);
	ck_assert_int_eq(server_wait_exit(server), 0);
	(void)close(held);
	start();
	ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
	ck_assert_int_eq(CTL("--control", path, "--timeout", "200ms", "-j", "status"), 1);
	is_json(out);
	has(out, "\"outcome\":\"failed\"");
	ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(a_server_that_is_killed_is_no_success)
{
	struct wait wait = wait_begin();
	int held = start_busy();
	pid_t pid = CTL_LAUNCH("--control", path, "drain");
	const char *said;

	while (!(said = read_whole(in_folder("out"))) || !strchr(said, '\n'))
		wait_more(&wait, "a note");
	ck_assert_int_eq(server_stop(server, SIGKILL), 128 + SIGKILL);
	ck_assert_int_eq(ctl_outcome(pid), 1);
	has(err, "weirctl: drain: the server ended before it had answered\n");
	(void)close(held);
	ck_assert_int_eq(CTL("--control", path, "status"), 3);
	has(err, "Connection refused (nobody listens there)\n");
}
END_TEST

/* ---- usage ---- */

START_TEST(wrong_usage_exits_2)
{
	static const struct {
		const char *arguments[4], *says;
	} rows[] = {
	    {{NULL}, "there is no COMMAND"},
	    {{"reboot"}, "there is no command \"reboot\""},
	    {{"status", "now"}, "status takes no \"now\""},
	    {{"pid", "w1", "w2"}, "pid takes no \"w2\""},
	    {{"--control"}, "--control takes a value"},
	    {{"--timeout", "5", "status"}, "--timeout takes a time such as 500ms, 30s or 5m"},
	    {{"--colour", "status"}, "--colour is no option"},
	    {{"-x", "status"}, "-x is no option"},
	    {{"-j", "metrics"}, "not to be had as JSON"},
	    {{"--json=yes", "status"}, "--json=yes is no option, or takes no value"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ck_assert_int_eq(ctl_outcome(ctl_launch(rows[i].arguments)), 2);
		has(err, rows[i].says);
		ck_assert_str_eq(out, "");
	}
	ck_assert_int_eq(CTL("--control", "/nowhere/x.sock", "status"), 3);
	has(err, "weirctl: /nowhere/x.sock: No such file or directory\n");
}
END_TEST

/* All commands, once and in the same order, and no others, are in --help and in the manual page's
 * section COMMANDS. */
static void says_each_command(const char *page)
{
	const char *at = strstr(page, "\n.SH COMMANDS\n"), *end = strstr(page, "\n.SH OPTIONS\n");
	const char *help = out;
	char text[128];
	size_t n = 0;

	ck_assert(at && end);
	for (const char *next = at; (next = strstr(next, "\n.TP\n")) && next < end; next++)
		n++;
	ck_assert_uint_eq(n, COMMANDS);
	for (size_t i = 0; i < COMMANDS; i++) {
		const struct command_row *row = &command_rows[i];

		(void)snprintf(text, sizeof text, "\n  %s%s%s ", row->name,
			       *row->argument ? " " : "", row->argument);
		help = strstr(help, text);
		ck_assert_msg(help, "--help does not say, or not in its place:%s", text);
		has(help, row->meaning);
		(void)snprintf(text, sizeof text,
			       *row->argument ? "\n.TP\n\\fB%s\\fR [" : "\n.TP\n.B %s\n",
			       row->name);
		at = strstr(at, text);
		ck_assert_msg(at && at < end, "weirctl(8) does not say, or not in its place:%s",
			      text);
	}
}

/* Each command and flag is in --help, whose lines fit a terminal, and in the manual page. */
START_TEST(help_and_the_page_say_all)
{
	static const char *const flags[] = {"json", "control", "timeout", "version", "help"};
	static char page[65536];
	char text[64];

	(void)snprintf(page, sizeof page, "%s", read_whole("master/install/weirctl.8"));
	ck_assert_int_eq(CTL("--help"), 0);
	for (const char *at = out; *at; at += strcspn(at, "\n") + 1)
		ck_assert_uint_le(strcspn(at, "\n"), 80);
	says_each_command(page);
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		(void)snprintf(text, sizeof text, "--%s ", flags[i]);
		has(out, text);
		(void)snprintf(text, sizeof text, "\\fB\\-\\-%s\\fR", flags[i]);
		has(page, text);
	}
	ck_assert_int_eq(CTL("--version"), 0);
	ck_assert_str_eq(out, "weirctl 0.1.0\n");
}
END_TEST

/* ---- finding the server ---- */

/* The folder for default sockets, with no other servers' in it: root gets its own /run. NULL: that
 * is not possible. */
static const char *own_folder(void)
{
	if (geteuid() != 0) {
		(void)setenv("XDG_RUNTIME_DIR", temporary_folder(), 1);
		return temporary_folder();
	}
	(void)unsetenv("XDG_RUNTIME_DIR");
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0)
		return NULL;
	return CONTROL_FOLDER;
}

static struct server *start_anywhere(void)
{
	return SERVER("--workers", "1", "echo://127.0.0.1:0");
}

static const char *default_path(const char *folder, const struct server *of)
{
	static char text[128];

	(void)snprintf(text, sizeof text, "%s/weir-%d.sock", folder, (int)of->pid);
	return text;
}

START_TEST(the_only_server_is_found)
{
	const char *folder = own_folder();
	struct server *other;
	char wanted[200];

	if (!folder) {
		suite_skip("the only server is found", "no mount namespace");
		return;
	}
	ck_assert_int_eq(CTL("pid"), 3);
	ck_assert_str_eq(out, "");
	server = start_anywhere();
	ck_assert(exists(default_path(folder, server)));
	ck_assert_int_eq(CTL("pid"), 0);
	(void)snprintf(wanted, sizeof wanted, "%d\n", (int)server->pid);
	ck_assert_str_eq(out, wanted);
	/* With a second server it lists both, and chooses neither. */
	other = start_anywhere();
	ck_assert_int_eq(CTL("stop"), 3);
	has(err, "there are 2 servers");
	(void)snprintf(wanted, sizeof wanted, "--control %s (pid %d)\n",
		       default_path(folder, other), (int)other->pid);
	has(err, wanted);
	has(err, default_path(folder, server));
	ck_assert_int_eq(CTL("--control", default_path(folder, other), "stop"), 0);
	ck_assert_int_eq(server_wait_exit(other), 0);
	ck_assert(!exists(default_path(folder, other)));
	ck_assert_int_eq(CTL("drain"), 0);
	ck_assert_int_eq(server_wait_exit(server), 0);
	ck_assert(!exists(default_path(folder, server)));
}
END_TEST

/* A killed server leaves its socket file. weirctl ignores it, and the next server removes it. */
START_TEST(what_was_killed_is_swept)
{
	const char *folder = own_folder();
	char killed[128];

	if (!folder) {
		suite_skip("what was killed is swept", "no mount namespace");
		return;
	}
	server = start_anywhere();
	(void)snprintf(killed, sizeof killed, "%s", default_path(folder, server));
	ck_assert_int_eq(server_stop(server, SIGKILL), 128 + SIGKILL);
	ck_assert(exists(killed));
	ck_assert_int_eq(CTL("pid"), 3);
	ck_assert(exists(killed));
	server = start_anywhere();
	ck_assert(!exists(killed));
	ck_assert_int_eq(CTL("pid"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* If the control socket can't be made in a default place, weir says so and serves. */
START_TEST(without_a_place_it_serves)
{
	char output[4096];
	int fd;

	if (!own_folder()) {
		suite_skip("without a place, it serves", "no mount namespace");
		return;
	}
	if (geteuid() == 0) /* not even root can make a folder there */
		ck_assert_int_eq(close(open(CONTROL_FOLDER, O_CREAT | O_WRONLY, 0600)), 0);
	(void)setenv("XDG_RUNTIME_DIR", "/nowhere", 1);
	server = start_anywhere();
	ck_assert(server_log_has(server, "no place for its socket"));
	fd = connect_to(server->ports[0]);
	send_text(fd, "hello");
	expect_text(fd, "hello");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	/* With a path that was given, the start fails. */
	ck_assert_int_eq(RUN(output, "--control", CONTROL_FOLDER "/x.sock", "echo://127.0.0.1:0"),
			 1);
	if (geteuid() != 0)
		return;
	(void)setenv("XDG_RUNTIME_DIR", temporary_folder(), 1);
	server = start_anywhere();
	ck_assert(exists(default_path(temporary_folder(), server)));
	ck_assert_int_eq(CTL("pid"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(!exists(default_path(temporary_folder(), server)));
}
END_TEST

/* ---- answers that no weir gives ---- */

static int impostor; /* its listening socket */

static void listen_as_impostor(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)snprintf(path, sizeof path, "%s", in_folder("impostor.sock"));
	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	impostor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(impostor, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(impostor, 8), 0);
}

static int answered_in(const char *timeout, const char *command, const char *text)
{
	bool json = strcmp(command, "-j") == 0;
	pid_t pid = CTL_LAUNCH("--timeout", timeout, "--control", path, json ? "-j" : command,
			       json ? "reload" : NULL);
	int fd = accept(impostor, NULL, NULL);
	char request[64];

	ck_assert_int_gt(recv(fd, request, sizeof request, 0), 0);
	(void)send(fd, text, strlen(text), MSG_NOSIGNAL);
	(void)close(fd);
	return ctl_outcome(pid);
}

static int answered(const char *command, const char *text)
{
	return answered_in("1h", command, text);
}

START_TEST(nonsense_is_not_understood)
{
	static const char *const bad[] = {"\n",
					  " \n",
					  "server pid\n",
					  "server pid=\n",
					  "server  pid=1\n",
					  "server pid=1 \n",
					  "server pid=1-2\n",
					  "server pid=99999999999999999999\n",
					  "server pid=\"1\n",
					  "server pid=\"1\"2\n",
					  "server pid=\"\\x\"\n",
					  "server pid=\"\\u00\"\n",
					  "server pid=\"\\u0000\"\n",
					  "server =1\n",
					  "SERVER pid=1\n",
					  "server pid=a\\b\n"};
	char line[40000];

	listen_as_impostor();
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		ck_assert_msg(answered("status", bad[i]) == 1, "%s", bad[i]);
		has(err, "the server says what weirctl does not understand");
	}
	memset(line, 'a', sizeof line - 1);
	line[sizeof line - 1] = '\0';
	ck_assert_int_eq(answered("status", line), 1);
	has(err, "does not understand");
	ck_assert_int_eq(answered("status", "server pid=1"), 1);
	has(err, "the server ended before it had answered");
	ck_assert_int_eq(answered("reload", "failed\n"), 1);
	has(err, "the server does not say why");
}
END_TEST

/* The server answers that it is done, but does not end. */
START_TEST(done_is_not_gone)
{
	listen_as_impostor();
	for (unsigned s = 1; !strstr(err, "the server is still there"); s *= 2) {
		char text[16];

		(void)snprintf(text, sizeof text, "%us", s);
		ck_assert_int_eq(answered_in(text, "stop", "done\n"), 1);
		has(err, "weirctl: stop: the time is over, and the "); /* or there was no answer in
									  this time */
	}
	ck_assert_int_eq(answered("reload", "done\n"), 0);
}
END_TEST

START_TEST(what_is_new_is_shown)
{
	listen_as_impostor();
	ck_assert_int_eq(answered("status", "server pid=1 odd_bytes=2048000 moon=\"full\"\n"
					    "planet name=earth mass=\"6e24\" moons=1\n"
					    "planet name=mars moons=2\ndone more=1\n"),
			 0);
	ck_assert_str_eq(out, "pid            1\n"
			      "odd            2.0M\n"
			      "moon           full\n"
			      "\n"
			      "name   mass  moons\n"
			      "earth  6e24      1\n"
			      "mars   -         2\n");
	/* A text with control characters and umlauts: the terminal must get no controls. */
	ck_assert_int_eq(answered("reload", "note text=\"a\\u001b[2J\xc2\x9b\\u00e4\\\\\\\"\"\n"
					    "done\n"),
			 0);
	ck_assert_str_eq(out, "a\\u001b[2J\\u009b\xc3\xa4\\\"\nreload: done\n");
	/* The same in errors and in JSON. */
	ck_assert_int_eq(answered("reload", "failed why=\"b\\u001b\xe2\x80\xae\xff\"\n"), 1);
	ck_assert_str_eq(err, "weirctl: reload: b\\u001b\\u202e\\ufffd\n");
	ck_assert_int_eq(answered("top", "failed why=\"c\xc2\x9b\"\n"), 1);
	ck_assert_str_eq(err, "weirctl: top: c\\u009b\n");
	ck_assert_int_eq(answered("-j", "note text=\"d\xc2\x9b\"\ndone\n"), 0);
	has(out, "{\"text\":\"d\\u009b\"}");
}
END_TEST

SUITE("weirctl", {"the checker of JSON is strict", the_checker_of_json_is_strict, 10},
      {"status is for people", status_is_for_people, 20},
      {"workers are a table of 80 columns", workers_are_a_table_of_80_columns, 20},
      {"pid is alone on a line", pid_is_alone_on_a_line, 20},
      {"-j is one document", json_is_one_document, 20}, {"jq reads it", jq_reads_it, 20},
      {"drain waits until it has gone", drain_waits_until_it_has_gone, 30},
      {"stop does not wait for anybody", stop_does_not_wait_for_anybody, 20},
      {"a timeout ends the waiting", a_timeout_ends_the_waiting, 30},
      {"a server that is killed is no success", a_server_that_is_killed_is_no_success, 30},
      {"wrong usage exits 2", wrong_usage_exits_2, 20},
      {"--help and the page say all", help_and_the_page_say_all, 20},
      {"the only server is found", the_only_server_is_found, 30},
      {"what was killed is swept", what_was_killed_is_swept, 30},
      {"without a place, it serves", without_a_place_it_serves, 30},
      {"nonsense is not understood", nonsense_is_not_understood, 30},
      {"done is not gone", done_is_not_gone, 30},
      {"what is new is shown", what_is_new_is_shown, 20})
