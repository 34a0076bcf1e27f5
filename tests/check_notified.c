/*
 * notified: what weir tells systemd from its start to its end, over reloads and upgrades; what
 * the watchdog hears while all move, and where the master or a worker hangs.
 *
 * systemd itself is not here: what it makes of the messages is in sd_notify(3).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/manager.h"

/* Neither by a descriptor nor by a word: they have what workers have that nobody notifies. */
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

	manager_open(_i);
	(void)setenv("WATCHDOG_USEC", "200000", 1); /* its pulse is the status', too */
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

START_TEST(a_master_that_hangs_says_nothing)
{
	struct server *server;

	manager_open(true);
	(void)setenv("WATCHDOG_USEC", "20000", 1);
	server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	expect_soon("WATCHDOG=1");
	ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
	for (struct wait wait = wait_begin(); process_state(server->pid) != 'T';)
		wait_more(&wait, "a stopped master");
	while (next(0))
		;
	ck_assert_ptr_null(next(200)); /* ten times its time */
	ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
	expect_soon("WATCHDOG=1");
	ck_assert_int_eq(server_stop(server, SIGQUIT), 0);
	expect_soon("STOPPING=1\nSTATUS=stopping; workers: 1 of 1, connections: 0");
}
END_TEST

/* A manager that does not read costs one line of the log. */
START_TEST(weir_serves_on_where_nobody_reads)
{
	struct server *server;
	int client;

	manager_open(true);
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

	manager_open(false);
	server = SERVER("--workers", "1", "--no-master", "echo://127.0.0.1:0");
	expect_soon("READY=1\nSTATUS=serving in one process");
	ck_assert_int_eq(manager.from, server->pid);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("notified", {"weir says how it is", weir_says_how_it_is, 30, 2},
      {"a master that hangs says nothing", a_master_that_hangs_says_nothing, 30},
      {"weir serves on where nobody reads", weir_serves_on_where_nobody_reads, 30},
      {"one process says that it is ready", one_process_says_that_it_is_ready, 20})
