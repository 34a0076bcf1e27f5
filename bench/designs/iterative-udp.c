/*
 * iterative-udp: one process, one datagram after the other.
 *
 * Teaches: without connections an iterative server is enough. A peer that is silent, or gone,
 * delays no other; there is nothing to accept, to close or to run out of. A datagram is whole or
 * not there at all, and may be empty: 0 from recvfrom() is no end.
 *
 * Breaks: what comes while the socket's buffer is full is lost, and neither side is told
 * (`RcvbufErrors` in /proc/net/snmp counts it). One slow exchange delays all that follow. The
 * sender's address can be forged: a server whose answers are longer than the requests is a weapon,
 * and two echo servers that are made to talk to each other never stop. So this is for loopback
 * only.
 */
#include "bench/designs/datagram.h"

int main(int argc, char **argv)
{
	static struct exchange exchange;
	struct serve serve = {.udp = true};

	serve_open(&serve, argc, argv);
	serve_ready(&serve);
	for (;;) {
		datagram_receive(&serve, &exchange);
		datagram_answer(&serve, &exchange);
	}
}
