/*
 * http_relay: forwards between a proxy and weir, and records what each of them sends.
 *
 * The proxy takes the relay's listener, a path, for the server. What comes in is passed on to weir,
 * and the answer back; a proxy may keep its connections for the next exchange.
 */
#ifndef TESTS_SUPPORT_SERVERS_HTTP_RELAY_H
#define TESTS_SUPPORT_SERVERS_HTTP_RELAY_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/bytes.h"
#include "tests/support/harness.h"

#define HTTP_RELAY_PAIRS 1024

struct http_relay_pair {
	int proxy, weir; /* descriptors; -1: closed */
	bool proxy_over; /* the proxy says nothing more on this connection */
	struct bytes asked, answered;
	size_t reads_n; /* for a test: how much of what the parser reads in `asked` it has seen */
};

struct http_relay {
	int listener;
	unsigned weir_port;
	size_t n;
	struct http_relay_pair pairs[HTTP_RELAY_PAIRS];
};

static inline void http_relay_open(struct http_relay *relay, const char *path, unsigned weir_port)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	relay->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(relay->listener, (const struct sockaddr *)&address, sizeof address),
			 0);
	ck_assert_int_eq(listen(relay->listener, 64), 0);
	relay->weir_port = weir_port;
	relay->n = 0;
}

static inline void http_relay_accept(struct http_relay *relay)
{
	int fd = accept4(relay->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	ck_assert_uint_lt(relay->n, HTTP_RELAY_PAIRS);
	relay->pairs[relay->n++] =
	    (struct http_relay_pair){.proxy = fd, .weir = connect_to(relay->weir_port)};
}

/* Reads what there is now; false: the end has come. */
static inline bool http_relay_take(int fd, struct bytes *bytes, int to)
{
	unsigned char part[16384];
	ssize_t n = recv(fd, part, sizeof part, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return true;
	if (n <= 0)
		return false;
	bytes_add(bytes, part, (size_t)n);
	/* A client that does not want it any more has closed, which will be seen next. */
	if (to >= 0)
		(void)send(to, part, (size_t)n, MSG_NOSIGNAL);
	return true;
}

static inline void http_relay_pass(struct http_relay_pair *pair)
{
	if (!pair->proxy_over && !http_relay_take(pair->proxy, &pair->asked, pair->weir)) {
		pair->proxy_over = true;
		(void)shutdown(pair->weir, SHUT_WR);
	}
	if (!http_relay_take(pair->weir, &pair->answered, pair->proxy)) {
		(void)close(pair->weir);
		(void)close(pair->proxy);
		pair->proxy = pair->weir = -1;
	}
}

/* Waits for bytes, and passes on what has come; false: nothing came in time. */
static inline bool http_relay_step(struct http_relay *relay, int client, int wait_ms)
{
	struct pollfd polls[2 + 2 * HTTP_RELAY_PAIRS] = {{client, POLLIN, 0},
							 {relay->listener, POLLIN, 0}};
	size_t pairs = relay->n;

	for (size_t i = 0; i < pairs; i++) {
		struct http_relay_pair *pair = &relay->pairs[i];

		polls[2 + 2 * i] = (struct pollfd){pair->proxy_over ? -1 : pair->proxy, POLLIN, 0};
		polls[3 + 2 * i] = (struct pollfd){pair->weir, POLLIN, 0};
	}
	if (poll(polls, 2 + 2 * pairs, wait_ms) <= 0)
		return false;
	if (polls[1].revents)
		http_relay_accept(relay);
	for (size_t i = 0; i < pairs; i++)
		if (relay->pairs[i].weir >= 0)
			http_relay_pass(&relay->pairs[i]);
	return true;
}

/* How many final answers have begun; no body in the corpus looks like the beginning of one. */
static inline size_t http_relay_answers(const struct bytes *bytes)
{
	static const char begin[] = "HTTP/1.1 ";
	const unsigned char *at = bytes->at, *end = at + bytes->n;
	size_t n = 0;

	while (at && (at = memmem(at, (size_t)(end - at), begin, strlen(begin)))) {
		at += strlen(begin);
		n += at < end && *at >= '2' && *at <= '5';
	}
	return n;
}

/* Sends bytes to a proxy, and relays until the proxy ends the connection. The client's side is shut
 * only when so many answers have begun: HAProxy may drop a request that it has not begun to read
 * when it learns that its client will send nothing more. */
static inline void http_relay_exchange(struct http_relay *relay, int client, const void *bytes,
				       size_t n, size_t answers, struct bytes *answer)
{
	ssize_t sent = send(client, bytes, n, MSG_NOSIGNAL);
	bool finished = false;

	ck_assert(sent == (ssize_t)n || errno == EPIPE);
	do {
		if (!finished && http_relay_answers(answer) >= answers)
			finished = shutdown(client, SHUT_WR) == 0 || errno == ENOTCONN;
		ck_assert_msg(http_relay_step(relay, client, (int)patience_ms()),
			      "the proxy neither answers nor closes: %.*s", (int)n,
			      (const char *)bytes);
	} while (http_relay_take(client, answer, -1));
	while (http_relay_step(relay, -1, 0))
		;
}

/* When the proxy is gone: relays until weir has sent all that it owes. */
static inline void http_relay_end(struct http_relay *relay)
{
	while (http_relay_step(relay, -1, 0))
		;
	for (size_t i = 0; i < relay->n; i++)
		while (relay->pairs[i].weir >= 0)
			ck_assert(http_relay_step(relay, -1, (int)patience_ms()));
}

#endif
