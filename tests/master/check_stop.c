/*
 * How weir ends: gracefully, at once, a single worker, or with its master killed. What this shows:
 * owed bytes reach clients that read, waiting clients are not reset, no process lives longer than
 * allowed, and the ports are free for the next server.
 *
 * Clients have a small window (TCP_MAXSEG, SO_RCVBUF), so that weir's queues fill; otherwise the
 * kernel would buffer megabytes for each. Not tested: SYNs that are still on a real network when
 * weir stops.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/harness.h"

#define OWED	    (384 << 10) /* sent by each client; the kernel buffers some 230 KiB of it */
#define CLIENTS	    100
#define CLIENTS_MAX 1000

/* Longer than any test takes: no timeout may be the reason why something ends. */
#define ENDLESS "--drain-timeout", "1h", "--write-timeout", "0", "--high-water", "1M"

static const char *const modes[] = {"reuseport", "shared", "handoff"};

/* ---- clients that do not read ---- */

/* What each client sends: a sequence of its own, so that bytes of another client or place are
 * noticed. */
static unsigned char byte_of(size_t client, size_t at)
{
	return (unsigned char)(client * 7 + at + at / 251);
}

/* Connects n clients of an echo server that send everything and read nothing. */
static void owe(struct server *server, int fds[], size_t n)
{
	static unsigned char bytes[OWED];

	raise_descriptor_limit();
	for (size_t i = 0; i < n; i++) {
		fds[i] = connect_narrow(server->ports[0]);
		for (size_t at = 0; at < OWED; at++)
			bytes[at] = byte_of(i, at);
		send_all(fds[i], bytes, OWED);
	}
	server_wait_stat_is(server, "received_bytes", n * OWED);
	/* weir has queues: the kernel has taken much less than weir has received. */
	ck_assert_uint_lt(server_stat(server, "sent_bytes"), n * OWED / 8 * 7);
}

/* Reads from one after the other, each to its end. */
static void collect(const int fds[], size_t n)
{
	static unsigned char bytes[65536];

	for (size_t client = 0; client < n; client++) {
		size_t at = 0;
		ssize_t came;

		while ((came = recv(fds[client], bytes, sizeof bytes, 0)) > 0)
			for (ssize_t i = 0; i < came; i++, at++)
				if (at >= OWED || bytes[i] != byte_of(client, at))
					ck_abort_msg("client %zu: byte %zu is another", client, at);
		ck_assert_msg(came == 0, "client %zu: %s after %zu bytes", client, strerror(errno),
			      at);
		ck_assert_msg(at == OWED, "client %zu: the end after %zu bytes", client, at);
		(void)close(fds[client]);
	}
}

static void wait_log_times(struct server *server, const char *text, size_t times)
{
	struct wait wait = wait_begin();

	while (server_log_count(server, text) < times)
		wait_more(&wait, text);
}

/* weir logs that it drains before it closes its listeners. Until then clients may be accepted, and
 * are ended like the others. Returns how many were. */
static size_t wait_refused(const struct server *server)
{
	struct wait wait = wait_begin();
	size_t n = 0;
	int late;

	for (; (late = try_connect(server->ports[0])) >= 0; n++) {
		(void)close(late);
		wait_more(&wait, "a connect to be refused");
	}
	ck_assert_int_eq(late, -ECONNREFUSED);
	return n;
}

static void expect_drained(const struct server *server, size_t at_least, size_t late)
{
	uint64_t drained = server_stat(server, "closed_drained");

	ck_assert_uint_ge(drained, at_least);
	ck_assert_uint_le(drained, at_least + late);
}

/* ---- the whole server ---- */

