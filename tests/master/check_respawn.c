/*
 * Workers that die at start again and again, and workers that stop answering: the master tries
 * again less and less often, logs little, leaves no zombie, and ends when it is told to.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/support/harness.h"

/* ---- deaths at start ---- */

START_TEST(dying_at_start_is_retried_ever_slower)
{
	static const char *const delays[] = {"after_ms=0\n",   "after_ms=100\n", "after_ms=200\n",
					     "after_ms=400\n", "after_ms=800\n", "after_ms=1600\n"};
	struct server *server;
	struct rlimit before;
	int client;

	if (suite_sanitized()) {
		suite_skip("dying at start is retried ever slower",
			   "a sanitizer's own memory ends with RLIMIT_AS");
		return;
	}
	server = SERVER("--workers", "1", "increment://127.0.0.1:0");
	process_starve(server->pid, 1 << 20, &before); /* too little for its tables */
	ck_assert_int_eq(kill(server_wait_worker(server, 0, 0), SIGKILL), 0);
	client = connect_to(server->ports[0]); /* waits until a worker lives */
	for (size_t i = 0; i < sizeof delays / sizeof *delays; i++)
		server_wait_log(server, delays[i]);
	for (size_t i = 0; i + 1 < sizeof delays / sizeof *delays; i++)
		ck_assert(strstr(server->log, delays[i]) < strstr(server->log, delays[i + 1]));
	ck_assert_uint_le(server_log_count(server, "\n"), 40);
	ck_assert_uint_lt(server->log_n, 8192);
	(void)printf("FIGURE log of 6 deaths in a row: %zu bytes\n", server->log_n);
	(void)fflush(stdout);
	ck_assert_int_eq(prlimit(server->pid, RLIMIT_AS, &before, NULL), 0);
	expect_text(client, "*");
	no_zombies(server, 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* A stop does not wait for the next try of a worker that died. */
START_TEST(a_stop_does_not_wait_for_a_worker_that_keeps_dying)
{
	struct server *server;
	struct rlimit before;

	if (suite_sanitized()) {
		suite_skip("a stop does not wait for a worker that keeps dying",
			   "a sanitizer's own memory ends with RLIMIT_AS");
		return;
	}
	server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	process_starve(server->pid, 1 << 20, &before); /* too little for its tables */
	ck_assert_int_eq(kill(server_wait_worker(server, 0, 0), SIGKILL), 0);
	server_wait_log(server, "after_ms=800\n");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- workers that do not answer ---- */

static struct server *with_wedged_worker(const char *drain_timeout)
{
	struct server *server =
	    SERVER("--workers", "2", "--drain-timeout", drain_timeout, "increment://127.0.0.1:0");
	int client = connect_to(server->ports[0]);
	pid_t pid;

	expect_text(client, "*"); /* one of the workers has a client that stays */
	pid = server_worker(server, server_worker_stat(server, 0, "connections") ? 0 : 1);
	process_stop(pid);
	return server;
}

START_TEST(a_wedged_worker_does_not_outlive_a_second_term)
{
	struct server *server = with_wedged_worker("1h");

	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	server_wait_log(server, "msg=stopping ");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert_uint_eq(server_stat(server, "closed_worker_died"), 1);
}
END_TEST

START_TEST(a_wedged_worker_does_not_outlive_the_drain_timeout)
{
	struct server *server = with_wedged_worker("300ms");

	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(server_log_has(server, "a worker did not end in its time"));
	ck_assert_uint_eq(server_stat(server, "closed_worker_died"), 1);
}
END_TEST

SUITE("respawn",
      {"dying at start is retried ever slower", dying_at_start_is_retried_ever_slower, 30},
      {"a stop does not wait for a worker that keeps dying",
       a_stop_does_not_wait_for_a_worker_that_keeps_dying, 30},
      {"a wedged worker does not outlive a second TERM",
       a_wedged_worker_does_not_outlive_a_second_term, 30},
      {"a wedged worker does not outlive the drain timeout",
       a_wedged_worker_does_not_outlive_the_drain_timeout, 30})
