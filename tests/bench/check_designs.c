/*
 * The classic server designs of bench/designs: each serves the same bytes as weir, leaves no
 * process, zombie or descriptor behind, and goes on serving when there is no room for more peers.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/designs.h"

#define CLIENTS	  50
#define PEERS_MAX 1100

static const struct design {
	const char *name;
	bool concurrent, echo_only;
	const char *workers; /* for -w: one worker for each of CLIENTS; NULL: it takes no -w */
} designs[] = {
    {"iterative", false, false, NULL},	{"fork", true, false, NULL},
    {"spawn", true, false, NULL},	{"pass", true, false, "50"},
    {"accept-many", true, false, "50"}, {"thread", true, false, NULL},
    {"select", true, false, NULL},	{"poll", true, false, NULL},
    {"floor", true, true, "1"},		{NULL, false, false, NULL},
};

/* ---- starting one ---- */

static struct server *start_on(const struct design *design, const char *protocol, unsigned port)
{
	char listener[64];

	design_choose(design->name);
	(void)snprintf(listener, sizeof listener, "%s://127.0.0.1:%u", protocol, port);
	if (design->workers)
		return DESIGN_LAUNCH("-w", design->workers, listener);
	return DESIGN_LAUNCH(listener);
}

static struct server *start(const struct design *design, const char *protocol)
{
	return start_on(design, protocol, 0);
}

static const struct design *design_named(const char *name)
{
	const struct design *design = designs;

	while (design->name && strcmp(design->name, name) != 0)
		design++;
	ck_assert_msg(design->name != NULL, "no design is called %s", name);
	return design;
}

static size_t threads_of(pid_t pid)
{
	char folder[64];
	struct dirent *entry;
	size_t n = 0;
	DIR *dir;

	(void)snprintf(folder, sizeof folder, "/proc/%d/task", (int)pid);
	dir = opendir(folder);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		n += *entry->d_name != '.';
	(void)closedir(dir);
	return n;
}

/* ---- what they serve ---- */

static void talk(const struct server *server, bool increment)
{
	int fd = connect_to(server->ports[0]);

	send_text(fd, "^abc$de^abte$f");
	finish_sending(fd);
	expect_text(fd, increment ? "*bcdbcuf" : "^abc$de^abte$f");
	expect_end(fd);
	(void)close(fd);
}

START_TEST(the_transcript)
{
	for (const struct design *design = designs; design->name; design++) {
		struct server *server = start(design, "echo");

		talk(server, false);
		design_stop(server);
		if (design->echo_only)
			continue;
		server = start(design, "increment");
		talk(server, true);
		design_stop(server);
	}
}
END_TEST

/* Sends and receives at once, ends its side, and receives to the end. */
static void exchange(int fd, const unsigned char *out, size_t out_n, const unsigned char *expected,
		     size_t expected_n, const char *who)
{
	size_t sent = 0, came = 0;
	static unsigned char bytes[1 << 18];

	set_nonblocking(fd);
	if (!out_n)
		finish_sending(fd);
	for (;;) {
		struct pollfd event = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (sent < out_n)
			event.events |= POLLOUT;
		ck_assert_msg(poll(&event, 1, (int)patience_ms()) > 0, "%s: no byte moved", who);
		if (event.revents & POLLOUT) {
			n = send(fd, out + sent, out_n - sent, MSG_NOSIGNAL);
			ck_assert_msg(n > 0 || errno == EAGAIN, "%s: %s", who, strerror(errno));
			sent += n > 0 ? (size_t)n : 0;
			if (sent == out_n)
				finish_sending(fd);
		}
		n = recv(fd, bytes, sizeof bytes, 0);
		ck_assert_msg(n >= 0 || errno == EAGAIN, "%s: %s", who, strerror(errno));
		if (n == 0)
			break;
		if (n < 0)
			continue;
		ck_assert_msg(came + (size_t)n <= expected_n, "%s: too many bytes", who);
		ck_assert_msg(memcmp(bytes, expected + came, (size_t)n) == 0,
			      "%s: other bytes after %zu", who, came);
		came += (size_t)n;
	}
	ck_assert_msg(came == expected_n, "%s: %zu of %zu bytes", who, came, expected_n);
	(void)close(fd);
}

