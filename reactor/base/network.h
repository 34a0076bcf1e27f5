/*
 * network: a range of IP addresses, as an operator writes it.
 *
 *     ADDRESS/LENGTH   or an ADDRESS alone, which is all of it
 *
 * IPv4 is kept as IPv4 mapped to IPv6 (RFC 4291, 2.5.5.2), so a client that comes to a dual-stack
 * socket is in an IPv4 network, too. Plain memory without an owner.
 */
#ifndef REACTOR_BASE_NETWORK_H
#define REACTOR_BASE_NETWORK_H

#include <stdbool.h>
#include <stddef.h>

struct network {
	unsigned char address[16]; /* its bits behind `bits` are 0 */
	unsigned char bits;	   /* 0 to 128 */
};

#define NETWORK_TEXT_BYTES 64
#define NETWORKS_MAX	   8 /* in a list of them */

/* False: text is no network. Bits behind its length must be 0. */
bool network_parse(struct network *network, const char *text);
void network_format(const struct network *network, char text[NETWORK_TEXT_BYTES]);
/* address: as of address_bytes(). */
bool network_has(const struct network *network, const unsigned char address[16]);

#endif
