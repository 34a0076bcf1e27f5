/*
 * What happens to clients that come when there is no room, because descriptors are used up or
 * --max-connections is reached: they wait, no process spins, and no client is forgotten.
 *
 * A worker runs out of descriptors when the test lowers its limit from outside (prlimit).
 * If strace is allowed it counts the calls. If not, the counters of the worker are used: failed
 * accepts (accept_errors) and passes of the loop (harvests). The master publishes neither.
 *
 * Not tested: the whole system running out of descriptors (ENFILE). The simulated kernel does that.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/clients/arrivals.h"
#include "tests/support/trace.h"

/* ---- clients that wait ---- */

#define CLIENTS_MAX 120

struct clients {
	int fds[CLIENTS_MAX];
	bool served[CLIENTS_MAX];
	unsigned n, served_n;
};

static void clients_come(struct clients *clients, const struct server *server, unsigned n)
{
	char text[32];

	for (unsigned i = clients->n; i < clients->n + n; i++) {
		ck_assert_uint_lt(i, CLIENTS_MAX);
		clients->fds[i] = connect_nth(server, i);
		(void)snprintf(text, sizeof text, "hello %06u", i);
		send_text(clients->fds[i], text);
	}
	clients->n += n;
}

/* Takes the replies that have come. An end or a reset instead of a reply fails the test. */
static void clients_look(struct clients *clients)
{
	char text[32];

	for (unsigned i = 0; i < clients->n; i++) {
		struct pollfd poll_fd = {.fd = clients->fds[i], .events = POLLIN};

		if (clients->served[i] || poll(&poll_fd, 1, 0) <= 0)
			continue;
		(void)snprintf(text, sizeof text, "hello %06u", i);
		expect_text(clients->fds[i], text);
		clients->served[i] = true;
		clients->served_n++;
	}
}

static void clients_wait(struct clients *clients, unsigned served_n, const char *what)
{
	struct wait wait = wait_begin();

	while (clients_look(clients), clients->served_n < served_n)
		wait_more(&wait, what);
}

static bool clients_leave_one(struct clients *clients)
{
	for (unsigned i = 0; i < clients->n; i++) {
		if (!clients->served[i] || clients->fds[i] < 0)
			continue;
		(void)close(clients->fds[i]);
		clients->fds[i] = -1;
		return true;
	}
	return false;
}

/* Clients leave one by one after they were served, until all were served. */
static void clients_take_turns(struct clients *clients, const struct server *server, unsigned most)
{
	struct wait wait = wait_begin();

	while (clients->served_n < clients->n) {
		unsigned before = clients->served_n;

		clients_look(clients);
		for (unsigned i = 0; most && i < WORKERS; i++)
			ck_assert_uint_le(server_worker_stat(server, i, "connections"), most);
		if (clients->served_n > before)
			wait = wait_begin();
		if (!clients_leave_one(clients))
			wait_more(&wait, "those who wait to be served as others leave");
	}
}

static void clients_leave(struct clients *clients)
{
	while (clients_leave_one(clients))
		;
}

/* ---- descriptors used up ---- */

