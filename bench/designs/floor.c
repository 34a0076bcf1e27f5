/*
 * floor: the barest edge-triggered epoll echo. weir is compared with it.
 *
 * Teaches: what no server on epoll can do without. A message is epoll_wait, read and write; a
 * connection's life is accept4, epoll_ctl and close. Nothing is kept for a connection: the event
 * carries its descriptor. A short read has drained the socket, so no second read is needed to learn
 * of EAGAIN. The exception: if the peer's end was reported with the bytes, no other edge comes for
 * it, so the socket is read to the end. With -w, N processes have a socket each on the same port
 * (SO_REUSEPORT), as in weir.
 *
 * Gives up: protocols other than echo. All limits and timeouts. Fairness: a peer that sends without
 * pause is served without pause. Backpressure: there is no memory for what a peer does not take, so
 * all others wait for that peer, STALL_MS at most, and then it is closed. That does not happen if
 * peers read what they asked for: with 50 peers and 16 KiB under way on each no write was short.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/designs/children.h"
#include "reactor/base/check.h"

#define BUFFER_BYTES (64 * 1024)
#define EVENTS	     256
#define STALL_MS     5000

static unsigned char bytes[BUFFER_BYTES];
static int *listeners; /* one for each worker */

static bool write_all(int fd, const unsigned char *at, size_t n)
{
	for (;;) {
		ssize_t written = write(fd, at, n);

		if (written == (ssize_t)n)
			return true;
		if (written < 0 && errno != EAGAIN)
			return false;
		if (written > 0) {
			at += written;
			n -= (size_t)written;
		}
		if (poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, STALL_MS) <= 0)
			return false;
	}
}

static void echo(int fd, bool to_its_end)
{
	ssize_t n;

	do {
		n = read(fd, bytes, sizeof bytes);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || !write_all(fd, bytes, (size_t)n)) {
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

	while ((fd = serve_try_accept(listener, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct epoll_event event = {EPOLLIN | EPOLLRDHUP | EPOLLET, {.fd = fd}};

		if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) < 0) {
			serve_trouble("epoll_ctl", errno);
			(void)close(fd);
		}
	}
	return fd == -EAGAIN;
}

static void work(struct serve *serve, unsigned worker)
{
	int listener = listeners[worker], ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[EVENTS] = {{EPOLLIN | EPOLLET, {.fd = listener}}};
	bool waiting = false;

	(void)serve;
	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, events) < 0)
		die("epoll: %s", strerror(errno));
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, waiting ? SERVE_RETRY_MS : -1);

		for (int i = 0; i < n; i++)
			if (events[i].data.fd == listener)
				waiting = true;
			else
				echo(events[i].data.fd, events[i].events & ~(uint32_t)EPOLLIN);
		/* Last, so that no event is left for a descriptor number that a new connection
		 * gets. */
		if (waiting)
			waiting = !accept_all(ep, listener);
	}
}

int main(int argc, char **argv)
{
	struct serve serve = {
	    .nonblocking = true, .echo_only = true, .reuseport = true, .workers = 1};

	serve_open(&serve, argc, argv);
	listeners = calloc(serve.workers, sizeof *listeners);
	if (!listeners)
		die("no memory for %u workers", serve.workers);
	listeners[0] = serve.fd;
	for (unsigned i = 1; i < serve.workers; i++)
		listeners[i] = serve_listen(&serve);
	if (serve.workers > 1)
		children_prefork(&serve, work);
	serve_ready(&serve);
	if (serve.workers == 1)
		work(&serve, 0);
	for (;;)
		(void)pause();
}
