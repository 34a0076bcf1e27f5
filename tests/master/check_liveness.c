/*
 * The watchdog: a worker that is stopped or spins is aborted and replaced; one that is busy or idle
 * is not, and neither is any worker because the master itself stood still. Only clients of the
 * aborted worker lose their connections, and no client is refused.
 *
 * To make a worker spin, ptrace writes a jump to itself at its current instruction. Not tested: a
 * worker that hangs in the kernel.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/liveness.h"
#include "tests/support/clients/load_process.h"
#include "tests/support/clients/load.h"
#include "tests/support/clients/scraper.h"
#include "tests/support/server_control.h"

#define SILENT "msg=\"a worker does not move\""

/* ---- two looks ---- */

START_TEST(two_looks_judge)
{
	static const struct {
		const char *what;
		struct liveness_look before, now;
		bool still;
	} cases[] = {
	    {"it moved", {7, 10, false, false}, {7, 11, false, false}, false},
	    {"it spins", {7, 10, false, false}, {7, 10, false, false}, true},
	    {"it waits", {7, 10, true, false}, {7, 10, true, false}, false},
	    {"it was stopped as it waited", {7, 10, true, false}, {7, 10, true, true}, true},
	    {"it woke up, and does not go on", {7, 10, true, false}, {7, 10, false, false}, true},
	    {"it went to sleep", {7, 10, false, false}, {7, 11, true, false}, false},
	    {"it is another one", {7, 10, false, false}, {8, 10, false, false}, false},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		ck_assert_msg(liveness_is_still(&cases[i].before, &cases[i].now) == cases[i].still,
			      "%s", cases[i].what);
	ck_assert(!liveness_is_bad((struct liveness){false, 2000000}));
	ck_assert(liveness_is_bad((struct liveness){false, 2000001}));
	ck_assert(liveness_is_bad((struct liveness){true, 0}));
}
END_TEST

/* ---- a worker that spins ---- */

#if defined(__x86_64__)
static const bool can_spin = true;

/* Lets the process go on at a jump to itself. Not while it waits in a system call, which is not
 * restarted then. */
static bool spin_here(pid_t pid)
{
	struct user_regs_struct registers;
	long code;

	if (ptrace(PTRACE_GETREGS, pid, 0, &registers) < 0)
		return false;
	errno = 0;
	code = ptrace(PTRACE_PEEKTEXT, pid, (void *)registers.rip, 0);
	if (errno)
		return false;
	code = (code & ~0xffffL) | 0xfeeb;
	registers.orig_rax = ~0ULL;
	return ptrace(PTRACE_POKETEXT, pid, (void *)registers.rip, (void *)code) == 0 &&
	       ptrace(PTRACE_SETREGS, pid, 0, &registers) == 0;
}
#else
static const bool can_spin = false;

static bool spin_here(pid_t pid)
{
	(void)pid;
	return false;
}
#endif

/* Makes a worker spin. False: not possible on this machine. */
static bool spin(const struct server *server, unsigned worker)
{
	pid_t pid = server_wait_worker(server, worker, 0);
	struct wait wait = wait_begin();

	if (!can_spin || ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
		return false;
	for (;;) {
		bool asleep;

		ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
		ck_assert_int_eq(waitpid(pid, NULL, __WALL), pid);
		asleep = server_worker_stat(server, worker, "asleep") != 0;
		if (!asleep)
			ck_assert(spin_here(pid));
		if (!asleep)
			break;
		ck_assert_int_eq(ptrace(PTRACE_CONT, pid, 0, 0), 0);
		wait_more(&wait, "a worker to be at work");
	}
	ck_assert_int_eq(ptrace(PTRACE_DETACH, pid, 0, 0), 0);
	return true;
}

/* ---- workers that stand still ---- */

static struct load_process *load_process_at(const struct server *server, unsigned talkers,
					    unsigned comers, unsigned pause_ms)
{
	return load_process_start(
	    &(struct load_plan){server_control_address(server, 0), talkers, comers, pause_ms});
}

/* Expects the worker to be aborted, not too early, and replaced. Other workers' clients must notice
 * nothing. */
static void is_replaced(struct server *server, struct load_process *load, pid_t pid, uint64_t begin,
			const char *what)
{
	uint64_t took;
	struct load_figures figures;
	char died[64];

	(void)snprintf(died, sizeof died, "msg=\"worker died\" worker=0 pid=%d", (int)pid);
	server_wait_log(server, SILENT);
	took = now_ms() - begin;
	server_wait_log(server, died);
	server_wait_log(server, "signal 6 (Aborted)");
	(void)server_wait_worker(server, 0, pid);
	server_control_wait_workers(server, 2);
	load_process_wait(load, 200, 50);
	figures = load_process_end(load);
	(void)printf("FIGURE %s, aborted after %llu ms of a watchdog of 2 s: %llu lost with it, "
		     "%llu messages and %llu connects beside\n",
		     what, (unsigned long long)took,
		     (unsigned long long)(figures.ended + figures.reset),
		     (unsigned long long)figures.messages, (unsigned long long)figures.connects);
	(void)fflush(stdout);
	ck_assert_uint_ge(took, 1400);
	ck_assert_uint_gt(figures.ended + figures.reset, 0);
	/* It may have been stopped between accept4() and the instruction that counts: one more. */
	ck_assert_uint_le(figures.ended + figures.reset,
			  server_stat(server, "closed_worker_died") + 1);
	figures.ended = figures.reset = 0;
	load_process_is_well(&figures);
	ck_assert_uint_eq(server_log_count(server, SILENT), 1);
	server_control_stop(server);
}

START_TEST(one_that_is_stopped)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "--watchdog", "2s", "echo://127.0.0.1:0");
	struct load_process *load = load_process_at(server, 40, 2, 2);
	pid_t pid = server_wait_worker(server, 0, 0);
	uint64_t begin = now_ms();

	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	is_replaced(server, load, pid, begin, "a worker that is stopped");
}
END_TEST

