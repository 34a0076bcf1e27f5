/*
 * notified: what weir tells systemd from start to end, and during reloads and upgrades; and what it
 * tells systemd's watchdog when all is well, and when the master or a worker hangs.
 *
 * systemd itself does not run here; sd_notify(3) says what it does with the messages.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/support/servers/fake_systemd.h"

/* Workers get neither a descriptor for notifications nor the variable. Their descriptors are the
 * same as those of a server that systemd has not started. */
static void workers_are_not_told(const struct server *server)
{
	static char notified[1 << 16], other[1 << 16];
	struct server *alone = SERVER("--workers", "2", "echo://127.0.0.1:0");
	char path[64];

	for (unsigned i = 0; i < 2; i++) {
		const char *environment;

		process_descriptors(server_worker(server, i), notified, sizeof notified);
		process_descriptors(server_worker(alone, i), other, sizeof other);
		ck_assert_str_eq(notified, other);
		(void)snprintf(path, sizeof path, "/proc/%d/environ", server_worker(server, i));
		environment = read_whole(path);
		ck_assert_msg(!environment || !strstr(environment, "NOTIFY_SOCKET"), "%s",
			      environment);
	}
	ck_assert_int_eq(server_stop(alone, SIGTERM), 0);
}

START_TEST(weir_says_how_it_is)
{
	struct server *server;
	int client;

	fake_systemd_open(_i);
	(void)setenv("WATCHDOG_USEC", "200000", 1); /* also the interval of the status */
	server = SERVER("--workers", "2", "echo://127.0.0.1:0");
	expect_soon("READY=1\nSTATUS=serving; workers: 2 of 2, connections: 0");
	ck_assert_int_eq(manager.from, server->pid);
	(void)unsetenv("NOTIFY_SOCKET");
	workers_are_not_told(server);
	client = connect_to(server->ports[0]);
	expect_soon("STATUS=serving; workers: 2 of 2, connections: 1");
	expect_soon("WATCHDOG=1");
	ck_assert_int_eq(manager.from, server->pid);
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	expect_soon("STOPPING=1\nSTATUS=stopping; workers: 2 of 2, connections: 1");
	expect_end(client);
	ck_assert_int_eq(server_wait_exit(server), 0);
}
END_TEST

/* The next message that is neither WATCHDOG nor a STATUS alone. */
static const char *next_state(void)
{
	struct wait wait = wait_begin();
	const char *text;

	do {
		text = next(100);
		wait_more(&wait, "a state");
	} while (!text || strcmp(text, "WATCHDOG=1") == 0 || strncmp(text, "STATUS=", 7) == 0);
	return text;
}

static void expect_state(const char *beginning)
{
	const char *text = next_state();

	ck_assert_msg(strncmp(text, beginning, strlen(beginning)) == 0, "%s, not %s", text,
		      beginning);
}

