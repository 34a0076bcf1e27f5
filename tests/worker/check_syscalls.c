/*
 * How many system calls a message, a connection and an idle server cost, counted with strace on
 * the real server.
 *
 * Not seen: calls that do not enter the kernel (the clock is read in the vDSO), page faults, and
 * what the kernel does inside a call. Tracing slows the server down, so that with 50 connections
 * batches are larger than without it; they are so under load, too.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/trace.h"

#define LIVES 20

static void figure(const char *what, double value, const char *unit)
{
	(void)printf("FIGURE %s: %.3f %s\n", what, value, unit);
	(void)fflush(stdout);
}

/* ---- messages ---- */

static void ping_pong(const char *listener, const void *message, size_t n, unsigned rounds)
{
	struct server *server = SERVER("--workers", "1", listener);
	int client = connect_to(server->ports[0]);
	struct trace *trace;
	char what[100];
	size_t calls;

	send_all(client, message, n);
	expect_bytes(client, message, n);
	trace = trace_begin_settled(server_worker(server, 0));
	for (unsigned i = 0; i < rounds; i++) {
		send_all(client, message, n);
		expect_bytes(client, message, n);
	}
	trace_window(trace);
	calls = trace->calls_n;
	(void)snprintf(what, sizeof what, "calls a message, one %.*s connection in ping-pong",
		       (int)strcspn(listener, ":"), listener);
	figure(what, (double)calls / rounds, "calls");
	ck_assert_uint_eq(calls_of(trace, "epoll_wait", ""), rounds);
	ck_assert_uint_eq(calls_of(trace, "read", ""), rounds);
	ck_assert_uint_eq(calls_of(trace, "write", ""), rounds);
	ck_assert_uint_eq(calls, 3 * rounds);
	trace_end(trace);
	(void)close(client);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(three_calls_a_message)
{
	if (!tracing_works("three calls a message in ping-pong"))
		return;
	ping_pong("echo://127.0.0.1:0", "0123456789abcdef0123456789abcdef", 32, 1000);
	ping_pong("line://127.0.0.1:0", "a line\n", 7, 100);
	ping_pong("frame://127.0.0.1:0", "\0\0\0\5frame", 9, 100);
}
END_TEST

START_TEST(many_connections_share_waits)
{
	enum { CLIENTS = 50, ROUNDS = 200 };
	struct server *server;
	struct trace *trace;
	int clients[CLIENTS];
	double each;

	if (!tracing_works("50 connections at most 2.2 calls a message"))
		return;
	server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = connect_to(server->ports[0]);
		send_text(clients[i], "hello");
		expect_text(clients[i], "hello");
	}
	trace = trace_begin_settled(server_worker(server, 0));
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < CLIENTS; i++)
			send_text(clients[i], "message");
		for (int i = 0; i < CLIENTS; i++)
			expect_text(clients[i], "message");
	}
	trace_window(trace);
	each = (double)trace->calls_n / (CLIENTS * ROUNDS);
	figure("calls a message, 50 echo connections at once", each, "calls");
	ck_assert_uint_eq(calls_of(trace, "read", ""), CLIENTS * ROUNDS);
	ck_assert_uint_eq(calls_of(trace, "write", ""), CLIENTS * ROUNDS);
	ck_assert_uint_eq(trace->calls_n, 2 * CLIENTS * ROUNDS + calls_of(trace, "epoll_wait", ""));
	ck_assert_msg(each <= 2.2, "%.3f calls a message, not 2.2 at most", each);
	trace_end(trace);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- whole connections ---- */

/* One life: connect, send, receive, close. All processes are asleep again before the next life, so
 * that no call serves two lives. */
static void live(const struct server *server, unsigned lives, const pid_t *pids, size_t pids_n)
{
	uint64_t before = server_stat(server, "closed_eof");

	for (unsigned i = 1; i <= lives; i++) {
		int client = connect_to(server->ports[0]);

		send_text(client, "hello");
		expect_text(client, "hello");
		(void)close(client);
		server_wait_stat_is(server, "closed_eof", before + i);
		for (size_t j = 0; j < pids_n; j++)
			wait_asleep(pids[j]);
	}
}