/* The master can't open any descriptor: it can't look at /proc, nor fork, until the limit is
 * raised. */
START_TEST(one_that_is_stopped_is_seen_without_descriptors)
{
	struct server *server =
	    CONTROLLED("--workers", "1", "--watchdog", "500ms", "echo://127.0.0.1:0");
	pid_t pid = server_wait_worker(server, 0, 0);
	struct rlimit none, before;
	int client;

	ck_assert_int_eq(prlimit(server->pid, RLIMIT_NOFILE, NULL, &before), 0);
	none = (struct rlimit){0, before.rlim_max};
	ck_assert_int_eq(prlimit(server->pid, RLIMIT_NOFILE, &none, NULL), 0);
	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	client = connect_to(server->ports[0]);
	server_wait_log(server, SILENT);
	server_wait_log(server, "a worker can't be forked");
	ck_assert_int_eq(prlimit(server->pid, RLIMIT_NOFILE, &before, NULL), 0);
	send_text(client, "served");
	expect_text(client, "served");
	server_control_stop(server);
}
END_TEST

START_TEST(one_that_spins)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "--watchdog", "2s", "echo://127.0.0.1:0");
	struct load_process *load = load_process_at(server, 40, 2, 0);
	pid_t pid = server_wait_worker(server, 0, 0);
	uint64_t begin = now_ms();

	if (!spin(server, 0)) {
		suite_skip("one that spins", "ptrace is not allowed, or this is no x86-64");
		return;
	}
	is_replaced(server, load, pid, begin, "a worker that spins");
}
END_TEST

/* Without a watchdog the worker stays, and is reported as stuck after two looks at it. */
START_TEST(one_that_spins_is_not_ready)
{
	struct server *server = CONTROLLED("--workers", "1", "--watchdog", "0", "--metrics",
					   "127.0.0.1:0", "echo://127.0.0.1:0");
	struct load_process *load = load_process_at(server, 40, 2, 0);
	pid_t pid = server_wait_worker(server, 0, 0);
	unsigned port = metrics_port(server);
	char *text = scrape_at(port);

	expect_sample(text, "weir_worker_up{worker=\"0\"}", "1");
	if (!spin(server, 0)) {
		suite_skip("one that spins is not ready", "ptrace is not allowed, or no x86-64");
		return;
	}
	for (struct wait wait = wait_begin(); get(port, "/readyz")->status == 200;)
		wait_more(&wait, "a server that is not ready");
	text = scrape_at(port);
	ck_assert_uint_ge(sample(text, "weir_worker_still_seconds{worker=\"0\"}"), 2);
	expect_sample(text, "weir_worker_up{worker=\"0\"}", "0");
	expect_sample(text, "weir_workers_ready", "0");
	expect_sample(text, "weir_worker_state{worker=\"0\",state=\"stuck\"}", "1");
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	(void)server_wait_worker(server, 0, pid);
	for (struct wait wait = wait_begin(); get(port, "/readyz")->status != 200;)
		wait_more(&wait, "a server that is ready");
	(void)load_process_end(load);
	server_control_stop(server);
}
END_TEST

