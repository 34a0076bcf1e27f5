/*
 * select: one thread, all connections, by select(2).
 *
 * Teaches: one process waits for many; nothing blocks except select(). A peer that does not read
 * must not hold up the others, so what it is owed is kept: pending.h.
 *
 * Breaks: an fd_set has room for descriptors below FD_SETSIZE, 1,024; FD_SET of a larger one writes
 * past its end without a word. Such connections are closed here, and counted in the log. Both sets
 * go into the kernel and come back each time, and the kernel and the server look at every number up
 * to the highest: the cost of a message grows with the number of silent peers.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

#include "bench/designs/pending.h"
#include "reactor/base/check.h"
#include "reactor/base/log.h"

static struct serve serve = {.nonblocking = true};
static struct pending *clients[FD_SETSIZE];
static int highest;

/* Closes it, and logs how many were refused each time that number has doubled. */
static void refuse(int fd)
{
	static unsigned refused;

	(void)close(fd);
	refused++;
	if ((refused & (refused - 1)) == 0)
		log_warn("no room below FD_SETSIZE", LOG_NUMBER("refused", refused));
}

/* False: no descriptor or memory is left, so that nothing can be accepted for a while. */
static bool accept_all(void)
{
	int fd;

	while ((fd = serve_try_accept(serve.fd, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		if (fd >= FD_SETSIZE) {
			refuse(fd);
			continue;
		}
		clients[fd] = pending_open(&serve.service, fd);
		highest = fd > highest ? fd : highest;
	}
	return fd == -EAGAIN;
}

static void fill_sets(fd_set *in, fd_set *out)
{
	FD_ZERO(in);
	FD_ZERO(out);
	while (highest > serve.fd && !clients[highest])
		highest--;
	for (int fd = 0; fd <= highest; fd++)
		if (clients[fd])
			FD_SET(fd, pending_waits_for(clients[fd]) == POLLIN ? in : out);
}

int main(int argc, char **argv)
{
	bool room = true;

	serve_open(&serve, argc, argv);
	highest = serve.fd;
	serve_ready(&serve);
	for (;;) {
		struct timeval retry = {.tv_usec = SERVE_RETRY_MS * 1000};
		fd_set in, out;

		fill_sets(&in, &out);
		if (room)
			FD_SET(serve.fd, &in);
		int ready = select(highest + 1, &in, &out, NULL, room ? NULL : &retry);

		if (ready < 0 && errno != EINTR)
			die("select: %s", strerror(errno));
		for (int fd = 0; fd <= highest && ready > 0; fd++)
			if (clients[fd] && (FD_ISSET(fd, &in) || FD_ISSET(fd, &out)) &&
			    !pending_turn(clients[fd]))
				clients[fd] = NULL;
		if (!room || (ready > 0 && FD_ISSET(serve.fd, &in)))
			room = accept_all();
	}
}
