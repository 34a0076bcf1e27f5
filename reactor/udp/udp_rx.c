#include "reactor/udp/udp_rx.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

/* If slots were a power of two apart, their beginnings would all compete for the same few lines of
 * the cache. */
#define SLOT_BYTES (UDP_RX_BYTES + 5 * 64)

/* Our address in both forms, the count of drops, and the length of a train's datagrams. */
#define CONTROL_BYTES                                                                              \
	(CMSG_SPACE(sizeof(struct in_pktinfo)) + UDP_PEER_CONTROL_BYTES +                          \
	 CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(int)))

struct udp_rx_batch {
	struct mmsghdr messages[UDP_RX_BATCH];
	struct iovec spans[UDP_RX_BATCH];
	struct udp_peer from[UDP_RX_BATCH];
	size_t lengths[UDP_RX_BATCH]; /* of each datagram of a train but the last */
	_Alignas(struct cmsghdr) unsigned char controls[UDP_RX_BATCH][CONTROL_BYTES];
	_Alignas(64) unsigned char bytes[UDP_RX_BATCH][SLOT_BYTES];
};

/* Makes message i ready for the next datagram, whatever the last one left. */
static void reset(struct udp_rx_batch *batch, unsigned i)
{
	batch->spans[i] = (struct iovec){batch->bytes[i], UDP_RX_BYTES};
	batch->messages[i].msg_hdr = (struct msghdr){
	    .msg_name = &batch->from[i].peer,
	    .msg_namelen = sizeof batch->from[i].peer,
	    .msg_iov = &batch->spans[i],
	    .msg_iovlen = 1,
	    .msg_control = batch->controls[i],
	    .msg_controllen = CONTROL_BYTES,
	};
}

/* An older kernel, or a socket of the other family, has no such option. If that can't be told, it
 * is taken to be on: that costs a dearer call, but no wrong answer. */
static bool is_on(int fd, int level, int option)
{
	int value = 0, error;
	socklen_t n = sizeof value;

	error = sys_getsockopt(fd, level, option, &value, &n);
	return error ? error != -ENOPROTOOPT && error != -EOPNOTSUPP : value;
}

static int set_on(int fd, int level, int option)
{
	int on = 1;

	return sys_setsockopt(fd, level, option, &on, sizeof on);
}

int udp_rx_open(struct udp_rx *rx, int fd)
{
	*rx = (struct udp_rx){
	    .batch = sys_map(sizeof *rx->batch, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1)};
	if (!rx->batch)
		return -ENOMEM;
	for (unsigned i = 0; i < UDP_RX_BATCH; i++)
		reset(rx->batch, i);
	/* If that fails, drops are counted later. */
	(void)set_on(fd, SOL_SOCKET, SO_RXQ_OVFL);
	/* A worker that had this socket before may have asked for trains. */
	rx->single = !is_on(fd, IPPROTO_IP, IP_PKTINFO) &&
		     !is_on(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO) && !is_on(fd, SYS_UDP, SYS_UDP_GRO);
	return 0;
}

void udp_rx_close(struct udp_rx *rx)
{
	if (rx->batch)
		(void)sys_munmap(rx->batch, sizeof *rx->batch);
	rx->batch = NULL;
}

/* CMSG_NXTHDR: musl's has a conversion that compilers warn of. */
static struct cmsghdr *next_control(const struct msghdr *message, struct cmsghdr *control)
{
	size_t n = CMSG_SPACE(control->cmsg_len - CMSG_LEN(0));
	unsigned char *next = (unsigned char *)control + n;
	unsigned char *end = (unsigned char *)message->msg_control + message->msg_controllen;

	return next + sizeof *control <= end ? (struct cmsghdr *)(void *)next : NULL;
}

