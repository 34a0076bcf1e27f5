/*
 * The counters of a running server are right: those of system calls are compared with strace's,
 * gauges with what the test knows, also after moves and deaths, and messages with the clients'.
 *
 * Not tested: calls that the C library makes on its own (none while serving), and whether the
 * loop's time is right to the microsecond (tests/sim/sim_lag.c).
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/stream/queue.h"
#include "tests/support/server_control.h"
#include "tests/support/trace.h"

/* So that weir still reads from clients that do not read. */
#define BIG_QUEUES "--high-water", "16M", "--low-water", "8M", "--max-connections", "50"

/* ---- system calls ---- */

#define CLIENTS 20
#define MUCH	(8u << 20)

/* The kernel's name of a call that the C library calls by its old name. */
static const char *kernel_name(const char *name)
{
	static const char *const others[][2] = {
	    {"pread", "pread64"},      {"eventfd", "eventfd2"},
	    {"signalfd", "signalfd4"}, {"sigprocmask", "rt_sigprocmask"},
	    {"fstat", "newfstatat"},
	};

	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (strcmp(name, others[i][0]) == 0)
			return others[i][1];
	return name;
}

static int connect_datagrams(unsigned port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	return fd;
}

static void load_streams(const struct server *server)
{
	static unsigned char bytes[MUCH];
	int fds[CLIENTS];

	for (int i = 0; i < CLIENTS; i++)
		fds[i] = connect_to(server->ports[i % 3]);
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < CLIENTS; i++)
			send_text(fds[i], "a line\n");
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < CLIENTS; i++)
			if (i % 3 != 2)
				expect_text(fds[i], "a line\n");
	/* More than the kernel takes: short writes, queues, and EPOLLOUT. */
	set_buffers(fds[0], 0, 1 << 16);
	fill_random(bytes, sizeof bytes, 1);
	send_all(fds[0], bytes, sizeof bytes);
	expect_bytes(fds[0], bytes, sizeof bytes);
	for (int i = 0; i < CLIENTS; i++) {
		if (i % 4 == 0)
			reset(fds[i]);
		else
			(void)close(fds[i]);
	}
	server_wait_stat_is(server, "closed", CLIENTS);
}

static void load_datagrams(unsigned port)
{
	int fd = connect_datagrams(port);

	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq((int)send(fd, "datagram", 8, 0), 8);
		expect_text(fd, "datagram");
	}
	(void)close(fd);
}

static void read_calls(const struct server *server, uint64_t calls[])
{
	for (size_t i = 0; i < stats_rows_n; i++)
		if (strncmp(stats_rows[i].name, "calls_", 6) == 0)
			calls[i] = server_worker_stat(server, 0, stats_rows[i].name);
}

