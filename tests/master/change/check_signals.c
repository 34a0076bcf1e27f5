/*
 * A storm of HUP, USR2, TTIN and TTOU, while clients talk, connect, or wait. What this shows: with
 * any signals at any time, no client is refused or lost, and in the end there is one master with as
 * many workers as were asked for, and no other process.
 *
 * The kernel keeps only one pending signal of a kind, so the storm waits until each was read. A
 * signal may reach a master that has handed over and read its last signal. Nobody can tell whether
 * such a signal was heard, so there may be that many workers more or fewer.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/clients/load_process.h"
#include "tests/support/server_control.h"

#define WORKERS_MOST 4
#define IDLE	     50

enum { HUP, USR2, TTIN, TTOU, KINDS };

static const int signals[KINDS] = {SIGHUP, SIGUSR2, SIGTTIN, SIGTTOU};

struct storm {
	struct server *server;
	uint64_t random;
	long workers;	    /* how many there should be */
	long unheard;	    /* TTINs and TTOUs that may not have been heard */
	unsigned of[KINDS]; /* how many of each kind were sent */
	int idle[IDLE];
};

/* Whether the signal is still pending; -1: the process has ended, or is about to. */
static int is_pending(pid_t pid, int signal)
{
	char path[64], line[256];
	unsigned long long pending = 0;
	bool told = false, zombie = false;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -1;
	while (fgets(line, sizeof line, file)) {
		if (strncmp(line, "State:\tZ", 8) == 0)
			zombie = true;
		if (sscanf(line, "ShdPnd: %llx", &pending) == 1)
			told = true;
	}
	(void)fclose(file);
	return !told || zombie ? -1 : (int)(pending >> (signal - 1) & 1);
}

/* Reaps old masters, which must end with 0, and the last workers of a master that was killed. */
static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		ck_assert_msg(status == 0, "pid %d ended with %#x", (int)pid, (unsigned)status);
}

static void storm_send(struct storm *storm, int kind)
{
	struct wait wait = wait_begin();
	pid_t master = server_control_pid();
	int pending;

	storm->of[kind]++;
	pending = kill(master, signals[kind]) < 0 ? -1 : 1;
	while (pending == 1) {
		(void)server_log_has(storm->server, "");
		if (now_ms() > wait.until_ms)
			ck_abort_msg("pid %d does not read its signals:\n%s", (int)master,
				     storm->server->log);
		pending = is_pending(master, signals[kind]);
	}
	if (kind == TTIN || kind == TTOU) {
		storm->workers += kind == TTIN ? 1 : -1;
		storm->unheard += pending < 0;
	}
}

/* Chooses a kind; never asks for more workers than are allowed, nor for fewer than one. */
static int kind_of(const struct storm *storm, uint64_t random)
{
	int kind = (int)(random % KINDS);

	if (kind == TTIN && storm->workers + storm->unheard >= WORKERS_MOST)
		return TTOU;
	if (kind == TTOU && storm->workers - storm->unheard <= 1)
		return TTIN;
	return kind;
}

/* Waits until all orders were carried out: a rebalance comes after all orders before it. */
static void storm_settle(struct storm *storm)
{
	struct wait wait = wait_begin();
	long there;

	wait.until_ms += 20000;
	while (server_control_ask("rebalance") != 0 || server_control_ask("rebalance") != 0) {
		(void)server_log_has(storm->server, "");
		wait_more(&wait, "the end of all that was asked for");
		reap();
	}
	storm->server->pid = server_control_pid();
	there = server_control_status("workers_asked");
	ck_assert_msg(labs(there - storm->workers) <= storm->unheard,
		      "%ld workers are there, %ld should be (%ld signals maybe not heard)", there,
		      storm->workers, storm->unheard);
	storm->workers = there;
	storm->unheard = 0;
	server_control_wait_workers(storm->server, (size_t)there);
	ck_assert_int_eq(server_control_status("pid"), storm->server->pid);
}

static void storm_idle(struct storm *storm)
{
	for (size_t i = 0; i < IDLE; i++)
		send_text(storm->idle[i], "^a$");
	for (size_t i = 0; i < IDLE; i++)
		expect_text(storm->idle[i], "b");
}

