#include "tests/support/steer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	char built[512]; /* the weir that is copied */
	char program[128], control[128], pid_file[128];
} steer;

/* ---- the binary ---- */

const char *steer_program(void)
{
	return steer.program;
}

static void copy(const char *from, const char *to, mode_t mode)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	char bytes[65536];
	ssize_t n;

	ck_assert_msg(in >= 0 && out >= 0, "copying %s to %s: %s", from, to, strerror(errno));
	while ((n = read(in, bytes, sizeof bytes)) > 0)
		ck_assert_int_eq(write(out, bytes, (size_t)n), n);
	ck_assert_int_eq(n, 0);
	(void)close(in);
	(void)close(out);
	ck_assert_int_eq(chmod(to, mode), 0);
}

void steer_program_is_weir(void)
{
	const char *beside = in_folder("weir.new");

	copy(steer.built, beside, 0755);
	ck_assert_int_eq(rename(beside, steer.program), 0);
}

void steer_program_is(const char *text, unsigned mode)
{
	const char *beside;

	if (!text) {
		(void)unlink(steer.program);
		return;
	}
	beside = write_file("weir.new", text);
	ck_assert_int_eq(chmod(beside, mode), 0);
	ck_assert_int_eq(rename(beside, steer.program), 0);
}

void steer_program_is_held(void)
{
	char text[900], gate[128];

	(void)snprintf(gate, sizeof gate, "%s", in_folder("gate"));
	(void)unlink(gate);
	(void)snprintf(text, sizeof text,
		       "#!/bin/sh\nwhile [ ! -e '%s' ]; do sleep 0.01; done\nexec '%s' \"$@\"\n",
		       gate, in_folder("weir.real"));
	copy(steer.built, in_folder("weir.real"), 0755);
	steer_program_is(text, 0755);
}

void steer_release(void)
{
	(void)write_file("gate", "");
}

/* ---- its start ---- */

/* Of a test that failed: it has no limit but its process', and a new master outlives that. */
static void kill_what_is_left(void)
{
	char path[64], line[4096], *at = line, *end;
	pid_t self = getpid(), pid;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)self, (int)self);
	do {
		file = fopen(path, "re");
		*line = '\0';
		if (file) {
			(void)!fgets(line, sizeof line, file);
			(void)fclose(file);
		}
		for (at = line; (pid = (pid_t)strtol(at, &end, 10)) > 0; at = end)
			(void)kill(pid, SIGKILL);
	} while (waitpid(-1, NULL, 0) > 0);
}

struct server *steer_start(const char *const arguments[])
{
	const char *argv[64], *weir = getenv("WEIR");
	size_t n = 0;

	if (!*steer.program) {
		ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
		ck_assert_int_eq(atexit(kill_what_is_left), 0);
		(void)snprintf(steer.built, sizeof steer.built, "%s", weir ? weir : "build/weir");
		(void)snprintf(steer.program, sizeof steer.program, "%s", in_folder("weir"));
		(void)snprintf(steer.control, sizeof steer.control, "%s", in_folder("control"));
		(void)snprintf(steer.pid_file, sizeof steer.pid_file, "%s", in_folder("pid"));
	}
	steer_program_is_weir();
	ck_assert_int_eq(setenv("WEIR", steer.program, 1), 0);
	while (arguments[n] && n < 58) {
		argv[n] = arguments[n];
		n++;
	}
	argv[n++] = "--control";
	argv[n++] = steer.control;
	argv[n++] = "--pid-file";
	argv[n++] = steer.pid_file;
	argv[n] = NULL;
	return server_start(argv);
}

const char *steer_config(const char *text)
{
	static char path[128];

	(void)snprintf(path, sizeof path, "%s", write_file("conf", text));
	return path;
}

/* ---- weirctl ---- */

#define ASKED_MAX 4

static struct {
	struct {
		pid_t pid;
		char said[128]; /* the path of what it said */
	} asked[ASKED_MAX];
	unsigned turn, ended;
} ctl;

static pid_t begin(const char *option, const char *verb)
{
	const char *weirctl = built("weirctl");
	unsigned turn = ctl.turn++ % ASKED_MAX;
	char *path = ctl.asked[turn].said, name[32];
	pid_t pid;

	(void)snprintf(name, sizeof name, "weirctl.%u", turn);
	(void)snprintf(path, sizeof ctl.asked[turn].said, "%s", in_folder(name));
	pid = fork();
	ctl.asked[turn].pid = pid;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)dup2(out, STDOUT_FILENO);
		(void)dup2(out, STDERR_FILENO);
		(void)execl(weirctl, "weirctl", "--control", steer.control, verb, option, NULL);
		_exit(127);
	}
	return pid;
}

pid_t steer_ask_begin(const char *verb)
{
	return begin(NULL, verb);
}

