/*
 * Metrics while the server changes: counters never decrease, no scrape is refused, and /readyz is
 * right. Changes of the metrics address itself are in check_metrics_address.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/metrics/metrics.h"
#include "tests/support/clients/scraper.h"
#include "tests/support/server_control.h"
#include "tests/master/metrics/counters.h"

/* ---- counters never decrease ---- */

/* Scrapes on a connection that has been used, which the server may end at any time (RFC 9112, 9.5).
 * NULL: it has ended. */
static struct reply *get_again(int fd)
{
	static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
	char byte;

	if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) < 0 ||
	    recv(fd, &byte, 1, MSG_PEEK) <= 0)
		return NULL;
	return read_reply(fd, false);
}

/* Scrapes as fast as possible until the order has been carried out, on new connections and on used
 * ones. No scrape may be refused, and no counter may decrease. */
static char *scrape_through(unsigned port, char *last, const char *verb)
{
	pid_t order = server_control_ask_begin(verb);
	int fd = -1;

	for (int i = 0; process_state(order) != 'Z' || i < 20; i++) {
		struct reply *reply = fd < 0 ? NULL : get_again(fd);

		if (!reply) {
			if (fd >= 0)
				(void)close(fd);
			fd = connect_to(port);
			reply = get_on(fd, "/metrics");
		}
		ck_assert_int_eq(reply->status, 200);
		ck_assert_uint_gt(expect_no_less(last, reply->body), 200);
		last = reply->body;
		if (i % 2 || strstr(reply->head, "Connection: close")) {
			(void)close(fd);
			fd = -1;
		}
	}
	ck_assert_msg(server_control_ask_end(order) == 0, "%s", server_control_answer());
	return last;
}

static void some_load(struct server *server)
{
	for (int i = 0; i < 50; i++) {
		int fd = connect_to(server->ports[0]);

		send_text(fd, "hello");
		expect_text(fd, "hello");
		(void)close(fd);
	}
}

/* Expects later start times than before: of worker 0, and of the master if master_too. */
static void expect_births(unsigned port, double born[2], bool master_too)
{
	static const char *const series[] = {"weir_worker_start_time_seconds{worker=\"0\"}",
					     "weir_master_start_time_seconds"};
	char *text = scrape_at(port);

	for (int i = 0; i < 2; i++) {
		const char *value = sample_text(text, series[i]);
		double now;

		ck_assert_ptr_nonnull(value);
		now = strtod(value, NULL);
		ck_assert_msg(i == 0 || master_too ? now > born[i] : now == born[i],
			      "%s is %f, was %f", series[i], now, born[i]);
		born[i] = now;
	}
}

