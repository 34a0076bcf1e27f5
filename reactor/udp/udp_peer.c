#include "reactor/udp/udp_peer.h"

#include <string.h>

void udp_peer_forget_here(struct udp_peer *from)
{
	from->asked = ASKED_ANY;
}

bool udp_peer_read_here(struct udp_peer *from, const struct cmsghdr *control)
{
	if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
		/* On a socket of both families the other one comes too, and says less. */
		memcpy(&from->here.ip4, CMSG_DATA(control), sizeof from->here.ip4);
		from->asked = ASKED_IP4;
		return true;
	}
	if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
		if (from->asked != ASKED_IP4) {
			memcpy(&from->here.ip6, CMSG_DATA(control), sizeof from->here.ip6);
			from->asked = ASKED_IP6;
		}
		return true;
	}
	return false;
}

static size_t write_control(void *control, int level, int type, const void *data, size_t n)
{
	struct cmsghdr *header = control;

	memset(control, 0, CMSG_SPACE(n));
	header->cmsg_level = level;
	header->cmsg_type = type;
	header->cmsg_len = (socklen_t)CMSG_LEN(n);
	memcpy(CMSG_DATA(header), data, n);
	return CMSG_SPACE(n);
}

/* Only the address is given: the routes decide by which interface an answer leaves, which may not
 * be where the datagram came in. A link-local address needs its interface too. */
size_t udp_peer_write_here(const struct udp_peer *from, void *control)
{
	struct in_pktinfo ip4 = {.ipi_spec_dst = from->here.ip4.ipi_spec_dst};
	struct in6_pktinfo ip6;

	switch (from->asked) {
	case ASKED_IP4:
		return write_control(control, IPPROTO_IP, IP_PKTINFO, &ip4, sizeof ip4);
	case ASKED_IP6:
		ip6 = from->here.ip6;
		if (!IN6_IS_ADDR_LINKLOCAL(&ip6.ipi6_addr))
			ip6.ipi6_ifindex = 0;
		return write_control(control, IPPROTO_IPV6, IPV6_PKTINFO, &ip6, sizeof ip6);
	default:
		return 0;
	}
}

bool udp_peer_asked_many(const struct udp_peer *from)
{
	/* For a datagram to many, the kernel says which address of ours stands for theirs. */
	if (from->asked == ASKED_IP4)
		return from->here.ip4.ipi_addr.s_addr != from->here.ip4.ipi_spec_dst.s_addr;
	return from->asked == ASKED_IP6 && IN6_IS_ADDR_MULTICAST(&from->here.ip6.ipi6_addr);
}

static bool same_peer(const struct udp_peer *a, const struct udp_peer *b)
{
	if (a->peer.any.sa_family != b->peer.any.sa_family)
		return false;
	if (a->peer.any.sa_family == AF_INET)
		return a->peer.ip4.sin_port == b->peer.ip4.sin_port &&
		       a->peer.ip4.sin_addr.s_addr == b->peer.ip4.sin_addr.s_addr;
	return a->peer.ip6.sin6_port == b->peer.ip6.sin6_port &&
	       a->peer.ip6.sin6_scope_id == b->peer.ip6.sin6_scope_id &&
	       IN6_ARE_ADDR_EQUAL(&a->peer.ip6.sin6_addr, &b->peer.ip6.sin6_addr);
}

bool udp_peer_same(const struct udp_peer *a, const struct udp_peer *b)
{
	if (a == b)
		return true;
	if (a->asked != b->asked || !same_peer(a, b))
		return false;
	if (a->asked == ASKED_IP4)
		return a->here.ip4.ipi_spec_dst.s_addr == b->here.ip4.ipi_spec_dst.s_addr;
	return a->asked == ASKED_ANY ||
	       (a->here.ip6.ipi6_ifindex == b->here.ip6.ipi6_ifindex &&
		IN6_ARE_ADDR_EQUAL(&a->here.ip6.ipi6_addr, &b->here.ip6.ipi6_addr));
}