int steer_ask_end(pid_t pid)
{
	struct wait wait = wait_begin();
	int status;

	wait.until_ms += 50000;
	while (waitpid(pid, &status, WNOHANG) == 0)
		wait_more(&wait, "weirctl's end");
	for (unsigned i = 0; i < ASKED_MAX; i++)
		if (ctl.asked[i].pid == pid)
			ctl.ended = i;
	ck_assert_msg(WIFEXITED(status), "weirctl ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

int steer_ask(const char *verb)
{
	return steer_ask_end(steer_ask_begin(verb));
}

const char *steer_said(void)
{
	const char *said = read_whole(ctl.asked[ctl.ended].said);

	return said ? said : "";
}

void steer_do(const char *verb)
{
	ck_assert_msg(steer_ask(verb) == 0, "%s: %s", verb, steer_said());
}

static const char *value_of(const char *key)
{
	char wanted[64];
	const char *at;

	if (steer_ask_end(begin("-j", "status")) != 0)
		return NULL;
	(void)snprintf(wanted, sizeof wanted, "\"%s\":", key);
	at = strstr(steer_said(), wanted);
	return at ? at + strlen(wanted) : NULL;
}

long steer_number(const char *key)
{
	const char *value = value_of(key);

	return value ? strtol(value, NULL, 10) : -1;
}

bool steer_says(const char *key, const char *value)
{
	const char *at = value_of(key);
	size_t n = strlen(value);

	return at && *at == '"' && strncmp(at + 1, value, n) == 0 && at[1 + n] == '"';
}

unsigned steer_port(size_t listener)
{
	const char *at = value_of("listeners");

	for (size_t i = 0; at && i <= listener; i++) {
		at = strstr(at, "\"listener\":\"");
		at = at ? at + strlen("\"listener\":\"") : NULL;
	}
	ck_assert_msg(at != NULL, "no listener %zu in %s", listener, steer_said());
	at += strcspn(at, "\"?") - 1;
	while (*at >= '0' && *at <= '9')
		at--;
	return *at == ':' ? (unsigned)strtoul(at + 1, NULL, 10) : 0;
}

/* ---- what becomes of it ---- */

/* As wait_more(), with the end of the log where it was in vain. */
static void wait_for_server(struct wait *wait, struct server *server, const char *what)
{
	(void)server_log_has(server, "");
	if (now_ms() > wait->until_ms)
		ck_abort_msg("waited in vain for: %s; the log ends with\n%s", what,
			     server->log + (server->log_n > 6000 ? server->log_n - 6000 : 0));
	wait_more(wait, what);
}

/* All its children are workers, none of an older generation, and none is a zombie. */
static bool children_are_workers(pid_t master, size_t workers)
{
	char path[64], line[4096] = "", comm[64], *at = line, *end;
	size_t n = 0;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)master, (int)master);
	file = fopen(path, "re");
	if (!file)
		return false;
	(void)!fgets(line, sizeof line, file);
	(void)fclose(file);
	for (long pid; (pid = strtol(at, &end, 10)), end != at; at = end, n++) {
		(void)snprintf(path, sizeof path, "/proc/%ld/comm", pid);
		file = fopen(path, "re");
		if (!file)
			return false;
		*comm = '\0';
		(void)!fgets(comm, sizeof comm, file);
		(void)fclose(file);
		if (strncmp(comm, "weir-w", 6) != 0 || strstr(comm, "-old") ||
		    process_state((pid_t)pid) == 'Z')
			return false;
	}
	return n == workers;
}

void steer_settle(struct server *server, size_t workers)
{
	struct wait wait = wait_begin();
	char what[160];

	for (;;) {
		long there = steer_number("workers");
		bool serves = strstr(steer_said(), "\"state\":\"serving\"") != NULL;
		long asked = serves ? steer_number("workers_asked") : -1;

		if (serves && there == (long)workers && asked == there &&
		    children_are_workers(server->pid, workers))
			return;
		(void)snprintf(what, sizeof what,
			       "%zu workers that serve, and nobody else; %ld of %ld are there",
			       workers, there, asked);
		wait_for_server(&wait, server, what);
	}
}

const char *steer_address(const struct server *server, size_t listener)
{
	static char texts[4][64];
	static unsigned turn;
	char *text = texts[turn++ % 4];

	(void)snprintf(text, sizeof *texts, "127.0.0.1:%u", server->ports[listener]);
	return text;
}

void steer_wait_log_times(struct server *server, const char *text, size_t times)
{
	struct wait wait = wait_begin();

	while (server_log_count(server, text) < times)
		wait_for_server(&wait, server, text);
}

void steer_forget(struct server *server)
{
	(void)server_log_has(server, "");
	server->log_n = 0;
	*server->log = '\0';
}

pid_t steer_master(void)
{
	FILE *file = fopen(steer.pid_file, "re");
	int pid = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	(void)fclose(file);
	return pid;
}

void steer_follow(struct server *server)
{
	struct wait wait = wait_begin();
	pid_t old = server->pid, pid;
	int status;

	while ((pid = steer_master()) == old || !pid)
		wait_for_server(&wait, server, "another master's pid in the pid file");
	while (waitpid(old, &status, WNOHANG) == 0)
		wait_for_server(&wait, server, "the old master's end");
	ck_assert_msg(status == 0, "the old master ended with %#x:\n%s", (unsigned)status,
		      server->log);
	server->pid = pid;
}

void steer_all_gone(void)
{
	struct wait wait = wait_begin();
	char lock[160];
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0)
		wait_more(&wait, "all processes to be gone");
	ck_assert_int_eq(errno, ECHILD);
	ck_assert(!exists(steer.pid_file));
	(void)snprintf(lock, sizeof lock, "%s.lock", steer.pid_file);
	ck_assert(!exists(lock));
	ck_assert(!exists(steer.control));
}

void steer_stop(struct server *server)
{
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	steer_all_gone();
}
