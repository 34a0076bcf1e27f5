/*
 * How many system calls a chat line costs, counted with strace on the real server: many lines to a
 * client are sent by one write, and a single line takes one write for each client.
 *
 * Tracing slows the server down, so that more lines come together than without it; they do so
 * under load, too.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/trace.h"

#define CLIENTS 50
#define LINES	2000
#define LINE	"a line of thirty-two bytes, all.\n"

static struct server *server;
static int clients[CLIENTS];

static void come(const char *workers)
{
	server = SERVER("-w", workers, "chat://127.0.0.1:0");
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = connect_to(server->ports[0]);
		/* One by one, so that clients[i] is member i of the worker. */
		server_wait_stat(server, "members_joined", (uint64_t)i + 1);
	}
}

static void go(void)
{
	for (int i = 0; i < CLIENTS; i++)
		(void)close(clients[i]);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

static void hear(int client, unsigned lines)
{
	for (unsigned i = 0; i < lines; i++)
		expect_text(client, LINE);
}

START_TEST(a_lone_line_is_one_write_each)
{
	struct trace *trace;

	if (!tracing_works("a lone line is one write for each client"))
		return;
	come("1");
	trace = trace_begin(server_worker(server, 0));
	for (unsigned i = 0; i < 10; i++) {
		send_text(clients[0], LINE);
		for (int j = 1; j < CLIENTS; j++)
			hear(clients[j], 1);
	}
	trace_window(trace);
	ck_assert_uint_eq(calls_of(trace, "read", ""), 10);
	ck_assert_uint_eq(calls_of(trace, "write", "") + calls_of(trace, "writev", ""),
			  10 * (CLIENTS - 1));
	(void)printf("FIGURE calls a delivery, a lone line to %d clients: %.3f calls\n",
		     CLIENTS - 1, (double)trace->calls_n / (10 * (CLIENTS - 1)));
	trace_end(trace);
	go();
}
END_TEST

START_TEST(many_lines_go_out_in_one_write)
{
	static char lines[LINES * sizeof LINE];
	uint64_t deliveries;
	struct trace *trace;
	size_t writes;

	if (!tracing_works("many lines go out in one write"))
		return;
	come("1");
	for (unsigned i = 0; i < LINES; i++)
		(void)strcat(lines + i * (sizeof LINE - 1), LINE);
	trace = trace_begin(server_worker(server, 0));
	send_all(clients[0], lines, LINES * (sizeof LINE - 1));
	for (int j = 1; j < CLIENTS; j++)
		hear(clients[j], LINES);
	trace_window(trace);
	writes = calls_of(trace, "write", "") + calls_of(trace, "writev", "");
	deliveries = server_stat(server, "deliveries");
	ck_assert_uint_eq(deliveries, (uint64_t)LINES * (CLIENTS - 1));
	(void)printf("FIGURE writes for %llu deliveries of lines that come together: %zu calls\n",
		     (unsigned long long)deliveries, writes);
	/* At most a chunk of 16 KiB, or what one read brings, is written at once. */
	ck_assert_uint_le(writes, 16 * (CLIENTS - 1));
	trace_end(trace);
	go();
}
END_TEST

/* Only a worker that sleeps gets a doorbell: an idle worker is woken once for lines that come
 * together. */
START_TEST(a_sleeper_is_woken_once)
{
	uint64_t doorbells;

	come("2");
	doorbells = server_stat(server, "bells");
	for (unsigned i = 0; i < 10; i++) {
		send_text(clients[0], LINE);
		for (int j = 1; j < CLIENTS; j++)
			hear(clients[j], 1);
	}
	doorbells = server_stat(server, "bells") - doorbells;
	ck_assert_uint_le(doorbells, 10);
	ck_assert_uint_gt(doorbells, 0);
	(void)printf("FIGURE doorbells for 10 lone lines to another worker: %llu\n",
		     (unsigned long long)doorbells);
	go();
}
END_TEST

START_TEST(idle_members_cost_no_call)
{
	struct trace *traces[2];

	if (!tracing_works("idle members cost no call"))
		return;
	come("2");
	for (unsigned w = 0; w < 2; w++)
		traces[w] = trace_begin(server_worker(server, w));
	(void)usleep(1000000); /* no wait: the time in which calls are counted */
	for (unsigned w = 0; w < 2; w++) {
		trace_window(traces[w]);
		ck_assert_uint_eq(traces[w]->calls_n, 0);
		trace_end(traces[w]);
	}
	go();
}
END_TEST

SUITE("chat calls", {"a lone line is one write for each client", a_lone_line_is_one_write_each, 30},
      {"many lines go out in one write", many_lines_go_out_in_one_write, 30},
      {"a sleeper is woken once", a_sleeper_is_woken_once, 30},
      {"idle members cost no call", idle_members_cost_no_call, 30})