/* A reload waits for the worker as long as the watchdog does. Its connections can't move. */
START_TEST(one_that_is_stopped_does_not_hold_a_reload_up)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "--watchdog", "2s", "echo://127.0.0.1:0");
	struct load_process *load = load_process_at(server, 40, 2, 2);
	pid_t pid = server_wait_worker(server, 0, 0);
	struct load_figures figures;
	uint64_t begin = now_ms();

	ck_assert_int_eq(kill(pid, SIGSTOP), 0);
	server_control_do("reload");
	(void)printf("FIGURE a reload with a worker that is stopped took: %llu ms\n",
		     (unsigned long long)(now_ms() - begin));
	(void)fflush(stdout);
	server_wait_log(server, SILENT);
	server_control_wait_workers(server, 2);
	load_process_wait(load, 200, 50);
	figures = load_process_end(load);
	/* It may have been stopped between accept4() and the instruction that counts: one more. */
	ck_assert_uint_le(figures.ended + figures.reset,
			  server_stat(server, "closed_worker_died") + 1);
	figures.ended = figures.reset = 0;
	load_process_is_well(&figures);
	server_control_stop(server);
}
END_TEST

/* ---- workers that are left alone ---- */

/* Whether no worker was taken for one that stands still. */
static bool all_are_there(struct server *server, const pid_t workers[2])
{
	bool all = true;

	for (unsigned i = 0; i < 2; i++)
		all = all && server_worker(server, i) == workers[i];
	if (server_log_count(server, SILENT))
		return false;
	ck_assert_msg(all, "a worker died otherwise:\n%s", server->log);
	ck_assert_int_eq(server_control_status("workers"), 2);
	return true;
}

/* On a busy machine a worker may rightly be aborted, as it got no CPU for as long as the watchdog
 * waits, or because this process was late. Then a longer watchdog is tried. With one of them the
 * workers must be left alone. */
static const unsigned watchdogs_ms[] = {500, 1000, 2000, 4000, 8000};

#define WATCHDOGS (sizeof watchdogs_ms / sizeof *watchdogs_ms)

static void are_left_alone(bool (*by)(unsigned watchdog_ms))
{
	size_t i = 0;

	while (i < WATCHDOGS && !by(watchdogs_ms[i]))
		i++;
	ck_assert_msg(i < WATCHDOGS, "some were not left alone, however long the watchdog waits");
}

static const char *ms_text(unsigned ms)
{
	static char text[16];

	(void)snprintf(text, sizeof text, "%ums", ms);
	return text;
}

static bool busy_with(unsigned watchdog_ms)
{
	struct server *server = CONTROLLED("--workers", "2", "--watchdog", ms_text(watchdog_ms),
					   "echo://127.0.0.1:0", "chargen://127.0.0.1:0");
	pid_t workers[2] = {server_wait_worker(server, 0, 0), server_wait_worker(server, 1, 0)};
	struct load_process *load = load_process_at(server, 100, 4, 0);
	int status = LOAD("-c", "100", "-d", ms_text(3 * watchdog_ms), "--warmup", "0s",
			  load_listener("chargen", server->ports[1]));
	struct load_figures figures = load_process_end(load);
	bool alone = all_are_there(server, workers);

	if (alone) {
		/* 3: weirload was late, because the machine is busy. */
		ck_assert_msg(status == 0 || status == 3, "%s", load_said());
		load_process_is_well(&figures);
	}
	(void)printf("FIGURE for 3 watchdog times of %u ms beside 100 readers of chargen: %llu "
		     "messages, %llu connects, %s\n",
		     watchdog_ms, (unsigned long long)figures.messages,
		     (unsigned long long)figures.connects, alone ? "0 lost" : "a worker aborted");
	(void)fflush(stdout);
	server_control_stop(server);
	return alone;
}

START_TEST(busy_ones_are_left_alone)
{
	are_left_alone(busy_with);
}
END_TEST

START_TEST(idle_ones_are_left_alone_and_asleep)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "--watchdog", "300ms", "echo://127.0.0.1:0");
	pid_t workers[2] = {server_wait_worker(server, 0, 0), server_wait_worker(server, 1, 0)};
	uint64_t harvests = server_stat(server, "harvests");
	int fd;

	(void)poll(NULL, 0, 5 * 300);
	(void)printf("FIGURE harvests of 2 idle workers in 5 watchdog times: %llu\n",
		     (unsigned long long)(server_stat(server, "harvests") - harvests));
	(void)fflush(stdout);
	ck_assert(all_are_there(server, workers));
	fd = connect_to(server->ports[0]);
	send_text(fd, "awake");
	expect_text(fd, "awake");
	(void)close(fd);
	server_control_stop(server);
}
END_TEST

