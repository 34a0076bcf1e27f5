#include "tests/support/servers/faulty_http.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/servers/faulty_peers.h"

/* A TLS alert: fatal, unexpected message. */
static const char tls_alert[] = "\x15\x03\x01\x00\x02\x02\x0a";

#define HTTP_IN_BYTES	 (256 * 1024)
#define HTTP_BIG_BYTES	 100000
#define HTTP_REPLY_BYTES (HTTP_IN_BYTES + 1024)

struct http_peer {
	unsigned char in[HTTP_IN_BYTES];
	size_t n;
};

struct faulty_http {
	struct faulty_peers peers;
	enum http_fault fault;
	unsigned long every, since, answers;
	struct http_peer came[FAULTY_PEERS_MAX];
	unsigned char body[HTTP_REPLY_BYTES], before[HTTP_REPLY_BYTES], out[2 * HTTP_REPLY_BYTES];
	size_t body_n, before_n;
	bool to_head, has_key;
	bool goes; /* the present connection is to be closed at once */
};

static bool http_is_old(enum http_fault fault)
{
	return fault == HTTP_FAULT_OLD || fault == HTTP_FAULT_OLD_ONCE ||
	       fault == HTTP_FAULT_OLD_KEEPS || fault == HTTP_FAULT_HTTPS;
}

static bool http_is_to_end(enum http_fault fault)
{
	return fault == HTTP_FAULT_OLD || fault == HTTP_FAULT_TO_END || fault == HTTP_FAULT_CUT ||
	       fault == HTTP_FAULT_HTTPS;
}

static bool http_ends(enum http_fault fault)
{
	return http_is_to_end(fault) || fault == HTTP_FAULT_OLD_ONCE || fault == HTTP_FAULT_CLOSE ||
	       fault == HTTP_FAULT_LAST || fault == HTTP_FAULT_LEAVE;
}

static void http_send(const struct faulty_http *faulty, nfds_t i, size_t n)
{
	size_t step = faulty->fault == HTTP_FAULT_DRIBBLE ? 1 : n;

	for (size_t at = 0; at < n; at += step)
		faulty_peers_send(&faulty->peers, i, faulty->out + at, step);
}

