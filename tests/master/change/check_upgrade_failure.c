/*
 * Upgrades that fail: the new master can't be run, ends, hangs or dies at any moment, or the old
 * one does. What this shows: the master that serves goes on and says why, and no client is refused.
 * Before the new master has taken over, no client is lost either. After that a master's death costs
 * its workers' connections, as any death of a master does: the workers drain them.
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

#define NOT_MADE "msg=\"change not made, all is as it was\" what=upgrade"

static struct server *served;
static struct load_process *load;

static void begin(void)
{
	served = CONTROLLED("--workers", "2", "echo://127.0.0.1:0");
	load = load_process_start(&(struct load_plan){server_control_address(served, 0),
						      .talkers = 20, .comers = 2, .pause_ms = 1});
}

static void end(const char *what)
{
	server_control_wait_workers(served, 2);
	load_process_wait(load, 100, 10);
	load_process_ends_well(load, what);
	server_control_stop(served);
}

/* The pid of the new master; 0: there is none (yet). */
static pid_t next_master(void)
{
	return server_child(served, "weir-master");
}

/* Waits until some more messages are answered and some more clients are accepted. */
static void serves_on(void)
{
	struct load_figures begin_figures = load_process_now(load), now = begin_figures;
	struct wait wait = wait_begin();

	while (now.messages < begin_figures.messages + 20 ||
	       now.connects < begin_figures.connects + 5) {
		(void)server_log_has(served, "");
		(void)poll(NULL, 0, 1);
		if (now_ms() > wait.until_ms)
			ck_abort_msg("nobody is served; stuck %llu, refused %llu:\n%s",
				     (unsigned long long)now.stuck, (unsigned long long)now.refused,
				     served->log);
		now = load_process_now(load);
	}
}

/* ---- it can't be run, or is another program ---- */

static const struct {
	const char *name, *text;
	unsigned mode;
	const char *why;
} programs[] = {
    {"missing", NULL, 0, "No such file or directory"},
    {"not executable", "#!/bin/sh\nexit 0\n", 0644, "Permission denied"},
    {"not a program", "weir\n", 0755, "Exec format error"},
    {"without its interpreter", "#!/nowhere/sh\n", 0755, "No such file or directory"},
    {"ends with 1", "#!/bin/sh\nexit 1\n", 0755, "status 1 before it was ready"},
    {"ends with 0", "#!/bin/sh\nexit 0\n", 0755, "status 0 before it was ready"},
    {"killed", "#!/bin/sh\nkill -KILL $$\n", 0755, "signal 9"},
    {"stops itself", "#!/bin/sh\nkill -TERM $PPID; exit 3\n", 0755, NULL},
};

#define PROGRAMS (sizeof programs / sizeof *programs - 1) /* the last one has its own test */

static void what_is_no_weir(int rounds)
{
	begin();
	while (rounds--) {
		for (size_t i = 0; i < PROGRAMS; i++) {
			server_control_forget(served);
			server_control_program_is(programs[i].text, programs[i].mode);
			ck_assert_msg(server_control_ask("upgrade") == 1, "%s: %s",
				      programs[i].name, server_control_answer());
			ck_assert_msg(strstr(server_control_answer(), programs[i].why) != NULL,
				      "%s: %s", programs[i].name, server_control_answer());
			server_wait_log(served, NOT_MADE);
			ck_assert_msg(strstr(served->log, programs[i].why) != NULL, "%s: %s",
				      programs[i].name, served->log);
			ck_assert_int_eq(server_control_pid(), served->pid);
			server_control_wait_workers(served, 2);
		}
	}
	server_control_program_is_weir();
	server_control_do("upgrade");
	server_control_follow(served);
	end("programs that are no weir, and then one");
}

START_TEST(what_is_no_weir_is_no_upgrade)
{
	what_is_no_weir(1);
}
END_TEST

START_TEST(what_is_no_weir_is_none_three_times)
{
	what_is_no_weir(3);
}
END_TEST