START_TEST(no_counter_goes_back)
{
	static const char *const modes[] = {"reuseport", "handoff"};
	struct server *server =
	    CONTROLLED("--workers", "3", "--accept", modes[_i], "--metrics", "127.0.0.1:0",
		       "--request-timeout", "0", "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	char *last = scrape_at(port);
	double born[2] = {0, 0};
	uint64_t accepted = 0;
	pid_t pid;

	expect_births(port, born, true);
	for (int round = 0; round < 2; round++) {
		some_load(server);
		accepted += 50;
		last = scrape_through(port, last, "reload");
		expect_births(port, born, false);
		pid = server_worker(server, 1);
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
		(void)server_wait_worker(server, 1, pid);
		last = scrape_through(port, last, "rebalance");
		server_control_forget(server);
		last = scrape_through(port, last, "upgrade");
		server_control_follow(server);
		server_control_wait_workers(server, 3);
		expect_births(port, born, true);
	}
	ck_assert_uint_eq(sample(last, "weir_worker_restarts_total{worker=\"1\"}"), 2);
	last = scrape_through(port, last, "status");
	ck_assert_uint_eq(sample(last, "weir_reloads_total{result=\"success\"}"), 2);
	ck_assert_uint_eq(sample(last, "weir_reloads_total{result=\"failure\"}"), 0);
	ck_assert_uint_eq(sample(last, "weir_upgrades_total{result=\"success\"}"), 2);
	ck_assert_uint_eq(sample(last, "weir_connections_accepted_total{worker=\"0\"}") +
			      sample(last, "weir_connections_accepted_total{worker=\"1\"}") +
			      sample(last, "weir_connections_accepted_total{worker=\"2\"}"),
			  accepted);
	ck_assert_uint_eq(sample(last, "weir_generation"), 5);
	server_control_stop(server);
}
END_TEST

START_TEST(a_slot_that_is_given_up_keeps_its_counters)
{
	struct server *server =
	    CONTROLLED("--workers", "3", "--metrics", "127.0.0.1:0", "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	char *before, *after;

	some_load(server);
	server_wait_stat(server, "closed_eof", 50);
	before = scrape_at(port);
	server_control_forget(server);
	ck_assert_int_eq(kill(server->pid, SIGTTOU), 0);
	server_control_wait_log_times(server, "msg=\"change made\" what=rebalance", 1);
	after = scrape_at(port);
	(void)expect_no_less(before, after);
	ck_assert_uint_eq(sample(after, "weir_workers"), 2);
	expect_sample(after, "weir_worker_up{worker=\"2\"}", "0");
	expect_sample(after, "weir_worker_pid{worker=\"2\"}", "0");
	server_control_stop(server);
}
END_TEST

/* ---- readiness ---- */

static void wait_for_readyz(unsigned port, int status, const char *says)
{
	struct wait wait = wait_begin();

	for (;;) {
		struct reply *reply = get(port, "/readyz");

		if (reply->status == status && strstr(reply->body, says))
			return;
		wait_more(&wait, "another answer of /readyz");
	}
}

START_TEST(readyz_says_when_it_drains)
{
	struct server *server = SERVER("--workers", "2", "--metrics", "127.0.0.1:0",
				       "--slow-consumer", "1G", "chat://127.0.0.1:0");
	unsigned port = metrics_port(server);
	static char line[32 << 10];
	int slow, other, fd;

	/* A client that is owed bytes, so that the drain lasts. */
	slow = connect_to(server->ports[0]);
	set_buffers(slow, 0, 4096);
	memset(line, 'x', sizeof line);
	server_wait_stat(server, "members_joined", 1);
	other = connect_to(server->ports[0]);
	server_wait_stat(server, "members_joined", 2);
	line[15000] = '\n';
	for (int i = 0; i < 600; i++)
		send_all(other, line, 15001);
	fd = connect_to(port);
	ck_assert_int_eq(get_on(fd, "/readyz")->status, 200);
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	wait_for_readyz(port, 503, "stopping");
	ck_assert_int_eq(get(port, "/healthz")->status, 200);
	expect_sample(scrape_at(port), "weir_state{state=\"stopping\"}", "1");
	/* Also on a connection from before. */
	ck_assert_int_eq(get_on(fd, "/readyz")->status, 503);
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	(void)server_wait_exit(server);
	ck_assert_int_eq(try_connect(port), -ECONNREFUSED);
}
END_TEST

START_TEST(readyz_says_that_no_worker_is_there)
{
	struct server *server =
	    SERVER("--workers", "1", "--metrics", "127.0.0.1:0", "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	struct wait wait = wait_begin();

	/* A worker that dies again and again is started after ever longer delays. */
	while (get(port, "/readyz")->status == 200) {
		pid_t pid = server_worker(server, 0);

		if (pid)
			(void)kill(pid, SIGKILL);
		wait_more(&wait, "a server without workers");
	}
	ck_assert_int_eq(get(port, "/healthz")->status, 200);
	wait_for_readyz(port, 200, "ok");
	ck_assert_uint_gt(sample(scrape_at(port), "weir_worker_restarts_total{worker=\"0\"}"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- the same over the control socket ---- */

START_TEST(weirctl_prints_the_same)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "--metrics", "127.0.0.1:0", "echo://127.0.0.1:0");
	char *text = scrape_at(metrics_port(server));
	char command[256], *said;

	(void)snprintf(command, sizeof command, "timeout 600 %s --control %s metrics > %s",
		       built("weirctl"), in_folder("control"), in_folder("said"));
	ck_assert_int_eq(system(command), 0);
	said = read_whole(in_folder("said"));
	ck_assert_ptr_nonnull(said);
	ck_assert_uint_gt(expect_no_less(text, said), 200);
	/* The lines are the same except for their values. */
	for (const char *a = text, *b = said; *a && *b;
	     a += strcspn(a, "\n") + 1, b += strcspn(b, "\n") + 1) {
		size_t n = *a == '#' ? strcspn(a, "\n") : strcspn(a, "}\n ");

		ck_assert_msg(strncmp(a, b, n) == 0, "%.100s and %.100s", a, b);
	}
	(void)snprintf(command, sizeof command, "metrics        127.0.0.1:%u\n",
		       metrics_port(server));
	server_control_do("status");
	ck_assert_ptr_nonnull(strstr(server_control_answer(), command));
	server_control_stop(server);
}
END_TEST

SUITE("metrics_change", {"no counter goes back", no_counter_goes_back, 120, 2},
      {"a slot that is given up keeps its counters", a_slot_that_is_given_up_keeps_its_counters,
       30},
      {"readyz says when it drains", readyz_says_when_it_drains, 30},
      {"readyz says that no worker is there", readyz_says_that_no_worker_is_there, 60},
      {"weirctl prints the same", weirctl_prints_the_same, 20})
