/*
 * http_floor: the barest edge-triggered epoll loop that looks like a server to a client of HTTP.
 * weir's http is compared with it.
 *
 * It parses nothing. Each empty line ("\r\n\r\n") ends a request, and each request gets the same
 * constant, which is as long as weir's answer to GET /. All requests of one read are answered by
 * one write. A request is epoll_wait, read and write. For each connection it remembers one byte:
 * how much of an empty line has come. A short read has drained the socket, unless the peer's end
 * was reported with it.
 *
 * Gives up: everything that makes it HTTP. Bodies are taken for requests, or for nothing; HEAD gets
 * a body; the date stands still; there are no limits and no timeouts. A peer that does not read its
 * answers is closed.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "bench/peers/peer.h"

#define BUFFER_BYTES	(16 * 1024)
#define EVENTS		256
#define CONNECTIONS	65536 /* by descriptor */
#define ANSWERS		(BUFFER_BYTES / 4)
#define ACCEPT_AGAIN_MS 50

static const char empty_line[] = "\r\n\r\n";

static char bytes[BUFFER_BYTES];
static unsigned char come[CONNECTIONS]; /* how many bytes of an empty line have come */
static char *answers;			/* ANSWERS copies of the answer, one after the other */
static size_t answer_bytes;

static void compose(void)
{
	char answer[256], date[64];
	time_t now = time(NULL);
	struct tm utc;

	(void)strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
	answer_bytes = (size_t)snprintf(answer, sizeof answer,
					"HTTP/1.1 200 OK\r\nServer: bare\r\nDate: %s\r\n"
					"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
					date);
	answers = malloc(ANSWERS * answer_bytes);
	if (!answers)
		peer_fail("malloc", "answers", errno);
	for (size_t i = 0; i < ANSWERS; i++)
		memcpy(answers + i * answer_bytes, answer, answer_bytes);
}

/* How many empty lines end in these bytes. */
static size_t count(const char *at, size_t n, unsigned char *matched)
{
	const char *end = at + n;
	size_t found = 0;

	while (at < end) {
		if (!*matched) {
			at = memchr(at, '\r', (size_t)(end - at));
			if (!at)
				break;
		}
		if (*at != empty_line[*matched])
			*matched = *at == '\r';
		else if (++*matched == sizeof empty_line - 1) {
			*matched = 0;
			found++;
		}
		at++;
	}
	return found;
}

static void answer(int fd, bool to_its_end)
{
	ssize_t n;

	do {
		size_t owed;

		n = read(fd, bytes, sizeof bytes);
		if (n < 0 && errno == EAGAIN)
			return;
		owed = n > 0 ? count(bytes, (size_t)n, &come[fd]) * answer_bytes : 0;
		if (n <= 0 || (owed && write(fd, answers, owed) != (ssize_t)owed)) {
			(void)close(fd);
			return;
		}
	} while (to_its_end || n == sizeof bytes);
}

/* False: no descriptor or memory was left; connections may still wait, and no edge will announce
 * them. */
static bool accept_all(int ep, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct epoll_event event = {EPOLLIN | EPOLLRDHUP | EPOLLET, {.fd = fd}};

		if (fd >= CONNECTIONS || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) < 0)
			(void)close(fd);
		else
			come[fd] = 0;
	}
	return errno == EAGAIN;
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS] = {{EPOLLIN | EPOLLET, {0}}};
	struct address address;
	bool waiting = false;
	int ep, listener;

	peer_begin(&address, argc, argv, "http");
	compose();
	listener = peer_listen(&address, argv[1], SOCK_NONBLOCK);
	ep = epoll_create1(EPOLL_CLOEXEC);
	events[0].data.fd = listener;
	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, events) < 0)
		peer_fail("epoll", argv[1], errno);
	peer_ready(listener);
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, waiting ? ACCEPT_AGAIN_MS : -1);

		for (int i = 0; i < n; i++)
			if (events[i].data.fd == listener)
				waiting = true;
			else
				answer(events[i].data.fd, events[i].events & ~(uint32_t)EPOLLIN);
		/* Last, so that no event is left for a descriptor number that a new connection
		 * gets. */
		if (waiting)
			waiting = !accept_all(ep, listener);
	}
}