/* The master has the same descriptors and memory as before the tries. */
START_TEST(failures_leave_nothing_behind)
{
	static char before[65536], after[65536];
	unsigned n = (unsigned)suite_volume(100);
	size_t memory, grown;

	served = CONTROLLED("--workers", "2", "echo://127.0.0.1:0", "chat://127.0.0.1:0");
	server_control_program_is("#!/bin/sh\nexit 1\n", 0755);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(server_control_ask("upgrade"), 1);
	process_descriptors(served->pid, before, sizeof before);
	memory = process_memory(served->pid);
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(server_control_ask("upgrade"), 1);
		server_control_forget(served);
	}
	process_descriptors(served->pid, after, sizeof after);
	ck_assert_str_eq(before, after);
	grown = process_memory(served->pid);
	grown = grown > memory ? grown - memory : 0;
	(void)printf("FIGURE %u upgrades that failed: the master grew by %zu bytes\n", n, grown);
	(void)fflush(stdout);
	if (!suite_sanitized())
		ck_assert_uint_le(grown, 128 << 10);
	server_control_stop(served);
}
END_TEST

static pid_t hung_master(void)
{
	struct wait wait = wait_begin();
	pid_t pid;

	while (!(pid = server_child(served, "sleep")))
		wait_more(&wait, "the program that hangs");
	return pid;
}

/* The upgrade is given up after 30 seconds, or when somebody ends the new master. Until then weir
 * serves; other orders are carried out afterwards. */
static void one_hangs(bool ended, const char *why)
{
	uint64_t from = now_ms();
	int status;
	pid_t asked;

	begin();
	server_control_program_is("#!/bin/sh\nexec sleep 3600\n", 0755);
	asked = server_control_ask_begin("upgrade");
	server_wait_log(served, "msg=\"change begins\" what=upgrade");
	ck_assert_int_eq(kill(served->pid, SIGTTIN), 0);
	for (int i = 0; i < 5; i++)
		serves_on();
	ck_assert_int_eq(waitpid(asked, &status, WNOHANG), 0);
	ck_assert_int_eq(server_control_status("workers"), 2);
	if (ended)
		ck_assert_int_eq(kill(hung_master(), SIGKILL), 0);
	while (waitpid(asked, &status, WNOHANG) == 0)
		serves_on();
	(void)printf("FIGURE an upgrade that hangs is given up in: %llu ms\n",
		     (unsigned long long)(now_ms() - from));
	(void)fflush(stdout);
	ck_assert_int_eq(WEXITSTATUS(status), 1);
	server_wait_log(served, NOT_MADE);
	ck_assert_msg(strstr(served->log, why) != NULL, "%s", served->log);
	server_control_wait_workers(served, 3);
	ck_assert_int_eq(kill(served->pid, SIGTTOU), 0);
	end("an upgrade that hangs");
}

START_TEST(one_that_hangs_may_be_ended)
{
	one_hangs(true, "the new master died: signal 9");
}
END_TEST

START_TEST(one_that_hangs_is_given_up)
{
	one_hangs(false, "the new master was not ready in time");
}
END_TEST

/* ---- the new master dies ---- */

/* Stops the new master as soon as it is there, and kills it if it has not taken over yet. */
static void dies_while_it_is_staged(unsigned n)
{
	unsigned killed = 0;

	begin();
	while (killed < n) {
		struct wait wait = wait_begin();
		pid_t next;
		char ready[64];

		server_control_forget(served);
		ck_assert_int_eq(kill(served->pid, SIGUSR2), 0);
		while (!(next = next_master()))
			if (server_control_pid() != served->pid || now_ms() > wait.until_ms)
				break;
		if (!next) { /* too late: the new master serves already */
			server_control_follow(served);
			continue;
		}
		process_stop(next);
		(void)snprintf(ready, sizeof ready, "msg=ready pid=%d", (int)next);
		if (server_control_pid() != served->pid || server_log_has(served, ready)) {
			ck_assert_int_eq(kill(next, SIGCONT), 0);
			server_control_follow(served);
			continue;
		}
		ck_assert_int_eq(kill(next, SIGKILL), 0);
		server_wait_log(served, NOT_MADE);
		/* The old master may have heard that it was ready, but has moved no client yet. */
		ck_assert_msg(strstr(served->log, "the new master died: signal 9") != NULL ||
				  strstr(served->log, "died after it had taken over") != NULL,
			      "%s", served->log);
		server_control_wait_workers(served, 2);
		ck_assert_int_eq(server_control_pid(), served->pid);
		killed++;
	}
	(void)printf("FIGURE new masters killed while staged: %u\n", killed);
	end("deaths of new masters while they were staged");
}

