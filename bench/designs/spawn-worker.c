/*
 * spawn-worker PROTOCOL: serves one connection, which is its stdin and stdout, and ends.
 * spawn starts it; inetd could, too.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/designs/blocking.h"
#include "bench/designs/children.h"

int main(int argc, char **argv)
{
	struct service service = {.protocol = argc == 2 ? serve_protocol(argv[1]) : NULL};

	if (!service.protocol) {
		(void)fprintf(stderr, "usage: spawn-worker echo|increment\n");
		return 2;
	}
	/* If the parent ends before this call, this process outlives it by its one connection. */
	children_end_with_parent();
	(void)signal(SIGPIPE, SIG_IGN);
	blocking_serve(&service, STDIN_FILENO, STDOUT_FILENO);
	return 0;
}