static void say_calls(const struct trace *trace)
{
	for (size_t i = 0; i < trace->calls_n; i++)
		(void)printf("%s\n", trace->calls[i]);
	(void)fflush(stdout);
}

/* The traced window consists of these calls in this order, LIVES times. */
static void expect_lives(const struct trace *trace, const char *life, const char *what)
{
	char text[512];
	size_t each = 1, begin = 0;

	for (const char *at = life; *at; at++)
		each += *at == ' ';
	(void)printf("FIGURE calls of a lone connection, %s: %zu calls (%s)\n", what, each, life);
	(void)fflush(stdout);
	for (int i = 0; i < LIVES; i++, begin += each) {
		calls_text(trace, begin,
			   begin + each < trace->calls_n ? begin + each : trace->calls_n, text,
			   sizeof text);
		if (strcmp(text, life) != 0)
			say_calls(trace);
		ck_assert_str_eq(text, life);
	}
	ck_assert_uint_eq(trace->calls_n, begin);
}

static void lives_in(const char *mode, const char *of_worker, const char *of_master)
{
	struct server *server = SERVER("--workers", "1", "--accept", mode, "--watchdog", "0",
				       "echo://127.0.0.1:0"); /* a watchdog would add calls */
	pid_t pids[2] = {server_worker(server, 0), server->pid};
	struct trace *worker, *master;
	char what[64];

	/* The first lives are not counted: the master may take a note soon after those of the start
	 * for a part of a series, and then looks once more whether another one comes. */
	live(server, 2, pids, 2);
	worker = trace_begin_settled(pids[0]);
	master = trace_begin_settled(pids[1]);
	trace_window(worker); /* from now on both are traced */
	live(server, LIVES, pids, 2);
	trace_window(worker);
	trace_window(master);
	(void)snprintf(what, sizeof what, "accept=%s, worker", mode);
	expect_lives(worker, of_worker, what);
	if (of_master)
		expect_lives(master, of_master, "accept=handoff, master");
	else
		ck_assert_uint_eq(master->calls_n, 0);
	ck_assert_uint_eq(calls_of(worker, "epoll_ctl", "EPOLL_CTL_ADD"), LIVES);
	ck_assert_uint_eq(calls_of(worker, "epoll_ctl", "EPOLL_CTL_MOD"), 0);
	trace_end(worker);
	trace_end(master);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

/* In handoff the second epoll_ctl is a DEL: close() might not end the registration, because the
 * master may still have its copy of the descriptor. */
START_TEST(lives_in_reuseport_and_handoff)
{
	if (!tracing_works("the calls of a life, reuseport and handoff"))
		return;
	lives_in("reuseport",
		 "epoll_wait accept4 epoll_ctl epoll_wait read write epoll_wait read close", NULL);
	lives_in("handoff",
		 "epoll_wait recvmsg sendmsg epoll_ctl epoll_wait read write "
		 "epoll_wait read epoll_ctl close",
		 "epoll_wait accept4 sendmsg epoll_wait read setsockopt close");
}
END_TEST

/* Either of two workers may take a life, and now and then one of them goes to the end of the
 * listener's wait queue (a DEL and an ADD). So only the sum of both workers' calls is checked. */
START_TEST(life_in_shared)
{
	struct server *server;
	struct trace *traces[2];
	pid_t pids[2];
	size_t accepts = 0, empty = 0, adds = 0, renewals = 0, calls = 0;

	if (!tracing_works("the calls of a life, accept=shared"))
		return;
	server = SERVER("--workers", "2", "--accept", "shared", "echo://127.0.0.1:0");
	for (unsigned i = 0; i < 2; i++)
		pids[i] = server_worker(server, i);
	live(server, 1, pids, 2);
	for (int i = 0; i < 2; i++)
		traces[i] = trace_begin_settled(pids[i]);
	live(server, LIVES, pids, 2);
	for (int i = 0; i < 2; i++) {
		trace_window(traces[i]);
		calls += traces[i]->calls_n;
		accepts += calls_of(traces[i], "accept4", "");
		empty += calls_of(traces[i], "accept4", "EAGAIN");
		adds += calls_of(traces[i], "epoll_ctl", "EPOLLET");
		renewals += calls_of(traces[i], "epoll_ctl", "EPOLLEXCLUSIVE");
		trace_end(traces[i]);
	}
	figure("calls of a lone connection, accept=shared, both workers", (double)calls / LIVES,
	       "calls");
	figure("of these to even out the workers", 2.0 * (double)renewals / LIVES, "calls");
	ck_assert_uint_eq(accepts, LIVES);
	ck_assert_uint_eq(empty, 0);
	ck_assert_uint_eq(adds, LIVES);
	ck_assert_uint_le(renewals, LIVES / 4 + 2);
	ck_assert_uint_eq(calls, 9 * LIVES + 2 * renewals);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Clients that come one at a time and send nothing: between them the server only sleeps. */
START_TEST(quiet_arrivals)
{
	struct server *server;
	struct trace *trace;

	if (!tracing_works("one accept4 for each client that comes and is silent"))
		return;
	server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	trace = trace_begin_settled(server_worker(server, 0));
	for (unsigned i = 0; i < LIVES; i++) {
		(void)connect_to(server->ports[0]); /* it stays */
		server_wait_stat_is(server, "connections", i + 1);
		wait_asleep(trace->pid);
		/* A pause, so that clients come one at a time. Nothing has to happen in it. */
		(void)poll(NULL, 0, 5);
	}
	trace_window(trace);
	ck_assert_uint_eq(calls_of(trace, "accept4", "EAGAIN"), 0);
	expect_lives(trace, "epoll_wait accept4 epoll_ctl", "its beginning only");
	trace_end(trace);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* After the peer's FIN, close() is enough to deliver what is owed. */
START_TEST(half_close_needs_no_lingering)
{
	struct server *server;
	struct trace *trace;
	int client;

	if (!tracing_works("a half-close needs no shutdown"))
		return;
	server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	trace = trace_begin_settled(server_worker(server, 0));
	client = connect_to(server->ports[0]);
	send_text(client, "owed");
	finish_sending(client);
	expect_text(client, "owed");
	expect_end(client);
	(void)close(client);
	server_wait_stat_is(server, "closed_eof", 1);
	trace_window(trace);
	ck_assert_uint_eq(calls_of(trace, "read", ""), 2);
	ck_assert_uint_eq(calls_of(trace, "write", ""), 1);
	ck_assert_uint_eq(calls_of(trace, "close", ""), 1);
	ck_assert_uint_eq(trace->calls_n, 6 + calls_of(trace, "epoll_wait", ""));
	ck_assert_uint_le(calls_of(trace, "epoll_wait", ""), 3);
	trace_end(trace);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* weir ends this connection while a line is owed and more input comes. close() would discard the
 * line, so weir shuts down its own side first. */
START_TEST(lingers_where_bytes_are_owed)
{
	static char text[200000];
	struct server *server;
	struct trace *trace;
	int client;

	if (!tracing_works("a shutdown while bytes are owed"))
		return;
	server = SERVER("--workers", "1", "line://127.0.0.1:0?max-line=1000");
	memset(text, 'x', sizeof text);
	memcpy(text, "owed\n", 5);
	client = connect_to(server->ports[0]);
	trace = trace_begin_settled(server_worker(server, 0));
	send_all(client, text, sizeof text);
	expect_text(client, "owed\n");
	expect_end(client);
	(void)close(client);
	server_wait_stat_is(server, "closed_line_too_long", 1);
	trace_window(trace);
	ck_assert_uint_eq(calls_of(trace, "shutdown", "SHUT_WR"), 1);
	ck_assert_uint_eq(calls_of(trace, "close", ""), 1);
	trace_end(trace);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- an idle server ---- */

#define IDLE_CLIENTS 1000

/* How often it went to sleep or was taken off the CPU. */
static unsigned long process_switches(pid_t pid)
{
	return status_of(pid, "voluntary_ctxt_switches:");
}

/* A worker with 1,000 connections, each of which sent and received a message. */
static struct server *idle_server(int clients[IDLE_CLIENTS], const char *watchdog)
{
	struct server *server;

	raise_descriptor_limit();
	server = SERVER("--workers", "1", "--watchdog", watchdog, "echo://127.0.0.1:0");
	for (int i = 0; i < IDLE_CLIENTS; i++) {
		clients[i] = connect_to(server->ports[0]);
		send_text(clients[i], "hello");
		expect_text(clients[i], "hello");
	}
	wait_asleep(server->pid);
	wait_asleep(server_worker(server, 0));
	return server;
}

/* A process that was not woken has made no call: this can be seen without strace, too. n is how
 * many processes have to stay idle: 1 is the worker, 2 its master too, which for the watchdog looks
 * at the worker's counters. */
static void stay_idle(bool traced, const char *watchdog, int n, int idle_ms)
{
	int clients[IDLE_CLIENTS];
	struct server *server = idle_server(clients, watchdog);
	pid_t pids[2] = {server_worker(server, 0), server->pid};
	struct trace *traces[2];
	unsigned long switches[2];
	uint64_t harvests;

	for (int i = 0; traced && i < n; i++)
		traces[i] = trace_begin(pids[i]);
	harvests = server_stat(server, "harvests");
	for (int i = 0; i < n; i++)
		switches[i] = process_switches(pids[i]);
	/* The test needs some time in which nothing may happen. */
	(void)poll(NULL, 0, idle_ms);
	for (int i = 0; i < n; i++)
		ck_assert_uint_eq(process_switches(pids[i]), switches[i]);
	ck_assert_uint_eq(server_stat(server, "harvests"), harvests);
	for (int i = 0; traced && i < n; i++) {
		trace_window(traces[i]);
		figure(i ? "calls of their master meanwhile" : "calls with 1,000 idle connections",
		       (double)traces[i]->calls_n, "calls");
		ck_assert_uint_eq(traces[i]->calls_n, 0);
	}
	/* Now it makes calls, which shows that the right process was looked at. */
	send_text(clients[7], "again");
	expect_text(clients[7], "again");
	if (traced) {
		trace_window(traces[0]);
		ck_assert_uint_eq(traces[0]->calls_n, 3);
		for (int i = 0; i < n; i++)
			trace_end(traces[i]);
	}
	ck_assert_uint_gt(process_switches(pids[0]), switches[0]);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(idleness_wakes_nobody)
{
	stay_idle(false, "10s", 1, 1000);
	stay_idle(false, "0", 2, 1000);
}
END_TEST

START_TEST(idleness_costs_no_call)
{
	if (tracing_works("1,000 idle connections cost no call in a second"))
		stay_idle(true, "10s", 1, 1000);
}
END_TEST

START_TEST(long_idleness_wakes_nobody)
{
	stay_idle(false, "10s", 1, 5000);
	stay_idle(false, "0", 2, 5000);
}
END_TEST

START_TEST(long_idleness_costs_no_call)
{
	if (tracing_works("1,000 idle connections cost no call in 5 s"))
		stay_idle(true, "10s", 1, 5000);
}
END_TEST

SUITE("syscalls", {"three calls a message in ping-pong", three_calls_a_message, 60},
      {"50 connections at most 2.2 calls a message", many_connections_share_waits, 60},
      {"the calls of a life, reuseport and handoff", lives_in_reuseport_and_handoff, 60},
      {"the calls of a life, accept=shared", life_in_shared, 60},
      {"one accept4 for each client that comes and is silent", quiet_arrivals, 60},
      {"a half-close needs no shutdown", half_close_needs_no_lingering, 60},
      {"a shutdown while bytes are owed", lingers_where_bytes_are_owed, 60},
      {"1,000 idle connections wake nobody in a second", idleness_wakes_nobody, 60},
      {"1,000 idle connections cost no call in a second", idleness_costs_no_call, 60},
      {"1,000 idle connections wake nobody in 5 s", long_idleness_wakes_nobody, 60,
       .kind = SUITE_LONG},
      {"1,000 idle connections cost no call in 5 s", long_idleness_costs_no_call, 60,
       .kind = SUITE_LONG})
