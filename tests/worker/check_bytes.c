/*
 * Bytes: all that a client sends comes back, in order and once, and then the end of the stream;
 * for a gigabyte as for one segment that carries the FIN too.
 *
 * The clients half-close: this file's own, and socat and nc if they are installed. Each block
 * that comes back is compared with the generator's, so nothing has to be stored and a byte in the
 * wrong place is seen. MSG_MORE puts the FIN into the segment of the data; TCP_INFO proves it.
 *
 * Not tested: loss, reordering and small windows, which do not happen on loopback.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include "tests/support/harness.h"

#define BLOCK_BYTES 262144ul
#define MIB	    (1ul << 20)

/* ---- a stream that is generated, and compared with itself ---- */

struct stream {
	unsigned char *bytes;
	unsigned long at, total; /* bytes */
};

static struct stream stream_new(unsigned long total)
{
	unsigned char *bytes = malloc(BLOCK_BYTES);

	ck_assert_ptr_nonnull(bytes);
	return (struct stream){bytes, 0, total};
}

/* The next bytes, up to the end of their block. */
static const unsigned char *stream_next(struct stream *stream, size_t *n)
{
	unsigned long block = stream->at / BLOCK_BYTES, begin = stream->at % BLOCK_BYTES;
	unsigned long left = stream->total - stream->at;

	if (begin == 0 && left)
		fill_random(stream->bytes, BLOCK_BYTES, block + 1);
	*n = BLOCK_BYTES - begin < left ? BLOCK_BYTES - begin : left;
	return stream->bytes + begin;
}

static void stream_compare(struct stream *stream, const unsigned char *came, size_t n)
{
	while (n) {
		size_t part;
		const unsigned char *expected = stream_next(stream, &part);

		ck_assert_msg(part, "more came back than was sent: %zu bytes after %lu", n,
			      stream->total);
		if (part > n)
			part = n;
		ck_assert_msg(memcmp(came, expected, part) == 0,
			      "another byte came back between %lu and %lu", stream->at,
			      stream->at + part);
		stream->at += part;
		came += part;
		n -= part;
	}
}

/* Sends what the peer takes now. True: all has been sent. A block may be sent in parts, as it is
 * generated only at its first byte. */
static bool stream_send(struct stream *stream, int fd)
{
	size_t n;
	const unsigned char *bytes = stream_next(stream, &n);
	ssize_t sent = write(fd, bytes, n);

	ck_assert_msg(sent > 0 || errno == EAGAIN, "write: %s", strerror(errno));
	if (sent > 0)
		stream->at += (size_t)sent;
	return stream->at == stream->total;
}

/* Sends total bytes by one descriptor, and compares what comes back by the other. Calls finish()
 * after the last byte; returns when the end has come back. */
static void pump(int out, int in, unsigned long total, void (*finish)(int fd))
{
	struct stream sent = stream_new(total), came = stream_new(total);
	unsigned char *bytes = malloc(BLOCK_BYTES);
	bool sending = true;
	ssize_t n = -1;

	ck_assert_ptr_nonnull(bytes);
	set_nonblocking(out);
	set_nonblocking(in);
	while (n != 0) {
		struct pollfd polls[] = {{.fd = in, .events = POLLIN},
					 {.fd = sending ? out : -1, .events = POLLOUT}};
		int ready = poll(polls, 2, (int)patience_ms());

		ck_assert_msg(ready > 0, "no byte moved: %lu sent, %lu back", sent.at, came.at);
		if (sending && polls[1].revents && stream_send(&sent, out)) {
			sending = false;
			finish(out);
		}
		if (!polls[0].revents)
			continue;
		n = read(in, bytes, BLOCK_BYTES);
		ck_assert_msg(n >= 0 || errno == EAGAIN, "read: %s", strerror(errno));
		if (n > 0)
			stream_compare(&came, bytes, (size_t)n);
	}
	ck_assert_msg(came.at == total, "the end came after %lu of %lu bytes", came.at, total);
	free(bytes);
	free(sent.bytes);
	free(came.bytes);
}

static void figure_rate(const char *what, unsigned long bytes, uint64_t begin_ms)
{
	uint64_t ms = now_ms() - begin_ms;

	(void)printf("FIGURE echo of %lu MiB, %s: %lu MiB/s\n", bytes / MIB, what,
		     (unsigned long)(bytes / MIB * 1000 / (ms ? ms : 1)));
	(void)fflush(stdout);
}

