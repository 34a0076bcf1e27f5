/*
 * reflection_guard: the senders of datagrams that are never answered.
 *
 * The sender of a datagram can be forged. An answer to a port below 1024 may reach a service that
 * answers in turn, and so may one to a port where weir itself serves datagrams: two servers that
 * answer each other never stop (CERT CA-1996-01, CVE-2024-2169). A port counts as weir's own if
 * the sender's address is that listener's too, if the listener is on every address, or if the
 * sender is on another machine, because another weir may be there. An answer to no address (::,
 * which networks let through) would go to this machine's own loopback, where services may be that
 * nobody outside is meant to reach.
 */
#ifndef REACTOR_UDP_REFLECTION_GUARD_H
#define REACTOR_UDP_REFLECTION_GUARD_H

#include <stdint.h>

#include "reactor/base/address.h"

#define REFLECTION_GUARD_OWN_MAX  64
#define REFLECTION_GUARD_PORT_MIN 1024

struct reflection_guard {
	struct reflection_guard_own {
		unsigned char address[16]; /* IPv4 mapped */
		uint16_t port;
		bool any; /* every address */
	} own[REFLECTION_GUARD_OWN_MAX];
	unsigned own_n;
};

enum reflection_verdict {
	REFLECTION_NONE,
	REFLECTION_NO_SENDER,
	REFLECTION_LOW_PORT,
	REFLECTION_OWN_PORT
};

/* Adds an address where weir serves datagrams; at most REFLECTION_GUARD_OWN_MAX. */
void reflection_guard_add(struct reflection_guard *guard, const struct address *address);
enum reflection_verdict reflection_guard_check(const struct reflection_guard *guard,
					       const struct sockaddr *peer);

#endif
