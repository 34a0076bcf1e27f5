/*
 * How much of a worker's memory a connection takes: 10,000 idle ones, each of which has sent and
 * received a message; and that no memory is lost, however often they leave and come again.
 *
 * Only the worker's anonymous memory counts (smaps_rollup, which walks the pages; without it
 * process_memory, which may be some pages off). SLACK is what a worker may keep of the memory
 * it used: 64 KiB of connections, 64 KiB of segments, pages of its stack and of bitmaps that
 * were used for the first time; and, if chunks were in use, 4 MiB of them.
 *
 * Not seen: the kernel's memory for a socket, which is far more than weir's, and page tables.
 * Skipped under AddressSanitizer, which uses memory of its own.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/support/harness.h"

#define CLIENTS	     10000
#define EACH_MAX     192 /* bytes */
#define SLACK	     (512u << 10)
#define CHUNKS_SPARE (4u << 20)
#define PAGE	     4096

static int clients[CLIENTS];

static size_t memory_of(pid_t pid)
{
	char path[64], line[128];
	size_t kib = 0;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return process_memory(pid);
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "Anonymous: %zu kB", &kib) == 1)
			break;
	(void)fclose(file);
	ck_assert_uint_gt(kib, 0);
	return kib * 1024;
}

static void figure(const char *what, double value, const char *unit)
{
	(void)printf("FIGURE %s: %.1f %s\n", what, value, unit);
	(void)fflush(stdout);
}

static bool can_measure(const char *test)
{
	struct rlimit limit;

	raise_descriptor_limit();
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	if (suite_sanitized())
		suite_skip(test, "a sanitizer's memory is not the product's");
	else if (limit.rlim_cur < CLIENTS + 100)
		suite_skip(test, "the hard limit of descriptors is below 10,100");
	else
		return true;
	return false;
}

static int connect_nth(const struct server *server, int n)
{
	char host[32];

	/* With one address connect() would be slow, as half of its ports would be in use. */
	(void)snprintf(host, sizeof host, "127.0.0.%d", 1 + n % 16);
	return connect_to_host(host, server->ports[0]);
}

/* n clients connect, and each has a message returned; a few at a time, fewer than the backlog. */
static void come(const struct server *server, int n)
{
	for (int begin = 0; begin < n; begin += 500) {
		int end = begin + 500 < n ? begin + 500 : n;

		for (int i = begin; i < end; i++) {
			clients[i] = connect_nth(server, i);
			send_text(clients[i], "a message of some length\n");
		}
		for (int i = begin; i < end; i++)
			expect_text(clients[i], "a message of some length\n");
	}
	server_wait_stat_is(server, "connections", (uint64_t)n);
}

static void leave(const struct server *server, int n, bool with_reset)
{
	for (int i = 0; i < n; i++) {
		if (with_reset)
			reset(clients[i]);
		else
			(void)close(clients[i]);
	}
	server_wait_stat_is(server, "connections", 0);
}

static void expect_small(size_t base, size_t now, int n, const char *what)
{
	double each = now > base ? (double)(now - base) / n : 0;

	figure(what, each, "bytes");
	ck_assert_msg(each <= EACH_MAX, "%s: %.1f bytes, not %d at most", what, each, EACH_MAX);
	/* Less than the size of a connection would mean that the wrong thing is measured. */
	ck_assert_msg(each >= 64, "%s: %.1f bytes, which can't be", what, each);
}