static void expect_volume(struct server *server, unsigned long bytes)
{
	server_wait_stat_is(server, "closed_eof", 1);
	ck_assert_uint_eq(server_stat(server, "received_bytes"), bytes);
	ck_assert_uint_eq(server_stat(server, "sent_bytes"), bytes);
	ck_assert_uint_eq(server_stat(server, "connections"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

/* ---- much at once: 64 MiB, or a gigabyte ---- */

static void by_the_own_client(unsigned long bytes)
{
	struct server *server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	int fd = connect_to(server->ports[0]);
	uint64_t begin_ms = now_ms();

	pump(fd, fd, bytes, finish_sending);
	figure_rate("own client", bytes, begin_ms);
	(void)close(fd);
	expect_volume(server, bytes);
}

static void by_unix_socket(unsigned long bytes)
{
	char path[128], listener[160];
	struct server *server;
	uint64_t begin_ms;
	int fd;

	(void)snprintf(path, sizeof path, "%s/echo.sock", temporary_folder());
	(void)snprintf(listener, sizeof listener, "echo://%s", path);
	server = SERVER("--workers", "1", listener);
	fd = connect_unix(path);
	begin_ms = now_ms();
	pump(fd, fd, bytes, finish_sending);
	figure_rate("unix socket", bytes, begin_ms);
	(void)close(fd);
	expect_volume(server, bytes);
}

static void close_pipe(int fd)
{
	(void)close(fd);
}

/* Starts a program between two pipes. */
static pid_t start_program(const char *const argv[], int *to, int *from)
{
	int in[2], out[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)signal(SIGPIPE, SIG_DFL);
		(void)dup2(in[0], STDIN_FILENO);
		(void)dup2(out[1], STDOUT_FILENO);
		(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	(void)close(in[0]);
	(void)close(out[1]);
	(void)fcntl(in[1], F_SETPIPE_SZ, 1 << 20);
	(void)fcntl(out[0], F_SETPIPE_SZ, 1 << 20);
	*to = in[1];
	*from = out[0];
	return pid;
}

static void by_program(struct server *server, unsigned long bytes, const char *const argv[])
{
	uint64_t begin_ms = now_ms();
	int to, from, status;
	pid_t pid;

	(void)signal(SIGPIPE, SIG_IGN);
	pid = start_program(argv, &to, &from);
	pump(to, from, bytes, close_pipe);
	figure_rate(argv[0], bytes, begin_ms);
	(void)close(from);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status %x", argv[0],
		      (unsigned)status);
	expect_volume(server, bytes);
}

static void by_socat(unsigned long bytes)
{
	struct server *server;
	char address[64];

	if (!command_exists("socat")) {
		suite_skip("bytes by socat", "socat is not installed");
		return;
	}
	server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	(void)snprintf(address, sizeof address, "TCP4:127.0.0.1:%u", server->ports[0]);
	/* -t: how long socat waits for the other direction after one has ended. */
	by_program(server, bytes,
		   (const char *const[]){"socat", "-b", "65536", "-t", "600", "-", address, NULL});
}

static void by_nc(unsigned long bytes)
{
	struct server *server;
	char port[16];

	/* Of the programs called nc only OpenBSD's has -N. */
	if (!command_exists("nc") || system("nc -h 2>&1 | grep -q OpenBSD") != 0) {
		suite_skip("bytes by nc", "OpenBSD's nc is not installed");
		return;
	}
	server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	(void)snprintf(port, sizeof port, "%u", server->ports[0]);
	by_program(server, bytes, (const char *const[]){"nc", "-N", "127.0.0.1", port, NULL});
}

static void (*const carriers[])(unsigned long bytes) = {by_the_own_client, by_unix_socket, by_socat,
							by_nc};

START_TEST(many_bytes)
{
	carriers[_i](64 * MIB);
}
END_TEST

START_TEST(a_gigabyte)
{
	carriers[_i](suite_volume(1024) * MIB);
}
END_TEST

/* ---- data and FIN in one segment ---- */

#define BATCH	      250
#define SENT_MAX      32000u /* below half the window: TCP would not hold more back */
#define SIZES	      (5 * 32)
#define FIN_ADDRESSES 32 /* 127.0.0.1 to .32: each has its own range of local ports */

static unsigned char *pattern; /* SENT_MAX + 1000 bytes */

static void make_pattern(void)
{
	pattern = malloc(SENT_MAX + 1000);
	ck_assert_ptr_nonnull(pattern);
	fill_random(pattern, SENT_MAX + 1000, 4711);
}

/* Mostly small; now and then as much as a worker reads at once (16,376 bytes), one byte less or
 * one more. */
static size_t size_of(unsigned i)
{
	static const unsigned edges[] = {16375, 16376, 16377, 16384, SENT_MAX};

	if (i % 32 == 0)
		return edges[i / 32 % (sizeof edges / sizeof *edges)];
	return 1 + i * 7 % 1400;
}

static void send_with_end(int fd, unsigned i)
{
	size_t n = size_of(i);
	ssize_t sent = send(fd, pattern + i % 1000, n, MSG_MORE | MSG_NOSIGNAL);

	ck_assert_msg(sent == (ssize_t)n, "send: %zd of %zu: %s", sent, n, strerror(errno));
	finish_sending(fd);
}

static void receive_with_end(int fd, unsigned i)
{
	static unsigned char came[SENT_MAX + 1];
	size_t n = receive_to_end(fd, came, sizeof came);

	ck_assert_msg(n == size_of(i), "%zu of %zu bytes came back, then the end", n, size_of(i));
	ck_assert_msg(memcmp(came, pattern + i % 1000, n) == 0, "other bytes came back");
	(void)close(fd);
}

/* Proves that the FIN is in the segment of the data: to a listener that does not accept, only
 * SYN, ACK and one more segment are sent. */
static void prove_one_segment(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t address_n = sizeof address, info_n;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct tcp_info info = {0};

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, address_n), 0);
	ck_assert_int_eq(listen(listener, SIZES), 0);
	(void)getsockname(listener, (struct sockaddr *)&address, &address_n);
	for (unsigned i = 0; i < SIZES; i++) {
		int fd = connect_to(ntohs(address.sin_port));

		send_with_end(fd, i);
		info_n = sizeof info;
		ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_n), 0);
		ck_assert_uint_eq(info.tcpi_segs_out, 3);
		ck_assert_uint_eq(info.tcpi_data_segs_out, 1);
		(void)close(fd);
	}
	(void)close(listener);
}

