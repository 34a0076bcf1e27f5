/*
 * datagram: an exchange without a connection: a datagram comes, one goes back.
 *
 * Each datagram is a conversation of its own: the protocol is opened for it, gets its bytes, and
 * ends. The answer is one datagram, which begins with what the protocol says at its open
 * (increment's `*`). An empty answer is sent, too, so that the peer learns that its datagram came.
 * An answer is at most one byte longer than what it answers.
 *
 * What UDP does not do is left to the client: an answer may be lost, doubled or late.
 */
#ifndef BENCH_DESIGNS_DATAGRAM_H
#define BENCH_DESIGNS_DATAGRAM_H

#include "bench/designs/serve.h"

struct exchange {
	struct sockaddr_storage peer;
	socklen_t peer_n;
	size_t n;
	unsigned char bytes[1 << 16]; /* over IPv4 a datagram has at most 65,507 */
};

/* Waits for the next datagram. */
void datagram_receive(const struct serve *serve, struct exchange *exchange);
/* Answers the datagram; its bytes are changed in place. */
void datagram_answer(struct serve *serve, struct exchange *exchange);

#endif
