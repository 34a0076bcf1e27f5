/*
 * The addresses at which metrics are served: which are accepted or refused, and who answers clients
 * that come or wait during a reload or an upgrade.
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

START_TEST(an_address_that_is_taken_ends_the_start)
{
	char text[64], output[4096], wanted[128];
	unsigned port;
	int fd = bind_any(SOCK_STREAM, &port);

	(void)snprintf(text, sizeof text, "127.0.0.1:%u", port);
	ck_assert_int_eq(RUN(output, "--metrics", text, "echo://127.0.0.1:0"), 1);
	(void)snprintf(wanted, sizeof wanted, "metrics %s: bind: %s", text, strerror(EADDRINUSE));
	ck_assert_msg(strstr(output, wanted) != NULL, "%s", output);
	(void)close(fd);
}
END_TEST

START_TEST(an_address_that_is_none_is_a_wrong_configuration)
{
	char output[4096];

	ck_assert_int_eq(RUN(output, "--test", "--metrics", "nowhere", "echo://127.0.0.1:0"), 2);
	ck_assert_msg(strstr(output, "metrics \"nowhere\": ") != NULL, "%s", output);
	ck_assert_int_eq(RUN(output, "--test", "--metrics", "http://127.0.0.1:0"), 2);
	ck_assert_msg(strstr(output, "without a scheme") != NULL, "%s", output);
	ck_assert_int_eq(RUN(output, "--test", "--metrics", ":0", "--no-master", "--workers", "1"),
			 2);
	ck_assert_msg(strstr(output, "no-master") != NULL, "%s", output);
	ck_assert_int_eq(RUN(output, "--test", "--metrics", "", "echo://127.0.0.1:0"), 0);
}
END_TEST

static const char *configure(const char *metrics)
{
	char text[256];

	(void)snprintf(text, sizeof text, "workers = 2\nlisten = echo://127.0.0.1:0\n%s%s\n",
		       metrics ? "metrics = " : "", metrics ? metrics : "");
	return server_control_config(text);
}

static struct server *start_configured(const char *metrics)
{
	return CONTROLLED("--config", configure(metrics));
}

START_TEST(a_reload_moves_it)
{
	struct server *server = start_configured(NULL);
	unsigned first, second;
	int fd;

	ck_assert(!server_log_has(server, "msg=metrics"));
	(void)configure("127.0.0.1:0");
	server_control_do("reload");
	first = metrics_port(server);
	fd = connect_to(first);
	ck_assert_int_eq(get_on(fd, "/readyz")->status, 200);
	/* The same address: the socket is kept, and so are connections. */
	server_control_forget(server);
	server_control_do("reload");
	ck_assert(!server_log_has(server, "msg=metrics"));
	ck_assert_int_eq(get_on(fd, "/readyz")->status, 200);
	(void)configure("127.0.0.2:0");
	server_control_do("reload");
	second = metrics_port(server);
	ck_assert_int_eq(try_connect(first), -ECONNREFUSED);
	ck_assert_int_eq(get_on(connect_to_host("127.0.0.2", second), "/readyz")->status, 200);
	ck_assert_int_eq(get_on(fd, "/readyz")->status, 200);
	(void)configure(NULL);
	server_control_do("reload");
	(void)configure("127.0.0.1:0");
	server_control_forget(server);
	server_control_do("reload");
	ck_assert_int_eq(get(metrics_port(server), "/readyz")->status, 200);
	server_control_stop(server);
}
END_TEST

START_TEST(a_reload_to_a_taken_address_changes_nothing)
{
	struct server *server = start_configured("127.0.0.1:0");
	unsigned port = metrics_port(server), other;
	int taken = bind_own(SOCK_STREAM, &other);
	char text[64];

	(void)snprintf(text, sizeof text, "127.0.0.1:%u", other);
	(void)configure(text);
	ck_assert_int_eq(server_control_ask("reload"), 1);
	ck_assert_msg(strstr(server_control_answer(), strerror(EADDRINUSE)) != NULL, "%s",
		      server_control_answer());
	ck_assert_int_eq(get(port, "/readyz")->status, 200);
	ck_assert_uint_eq(sample(scrape_at(port), "weir_reloads_total{result=\"failure\"}"), 1);
	ck_assert_int_eq(server_control_status("generation"), 1);
	/* An upgrade to it fails too; the next one succeeds. */
	ck_assert_int_eq(server_control_ask("upgrade"), 1);
	ck_assert_msg(strstr(server_control_answer(), strerror(EADDRINUSE)) != NULL, "%s",
		      server_control_answer());
	ck_assert_int_eq(get(port, "/readyz")->status, 200);
	ck_assert_uint_eq(sample(scrape_at(port), "weir_upgrades_total{result=\"failure\"}"), 1);
	(void)close(taken);
	server_control_forget(server);
	server_control_do("upgrade");
	server_control_follow(server);
	ck_assert_int_eq(try_connect(port), -ECONNREFUSED);
	ck_assert_int_eq(get(other, "/readyz")->status, 200);
	server_control_stop(server);
}
END_TEST