START_TEST(bytes_are_intact)
{
	size_t n = suite_volume(4) << 20, answer_n;
	unsigned char *bytes = malloc(n), *answer = malloc(n + 1);

	ck_assert(bytes && answer);
	fill_random(bytes, n, 42);
	answer_n = design_incremented(answer, bytes, n);
	ck_assert_uint_gt(answer_n, n / 4);
	for (const struct design *design = designs; design->name; design++) {
		struct server *server = start(design, "echo");

		exchange(connect_to(server->ports[0]), bytes, n, bytes, n, design->name);
		design_stop(server);
		if (design->echo_only)
			continue;
		server = start(design, "increment");
		exchange(connect_to(server->ports[0]), bytes, n, answer, answer_n, design->name);
		design_stop(server);
	}
	free(bytes);
	free(answer);
}
END_TEST

/* Fifty with a large message under way each, all served before any of them leaves; the
 * iterative one serves the same fifty one after the other. */
START_TEST(fifty_at_once)
{
	static unsigned char bytes[16 << 10];
	int fds[CLIENTS];

	fill_random(bytes, sizeof bytes, 7);
	for (const struct design *design = designs; design->name; design++) {
		struct server *server = start(design, "echo");

		for (int i = 0; i < CLIENTS; i++)
			fds[i] = connect_to(server->ports[0]);
		for (int round = 0; design->concurrent && round < 4; round++) {
			for (int i = CLIENTS - 1; i >= 0; i--)
				send_all(fds[i], bytes, sizeof bytes);
			for (int i = CLIENTS - 1; i >= 0; i--)
				expect_bytes(fds[i], bytes, sizeof bytes);
		}
		for (int i = 0; i < CLIENTS; i++) {
			send_text(fds[i], "goodbye");
			finish_sending(fds[i]);
		}
		for (int i = 0; i < CLIENTS; i++) {
			expect_text(fds[i], "goodbye");
			expect_end(fds[i]);
			(void)close(fds[i]);
		}
		design_stop(server);
	}
}
END_TEST

/* The server writes to a peer that ended its side and then reset: EPIPE, and a SIGPIPE. */
static void reset_before_the_answer(const struct server *server)
{
	pid_t processes[2 * CLIENTS];
	size_t n = design_children(server->pid, processes, 2 * CLIENTS - 1);
	int fd;

	processes[n++] = server->pid;
	for (size_t i = 0; i < n; i++)
		(void)kill(processes[i], SIGSTOP);
	fd = connect_to(server->ports[0]);
	send_text(fd, "hello");
	finish_sending(fd);
	reset(fd);
	for (size_t i = 0; i < n; i++)
		(void)kill(processes[i], SIGCONT);
}

START_TEST(a_reset_ends_one_connection)
{
	static unsigned char bytes[1 << 16];

	for (const struct design *design = designs; design->name; design++) {
		struct server *server = start(design, "echo");

		for (int i = 0; i < 60; i++) {
			int fd = connect_to(server->ports[0]);

			if (i % 3)
				send_all(fd, bytes, i % 3 == 1 ? 1 : sizeof bytes);
			reset(fd);
		}
		reset_before_the_answer(server);
		talk(server, false);
		design_stop(server);
	}
}
END_TEST

/* ---- what they leave behind ---- */

START_TEST(nothing_is_left)
{
	for (const struct design *design = designs; design->name; design++) {
		struct server *server = start(design, "echo");
		size_t workers = design->workers && !design->echo_only ? CLIENTS : 0;
		struct wait wait = wait_begin();
		pid_t children[2 * CLIENTS];
		size_t descriptors;

		talk(server, false); /* some open more descriptors after their ready line */
		descriptors = process_descriptors_n(server->pid);
		for (int i = 0; i < 100; i++)
			talk(server, false);
		while (process_descriptors_n(server->pid) != descriptors)
			wait_more(&wait, design->name);
		while (design_children(server->pid, children, 2 * CLIENTS) != workers)
			wait_more(&wait, design->name);
		while (threads_of(server->pid) != 1)
			wait_more(&wait, design->name);
		for (size_t i = 0; i < workers; i++)
			ck_assert_int_ne(process_state(children[i]), 'Z');
		design_stop(server);
	}
}
END_TEST

/* TERM ends each design while peers are connected. Then the port is free, although connections on
 * it have not ended yet. */
