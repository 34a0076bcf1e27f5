/*
 * Workers die by SIGKILL at random. What this shows: clients that were not yet accepted notice
 * nothing; exactly the connections that the dead had accepted are lost and counted; the master
 * leaks nothing and ends when it is told to.
 *
 * Clients speak `increment`: its `*` shows that a worker has them. A client that was reset before
 * its `*` may have been accepted, as the worker may die between accept4() and the write. So as many
 * such clients are allowed as the counter `accepted` is above the number of `*`, and one more
 * for each death between accept4() and the counter (a batch with handoff). Not tested: a death at
 * one chosen instruction.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/descriptor.h"
#include "tests/support/harness.h"

#define WORKERS	 4
#define CHURNERS 4
#define IDLE_MAX 2000
#define SETS_MAX 65536

/* ---- clients that come and go ---- */

struct churn {
	unsigned long connected, starred, whole;
	unsigned long refused;	 /* connect() failed */
	unsigned long unstarred; /* reset or ended before the `*` */
	unsigned long lost;	 /* reset or ended after it */
	unsigned long stuck;	 /* nothing came in time */
	unsigned long wrong;	 /* wrong bytes came */
	int connect_error, stop; /* of the last refused one; used in [0] only */
	unsigned char wrong_bytes[4];
};