static void http_spoil_body(struct faulty_http *faulty, enum http_fault fault)
{
	unsigned char *body = faulty->body;
	size_t n = faulty->body_n, at = n / 2;

	if (fault == HTTP_FAULT_SHORTER || fault == HTTP_FAULT_CUT)
		faulty->body_n--;
	else if (fault == HTTP_FAULT_HTTPS)
		faulty->body_n = (size_t)sprintf((char *)body, "This is a port of HTTPS.\n");
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

/* Puts an answer into out. Returns its length. */
static size_t http_compose(struct faulty_http *faulty, enum http_fault fault)
{
	bool bare = http_is_to_end(fault) || fault == HTTP_FAULT_UNFRAMED;
	bool chunked =
	    !bare && !http_is_old(fault) && (faulty->answers % 2 || fault == HTTP_FAULT_CHUNK);
	const char *end = fault == HTTP_FAULT_LINE_END ? "\n" : "\r\n";
	char framing[128] = "";
	size_t n, half = faulty->body_n / 2;

	if (fault == HTTP_FAULT_FRAMES || !chunked)
		(void)snprintf(framing, sizeof framing, "Content-Length: %zu\r\n", faulty->body_n);
	if (fault == HTTP_FAULT_FRAMES || chunked)
		strcat(framing, "Transfer-Encoding: chunked\r\n");
	n = (size_t)sprintf((char *)faulty->out, "HTTP/%s %s\r\nX-Turn: %lu%s%s%s\r\n",
			    fault == HTTP_FAULT_VERSION ? "2.0"
			    : http_is_old(fault)	? "1.0"
							: "1.1",
			    fault == HTTP_FAULT_STATUS			  ? "503 Not now"
			    : fault == HTTP_FAULT_HTTPS			  ? "400 Bad Request"
			    : fault == HTTP_FAULT_KEY && !faulty->has_key ? "403 No"
									  : "200 OK",
			    faulty->answers, end, bare ? "" : framing,
			    fault == HTTP_FAULT_LAST || fault == HTTP_FAULT_BEHIND
				? "Connection: close\r\n"
			    : fault == HTTP_FAULT_OLD_KEEPS ? "Connection: keep-alive\r\n"
							    : "");
	if (faulty->to_head)
		return n;
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
	if (fault == HTTP_FAULT_MUTE)
		(void)shutdown(faulty->peers.fds[i].fd, SHUT_WR);
	if (fault == HTTP_FAULT_MUTE || fault == HTTP_FAULT_DROP)
		return;
	if (fault == HTTP_FAULT_TLS)
		n = sizeof tls_alert - 1, memcpy(faulty->out, tls_alert, n);
	if (fault == HTTP_FAULT_BEHIND) { /* in one piece */
		memcpy(faulty->out + n, faulty->out, n);
		n *= 2;
	}
	http_send(faulty, i, fault == HTTP_FAULT_CLOSE ? n - 2 : n);
	if (fault == HTTP_FAULT_TWICE)
		http_send(faulty, i, n);
	faulty->goes = fault == HTTP_FAULT_QUIT || fault == HTTP_FAULT_RESET;
	if (http_ends(fault))
		(void)shutdown(faulty->peers.fds[i].fd, SHUT_WR);
}

/* Takes a request if it is whole, and answers it. */
static bool http_serve(struct faulty_http *faulty, nfds_t i)
{
	static const char length[] = "Content-Length: ", chunked[] = "Transfer-Encoding: chunked";
	struct http_peer *peer = &faulty->came[i];
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
	faulty->to_head = memcmp(peer->in, "HEAD ", 5) == 0;
	faulty->has_key = memmem(peer->in, head, "\r\nX-Key: 7\r\n", 12) != NULL;
	if (memcmp(peer->in, "GET /big ", 9) == 0) {
		faulty->body_n = HTTP_BIG_BYTES;
		for (size_t k = 0; k < HTTP_BIG_BYTES; k++)
			faulty->body[k] = (unsigned char)(k * k / 7);
	} else if (memmem(peer->in, head, " /fixed ", 8)) {
		faulty->body_n = strlen("created\n");
		memcpy(faulty->body, "created\n", faulty->body_n);
	} else if (memcmp(peer->in, "GET ", 4) == 0 || faulty->to_head) {
		faulty->body_n = strlen("hello, world\n");
		memcpy(faulty->body, "hello, world\n", faulty->body_n);
	}
	peer->n -= (size_t)(body - peer->in) + n + tail;
	memmove(peer->in, body + n + tail, peer->n);
	http_answer(faulty, i);
	return true;
}

static void http_came(struct faulty_peers *peers, nfds_t i)
{
	((struct faulty_http *)peers)->came[i].n = 0;
}

static void http_turn(struct faulty_peers *peers, nfds_t i)
{
	struct faulty_http *faulty = (struct faulty_http *)peers;
	struct http_peer *peer = &faulty->came[i];
	ssize_t n = read(peers->fds[i].fd, peer->in + peer->n, sizeof peer->in - peer->n);

	if (n <= 0) {
		faulty_peers_close(peers, i);
		return;
	}
	peer->n += (size_t)n;
	while (http_serve(faulty, i) && !faulty->goes)
		;
	if (faulty->goes) {
		struct linger linger = {.l_onoff = faulty->fault == HTTP_FAULT_RESET};

		(void)setsockopt(peers->fds[i].fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
		faulty_peers_close(peers, i);
		faulty->goes = false;
	}
}

unsigned faulty_http_start(enum http_fault fault, unsigned long every)
{
	static struct faulty_http faulty;
	unsigned port;

	if (faulty_peers_fork(&faulty.peers, &port) == 0) {
		faulty.fault = fault;
		faulty.every = every;
		faulty_peers_run(&faulty.peers, http_came, http_turn);
	}
	return port;
}
