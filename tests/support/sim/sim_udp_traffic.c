#include <stdlib.h>

#include "tests/support/sim/sim_udp_parts.h"

#define DATAGRAM_OVERHEAD 256 /* what the kernel keeps beside the bytes */
#define SEGMENTS_MAX	  64

/* ---- coming in ---- */

bool sim_socket_post(struct sim_socket *box, const struct sim_datagram *sim_datagram)
{
	struct sim_datagram *mine;

	if (box->filtered || box->queue_bytes >= box->queue_max) {
		box->drops++;
		return false;
	}
	EXPECT(!sim_datagram->segment || box->trains);
	mine = malloc(sizeof *mine + sim_datagram->n);
	EXPECT(mine);
	*mine = *sim_datagram;
	mine->next = NULL;
	mine->drops = box->drops;
	mine->bytes = (unsigned char *)(mine + 1);
	if (sim_datagram->n)
		memcpy(mine->bytes, sim_datagram->bytes, sim_datagram->n);
	if (box->last)
		box->last->next = mine;
	else
		box->first = mine;
	box->last = mine;
	box->queue_bytes += mine->n + DATAGRAM_OVERHEAD;
	sim_socket_wake(box, EPOLLIN);
	return true;
}

void sim_socket_fail(struct sim_socket *box, int error)
{
	box->error = error;
	sim_socket_wake(box, EPOLLERR);
}

static void put_control(struct msghdr *message, size_t *used, int level, int type, const void *data,
			size_t n)
{
	struct cmsghdr *control = (void *)((unsigned char *)message->msg_control + *used);

	if (*used + CMSG_SPACE(n) > message->msg_controllen) {
		message->msg_flags |= MSG_CTRUNC;
		return;
	}
	control->cmsg_level = level;
	control->cmsg_type = type;
	control->cmsg_len = (socklen_t)CMSG_LEN(n);
	memcpy(CMSG_DATA(control), data, n);
	*used += CMSG_SPACE(n);
}

/* In the order of udp_recvmsg() and udpv6_recvmsg(). */
static void write_controls(const struct sim_socket *box, const struct sim_datagram *sim_datagram,
			   struct msghdr *message)
{
	bool is4 = IN6_IS_ADDR_V4MAPPED(&sim_datagram->to), many4;
	struct in_pktinfo info4 = {.ipi_ifindex = (int)sim_datagram->interface};
	struct in6_pktinfo info6 = {sim_datagram->to, sim_datagram->interface};
	int segment = (int)sim_datagram->segment;
	size_t used = 0;

	many4 = is4 &&
		(sim_datagram->to.s6_addr[12] >= 224 || sim_socket_is_broadcast(&sim_datagram->to));
	memcpy(&info4.ipi_addr, sim_datagram->to.s6_addr + 12, 4);
	info4.ipi_spec_dst.s_addr = many4 ? htonl(0x0a0000fe) : info4.ipi_addr.s_addr;
	if (box->counts_drops && sim_datagram->drops)
		put_control(message, &used, SOL_SOCKET, SO_RXQ_OVFL, &sim_datagram->drops,
			    sizeof sim_datagram->drops);
	if (sim_datagram->segment)
		put_control(message, &used, SYS_UDP, SYS_UDP_GRO, &segment, sizeof segment);
	if (box->pktinfo6)
		put_control(message, &used, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof info6);
	if (is4 && box->pktinfo4)
		put_control(message, &used, IPPROTO_IP, IP_PKTINFO, &info4, sizeof info4);
	message->msg_controllen = (socklen_t)used;
}

static void unlink_first(struct sim_socket *box)
{
	struct sim_datagram *sim_datagram = box->first;

	box->first = sim_datagram->next;
	if (!box->first)
		box->last = NULL;
	box->queue_bytes -= sim_datagram->n + DATAGRAM_OVERHEAD;
}

static void spoil(struct sim_socket *box, struct sim_datagram *sim_datagram)
{
	unlink_first(box);
	box->drops++;
	if (box->spoilt)
		box->spoilt(box, sim_datagram);
	free(sim_datagram);
}

/* One sim_datagram. Its length, whatever there is room for, or -errno. */
static ssize_t receive(struct sim_socket *box, struct msghdr *message, int flags)
{
	struct sim_datagram *sim_datagram = box->first;
	struct iovec *span = message->msg_iov;
	int error = box->error;
	size_t n;

	EXPECT(flags & MSG_DONTWAIT && message->msg_iovlen == 1);
	box->error = 0;
	if (!error)
		error = sim_udp_fault(MAIL_RECEIVE, box);
	if (error == EAGAIN && sim_datagram)
		spoil(box, sim_datagram);
	if (!error && !sim_datagram)
		error = EAGAIN;
	if (error)
		return -error;
	n = sim_datagram->n < span->iov_len ? sim_datagram->n : span->iov_len;
	if (n)
		memcpy(span->iov_base, sim_datagram->bytes, n);
	message->msg_flags = sim_datagram->n > n ? MSG_TRUNC : 0;
	message->msg_namelen = sim_socket_write_name(box, &sim_datagram->from, message->msg_name,
						     message->msg_namelen);
	write_controls(box, sim_datagram, message);
	unlink_first(box);
	box->taken_n++;
	if (box->taken)
		box->taken(box, sim_datagram);
	if (flags & MSG_TRUNC)
		n = sim_datagram->n;
	free(sim_datagram);
	return (ssize_t)n;
}

