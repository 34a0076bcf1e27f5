/*
 * Listening: IPv4, IPv6, both at once, socket files, abstract names; each accept mode with 1, 2 and
 * 4 workers; different modes in one server; several listeners; port 0. Not tested: real interfaces.
 * How clients spread over workers is in check_spread.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/harness.h"

static void echoes(int fd)
{
	send_text(fd, "hello");
	expect_text(fd, "hello");
	finish_sending(fd);
	expect_end(fd);
	(void)close(fd);
}

static bool ipv6_is_here(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0 && access("/proc/net/if_inet6", F_OK) == 0;
}

/* A path in the test's own folder. */
static const char *file_path(void)
{
	static char path[100];

	(void)snprintf(path, sizeof path, "%s/echo.sock", temporary_folder());
	return path;
}

static const char *file_listener(const char *keys)
{
	static char listener[160];

	(void)snprintf(listener, sizeof listener, "echo://%s%s", file_path(), keys);
	return listener;
}

/* A start that must fail with status 1 and this message. */
static void start_fails(const char *const arguments[], const char *says)
{
	char output[8192];
	int status = server_run(arguments, output, sizeof output);

	ck_assert_msg(status == 1, "exit %d: %s", status, output);
	ck_assert_msg(strstr(output, says), "\"%s\" is not in: %s", says, output);
}

/* ---- addresses ---- */

/* Starts a server at a port that is free at all other addresses too. */
static struct server *serve_at(const char *host)
{
	char listener[64];
	unsigned port;

	(void)close(bind_own(SOCK_STREAM, &port));
	(void)snprintf(listener, sizeof listener, "echo://%s:%u", host, port);
	return SERVER("--workers", "2", listener);
}