/* The reload fails after all sockets were bound. */
START_TEST(workers_that_do_not_come_up_leave_it)
{
	char path[128], other[128];
	struct rlimit before;
	struct server *server;

	if (suite_sanitized()) {
		suite_skip("workers that do not come up leave it",
			   "a sanitizer's own memory ends with RLIMIT_AS");
		return;
	}
	(void)snprintf(path, sizeof path, "%s", in_folder("metrics.sock"));
	(void)snprintf(other, sizeof other, "%s", in_folder("other.sock"));
	server = start_configured(path);
	/* Enough memory to answer weirctl, but not for a worker's buffers. */
	process_starve(server->pid, 8 << 20, &before);
	(void)configure(other);
	ck_assert_int_eq(server_control_ask("reload"), 1);
	ck_assert_msg(strstr(server_control_answer(), "did not come up") != NULL, "%s",
		      server_control_answer());
	ck_assert(!exists(other));
	ck_assert_int_eq(get_on(connect_unix(path), "/readyz")->status, 200);
	ck_assert_int_eq(server_control_ask("upgrade"), 1);
	ck_assert(!exists(other));
	(void)configure(path);
	ck_assert_int_eq(server_control_ask("upgrade"), 1);
	ck_assert_msg(strstr(server_control_answer(), "did not come up") != NULL, "%s",
		      server_control_answer());
	ck_assert_int_eq(get_on(connect_unix(path), "/readyz")->status, 200);
	ck_assert_int_eq(prlimit(server->pid, RLIMIT_AS, &before, NULL), 0);
	server_control_stop(server);
	ck_assert(!exists(path));
}
END_TEST

START_TEST(a_socket_file_comes_and_goes_with_it)
{
	char path[128], name[64];
	struct server *server;
	struct stat before, now;
	int fd;

	(void)snprintf(path, sizeof path, "%s", in_folder("metrics.sock"));
	server = start_configured(path);
	ck_assert_int_eq(lstat(path, &before), 0);
	fd = connect_unix(path);
	ck_assert_int_eq(get_on(fd, "/readyz")->status, 200);
	server_control_do("reload");
	/* An upgrade of a server that already has the socket fails. */
	server_control_program_is("#!/bin/sh\nexit 3\n", 0755);
	ck_assert_int_eq(server_control_ask("upgrade"), 1);
	ck_assert_int_eq(get_on(connect_unix(path), "/readyz")->status, 200);
	server_control_program_is_weir();
	server_control_forget(server);
	server_control_do("upgrade");
	server_control_follow(server);
	ck_assert_int_eq(lstat(path, &now), 0);
	ck_assert_uint_eq(before.st_ino, now.st_ino);
	ck_assert_int_eq(get_on(connect_unix(path), "/readyz")->status, 200);
	/* The new master uses another address: the old socket file is removed. */
	(void)snprintf(name, sizeof name, "@weir-test-metrics-%d", (int)getpid());
	(void)configure(name);
	server_control_forget(server);
	server_control_do("upgrade");
	server_control_follow(server);
	ck_assert(!exists(path));
	ck_assert_int_eq(get_on(connect_unix(name), "/readyz")->status, 200);
	(void)configure(path);
	server_control_do("reload");
	ck_assert(exists(path));
	/* The inherited socket file is the new master's, once the old one has ended. */
	server_control_forget(server);
	ck_assert_msg(server_control_ask("upgrade") == 0, "%s", server_control_answer());
	server_control_follow(server);
	ck_assert_int_eq(get_on(connect_unix(path), "/readyz")->status, 200);
	server_control_stop(server);
	ck_assert(!exists(path));
}
END_TEST

#define HURRY_MS 4000 /* less than the time that a client has until it must ask */

/* A client connects, and does not ask while an upgrade is made. If that took longer than a client
 * may wait, tries again with a new one. Does not look for the new master's pid. */
static int early_in_an_upgrade(struct server *server, unsigned port, int *served)
{
	for (;;) {
		uint64_t began_ms = now_ms();
		int early = connect_to(port);

		*served = connect_to(port);
		/* Its answer shows that both were accepted. */
		ck_assert_int_eq(get_on(*served, "/readyz")->status, 200);
		server_control_forget(server);
		server_control_do("upgrade");
		if (now_ms() - began_ms < HURRY_MS)
			return early;
		(void)close(early);
		(void)close(*served);
		server_control_follow(server);
	}
}

/* A client that connected before the upgrade and asks after it is answered. One that was answered
 * before is ended. */