/* Limits the descriptors of a running process to numbers below n; 0: to its hard limit. */
static void limit_descriptors(pid_t pid, rlim_t n)
{
	struct rlimit limit;

	ck_assert_int_eq(prlimit(pid, RLIMIT_NOFILE, NULL, &limit), 0);
	limit.rlim_cur = n ? n : limit.rlim_max;
	ck_assert_int_eq(prlimit(pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

static rlim_t highest_descriptor(pid_t pid)
{
	char path[64];
	struct dirent *entry;
	rlim_t highest = 0, fd;
	DIR *dir;

	(void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		if ((fd = strtoul(entry->d_name, NULL, 10)) > highest)
			highest = fd;
	(void)closedir(dir);
	return highest;
}

/* Counts the system calls of these processes with `strace -c`. Returns its pid; 0: not allowed. */
static pid_t count_begin(const pid_t pids[3], const char *path)
{
	char numbers[3][16];
	pid_t strace;

	if (!command_exists("strace") || (strace = fork()) < 0)
		return 0;
	for (int i = 0; i < 3; i++)
		(void)snprintf(numbers[i], sizeof *numbers, "%d", (int)pids[i]);
	if (strace == 0) {
		int null = open("/dev/null", O_RDWR);
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		(void)dup2(null, STDERR_FILENO);
		(void)execlp("strace", "strace", "-f", "-c", "-o", path, "-p", numbers[0], "-p",
			     numbers[1], "-p", numbers[2], (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 3; i++)
		if (!strace_attached(strace, pids[i]))
			return 0; /* the kernel does not allow it */
	return strace;
}

/* "  0.00    0.000000           0        40        40 accept4"; without errors that column is
 * empty. */
static void count_end(pid_t strace, const char *path, unsigned long *accepts, unsigned long *calls)
{
	char line[256], name[64];
	unsigned long n, errors;
	FILE *file;

	ck_assert_int_eq(kill(strace, SIGTERM), 0);
	ck_assert_int_eq(waitpid(strace, NULL, 0), strace);
	*accepts = *calls = 0;
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof line, file)) {
		if (sscanf(line, "%*f %*f %*u %lu %lu %63s", &n, &errors, name) != 3 &&
		    sscanf(line, "%*f %*f %*u %lu %63s", &n, name) != 2)
			continue;
		if (strcmp(name, "total") == 0)
			*calls = n;
		else if (strcmp(name, "accept4") == 0)
			*accepts = n;
	}
	(void)fclose(file);
}

/* For a second, while no client can be accepted, counts what the server does. */
static void expect_no_spin(const struct server *server, const char *what)
{
	pid_t pids[3] = {server_worker(server, 0), server_worker(server, 1), server->pid}, strace;
	uint64_t failed, harvests, begin;
	unsigned long ticks = 0, accepts, calls;
	char path[96];
	double seconds;

	(void)snprintf(path, sizeof path, "%s/calls", temporary_folder());
	strace = count_begin(pids, path);
	begin = now_ms();
	failed = server_stat(server, "accept_errors");
	harvests = server_stat(server, "harvests");
	for (int i = 0; i < 3; i++)
		ticks -= process_ticks(pids[i]);
	/* A rate needs a span of time; the bounds do not depend on its length. */
	(void)poll(NULL, 0, 1000);
	seconds = (double)(now_ms() - begin) / 1000;
	for (int i = 0; i < 3; i++)
		ticks += process_ticks(pids[i]);
	failed = server_stat(server, "accept_errors") - failed;
	harvests = server_stat(server, "harvests") - harvests;
	ck_assert_msg((double)failed / seconds < 100, "%s: %.0f failed accepts a second", what,
		      (double)failed / seconds);
	ck_assert_msg((double)harvests / seconds < 500, "%s: %.0f passes a second", what,
		      (double)harvests / seconds);
	ck_assert_msg((double)ticks / seconds < (double)sysconf(_SC_CLK_TCK) / 2,
		      "%s: half a CPU is used for nothing", what);
	if (!strace)
		return;
	count_end(strace, path, &accepts, &calls);
	figure("accept4 while there is no room", what, (double)accepts / seconds, "a second");
	figure("all calls while there is no room", what, (double)calls / seconds, "a second");
	ck_assert_msg((double)accepts / seconds < 100, "%s: %.0f accept4 a second", what,
		      (double)accepts / seconds);
	/* strace did count, and agrees with the server's counters. */
	ck_assert_uint_ge(accepts, failed);
}

/* Connected clients are still served, new ones wait, and all are served when there are
 * descriptors again. */
static void used_up(const char *mode, bool of_master)
{
	struct server *server = start(mode);
	struct clients early = {0}, late = {0};
	pid_t pids[3] = {server_worker(server, 0), server_worker(server, 1), server->pid};
	struct wait wait = wait_begin();
	size_t descriptors;
	char what[64];

	(void)snprintf(what, sizeof what, "%s, no descriptors%s", mode,
		       of_master ? " for the master" : "");
	descriptors = process_descriptors_n(server->pid);
	clients_come(&early, server, 10);
	clients_wait(&early, 10, "the first ten");
	/* They are served before the master is told that it may close its copies. */
	while (process_descriptors_n(server->pid) > descriptors)
		wait_more(&wait, "the master to let go of the first ten");
	for (int i = 0; i < 3; i++)
		if (of_master == (i == 2))
			limit_descriptors(pids[i], 3);
	clients_come(&late, server, 100);
	if (strcmp(mode, "handoff") != 0)
		server_wait_stat(server, "accept_errors", 2);
	else /* the master accepts them, if it can */
		while (!of_master && process_descriptors_n(server->pid) < descriptors + late.n)
			wait_more(&wait, "the master to hold them");
	expect_no_spin(server, what);
	for (unsigned i = 0; i < early.n; i++) {
		send_text(early.fds[i], "still there");
		expect_text(early.fds[i], "still there");
	}
	clients_look(&late);
	ck_assert_uint_eq(late.served_n, 0);
	ck_assert_uint_eq(server_stat(server, "connections"), 10);
	for (int i = 0; i < 3; i++)
		limit_descriptors(pids[i], 0);
	clients_wait(&late, late.n, "all who waited to be served");
	ck_assert_uint_eq(server_stat(server, "accepted"), 110);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(server_worker(server, (unsigned)i), pids[i]);
	clients_leave(&early);
	clients_leave(&late);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(used_up_reuseport)
{
	used_up("reuseport", false);
}
END_TEST

START_TEST(used_up_shared)
{
	used_up("shared", false);
}
END_TEST

START_TEST(used_up_handoff)
{
	used_up("handoff", false);
}
END_TEST

START_TEST(used_up_handoff_master)
{
	used_up("handoff", true);
}
END_TEST

/* The limit stays, but whenever a client leaves its place is free. */
static void places_pass_on(const char *mode)
{
	struct server *server = start(mode);
	struct clients clients = {0};

	clients_come(&clients, server, 20);
	clients_wait(&clients, 20, "the first twenty");
	for (unsigned i = 0; i < WORKERS; i++) {
		pid_t pid = server_worker(server, i);

		limit_descriptors(pid, highest_descriptor(pid) + 1);
	}
	clients_come(&clients, server, 100);
	clients_take_turns(&clients, server, 0);
	clients_leave(&clients);
	server_wait_stat_is(server, "closed_eof", 120);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(places_pass_on_in_every_mode)
{
	places_pass_on("reuseport");
	places_pass_on("shared");
	places_pass_on("handoff");
}
END_TEST

/* One worker has no descriptors left, the other has: new clients need not wait. */
static void one_used_up(const char *mode)
{
	struct server *server = start(mode);
	struct clients clients = {0};

	limit_descriptors(server_worker(server, 0), 3);
	clients_come(&clients, server, 100);
	clients_wait(&clients, 100, "the worker that has descriptors to serve all");
	ck_assert_uint_eq(server_worker_stat(server, 1, "connections"), 100);
	clients_leave(&clients);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(one_used_up_shared)
{
	one_used_up("shared");
}
END_TEST

START_TEST(one_used_up_handoff)
{
	one_used_up("handoff");
}
END_TEST

/* No client waits to be accepted, so a stop is quick. */
START_TEST(stop_without_descriptors)
{
	static const char *const modes[] = {"reuseport", "shared", "handoff"};
	struct server *server = start(modes[_i]);

	limit_descriptors(server_worker(server, 0), 3);
	limit_descriptors(server_worker(server, 1), 3);
	if (!suite_sanitized()) /* the check for leaks opens files */
		limit_descriptors(server->pid, 3);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- --max-connections ---- */

static void full(const char *mode)
{
	enum { MOST = 10 };
	struct server *server;
	struct clients clients = {0};
	char what[64];

	raise_descriptor_limit();
	server = SERVER("--workers", "2", "--accept", mode, "--max-connections", "10", "--overload",
			"pause", "echo://0.0.0.0:0");
	(void)snprintf(what, sizeof what, "%s, --max-connections", mode);
	clients_come(&clients, server, CLIENTS_MAX);
	clients_wait(&clients, WORKERS * MOST, "as many as there is room for");
	expect_no_spin(server, what);
	clients_look(&clients);
	ck_assert_uint_eq(clients.served_n, WORKERS * MOST);
	ck_assert_uint_eq(server_stat(server, "accept_errors"), 0);
	clients_take_turns(&clients, server, MOST);
	clients_leave(&clients);
	server_wait_stat_is(server, "closed_eof", CLIENTS_MAX);
	ck_assert_uint_eq(server_stat(server, "accepted"), CLIENTS_MAX);
	ck_assert_uint_eq(server_stat(server, "closed_overload"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(full_reuseport)
{
	full("reuseport");
}
END_TEST

START_TEST(full_shared)
{
	full("shared");
}
END_TEST

START_TEST(full_handoff)
{
	full("handoff");
}
END_TEST

/* What the master reads from the scoreboard may be out of date: a worker that seemed to have room
 * may have none when the connection reaches it. */
static void come_and_go(int times)
{
	struct server *server;

	raise_descriptor_limit();
	server = SERVER("--workers", "2", "--accept", "handoff", "--max-connections", "20",
			"echo://0.0.0.0:0");
	for (int i = 0; i < times; i++) {
		struct clients clients = {0};

		clients_come(&clients, server, CLIENTS_MAX);
		clients_take_turns(&clients, server, 20);
		clients_leave(&clients);
	}
	server_wait_stat_is(server, "closed_eof", (uint64_t)times * CLIENTS_MAX);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(places_come_and_go)
{
	come_and_go(8);
}
END_TEST

START_TEST(places_come_and_go_many_times)
{
	come_and_go(40);
}
END_TEST

SUITE("accept", {"no descriptors, reuseport: they wait, and are served", used_up_reuseport, 60},
      {"no descriptors, shared: they wait, and are served", used_up_shared, 60},
      {"no descriptors, handoff: they wait, and are served", used_up_handoff, 60},
      {"no descriptors in the master: they wait, and are served", used_up_handoff_master, 60},
      {"no descriptors: served as others leave", places_pass_on_in_every_mode, 90},
      {"no descriptors in one worker, shared: the other serves", one_used_up_shared, 60},
      {"no descriptors in one worker, handoff: the other serves", one_used_up_handoff, 60},
      {"no descriptors: a stop waits for nobody", stop_without_descriptors, 60, 3},
      {"full, reuseport: served as others leave", full_reuseport, 60},
      {"full, shared: served as others leave", full_shared, 60},
      {"full, handoff: served as others leave", full_handoff, 60},
      {"full, handoff: places come and go", places_come_and_go, 60},
      {"full, handoff: places come and go many times", places_come_and_go_many_times, 60,
       .kind = SUITE_LONG})
