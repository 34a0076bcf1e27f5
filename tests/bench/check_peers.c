/*
 * The peers of bench/peers: that they do the same work as weir, so that a comparison is fair. Bytes
 * come back whole and in order, to one client and to fifty, and so do those that are owed after a
 * FIN; a reset costs only its own connection; nothing is left when clients have gone. Peers that
 * speak http answer each request once, however it is cut. The one that speaks chat says each line
 * to everybody else, once.
 *
 * A peer that is not built ($BUILD/peers/NAME) is skipped.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/clients/load.h"
#include "tests/support/harness.h"

#define CLIENTS	     50
#define PIECE_BYTES  16384
#define VOLUME_BYTES (1ul << 20)

/* Has the harness start this peer: it starts whatever $WEIR names. */
static bool choose(const char *name)
{
	char below[64];
	const char *path;

	(void)snprintf(below, sizeof below, "peers/%s", name);
	path = built(below);
	return access(path, X_OK) == 0 && setenv("WEIR", path, 1) == 0;
}

static bool choose_or_skip(const char *name)
{
	bool there = choose(name);

	if (!there)
		suite_skip(name, "not built (make peers says what it needs)");
	return there;
}

static struct server *start_speaker(const char *protocol)
{
	char ready[64], listener[32];
	struct server *server;

	(void)snprintf(ready, sizeof ready, "msg=ready listeners=\"%s://127.0.0.1:", protocol);
	(void)snprintf(listener, sizeof listener, "%s://127.0.0.1:0", protocol);
	server = server_launch((const char *const[]){listener, NULL});
	server_wait_log(server, ready);
	server_wait_log(server, "\"\n");
	server->ports[0] = (unsigned)strtoul(strstr(server->log, ready) + strlen(ready), NULL, 10);
	ck_assert_uint_gt(server->ports[0], 0);
	return server;
}

static struct server *start_peer(void)
{
	return start_speaker("echo");
}

static unsigned char *random_bytes(size_t n, uint64_t seed)
{
	unsigned char *bytes = malloc(n);

	ck_assert_ptr_nonnull(bytes);
	fill_random(bytes, n, seed);
	return bytes;
}

/* Sends in a process of its own, so that this one can read at the same time. */
static void a_volume_then_half_close(unsigned port)
{
	unsigned char *bytes = random_bytes(VOLUME_BYTES, 17), *came = malloc(VOLUME_BYTES);
	int fd = connect_to(port), status;
	pid_t sender = fork();

	ck_assert_int_ge(sender, 0);
	if (sender == 0) {
		send_all(fd, bytes, VOLUME_BYTES);
		finish_sending(fd);
		_exit(0);
	}
	ck_assert_ptr_nonnull(came);
	ck_assert_uint_eq(receive_to_end(fd, came, VOLUME_BYTES), VOLUME_BYTES);
	ck_assert_msg(memcmp(came, bytes, VOLUME_BYTES) == 0, "other bytes came back");
	ck_assert_int_eq(waitpid(sender, &status, 0), sender);
	ck_assert_int_eq(status, 0);
	(void)close(fd);
	free(bytes);
	free(came);
}

/* Fifty clients, all of which have sent before the first one reads, and have ended their sides
 * before the first one looks for its end. */
static void fifty_at_once(unsigned port)
{
	unsigned char *bytes = random_bytes(CLIENTS + PIECE_BYTES, 4711);
	int fds[CLIENTS];

	for (int i = 0; i < CLIENTS; i++)
		fds[i] = connect_to(port);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < CLIENTS; i++)
			send_all(fds[i], bytes + i, PIECE_BYTES);
		if (round == 2)
			for (int i = 0; i < CLIENTS; i++)
				finish_sending(fds[i]);
		for (int i = 0; i < CLIENTS; i++)
			expect_bytes(fds[i], bytes + i, PIECE_BYTES);
	}
	for (int i = 0; i < CLIENTS; i++) {
		expect_end(fds[i]);
		(void)close(fds[i]);
	}
	free(bytes);
}

static void one_message(unsigned port)
{
	int fd = connect_to(port);

	send_text(fd, "hello");
	expect_text(fd, "hello");
	finish_sending(fd);
	expect_end(fd);
	(void)close(fd);
}

static void resets(unsigned port)
{
	for (int i = 0; i < CLIENTS; i++) {
		int fd = connect_to(port);

		send_text(fd, "gone");
		reset(fd);
	}
}

static void wait_descriptors(struct server *server, size_t n)
{
	struct wait wait = wait_begin();

	while (process_descriptors_n(server->pid) > n)
		wait_more(&wait, "the descriptors of those who left to be closed");
}

static void check_peer(const char *name)
{
	struct server *server;
	size_t descriptors;
	unsigned port;

	if (!choose_or_skip(name))
		return;
	server = start_peer();
	port = server->ports[0];
	descriptors = process_descriptors_n(server->pid);
	one_message(port);
	a_volume_then_half_close(port);
	fifty_at_once(port);
	resets(port);
	one_message(port);
	wait_descriptors(server, descriptors);
	ck_assert_int_eq(server_stop(server, SIGTERM), 128 + SIGTERM);
}