static unsigned long segments_with_end(const char *mode, unsigned total)
{
	struct server *server = SERVER("--workers", "2", "--accept", mode, "echo://0.0.0.0:0");
	unsigned long bytes = 0;
	int fds[BATCH];

	for (unsigned i = 0; i < total; i += BATCH) {
		unsigned n = total - i < BATCH ? total - i : BATCH;

		for (unsigned j = 0; j < n; j++) {
			char host[32];

			(void)snprintf(host, sizeof host, "127.0.0.%u", 1 + j % FIN_ADDRESSES);
			fds[j] = connect_to_host(host, server->ports[0]);
			send_with_end(fds[j], i + j);
			bytes += size_of(i + j);
		}
		for (unsigned j = 0; j < n; j++)
			receive_with_end(fds[j], i + j);
	}
	server_wait_stat_is(server, "closed_eof", total);
	ck_assert_uint_eq(server_stat(server, "accepted"), total);
	ck_assert_uint_eq(server_stat(server, "connections"), 0);
	ck_assert_uint_eq(server_stat(server, "received_bytes"), bytes);
	ck_assert_uint_eq(server_stat(server, "sent_bytes"), bytes);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	return bytes;
}

static void end_at_once(unsigned total)
{
	uint64_t begin_ms = now_ms(), ms;

	make_pattern();
	prove_one_segment();
	(void)segments_with_end("reuseport", total);
	ms = now_ms() - begin_ms;
	(void)printf("FIGURE data and FIN in one segment, %u connections: %llu connections/s\n",
		     total, (unsigned long long)(total * 1000ull / (ms ? ms : 1)));
	(void)fflush(stdout);
	(void)segments_with_end("shared", total / 20);
	(void)segments_with_end("handoff", total / 20);
}

START_TEST(data_and_fin_in_one_segment)
{
	end_at_once((unsigned)suite_volume(5000));
}
END_TEST

START_TEST(a_hundred_thousand_in_one_segment)
{
	end_at_once((unsigned)suite_volume(100000));
}
END_TEST

