/*
 * activated: weir started as systemd starts it, with sockets that exist already. It serves them in
 * each accept mode, leaves them open for the next server when it stops, and keeps them over reloads
 * and upgrades. If it can't use one it exits with 2.
 *
 * The test keeps the sockets open, as systemd does. It uses systemd-socket-activate if that is
 * installed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/lingering.h"
#include "tests/support/servers/passed_sockets.h"

/* ---- a service ---- */

static _Noreturn void become_service(const struct said *said, const int *fds, int n,
				     const char *const arguments[], int err)
{
	const char *weir = getenv("WEIR"), *argv[32] = {weir ? weir : "build/weir"};

	for (int i = 0; arguments[i] && i < 30; i++)
		argv[i + 1] = arguments[i];
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)dup2(err, STDERR_FILENO);
	become_activated(said, fds, n);
	for (int fd = 3 + n; fd < 1024; fd++)
		(void)close(fd);
	(void)execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

static struct server *start(const struct said *said, const int *fds, int n,
			    const char *const arguments[])
{
	static struct server *servers; /* none is freed: a test's process ends soon */
	struct server *server = calloc(1, sizeof *server);
	int ends[2];

	ck_assert_ptr_nonnull(server);
	server->before = servers;
	servers = server;
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	server->pid = fork();
	ck_assert_int_ge(server->pid, 0);
	if (server->pid == 0)
		become_service(said, fds, n, arguments, ends[1]);
	(void)close(ends[1]);
	server->log_fd = ends[0];
	set_nonblocking(server->log_fd);
	return server;
}

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Starts weir with n sockets of these names, and waits until it is ready. */
static struct server *activate(const char *names, const int *fds, int n,
			       const char *const arguments[])
{
	char number[16];
	struct server *server;

	(void)snprintf(number, sizeof number, "%d", n);
	server = start(&(struct said){NULL, number, names}, fds, n, arguments);
	server_wait_log(server, "msg=ready");
	return server;
}

static unsigned port_of(int fd)
{
	const char *colon = strrchr(address_of(fd), ':');

	ck_assert_ptr_nonnull(colon);
	return (unsigned)strtoul(colon + 1, NULL, 10);
}

static void echoes(int client)
{
	send_text(client, "hello\n");
	expect_text(client, "hello\n");
}

static void echoes_once(int client)
{
	echoes(client);
	(void)close(client);
}

/* Sends a datagram; returns the client's socket. */
static int ask(int datagrams)
{
	struct sockaddr_storage to;
	socklen_t n = sizeof to;
	int fd = bind_to("127.0.0.1:0", SOCK_DGRAM);

	ck_assert_int_eq(getsockname(datagrams, (struct sockaddr *)&to, &n), 0);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&to, n), 0);
	send_text(fd, "ask");
	return fd;
}

static void is_answered(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	char text[8];

	ck_assert_int_eq(poll(&poll_fd, 1, (int)patience_ms()), 1);
	ck_assert_int_eq(recv(fd, text, sizeof text, 0), 3);
	ck_assert_int_eq(memcmp(text, "ask", 3), 0);
	(void)close(fd);
}

static void listens_there(struct server *server, const char *listener)
{
	ck_assert_msg(server_log_has(server, listener), "not %s: %s", listener, server->log);
}

static const char *const modes[] = {"reuseport", "shared", "handoff"};

/* ---- what is served ---- */

START_TEST(what_is_passed_is_served_and_nothing_else)
{
	int fds[] = {listen_at("127.0.0.1:0"), datagrams_at("127.0.0.1:0"),
		     listen_at(in_folder("a.sock"))};
	struct server *server;
	int client;

	server = activate("increment:echo:line", fds, 3,
			  ARGUMENTS("--workers", "2", "--accept", modes[_i]));
	listens_there(server, listener_of("increment", fds[0]));
	listens_there(server, listener_of("echo+udp", fds[1]));
	listens_there(server, listener_of("line", fds[2]));
	ck_assert_uint_eq(server_log_count(server, "://"), 3);
	client = connect_to(port_of(fds[0]));
	expect_text(client, "*");
	send_text(client, "^abc$");
	expect_text(client, "bcd");
	(void)close(client);
	is_answered(ask(fds[1]));
	echoes_once(connect_unix(in_folder("a.sock")));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(exists(in_folder("a.sock"))); /* it belongs to systemd */
}
END_TEST

/* Clients that connected before weir started are served by the LISTENER of that address, by all
 * workers. */