START_TEST(libevent)
{
	check_peer("libevent");
}
END_TEST

START_TEST(libuv)
{
	check_peer("libuv");
}
END_TEST

START_TEST(node)
{
	check_peer("node");
}
END_TEST

START_TEST(go)
{
	check_peer("go");
}
END_TEST

/* ---- http ---- */

#define REQUEST "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

/* Reads the answer to one request, which ends with "ok". Returns its length. */
static size_t one_answer(int fd, char *answer, size_t room)
{
	size_t n = 0;

	while (n < 6 || memcmp(answer + n - 6, "\r\n\r\nok", 6) != 0) {
		ck_assert_uint_lt(n, room);
		receive_exactly(fd, answer + n++, 1);
	}
	ck_assert_msg(strncmp(answer, "HTTP/1.1 200 OK\r\n", 17) == 0, "%.*s", (int)n, answer);
	return n;
}

/* Sends a request in two pieces, cut in each place, and sixteen at once. Another connection is
 * answered between the two pieces, so that the server has certainly seen the first one. */
static void answers_http(const char *name)
{
	static const char request[] = REQUEST;
	char answer[1024], many[16 * sizeof request];
	struct server *server;
	int fd, other;

	if (!choose_or_skip(name))
		return;
	server = start_speaker("http");
	fd = connect_to(server->ports[0]);
	other = connect_to(server->ports[0]);
	for (size_t cut = 1; cut < sizeof request - 1; cut++) {
		send_all(fd, request, cut);
		send_text(other, REQUEST);
		(void)one_answer(other, answer, sizeof answer);
		send_all(fd, request + cut, sizeof request - 1 - cut);
		(void)one_answer(fd, answer, sizeof answer);
	}
	for (size_t i = 0; i < 16; i++)
		memcpy(many + i * (sizeof request - 1), request, sizeof request);
	send_text(fd, many);
	for (int i = 0; i < 16; i++)
		(void)one_answer(fd, answer, sizeof answer);
	finish_sending(fd);
	expect_end(fd);
	(void)close(fd);
	(void)close(other);
	ck_assert_int_eq(server_stop(server, SIGTERM), 128 + SIGTERM);
}

START_TEST(http_node)
{
	answers_http("node");
}
END_TEST

START_TEST(http_go)
{
	answers_http("go");
}
END_TEST

static size_t answer_bytes(struct server *server)
{
	char answer[1024];
	int fd = connect_to(server->ports[0]);
	size_t n;

	send_text(fd, REQUEST);
	n = one_answer(fd, answer, sizeof answer);
	(void)close(fd);
	return n;
}

/* The floor's answer is as long as weir's, so that neither has more to send. */
START_TEST(http_floor)
{
	struct server *server = SERVER("http://127.0.0.1:0");
	size_t bytes = answer_bytes(server);

	(void)server_stop(server, SIGTERM);
	answers_http("http_floor");
	server = start_speaker("http");
	ck_assert_uint_eq(answer_bytes(server), bytes);
	(void)server_stop(server, SIGTERM);
}
END_TEST

/* hold_floor is client and server in one, and ends by itself. */
START_TEST(hold_floor)
{
	char output[1024];

	if (!choose_or_skip("hold_floor"))
		return;
	ck_assert_msg(RUN(output, "300", "3") == 0, "%s", output);
	ck_assert_ptr_nonnull(strstr(output, "\"held\": 300"));
	ck_assert_ptr_nonnull(strstr(output, "\"ramp_s\": "));
	ck_assert_int_eq(RUN(output, "none"), 2);
	ck_assert_int_eq(RUN(output, "300", "0"), 2);
	ck_assert_ptr_nonnull(strstr(output, "usage: "));
}
END_TEST

/* ---- chat ---- */

static struct server *start_floor(const char *processes)
{
	static const char ready[] = "msg=ready listeners=\"chat://127.0.0.1:";
	static const char listener[] = "chat://127.0.0.1:0";
	struct server *server =
	    server_launch((const char *const[]){"-w", processes, listener, listener, NULL});
	char *at;

	server_wait_log(server, ready);
	server_wait_log(server, "\"\n");
	server->ports[0] = (unsigned)strtoul(strstr(server->log, ready) + strlen(ready), &at, 10);
	ck_assert_int_eq(strncmp(at, " chat://127.0.0.1:", 18), 0);
	server->ports[1] = (unsigned)strtoul(at + 18, NULL, 10);
	return server;
}

/* What is said at one port goes to all its clients but who said it, whichever process has them,
 * once and in order; to nobody else. One sender at a time, since it finds no lines in what it
 * reads. */