START_TEST(a_reload_is_told_however_it_ends)
{
	static const char good[] = "workers = 1\nlisten = echo://127.0.0.1:0\n";
	const char *path = write_file("weir.conf", good);
	struct server *server;

	fake_systemd_open(_i);
	(void)setenv("WATCHDOG_USEC", "100000", 1);
	server = SERVER("--config", path);
	expect_state("READY=1\nSTATUS=serving; workers: 1 of 1");
	for (int i = 0; i < 6; i++) {
		(void)write_file("weir.conf", i % 2 ? "worker = 2\n" : good);
		ck_assert_int_eq(kill(server->pid, SIGHUP), 0);
		expect_state("RELOADING=1\nMONOTONIC_USEC=");
		expect_state("READY=1\nSTATUS=serving; workers: 1 of 1");
		ck_assert_int_eq(manager.from, server->pid);
		server_wait_log(server, i % 2 ? "change not made" : "change made");
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	expect_state("STOPPING=1\n");
}
END_TEST

/* The pid of the last master that said it was ready. */
static pid_t last_master(const struct server *server)
{
	const char *at = server->log, *found = NULL;

	while ((at = strstr(at, "msg=ready pid=")))
		found = at += strlen("msg=ready pid=");
	ck_assert_ptr_nonnull(found);
	return (pid_t)strtol(found, NULL, 10);
}

/* The next such message that is not a new master's own READY. That one comes when the master
 * serves, which may be after its first WATCHDOG. */
static const char *state_but_ready(void)
{
	const char *text;

	do
		text = next_state();
	while (strncmp(text, "READY=1\nSTATUS=", 15) == 0);
	return text;
}

/* systemd accepts messages from the main process only, so the old master tells the new one's pid.
 * What the new one sent before would be ignored, so the old one sends READY with MAINPID. */
START_TEST(an_upgrade_says_who_is_the_main_process)
{
	struct server *server;

	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	fake_systemd_open(_i);
	(void)setenv("WATCHDOG_USEC", "1000000",
		     1); /* rarely, as messages are lost if not read soon */
	server = SERVER("--workers", "2", "echo://127.0.0.1:0");
	expect_state("READY=1\n");
	for (int i = 0; i < 4; i++) {
		pid_t old = server->pid;
		char wanted[64] = "";
		const char *text;

		ck_assert_int_eq(kill(old, SIGUSR2), 0);
		do
			text = state_but_ready();
		while (manager.from != old);
		(void)snprintf(wanted, sizeof wanted, "%.63s", text);
		ck_assert_int_eq(server_wait_exit(server), 0);
		server->pid = last_master(server);
		ck_assert_int_ne(server->pid, old);
		ck_assert_int_eq(strncmp(wanted, "MAINPID=", 8), 0);
		ck_assert_str_eq(strchr(wanted, '\n'), "\nREADY=1");
		ck_assert_int_eq(strtol(wanted + 8, NULL, 10), server->pid);
		/* The new master goes on with WATCHDOG messages. */
		do
			expect_soon("WATCHDOG=1");
		while (manager.from != server->pid);
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert_int_eq(strncmp(state_but_ready(), "STOPPING=1\n", 11), 0);
	ck_assert_int_eq(manager.from, server->pid);
}
END_TEST

START_TEST(an_upgrade_that_fails_says_nothing)
{
	const char *path = in_folder("weir");
	struct server *server;
	char command[400];

	(void)snprintf(command, sizeof command, "cp %s %s", getenv("WEIR"), path);
	ck_assert_int_eq(system(command), 0);
	(void)setenv("WEIR", path, 1);
	fake_systemd_open(true);
	(void)setenv("WATCHDOG_USEC", "100000", 1);
	server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	expect_state("READY=1\n");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(kill(server->pid, SIGUSR2), 0);
	server_wait_log(server, "change not made");
	expect_soon("WATCHDOG=1");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	expect_state("STOPPING=1\n");
	ck_assert_int_eq(manager.from, server->pid);
}
END_TEST

/* ---- a master or a worker that hangs ---- */

/* If weir does not abort workers that hang, systemd has to notice. */
START_TEST(a_worker_that_hangs_is_told_by_silence)
{
	struct server *server;
	struct wait wait;
	pid_t worker;

	fake_systemd_open(true);
	(void)setenv("WATCHDOG_USEC", "40000", 1);
	server = SERVER("--workers", "2", "--watchdog", "0", "echo://127.0.0.1:0");
	worker = server_worker(server, 1);
	expect_soon("WATCHDOG=1");
	process_stop(worker);
	wait = wait_begin();
	while (next(400)) /* ten times WATCHDOG_USEC */
		wait_more(&wait, "silence");
	ck_assert_int_eq(kill(worker, SIGCONT), 0);
	expect_soon("WATCHDOG=1");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(a_worker_that_is_replaced_is_no_reason_for_silence)
{
	struct server *server;
	pid_t worker;

	fake_systemd_open(true);
	(void)setenv("WATCHDOG_USEC", "40000", 1);
	server = SERVER("--workers", "2", "--watchdog", "200ms", "echo://127.0.0.1:0");
	worker = server_worker(server, 0);
	ck_assert_int_eq(kill(worker, SIGSTOP), 0);
	server_wait_log(server, "a worker does not move");
	(void)server_wait_worker(server, 0, worker);
	while (next(0))
		;
	expect_soon("WATCHDOG=1");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* However short WATCHDOG_USEC is, a worker has the time of --watchdog. */
START_TEST(a_worker_has_its_own_time)
{
	struct server *server;
	pid_t worker;

	fake_systemd_open(true);
	(void)setenv("WATCHDOG_USEC", "20000", 1);
	server = SERVER("--workers", "1", "--watchdog", "1h", "echo://127.0.0.1:0");
	worker = server_worker(server, 0);
	process_stop(worker);
	for (int i = 0; i < 30; i++)
		expect_soon("WATCHDOG=1");
	ck_assert(!server_log_has(server, "a worker does not move"));
	ck_assert_int_eq(kill(worker, SIGCONT), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(a_master_that_hangs_says_nothing)
{
	struct server *server;

	fake_systemd_open(true);
	(void)setenv("WATCHDOG_USEC", "20000", 1);
	server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	expect_soon("WATCHDOG=1");
	process_stop(server->pid);
	while (next(0))
		;
	ck_assert_ptr_null(next(200)); /* ten times WATCHDOG_USEC */
	ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
	expect_soon("WATCHDOG=1");
	ck_assert_int_eq(server_stop(server, SIGQUIT), 0);
	expect_soon("STOPPING=1\nSTATUS=stopping; workers: 1 of 1, connections: 0");
}
END_TEST

/* A manager that does not read costs one log line only. */
START_TEST(weir_serves_on_where_nobody_reads)
{
	struct server *server;
	int client;

	fake_systemd_open(true);
	(void)setenv("WATCHDOG_USEC", "2000", 1);
	server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	server_wait_log(server, "systemd can't be notified");
	client = connect_to(server->ports[0]);
	for (int i = 0; i < 20; i++) {
		send_text(client, "hello");
		expect_text(client, "hello");
	}
	ck_assert_uint_eq(server_log_count(server, "systemd can't be notified"), 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	expect_end(client);
}
END_TEST

START_TEST(one_process_says_that_it_is_ready)
{
	struct server *server;

	fake_systemd_open(false);
	server = SERVER("--workers", "1", "--no-master", "echo://127.0.0.1:0");
	expect_soon("READY=1\nSTATUS=serving in one process");
	ck_assert_int_eq(manager.from, server->pid);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("notified", {"weir says how it is", weir_says_how_it_is, 30, 2},
      {"a reload is told, however it ends", a_reload_is_told_however_it_ends, 30, 2},
      {"an upgrade says who is the main process", an_upgrade_says_who_is_the_main_process, 60, 2},
      {"an upgrade that fails says nothing", an_upgrade_that_fails_says_nothing, 30},
      {"a worker that hangs is told by silence", a_worker_that_hangs_is_told_by_silence, 30},
      {"a worker that is replaced is no reason for silence",
       a_worker_that_is_replaced_is_no_reason_for_silence, 30},
      {"a worker has its own time", a_worker_has_its_own_time, 30},
      {"a master that hangs says nothing", a_master_that_hangs_says_nothing, 30},
      {"weir serves on where nobody reads", weir_serves_on_where_nobody_reads, 30},
      {"one process says that it is ready", one_process_says_that_it_is_ready, 20})
