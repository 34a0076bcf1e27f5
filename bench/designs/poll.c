/*
 * poll: one thread, all connections, by poll(2).
 *
 * Teaches: the same as select, without its limit: the array may be as long as there are
 * descriptors, and each entry has what has happened beside what was asked for.
 *
 * Breaks: the array goes into the kernel each time; the kernel asks every socket in it, and then
 * the server searches it for those that are ready: O(n) for each round, however few are ready.
 * With 10,000 connections of which one speaks, that is nearly all it does. (epoll keeps the array
 * in the kernel, and returns only those that are ready.)
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/designs/pending.h"
#include "reactor/base/check.h"

static struct serve serve = {.nonblocking = true};
/* Two parallel arrays of n entries; the first entry is the listener's. */
static struct pollfd *polls;
static struct pending **clients;
static size_t n;

/* False: no descriptor or memory is left, so that nothing can be accepted for a while. */
static bool accept_all(void)
{
	int fd;

	while ((fd = serve_try_accept(serve.fd, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		clients[n] = pending_open(&serve.service, fd);
		if (!clients[n])
			continue;
		polls[n] = (struct pollfd){.fd = fd, .events = pending_waits_for(clients[n])};
		n++;
	}
	return fd == -EAGAIN;
}

/* Backwards, so that the last one, which has been served, may take the place of one that ends. */
static void serve_ready_ones(int ready)
{
	for (size_t i = n - 1; i > 0 && ready > 0; i--) {
		if (!polls[i].revents)
			continue;
		ready--;
		if (pending_turn(clients[i])) {
			polls[i].events = pending_waits_for(clients[i]);
		} else {
			n--;
			polls[i] = polls[n];
			clients[i] = clients[n];
		}
	}
}

int main(int argc, char **argv)
{
	size_t most;
	bool room = true;

	serve_open(&serve, argc, argv);
	most = (size_t)sysconf(_SC_OPEN_MAX) + 1;
	polls = calloc(most, sizeof *polls);
	clients = calloc(most, sizeof *clients);
	if (!polls || !clients)
		die("no memory for %zu connections", most);
	n = 1;
	serve_ready(&serve);
	for (;;) {
		/* poll skips negative descriptors. */
		polls[0] = (struct pollfd){.fd = room ? serve.fd : -1, .events = POLLIN};
		int ready = poll(polls, n, room ? -1 : SERVE_RETRY_MS);

		if (ready < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		bool accepts = polls[0].revents || !room;

		if (ready > 0)
			serve_ready_ones(ready - (polls[0].revents != 0));
		if (accepts)
			room = accept_all();
	}
}
