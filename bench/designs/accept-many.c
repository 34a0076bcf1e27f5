/*
 * accept-many: workers that were started beforehand, all of them waiting in accept().
 *
 * Teaches: no process is started for a connection, and nothing is passed on: the listener,
 * inherited over fork(), is the queue. Old kernels woke all workers for each connection, and all
 * but one went back to sleep (the thundering herd; the cure was a lock around accept()). Linux
 * wakes only one of those that wait in accept(). If they wait in poll() or select(), or in epoll
 * without EPOLLEXCLUSIVE, it still wakes all of them.
 *
 * Breaks: a worker serves one connection at a time, so there can be only as many peers at once as
 * workers; the next peer waits until one leaves. As many idle peers as workers are enough to deny
 * service to all others.
 */
#include <unistd.h>

#include "bench/designs/blocking.h"
#include "bench/designs/children.h"

static void work(struct serve *serve, unsigned worker)
{
	(void)worker;
	for (;;) {
		int fd = serve_accept(serve);

		blocking_serve(&serve->service, fd, fd);
		(void)close(fd);
	}
}

int main(int argc, char **argv)
{
	struct serve serve = {.workers = 4};

	serve_open(&serve, argc, argv);
	children_prefork(&serve, work);
	serve_ready(&serve);
	for (;;)
		(void)pause();
}