/* True: `want` came. Otherwise counts it in `gone`, or as stuck or wrong. */
static bool churn_expect(struct churn *churn, int fd, const char *want, unsigned long *gone)
{
	char bytes[4] = {0};
	size_t n = strlen(want), at = 0;

	while (at < n) {
		ssize_t came = recv(fd, bytes + at, n - at, 0);

		if (came > 0) {
			at += (size_t)came;
			continue;
		}
		if (came < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			churn->stuck++;
		else
			(*gone)++;
		return false;
	}
	if (memcmp(bytes, want, n) == 0)
		return true;
	memcpy(churn->wrong_bytes, bytes, sizeof bytes);
	churn->wrong++;
	return false;
}

static void churn_once(struct churn *churn, unsigned port)
{
	int fd = try_connect(port);

	if (fd < 0) {
		churn->connect_error = -fd;
		churn->refused++;
		return;
	}
	churn->connected++;
	if (churn_expect(churn, fd, "*", &churn->unstarred)) {
		churn->starred++;
		if (send(fd, "^abc$", 5, MSG_NOSIGNAL) != 5)
			churn->lost++;
		else if (churn_expect(churn, fd, "bcd", &churn->lost))
			churn->whole++;
	}
	/* Some leave by FIN; more would use up the ports by TIME_WAIT. */
	if (churn->connected % 8 == 0)
		(void)close(fd);
	else
		reset(fd);
}

static struct churn *churn_start(unsigned port, pid_t pids[CHURNERS])
{
	struct churn *all = mmap(NULL, CHURNERS * sizeof *all, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(all, MAP_FAILED);
	for (int i = 0; i < CHURNERS; i++) {
		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (pids[i])
			continue;
		while (!__atomic_load_n(&all[0].stop, __ATOMIC_RELAXED)) {
			churn_once(&all[i], port);
			(void)poll(NULL, 0, 1); /* leaves some CPU to the others */
		}
		_exit(0);
	}
	return all;
}

/* Ends the churn processes, and adds their counts to the first one's. */
static void churn_stop(struct churn *all, const pid_t pids[CHURNERS])
{
	struct churn *sum = &all[0];

	__atomic_store_n(&all[0].stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < CHURNERS; i++)
		ck_assert_int_eq(waitpid(pids[i], NULL, 0), pids[i]);
	for (int i = 1; i < CHURNERS; i++) {
		sum->connected += all[i].connected;
		sum->starred += all[i].starred;
		sum->whole += all[i].whole;
		sum->refused += all[i].refused;
		sum->unstarred += all[i].unstarred;
		sum->lost += all[i].lost;
		sum->stuck += all[i].stuck;
		sum->wrong += all[i].wrong;
		if (all[i].connect_error)
			sum->connect_error = all[i].connect_error;
		if (all[i].wrong)
			memcpy(sum->wrong_bytes, all[i].wrong_bytes, sizeof sum->wrong_bytes);
	}
}

/* ---- clients that stay ---- */

struct idle {
	int fds[IDLE_MAX];
	size_t n, lost, stars; /* over the whole test */
};

static void idle_fill(struct idle *idle, unsigned port)
{
	for (size_t i = 0; i < idle->n; i++) {
		if (idle->fds[i] >= 0)
			continue;
		/* As with churn: a client whose worker died before its `*` tries again. */
		for (;;) {
			char star;
			int fd = connect_to(port);

			if (recv(fd, &star, 1, 0) == 1) {
				ck_assert_int_eq(star, '*');
				idle->fds[i] = fd;
				idle->stars++;
				break;
			}
			ck_assert_int_ne(errno, EAGAIN);
			(void)close(fd);
		}
	}
}

/* Removes those that have ended since the last time. Returns how many. */
static size_t idle_sweep(struct idle *idle)
{
	size_t lost = 0;

	for (size_t i = 0; i < idle->n; i++) {
		char byte;
		ssize_t came;

		if (idle->fds[i] < 0)
			continue;
		came = recv(idle->fds[i], &byte, 1, MSG_DONTWAIT);
		ck_assert_msg(came <= 0, "a byte came to an idle client");
		if (came < 0 && errno == EAGAIN)
			continue;
		(void)close(idle->fds[i]);
		idle->fds[i] = -1;
		lost++;
	}
	idle->lost += lost;
	return lost;
}

/* All clients that are not known to be lost must be served. */
static void idle_all_serve(struct idle *idle)
{
	for (size_t i = 0; i < idle->n; i++)
		if (idle->fds[i] >= 0)
			send_text(idle->fds[i], "^A$");
	for (size_t i = 0; i < idle->n; i++)
		if (idle->fds[i] >= 0)
			expect_text(idle->fds[i], "B");
}

/* ---- what a process has ---- */

static size_t lines_of(const char *text, const char *line, bool that)
{
	size_t n = 0;

	for (const char *end; *text; text = end + 1) {
		end = strchr(text, '\n');
		n += (strncmp(text, line, strlen(line)) == 0) == that;
	}
	return n;
}

/* The worker must have the descriptors that it had at start, and one for each connection. */
static void worker_descriptors_are(const struct server *server, unsigned worker, const char *start)
{
	static char now[SETS_MAX];
	struct wait wait = wait_begin();
	pid_t pid = server_wait_worker(server, worker, 0);
	size_t connections;

	do {
		connections = server_worker_stat(server, worker, "connections");
		wait_more(&wait, "a worker's descriptors to be those at start and its connections");
		process_descriptors(pid, now, sizeof now);
	} while (lines_of(now, "socket:", true) != lines_of(start, "socket:", true) + connections ||
		 lines_of(now, "socket:", false) != lines_of(start, "socket:", false));
}

/* The sum of lost_connections in all log lines about dead workers. */
static size_t log_lost(struct server *server)
{
	const char *key = "lost_connections=", *at = server->log;
	size_t sum = 0;

	(void)server_log_has(server, "");
	while ((at = strstr(at, key))) {
		at += strlen(key);
		sum += strtoul(at, NULL, 10);
	}
	return sum;
}

static void kill_worker(struct server *server, unsigned worker)
{
	size_t dead = server_log_count(server, "msg=\"worker died\"");
	struct wait wait = wait_begin();
	pid_t pid = server_wait_worker(server, worker, 0);

	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	while (server_log_count(server, "msg=\"worker died\"") == dead)
		wait_more(&wait, "an obituary");
	(void)server_wait_worker(server, worker, pid);
}

/* ---- the storm ---- */

struct storm {
	struct server *server;
	struct idle idle;
	char master_start[SETS_MAX], worker_start[WORKERS][SETS_MAX];
	unsigned deaths;
	uint64_t rank;
};

static void storm_kill(struct storm *storm, unsigned times, unsigned pause_ms)
{
	uint64_t next = now_ms();

	for (unsigned i = 0; i < times; i++) {
		next += pause_ms;
		while (now_ms() < next)
			(void)poll(NULL, 0, (int)(next - now_ms()));
		kill_worker(storm->server, (unsigned)(next_random(&storm->rank) >> 33) % WORKERS);
		storm->deaths++;
		(void)idle_sweep(&storm->idle);
		idle_fill(&storm->idle, storm->server->ports[0]);
	}
}

/* While no client comes or goes the sums must be exact. Kills each worker once more. */
static void storm_kill_each_quietly(struct storm *storm)
{
	struct server *server = storm->server;

	for (unsigned worker = 0; worker < WORKERS; worker++) {
		uint64_t died = server_stat(server, "closed_worker_died");
		size_t logged = log_lost(server), lost = 0;
		uint64_t held = server_worker_stat(server, worker, "connections");
		struct wait wait = wait_begin();

		kill_worker(server, worker);
		while ((lost += idle_sweep(&storm->idle)) < held)
			wait_more(&wait, "all clients of a dead worker to be told");
		idle_all_serve(&storm->idle);
		ck_assert_uint_eq(lost + idle_sweep(&storm->idle), held);
		ck_assert_uint_eq(log_lost(server) - logged, held);
		ck_assert_uint_eq(server_stat(server, "closed_worker_died") - died, held);
		idle_fill(&storm->idle, server->ports[0]);
	}
}

static void storm_judge(struct storm *storm, const struct churn *churn, bool handoff)
{
	struct server *server = storm->server;
	unsigned long stars = churn->starred + storm->idle.stars;
	uint64_t accepted = server_stat(server, "accepted");
	uint64_t died = server_stat(server, "closed_worker_died");
	unsigned long blink = storm->deaths * (handoff ? 64 : 1);

	(void)printf("FIGURE deaths: %u workers\nFIGURE churn: %lu connections, %lu lost after, "
		     "%lu before their star\nFIGURE idle lost: %zu connections\n",
		     storm->deaths, churn->connected, churn->lost, churn->unstarred,
		     storm->idle.lost);
	(void)fflush(stdout);
	ck_assert_msg(!churn->refused, "%lu connects failed: %s", churn->refused,
		      strerror(churn->connect_error));
	ck_assert_msg(!churn->wrong, "%lu clients got bytes that are not theirs: %02x %02x %02x",
		      churn->wrong, churn->wrong_bytes[0], churn->wrong_bytes[1],
		      churn->wrong_bytes[2]);
	ck_assert_msg(!churn->stuck, "%lu clients were forgotten", churn->stuck);
	ck_assert_msg(churn->unstarred <= (accepted > stars ? accepted - stars : 0) + blink,
		      "%lu were reset unaccepted: %lu stars, %lu accepted", churn->unstarred, stars,
		      (unsigned long)accepted);
	/* A connection that was just ending may be counted or not. */
	ck_assert_uint_le(storm->idle.lost, died + storm->deaths);
	ck_assert_uint_le(died, storm->idle.lost + (uint64_t)storm->deaths * CHURNERS);
	ck_assert_uint_eq(log_lost(server), died);
	ck_assert_uint_gt(churn->whole, 0);
}

static void storm(const char *mode, size_t idle, unsigned times, unsigned pause_ms)
{
	static struct storm storm;
	pid_t pids[CHURNERS];
	struct churn *churn;
	struct rlimit limit;

	raise_descriptor_limit();
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	storm.idle.n = limit.rlim_cur > idle + 100 ? idle : limit.rlim_cur / 2;
	memset(storm.idle.fds, -1, sizeof storm.idle.fds);
	storm.rank = 20;
	storm.server = SERVER("--workers", "4", "--accept", mode, "increment://127.0.0.1:0");
	process_descriptors(storm.server->pid, storm.master_start, SETS_MAX);
	for (unsigned i = 0; i < WORKERS; i++)
		process_descriptors(server_wait_worker(storm.server, i, 0), storm.worker_start[i],
				    SETS_MAX);
	idle_fill(&storm.idle, storm.server->ports[0]);
	churn = churn_start(storm.server->ports[0], pids);
	storm_kill(&storm, times, pause_ms);
	churn_stop(churn, pids);
	(void)idle_sweep(&storm.idle);
	idle_all_serve(&storm.idle);
	idle_fill(&storm.idle, storm.server->ports[0]);
	server_wait_stat_is(storm.server, "connections", storm.idle.n);
	storm_judge(&storm, churn, strcmp(mode, "handoff") == 0);
	storm_kill_each_quietly(&storm);
	no_zombies(storm.server, WORKERS);
	for (unsigned i = 0; i < WORKERS; i++)
		worker_descriptors_are(storm.server, i, storm.worker_start[i]);
	/* The master has the same descriptors as at start. */
	static char now[SETS_MAX];
	process_descriptors(storm.server->pid, now, SETS_MAX);
	ck_assert_str_eq(now, storm.master_start);
	ck_assert_int_eq(server_stop(storm.server, SIGTERM), 0);
}

static const char *const modes[] = {"reuseport", "shared", "handoff"};

START_TEST(some_workers_killed)
{
	storm(modes[_i], 300, 3, 200);
}
END_TEST

START_TEST(a_worker_killed_each_second)
{
	static const unsigned seconds[] = {20, 6, 6};

	storm(modes[_i], IDLE_MAX, suite_sanitized() ? 3 : seconds[_i], 1000);
}
END_TEST

/* ---- the way to a dead worker ---- */

/*
 * A worker's channel ends before the worker can be reaped. A connection that the master accepts in
 * between may get the channel's descriptor number. Tracing makes this time longer: the parent of
 * a traced process learns of its death only after the tracer.
 */
START_TEST(a_dead_channel_is_not_written_to)
{
	struct server *server =
	    SERVER("--workers", "1", "--accept", "handoff", "increment://127.0.0.1:0");
	pid_t pid = server_wait_worker(server, 0, 0);
	siginfo_t info;
	int clients[8];

	if (ptrace(PTRACE_SEIZE, pid, 0, 0)) {
		suite_skip("handoff: a dead channel is not written to", "ptrace is not allowed");
		return;
	}
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | __WALL), 0);
	for (size_t i = 0; i < 8; i++)
		clients[i] = connect_to(server->ports[0]);
	/* Gives wrong bytes the time to come, if there are any. */
	(void)poll(&(struct pollfd){.fd = clients[0], .events = POLLIN}, 1, 200);
	ck_assert_int_eq(waitpid(pid, NULL, __WALL), pid);
	for (size_t i = 0; i < 8; i++) {
		unsigned char star;

		receive_exactly(clients[i], &star, 1);
		ck_assert_msg(star == '*', "byte 0x%02x came in place of a star", star);
		send_text(clients[i], "^A$");
		expect_text(clients[i], "B");
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/*
 * The worker is traced call by call until its only client is greeted, and killed there. At each
 * call, the two counters that the master adds must agree about the connection. A unix socket needs
 * the most calls in between.
 */
START_TEST(a_client_that_was_greeted_is_lost_once)
{
	char listener[128];
	struct server *server;
	int client, status;
	pid_t pid;
	char star;

	(void)snprintf(listener, sizeof listener, "increment://%s", in_folder("socket"));
	server = SERVER("--workers", "1", "--accept", "handoff", listener);
	pid = server_wait_worker(server, 0, 0);
	if (ptrace(PTRACE_SEIZE, pid, 0, 0)) {
		suite_skip("handoff: a client that was greeted is lost once",
			   "ptrace is not allowed");
		return;
	}
	ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
	ck_assert_int_eq(waitpid(pid, &status, __WALL), pid);
	client = connect_unix(in_folder("socket"));
	while (recv(client, &star, 1, MSG_DONTWAIT) != 1) {
		ck_assert_int_eq(ptrace(PTRACE_SYSCALL, pid, 0, 0), 0);
		ck_assert_int_eq(waitpid(pid, &status, __WALL), pid);
		ck_assert_msg(WIFSTOPPED(status), "the worker ended");
		ck_assert_uint_eq(server_stat(server, "handed_over"),
				  server_stat(server, "connections"));
	}
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, &status, __WALL), pid);
	server_wait_log(server, "lost_connections=");
	ck_assert_uint_eq(log_lost(server), 1);
	ck_assert_uint_eq(server_stat(server, "closed_worker_died"), 1);
	(void)server_wait_worker(server, 0, pid);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

#define PASSED 200

/* The master passes clients to the worker, which is killed when it serves the first. Returns how
 * many it served. */
static size_t take_some_and_die(struct server *server, size_t before)
{
	size_t untold = 0, starred_n = 0;
	uint64_t died = server_stat(server, "closed_worker_died"), lost;
	pid_t pid = server_wait_worker(server, 0, 0);
	struct wait wait = wait_begin();
	bool starred[PASSED] = {false};
	int clients[PASSED];
	char star;

	/* A worker that is stopped before it is up would get no clients. */
	clients[0] = connect_to(server->ports[0]);
	expect_text(clients[0], "*");
	(void)close(clients[0]);
	server_wait_stat_is(server, "connections", 0);
	process_stop(pid);
	for (size_t i = 0; i < PASSED; i++)
		clients[i] = connect_to(server->ports[0]);
	while (process_descriptors_n(server->pid) < before + PASSED)
		wait_more(&wait, "the master to pass all on");
	ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
	ck_assert_int_eq(kill(pid, SIGCONT), 0);
	/* Spins: if this process slept it would be woken on the worker's CPU, after the worker has
	 * run. */
	while (recv(clients[0], &star, 1, MSG_DONTWAIT) != 1)
		ck_assert_uint_lt(now_ms(), wait.until_ms);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	while (process_state(pid) != 'Z')
		wait_more(&wait, "a worker's end");
	starred[0] = true;
	for (size_t i = 1; i < PASSED; i++)
		starred[i] = recv(clients[i], &star, 1, MSG_DONTWAIT) == 1;
	ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
	for (size_t i = 0; i < PASSED; i++) {
		ssize_t came = recv(clients[i], &star, 1, 0);

		ck_assert_msg(came >= 0 || errno == ECONNRESET, "client %zu was forgotten", i);
		ck_assert_msg(came <= 0 || !starred[i], "client %zu is served twice", i);
		untold += came <= 0 && !starred[i];
		starred_n += starred[i];
		(void)close(clients[i]);
	}
	/* Those that it had reported as taken but not served: at most those of one message. */
	ck_assert_uint_le(untold, DESCRIPTORS_MAX);
	(void)server_wait_worker(server, 0, pid);
	lost = server_stat(server, "closed_worker_died") - died;
	/* A worker that is killed between the updates of two counters has counted one twice. */
	ck_assert_uint_ge(lost, starred_n + untold);
	ck_assert_uint_le(lost, starred_n + untold + 1);
	server_wait_stat_is(server, "connections", 0);
	for (wait = wait_begin(); process_descriptors_n(server->pid) != before;)
		wait_more(&wait, "the master to have what it had");
	return starred_n;
}

/*
 * Clients that a worker took, and reported to the master as taken, are lost with it. Here it is
 * killed when it has served some of the clients that were passed to it, and has not seen the
 * others. The master reads its reports and its end together. No client may be served twice or
 * forgotten.
 */
START_TEST(what_a_dead_worker_took_is_not_given_to_another)
{
	struct server *server =
	    SERVER("--workers", "1", "--accept", "handoff", "increment://127.0.0.1:0");
	size_t before = process_descriptors_n(server->pid), taken = PASSED;

	/* Tried again if the worker had time to take all. */
	for (int i = 0; i < 4 && taken == PASSED; i++)
		taken = take_some_and_die(server, before);
	(void)printf("FIGURE taken before the kill: %zu of %d\n", taken, PASSED);
	(void)fflush(stdout);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

#define MODES (sizeof modes / sizeof *modes)

SUITE("death", {"some workers killed", some_workers_killed, 60, MODES},
      {"a worker killed each second", a_worker_killed_each_second, 90, MODES, .kind = SUITE_LONG},
      {"handoff: a dead channel is not written to", a_dead_channel_is_not_written_to, 60},
      {"handoff: a client that was greeted is lost once", a_client_that_was_greeted_is_lost_once,
       30},
      {"handoff: what a dead worker took is not given to another",
       what_a_dead_worker_took_is_not_given_to_another, 30})
