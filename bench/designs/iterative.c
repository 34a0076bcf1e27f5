/*
 * iterative: one process, one connection after the other.
 *
 * Teaches: the whole of a server is socket, bind, listen, accept, read, write, close; and
 * half-close: read() answering 0 ends the peer's side, what is owed still goes out.
 *
 * Breaks: head-of-line blocking. While one peer is served, or only stays connected, all
 * others wait. They do not notice at first: the kernel completes up to backlog connections
 * that nobody has accepted, and takes their bytes; after that, connecting takes seconds.
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