/* The worker did nothing for long because it was idle. That time must not count when it is then
 * stopped for a moment. */
static bool stopped_for_a_moment(unsigned watchdog_ms)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "--watchdog", ms_text(watchdog_ms), "echo://127.0.0.1:0");
	pid_t workers[2] = {server_wait_worker(server, 0, 0), server_wait_worker(server, 1, 0)};
	int fd = connect_to(server->ports[0]);
	bool alone = true;

	send_text(fd, "hello");
	expect_text(fd, "hello");
	for (int i = 0; i < 2 && alone; i++) {
		(void)poll(NULL, 0, (int)(3 * watchdog_ms / 2));
		for (int w = 0; w < 2; w++)
			(void)kill(workers[w], SIGSTOP);
		(void)poll(NULL, 0, (int)watchdog_ms / 2); /* the master looks at them twice */
		for (int w = 0; w < 2; w++)
			(void)kill(workers[w], SIGCONT); /* may fail: it was aborted */
		alone = !server_log_count(server, SILENT);
	}
	if (alone) {
		send_text(fd, "again");
		expect_text(fd, "again");
		alone = all_are_there(server, workers);
	}
	(void)close(fd);
	server_control_stop(server);
	return alone;
}

START_TEST(one_that_stops_for_a_moment_is_left_alone)
{
	are_left_alone(stopped_for_a_moment);
}
END_TEST

/* Stops the master alone, or all processes of weir, as if the machine stood still. */
static bool stands_still(unsigned watchdog_ms, bool all)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "--watchdog", ms_text(watchdog_ms), "echo://127.0.0.1:0");
	pid_t workers[2] = {server_wait_worker(server, 0, 0), server_wait_worker(server, 1, 0)};
	struct load_process *load = load_process_at(server, 20, 2, 2);
	struct load_figures figures;
	bool alone;

	ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
	for (int i = 0; all && i < 2; i++)
		(void)kill(workers[i], SIGSTOP);
	(void)poll(NULL, 0, 3 * (int)watchdog_ms);
	ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
	for (int i = 0; all && i < 2; i++)
		(void)kill(workers[i], SIGCONT);
	(void)poll(NULL, 0, 2 * (int)watchdog_ms); /* enough time to abort workers */
	figures = load_process_end(load);
	alone = all_are_there(server, workers);
	if (alone)
		load_process_is_well(&figures);
	(void)printf("FIGURE %s stood still for %u ms, the watchdog waits %u: %llu messages, "
		     "longest wait %.1f ms, %s\n",
		     all ? "all" : "the master", 3 * watchdog_ms, watchdog_ms,
		     (unsigned long long)figures.messages, (double)figures.longest_us / 1000,
		     alone ? "0 lost" : "a worker aborted");
	(void)fflush(stdout);
	server_control_stop(server);
	return alone;
}

static bool master_stands_still(unsigned watchdog_ms)
{
	return stands_still(watchdog_ms, false);
}

static bool all_stand_still(unsigned watchdog_ms)
{
	return stands_still(watchdog_ms, true);
}

START_TEST(nobody_pays_for_a_master_that_stood_still)
{
	are_left_alone(_i ? all_stand_still : master_stands_still);
}
END_TEST

SUITE("liveness", {"two looks judge", two_looks_judge, 5},
      {"one that is stopped", one_that_is_stopped, 40},
      {"one that is stopped is seen without descriptors",
       one_that_is_stopped_is_seen_without_descriptors, 20},
      {"one that spins", one_that_spins, 40},
      {"one that spins is not ready", one_that_spins_is_not_ready, 60},
      {"one that is stopped does not hold a reload up",
       one_that_is_stopped_does_not_hold_a_reload_up, 40},
      {"busy ones are left alone", busy_ones_are_left_alone, 40},
      {"one that stops for a moment is left alone", one_that_stops_for_a_moment_is_left_alone, 40},
      {"idle ones are left alone and asleep", idle_ones_are_left_alone_and_asleep, 30},
      {"nobody pays for a master that stood still", nobody_pays_for_a_master_that_stood_still, 40,
       2})
