/*
 * udp_peer: who sent a datagram, and to which of our addresses: where its answer goes, and from
 * where.
 *
 * A socket that is bound to one address has no other. On one that is bound to every address the
 * kernel says which one was asked, and is told so with the answer (IP_PKTINFO in ip(7),
 * IPV6_RECVPKTINFO in ipv6(7)). Otherwise the kernel would choose the address with which the route
 * back begins, and a client throws away an answer that comes from an address it did not ask.
 * Plain bytes, which own nothing.
 */
#ifndef REACTOR_UDP_UDP_PEER_H
#define REACTOR_UDP_UDP_PEER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct udp_peer {
	union {
		struct sockaddr any;
		struct sockaddr_in ip4;
		struct sockaddr_in6 ip6; /* IPv4 too, mapped, on a socket of both families */
	} peer;
	socklen_t peer_bytes;
	enum { ASKED_ANY, ASKED_IP4, ASKED_IP6 } asked; /* which of these is known */
	union {
		struct in_pktinfo ip4;
		struct in6_pktinfo ip6;
	} here;
};

#define UDP_PEER_CONTROL_BYTES CMSG_SPACE(sizeof(struct in6_pktinfo))

/* Before the control messages of a datagram are read; peer and peer_bytes are set already. */
void udp_peer_forget_here(struct udp_peer *from);
/* Reads our address from a control message. False: that is about something else. */
bool udp_peer_read_here(struct udp_peer *from, const struct cmsghdr *control);
/* Writes the control message for the answer. Returns how many bytes it takes; 0: it needs none. */
size_t udp_peer_write_here(const struct udp_peer *from, void *control);

/* Was it sent to a broadcast or multicast address, not to us alone? */
bool udp_peer_asked_many(const struct udp_peer *from);
/* Are these the same peer, at the same address of ours? */
bool udp_peer_same(const struct udp_peer *a, const struct udp_peer *b);

#endif
