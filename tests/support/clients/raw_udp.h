/*
 * raw_udp: datagrams with a forged sender, and a count of those that leave in answer.
 *
 * Forged datagrams have a hop limit of their own, so that on loopback they are not counted as
 * answers. All other UDP that leaves a host is counted, on every interface. Needs root.
 */
#ifndef TESTS_SUPPORT_CLIENTS_RAW_UDP_H
#define TESTS_SUPPORT_CLIENTS_RAW_UDP_H

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>

#include "tests/support/clients/udp_client.h"

#define RAW_UDP_HOPS 77

/* Adds these bytes to a checksum that is not folded yet: RFC 1071. */
static inline uint32_t raw_udp_sum(uint32_t sum, const void *bytes, size_t n)
{
	const unsigned char *at = bytes;

	for (size_t i = 0; i < n; i++)
		sum += (uint32_t)at[i] << (i % 2 ? 0 : 8);
	return sum;
}

static inline void raw_udp_send(int family, const void *packet, size_t n, const struct address *to)
{
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	struct address bare = *to;

	ck_assert_int_ge(fd, 0);
	address_set_port(&bare, 0);
	ck_assert_msg(sendto(fd, packet, n, 0, (struct sockaddr *)&bare.socket, bare.bytes) ==
			  (ssize_t)n,
		      "sendto: %s", strerror(errno));
	(void)close(fd);
}

/* Sends a small datagram with the bytes "forged". */
static inline void raw_udp_ip4(const struct sockaddr_in *from, const struct address *to)
{
	const struct sockaddr_in *target = (const void *)&to->socket;
	struct {
		struct iphdr ip;
		struct udphdr udp;
		char bytes[6];
	} __attribute__((packed)) packet = {
	    .ip = {.version = 4,
		   .ihl = 5,
		   .ttl = RAW_UDP_HOPS,
		   .protocol = IPPROTO_UDP,
		   .saddr = from->sin_addr.s_addr,
		   .daddr = target->sin_addr.s_addr},
	    .udp = {.source = from->sin_port,
		    .dest = target->sin_port,
		    .len = htons(sizeof packet.udp + sizeof packet.bytes)},
	    .bytes = {'f', 'o', 'r', 'g', 'e', 'd'},
	};

	raw_udp_send(AF_INET, &packet, sizeof packet, to);
}

static inline void raw_udp_ip6(const struct sockaddr_in6 *from, const struct address *to)
{
	const struct sockaddr_in6 *target = (const void *)&to->socket;
	struct {
		struct ip6_hdr ip;
		struct udphdr udp;
		char bytes[6];
	} __attribute__((packed)) packet = {
	    .ip = {.ip6_hlim = RAW_UDP_HOPS,
		   .ip6_nxt = IPPROTO_UDP,
		   .ip6_plen = htons(sizeof packet.udp + sizeof packet.bytes),
		   .ip6_src = from->sin6_addr,
		   .ip6_dst = target->sin6_addr},
	    .udp = {.source = from->sin6_port,
		    .dest = target->sin6_port,
		    .len = htons(sizeof packet.udp + sizeof packet.bytes)},
	    .bytes = {'f', 'o', 'r', 'g', 'e', 'd'},
	};
	uint32_t sum;

	packet.ip.ip6_vfc = 6 << 4;
	sum = raw_udp_sum(IPPROTO_UDP + sizeof packet.udp + sizeof packet.bytes, &packet.ip.ip6_src,
			  32);
	sum = raw_udp_sum(sum, &packet.udp, sizeof packet.udp + sizeof packet.bytes);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	packet.udp.check = htons((uint16_t)~sum);
	raw_udp_send(AF_INET6, &packet, sizeof packet, to);
}

/* Sends a datagram that seems to come from host and port. */
static inline void raw_udp(const char *host, unsigned port, const struct address *to)
{
	struct address from = udp_client_address(host, port);

	if (from.socket.ss_family == AF_INET)
		raw_udp_ip4((const void *)&from.socket, to);
	else
		raw_udp_ip6((const void *)&from.socket, to);
}

/* ---- what leaves ---- */

/* Watches the host on which this process is now. */
static inline int raw_udp_watch(void)
{
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ALL));

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* How many datagrams, or fragments of them, have left since the last call. */
static inline unsigned raw_udp_left(int watch)
{
	unsigned char packet[2048];
	unsigned n = 0;

	for (;;) {
		struct sockaddr_ll link = {0};
		socklen_t link_n = sizeof link;
		ssize_t came = recvfrom(watch, packet, sizeof packet, MSG_DONTWAIT,
					(struct sockaddr *)&link, &link_n);

		if (came < 0)
			return n;
		if (link.sll_pkttype != PACKET_OUTGOING || came < 20)
			continue;
		if (link.sll_protocol == htons(ETH_P_IP))
			n += packet[9] == IPPROTO_UDP && packet[8] != RAW_UDP_HOPS;
		else if (link.sll_protocol == htons(ETH_P_IPV6))
			n += (packet[6] == IPPROTO_UDP || packet[6] == IPPROTO_FRAGMENT) &&
			     packet[7] != RAW_UDP_HOPS;
	}
}

#endif