static int refuse(int error)
{
	errno = error;
	return -1;
}

static ssize_t answer_received(ssize_t n)
{
	if (n >= 0)
		return n;
	sim_udp.errors += n != -EAGAIN;
	return refuse((int)-n);
}

int sim_udp_recvmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags,
		     struct timespec *timeout)
{
	struct sim_socket *box = sim_socket_called(fd, KERNEL_recvmmsg);
	unsigned done = 0;
	ssize_t bytes = 0;

	EXPECT(box && !timeout && n);
	while (done < n && (bytes = receive(box, &messages[done].msg_hdr, flags)) >= 0)
		messages[done++].msg_len = (unsigned)bytes;
	if (!done)
		return (int)answer_received(bytes);
	if (bytes < 0 && bytes != -EAGAIN) /* for the next call, as do_recvmmsg() has it */
		sim_socket_fail(box, (int)-bytes);
	return (int)done;
}

ssize_t sim_udp_recvmsg(int fd, struct msghdr *message, int flags)
{
	struct sim_socket *box = sim_socket_called(fd, KERNEL_recvmsg);

	return box ? answer_received(receive(box, message, flags))
		   : sim_udp_before()->recvmsg(fd, message, flags);
}

ssize_t sim_udp_recvfrom(int fd, void *bytes, size_t n, int flags, struct sockaddr *peer,
			 socklen_t *peer_n)
{
	struct sim_socket *box = sim_socket_called(fd, KERNEL_recvfrom);
	struct iovec span = {bytes, n};
	struct msghdr message = {
	    .msg_name = peer, .msg_namelen = *peer_n, .msg_iov = &span, .msg_iovlen = 1};
	ssize_t result = receive(box, &message, flags);

	if (result >= 0)
		*peer_n = message.msg_namelen;
	return answer_received(result);
}

/* ---- going out ---- */

struct parcel { /* what a message asks for */
	struct place to;
	struct in6_addr from;
	size_t segment, n;
	unsigned char bytes[1 << 17];
};

static void read_controls(const struct sim_socket *box, struct msghdr *message,
			  struct parcel *parcel)
{
	bool is4 = IN6_IS_ADDR_V4MAPPED(&parcel->to.address);
	unsigned char *at = message->msg_control, *end = at + message->msg_controllen;

	/* Without being told, the route decides, which is not what a question was sent to. */
	parcel->from = IN6_IS_ADDR_UNSPECIFIED(&box->here.address) ||
			       (box->family == AF_INET && !box->here.address.s6_addr[12])
			   ? ip4(192, 0, 2, 99)
			   : box->here.address;
	while (at < end) {
		struct cmsghdr *control = (void *)at;
		struct in_pktinfo info4;
		struct in6_pktinfo info6;
		uint16_t segment;

		EXPECT(end - at >= (ptrdiff_t)sizeof *control &&
		       control->cmsg_len >= sizeof *control &&
		       control->cmsg_len <= (size_t)(end - at));
		at += CMSG_SPACE(control->cmsg_len - CMSG_LEN(0));
		if (control->cmsg_level == SYS_UDP) {
			EXPECT(control->cmsg_type == SYS_UDP_SEGMENT &&
			       control->cmsg_len == CMSG_LEN(sizeof segment));
			memcpy(&segment, CMSG_DATA(control), sizeof segment);
			parcel->segment = segment;
		} else if (control->cmsg_level == IPPROTO_IP) {
			EXPECT(is4 && control->cmsg_type == IP_PKTINFO &&
			       control->cmsg_len == CMSG_LEN(sizeof info4));
			memcpy(&info4, CMSG_DATA(control), sizeof info4);
			EXPECT(!info4.ipi_ifindex);
			parcel->from = ip4(0, 0, 0, 0);
			memcpy(parcel->from.s6_addr + 12, &info4.ipi_spec_dst, 4);
		} else {
			EXPECT(!is4 && control->cmsg_level == IPPROTO_IPV6 &&
			       control->cmsg_type == IPV6_PKTINFO &&
			       control->cmsg_len == CMSG_LEN(sizeof info6));
			memcpy(&info6, CMSG_DATA(control), sizeof info6);
			EXPECT(!info6.ipi6_ifindex == !IN6_IS_ADDR_LINKLOCAL(&info6.ipi6_addr));
			parcel->from = info6.ipi6_addr;
		}
	}
}

