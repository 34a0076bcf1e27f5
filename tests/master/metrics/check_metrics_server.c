/*
 * The metrics address of a running weir: its resources over HTTP; figures agree with the
 * scoreboard; scrapes cost the workers nothing, and clients do not disturb each other. Changes of
 * the server are in check_metrics_change, the form of the text in check_metrics.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master/metrics/metrics.h"
#include "master/metrics/page.h"
#include "tests/support/clients/scraper.h"
#include "tests/support/trace.h"

#define METRICS "--metrics", "127.0.0.1:0"

static void echo_once(struct server *server)
{
	int fd = connect_to(server->ports[0]);

	send_text(fd, "hello");
	expect_text(fd, "hello");
	(void)close(fd);
}

static void end(struct server *server)
{
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

static void expect_head(const struct reply *reply, const char *line)
{
	char whole[512];

	(void)snprintf(whole, sizeof whole, "\r\n%s\r\n", line);
	ck_assert_msg(strstr(reply->head, whole) != NULL, "\"%s\" is not in:\n%s", line,
		      reply->head);
}

/* ---- resources ---- */

START_TEST(each_resource_is_served)
{
	struct server *server = SERVER("--workers", "1", METRICS, "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	int fd = connect_to(port);
	struct reply *reply = get_on(fd, "/metrics?x=1");

	ck_assert_int_eq(reply->status, 200);
	expect_head(reply, "Content-Type: text/plain; version=0.0.4; charset=utf-8");
	expect_head(reply, "Cache-Control: no-store");
	ck_assert_ptr_null(strstr(reply->head, "Connection:"));
	expect_sample(reply->body, "weir_workers", "1");
	/* All on one connection. */
	reply = get_on(fd, "/healthz");
	ck_assert_int_eq(reply->status, 200);
	ck_assert_str_eq(reply->body, "ok\n");
	reply = get_on(fd, "/readyz");
	ck_assert_int_eq(reply->status, 200);
	ck_assert_str_eq(reply->body, "ok\n");
	reply = get_on(fd, "/");
	ck_assert_int_eq(reply->status, 200);
	expect_head(reply, "Content-Type: " PAGE_TYPE);
	expect_head(reply, "Content-Security-Policy: " PAGE_POLICY);
	ck_assert_uint_eq(reply->body_n, page_html_n);
	ck_assert_mem_eq(reply->body, page_html, page_html_n);
	reply = get_on(fd, "/metrics/");
	ck_assert_int_eq(reply->status, 404);
	reply = ask(fd, "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert_int_eq(reply->status, 405);
	expect_head(reply, "Allow: GET, HEAD");
	reply = get_on(fd, "/healthz");
	ck_assert_int_eq(reply->status, 200);
	end(server);
}
END_TEST

START_TEST(head_is_get_without_its_body)
{
	static const char *const paths[] = {"/", "/healthz", "/readyz", "/metrics", "/none"};
	struct server *server = SERVER("--workers", "1", METRICS, "echo://127.0.0.1:0");
	int fd = connect_to(metrics_port(server));
	char request[128];

	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		struct reply *head, *whole = get_on(fd, paths[i]);

		(void)snprintf(request, sizeof request, "HEAD %s HTTP/1.1\r\nHost: x\r\n\r\n",
			       paths[i]);
		head = ask(fd, request);
		ck_assert_int_eq(head->status, whole->status);
		if (strcmp(paths[i], "/metrics") != 0) /* whose numbers change */
			ck_assert_uint_eq(head->body_n, whole->body_n);
		ck_assert_uint_gt(head->body_n, 0);
	}
	end(server);
}
END_TEST

START_TEST(requests_may_come_together_or_in_bytes)
{
	static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
	struct server *server = SERVER("--workers", "1", METRICS, "echo://127.0.0.1:0");
	int fd = connect_to(metrics_port(server));

	for (int i = 0; i < 20; i++)
		send_text(fd, i % 2 ? request : "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
	finish_sending(fd);
	for (int i = 0; i < 20; i++) {
		struct reply *reply = read_reply(fd, false);

		ck_assert_int_eq(reply->status, 200);
		ck_assert_int_eq(i % 2, reply->body_n != 3);
	}
	expect_end(fd);
	fd = connect_to(metrics_port(server));
	for (const char *at = request; *at; at++)
		send_all(fd, at, 1);
	ck_assert_int_eq(read_reply(fd, false)->status, 200);
	end(server);
}
END_TEST

static void expect_closing(unsigned port, const char *request, int status)
{
	int fd = connect_to(port);
	struct reply *reply = ask(fd, request);

	ck_assert_msg(reply->status == status, "%s gets %s", request, reply->head);
	expect_head(reply, "Connection: close");
	expect_end(fd);
	(void)close(fd);
}

START_TEST(what_must_end_ends)
{
	struct server *server = SERVER("--workers", "1", METRICS, "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	int fd;

	expect_closing(port, "GET /healthz HTTP/1.0\r\n\r\n", 200);
	expect_closing(port, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200);
	expect_closing(port, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		       200);
	expect_closing(
	    port, "POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 405);
	expect_closing(port, "nonsense\r\n\r\n", 400);
	expect_closing(port, "GET /metrics HTTP/1.1\r\n\r\n", 400);
	expect_closing(port, "GET /metrics HTTP/3.0\r\nHost: x\r\n\r\n", 505);
	expect_closing(port, "HEAD /metrics HTTP/1.1\r\n\r\n", 400);
	expect_closing(port, "HEAD /metrics HTTP/3.0\r\nHost: x\r\n\r\n", 505);
	expect_closing(port, "CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405);
	fd = connect_to(port);
	ck_assert_ptr_nonnull(
	    strstr(ask(fd, "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")->head,
		   "\r\nConnection: keep-alive\r\n"));
	ck_assert_int_eq(get_on(fd, "/healthz")->status, 200);
	end(server);
}
END_TEST

START_TEST(curl_and_promtool_take_it)
{
	struct server *server = SERVER("--workers", "2", METRICS, "echo://127.0.0.1:0");
	char command[256];

	if (!command_exists("curl") || !command_exists("promtool")) {
		suite_skip("curl and promtool take it", "curl or promtool is not installed");
		return;
	}
	(void)snprintf(
	    command, sizeof command,
	    "curl -sf --max-time 600 http://127.0.0.1:%u/metrics | promtool check metrics",
	    metrics_port(server));
	ck_assert_int_eq(system(command), 0);
	end(server);
}
END_TEST

/* ---- figures ---- */

/* The worker is idle, so its counters do not change. */
START_TEST(figures_are_those_of_the_scoreboard)
{
	struct server *server = SERVER("--workers", "2", METRICS, "echo://127.0.0.1:0",
				       "line://127.0.0.1:0", "chat://127.0.0.1:0");
	char *text, series[256], value[32];
	int held = connect_to(server->ports[1]);

	for (int i = 0; i < 40; i++)
		echo_once(server);
	send_text(held, "one\ntwo\n");
	expect_text(held, "one\ntwo\n");
	server_wait_stat(server, "closed_eof", 40);
	for (unsigned i = 0; i < 2; i++)
		wait_asleep(server_worker(server, i));
	text = scrape_at(metrics_port(server));
	for (size_t row = 0; row < stats_rows_n; row++) {
		const struct stats_row *at = &stats_rows[row];

		if (at->kind == STATS_TIME || at->kind == STATS_BUCKET || at->kind == STATS_SUM)
			continue; /* they are in check_metrics */
		for (unsigned i = 0; i < 2; i++) {
			(void)snprintf(series, sizeof series, "%s{worker=\"%u\"%s%s%s%s}",
				       at->metric, i, at->label ? "," : "",
				       at->label ? at->label : "", at->label ? "=\"" : "",
				       at->label ? at->value : "");
			if (at->label) /* its end quote */
				(void)snprintf(series + strlen(series) - 1, 4, "\"}");
			(void)snprintf(value, sizeof value, "%llu",
				       (unsigned long long)server_worker_stat(server, i, at->name));
			expect_sample(text, series, value);
		}
	}
	ck_assert_uint_eq(sample(text, "weir_connections{worker=\"0\"}") +
			      sample(text, "weir_connections{worker=\"1\"}"),
			  1);
	ck_assert_uint_eq(sample(text, "weir_messages_received_total{worker=\"0\"}") +
			      sample(text, "weir_messages_received_total{worker=\"1\"}"),
			  2);
	for (unsigned i = 0; i < 2; i++) {
		(void)snprintf(series, sizeof series, "weir_worker_pid{worker=\"%u\"}", i);
		ck_assert_uint_eq(sample(text, series), (uint64_t)server_worker(server, i));
	}
	ck_assert_uint_gt(sample(text, "weir_worker_resident_memory_bytes{worker=\"0\"}"), 0);
	end(server);
}
END_TEST

/* ---- what it costs ---- */

START_TEST(scrapes_cost_the_workers_not_one_call)
{
	struct server *server;
	struct trace *traces[2];
	unsigned port;
	int fd;

	if (!tracing_works("scrapes cost the workers not one call"))
		return;
	server = SERVER("--workers", "2", METRICS, "--control", in_folder("control"),
			"echo://127.0.0.1:0", "chat://127.0.0.1:0");
	port = metrics_port(server);
	echo_once(server);
	server_wait_stat(server, "closed_eof", 1);
	fd = connect_to(port);
	for (unsigned i = 0; i < 2; i++) {
		traces[i] = trace_begin(server_worker(server, i));
		trace_window(traces[i]); /* drops calls that the marks caused */
	}
	for (int i = 0; i < 30; i++) {
		char command[256];

		ck_assert_int_eq(get_on(fd, "/metrics")->status, 200);
		ck_assert_int_eq(get_on(fd, "/readyz")->status, 200);
		(void)scrape_at(port);
		if (i % 10)
			continue;
		(void)snprintf(command, sizeof command,
			       "timeout 600 %s --control %s metrics > /dev/null", built("weirctl"),
			       in_folder("control"));
		ck_assert_int_eq(system(command), 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		char text[512];

		trace_window(traces[i]);
		calls_text(traces[i], 0, traces[i]->calls_n, text, sizeof text);
		ck_assert_msg(traces[i]->calls_n == 0, "worker %u made calls: %s", i, text);
	}
	/* Shows that the trace would have seen calls. */
	for (int i = 0; i < 20; i++)
		echo_once(server);
	server_wait_stat(server, "closed_eof", 21);
	trace_window(traces[0]);
	trace_window(traces[1]);
	ck_assert_uint_gt(traces[0]->calls_n + traces[1]->calls_n, 0);
	trace_end(traces[0]);
	trace_end(traces[1]);
	end(server);
}
END_TEST

/* Scrapes and clients of the workers must still be served. */
static void all_is_well(struct server *server, unsigned port)
{
	struct reply *reply = get(port, "/metrics");

	for (struct wait wait = wait_begin(); reply->status == 503; reply = get(port, "/metrics"))
		wait_more(&wait, "fewer who scrape"); /* the clients before are still there */
	ck_assert_int_eq(reply->status, 200);
	echo_once(server);
}

/* Each scrape reads files of /proc, which shows how many scrapes are made between two waits for
 * events. */
START_TEST(a_pass_of_the_master_takes_one_scrape)
{
	enum { CLIENTS = 20, READS = 2 }; /* a scrape reads the worker's file and the master's */
	struct server *server;
	struct trace *trace;
	size_t in_pass = 0;
	int fds[CLIENTS];

	if (!tracing_works("a pass of the master takes one scrape"))
		return;
	server = SERVER("--workers", "1", METRICS, "echo://127.0.0.1:0");
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = connect_to(metrics_port(server));
		ck_assert_int_eq(get_on(fds[i], "/healthz")->status, 200);
	}
	trace = trace_begin(server->pid);
	ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
	for (struct wait wait = wait_begin();
	     process_state(server->pid) != 't' && process_state(server->pid) != 'T';)
		wait_more(&wait, "a master that is stopped");
	for (int i = 0; i < CLIENTS; i++) /* all requests are there in one pass */
		send_text(fds[i], _i ? "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
				     : "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
	for (int i = 0; i < CLIENTS; i++)
		ck_assert_int_eq(read_reply(fds[i], _i)->status, 200);
	trace_window(trace);
	ck_assert_uint_ge(calls_of(trace, "openat", "/stat\""), READS * CLIENTS);
	for (size_t i = 0; i < trace->calls_n; i++) {
		if (strstr(trace->calls[i], "epoll_wait("))
			in_pass = 0;
		else if (strstr(trace->calls[i], "/stat\""))
			ck_assert_uint_le(++in_pass, READS);
	}
	trace_end(trace);
	all_is_well(server, metrics_port(server));
	end(server);
}
END_TEST

START_TEST(a_worker_that_hangs_holds_nobody_up)
{
	struct server *server =
	    SERVER("--workers", "2", METRICS, "--watchdog", "0", "echo://127.0.0.1:0");
	pid_t pid = server_worker(server, 0);
	char *text;

	process_stop(pid);
	for (int i = 0; i < 10; i++) {
		text = scrape_at(metrics_port(server));
		ck_assert_uint_eq(sample(text, "weir_worker_pid{worker=\"0\"}"), (uint64_t)pid);
		expect_sample(text, "weir_worker_up{worker=\"0\"}", "0");
		expect_sample(text, "weir_worker_up{worker=\"1\"}", "1");
		expect_sample(text, "weir_workers_ready", "1");
		expect_sample(text, "weir_worker_state{worker=\"0\",state=\"stopped\"}", "1");
		expect_sample(text, "weir_worker_still_seconds{worker=\"1\"}", "0.000000");
	}
	ck_assert(!sample_is(text, "weir_worker_still_seconds{worker=\"0\"}", "0.000000"));
	ck_assert_int_eq(get(metrics_port(server), "/readyz")->status, 200);
	ck_assert_int_eq(kill(pid, SIGCONT), 0);
	for (struct wait wait = wait_begin();
	     !sample_is(scrape_at(metrics_port(server)), "weir_worker_up{worker=\"0\"}", "1");)
		wait_more(&wait, "a worker that goes on");
	end(server);
}
END_TEST

/* ---- clients that could disturb others ---- */

START_TEST(two_hundred_scrape_at_once)
{
	struct server *server = SERVER("--workers", "2", METRICS, "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	int fds[200], taken = 0;

	for (int i = 0; i < 200; i++) {
		fds[i] = connect_to(port);
		send_text(fds[i], "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	}
	for (int i = 199; i >= 0; i--) {
		struct reply *reply = read_reply(fds[i], false);

		if (reply->status == 503)
			expect_head(reply, "Retry-After: 1");
		else
			ck_assert_int_eq(reply->status, 200);
		taken += reply->status == 200;
		(void)close(fds[i]);
	}
	ck_assert_int_ge(taken, METRICS_CONNECTIONS / 2);
	all_is_well(server, port);
	end(server);
}
END_TEST

static const char *const bad_manners[] = {
    "",				     /* nothing at all */
    "GET /metrics HTTP/1.1\r\nHost", /* half a request */
    "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /m",
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n", /* an answer that is not read */
    "\x16\x03\x01\x02",			 /* TLS */
};

/* More such clients than there are places connect, and stay. */
START_TEST(bad_manners_cost_a_place_for_seconds_only)
{
	struct server *server = SERVER("--workers", "2", METRICS, "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	int fds[2 * METRICS_CONNECTIONS];

	for (size_t i = 0; i < 2 * METRICS_CONNECTIONS; i++) {
		fds[i] = connect_to(port);
		send_text(fds[i], bad_manners[_i]);
	}
	all_is_well(server, port);
	for (size_t i = 0; i < 2 * METRICS_CONNECTIONS; i++)
		(void)close(fds[i]);
	all_is_well(server, port);
	server_wait_stat_is(server, "connections", 0);
	end(server);
}
END_TEST

/* When a client leaves, the text of its scrape is freed, so that the next ones find a place. After
 * ten turns a unix socket is full: the kernel takes a fifth of what these clients ask for. */
START_TEST(who_leaves_amid_a_scrape_leaves_nothing)
{
	const char *path = in_folder("metrics.sock");
	struct server *server = SERVER("--workers", "2", "--metrics", path, "echo://127.0.0.1:0");
	int other = connect_unix(path);

	for (int i = 0; i < 2 * METRICS_CONNECTIONS; i++) {
		int fd = connect_unix(path);

		for (int k = 0; k < 50; k++)
			send_text(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
		for (int k = 0; k < 10; k++)
			ck_assert_int_eq(get_on(other, "/healthz")->status, 200);
		(void)close(fd);
	}
	ck_assert_int_eq(get_on(other, "/metrics")->status, 200);
	echo_once(server);
	end(server);
}
END_TEST

/* While more than half of the places are taken, connections are not kept open. */
START_TEST(places_are_kept_while_there_are_many)
{
	struct server *server = SERVER("--workers", "1", METRICS, "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	int fds[METRICS_CONNECTIONS / 2 + 1];

	for (int i = 0; i <= METRICS_CONNECTIONS / 2; i++) {
		struct reply *reply;

		fds[i] = connect_to(port);
		reply = get_on(fds[i], "/healthz");
		ck_assert_int_eq(reply->status, 200);
		ck_assert_int_eq(strstr(reply->head, "\r\nConnection: close\r\n") != NULL,
				 i == METRICS_CONNECTIONS / 2);
	}
	expect_end(fds[METRICS_CONNECTIONS / 2]);
	ck_assert_ptr_null(strstr(get_on(fds[0], "/healthz")->head, "Connection:"));
	end(server);
}
END_TEST

/* A client asks for more answers than the kernel buffers, and does not read: weir's buffer is
 * bounded, and the client is closed. Others send half a request or nothing, and are timed out. */
START_TEST(who_does_not_read_or_go_on_is_timed_out)
{
	struct server *server = SERVER("--workers", "1", METRICS, "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	int half = connect_to(port), silent = connect_to(port), head = connect_to(port);
	int fd = connect_to(port);
	size_t before = process_memory(server->pid);
	struct wait wait = wait_begin();
	char bytes[4096];
	ssize_t n = 0;

	send_text(half, "GET /metrics HTTP/1.1\r\nHost");
	send_text(head, "HEAD /metrics HTTP/1.1\r\nHost");
	set_buffers(fd, 0, 4096);
	set_nonblocking(fd);
	for (int i = 0; i < 2000 && n >= 0; i++)
		n = send(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, MSG_NOSIGNAL);
	wait.until_ms += patience_ms();
	while (send(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, MSG_NOSIGNAL) >= 0 ||
	       errno == EAGAIN)
		wait_more(&wait, "a connection that ends");
	if (!suite_sanitized())
		ck_assert_uint_lt(process_memory(server->pid), before + (8u << 20));
	while (recv(fd, bytes, sizeof bytes, 0) > 0)
		;
	ck_assert_int_eq(read_reply(half, false)->status, 408);
	expect_end(half);
	expect_end(silent);
	ck_assert_int_eq(read_reply(head, true)->status, 408);
	expect_end(head);
	all_is_well(server, port);
	end(server);
}
END_TEST

START_TEST(garbage_of_every_kind)
{
	struct server *server = SERVER("--workers", "1", METRICS, "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	uint64_t seed = 1;

	for (int i = 0; i < 300; i++) {
		char bytes[512], answer[65536];
		int fd = connect_to(port);

		fill_random(bytes, sizeof bytes, next_random(&seed));
		if (i % 2)
			memcpy(bytes, "GET /metrics HTTP/1.1\r\n", 23);
		(void)send(fd, bytes, 1 + next_random(&seed) % sizeof bytes, MSG_NOSIGNAL);
		(void)shutdown(fd, SHUT_WR);
		while (recv(fd, answer, sizeof answer, 0) > 0)
			;
		(void)close(fd);
	}
	all_is_well(server, port);
	end(server);
}
END_TEST

SUITE("metrics_server", {"each resource is served", each_resource_is_served, 20},
      {"HEAD is GET without its body", head_is_get_without_its_body, 20},
      {"requests may come together, or in bytes", requests_may_come_together_or_in_bytes, 20},
      {"what must end ends", what_must_end_ends, 20},
      {"curl and promtool take it", curl_and_promtool_take_it, 60},
      {"figures are those of the scoreboard", figures_are_those_of_the_scoreboard, 20},
      {"scrapes cost the workers not one call", scrapes_cost_the_workers_not_one_call, 60},
      {"a pass of the master takes one scrape", a_pass_of_the_master_takes_one_scrape, 60, 2},
      {"a worker that hangs holds nobody up", a_worker_that_hangs_holds_nobody_up, 20},
      {"two hundred scrape at once", two_hundred_scrape_at_once, 60},
      {"bad manners cost a place for seconds only", bad_manners_cost_a_place_for_seconds_only, 60,
       sizeof bad_manners / sizeof *bad_manners},
      {"who leaves amid a scrape leaves nothing", who_leaves_amid_a_scrape_leaves_nothing, 60},
      {"places are kept while there are many", places_are_kept_while_there_are_many, 20},
      {"who does not read, or go on, is timed out", who_does_not_read_or_go_on_is_timed_out, 60},
      {"garbage of every kind", garbage_of_every_kind, 60})
