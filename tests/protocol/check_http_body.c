/*
 * HTTP with bodies larger than any buffer, and with slow clients: every byte is checked by a client
 * that sends and reads at the same time; a worker needs little memory for them; slow clients are
 * ended by their timeout, and others do not wait for them; bodies and answers go on during reload,
 * upgrade and drain.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/server_control.h"

#define MIB  (1u << 20)
#define HOST "Host: weir\r\n"

/* ---- a client that sends and checks streams ---- */

/* Bytes to send or to expect: a period again and again, and a tail. */
struct stream {
	const unsigned char *period;
	size_t period_n;
	uint64_t n; /* bytes of all periods */
	const char *tail;
	uint64_t at;
};

static uint64_t stream_left(const struct stream *stream)
{
	return stream->n + strlen(stream->tail) - stream->at;
}

/* The next bytes that are in one piece. */
static const unsigned char *stream_next(const struct stream *stream, size_t *n)
{
	size_t in = (size_t)(stream->at % stream->period_n);

	if (stream->at >= stream->n) {
		*n = (size_t)stream_left(stream);
		return (const unsigned char *)stream->tail + (stream->at - stream->n);
	}
	*n = stream->period_n - in;
	if (*n > stream->n - stream->at)
		*n = (size_t)(stream->n - stream->at);
	return stream->period + in;
}

struct visitor {
	int fd;
	struct stream out, in;
	char head[1000]; /* of the answer */
	size_t head_n;
	bool head_whole;
};