START_TEST(data_and_end_at_once_by_unix_socket)
{
	unsigned total = (unsigned)suite_volume(4000);
	char path[128], listener[160];
	struct server *server;
	int fds[BATCH];

	make_pattern();
	(void)snprintf(path, sizeof path, "%s/fin.sock", temporary_folder());
	(void)snprintf(listener, sizeof listener, "echo://%s", path);
	server = SERVER("--workers", "2", listener);
	for (unsigned i = 0; i < total; i += BATCH) {
		unsigned n = total - i < BATCH ? total - i : BATCH;

		for (unsigned j = 0; j < n; j++) {
			fds[j] = connect_unix(path);
			send_with_end(fds[j], i + j);
		}
		for (unsigned j = 0; j < n; j++)
			receive_with_end(fds[j], i + j);
	}
	server_wait_stat_is(server, "closed_eof", total);
	ck_assert_uint_eq(server_stat(server, "accepted"), total);
	ck_assert_uint_eq(server_stat(server, "connections"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* A read stops before an urgent byte. This does not mean that nothing follows. */
static void talk_urgently(int fd, bool stopped, pid_t worker)
{
	/* Every other time all has arrived before the first read. */
	if (stopped)
		ck_assert_int_eq(kill(worker, SIGSTOP), 0);
	send_text(fd, "abc");
	ck_assert_int_eq(send(fd, "U", 1, MSG_OOB | MSG_NOSIGNAL), 1);
	send_text(fd, "def");
	if (stopped)
		ck_assert_int_eq(kill(worker, SIGCONT), 0);
	expect_text(fd, "abcUdef");
}

static void end_urgently(int fd)
{
	finish_sending(fd);
	expect_end(fd);
	(void)close(fd);
}

START_TEST(urgent_bytes_are_bytes_in_their_place)
{
	struct server *server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	pid_t worker = server_wait_worker(server, 0, 0);

	for (int i = 0; i < 100; i++) {
		int fd = connect_to(server->ports[0]);

		talk_urgently(fd, i % 2, worker);
		end_urgently(fd);
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* On unix sockets the newest urgent byte is skipped only if another one follows it. */
START_TEST(urgent_bytes_of_a_unix_socket_too)
{
	static const char *const accept[] = {"reuseport", "shared", "handoff"};
	char path[128], listener[160];
	int probe[2], fd;
	struct server *server;
	pid_t worker;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, probe), 0);
	if (send(probe[0], "U", 1, MSG_OOB | MSG_NOSIGNAL) < 0) {
		suite_skip("urgent bytes of a unix socket too",
			   "no MSG_OOB there before Linux 5.15");
		return;
	}
	(void)snprintf(path, sizeof path, "%s/urgent.sock", temporary_folder());
	(void)snprintf(listener, sizeof listener, "echo://%s", path);
	server = SERVER("--workers", "1", "--accept", accept[_i], listener);
	worker = server_wait_worker(server, 0, 0);
	for (int i = 0; i < 50; i++) {
		fd = connect_unix(path);
		talk_urgently(fd, i % 2, worker);
		talk_urgently(fd, !(i % 2), worker);
		ck_assert_int_eq(send(fd, "last", 4, MSG_OOB | MSG_NOSIGNAL), 4);
		expect_text(fd, "last");
		end_urgently(fd);
	}
	/* All of it is sent before the connection is accepted, and the end too. */
	ck_assert_int_eq(kill(worker, SIGSTOP), 0);
	fd = connect_unix(path);
	send_text(fd, "abc");
	ck_assert_int_eq(send(fd, "1", 1, MSG_OOB | MSG_NOSIGNAL), 1);
	ck_assert_int_eq(send(fd, "2", 1, MSG_OOB | MSG_NOSIGNAL), 1);
	finish_sending(fd);
	ck_assert_int_eq(kill(worker, SIGCONT), 0);
	expect_text(fd, "abc12");
	expect_end(fd);
	(void)close(fd);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

#define CARRIERS (sizeof carriers / sizeof *carriers)

SUITE("bytes", {"many bytes", many_bytes, 60, CARRIERS},
      {"a gigabyte", a_gigabyte, 120, CARRIERS, .kind = SUITE_LONG},
      {"data and FIN in one segment", data_and_fin_in_one_segment, 60},
      {"a hundred thousand in one segment", a_hundred_thousand_in_one_segment, 120,
       .kind = SUITE_LONG},
      {"urgent bytes are bytes in their place", urgent_bytes_are_bytes_in_their_place, 30},
      {"urgent bytes of a unix socket too", urgent_bytes_of_a_unix_socket_too, 30, 3},
      {"data and end at once by unix socket", data_and_end_at_once_by_unix_socket, 60})