static void a_storm_of(unsigned n, int mode)
{
	static const char *const modes[] = {"reuseport", "shared", "handoff"};
	struct storm storm = {.workers = 2, .random = 0x5eed + (uint64_t)mode};
	struct load_process *load;
	uint64_t begin;

	storm.server = CONTROLLED("--workers", "2", "--accept", modes[mode], "echo://127.0.0.1:0",
				  "increment://127.0.0.1:0", "chat://127.0.0.1:0");
	load = load_process_start(&(struct load_plan){server_control_address(storm.server, 0),
						      .talkers = 50, .comers = 4, .pause_ms = 2});
	for (size_t i = 0; i < IDLE; i++) {
		storm.idle[i] = connect_to(storm.server->ports[1]);
		expect_text(storm.idle[i], "*");
	}
	begin = now_ms();
	for (unsigned i = 0; i < n; i++) {
		storm_send(&storm, kind_of(&storm, next_random(&storm.random)));
		(void)poll(NULL, 0, (int)(next_random(&storm.random) % 16)); /* a random time */
		reap();
		server_control_forget(storm.server);
		if (i % (n / 2) == n / 2 - 1 || i % 100 == 99) {
			storm_settle(&storm);
			storm_idle(&storm);
		}
	}
	storm_settle(&storm);
	storm_idle(&storm);
	load_process_wait(load, 100, 10);
	(void)printf("FIGURE a storm of %u signals, %s: %u HUP, %u USR2, %u TTIN, %u TTOU in %llu "
		     "ms; generation %ld\n",
		     n, modes[mode], storm.of[HUP], storm.of[USR2], storm.of[TTIN], storm.of[TTOU],
		     (unsigned long long)(now_ms() - begin), server_control_status("generation"));
	load_process_ends_well(load, "meanwhile");
	server_control_stop(storm.server);
}

START_TEST(a_gust_of_signals)
{
	a_storm_of(60, _i);
}
END_TEST

START_TEST(a_storm_of_signals)
{
	a_storm_of((unsigned)suite_volume(_i ? 200 : 1000), _i);
}
END_TEST

/* ---- a stop during a change ---- */

/* Sends one TERM to each process that is the master. One that has not taken over is killed by
 * its old master. */
static void stop_all(struct server *server)
{
	struct wait wait = wait_begin();
	pid_t told = 0, master, pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) >= 0) {
		if (pid > 0)
			ck_assert_msg(status == 0 || (status == SIGKILL && pid != told),
				      "pid %d ended with %#x:\n%s", (int)pid, (unsigned)status,
				      server->log);
		master = server_control_pid();
		if (master && master != told && kill(master, SIGTERM) == 0)
			told = master;
		(void)server_log_has(server, "");
		if (now_ms() > wait.until_ms)
			ck_abort_msg("something is still there:\n%s", server->log);
	}
}

static void stop_in_the_middle(unsigned n)
{
	uint64_t random = 0xdead;

	for (unsigned i = 0; i < n; i++) {
		struct server *server =
		    CONTROLLED("--workers", "2", "--accept", i % 3 ? "reuseport" : "handoff",
			       "increment://127.0.0.1:0");
		uint64_t spins = next_random(&random) % 60000;
		int fds[10];

		for (size_t j = 0; j < 10; j++) {
			fds[j] = connect_to(server->ports[0]);
			expect_text(fds[j], "*");
		}
		ck_assert_int_eq(kill(server->pid, signals[i % KINDS]), 0);
		for (uint64_t spin = 0; spin < spins; spin++)
			(void)getppid();
		stop_all(server);
		for (size_t j = 0; j < 10; j++) {
			expect_end(fds[j]);
			(void)close(fds[j]);
		}
		ck_assert_int_eq(try_connect(server->ports[0]), -ECONNREFUSED);
		server_control_expect_all_gone();
	}
	(void)printf("FIGURE stops in the middle of a change: %u, each by FIN\n", n);
	(void)fflush(stdout);
}

START_TEST(a_stop_in_the_middle_of_a_change)
{
	stop_in_the_middle(16);
}
END_TEST

START_TEST(many_stops_in_the_middle_of_changes)
{
	stop_in_the_middle((unsigned)suite_volume(120));
}
END_TEST

SUITE("signals", {"a gust of signals", a_gust_of_signals, 60, 3},
      {"a storm of signals", a_storm_of_signals, 110, 3, .kind = SUITE_LONG},
      {"a stop in the middle of a change", a_stop_in_the_middle_of_a_change, 60},
      {"many stops in the middle of changes", many_stops_in_the_middle_of_changes, 120,
       .kind = SUITE_LONG})
