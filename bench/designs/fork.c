/*
 * fork: a process for each connection.
 *
 * Teaches: concurrency without a change to the code that serves. A child that crashes or hangs
 * takes one connection with it, and the kernel schedules and cleans up. After fork() parent and
 * child both have both descriptors: the parent must close the connection (or it never ends, and
 * descriptors run out), and the child the listener (or the port stays taken when the parent has
 * gone). Children must be waited for: children.h.
 *
 * Breaks: fork() copies the page tables, and the end of the child frees them: for a short
 * connection that is most of the work. Each connection costs the memory of a process. If there are
 * too many (RLIMIT_NPROC, pids of a cgroup) fork() fails with EAGAIN, and all that is left is to
 * close the connection.
 */
#include <limits.h>
#include <unistd.h>

#include "bench/designs/blocking.h"
#include "bench/designs/children.h"

int main(int argc, char **argv)
{
	struct serve serve = {0};

	serve_open(&serve, argc, argv);
	children_reap();
	serve_ready(&serve);
	for (;;) {
		int fd = serve_accept(&serve);

		if (children_fork(INT_MAX) == 0) {
			(void)close(serve.fd);
			blocking_serve(&serve.service, fd, fd);
			_exit(0);
		}
		(void)close(fd);
	}
}