START_TEST(a_listener_serves_its_socket)
{
	int fds[] = {listen_at("127.0.0.1:0")}, clients[8];
	struct server *server;

	for (int i = 0; i < 8; i++)
		clients[i] = connect_to(port_of(fds[0]));
	server = activate("weir.socket", fds, 1,
			  ARGUMENTS("--workers", "3", "--accept", modes[_i], "echo://127.0.0.1:0",
				    listener_of("echo", fds[0])));
	for (int i = 0; i < 8; i++)
		echoes_once(clients[i]);
	for (int i = 0; i < 50; i++)
		echoes_once(connect_to(port_of(fds[0])));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Clients that connected before weir got the socket may have passed descriptors, as the kernel did
 * not refuse them yet. */
START_TEST(who_came_early_with_descriptors_holds_nobody_up)
{
	static const char *const refused[] = {"pause", "reject"};
	const char *path = in_folder("early.sock");
	int fd = listen_at(path), clients[3];
	struct server *server;

	for (int i = 0; i < 3; i++)
		clients[i] = connect_unix(path);
	ck_assert_int_eq(pass_lingering(clients[0], "x", false, 0), 0);
	ck_assert_int_eq(pass_lingering(clients[1], "x", true, 0), 0);
	(void)close(clients[1]);
	server = activate("echo", &fd, 1,
			  ARGUMENTS("--workers", "1", "--accept", modes[_i % 3],
				    "--max-connections", "1", "--overload", refused[_i / 3]));
	expect_reset_or_end(clients[0]);
	if (!(_i / 3)) { /* with overload=reject there is no room for it */
		echoes_once(clients[2]);
		echoes_once(connect_unix(path));
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(words_for_another_process_are_nothing)
{
	int fds[] = {listen_at("127.0.0.1:0")};
	struct server *server = start(&(struct said){"1", "1", "echo"}, fds, 1,
				      ARGUMENTS("--workers", "1", "line://127.0.0.1:0"));

	server_wait_log(server, "msg=ready");
	ck_assert(!server_log_has(server, "echo://"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(one_process_serves_them_too)
{
	int fds[] = {listen_at("127.0.0.1:0"), datagrams_at("127.0.0.1:0")};
	struct server *server =
	    activate("echo:echo", fds, 2, ARGUMENTS("--workers", "1", "--no-master"));

	echoes_once(connect_to(port_of(fds[0])));
	is_answered(ask(fds[1]));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- what is refused ---- */

static void does_not_start(const struct said *said, const int *fds, int n, const char *words)
{
	struct server *server = start(said, fds, n, ARGUMENTS("line://127.0.0.1:0"));
	int status = server_wait_exit(server);

	ck_assert_msg(status == 2, "exit %d: %s", status, server->log);
	ck_assert_msg(server_log_has(server, words), "not \"%s\": %s", words, server->log);
}

START_TEST(what_can_not_be_used_ends_the_start)
{
	int stream = listen_at("127.0.0.1:0"), alone = bind_to("127.0.0.1:0", SOCK_STREAM);
	char words[256];

	(void)snprintf(words, sizeof words,
		       "weir: inherited socket %s (weir.socket): no LISTENER has this address",
		       address_of(stream));
	does_not_start(&(struct said){NULL, "1", "weir.socket"}, &stream, 1, words);
	does_not_start(&(struct said){NULL, "2", "echo:line"}, &stream, 1,
		       "weir: inherited descriptor 4 (line) is no open descriptor");
	does_not_start(&(struct said){NULL, "1", "echo"}, &alone, 1,
		       "weir: inherited descriptor 3 (echo) is a connection, or not listening");
	does_not_start(&(struct said){NULL, "many", "echo"}, &stream, 1,
		       "weir: LISTEN_FDS is a number up to 64, not \"many\"");
}
END_TEST

/* ---- the next server ---- */

START_TEST(who_waits_at_a_stop_is_served_by_the_next)
{
	int fds[] = {listen_at("127.0.0.1:0"), datagrams_at("127.0.0.1:0")};
	const char *const *arguments =
	    ARGUMENTS("--workers", "1", "--max-connections", "1", "--accept", modes[_i]);
	struct server *server = activate("echo:echo", fds, 2, arguments);
	int first = connect_to(port_of(fds[0])), second, third, asking;

	echoes(first);
	second = connect_to(port_of(fds[0])); /* it has to wait */
	send_text(second, "hello\n");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	expect_end(first);
	third = connect_to(port_of(fds[0])); /* no server runs: it waits */
	asking = ask(fds[1]);
	server = activate("echo:echo", fds, 2, ARGUMENTS("--workers", "1"));
	expect_text(second, "hello\n");
	(void)close(second);
	echoes_once(third);
	is_answered(asking);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(a_stop_at_once_leaves_them_too)
{
	int fds[] = {listen_at("127.0.0.1:0"), listen_at(in_folder("q.sock"))}, waiting;

	for (int i = 0; i < 3; i++) {
		struct server *server = activate("echo:echo", fds, 2, ARGUMENTS("--workers", "2"));

		echoes_once(connect_to(port_of(fds[0])));
		ck_assert_int_eq(server_stop(server, i ? SIGQUIT : SIGTERM), 0);
		waiting = connect_unix(in_folder("q.sock"));
		server = activate("echo:echo", fds, 2, ARGUMENTS("--workers", "2"));
		echoes_once(waiting);
		ck_assert_int_eq(server_stop(server, SIGQUIT), 0);
	}
}
END_TEST

START_TEST(a_reload_keeps_them)
{
	int fds[] = {listen_at("127.0.0.1:0"), listen_at(in_folder("r.sock")),
		     datagrams_at("127.0.0.1:0")};
	struct server *server = activate("echo:echo:echo", fds, 3, ARGUMENTS("--workers", "2"));
	int client = connect_to(port_of(fds[0]));
	char words[64];

	for (int i = 2; i < 7; i++) {
		echoes(client);
		ck_assert_int_eq(kill(server->pid, SIGHUP), 0);
		(void)snprintf(words, sizeof words, "generation %d serves", i);
		server_wait_log(server, words);
		echoes_once(connect_to(port_of(fds[0])));
		echoes_once(connect_unix(in_folder("r.sock")));
		is_answered(ask(fds[2]));
	}
	echoes_once(client);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* The pid of the last master that logged that it was ready. */
static pid_t last_master(const struct server *server)
{
	const char *at = server->log, *found = NULL;

	while ((at = strstr(at, "msg=ready pid=")))
		found = at += strlen("msg=ready pid=");
	ck_assert_ptr_nonnull(found);
	return (pid_t)strtol(found, NULL, 10);
}

START_TEST(an_upgrade_keeps_them)
{
	int fds[] = {listen_at("127.0.0.1:0"), listen_at(in_folder("u.sock")),
		     datagrams_at("127.0.0.1:0")};
	struct server *server;
	int client;

	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	server = activate("echo:line:echo", fds, 3, ARGUMENTS("--workers", "2"));
	client = connect_to(port_of(fds[0]));
	for (int i = 0; i < 4; i++) {
		pid_t old = server->pid;

		echoes(client);
		ck_assert_int_eq(kill(old, SIGUSR2), 0);
		ck_assert_int_eq(server_wait_exit(server), 0);
		server->pid = last_master(server);
		ck_assert_int_ne(server->pid, old);
		echoes_once(connect_to(port_of(fds[0])));
		echoes_once(connect_unix(in_folder("u.sock")));
		is_answered(ask(fds[2]));
	}
	echoes_once(client);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(exists(in_folder("u.sock")));
}
END_TEST

START_TEST(systemd_socket_activate_starts_it)
{
	const char *path = in_folder("s.sock"), *weir = getenv("WEIR");
	pid_t pid;
	int client, status;

	if (!command_exists("systemd-socket-activate")) {
		suite_skip("systemd-socket-activate starts it",
			   "systemd-socket-activate is not installed");
		return;
	}
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)execlp("systemd-socket-activate", "systemd-socket-activate", "-l", path,
			     "--fdname=line", weir ? weir : "build/weir", "--workers", "1", NULL);
		_exit(127);
	}
	for (struct wait wait = wait_begin(); (client = try_connect_unix(path)) < 0;)
		wait_more(&wait, "a socket of systemd-socket-activate");
	/* The client is connected, so weir is started now. */
	echoes(client);
	ck_assert_int_eq(kill(pid, SIGTERM), 0);
	expect_end(client);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

SUITE("activated",
      {"what is passed is served, and nothing else", what_is_passed_is_served_and_nothing_else, 30,
       3},
      {"a LISTENER serves its socket", a_listener_serves_its_socket, 30, 3},
      {"who came early with descriptors holds nobody up",
       who_came_early_with_descriptors_holds_nobody_up, 20, 6},
      {"words for another process are nothing", words_for_another_process_are_nothing, 20},
      {"one process serves them, too", one_process_serves_them_too, 20},
      {"what can not be used ends the start", what_can_not_be_used_ends_the_start, 20},
      {"who waits at a stop is served by the next", who_waits_at_a_stop_is_served_by_the_next, 30,
       3},
      {"a stop at once leaves them, too", a_stop_at_once_leaves_them_too, 30},
      {"a reload keeps them", a_reload_keeps_them, 30},
      {"an upgrade keeps them", an_upgrade_keeps_them, 60},
      {"systemd-socket-activate starts it", systemd_socket_activate_starts_it, 30})
