/*
 * iterative: one process, one connection after the other.
 *
 * Teaches: a whole server is socket, bind, listen, accept, read, write, close; and half-close: 0
 * from read() ends the peer's side only, and what is owed to it still goes out.
 *
 * Breaks: head-of-line blocking. While one peer is served, or only stays connected, all others
 * wait. They do not notice at first: the kernel completes as many connections as the backlog
 * allows, before anybody accepts them, and takes their bytes. Once the backlog is full, connecting
 * takes seconds.
 */
#include <unistd.h>

#include "bench/designs/blocking.h"

int main(int argc, char **argv)
{
	struct serve serve = {0};

	serve_open(&serve, argc, argv);
	serve_ready(&serve);
	for (;;) {
		int fd = serve_accept(&serve);

		blocking_serve(&serve.service, fd, fd);
		(void)close(fd);
	}
}
