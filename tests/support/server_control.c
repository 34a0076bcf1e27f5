#include "tests/support/server_control.h"

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
	char program[128], program_new[128], control[128], pid_file[128];
} files;

/* Not by in_folder(): its paths are valid for four calls only, and a caller may hold one. */
static void name_files(void)
{
	const char *folder = temporary_folder(), *weir = getenv("WEIR");

	if (*files.program)
		return;
	(void)snprintf(files.built, sizeof files.built, "%s", weir ? weir : "build/weir");
	(void)snprintf(files.program, sizeof files.program, "%s/weir", folder);
	(void)snprintf(files.program_new, sizeof files.program_new, "%s/weir.new", folder);
	(void)snprintf(files.control, sizeof files.control, "%s/control", folder);
	(void)snprintf(files.pid_file, sizeof files.pid_file, "%s/pid", folder);
}

/* ---- processes ---- */

#define CHILDREN_MAX 512

static size_t children_of(pid_t parent, pid_t children[CHILDREN_MAX])
{
	char path[64], line[8192] = "", *at = line, *end;
	size_t n = 0;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
	file = fopen(path, "re");
	if (!file)
		return 0;
	(void)!fgets(line, sizeof line, file);
	(void)fclose(file);
	for (long pid; n < CHILDREN_MAX && (pid = strtol(at, &end, 10)) > 0; at = end)
		children[n++] = (pid_t)pid;
	return n;
}

static bool read_name(pid_t pid, char name[64])
{
	char path[64];
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	file = fopen(path, "re");
	*name = '\0';
	if (!file)
		return false;
	(void)!fgets(name, 64, file);
	(void)fclose(file);
	return true;
}

/* For a test that failed: a new master has another parent, so it would outlive the test's process.
 */
static void kill_what_is_left(void)
{
	pid_t children[CHILDREN_MAX];

	do
		for (size_t n = children_of(getpid(), children); n; n--)
			(void)kill(children[n - 1], SIGKILL);
	while (waitpid(-1, NULL, 0) > 0);
}

/* What a master leaves behind becomes a child of this process. */
static void adopt(void)
{
	static bool adopts;

	if (adopts)
		return;
	adopts = true;
	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	ck_assert_int_eq(atexit(kill_what_is_left), 0);
}

/* ---- the binary ---- */

const char *server_control_program(void)
{
	return files.program;
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

void server_control_program_is_weir(void)
{
	copy(files.built, files.program_new, 0755);
	ck_assert_int_eq(rename(files.program_new, files.program), 0);
}

void server_control_program_is(const char *text, unsigned mode)
{
	if (!text) {
		(void)unlink(files.program);
		return;
	}
	(void)write_file("weir.new", text);
	ck_assert_int_eq(chmod(files.program_new, mode), 0);
	ck_assert_int_eq(rename(files.program_new, files.program), 0);
}

void server_control_program_is_held(void)
{
	char text[900], gate[128];

	(void)snprintf(gate, sizeof gate, "%s", in_folder("gate"));
	(void)unlink(gate);
	(void)snprintf(text, sizeof text,
		       "#!/bin/sh\nwhile [ ! -e '%s' ]; do sleep 0.01; done\nexec '%s' \"$@\"\n",
		       gate, in_folder("weir.real"));
	copy(files.built, in_folder("weir.real"), 0755);
	server_control_program_is(text, 0755);
}

void server_control_release(void)
{
	(void)write_file("gate", "");
}

/* ---- its start ---- */

struct server *server_control_start(const char *const arguments[])
{
	const char *argv[64];
	size_t n = 0;

	adopt();
	name_files();
	server_control_program_is_weir();
	ck_assert_int_eq(setenv("WEIR", files.program, 1), 0);
	while (arguments[n] && n < 58) {
		argv[n] = arguments[n];
		n++;
	}
	argv[n++] = "--control";
	argv[n++] = files.control;
	argv[n++] = "--pid-file";
	argv[n++] = files.pid_file;
	argv[n] = NULL;
	return server_start(argv);
}

const char *server_control_config(const char *text)
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
		(void)execl(weirctl, "weirctl", "--control", files.control, verb, option, NULL);
		_exit(127);
	}
	return pid;
}

pid_t server_control_ask_begin(const char *verb)
{
	return begin(NULL, verb);
}

int server_control_ask_end(pid_t pid)
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

int server_control_ask(const char *verb)
{
	return server_control_ask_end(server_control_ask_begin(verb));
}

const char *server_control_answer(void)
{
	const char *said = read_whole(ctl.asked[ctl.ended].said);

	return said ? said : "";
}

void server_control_do(const char *verb)
{
	ck_assert_msg(server_control_ask(verb) == 0, "%s: %s", verb, server_control_answer());
}

static const char *value_of(const char *key)
{
	char wanted[64];
	const char *at;

	if (server_control_ask_end(begin("-j", "status")) != 0)
		return NULL;
	(void)snprintf(wanted, sizeof wanted, "\"%s\":", key);
	at = strstr(server_control_answer(), wanted);
	return at ? at + strlen(wanted) : NULL;
}

