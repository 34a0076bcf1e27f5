/*
 * faulty_http: a server of HTTP that gets one answer in so many wrong, to see whether weirload
 * finds it, or does with it what a server may.
 *
 * GET has "hello, world\n", or 100,000 bytes where the path is /big; POST has its body back. One
 * answer in two is framed by Content-Length, the others by chunks, and no two heads that follow
 * each other are the same. A process of its own, on a free port of loopback, one thread with
 * poll(2). It ends with the test's process.
 */
#ifndef TESTS_FAULTY_HTTP_H
#define TESTS_FAULTY_HTTP_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/suite.h"

#define HTTP_PEERS_MAX	 64
#define HTTP_IN_BYTES	 (256 * 1024)
#define HTTP_BIG_BYTES	 100000
#define HTTP_REPLY_BYTES (HTTP_IN_BYTES + 1024)

enum http_fault {
	HTTP_FAULT_NONE,
	HTTP_FAULT_DRIBBLE,   /* each answer goes byte by byte: nothing is wrong */
	HTTP_FAULT_LAST,      /* an answer says Connection: close, and the connection is closed */
	HTTP_FAULT_LEAVE,     /* the connection is closed after an answer */
	HTTP_FAULT_STATUS,    /* 503 */
	HTTP_FAULT_VERSION,   /* HTTP/1.0 */
	HTTP_FAULT_LINE_END,  /* a line of the head ends in LF alone */
	HTTP_FAULT_FRAMES,    /* Content-Length and chunks */
	HTTP_FAULT_UNFRAMED,  /* neither */
	HTTP_FAULT_CHUNK,     /* a chunk is longer than it says */
	HTTP_FAULT_SHORTER,   /* a byte less, and the length says so */
	HTTP_FAULT_LONGER,    /* a byte more, and the length says so */
	HTTP_FAULT_LOSE,      /* a byte goes missing, and another one stands at the end */
	HTTP_FAULT_ALTER,     /* the byte in the middle has one bit changed */
	HTTP_FAULT_ALTER_END, /* the last one */
	HTTP_FAULT_APART,     /* each second connection has another body, always the same */
	HTTP_FAULT_FOREIGN,   /* the body is that of the answer before, of whomever */
	HTTP_FAULT_TWICE,     /* an answer comes twice */
	HTTP_FAULT_CLOSE,     /* the connection is closed in the middle of an answer */
	HTTP_FAULT_DROP,      /* it is not answered */
};

struct http_peer {
	unsigned char in[HTTP_IN_BYTES];
	size_t n;
};

struct faulty_http {
	enum http_fault fault;
	unsigned long every, since, answers;
	struct pollfd fds[HTTP_PEERS_MAX]; /* the first is the listener */
	nfds_t n;
	struct http_peer peers[HTTP_PEERS_MAX];
	unsigned char body[HTTP_REPLY_BYTES], before[HTTP_REPLY_BYTES], out[2 * HTTP_REPLY_BYTES];
	size_t body_n, before_n;
};