START_TEST(term_ends_all)
{
	for (const struct design *design = designs; design->name; design++) {
		struct server *server = start(design, "echo");
		unsigned port = server->ports[0];
		struct wait wait = wait_begin();
		pid_t children[2 * CLIENTS];
		int fds[10];
		size_t n;

		for (int i = 0; i < (design->concurrent ? 10 : 1); i++) {
			fds[i] = connect_to(port);
			send_text(fds[i], "hello");
			expect_text(fds[i], "hello");
		}
		n = design_children(server->pid, children, 2 * CLIENTS);
		design_stop(server);
		for (size_t i = 0; i < n; i++)
			while (process_state(children[i]) && process_state(children[i]) != 'Z')
				wait_more(&wait, design->name);
		for (int i = 0; i < (design->concurrent ? 10 : 1); i++)
			expect_reset_or_end(fds[i]);
		server = start_on(design, "echo", port);
		talk(server, false);
		design_stop(server);
	}
}
END_TEST

/* ---- when there is no room for more ---- */

static void expect_echo(int fd)
{
	send_text(fd, "hello");
	expect_text(fd, "hello");
}

/* A busy loop would use 30 ticks in this time. */
static void expect_no_spin(const struct server *server, const char *name)
{
	unsigned long ticks = process_ticks(server->pid);

	(void)poll(NULL, 0, 300);
	ck_assert_msg(process_ticks(server->pid) - ticks < 15, "%s spins", name);
}

START_TEST(no_descriptors_left)
{
	static const char *const names[] = {"thread", "select", "poll", "floor"};

	for (size_t which = 0; which < sizeof names / sizeof *names; which++) {
		struct server *server = start(design_named(names[which]), "echo");
		struct rlimit limit;
		int fds[20];

		talk(server, false);
		limit.rlim_cur = limit.rlim_max = process_descriptors_n(server->pid) + 5;
		ck_assert_int_eq(prlimit(server->pid, RLIMIT_NOFILE, &limit, NULL), 0);
		for (int i = 0; i < 20; i++)
			fds[i] = connect_to(server->ports[0]);
		for (int i = 0; i < 5; i++)
			expect_echo(fds[i]);
		server_wait_log(server, "no room to accept");
		expect_no_spin(server, names[which]);
		/* When one client leaves, a waiting one is let in; no new connection has to come.
		 */
		for (int i = 0; i < 15; i++) {
			(void)close(fds[i]);
			expect_echo(fds[i + 5]);
		}
		design_stop(server);
	}
}
END_TEST

START_TEST(select_refuses_above_its_limit)
{
	struct server *server;
	static int fds[PEERS_MAX];

	raise_descriptor_limit();
	server = start(design_named("select"), "echo");
	for (int i = 0; i < PEERS_MAX; i++)
		fds[i] = connect_to(server->ports[0]);
	server_wait_log(server, "refused=64");
	/* The first ones are served; the last ones were closed. */
	for (int i = 0; i < 1000; i++)
		expect_echo(fds[i]);
	for (int i = 1024; i < PEERS_MAX; i++)
		expect_end(fds[i]);
	for (int i = 0; i < PEERS_MAX; i++)
		(void)close(fds[i]);
	talk(server, false);
	design_stop(server);
}
END_TEST

START_TEST(a_thousand_at_once)
{
	static const char *const names[] = {"fork", "thread", "poll", "floor"};
	static int fds[1000];
	int n = (int)suite_volume(1000);

	raise_descriptor_limit();
	for (size_t which = 0; which < sizeof names / sizeof *names; which++) {
		struct server *server = start(design_named(names[which]), "echo");

		for (int i = 0; i < n; i++)
			fds[i] = connect_to(server->ports[0]);
		for (int i = 0; i < n; i++)
			expect_echo(fds[i]);
		for (int i = 0; i < n; i++)
			(void)close(fds[i]);
		talk(server, false);
		design_stop(server);
	}
}
END_TEST

/* Sends until the server takes no more for a while. Returns how much it took. */
static size_t flood(int fd, const unsigned char *bytes, size_t n)
{
	size_t sent = 0;

	set_nonblocking(fd);
	while (sent < n) {
		struct pollfd event = {.fd = fd, .events = POLLOUT};
		ssize_t part;

		if (poll(&event, 1, 200) == 0)
			break;
		part = send(fd, bytes + sent, n - sent, MSG_NOSIGNAL);
		ck_assert_msg(part > 0 || errno == EAGAIN, "send: %s", strerror(errno));
		sent += part > 0 ? (size_t)part : 0;
	}
	return sent;
}