long server_control_status(const char *key)
{
	const char *value = value_of(key);

	return value ? strtol(value, NULL, 10) : -1;
}

bool server_control_status_is(const char *key, const char *value)
{
	const char *at = value_of(key);
	size_t n = strlen(value);

	return at && *at == '"' && strncmp(at + 1, value, n) == 0 && at[1 + n] == '"';
}

unsigned server_control_port(size_t listener)
{
	const char *at = value_of("listeners");

	for (size_t i = 0; at && i <= listener; i++) {
		at = strstr(at, "\"listener\":\"");
		at = at ? at + strlen("\"listener\":\"") : NULL;
	}
	ck_assert_msg(at != NULL, "no listener %zu in %s", listener, server_control_answer());
	at += strcspn(at, "\"?") - 1;
	while (*at >= '0' && *at <= '9')
		at--;
	return *at == ':' ? (unsigned)strtoul(at + 1, NULL, 10) : 0;
}

/* ---- changes by signal, and what the log says of them ---- */

/* Like wait_more(), but a failure shows the end of the log. */
static void wait_for_server(struct wait *wait, struct server *server, const char *what)
{
	(void)server_log_has(server, "");
	if (now_ms() > wait->until_ms)
		ck_abort_msg("waited in vain for: %s; the log ends with\n%s", what,
			     server->log + (server->log_n > 6000 ? server->log_n - 6000 : 0));
	wait_more(wait, what);
}

static const struct {
	int signal;
	const char *ends_with; /* when the log says that this change is made, all is done */
} changes[] = {
    [SERVER_CONTROL_RELOAD] = {SIGHUP, "reload"},   [SERVER_CONTROL_UPGRADE] = {SIGUSR2, "upgrade"},
    [SERVER_CONTROL_MORE] = {SIGTTIN, "rebalance"}, [SERVER_CONTROL_FEWER] = {SIGTTOU, "rebalance"},
    [SERVER_CONTROL_REBALANCE] = {0, "rebalance"},
};

static pid_t rebalancing; /* weirctl */

static struct {
	char log[1 << 16]; /* what was cleared from server->log */
	size_t n;
} forgotten;

void server_control_forget(struct server *server)
{
	size_t room = sizeof forgotten.log - 1 - forgotten.n, n;

	(void)server_log_has(server, "");
	n = server->log_n < room ? server->log_n : room;
	memcpy(forgotten.log + forgotten.n, server->log, n);
	forgotten.n += n;
	server->log_n = 0;
	*server->log = '\0';
}

void server_control_wait_log_times(struct server *server, const char *text, size_t times)
{
	struct wait wait = wait_begin();

	while (server_log_count(server, text) < times)
		wait_for_server(&wait, server, text);
}

void server_control_order(struct server *server, enum server_control what)
{
	adopt();
	server_control_forget(server);
	if (changes[what].signal)
		ck_assert_int_eq(kill(server->pid, changes[what].signal), 0);
	else
		rebalancing = server_control_ask_begin("rebalance");
}

/* A master that this process has adopted, and that does not belong to another server. */
static pid_t adopted_master(void)
{
	pid_t children[CHILDREN_MAX];
	char name[64];

	for (size_t n = children_of(getpid(), children); n; n--)
		if (read_name(children[n - 1], name) && strcmp(name, "weir-master\n") == 0 &&
		    process_state(children[n - 1]) != 'Z' && !server_is(children[n - 1]))
			return children[n - 1];
	return 0;
}

/* Whether the old master has gone; if so its successor, now our child, takes its place. */
static bool has_followed(struct server *server)
{
	int status = -1;

	if (waitpid(server->pid, &status, WNOHANG) == 0)
		return false;
	(void)server_log_has(server, "");
	ck_assert_msg(status == 0, "the old master ended with %#x:\n%s", (unsigned)status,
		      server->log);
	server->pid = 0;
	server->pid = adopted_master();
	ck_assert_msg(server->pid != 0, "no master followed the old one:\n%s", server->log);
	return true;
}

void server_control_follow(struct server *server)
{
	struct wait wait = wait_begin();

	while (!has_followed(server))
		wait_for_server(&wait, server, "the old master's end");
}

