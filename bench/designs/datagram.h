/*
 * datagram: an exchange without a connection: a datagram comes, one goes back.
 *
 * Each datagram is a conversation of its own: the protocol is opened for it, is given its
 * bytes, and ends. The answer is one datagram, in which what the protocol says at its open
 * (increment's `*`) comes first; there is one even where it is empty, so that the peer
 * learns that its own came. Neither protocol says more than it is given, or one byte.
 *
 * What UDP does not do is left to the client: an answer may be lost, doubled or late.
 */
#ifndef DESIGNS_DATAGRAM_H
#define DESIGNS_DATAGRAM_H

#include "bench/designs/serve.h"

struct exchange {
	struct sockaddr_storage peer;
	socklen_t peer_n;
	size_t n;
	unsigned char bytes[1 << 16]; /* 65,507 at most come by IPv4 */
};

/* Waits for the next one. */
void datagram_receive(const struct serve *serve, struct exchange *exchange);
/* Its bytes are changed in place. */
void datagram_answer(struct serve *serve, struct exchange *exchange);

#endif
