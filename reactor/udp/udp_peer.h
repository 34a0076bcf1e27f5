/*
 * from: who sent a datagram, and to which of our addresses; so, where its answer goes, and
 * from where.
 *
 * On a socket that is bound to one address that address is the only one. On one that is bound
 * to every address the kernel is asked to say, and told (IP_PKTINFO in ip(7), IPV6_RECVPKTINFO
 * in ipv6(7)): else it would choose the one that the route back begins with, which is not the
 * one that was asked, and per_ip would throw the answer away. Plain bytes, which own nothing.
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
		struct sockaddr_in6 ip6; /* IPv4 too, mapped, on a socket of both kinds */
	} peer;
	socklen_t peer_bytes;
	enum { ASKED_ANY, ASKED_IP4, ASKED_IP6 } asked; /* which of these is known */
	union {
		struct in_pktinfo ip4;
		struct in6_pktinfo ip6;
	} here;
};

#define UDP_PEER_CONTROL_BYTES CMSG_SPACE(sizeof(struct in6_pktinfo))

/* From what came with the datagram; peer and peer_bytes are there already. */
void udp_peer_forget_here(struct udp_peer *from);
/* True where this control message is about it. */
bool udp_peer_read_here(struct udp_peer *from, const struct cmsghdr *control);
/* For the answer; how many bytes of control that takes: 0 or CMSG_SPACE of it. */
size_t udp_peer_write_here(const struct udp_peer *from, void *control);

/* It was sent to many, not to us: to a broadcast or multicast address. */
bool udp_peer_asked_many(const struct udp_peer *from);
/* The same peer, at the same address of ours. */
bool udp_peer_same(const struct udp_peer *a, const struct udp_peer *b);

#endif