static void stops_gracefully(int signal, size_t n)
{
	static int fds[CLIENTS_MAX];
	struct server *server = SERVER("--workers", "2", ENDLESS, "echo://127.0.0.1:0");
	uint64_t begin;
	int status;

	owe(server, fds, n);
	(void)printf("FIGURE owed at the stop: %llu bytes in %zu queues\n",
		     (unsigned long long)(n * OWED - server_stat(server, "sent_bytes")), n);
	begin = now_ms();
	ck_assert_int_eq(kill(server->pid, signal), 0);
	wait_log_times(server, "msg=draining", 2);
	collect(fds, n);
	status = server_wait_exit(server);
	(void)printf("FIGURE drained in: %llu ms\n", (unsigned long long)(now_ms() - begin));
	(void)fflush(stdout);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_eq(server_stat(server, "closed_drained"), n);
	ck_assert_uint_eq(server_stat(server, "sent_bytes"), n * OWED);
	ck_assert_uint_eq(server_stat(server, "connections"), 0);
}

START_TEST(term_delivers_what_is_owed)
{
	stops_gracefully(SIGTERM, CLIENTS);
}
END_TEST

START_TEST(int_is_as_term)
{
	stops_gracefully(SIGINT, CLIENTS);
}
END_TEST

START_TEST(term_delivers_what_is_owed_to_many)
{
	stops_gracefully(SIGTERM, suite_volume(CLIENTS_MAX));
}
END_TEST

/* "At once" is far below an hour; whether it is below a second depends on the machine. */
START_TEST(a_second_term_or_int_ends_it_at_once)
{
	static const int seconds[] = {SIGTERM, SIGINT, SIGQUIT};

	for (size_t i = 0; i < 3; i++) {
		struct server *server = SERVER("--workers", "2", ENDLESS, "echo://127.0.0.1:0");
		int fds[8];

		owe(server, fds, 8);
		ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
		server_wait_log(server, "msg=draining");
		ck_assert_int_eq(server_stop(server, seconds[i]), 0);
		for (size_t j = 0; j < 8; j++) {
			expect_reset_or_end(fds[j]);
			(void)close(fds[j]);
		}
	}
}
END_TEST

START_TEST(quit_ends_it_at_once)
{
	struct server *server = SERVER("--workers", "2", ENDLESS, "echo://127.0.0.1:0");
	int fds[8];

	owe(server, fds, 8);
	ck_assert_int_eq(server_stop(server, SIGQUIT), 0);
	for (size_t i = 0; i < 8; i++)
		expect_reset_or_end(fds[i]);
}
END_TEST

START_TEST(drain_timeout_closes_what_is_left)
{
	struct server *server =
	    SERVER("--workers", "2", "--drain-timeout", "500ms", "--write-timeout", "0",
		   "--high-water", "1M", "echo://127.0.0.1:0");
	uint64_t begin;
	int fds[10];

	owe(server, fds, 10);
	begin = now_ms();
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert_uint_ge(now_ms() - begin, 500);
	/* If a worker got no CPU to do this in time, the master ended it. */
	if (server_log_has(server, "a worker did not end in its time"))
		return;
	ck_assert_uint_eq(server_stat(server, "closed_drain_timeout"), 10);
	ck_assert_uint_eq(server_stat(server, "closed_worker_died"), 0);
	ck_assert(server_log_has(server, "closed_drain_timeout=10"));
}
END_TEST

START_TEST(idle_clients_are_ended_by_fin_at_once)
{
	for (size_t mode = 0; mode < 3; mode++) {
		struct server *server = SERVER("--workers", "2", ENDLESS, "--accept", modes[mode],
					       "echo://127.0.0.1:0");
		int fds[50];

		for (size_t i = 0; i < 50; i++) {
			fds[i] = connect_to(server->ports[0]);
			send_text(fds[i], "x");
			expect_text(fds[i], "x");
		}
		ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
		for (size_t i = 0; i < 50; i++) {
			expect_end(fds[i]);
			(void)close(fds[i]);
		}
		ck_assert_int_eq(server_wait_exit(server), 0);
	}
}
END_TEST

/* ---- clients that wait to be accepted ---- */

enum term { TERM_TO_MASTER, TERM_TO_ALL };

/* They connect while the workers are stopped, and half of them send. All processes go on after
 * TERM. */