static void http_send(const struct faulty_http *faulty, int fd, const unsigned char *bytes,
		      size_t n)
{
	while (n) {
		size_t part = faulty->fault == HTTP_FAULT_DRIBBLE ? 1 : n;
		ssize_t sent = send(fd, bytes, part, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return;
		bytes += sent;
		n -= (size_t)sent;
	}
}

static void http_spoil_body(struct faulty_http *faulty, enum http_fault fault)
{
	unsigned char *body = faulty->body;
	size_t n = faulty->body_n, at = n / 2;

	if (fault == HTTP_FAULT_SHORTER)
		faulty->body_n--;
	else if (fault == HTTP_FAULT_LONGER)
		body[faulty->body_n++] = '!';
	else if (fault == HTTP_FAULT_ALTER)
		body[at] ^= 1;
	else if (fault == HTTP_FAULT_ALTER_END)
		body[n - 1] ^= 1;
	else if (fault == HTTP_FAULT_FOREIGN && faulty->before_n == n)
		memcpy(body, faulty->before, n);
	else if (fault == HTTP_FAULT_LOSE)
		memmove(body + at, body + at + 1, n - at - 1);
}

/* Puts an answer into out; its length. */
static size_t http_compose(struct faulty_http *faulty, enum http_fault fault)
{
	bool chunked = faulty->answers % 2 || fault == HTTP_FAULT_CHUNK;
	const char *end = fault == HTTP_FAULT_LINE_END ? "\n" : "\r\n";
	char framing[128] = "";
	size_t n, half = faulty->body_n / 2;

	if (fault == HTTP_FAULT_FRAMES || !chunked)
		(void)snprintf(framing, sizeof framing, "Content-Length: %zu\r\n", faulty->body_n);
	if (fault == HTTP_FAULT_FRAMES || chunked)
		strcat(framing, "Transfer-Encoding: chunked\r\n");
	n = (size_t)sprintf((char *)faulty->out, "HTTP/1.%d %s\r\nX-Turn: %lu%s%s%s\r\n",
			    fault != HTTP_FAULT_VERSION,
			    fault == HTTP_FAULT_STATUS ? "503 Not now" : "200 OK", faulty->answers,
			    end, fault == HTTP_FAULT_UNFRAMED ? "" : framing,
			    fault == HTTP_FAULT_LAST ? "Connection: close\r\n" : "");
	if (chunked && half)
		n += (size_t)sprintf((char *)faulty->out + n, "%zX;x=y\r\n", half);
	memcpy(faulty->out + n, faulty->body, half);
	n += half;
	if (chunked)
		n += (size_t)sprintf((char *)faulty->out + n, "%s%s%zx\r\n",
				     fault == HTTP_FAULT_CHUNK ? "?" : "", half ? "\r\n" : "",
				     faulty->body_n - half);
	memcpy(faulty->out + n, faulty->body + half, faulty->body_n - half);
	n += faulty->body_n - half;
	if (chunked)
		n += (size_t)sprintf((char *)faulty->out + n, "\r\n0\r\n%s\r\n",
				     faulty->answers % 4 == 1 ? "Trailer: x\r\n" : "");
	return n;
}

static void http_answer(struct faulty_http *faulty, nfds_t i)
{
	enum http_fault fault = HTTP_FAULT_NONE;
	int fd = faulty->fds[i].fd;
	size_t n;

	if (++faulty->since >= faulty->every) {
		fault = faulty->fault;
		faulty->since = 0;
	}
	if (faulty->fault == HTTP_FAULT_APART && i % 2)
		faulty->body[0] ^= 1;
	http_spoil_body(faulty, fault);
	n = http_compose(faulty, fault);
	faulty->answers++;
	memcpy(faulty->before, faulty->body, faulty->body_n);
	faulty->before_n = faulty->body_n;
	if (fault == HTTP_FAULT_DROP)
		return;
	http_send(faulty, fd, faulty->out, fault == HTTP_FAULT_CLOSE ? n - 2 : n);
	if (fault == HTTP_FAULT_TWICE)
		http_send(faulty, fd, faulty->out, n);
	if (fault == HTTP_FAULT_CLOSE || fault == HTTP_FAULT_LAST || fault == HTTP_FAULT_LEAVE)
		(void)shutdown(fd, SHUT_WR);
}

/* Takes a request that is whole, and answers it. */
static bool http_serve(struct faulty_http *faulty, nfds_t i)
{
	static const char length[] = "Content-Length: ", chunked[] = "Transfer-Encoding: chunked";
	struct http_peer *peer = &faulty->peers[i];
	unsigned char *end = memmem(peer->in, peer->n, "\r\n\r\n", 4), *body, *field;
	size_t head, tail = 0, n = 0;

	if (!end)
		return false;
	body = end + 4;
	head = (size_t)(body - peer->in);
	if ((field = memmem(peer->in, head, length, sizeof length - 1))) {
		n = strtoul((char *)field + sizeof length - 1, NULL, 10);
	} else if (memmem(peer->in, head, chunked, sizeof chunked - 1)) {
		end = memmem(body, peer->n - head, "\r\n", 2);
		if (!end)
			return false;
		n = strtoul((char *)body, NULL, 16);
		body = end + 2;
		tail = sizeof "\r\n0\r\n\r\n" - 1;
	}
	if (peer->n < (size_t)(body - peer->in) + n + tail)
		return false;
	faulty->body_n = n;
	memcpy(faulty->body, body, n);
	if (memcmp(peer->in, "GET /big ", 9) == 0) {
		faulty->body_n = HTTP_BIG_BYTES;
		for (size_t k = 0; k < HTTP_BIG_BYTES; k++)
			faulty->body[k] = (unsigned char)(k * k / 7);
	} else if (memcmp(peer->in, "GET ", 4) == 0) {
		faulty->body_n = strlen("hello, world\n");
		memcpy(faulty->body, "hello, world\n", faulty->body_n);
	}
	peer->n -= (size_t)(body - peer->in) + n + tail;
	memmove(peer->in, body + n + tail, peer->n);
	http_answer(faulty, i);
	return true;
}

static void http_turn(struct faulty_http *faulty, nfds_t i)
{
	struct http_peer *peer = &faulty->peers[i];
	ssize_t n = read(faulty->fds[i].fd, peer->in + peer->n, sizeof peer->in - peer->n);

	if (n > 0) {
		peer->n += (size_t)n;
		while (http_serve(faulty, i))
			;
		return;
	}
	(void)close(faulty->fds[i].fd);
	faulty->fds[i].fd = -1;
}

static void http_accept(struct faulty_http *faulty)
{
	int fd = accept4(faulty->fds[0].fd, NULL, NULL, SOCK_CLOEXEC), on = 1;
	nfds_t i = 1;

	if (fd < 0)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	while (i < faulty->n && faulty->fds[i].fd >= 0)
		i++;
	if (i == HTTP_PEERS_MAX) {
		(void)close(fd);
		return;
	}
	if (i == faulty->n)
		faulty->n++;
	faulty->fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
	faulty->peers[i].n = 0;
}

static _Noreturn void http_run(struct faulty_http *faulty)
{
	for (;;) {
		if (poll(faulty->fds, faulty->n, -1) < 0)
			continue;
		for (nfds_t i = 1; i < faulty->n; i++)
			if (faulty->fds[i].fd >= 0 && faulty->fds[i].revents)
				http_turn(faulty, i);
		if (faulty->fds[0].revents)
			http_accept(faulty);
	}
}

/* Starts one; the fault happens once in `every` answers. Its port. */
static unsigned faulty_http_start(enum http_fault fault, unsigned long every)
{
	static struct faulty_http faulty;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(fd, 1024), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		faulty.fault = fault;
		faulty.every = every;
		faulty.n = 1;
		faulty.fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
		http_run(&faulty);
	}
	(void)close(fd);
	return ntohs(address.sin_port);
}

#endif