static void read_parcel(const struct sim_socket *box, const struct msghdr *message,
			struct parcel *parcel)
{
	struct msghdr copy = *message;

	parcel->segment = parcel->n = 0;
	parcel->to = sim_socket_read_name(box, message->msg_name, message->msg_namelen);
	EXPECT(parcel->to.port);
	read_controls(box, &copy, parcel);
	EXPECT((size_t)message->msg_iovlen <= 1024); /* IOV_MAX */
	for (size_t i = 0; i < (size_t)message->msg_iovlen; i++) {
		const struct iovec *span = &message->msg_iov[i];

		EXPECT(parcel->n + span->iov_len <= sizeof parcel->bytes);
		if (span->iov_len)
			memcpy(parcel->bytes + parcel->n, span->iov_base, span->iov_len);
		parcel->n += span->iov_len;
	}
	if (parcel->segment >= parcel->n)
		parcel->segment = 0;
}

/* What the kernel says of it by itself. */
static int judge(const struct sim_socket *box, const struct parcel *parcel)
{
	if (box->owed >= box->send_max)
		return EAGAIN;
	if (parcel->n > 65507)
		return EMSGSIZE;
	if (!parcel->segment)
		return 0;
	if (parcel->segment > box->segment_max || parcel->n > parcel->segment * SEGMENTS_MAX)
		return EINVAL;
	return box->train_error;
}

typedef void each_segment(struct sim_socket *box, const struct parcel *parcel, size_t at, size_t n,
			  int error);

static void leave(struct sim_socket *box, const struct parcel *parcel, size_t at, size_t n,
		  int error)
{
	(void)error;
	box->sent_n++;
	if (box->sent)
		box->sent(box, &parcel->to, &parcel->from, parcel->bytes + at, n);
}

static void stay(struct sim_socket *box, const struct parcel *parcel, size_t at, size_t n,
		 int error)
{
	if (box->refused)
		box->refused(box, &parcel->to, parcel->bytes + at, n, error, parcel->segment > 0);
}

static void cut(struct sim_socket *box, const struct parcel *parcel, int error, each_segment *each)
{
	size_t at = 0;

	do {
		size_t left = parcel->n - at;
		size_t n = parcel->segment && parcel->segment < left ? parcel->segment : left;

		each(box, parcel, at, n, error);
		at += n;
	} while (at < parcel->n);
}

static ssize_t send_one(struct sim_socket *box, const struct msghdr *message, int flags)
{
	static struct parcel parcel;
	int error = box->error;

	EXPECT(flags == (MSG_DONTWAIT | MSG_NOSIGNAL));
	read_parcel(box, message, &parcel);
	box->error = 0;
	if (error)
		return -error; /* no word of this one */
	error = sim_udp_fault(MAIL_SEND, box);
	if (!error)
		error = judge(box, &parcel);
	if (error && error != EAGAIN)
		cut(box, &parcel, error, stay);
	if (error)
		return -error;
	if (box->send_max != SIZE_MAX)
		box->owed += parcel.n + DATAGRAM_OVERHEAD;
	cut(box, &parcel, 0, leave);
	return (ssize_t)parcel.n;
}

static ssize_t answer_sent(ssize_t n)
{
	if (n >= 0)
		return n;
	sim_udp.waits += n == -EAGAIN || n == -EINTR || n == -ENOBUFS || n == -ENOMEM;
	return refuse((int)-n);
}

int sim_udp_sendmmsg(int fd, struct mmsghdr *messages, unsigned int n, int flags)
{
	struct sim_socket *box = sim_socket_called(fd, KERNEL_sendmmsg);
	unsigned done = 0;
	ssize_t bytes = 0;

	EXPECT(box && n && n <= 1024);
	while (done < n && (bytes = send_one(box, &messages[done].msg_hdr, flags)) >= 0)
		messages[done++].msg_len = (unsigned)bytes;
	/* An error behind others is forgotten. */
	return done ? (int)done : (int)answer_sent(bytes);
}

ssize_t sim_udp_sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct sim_socket *box = sim_socket_called(fd, KERNEL_sendmsg);

	return box ? answer_sent(send_one(box, message, flags))
		   : sim_udp_before()->sendmsg(fd, message, flags);
}

ssize_t sim_udp_sendto(int fd, const void *bytes, size_t n, int flags, const struct sockaddr *peer,
		       socklen_t peer_n)
{
	struct iovec span = {(void *)(uintptr_t)bytes, n};
	struct msghdr message = {.msg_name = (void *)(uintptr_t)peer,
				 .msg_namelen = peer_n,
				 .msg_iov = &span,
				 .msg_iovlen = 1};

	return answer_sent(send_one(sim_socket_called(fd, KERNEL_sendto), &message, flags));
}

void sim_socket_drain(struct sim_socket *box, size_t n)
{
	box->owed -= n < box->owed ? n : box->owed;
	if (sim_socket_poll(box) & EPOLLOUT)
		sim_socket_wake(box, EPOLLOUT);
}