START_TEST(calls_are_those_that_strace_sees)
{
	uint64_t before[512] = {0}, after[512] = {0}, all = 0;
	size_t names = 0;
	struct server *server;
	struct trace *trace;
	pid_t pid;

	if (!tracing_works("calls are those that strace sees"))
		return;
	ck_assert_uint_le(stats_rows_n, 512);
	server = SERVER("-w", "1", BIG_QUEUES, "echo://127.0.0.1:0", "line://127.0.0.1:0",
			"discard://127.0.0.1:0", "echo+udp://127.0.0.1:0");
	pid = server_wait_worker(server, 0, 0);
	trace = trace_begin(pid); /* it sleeps in a wait that is counted, and not in the window */
	read_calls(server, before);
	load_streams(server);
	load_datagrams(server->ports[3]);
	wait_asleep(pid);
	read_calls(server, after);
	trace_window(trace); /* ends with a wait that is counted, and not in the window */
	for (size_t i = 0; i < stats_rows_n; i++) {
		size_t seen;

		if (strncmp(stats_rows[i].name, "calls_", 6) != 0)
			continue;
		seen = calls_of(trace, kernel_name(stats_rows[i].value), "");
		ck_assert_msg(after[i] - before[i] == seen, "%s: %llu, strace has %zu",
			      stats_rows[i].value, (unsigned long long)(after[i] - before[i]),
			      seen);
		all += seen;
		names += seen != 0;
	}
	ck_assert_msg(trace->calls_n == all, "strace has %zu calls, the rows %llu", trace->calls_n,
		      (unsigned long long)all);
	(void)printf("FIGURE %llu calls of %zu names, counted as strace counts them\n",
		     (unsigned long long)all, names);
	ck_assert_uint_ge(names, 8);
	trace_end(trace);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- what is there now ---- */

#define OWED (6u << 20)

static unsigned char owed[OWED];

/* Connects a client that is owed more than the kernel takes. */
static int debtor(const struct server *server)
{
	int fd = connect_to(server->ports[0]);
	uint64_t before = server_stat(server, "received_bytes");

	set_buffers(fd, 0, 1 << 16);
	fill_random(owed, sizeof owed, 3);
	send_all(fd, owed, sizeof owed);
	server_wait_stat(server, "received_bytes", before + sizeof owed);
	return fd;
}

static void collect(int fd)
{
	expect_bytes(fd, owed, sizeof owed);
	(void)close(fd);
}

/* The counters agree with each other: what is owed is in chunks. */
static void expect_queued(const struct server *server, unsigned clients)
{
	struct wait wait = wait_begin();
	uint64_t queued = server_stat(server, "queued_bytes");

	ck_assert_uint_gt(queued, (uint64_t)clients << 20);
	ck_assert_uint_le(queued, (uint64_t)clients * OWED);
	/* The worker updates the two one after the other: first it counts the bytes as sent, then
	 * no more as queued. */
	while (server_stat(server, "sent_bytes") + server_stat(server, "queued_bytes") !=
	       server_stat(server, "received_bytes"))
		wait_more(&wait, "what was received to be sent or queued");
	ck_assert_uint_ge(server_stat(server, "chunks") * CHUNK_SIZE, queued);
}

static void expect_empty(const struct server *server)
{
	static const char *const gauges[] = {"queued_bytes", "chunks", "connections"};

	for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
		server_wait_stat_is(server, gauges[i], 0);
}

START_TEST(gauges_follow_connections_that_move)
{
	static const enum server_control changes[] = {SERVER_CONTROL_RELOAD, SERVER_CONTROL_UPGRADE,
						      SERVER_CONTROL_FEWER, SERVER_CONTROL_MORE};
	struct server *server = CONTROLLED("-w", "2", BIG_QUEUES, "echo://127.0.0.1:0");
	int fds[2];

	for (int i = 0; i < 2; i++)
		fds[i] = debtor(server);
	expect_queued(server, 2);
	ck_assert_uint_eq(server_stat(server, "connections_capacity"), 100);
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
		uint64_t workers = changes[i] == SERVER_CONTROL_FEWER ? 1 : 2;

		(void)server_control_make(server, changes[i]);
		/* The old workers are gone, and are not counted. */
		server_wait_stat_is(server, "connections_capacity", 50 * workers);
		expect_queued(server, 2);
		ck_assert_uint_eq(server_stat(server, "connections"), 2);
	}
	for (int i = 0; i < 2; i++)
		collect(fds[i]);
	expect_empty(server);
	server_control_expect_no_loss(server);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(gauges_of_the_dead_are_cleared)
{
	struct server *server = SERVER("-w", "1", BIG_QUEUES, "echo://127.0.0.1:0");
	uint64_t chunks = server_stat(server, "chunks_capacity");
	pid_t pid = server_wait_worker(server, 0, 0);
	int fd = debtor(server);

	ck_assert_uint_gt(chunks, 0);
	expect_queued(server, 1);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	server_wait_stat_is(server, "closed_worker_died", 1);
	(void)server_wait_worker(server, 0, pid);
	expect_empty(server);
	server_wait_stat_is(server, "asleep", 1); /* the next one, which has its own room */
	ck_assert_uint_eq(server_stat(server, "connections_capacity"), 50);
	ck_assert_uint_eq(server_stat(server, "chunks_capacity"), chunks);
	expect_reset_or_end(fd);
	(void)close(fd);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	for (size_t i = 0; i < stats_rows_n; i++)
		if (stats_rows[i].kind == STATS_GAUGE)
			ck_assert_uint_eq(server_stat(server, stats_rows[i].name), 0);
}
END_TEST

/* Even if there is no master to clear them. */
START_TEST(a_worker_leaves_no_gauges)
{
	struct server *server = SERVER("-w", "1", "--no-master", BIG_QUEUES, "echo://127.0.0.1:0");
	int fd = debtor(server);

	expect_queued(server, 1);
	ck_assert_uint_eq(server_stat(server, "connections_capacity"), 50);
	ck_assert_int_eq(server_stop(server, SIGQUIT), 0);
	(void)close(fd);
	for (size_t i = 0; i < stats_rows_n; i++)
		if (stats_rows[i].kind == STATS_GAUGE)
			ck_assert_uint_eq(server_stat(server, stats_rows[i].name), 0);
	ck_assert_uint_gt(server_stat(server, "calls_read"), 0);
}
END_TEST

/* ---- messages ---- */

START_TEST(messages_are_counted_both_ways)
{
	struct server *server =
	    SERVER("-w", "2", "line://127.0.0.1:0", "frame://127.0.0.1:0", "chat://127.0.0.1:0");
	int line = connect_to(server->ports[0]), frame = connect_to(server->ports[1]), chat[3];

	send_text(line, "one\ntwo\nthree\nhalf of");
	expect_text(line, "one\ntwo\nthree\n");
	server_wait_stat_is(server, "messages_sent", 3);
	send_all(frame, "\0\0\0\1a\0\0\0\0\0\0\0\2bc", 15);
	expect_bytes(frame, "\0\0\0\1a\0\0\0\0\0\0\0\2bc", 15);
	server_wait_stat_is(server, "messages_sent", 6);
	ck_assert_uint_eq(server_stat(server, "messages"), 6);
	/* One line is sent to each of the two others. */
	for (int i = 0; i < 3; i++)
		chat[i] = connect_to(server->ports[2]);
	server_wait_stat_is(server, "members_joined", 3);
	send_text(chat[0], "to you\n");
	expect_text(chat[1], "to you\n");
	expect_text(chat[2], "to you\n");
	server_wait_stat_is(server, "messages", 7);
	server_wait_stat_is(server, "messages_sent", 8);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- time ---- */

/* A worker's times add up to the time that has passed; each pass of the loop is counted as a
 * lag. */
START_TEST(time_goes_on)
{
	uint64_t began_ms = now_ms(), lags = 0, us;
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0");
	pid_t pid = server_wait_worker(server, 0, 0);
	int fd = connect_to(server->ports[0]);

	for (int i = 0; i < 200; i++) {
		send_text(fd, "hello");
		expect_text(fd, "hello");
	}
	server_wait_stat_is(server, "asleep", 1);
	wait_asleep(pid);
	us = server_stat(server, "loop_busy_us") + server_stat(server, "loop_wait_us");
	ck_assert_uint_gt(server_stat(server, "loop_busy_us"), 0);
	ck_assert_uint_gt(server_stat(server, "loop_wait_us"), 0);
	ck_assert_uint_le(us / 1000, now_ms() - began_ms + 1);
	for (size_t i = 0; i < stats_rows_n; i++)
		if (stats_rows[i].kind == STATS_BUCKET)
			lags += server_stat(server, stats_rows[i].name);
	ck_assert_uint_eq(lags, server_stat(server, "harvests"));
	ck_assert_uint_ge(lags, 200);
	(void)close(fd);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("counters", {"calls are those that strace sees", calls_are_those_that_strace_sees, 60},
      {"gauges follow connections that move", gauges_follow_connections_that_move, 60},
      {"gauges of the dead are cleared", gauges_of_the_dead_are_cleared, 30},
      {"a worker leaves no gauges", a_worker_leaves_no_gauges, 30},
      {"messages are counted both ways", messages_are_counted_both_ways, 30},
      {"time goes on", time_goes_on, 30})