/* The number before this text; 0: the text is not there. */
static uint64_t number_before(const char *line, const char *text)
{
	const char *end = strstr(line, text), *at = end;

	while (at && at > line && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return at && at < end ? strtoull(at, NULL, 10) : 0;
}

/* Adds up what the log says about all changes made since the order. */
static void read_changes(const struct server *server, struct server_control_change *seen)
{
	*seen = (struct server_control_change){0};
	for (const char *at = server->log; (at = strstr(at, "msg=\"change made\""));) {
		char line[512];

		(void)snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
		seen->moved += number_before(line, " connections moved in ");
		seen->ms += number_before(line, " ms");
		seen->stay += number_before(line, " stay and drain");
		at += strlen(line);
	}
}

bool server_control_done(struct server *server, enum server_control what,
			 struct server_control_change *seen)
{
	char made[64];

	(void)snprintf(made, sizeof made, "msg=\"change made\" what=%s ", changes[what].ends_with);
	ck_assert_msg(!server_log_has(server, "change not made"), "a change was not made:\n%s",
		      server->log);
	if (!server_log_has(server, made))
		return false;
	if (what == SERVER_CONTROL_UPGRADE && !has_followed(server))
		return false;
	if (what == SERVER_CONTROL_REBALANCE && rebalancing) {
		ck_assert_int_eq(server_control_ask_end(rebalancing), 0);
		rebalancing = 0;
	}
	read_changes(server, seen);
	return true;
}

struct server_control_change server_control_make(struct server *server, enum server_control what)
{
	struct wait wait = wait_begin();
	struct server_control_change seen;

	wait.until_ms += patience_ms();
	for (server_control_order(server, what); !server_control_done(server, what, &seen);)
		wait_for_server(&wait, server, "a change");
	return seen;
}

/* ---- waiting for its processes, and its end ---- */

/* Whether all children of the master are workers, so many, of one generation, and not zombies. */
static bool children_are_workers(pid_t master, size_t workers)
{
	pid_t children[CHILDREN_MAX];
	size_t n = children_of(master, children);
	char name[64];

	for (size_t i = 0; i < n; i++)
		if (!read_name(children[i], name) || strncmp(name, "weir-w", 6) != 0 ||
		    strstr(name, "-old") || process_state(children[i]) == 'Z')
			return false;
	return n == workers;
}

void server_control_wait_workers(struct server *server, size_t workers)
{
	struct wait wait = wait_begin();
	char what[160];

	for (;;) {
		long there = server_control_status("workers");
		bool serves = strstr(server_control_answer(), "\"state\":\"serving\"") != NULL;
		long asked = serves ? server_control_status("workers_asked") : -1;

		if (serves && there == (long)workers && asked == there &&
		    children_are_workers(server->pid, workers))
			return;
		(void)snprintf(what, sizeof what,
			       "%zu workers that serve, and nobody else; %ld of %ld are there",
			       workers, there, asked);
		wait_for_server(&wait, server, what);
	}
}

const char *server_control_address(const struct server *server, size_t listener)
{
	static char texts[4][64];
	static unsigned turn;
	char *text = texts[turn++ % 4];

	(void)snprintf(text, sizeof *texts, "127.0.0.1:%u", server->ports[listener]);
	return text;
}

pid_t server_control_pid(void)
{
	FILE *file = fopen(files.pid_file, "re");
	int pid = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	(void)fclose(file);
	return pid;
}

void server_control_expect_all_gone(void)
{
	struct wait wait = wait_begin();
	char lock[160];
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) >= 0)
		wait_more(&wait, "all processes to be gone");
	ck_assert_int_eq(errno, ECHILD);
	ck_assert(!exists(files.pid_file));
	(void)snprintf(lock, sizeof lock, "%s.lock", files.pid_file);
	ck_assert(!exists(lock));
	ck_assert(!exists(files.control));
}

void server_control_stop(struct server *server)
{
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	server_control_expect_all_gone();
}

/* ---- what was lost ---- */

static const char *const ends[] = {
#define CLOSE(name, text) "closed_" #name,
#include "reactor/base/close.def"
#undef CLOSE
};

const char *server_control_close_counts(struct server *server)
{
	static char counts[2048];
	size_t at;

	(void)server_log_has(server, "");
	(void)printf("the server said:\n%s%s", forgotten.log, server->log);
	(void)fflush(stdout);
	at = (size_t)snprintf(counts, sizeof counts,
			      "accepted %llu, connections %llu, moved_out %llu, moved_in %llu",
			      (unsigned long long)server_stat(server, "accepted"),
			      (unsigned long long)server_stat(server, "connections"),
			      (unsigned long long)server_stat(server, "moved_out"),
			      (unsigned long long)server_stat(server, "moved_in"));
	for (size_t i = 0; i < sizeof ends / sizeof *ends && at < sizeof counts; i++)
		if (server_stat(server, ends[i]))
			at +=
			    (size_t)snprintf(counts + at, sizeof counts - at, ", %s %llu", ends[i],
					     (unsigned long long)server_stat(server, ends[i]));
	return counts;
}

void server_control_expect_no_loss(struct server *server)
{
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		if (strcmp(ends[i], "closed_eof") != 0)
			ck_assert_msg(server_stat(server, ends[i]) == 0, "%s: %s", ends[i],
				      server_control_close_counts(server));
	for (struct wait wait = wait_begin();
	     server_stat(server, "moved_in") != server_stat(server, "moved_out");)
		wait_more(&wait, "each connection that left a worker to arrive at another one");
}