static void waiting_at_term(const char *mode, size_t n, bool stop_master, enum term to)
{
	struct server *server = SERVER("--workers", "2", "--accept", mode, "--drain-timeout", "1h",
				       "--watchdog", "0", "echo://127.0.0.1:0");
	pid_t workers[2] = {server_wait_worker(server, 0, 0), server_wait_worker(server, 1, 0)};
	int fds[600];

	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(kill(workers[i], SIGSTOP), 0);
	if (stop_master)
		ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
	for (size_t i = 0; i < n; i++) {
		fds[i] = connect_to(server->ports[0]);
		if (i % 2)
			send_text(fds[i], "hello");
	}
	for (size_t i = 0; to == TERM_TO_ALL && i < 2; i++)
		ck_assert_int_eq(kill(workers[i], SIGTERM), 0);
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	if (stop_master)
		ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
	server_wait_log(server, "msg=stopping");
	for (size_t i = 0; i < 2; i++)
		ck_assert_int_eq(kill(workers[i], SIGCONT), 0);
	for (size_t i = 0; i < n; i++) {
		char bytes[8] = "";
		size_t came = receive_to_end(fds[i], bytes, sizeof bytes);

		ck_assert_msg(came == (i % 2 ? 5 : 0) && strncmp(bytes, "hello", came) == 0,
			      "%s: client %zu got %zu bytes", mode, i, came);
		(void)close(fds[i]);
	}
	ck_assert_int_eq(server_wait_exit(server), 0);
}

START_TEST(reuseport_serves_who_waits_at_term)
{
	waiting_at_term("reuseport", 200, false, TERM_TO_MASTER);
}
END_TEST

START_TEST(shared_serves_who_waits_at_term)
{
	waiting_at_term("shared", 200, false, TERM_TO_MASTER);
}
END_TEST

/* Clients in the listener's queue, and on their way to workers. */
START_TEST(handoff_serves_who_waits_at_term)
{
	waiting_at_term("handoff", 200, true, TERM_TO_MASTER);
	waiting_at_term("handoff", 200, false, TERM_TO_MASTER);
}
END_TEST

/* More than may be on their way to workers: the rest wait in the listener's queue. */
START_TEST(handoff_serves_who_waits_behind_full_lanes_at_term)
{
	waiting_at_term("handoff", 600, false, TERM_TO_MASTER);
}
END_TEST

/* As a service manager does that ends a whole control group. */
START_TEST(term_to_all_processes_resets_nobody)
{
	for (size_t mode = 0; mode < 3; mode++) {
		waiting_at_term(modes[mode], 100, false, TERM_TO_ALL);
		waiting_at_term(modes[mode], 100, true, TERM_TO_ALL);
	}
}
END_TEST