/* Reads the control data that came with the bytes. */
static void read_controls(struct udp_rx *rx, unsigned i)
{
	struct udp_rx_batch *batch = rx->batch;
	struct msghdr *message = &batch->messages[i].msg_hdr;
	struct udp_peer *from = &batch->from[i];
	int length;

	from->peer_bytes = message->msg_namelen;
	udp_peer_forget_here(from);
	batch->lengths[i] = batch->messages[i].msg_len;
	for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control;
	     control = next_control(message, control)) {
		if (udp_peer_read_here(from, control))
			continue;
		if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL) {
			memcpy(&rx->dropped, CMSG_DATA(control), sizeof rx->dropped);
		} else if (control->cmsg_level == SYS_UDP && control->cmsg_type == SYS_UDP_GRO) {
			memcpy(&length, CMSG_DATA(control), sizeof length);
			if (length > 0)
				batch->lengths[i] = (size_t)length;
		}
	}
}

/* Receives one datagram, without control data. */
static int receive_one(struct udp_rx *rx, int fd)
{
	struct udp_rx_batch *batch = rx->batch;
	struct udp_peer *from = &batch->from[0];
	struct mmsghdr *message = &batch->messages[0];
	ssize_t n;

	from->peer_bytes = sizeof from->peer;
	n = sys_recvfrom(fd, batch->bytes[0], UDP_RX_BYTES, MSG_DONTWAIT | MSG_TRUNC,
			 &from->peer.any, &from->peer_bytes);
	if (n < 0)
		return (int)n;
	udp_peer_forget_here(from);
	message->msg_hdr.msg_flags = n > UDP_RX_BYTES ? MSG_TRUNC : 0;
	message->msg_len = n > UDP_RX_BYTES ? UDP_RX_BYTES : (unsigned)n;
	batch->lengths[0] = message->msg_len;
	return 1;
}

static int receive_batch(struct udp_rx *rx, int fd)
{
	struct udp_rx_batch *batch = rx->batch;
	int n = sys_recvmmsg(fd, batch->messages, UDP_RX_BATCH, MSG_DONTWAIT, NULL);

	for (int i = 0; i < n; i++)
		read_controls(rx, (unsigned)i);
	return n ? n : -EAGAIN;
}

int udp_rx_receive(struct udp_rx *rx, int fd)
{
	int n;

	CHECK(rx->at == rx->n);
	for (unsigned i = 0; i < rx->n; i++)
		reset(rx->batch, i);
	rx->n = rx->at = 0;
	rx->offset = rx->batch_bytes = 0;
	if (rx->single && !rx->many && ++rx->looks % UDP_RX_LOOK)
		n = receive_one(rx, fd);
	else
		n = receive_batch(rx, fd);
	if (n < 0)
		return n;
	rx->n = (unsigned)n;
	for (unsigned i = 0; i < rx->n; i++)
		rx->batch_bytes += rx->batch->messages[i].msg_len;
	return n;
}

bool udp_rx_next(const struct udp_rx *rx, struct udp_incoming *incoming)
{
	const struct udp_rx_batch *batch = rx->batch;
	unsigned i = rx->at;
	size_t left;

	if (i == rx->n)
		return false;
	left = batch->messages[i].msg_len - rx->offset;
	*incoming = (struct udp_incoming){
	    .bytes = rx->batch->bytes[i] + rx->offset,
	    .n = left < batch->lengths[i] ? left : batch->lengths[i],
	    .from = &batch->from[i],
	    .truncated = batch->messages[i].msg_hdr.msg_flags & MSG_TRUNC,
	};
	return true;
}

void udp_rx_done(struct udp_rx *rx, const struct udp_incoming *incoming)
{
	rx->offset += incoming->n;
	if (rx->offset < rx->batch->messages[rx->at].msg_len)
		return;
	rx->at++;
	rx->offset = 0;
}

void udp_rx_expect_many(struct udp_rx *rx, int fd)
{
	rx->many = true;
	(void)set_on(fd, SYS_UDP, SYS_UDP_GRO); /* if that fails, it takes more calls */
	udp_rx_count_drops(rx, fd);
}

void udp_rx_count_drops(struct udp_rx *rx, int fd)
{
	uint32_t figures[SYS_MEMINFO_FIGURES];
	socklen_t n = sizeof figures;

	if (sys_getsockopt(fd, SOL_SOCKET, SYS_SO_MEMINFO, figures, &n) == 0 &&
	    n > SYS_MEMINFO_DROPS * sizeof *figures)
		rx->dropped = figures[SYS_MEMINFO_DROPS];
}
