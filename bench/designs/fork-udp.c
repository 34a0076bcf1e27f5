/*
 * fork-udp: a process for each datagram.
 *
 * Teaches: the concurrent server without connections. The parent must receive the datagram before
 * it forks: if the child received it, the parent could find the socket still readable, and fork
 * another child. The child answers from the same socket, so the answer comes from the port that was
 * asked. (If an exchange takes several datagrams, as in TFTP, the child goes on with a socket of
 * its own, on another port.)
 *
 * Breaks: answers overtake one another. The fork costs many times what the exchange costs, and
 * while the parent forks the socket's buffer overflows: it loses datagrams that iterative-udp would
 * have answered. Nobody has to connect to make it fork, so without a limit any sender, even with a
 * forged address, can use it as a fork bomb; with a limit the parent waits, and loses more.
 */
#include <unistd.h>

#include "bench/designs/children.h"
#include "bench/designs/datagram.h"

#define CHILDREN_MAX 64

int main(int argc, char **argv)
{
	static struct exchange exchange;
	struct serve serve = {.udp = true};

	serve_open(&serve, argc, argv);
	children_reap();
	serve_ready(&serve);
	for (;;) {
		datagram_receive(&serve, &exchange);
		if (children_fork(CHILDREN_MAX) == 0) {
			datagram_answer(&serve, &exchange);
			_exit(0);
		}
	}
}