/* A worker that has not yet reported that it serves is told to end. */
START_TEST(term_while_workers_start_does_not_wait)
{
	for (size_t i = 0; i < 15; i++) {
		struct server *server = server_launch(
		    (const char *const[]){"--workers", "1", "--accept", modes[i % 3],
					  "--drain-timeout", "1h", "echo://127.0.0.1:0", NULL});

		server_wait_log(server, "msg=\"worker started\"");
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}
END_TEST

/* At --max-connections, connected clients end first and make room for those that wait. */
START_TEST(who_waits_behind_the_limit_is_not_reset)
{
	for (size_t mode = 0; mode < 3; mode++) {
		struct server *server =
		    SERVER("--workers", "1", "--max-connections", "10", "--drain-timeout", "1h",
			   "--accept", modes[mode], "echo://127.0.0.1:0");
		int fds[30];

		for (size_t i = 0; i < 30; i++)
			fds[i] = connect_to(server->ports[0]);
		server_wait_stat_is(server, "connections", 10);
		ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
		for (size_t i = 0; i < 30; i++) {
			char byte;
			ssize_t came = recv(fds[i], &byte, 1, 0);

			ck_assert_msg(came == 0, "%s: client %zu: %s", modes[mode], i,
				      came < 0 ? strerror(errno) : "a byte");
			(void)close(fds[i]);
		}
		ck_assert_int_eq(server_wait_exit(server), 0);
	}
}
END_TEST

/* A drain may take long. A client that comes then is refused, so that it can try elsewhere. In a
 * queue from which nobody accepts it would only wait and be reset in the end. */
START_TEST(who_comes_while_draining_is_refused)
{
	for (size_t mode = 0; mode < 3; mode++) {
		struct server *server = SERVER("--workers", "2", "--accept", modes[mode], ENDLESS,
					       "echo://127.0.0.1:0");
		int fds[2];

		owe(server, fds, 2);
		ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
		wait_log_times(server, "msg=draining", 2);
		(void)wait_refused(server);
		collect(fds, 2);
		ck_assert_int_eq(server_wait_exit(server), 0);
	}
}
END_TEST

/* ---- one worker ---- */

/* The worker drains and is replaced. Clients that come meanwhile are served, if necessary by its
 * successor. */
static void term_to_one_worker(const char *mode)
{
	struct server *server =
	    SERVER("--workers", "2", "--accept", mode, ENDLESS, "echo://127.0.0.1:0");
	pid_t pid = server_wait_worker(server, 0, 0);
	bool handoff = strcmp(mode, "handoff") == 0;
	struct wait wait = wait_begin();
	int fds[8], late[40];
	size_t before;

	owe(server, fds, 8);
	before = process_descriptors_n(pid);
	ck_assert_int_eq(kill(pid, SIGTERM), 0);
	server_wait_log(server, "msg=draining");
	/* It accepts waiting clients, and then closes its listener, if it has one. */
	while (!handoff && process_descriptors_n(pid) >= before)
		wait_more(&wait, "a worker to stop listening");
	for (size_t i = 0; i < 40; i++)
		late[i] = connect_to(server->ports[0]);
	/* Clients of the other worker are not ended by weir, so they end themselves. */
	for (size_t i = 0; i < 8; i++)
		finish_sending(fds[i]);
	collect(fds, 8);
	(void)server_wait_worker(server, 0, pid);
	for (size_t i = 0; i < 40; i++) {
		char byte = '\0';
		ssize_t came;

		send_text(late[i], "x");
		came = recv(late[i], &byte, 1, 0);
		ck_assert_msg(came == 1 && byte == 'x', "%s: client %zu of a draining worker: %s",
			      mode, i, came ? strerror(errno) : "the end");
	}
	ck_assert_uint_eq(server_stat(server, "closed_worker_died"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(term_to_one_worker_reuseport)
{
	term_to_one_worker("reuseport");
}
END_TEST

START_TEST(term_to_one_worker_shared)
{
	term_to_one_worker("shared");
}
END_TEST

START_TEST(term_to_one_worker_handoff)
{
	term_to_one_worker("handoff");
}
END_TEST

/* ---- a dead master ---- */

static void dead_master(const char *mode)
{
	struct server *server =
	    SERVER("--workers", "2", "--accept", mode, ENDLESS, "echo://127.0.0.1:0");
	pid_t workers[2] = {server_wait_worker(server, 0, 0), server_wait_worker(server, 1, 0)};
	struct server *next;
	struct wait wait;
	char listener[64];
	int fds[8], client;
	size_t late;

	owe(server, fds, 8);
	ck_assert_int_eq(server_stop(server, SIGKILL), 128 + SIGKILL);
	wait_log_times(server, "why=\"the master is gone\"", 2);
	late = wait_refused(server);
	/* Its workers are still there, with what they owe, but the port is free. */
	(void)snprintf(listener, sizeof listener, "echo://127.0.0.1:%u", server->ports[0]);
	next = SERVER("--workers", "2", "--accept", mode, listener);
	client = connect_to(next->ports[0]);
	send_text(client, "next");
	expect_text(client, "next");
	collect(fds, 8);
	wait = wait_begin();
	for (size_t i = 0; i < 2; i++)
		while (process_state(workers[i]) && process_state(workers[i]) != 'Z')
			wait_more(&wait, "the workers of a dead master to end");
	expect_drained(server, 8, late);
	ck_assert_int_eq(server_stop(next, SIGTERM), 0);
}

START_TEST(dead_master_reuseport)
{
	dead_master("reuseport");
}
END_TEST

START_TEST(dead_master_shared)
{
	dead_master("shared");
}
END_TEST

START_TEST(dead_master_handoff)
{
	dead_master("handoff");
}
END_TEST

/* ---- without a master ---- */

START_TEST(no_master_is_one_process_that_drains)
{
	struct server *server =
	    SERVER("--no-master", "--workers", "1", ENDLESS, "echo://127.0.0.1:0");
	char path[64];
	FILE *file;
	int fds[8];
	size_t late;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)server->pid,
		       (int)server->pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fgetc(file), EOF);
	(void)fclose(file);
	owe(server, fds, 8);
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	server_wait_log(server, "msg=draining");
	late = wait_refused(server);
	collect(fds, 8);
	ck_assert_int_eq(server_wait_exit(server), 0);
	expect_drained(server, 8, late);
}
END_TEST

START_TEST(no_master_ends_at_once_too)
{
	static const int seconds[] = {SIGTERM, SIGINT, SIGQUIT};

	for (size_t i = 0; i < 3; i++) {
		struct server *server =
		    SERVER("--no-master", "--workers", "1", ENDLESS, "echo://127.0.0.1:0");
		int fds[4];

		owe(server, fds, 4);
		ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
		server_wait_log(server, "msg=draining");
		ck_assert_int_eq(server_stop(server, seconds[i]), 0);
		for (size_t j = 0; j < 4; j++)
			(void)close(fds[j]);
	}
}
END_TEST

SUITE("stop", {"TERM delivers what is owed", term_delivers_what_is_owed, 40},
      {"INT is as TERM", int_is_as_term, 40},
      {"TERM delivers what is owed to a thousand", term_delivers_what_is_owed_to_many, 90, 0,
       SUITE_LONG},
      {"a second TERM or INT, or QUIT, ends it at once", a_second_term_or_int_ends_it_at_once, 40},
      {"QUIT ends it at once", quit_ends_it_at_once, 30},
      {"drain-timeout closes what is left", drain_timeout_closes_what_is_left, 30},
      {"idle clients are ended by FIN", idle_clients_are_ended_by_fin_at_once, 30},
      {"reuseport: who waits at TERM is served", reuseport_serves_who_waits_at_term, 30},
      {"shared: who waits at TERM is served", shared_serves_who_waits_at_term, 30},
      {"handoff: who waits at TERM is served", handoff_serves_who_waits_at_term, 30},
      {"handoff: who waits behind full queues at TERM is served",
       handoff_serves_who_waits_behind_full_lanes_at_term, 30},
      {"TERM to all processes resets nobody", term_to_all_processes_resets_nobody, 60},
      {"TERM while workers start does not wait", term_while_workers_start_does_not_wait, 60},
      {"who waits behind max-connections is not reset", who_waits_behind_the_limit_is_not_reset,
       60},
      {"who comes while draining is refused", who_comes_while_draining_is_refused, 60},
      {"reuseport: TERM to one worker", term_to_one_worker_reuseport, 40},
      {"shared: TERM to one worker", term_to_one_worker_shared, 40},
      {"handoff: TERM to one worker", term_to_one_worker_handoff, 40},
      {"reuseport: a dead master's workers drain", dead_master_reuseport, 40},
      {"shared: a dead master's workers drain", dead_master_shared, 40},
      {"handoff: a dead master's workers drain", dead_master_handoff, 40},
      {"no-master is one process, which drains", no_master_is_one_process_that_drains, 30},
      {"no-master ends at once too", no_master_ends_at_once_too, 40})