START_TEST(one_that_dies_while_it_is_staged)
{
	dies_while_it_is_staged((unsigned)suite_volume(4));
}
END_TEST

START_TEST(twenty_that_die_while_they_are_staged)
{
	dies_while_it_is_staged((unsigned)suite_volume(20));
}
END_TEST

/* No client may be refused or get wrong bytes. Prints how many were lost. */
static void no_one_is_refused(const char *what, unsigned n)
{
	struct load_figures figures = load_process_end(load);

	(void)printf("FIGURE %s %u times: %llu messages, %llu connects; ended %llu, reset %llu\n",
		     what, n, (unsigned long long)figures.messages,
		     (unsigned long long)figures.connects, (unsigned long long)figures.ended,
		     (unsigned long long)figures.reset);
	(void)fflush(stdout);
	figures.ended = figures.reset = 0;
	load_process_is_well(&figures);
}

/* One of the old workers is stopped, so that the old master does not end. */
static void dies_after_it_took_over(unsigned n)
{
	begin();
	for (unsigned i = 0; i < n; i++) {
		struct wait wait = wait_begin();
		pid_t worker = server_wait_worker(served, i % 2, 0), next;

		server_control_forget(served);
		process_stop(worker);
		ck_assert_int_eq(kill(served->pid, SIGUSR2), 0);
		while ((next = server_control_pid()) == served->pid || !next) {
			(void)server_log_has(served, "");
			if (now_ms() > wait.until_ms)
				ck_abort_msg("no new master:\n%s", served->log);
		}
		ck_assert_int_eq(kill(next, SIGKILL), 0);
		server_wait_log(served, "this one goes on");
		ck_assert_int_eq(kill(worker, SIGCONT), 0);
		server_control_wait_workers(served, 2);
		ck_assert_int_eq(server_control_pid(), served->pid);
		serves_on();
	}
	no_one_is_refused("a new master died after it took over", n);
	server_control_stop(served);
}

START_TEST(one_that_dies_right_after_it_took_over)
{
	dies_after_it_took_over(2);
}
END_TEST

START_TEST(ten_that_die_right_after_they_took_over)
{
	dies_after_it_took_over((unsigned)suite_volume(10));
}
END_TEST

/* The old master can't start new workers at once, because its file is bad. It tries until it
 * can. */
START_TEST(it_has_workers_again_as_soon_as_it_can)
{
	struct wait wait = wait_begin();
	pid_t worker, next;
	char file[300];
	int client;

	(void)snprintf(file, sizeof file, "%s", write_file("weir.conf", "workers = 1\n"));
	served = CONTROLLED("--config", file, "echo://127.0.0.1:0");
	worker = server_wait_worker(served, 0, 0);
	process_stop(worker); /* so that the old master does not end */
	server_control_forget(served);
	ck_assert_int_eq(kill(served->pid, SIGUSR2), 0);
	while ((next = server_control_pid()) == served->pid || !next)
		wait_more(&wait, "a new master");
	(void)write_file("weir.conf", "nonsense\n");
	ck_assert_int_eq(kill(next, SIGKILL), 0);
	server_wait_log(served, "change not made, all is as it was\" what=reload");
	/* Any earlier, and the old master would have ended when this worker did. */
	ck_assert_int_eq(kill(worker, SIGCONT), 0);
	(void)write_file("weir.conf", "workers = 1\n");
	server_wait_log(served, "msg=\"change made\" what=reload");
	client =
	    connect_to(served->ports[0]); /* a client before this may end with the old worker */
	send_text(client, "served");
	expect_text(client, "served");
	server_control_wait_workers(served, 1);
	server_control_stop(served);
}
END_TEST

