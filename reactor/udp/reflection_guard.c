#include "reactor/udp/reflection_guard.h"

#include <netinet/in.h>
#include <string.h>

#include "reactor/base/check.h"

static uint16_t port_of(const struct sockaddr *peer)
{
	if (peer->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)peer)->sin_port);
	return ntohs(((const struct sockaddr_in6 *)(const void *)peer)->sin6_port);
}

static bool is_loopback(const unsigned char address[16])
{
	struct in6_addr ip6;

	memcpy(&ip6, address, sizeof ip6);
	return IN6_IS_ADDR_V4MAPPED(&ip6) ? address[12] == 127 : IN6_IS_ADDR_LOOPBACK(&ip6);
}

void reflection_guard_add(struct reflection_guard *guard, const struct address *address)
{
	const struct sockaddr *here = (const struct sockaddr *)&address->socket;
	struct reflection_guard_own *own = &guard->own[guard->own_n++];

	CHECK(guard->own_n <= REFLECTION_GUARD_OWN_MAX && address_bytes(here, own->address));
	own->port = port_of(here);
	own->any = address_is_unspecified(own->address);
}

enum reflection_verdict reflection_guard_check(const struct reflection_guard *guard,
					       const struct sockaddr *peer)
{
	uint16_t port = port_of(peer);
	unsigned char address[16];

	if (port < REFLECTION_GUARD_PORT_MIN)
		return REFLECTION_LOW_PORT;
	if (!address_bytes(peer, address) || address_is_unspecified(address))
		return REFLECTION_NO_SENDER;
	for (unsigned i = 0; i < guard->own_n; i++) {
		const struct reflection_guard_own *own = &guard->own[i];

		if (own->port != port)
			continue;
		if (own->any || !is_loopback(address) || memcmp(own->address, address, 16) == 0)
			return REFLECTION_OWN_PORT;
	}
	return REFLECTION_NONE;
}
