/*
 * fork-udp: a process for each datagram.
 *
 * Teaches: the concurrent server without connections. The parent must have taken the
 * datagram before it forks: were the child to receive it, the parent would find the socket
 * readable still, and fork another. The child answers from the same socket, so the answer
 * comes from the port that was asked. (Where an exchange takes several datagrams, as in
 * TFTP, the child goes on with a socket of its own, on another port.)
 *
 * Breaks: answers overtake one another. The fork costs many times the exchange, and while
 * the parent forks, the socket's buffer overflows: it loses datagrams that the iterative
 * one would have answered. Nobody has to connect to make it fork, so without a
 * limit any sender, or a forger, is a fork bomb; with one, the parent waits, and more is lost.
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