START_TEST(who_came_before_an_upgrade_has_his_answer)
{
	struct server *server =
	    CONTROLLED("--workers", "1", "--metrics", "127.0.0.1:0", "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	int served, early = early_in_an_upgrade(server, port, &served);
	struct reply *reply;

	expect_end(served);
	reply = get_on(early, "/metrics");
	ck_assert_int_eq(reply->status, 200);
	ck_assert_ptr_nonnull(strstr(reply->head, "\r\nConnection: close\r\n"));
	expect_end(early);
	server_control_follow(server);
	server_control_stop(server);
}
END_TEST

/* The new master is killed when it serves; the old one goes on. */
START_TEST(a_next_master_that_dies_leaves_it)
{
	struct server *server =
	    CONTROLLED("--workers", "1", "--metrics", "127.0.0.1:0", "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	int fd, held = connect_to(server->ports[0]);
	pid_t next;
	char *last = scrape_at(port);

	send_text(held, "x");
	expect_text(held, "x");
	ck_assert_int_eq(kill(server_worker(server, 0), SIGSTOP), 0); /* so that it can't end */
	server_control_forget(server);
	ck_assert_int_eq(kill(server->pid, SIGUSR2), 0);
	server_control_wait_log_times(server, "msg=metrics", 1);
	for (struct wait wait = wait_begin();
	     (next = server_control_pid()) == server->pid || !next;)
		wait_more(&wait, "the next master");
	(void)expect_no_less(last, scrape_at(port));
	server_control_forget(server);
	ck_assert_int_eq(kill(next, SIGKILL), 0);
	server_control_wait_log_times(server, "msg=metrics", 1);
	(void)expect_no_less(last, scrape_at(port));
	fd = connect_to(port); /* a connection is kept open, as before */
	ck_assert_ptr_null(strstr(get_on(fd, "/readyz")->head, "Connection: close"));
	ck_assert_int_eq(get_on(fd, "/healthz")->status, 200);
	ck_assert_int_eq(kill(server_worker(server, 0), SIGCONT), 0);
	ck_assert_int_eq(server_stop(server, SIGQUIT), 0);
}
END_TEST

/* The old master has no workers any more and only stays for clients that may ask. Then the new
 * master dies, and the old one serves again. */
START_TEST(one_that_takes_back_forgets_its_shutdown_notice)
{
	struct server *server =
	    CONTROLLED("--workers", "1", "--metrics", "127.0.0.1:0", "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	uint64_t began_ms = now_ms();
	int served, early = early_in_an_upgrade(server, port, &served);

	server_wait_log(server, "msg=\"worker ended\"");
	ck_assert_int_ne(server_control_pid(), server->pid);
	server_control_forget(server);
	ck_assert_int_eq(kill(server_control_pid(), SIGKILL), 0);
	/* Takes longer than the time between two looks at clients that may ask. */
	for (size_t i = 1; i <= 3; i++) {
		server_control_wait_log_times(server, "msg=\"worker started\"", i);
		ck_assert_int_eq(kill(server_wait_worker(server, 0, 0), SIGKILL), 0);
		server_control_wait_log_times(server, "msg=\"worker died\"", i);
	}
	server_control_wait_log_times(server, "msg=\"worker started\"", 4);
	if (now_ms() - began_ms < HURRY_MS) /* after that it may have been ended */
		ck_assert_int_eq(get_on(early, "/healthz")->status, 200);
	ck_assert_int_eq(get(port, "/healthz")->status, 200);
	ck_assert(!server_log_has(server, "msg=stopped"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

static unsigned descriptors_of(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *folder;

	(void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	folder = opendir(path);
	ck_assert_ptr_nonnull(folder);
	while (readdir(folder))
		n++;
	(void)closedir(folder);
	return n - 2; /* . and .. */
}

/* Silent clients must not use up the descriptors that a reload needs. */
START_TEST(who_asks_takes_no_descriptors_that_a_change_needs)
{
	struct server *server = CONTROLLED("--workers", "1", "--max-connections", "5", "--metrics",
					   "127.0.0.1:0", "echo://127.0.0.1:0");
	unsigned port = metrics_port(server);
	rlim_t few = descriptors_of(server->pid) + 24;
	struct rlimit limit = {few, few};
	int first = connect_to(port);

	ck_assert_int_eq(prlimit(server->pid, RLIMIT_NOFILE, &limit, NULL), 0);
	for (int i = 0; i < METRICS_CONNECTIONS; i++)
		(void)connect_to(port);
	ck_assert_msg(server_control_ask("reload") == 0, "%s", server_control_answer());
	ck_assert_int_eq(get_on(first, "/healthz")->status, 200);
	server_control_stop(server);
}
END_TEST

SUITE("metrics_address",
      {"an address that is taken ends the start", an_address_that_is_taken_ends_the_start, 20},
      {"an address that is none is a wrong configuration",
       an_address_that_is_none_is_a_wrong_configuration, 20},
      {"a reload moves it", a_reload_moves_it, 60},
      {"a reload to a taken address changes nothing", a_reload_to_a_taken_address_changes_nothing,
       60},
      {"workers that do not come up leave it", workers_that_do_not_come_up_leave_it, 60},
      {"a socket file comes and goes with it", a_socket_file_comes_and_goes_with_it, 60},
      {"who came before an upgrade has his answer", who_came_before_an_upgrade_has_his_answer, 60},
      {"a next master that dies leaves it", a_next_master_that_dies_leaves_it, 60},
      {"one that takes back forgets its shutdown notice",
       one_that_takes_back_forgets_its_shutdown_notice, 60},
      {"who asks takes no descriptors that a change needs",
       who_asks_takes_no_descriptors_that_a_change_needs, 60})
