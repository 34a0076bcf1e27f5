/*
 * guard: to whom no datagram is ever answered.
 *
 * The sender of a datagram can be forged. An answer to a port below 1024 may reach a service
 * that answers in turn, and so may one to a port where weir itself serves datagrams: two
 * servers that answer each other never stop (CERT CA-1996-01, CVE-2024-2169). A port counts as
 * weir's own where the sender's address is that listener's too; where the listener is on every
 * address; and where the sender is on another machine, as another weir may be there. What comes
 * from no address (::, which networks let through) would be answered to this machine's own
 * loopback, where services may be that nobody outside is to reach.
 */
#ifndef REACTOR_UDP_REFLECTION_GUARD_H
#define REACTOR_UDP_REFLECTION_GUARD_H

#include <stdint.h>

#include "reactor/base/address.h"

#define GUARD_OWN_MAX  64
#define GUARD_PORT_MIN 1024

struct guard {
	struct guard_own {
		unsigned char address[16]; /* IPv4 mapped */
		uint16_t port;
		bool any; /* every address */
	} own[GUARD_OWN_MAX];
	unsigned own_n;
};

enum guard_verdict { GUARD_PASSES, GUARD_NOBODY, GUARD_LOW_PORT, GUARD_OWN_PORT };

/* A place where weir serves datagrams; at most GUARD_OWN_MAX. */
void guard_add(struct guard *guard, const struct address *address);
enum guard_verdict guard_judge(const struct guard *guard, const struct sockaddr *peer);

#endif