/* A peer that does not read delays no other, and gets its bytes when it does read. */
START_TEST(a_peer_that_does_not_read)
{
	static const char *const names[] = {"fork", "thread", "select", "poll", "pass"};
	size_t n = 64 << 20;
	unsigned char *bytes = malloc(n);

	ck_assert_ptr_nonnull(bytes);
	fill_random(bytes, n, 3);
	for (size_t which = 0; which < sizeof names / sizeof *names; which++) {
		struct server *server = start(design_named(names[which]), "echo");
		int fd = connect_to(server->ports[0]);
		size_t sent;

		set_buffers(fd, 1 << 16, 1 << 16);
		sent = flood(fd, bytes, n);
		ck_assert_msg(sent < n, "%s keeps what nobody reads", names[which]);
		ck_assert_uint_lt(process_memory(server->pid), 64u << 20);
		talk(server, false);
		expect_no_spin(server, names[which]);
		exchange(fd, NULL, 0, bytes, sent, names[which]);
		design_stop(server);
	}
	free(bytes);
}
END_TEST

START_TEST(floor_with_workers)
{
	struct server *server;
	pid_t children[8];
	int fds[CLIENTS];

	design_choose("floor");
	server = DESIGN_LAUNCH("-w", "3", "echo://127.0.0.1:0");
	ck_assert_uint_eq(design_children(server->pid, children, 8), 3);
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = connect_to(server->ports[0]);
		expect_echo(fds[i]);
	}
	/* No other worker can serve the connections of one that died, so all workers end. */
	ck_assert_int_eq(kill(children[1], SIGKILL), 0);
	ck_assert_int_eq(server_wait_exit(server), 1);
	for (int i = 0; i < CLIENTS; i++)
		expect_reset_or_end(fds[i]);
}
END_TEST

/* ---- usage ---- */

static void expect_run(int status, const char *words, const char *const arguments[])
{
	char output[4096];

	ck_assert_int_eq(server_run(arguments, output, sizeof output), status);
	ck_assert_msg(strstr(output, words) != NULL, "\"%s\" is not in: %s", words, output);
}
#define EXPECT_RUN(status, words, ...)                                                             \
	expect_run(status, words, (const char *const[]){__VA_ARGS__, NULL})

START_TEST(wrong_usage)
{
	char taken[64];

	design_choose("poll");
	EXPECT_RUN(2, "one LISTENER", NULL);
	EXPECT_RUN(2, "one LISTENER", "echo://127.0.0.1:0", "echo://127.0.0.1:0");
	EXPECT_RUN(2, "wrong usage", "-w", "2", "echo://127.0.0.1:0");
	EXPECT_RUN(2, "no protocol is", "upper://127.0.0.1:0");
	EXPECT_RUN(2, "does not serve", "line://127.0.0.1:0");
	EXPECT_RUN(2, "no datagrams", "echo+udp://127.0.0.1:0");
	EXPECT_RUN(2, "a port is a number", "echo://127.0.0.1:x");
	EXPECT_RUN(2, "takes no keys", "echo://127.0.0.1:0?accept=shared");
	design_choose("floor");
	EXPECT_RUN(2, "does not serve", "increment://127.0.0.1:0");
	EXPECT_RUN(2, "-w takes", "-w", "0", "echo://127.0.0.1:0");
	design_choose("iterative-udp");
	EXPECT_RUN(2, "datagrams only", "echo://127.0.0.1:0");
	(void)snprintf(taken, sizeof taken, "echo://127.0.0.1:%u",
		       start(design_named("thread"), "echo")->ports[0]);
	design_choose("iterative");
	EXPECT_RUN(1, "bind: Address already in use", taken);
}
END_TEST

SUITE("designs", {"the transcript", the_transcript, 30}, {"bytes are intact", bytes_are_intact, 60},
      {"fifty at once", fifty_at_once, 30},
      {"a reset ends one connection", a_reset_ends_one_connection, 30},
      {"nothing is left", nothing_is_left, 30}, {"TERM ends all", term_ends_all, 30},
      {"no descriptors left", no_descriptors_left, 30},
      {"select refuses above its limit", select_refuses_above_its_limit, 30},
      {"a thousand at once", a_thousand_at_once, 30},
      {"a peer that does not read", a_peer_that_does_not_read, 30},
      {"floor with workers", floor_with_workers, 30}, {"wrong usage", wrong_usage, 30})