static void visitor_send(struct visitor *visitor)
{
	size_t n;
	const unsigned char *next = stream_next(&visitor->out, &n);
	ssize_t sent = send(visitor->fd, next, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	ck_assert_msg(sent > 0 || errno == EAGAIN, "send: %s", strerror(errno));
	visitor->out.at += sent > 0 ? (uint64_t)sent : 0;
}

static void visitor_take(struct visitor *visitor, const unsigned char *bytes, size_t n)
{
	for (; n && !visitor->head_whole; n--) {
		ck_assert_uint_lt(visitor->head_n, sizeof visitor->head - 1);
		visitor->head[visitor->head_n++] = (char)*bytes++;
		visitor->head_whole =
		    visitor->head_n > 4 &&
		    memcmp(visitor->head + visitor->head_n - 4, "\r\n\r\n", 4) == 0;
	}
	while (n) {
		size_t part;
		const unsigned char *right = stream_next(&visitor->in, &part);

		ck_assert_msg(part, "more came");
		part = part < n ? part : n;
		ck_assert_msg(memcmp(bytes, right, part) == 0, "other bytes at %llu",
			      (unsigned long long)visitor->in.at);
		visitor->in.at += part;
		bytes += part;
		n -= part;
	}
}

static void visitor_receive(struct visitor *visitor)
{
	static unsigned char bytes[256 << 10];
	ssize_t n = recv(visitor->fd, bytes, sizeof bytes, MSG_DONTWAIT);

	ck_assert_msg(n > 0 || (n < 0 && errno == EAGAIN), "recv: %s",
		      n ? strerror(errno) : "an end");
	if (n > 0)
		visitor_take(visitor, bytes, (size_t)n);
}

/* Sends and receives until that much of the body has come. */
static void visitor_run(struct visitor *visitor, uint64_t until)
{
	while (visitor->in.at < until || !visitor->head_whole) {
		struct pollfd look = {visitor->fd, POLLIN, 0};

		if (stream_left(&visitor->out))
			look.events |= POLLOUT;
		ck_assert_int_eq(poll(&look, 1, (int)patience_ms()), 1);
		if (look.revents & POLLOUT)
			visitor_send(visitor);
		if (look.revents & (POLLIN | POLLHUP | POLLERR))
			visitor_receive(visitor);
	}
}

static void visitor_finish(struct visitor *visitor)
{
	visitor_run(visitor, visitor->in.n + strlen(visitor->in.tail));
	ck_assert_uint_eq(stream_left(&visitor->out), 0);
	ck_assert_int_eq(strncmp(visitor->head, "HTTP/1.1 200 ", 13), 0);
	finish_sending(visitor->fd);
	expect_end(visitor->fd);
	(void)close(visitor->fd);
}

/* ---- bodies ---- */

#define BLOCK_BYTES MIB
#define BLOCK_LINE  "100000\r\n"

static unsigned char
    block[BLOCK_BYTES + 10]; /* a chunk; for a plain body without its line and line end */

static struct visitor echo_begin(unsigned port, bool chunked, uint64_t blocks)
{
	struct visitor visitor = {.fd = connect_to(port)};
	const size_t line = sizeof BLOCK_LINE - 1;
	char head[200];

	memcpy(block, BLOCK_LINE, line);
	fill_random(block + line, BLOCK_BYTES, 3);
	memcpy(block + line + BLOCK_BYTES, "\r\n", 2);
	visitor.out = (struct stream){block + line, BLOCK_BYTES, blocks * BLOCK_BYTES, "", 0};
	if (chunked)
		visitor.out = (struct stream){block, BLOCK_BYTES + line + 2,
					      blocks * (BLOCK_BYTES + line + 2), "0\r\n\r\n", 0};
	visitor.in = visitor.out;
	(void)snprintf(head, sizeof head,
		       "POST /echo HTTP/1.1\r\n" HOST "Content-Length: %llu\r\n\r\n",
		       (unsigned long long)visitor.out.n);
	send_text(visitor.fd, chunked ? "POST /echo HTTP/1.1\r\n" HOST
					"Transfer-Encoding: chunked\r\n\r\n"
				      : head);
	return visitor;
}

static struct visitor bytes_begin(unsigned port, uint64_t n)
{
	static unsigned char letters[26 * 5000];
	struct visitor visitor = {.fd = connect_to(port)};
	char head[200];

	for (size_t i = 0; i < sizeof letters; i++)
		letters[i] = (unsigned char)('a' + i % 26);
	visitor.out.tail = "";
	visitor.out.period_n = 1;
	visitor.in = (struct stream){letters, sizeof letters, n, "", 0};
	(void)snprintf(head, sizeof head, "GET /bytes/%llu HTTP/1.1\r\n" HOST "\r\n",
		       (unsigned long long)n);
	send_text(visitor.fd, head);
	return visitor;
}

static uint64_t gibibyte(void)
{
	return suite_sanitized() ? 64 : 1024;
}

static void a_body(uint64_t mib, bool chunked)
{
	struct server *server = SERVER("-w", "1", "http://127.0.0.1:0");
	pid_t worker = server_wait_worker(server, 0, 0);
	struct visitor visitor = echo_begin(server->ports[0], chunked, mib);
	uint64_t begin_ms = now_ms();
	size_t memory = process_memory(worker);

	visitor_finish(&visitor);
	server_wait_stat_is(server, "connections", 0);
	ck_assert_uint_eq(server_stat(server, "messages"), 1);
	ck_assert_uint_eq(server_stat(server, "closed_eof"), 1);
	/* A queue of high-water and a chunk, and the chunks that are being filled. */
	ck_assert_uint_le(server_stat(server, "chunks_max"), 19);
	if (!suite_sanitized())
		ck_assert_uint_lt(process_memory(worker) - memory, 2 * MIB);
	(void)printf("FIGURE POST /echo of %llu MiB, %s: %llu ms, at most %llu chunks of 16 KiB\n",
		     (unsigned long long)mib, chunked ? "chunked" : "with its length",
		     (unsigned long long)(now_ms() - begin_ms),
		     (unsigned long long)server_stat(server, "chunks_max"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(a_large_body)
{
	a_body(32, _i);
}
END_TEST

START_TEST(a_body_of_one_gibibyte)
{
	a_body(gibibyte(), _i);
}
END_TEST

static void an_answer(uint64_t mib)
{
	struct server *server = SERVER("-w", "1", "http://127.0.0.1:0");
	struct visitor visitor = bytes_begin(server->ports[0], mib * MIB + 7);
	uint64_t begin_ms = now_ms();

	visitor_finish(&visitor);
	ck_assert_uint_le(server_stat(server, "chunks_max"), 2);
	(void)printf("FIGURE GET /bytes of %llu MiB: %llu ms\n", (unsigned long long)mib,
		     (unsigned long long)(now_ms() - begin_ms));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(a_large_answer)
{
	an_answer(64);
}
END_TEST

START_TEST(an_answer_of_one_gibibyte)
{
	an_answer(gibibyte());
}
END_TEST

/* ---- changes ---- */

#define MOVED_MIB 32 /* more than the kernel buffers */

START_TEST(bodies_and_answers_go_on_through_changes)
{
	static const enum server_control changes[] = {SERVER_CONTROL_RELOAD, SERVER_CONTROL_UPGRADE,
						      SERVER_CONTROL_MORE, SERVER_CONTROL_RELOAD};
	struct server *server = CONTROLLED("-w", "2", "http://127.0.0.1:0");
	struct visitor visitors[12];
	const size_t n = sizeof visitors / sizeof *visitors;
	uint64_t moved = 0;

	for (size_t i = 0; i < n; i++)
		visitors[i] = i % 3 == 2 ? bytes_begin(server->ports[0], MOVED_MIB * MIB + 5)
					 : echo_begin(server->ports[0], i % 3, MOVED_MIB);
	for (size_t change = 0; change < sizeof changes / sizeof *changes; change++) {
		struct server_control_change seen;

		for (size_t i = 0; i < n; i++)
			visitor_run(&visitors[i], (change + 1) * 2 * MIB + i * 12345);
		seen = server_control_make(server, changes[change]);
		ck_assert_uint_eq(seen.stay, 0);
		moved += seen.moved;
	}
	ck_assert_uint_ge(moved, 3 * n);
	for (size_t i = 0; i < n; i++)
		visitor_finish(&visitors[i]);
	server_wait_stat_is(server, "connections", 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(a_graceful_stop_finishes_what_has_begun)
{
	struct server *server = SERVER("-w", "1", "http://127.0.0.1:0");
	struct visitor visitors[3] = {echo_begin(server->ports[0], false, MOVED_MIB),
				      echo_begin(server->ports[0], true, MOVED_MIB),
				      bytes_begin(server->ports[0], MOVED_MIB * MIB)};
	int idle = connect_to(server->ports[0]), half = connect_to(server->ports[0]);

	send_text(half, "GET / HTTP/1.1\r\nHo");
	server_wait_stat_is(server, "connections", 5);
	for (int i = 0; i < 3; i++)
		visitor_run(&visitors[i], MIB);
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	expect_end(idle);
	send_text(half, "st: weir\r\n\r\n");
	expect_text(half, "HTTP/1.1 200 OK\r\n");
	expect_reset_or_end(half);
	for (int i = 0; i < 3; i++)
		visitor_finish(&visitors[i]);
	ck_assert_int_eq(server_wait_exit(server), 0);
}
END_TEST

/* ---- slow clients ---- */

#define SLOW 30

static const struct {
	const char *head, *drop, *last;
} slow_ways[] = {
    {"GET / HTTP/1.1\r\n" HOST "X: ", "x", " 408 "},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\nx", "x", " 200 "},
    {"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\n", "x\r\n1\r\n",
     " 200 "},
    {"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n", "", " 408 "},
    {"GET /bytes/1000000000 HTTP/1.1\r\n" HOST "\r\n", "", NULL}, /* whose answer is not read */
};

#define SLOW_WAYS (sizeof slow_ways / sizeof *slow_ways)

static void slow_go_on(int fds[SLOW_WAYS][SLOW])
{
	for (size_t way = 0; way < SLOW_WAYS; way++)
		for (int i = 0; i < SLOW && *slow_ways[way].drop; i++)
			(void)send(fds[way][i], slow_ways[way].drop, strlen(slow_ways[way].drop),
				   MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void expect_last(int fd, const char *last)
{
	char answer[2000];
	size_t n = 0;
	ssize_t part;

	while (n < sizeof answer - 1 && (part = recv(fd, answer + n, sizeof answer - 1 - n, 0)) > 0)
		n += (size_t)part;
	answer[n] = '\0';
	ck_assert_msg(strstr(answer, last) != NULL, "not %s: %s", last, answer);
}

/* The client must get a reset. A FIN would mean that the answer was complete. */
static void expect_reset(int fd)
{
	static char bytes[65536];
	ssize_t n;

	do
		n = recv(fd, bytes, sizeof bytes, 0);
	while (n > 0);
	ck_assert_msg(n < 0 && errno == ECONNRESET, "it ended with %zd", n);
}

/* Meanwhile the same worker serves another client. */
START_TEST(slow_ones_end)
{
	struct server *server = SERVER("-w", "1", "--request-timeout", "500ms", "--write-timeout",
				       "500ms", "http://127.0.0.1:0");
	int fds[SLOW_WAYS][SLOW], other = connect_to(server->ports[0]);
	struct wait wait = wait_begin();
	char answer[2000];

	for (size_t way = 0; way < SLOW_WAYS; way++)
		for (int i = 0; i < SLOW; i++) {
			fds[way][i] = connect_to(server->ports[0]);
			send_text(fds[way][i], slow_ways[way].head);
		}
	server_wait_stat(server, "accepted", 1 + SLOW * SLOW_WAYS);
	do {
		slow_go_on(fds);
		for (int k = 0; k < 10; k++) {
			send_text(other, "GET /bytes/3 HTTP/1.1\r\n" HOST "\r\n");
			for (size_t n = 0; n < 7 || memcmp(answer + n - 7, "\r\n\r\nabc", 7) != 0;
			     n++)
				receive_exactly(other, answer + n, 1);
		}
		(void)poll(NULL, 0, 20);
		wait_more(&wait, "slow ones");
	} while (server_stat(server, "connections") > 1);
	ck_assert_uint_eq(server_stat(server, "closed_write_timeout"), SLOW);
	ck_assert_uint_eq(server_stat(server, "closed_request_timeout"), SLOW * (SLOW_WAYS - 1));
	for (size_t way = 0; way < SLOW_WAYS; way++)
		for (int i = 0; i < SLOW; i++)
			if (slow_ways[way].last)
				expect_last(fds[way][i], slow_ways[way].last);
			else
				expect_reset(fds[way][i]);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

#define PART_BYTES 16384
#define PART_LINE  "4000\r\n"

/* A body that takes longer than request-timeout, but is faster than required (4 KiB per timeout).
 * Returns whether it was finished; longest_ms is how long the slowest part took. */
static bool a_body_takes_its_time(unsigned port, unsigned timeout_ms, uint64_t *longest_ms)
{
	static char part[PART_BYTES + 8], back[sizeof part];
	int fd = connect_to(port);
	bool goes_on = true;

	memset(part, 'x', sizeof part);
	memcpy(part, PART_LINE, 6);
	memcpy(part + sizeof part - 2, "\r\n", 2);
	send_text(fd, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 6 && goes_on; i++) {
		uint64_t begin_ms = now_ms();

		(void)send(fd, part, sizeof part, MSG_NOSIGNAL);
		while (!i && goes_on && memcmp(back, "\r\n\r\n", 4) != 0) { /* reads the head */
			memmove(back, back + 1, 3);
			goes_on = recv(fd, back + 3, 1, 0) == 1;
		}
		goes_on = goes_on && recv(fd, back, sizeof part, MSG_WAITALL) == sizeof part;
		ck_assert(!goes_on || memcmp(back, part, sizeof part) == 0);
		(void)poll(NULL, 0, (int)timeout_ms / 4);
		if (now_ms() - begin_ms > *longest_ms)
			*longest_ms = now_ms() - begin_ms;
	}
	if (goes_on) {
		send_text(fd, "0\r\n\r\n");
		expect_text(fd, "0\r\n\r\n");
		finish_sending(fd);
		expect_end(fd);
	}
	(void)close(fd);
	return goes_on;
}

/* If it failed because this machine was slow, tries again with a longer timeout. */
START_TEST(a_body_may_take_its_time)
{
	uint64_t longest_ms = UINT64_MAX;
	bool finished = false;

	for (unsigned timeout_ms = 600; !finished; timeout_ms *= 2) {
		struct server *server;
		char text[32];

		ck_assert_msg(longest_ms >= timeout_ms / 4, "ended, though no part took %llu ms",
			      (unsigned long long)longest_ms);
		longest_ms = 0;
		(void)snprintf(text, sizeof text, "%ums", timeout_ms);
		server = SERVER("-w", "1", "--request-timeout", text, "http://127.0.0.1:0");
		finished = a_body_takes_its_time(server->ports[0], timeout_ms, &longest_ms);
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}
END_TEST

/* Chunk sizes are sent without leading zeros, so that a client which reads at most 16 digits can
 * read them, whatever sizes the request had. */
START_TEST(sizes_come_back_without_their_noughts)
{
	struct server *server = SERVER("-w", "1", "http://127.0.0.1:0");
	static const char tail[] = "\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
	int fd = connect_to(server->ports[0]);
	char answer[2000];
	size_t n = 0;

	send_text(fd, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
		      "Connection: close\r\n\r\n"
		      "0000000000000000000003\r\nabc\r\n0010;x=y\r\n0123456789abcdef\r\n"
		      "00000\r\n\r\n");
	for (ssize_t part; (part = recv(fd, answer + n, sizeof answer - 1 - n, 0)) > 0;)
		n += (size_t)part;
	answer[n] = '\0';
	ck_assert_msg(strstr(answer, tail), "%s", answer);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("http_body", {"a large body", a_large_body, 60, 2},
      {"a body of one GiB", a_body_of_one_gibibyte, 120, 2, .kind = SUITE_LONG},
      {"a large answer", a_large_answer, 60},
      {"an answer of one GiB", an_answer_of_one_gibibyte, 120, .kind = SUITE_LONG},
      {"bodies and answers go on through changes", bodies_and_answers_go_on_through_changes, 120},
      {"a graceful stop finishes what has begun", a_graceful_stop_finishes_what_has_begun, 60},
      {"slow ones end", slow_ones_end, 60},
      {"sizes come back without their noughts", sizes_come_back_without_their_noughts, 20},
      {"a body may take its time", a_body_may_take_its_time, 60})