START_TEST(fan_floor)
{
	static const char *const processes[] = {"1", "3"};
	struct server *server;
	size_t descriptors;
	char byte;
	int fd;

	if (!choose_or_skip("fan_floor"))
		return;
	server = start_floor(processes[_i]);
	descriptors = process_descriptors_n(server->pid);
	fd = connect_to(server->ports[1]);
	load_expect_fine(LOAD_ANSWERED("-c", "24", "--senders", "1", "--rate", "100", "-d", "200ms",
				       "--warmup", "0", "--timeout", "60s", "-P", "2",
				       load_listener("chat", server->ports[0])));
	ck_assert_msg(load_figure("errors") == 0 && load_figure("messages_total") >= 23, "%s",
		      load_said());
	ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	resets(server->ports[0]);
	load_expect_fine(LOAD_ANSWERED("-c", "2", "--senders", "1", "--rate", "100", "-d", "200ms",
				       "--warmup", "0", "--timeout", "60s",
				       load_listener("chat", server->ports[1])));
	receive_exactly(fd, &byte, 1);
	(void)close(fd);
	wait_descriptors(server, descriptors);
	ck_assert_int_eq(server_stop(server, SIGTERM), 128 + SIGTERM);
}
END_TEST

START_TEST(fan_floor_ends_for_who_does_not_read)
{
	static char much[1 << 16];
	struct server *server;
	int deaf, fd;

	if (!choose_or_skip("fan_floor"))
		return;
	server = start_floor("1");
	deaf = connect_to(server->ports[0]);
	fd = connect_to(server->ports[0]);
	while (send(fd, much, sizeof much, MSG_NOSIGNAL) > 0)
		;
	ck_assert_int_eq(server_wait_exit(server), 1);
	ck_assert(server_log_has(server, "write a client that does not read: "));
	(void)close(deaf);
	(void)close(fd);
}
END_TEST

START_TEST(fan_floor_names_wrong_usage)
{
	char output[1024];

	if (!choose_or_skip("fan_floor"))
		return;
	ck_assert_int_eq(RUN(output, "-w", "0", "chat://127.0.0.1:0"), 2);
	ck_assert_ptr_nonnull(strstr(output, "not a number of processes"));
	ck_assert_int_eq(RUN(output, "-w", "2"), 2);
	ck_assert_int_eq(RUN(output, "echo://127.0.0.1:0"), 2);
	ck_assert_ptr_nonnull(strstr(output, "usage: "));
}
END_TEST

/* From here on io_uring_setup fails with EPERM, as with kernel.io_uring_disabled = 2. */
static void forbid_io_uring(void)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof code / sizeof *code, code};

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static bool io_uring_allowed(void)
{
	return syscall(SYS_io_uring_setup, 0, NULL) < 0 && errno != EPERM && errno != ENOSYS;
}

START_TEST(io_uring)
{
	if (io_uring_allowed())
		check_peer("io_uring");
	else
		suite_skip("io_uring", "the kernel refuses io_uring_setup");
}
END_TEST

START_TEST(io_uring_refused)
{
	char output[1024];

	if (!choose_or_skip("io_uring"))
		return;
	forbid_io_uring();
	ck_assert_int_eq(RUN(output, "echo://127.0.0.1:0"), 1);
	ck_assert_ptr_nonnull(strstr(output, "io_uring_setup refused"));
}
END_TEST

static void wrong_usage(const char *name)
{
	static const char *const wrong[] = {"increment://127.0.0.1:0", "echo://127.0.0.1", "-x"};
	char output[1024], taken[64];
	struct server *server;

	ck_assert_int_eq(RUN(output, NULL), 2);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		ck_assert_msg(RUN(output, wrong[i]) == 2, "%s %s: %s", name, wrong[i], output);
		ck_assert_ptr_nonnull(strstr(output, "usage: "));
	}
	server = start_peer();
	(void)snprintf(taken, sizeof taken, "echo://127.0.0.1:%u", server->ports[0]);
	ck_assert_msg(RUN(output, taken) == 1, "%s: a taken port: %s", name, output);
	ck_assert_int_eq(server_stop(server, SIGTERM), 128 + SIGTERM);
}

START_TEST(wrong_usage_and_taken_ports)
{
	static const char *const names[] = {"libevent", "libuv", "node", "go"};
	size_t n = 0;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (choose(names[i])) {
			wrong_usage(names[i]);
			n++;
		}
	if (!n)
		suite_skip("wrong usage and taken ports", "no peer is built");
}
END_TEST

SUITE("peers", {"libevent", libevent, 20}, {"libuv", libuv, 20}, {"node", node, 20}, {"go", go, 20},
      {"http: node", http_node, 20}, {"http: go", http_go, 20}, {"http: floor", http_floor, 20},
      {"hold_floor", hold_floor, 20}, {"fan_floor", fan_floor, 30, .times = 2},
      {"fan_floor ends for who does not read", fan_floor_ends_for_who_does_not_read, 20},
      {"fan_floor names wrong usage", fan_floor_names_wrong_usage, 10}, {"io_uring", io_uring, 20},
      {"io_uring refused", io_uring_refused, 10},
      {"wrong usage and taken ports", wrong_usage_and_taken_ports, 30})
