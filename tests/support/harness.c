/* Starting and ending weir, its log and its counters; waiting. */
#include "tests/support/harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "reactor/base/stats.h"

/* ---- time ---- */

uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

unsigned patience_ms(void)
{
	return 10000 * suite_slowness();
}

struct wait wait_begin(void)
{
	return (struct wait){now_ms() + patience_ms()};
}

void wait_more(struct wait *wait, const char *what)
{
	struct timespec nap = {0, 1000000};

	if (now_ms() > wait->until_ms)
		ck_abort_msg("waited in vain for: %s", what);
	(void)nanosleep(&nap, NULL);
}

uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state ? *state : 0x9e3779b97f4a7c15ULL;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dULL;
}

void fill_random(void *bytes, size_t n, uint64_t seed)
{
	unsigned char *at = bytes;

	while (n) {
		uint64_t value = next_random(&seed);
		size_t part = n < sizeof value ? n : sizeof value;

		memcpy(at, &value, part);
		at += part;
		n -= part;
	}
}

bool command_exists(const char *name)
{
	const char *path = getenv("PATH");
	char rest[4096], *at = rest, *folder, file[4200];

	(void)snprintf(rest, sizeof rest, "%s", path ? path : "/usr/bin:/bin");
	while ((folder = strsep(&at, ":"))) {
		(void)snprintf(file, sizeof file, "%s/%s", folder, name);
		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

static char folder_made[64];

static void remove_folder(void)
{
	char command[100];

	(void)snprintf(command, sizeof command, "rm -rf '%s'", folder_made);
	if (system(command))
		(void)fprintf(stderr, "left behind: %s\n", folder_made);
}

const char *temporary_folder(void)
{
	if (!*folder_made) {
		(void)snprintf(folder_made, sizeof folder_made, "/tmp/weir-test-XXXXXX");
		ck_assert_ptr_nonnull(mkdtemp(folder_made));
		(void)atexit(remove_folder);
	}
	return folder_made;
}

/* ---- starting and ending ---- */

static const char *weir_path(void)
{
	const char *path = getenv("WEIR");

	return path ? path : "build/weir";
}

static _Noreturn void become_weir(const char *const arguments[], int out, int err)
{
	const char *argv[64] = {weir_path()};
	sigset_t none;

	for (int i = 0; arguments[i] && i < 62; i++)
		argv[i + 1] = arguments[i];
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (out >= 0)
		(void)dup2(out, STDOUT_FILENO);
	(void)dup2(err, STDERR_FILENO);
	for (int fd = 3; fd < 1024; fd++)
		(void)close(fd);
	(void)execv(weir_path(), (char *const *)(uintptr_t)argv);
	_exit(127);
}

static struct server *servers;

bool server_is(pid_t pid)
{
	for (const struct server *server = servers; server; server = server->before)
		if (server->pid == pid)
			return true;
	return false;
}

struct server *server_launch(const char *const arguments[])
{
	struct server *server = calloc(1, sizeof *server);
	int ends[2];

	ck_assert_ptr_nonnull(server);
	server->before = servers;
	servers = server;
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	(void)fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
	server->pid = fork();
	ck_assert_int_ge(server->pid, 0);
	if (server->pid == 0)
		become_weir(arguments, -1, ends[1]);
	(void)close(ends[1]);
	server->log_fd = ends[0];
	(void)fcntl(server->log_fd, F_SETFL, O_NONBLOCK);
	return server;
}

/* Reads what is in the server's log pipe now. When server->log is full its older half is dropped.
 */
static void log_read(struct server *server)
{
	ssize_t n;

	do {
		if (server->log_n + 4096 > sizeof server->log) {
			size_t half = sizeof server->log / 2;

			memmove(server->log, server->log + half, server->log_n - half);
			server->log_n -= half;
		}
		n = read(server->log_fd, server->log + server->log_n, 4095);
		if (n > 0)
			server->log_n += (size_t)n;
		server->log[server->log_n] = '\0';
	} while (n > 0);
}

bool server_log_has(struct server *server, const char *text)
{
	log_read(server);
	return strstr(server->log, text) != NULL;
}

size_t server_log_count(struct server *server, const char *text)
{
	size_t count = 0;

	log_read(server);
	for (const char *at = server->log; (at = strstr(at, text)); at += strlen(text))
		count++;
	return count;
}

void server_wait_log(struct server *server, const char *text)
{
	struct wait wait = wait_begin();

	while (!server_log_has(server, text)) {
		struct pollfd poll_fd = {.fd = server->log_fd, .events = POLLIN};

		if (now_ms() > wait.until_ms)
			ck_abort_msg("waited in vain for \"%s\" in the log:\n%s", text,
				     server->log);
		if (poll(&poll_fd, 1, 50) > 0 && (poll_fd.revents & POLLHUP) &&
		    !(poll_fd.revents & POLLIN))
			ck_abort_msg("weir ended before it said \"%s\":\n%s", text, server->log);
	}
}

/* Maps the memfd with the server's counters, which is found among the master's descriptors. */
static const struct scoreboard *scoreboard_of(pid_t pid)
{
	char folder[64], path[350], target[256];
	const struct scoreboard *scoreboard = NULL;
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
	dir = opendir(folder);
	ck_assert_ptr_nonnull(dir);
	while (!scoreboard && (entry = readdir(dir))) {
		ssize_t n;
		int fd;

		(void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		n = readlink(path, target, sizeof target - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		if (!strstr(target, "/memfd:" SCOREBOARD_NAME))
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		ck_assert_int_ge(fd, 0);
		scoreboard = mmap(NULL, sizeof *scoreboard, PROT_READ, MAP_SHARED, fd, 0);
		(void)close(fd);
	}
	(void)closedir(dir);
	ck_assert_ptr_nonnull(scoreboard);
	ck_assert_uint_eq(scoreboard->head.version, SCOREBOARD_VERSION);
	return scoreboard;
}

static void read_ports(struct server *server)
{
	const char *at = strstr(server->log, "listeners=");
	char line[4096], *rest = line, *word;

	ck_assert_ptr_nonnull(at);
	at += strlen("listeners=");
	(void)snprintf(line, sizeof line, "%.*s", (int)strcspn(at + (*at == '"'), "\"\n"),
		       at + (*at == '"'));
	while ((word = strsep(&rest, " "))) {
		char *address = strstr(word, "://"), *keys;
		unsigned port = 0;

		if (!address)
			continue;
		address += 3;
		keys = strchr(address, '?');
		if (keys)
			*keys = '\0';
		if (*address != '/' && *address != '@')
			port = (unsigned)strtoul(strrchr(address, ':') + 1, NULL, 10);
		server->ports[server->ports_n++] = port;
	}
}

struct server *server_start(const char *const arguments[])
{
	struct server *server = server_launch(arguments);

	server_wait_log(server, "msg=ready");
	while (server->log[server->log_n - 1] != '\n')
		log_read(server);
	read_ports(server);
	server->scoreboard = scoreboard_of(server->pid);
	return server;
}

int server_wait_exit(struct server *server)
{
	struct wait wait = wait_begin();
	int status;

	wait.until_ms += 60000;
	while (waitpid(server->pid, &status, WNOHANG) == 0) {
		log_read(server);
		wait_more(&wait, "weir's end");
	}
	log_read(server);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int server_stop(struct server *server, int signal)
{
	ck_assert_int_eq(kill(server->pid, signal), 0);
	return server_wait_exit(server);
}

int server_run(const char *const arguments[], char *output, size_t output_n)
{
	struct wait wait = wait_begin();
	int ends[2], status;
	size_t n = 0;
	pid_t pid;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		become_weir(arguments, ends[1], ends[1]);
	(void)close(ends[1]);
	for (;;) {
		ssize_t part = read(ends[0], output + n, output_n - 1 - n);

		if (part <= 0)
			break;
		n += (size_t)part;
	}
	output[n] = '\0';
	(void)close(ends[0]);
	while (waitpid(pid, &status, WNOHANG) == 0)
		wait_more(&wait, "weir's end");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

pid_t program_start(const char *path, const char *const argv[])
{
	struct wait wait = wait_begin();
	int fd, log = open(write_file("program.log", ""), O_WRONLY | O_CLOEXEC);
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)dup2(log, STDOUT_FILENO);
		(void)dup2(log, STDERR_FILENO);
		(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	(void)close(log);
	while ((fd = try_connect_unix(path)) < 0) {
		ck_assert_msg(waitpid(pid, NULL, WNOHANG) == 0, "%s ended: %s", argv[0],
			      read_whole(in_folder("program.log")));
		wait_more(&wait, argv[0]);
	}
	(void)close(fd);
	return pid;
}

void program_stop(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGTERM), 0);
	(void)waitpid(pid, NULL, 0);
}

/* ---- counters ---- */

static const struct stats_row *row_of(const char *name)
{
	for (size_t i = 0; i < stats_rows_n; i++)
		if (strcmp(stats_rows[i].name, name) == 0)
			return &stats_rows[i];
	return NULL;
}

static uint64_t row_stat(const struct server *server, unsigned worker, const struct stats_row *row)
{
	const struct scoreboard_seat *seats =
	    &server->scoreboard->seats[scoreboard_seat_of(worker, 0)];

	/* A slot has two seats, which its generations of workers use in turn. */
	return stats_combine(row, stats_value(&seats[0].stats, row),
			     stats_value(&seats[1].stats, row));
}

/* The sum of all rows that are called NAME_something. */
static uint64_t family_stat(const struct server *server, unsigned worker, const char *name)
{
	size_t bytes = strlen(name), n = 0;
	uint64_t total = 0;

	for (size_t i = 0; i < stats_rows_n; i++) {
		const struct stats_row *row = &stats_rows[i];

		if (strncmp(row->name, name, bytes) != 0 || row->name[bytes] != '_')
			continue;
		total += row_stat(server, worker, row);
		n++;
	}
	if (!n)
		ck_abort_msg("no counter is called %s", name);
	return total;
}

uint64_t server_worker_stat(const struct server *server, unsigned worker, const char *name)
{
	const struct stats_row *row = row_of(name);

	return row ? row_stat(server, worker, row) : family_stat(server, worker, name);
}

uint64_t server_stat(const struct server *server, const char *name)
{
	const struct stats_row *row = row_of(name);
	uint64_t total = 0;

	for (unsigned i = 0; i < WORKERS_MAX; i++)
		total = row ? stats_combine(row, total, row_stat(server, i, row))
			    : total + family_stat(server, i, name);
	return total;
}

void server_wait_stat(const struct server *server, const char *name, uint64_t at_least)
{
	struct wait wait = wait_begin();
	char what[160];

	while (server_stat(server, name) < at_least) {
		(void)snprintf(what, sizeof what, "%s to be at least %llu; it is %llu", name,
			       (unsigned long long)at_least,
			       (unsigned long long)server_stat(server, name));
		wait_more(&wait, what);
	}
}

void server_wait_stat_is(const struct server *server, const char *name, uint64_t value)
{
	struct wait wait = wait_begin();
	char what[160];

	while (server_stat(server, name) != value) {
		(void)snprintf(what, sizeof what, "%s to be %llu; it is %llu", name,
			       (unsigned long long)value,
			       (unsigned long long)server_stat(server, name));
		wait_more(&wait, what);
	}
}