/* It is on its way to a worker that dies, and then to the new master, which has died unnoticed. */
START_TEST(who_was_accepted_is_served_when_it_dies)
{
	struct wait wait = wait_begin();
	size_t descriptors;
	pid_t worker, next;
	int client;

	served = CONTROLLED("--workers", "1", "--accept", "handoff", "echo://127.0.0.1:0");
	worker = server_wait_worker(served, 0, 0);
	process_stop(worker);
	descriptors = process_descriptors_n(served->pid);
	client = connect_to(served->ports[0]);
	while (process_descriptors_n(served->pid) == descriptors)
		wait_more(&wait, "the master to accept");
	ck_assert_int_eq(kill(served->pid, SIGUSR2), 0);
	while ((next = server_control_pid()) == served->pid || !next)
		wait_more(&wait, "a new master");
	ck_assert_int_eq(kill(served->pid, SIGSTOP), 0);
	ck_assert_int_eq(kill(next, SIGKILL), 0);
	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	while (process_state(next) != 'Z' || process_state(worker) != 'Z')
		wait_more(&wait, "both to be dead");
	ck_assert_int_eq(kill(served->pid, SIGCONT), 0);
	send_text(client, "served");
	expect_text(client, "served");
	server_control_wait_workers(served, 1);
	server_control_stop(served);
}
END_TEST

/* ---- the old master dies ---- */

static uint64_t moment = 0x5eed;

static void old_one_dies(unsigned n)
{
	unsigned taken = 0;

	begin();
	for (unsigned i = 0; i < n; i++) {
		struct wait wait = wait_begin();
		uint64_t spins = next_random(&moment) % 3000;
		pid_t old = served->pid, next = 0;

		server_control_forget(served);
		ck_assert_int_eq(kill(old, SIGUSR2), 0);
		while (!(next = next_master()) && server_control_pid() == old)
			if (now_ms() > wait.until_ms)
				ck_abort_msg("no new master:\n%s", served->log);
		for (uint64_t spin = 0; spin < spins; spin++)
			(void)getppid();
		(void)kill(old, SIGKILL);
		ck_assert_int_eq(waitpid(old, NULL, 0), old);
		while ((next = server_control_pid()) == old || !next)
			if (now_ms() > wait.until_ms)
				ck_abort_msg("no new pid in the pid file:\n%s", served->log);
			else
				(void)server_log_has(served, "");
		served->pid = next;
		taken++;
		server_control_wait_workers(served, 2);
		serves_on();
		while (waitpid(-1, NULL, WNOHANG) > 0)
			; /* reaps the old master's workers */
	}
	no_one_is_refused("the old master died in an upgrade", taken);
	server_control_stop(served);
}

START_TEST(the_old_one_dies_at_any_moment)
{
	old_one_dies((unsigned)suite_volume(8));
}
END_TEST

START_TEST(the_old_one_dies_at_forty_moments)
{
	old_one_dies((unsigned)suite_volume(40));
}
END_TEST

SUITE("upgrade_failure", {"what is no weir is no upgrade", what_is_no_weir_is_no_upgrade, 60},
      {"failures leave nothing behind", failures_leave_nothing_behind, 60},
      {"one that hangs may be ended", one_that_hangs_may_be_ended, 60},
      {"one that dies while it is staged", one_that_dies_while_it_is_staged, 60},
      {"who was accepted is served when it dies", who_was_accepted_is_served_when_it_dies, 30},
      {"it has workers again as soon as it can", it_has_workers_again_as_soon_as_it_can, 30},
      {"one that dies right after it took over", one_that_dies_right_after_it_took_over, 60},
      {"the old one dies at any moment", the_old_one_dies_at_any_moment, 60},
      {"what is no weir is none three times", what_is_no_weir_is_none_three_times, 60,
       .kind = SUITE_LONG},
      {"one that hangs is given up", one_that_hangs_is_given_up, 60, .kind = SUITE_LONG},
      {"twenty that die while they are staged", twenty_that_die_while_they_are_staged, 60,
       .kind = SUITE_LONG},
      {"ten that die right after they took over", ten_that_die_right_after_they_took_over, 60,
       .kind = SUITE_LONG},
      {"the old one dies at forty moments", the_old_one_dies_at_forty_moments, 60,
       .kind = SUITE_LONG})