START_TEST(ipv4)
{
	struct server *server = serve_at("127.0.0.2");

	echoes(connect_to_host("127.0.0.2", server->ports[0]));
	ck_assert_int_eq(try_connect(server->ports[0]),
			 -ECONNREFUSED); /* it does not listen at 127.0.0.1 */
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(ipv6)
{
	struct server *server;

	if (!ipv6_is_here()) {
		suite_skip("IPv6", "there is none");
		return;
	}
	server = serve_at("[::1]");
	ck_assert(server_log_has(server, "echo://[::1]:"));
	echoes(connect_to_host("[::1]", server->ports[0]));
	ck_assert_int_eq(try_connect(server->ports[0]), -ECONNREFUSED);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(dual_stack)
{
	static const char *const modes[] = {"reuseport", "shared", "handoff"};

	for (size_t mode = 0; mode < 3; mode++) {
		struct server *server =
		    SERVER("--workers", "2", "--accept", modes[mode], "echo://:0");

		for (int i = 0; i < 10; i++) {
			echoes(connect_to(server->ports[0]));
			if (ipv6_is_here())
				echoes(connect_to_host("[::1]", server->ports[0]));
		}
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
	if (!ipv6_is_here())
		suite_skip("dual stack", "there is no IPv6");
}
END_TEST

START_TEST(abstract_name)
{
	char listener[100], *name = listener + strlen("echo://");
	struct server *server;

	(void)snprintf(listener, sizeof listener, "echo://@weir-test-%d", (int)getpid());
	server = SERVER("--workers", "2", listener);
	for (int i = 0; i < 10; i++)
		echoes(connect_unix(name));
	start_fails((const char *const[]){listener, NULL}, name);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- socket files ---- */

START_TEST(socket_file_has_its_mode_and_goes)
{
	static const unsigned wanted[] = {0660, 0600, 0777};
	static const char *const keys[] = {"?mode=0660", "?mode=0600", "?mode=777"};

	for (size_t i = 0; i < 3; i++) {
		struct server *server = SERVER("--workers", "2", file_listener(keys[i]));
		struct stat status;

		ck_assert_int_eq(stat(file_path(), &status), 0);
		ck_assert(S_ISSOCK(status.st_mode));
		ck_assert_uint_eq(status.st_mode & 0777, wanted[i]);
		echoes(connect_unix(file_path()));
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
		ck_assert(!exists(file_path()));
	}
}
END_TEST

START_TEST(stale_file_is_replaced)
{
	struct server *server = SERVER("--workers", "1", file_listener(""));

	ck_assert_int_eq(server_stop(server, SIGKILL), 128 + SIGKILL);
	ck_assert(exists(file_path()));
	/* Its worker may not have closed its copy of the listener yet. */
	server_wait_log(server, "msg=\"worker ends\"");
	server = SERVER("--workers", "1", file_listener(""));
	echoes(connect_unix(file_path()));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(!exists(file_path()));
}
END_TEST

START_TEST(live_file_is_refused)
{
	struct server *server = SERVER("--workers", "1", file_listener(""));

	start_fails((const char *const[]){file_listener(""), NULL}, file_path());
	/* The server that listens there keeps the file. */
	echoes(connect_unix(file_path()));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* A file that is no socket is never removed, at start or end. */
START_TEST(other_file_is_not_touched)
{
	struct wait wait = wait_begin();
	struct server *server;
	char bytes[8] = "";
	int fd = open(file_path(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(fd, "data", 4), 4);
	(void)close(fd);
	server = server_launch((const char *const[]){file_listener(""), NULL});
	while (process_state(server->pid) != 'Z' && !server_log_has(server, "msg=ready"))
		wait_more(&wait, "weir to start or fail");
	ck_assert_msg(!server_log_has(server, "msg=ready"), "it put its socket in a file's place");
	ck_assert_int_eq(server_wait_exit(server), 1);
	ck_assert(server_log_has(server, file_path()));
	fd = open(file_path(), O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, bytes, sizeof bytes), 4);
	ck_assert_str_eq(bytes, "data");
	(void)close(fd);
}
END_TEST

START_TEST(file_of_somebody_else_is_not_removed)
{
	struct server *server = SERVER("--workers", "1", file_listener(""));
	struct server *other;

	ck_assert_int_eq(unlink(file_path()), 0);
	other = SERVER("--workers", "1", file_listener(""));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(exists(file_path()));
	echoes(connect_unix(file_path()));
	ck_assert_int_eq(server_stop(other, SIGTERM), 0);
	ck_assert(!exists(file_path()));
}
END_TEST

/* ---- modes ---- */

static void serves(const char *mode)
{
	static const char *const workers[] = {"1", "2", "4"};

	for (size_t i = 0; i < 3; i++) {
		struct server *server = SERVER("--workers", workers[i], "--accept", mode,
					       "echo://127.0.0.1:0", file_listener(""));
		int fds[100];

		for (size_t j = 0; j < 100; j++)
			fds[j] = j % 2 ? connect_to(server->ports[0]) : connect_unix(file_path());
		for (size_t j = 0; j < 100; j++)
			echoes(fds[j]);
		server_wait_stat_is(server, "closed_eof", 100);
		ck_assert_uint_eq(server_stat(server, "accepted"), 100);
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}

START_TEST(reuseport_serves)
{
	serves("reuseport");
}
END_TEST

START_TEST(shared_serves)
{
	serves("shared");
}
END_TEST

START_TEST(handoff_serves)
{
	serves("handoff");
}
END_TEST

/* Each listener has its own mode. Their protocols show which one answers. */
START_TEST(mixed_modes_in_one_server)
{
	struct server *server =
	    SERVER("--workers", "2", "--accept", "shared", "echo://127.0.0.1:0?accept=handoff",
		   "increment://127.0.0.1:0?accept=reuseport", "line://127.0.0.1:0",
		   file_listener("?accept=handoff"), "frame://127.0.0.1:0?accept=shared");

	ck_assert_uint_eq(server->ports_n, 5);
	for (int i = 0; i < 20; i++) {
		int fd = connect_to(server->ports[1]);

		expect_text(fd, "*");
		send_text(fd, "^abc$");
		expect_text(fd, "bcd");
		(void)close(fd);
		echoes(connect_to(server->ports[0]));
		echoes(connect_unix(file_path()));
		fd = connect_to(server->ports[2]);
		send_text(fd, "li");
		send_text(fd, "ne\n");
		expect_text(fd, "line\n");
		(void)close(fd);
		fd = connect_to(server->ports[4]);
		send_all(fd, "\0\0\0\2ab", 6);
		expect_bytes(fd, "\0\0\0\2ab", 6);
		(void)close(fd);
	}
	server_wait_stat_is(server, "accepted", 100);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- ports ---- */

static bool all_workers_served(const struct server *server)
{
	for (unsigned i = 0; i < 4; i++)
		if (!server_worker_stat(server, i, "accepted"))
			return false;
	return true;
}

/* Four sockets are bound, but the kernel chooses a port only once. */
START_TEST(port_0_is_one_port_for_all_workers)
{
	struct server *server = SERVER("--workers", "4", "--accept", "reuseport",
				       "echo://127.0.0.1:0", "echo://127.0.0.1:0");
	struct wait wait = wait_begin();

	ck_assert_uint_ne(server->ports[0], 0);
	ck_assert_uint_ne(server->ports[1], 0);
	ck_assert_uint_ne(server->ports[0], server->ports[1]);
	while (!all_workers_served(server)) {
		echoes(connect_to(server->ports[0]));
		wait_more(&wait, "every worker to be reached by the one port");
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(one_address_twice_is_refused)
{
	static const char *const twice[][2] = {
	    {"echo://127.0.0.1:7001", "line://127.0.0.1:7001"},
	    {"echo://[::1]:7001", "echo://[::1]:7001"},
	    {"echo://:7001", "echo://:7001"},
	    {"echo:///tmp/x.sock", "line:///tmp/x.sock?mode=0600"},
	    {"echo://@x", "echo://@x"},
	};

	for (size_t i = 0; i < sizeof twice / sizeof *twice; i++) {
		char output[4096];

		ck_assert_int_eq(
		    server_run((const char *const[]){"-t", twice[i][0], twice[i][1], NULL}, output,
			       sizeof output),
		    2);
		ck_assert_msg(strstr(output, twice[i][1]), "%s", output);
	}
}
END_TEST

/* In all accept modes of the first and the second server, and also if the second one wants all
 * addresses. */
START_TEST(port_of_another_server_is_refused)
{
	static const char *const hosts[] = {"127.0.0.1", ""};
	static const char *const modes[] = {"reuseport", "shared", "handoff"};

	for (size_t i = 0; i < 9; i++) {
		struct server *server =
		    SERVER("--workers", "2", "--accept", modes[i / 3], "echo://127.0.0.1:0");
		char listener[64];

		(void)snprintf(listener, sizeof listener, "echo://%s:%u", hosts[i % 2],
			       server->ports[0]);
		start_fails((const char *const[]){"--accept", modes[i % 3], listener, NULL},
			    listener);
		echoes(connect_to(server->ports[0]));
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}
END_TEST

SUITE("listen", {"IPv4, that address only", ipv4, 20}, {"IPv6", ipv6, 20},
      {"dual stack: one port, both families", dual_stack, 30},
      {"an abstract name", abstract_name, 20},
      {"a socket file has its mode, and goes", socket_file_has_its_mode_and_goes, 30},
      {"a stale socket file is replaced", stale_file_is_replaced, 30},
      {"a live socket file is refused", live_file_is_refused, 20},
      {"a file that is no socket is not touched", other_file_is_not_touched, 20},
      {"a socket file of somebody else is not removed", file_of_somebody_else_is_not_removed, 30},
      {"reuseport serves with 1, 2 and 4 workers", reuseport_serves, 40},
      {"shared serves with 1, 2 and 4 workers", shared_serves, 40},
      {"handoff serves with 1, 2 and 4 workers", handoff_serves, 40},
      {"mixed modes in one server", mixed_modes_in_one_server, 30},
      {"port 0 is one port for all workers", port_0_is_one_port_for_all_workers, 30},
      {"one address twice is refused", one_address_twice_is_refused, 30},
      {"another server's port is refused in every mode", port_of_another_server_is_refused, 60})