START_TEST(idle_connections_are_small)
{
	struct server *server;
	size_t base;
	pid_t pid;

	if (!can_measure("10,000 idle connections, 192 bytes each at most"))
		return;
	server = SERVER("--workers", "1", "echo://0.0.0.0:0");
	pid = server_worker(server, 0);
	come(server, 1);
	leave(server, 1, false);
	base = memory_of(pid);
	come(server, CLIENTS);
	expect_small(base, memory_of(pid), CLIENTS, "memory of one of 10,000 idle connections");
	leave(server, CLIENTS, false);
	ck_assert_uint_le(memory_of(pid), base + SLACK);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* With two workers a connection costs the same, and it costs no memory of the master. */
static void two_and_their_master(int n)
{
	struct server *server;
	size_t base[3], now[3];
	pid_t pids[3];

	if (!can_measure("idle connections, accept=handoff"))
		return;
	server = SERVER("--workers", "2", "--accept", "handoff", "echo://0.0.0.0:0");
	pids[0] = server_worker(server, 0);
	pids[1] = server_worker(server, 1);
	pids[2] = server->pid;
	come(server, 2);
	leave(server, 2, false);
	for (int i = 0; i < 3; i++)
		base[i] = memory_of(pids[i]);
	come(server, n);
	for (int i = 0; i < 3; i++)
		now[i] = memory_of(pids[i]);
	expect_small(base[0] + base[1], now[0] + now[1], n,
		     "memory of an idle connection, two workers");
	ck_assert_uint_le(now[2], base[2] + SLACK);
	leave(server, n, true);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_le(memory_of(pids[i]), base[i] + SLACK);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

static void memory_comes_back(int n, int times)
{
	struct server *server;
	size_t base, full, first_full = 0, empty, first_empty = 0, worst = 0;
	pid_t pid;

	if (!can_measure("connections leave nothing"))
		return;
	server = SERVER("--workers", "1", "echo://0.0.0.0:0");
	pid = server_worker(server, 0);
	come(server, 1);
	leave(server, 1, false);
	base = memory_of(pid);
	for (int time = 0; time < times; time++) {
		come(server, n);
		full = memory_of(pid);
		leave(server, n, time % 2);
		empty = memory_of(pid);
		if (!time) {
			first_full = full;
			first_empty = empty;
		}
		worst = empty > worst ? empty : worst;
		/* Connections may be spread over a few more pages than before. */
		ck_assert_uint_le(full, first_full + 16 * PAGE);
		ck_assert_uint_le(empty, first_empty + 16 * PAGE);
		ck_assert_uint_le(empty, base + SLACK);
	}
	figure("memory kept after connections that came and went",
	       worst > base ? (double)(worst - base) / 1024 : 0, "KiB");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(two_workers_and_their_master)
{
	two_and_their_master(3000);
}
END_TEST

START_TEST(ten_thousand_at_two_workers)
{
	two_and_their_master(CLIENTS);
}
END_TEST

START_TEST(memory_comes_back_each_time)
{
	memory_comes_back(2000, 4);
}
END_TEST

START_TEST(memory_comes_back_ten_times)
{
	memory_comes_back(CLIENTS, 10);
}
END_TEST

/* A part of a line is kept in a chunk of fitting size; after a whole line none is kept. */
START_TEST(whole_lines_hold_no_chunk)
{
	enum { LINES = 3000, LONG = 3000, SMALLEST = 256 };
	static char text[LONG + 1], answer[4 + LONG + 5];
	struct server *server;
	size_t base, begun, partial, whole;
	uint64_t received;
	pid_t pid;

	if (!can_measure("a line that is whole holds no chunk"))
		return;
	server = SERVER("--workers", "1", "--request-timeout", "0", "line://0.0.0.0:0");
	pid = server_worker(server, 0);
	come(server, 1);
	leave(server, 1, false);
	base = memory_of(pid);
	come(server, LINES);
	received = server_stat(server, "received_bytes");
	for (int i = 0; i < LINES; i++)
		send_text(clients[i], "part");
	server_wait_stat(server, "received_bytes", received + 4 * (uint64_t)LINES);
	begun = memory_of(pid);
	ck_assert_uint_le(begun, base + (EACH_MAX + SMALLEST) * (size_t)LINES + SLACK);
	memset(text, 'x', LONG);
	for (int i = 0; i < LINES; i++)
		send_text(clients[i], text);
	server_wait_stat(server, "received_bytes", received + (4 + LONG) * (uint64_t)LINES);
	partial = memory_of(pid);
	ck_assert_uint_ge(partial, base + LINES * (size_t)PAGE);
	ck_assert_uint_le(partial, base + (EACH_MAX + PAGE + SMALLEST) * (size_t)LINES + SLACK);
	for (int i = 0; i < LINES; i++)
		send_text(clients[i], "ial\n");
	(void)snprintf(answer, sizeof answer, "part%sial\n", text);
	for (int i = 0; i < LINES; i++)
		expect_text(clients[i], answer);
	/* The reply is sent before the chunk is given back, so wait for one more turn. */
	send_text(clients[LINES - 1], "last\n");
	expect_text(clients[LINES - 1], "last\n");
	whole = memory_of(pid);
	figure("memory of a connection with 4 bytes of a line", (double)(begun - base) / LINES,
	       "bytes");
	figure("memory of a connection with 3,000 bytes of a line",
	       (double)(partial - base) / LINES, "bytes");
	figure("memory kept when 3,000 half lines were completed",
	       whole > base ? (double)(whole - base) / 1024 : 0, "KiB");
	ck_assert_uint_le(whole, base + EACH_MAX * (size_t)LINES + SLACK + CHUNKS_SPARE);
	ck_assert_uint_lt(whole, base + (partial - base) / 2);
	leave(server, LINES, false);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* With buffers for 64 chunks, 500 connections come and stay, and each has sent half a line before.
 * If each kept a chunk there would be none for later ones. This test measures no memory, so it
 * runs under a sanitizer too. */
START_TEST(idle_connections_own_no_chunk)
{
	enum { LINES = 500 };
	struct server *server = SERVER("--workers", "1", "--buffers", "1M", "line://0.0.0.0:0");

	for (int i = 0; i < LINES; i++) {
		uint64_t received = server_stat(server, "received_bytes");

		clients[i] = connect_nth(server, i);
		send_text(clients[i], "half a li");
		server_wait_stat(server, "received_bytes", received + 9);
		send_text(clients[i], "ne\n");
		expect_text(clients[i], "half a line\n");
	}
	ck_assert_uint_eq(server_stat(server, "connections"), LINES);
	ck_assert_uint_eq(server_stat(server, "buffer_waits"), 0);
	ck_assert_uint_ge(server_stat(server, "chunks_max"), 1);
	ck_assert_uint_le(server_stat(server, "chunks_max"), 2);
	leave(server, LINES, false);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("memory", {"10,000 idle connections, 192 bytes each at most", idle_connections_are_small, 60},
      {"idle connections, accept=handoff", two_workers_and_their_master, 60},
      {"10,000 idle connections, accept=handoff", ten_thousand_at_two_workers, 60,
       .kind = SUITE_LONG},
      {"connections leave nothing each time", memory_comes_back_each_time, 60},
      {"ten times 10,000 connections leave nothing", memory_comes_back_ten_times, 180,
       .kind = SUITE_LONG},
      {"a line that is whole holds no chunk", whole_lines_hold_no_chunk, 60},
      {"idle connections own no chunk", idle_connections_own_no_chunk, 60})
