#include <stdlib.h>

#include "tests/support/sim/sim_udp_parts.h"

#define DATAGRAM_OVERHEAD 256 /* bytes that the kernel adds for each datagram in a queue */
#define SEGMENTS_MAX	  64

/* ---- receiving ---- */

bool sim_socket_post(struct sim_socket *sock, const struct sim_datagram *sim_datagram)
{
	struct sim_datagram *mine;

	if (sock->filtered || sock->queue_bytes >= sock->queue_max) {
		sock->drops++;
		return false;
	}
	EXPECT(!sim_datagram->segment || sock->trains);
	mine = malloc(sizeof *mine + sim_datagram->n);
	EXPECT(mine);
	*mine = *sim_datagram;
	mine->next = NULL;
	mine->drops = sock->drops;
	mine->bytes = (unsigned char *)(mine + 1);
	if (sim_datagram->n)
		memcpy(mine->bytes, sim_datagram->bytes, sim_datagram->n);
	if (sock->last)
		sock->last->next = mine;
	else
		sock->first = mine;
	sock->last = mine;
	sock->queue_bytes += mine->n + DATAGRAM_OVERHEAD;
	sim_socket_wake(sock, EPOLLIN);
	return true;
}

void sim_socket_fail(struct sim_socket *sock, int error)
{
	sock->error = error;
	sim_socket_wake(sock, EPOLLERR);
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

/* Writes control messages in the order of udp_recvmsg() and udpv6_recvmsg(). */
static void write_controls(const struct sim_socket *sock, const struct sim_datagram *sim_datagram,
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
	if (sock->counts_drops && sim_datagram->drops)
		put_control(message, &used, SOL_SOCKET, SO_RXQ_OVFL, &sim_datagram->drops,
			    sizeof sim_datagram->drops);
	if (sim_datagram->segment)
		put_control(message, &used, SYS_UDP, SYS_UDP_GRO, &segment, sizeof segment);
	if (sock->pktinfo6)
		put_control(message, &used, IPPROTO_IPV6, IPV6_PKTINFO, &info6, sizeof info6);
	if (is4 && sock->pktinfo4)
		put_control(message, &used, IPPROTO_IP, IP_PKTINFO, &info4, sizeof info4);
	message->msg_controllen = (socklen_t)used;
}

static void unlink_first(struct sim_socket *sock)
{
	struct sim_datagram *sim_datagram = sock->first;

	sock->first = sim_datagram->next;
	if (!sock->first)
		sock->last = NULL;
	sock->queue_bytes -= sim_datagram->n + DATAGRAM_OVERHEAD;
}

static void spoil(struct sim_socket *sock, struct sim_datagram *sim_datagram)
{
	unlink_first(sock);
	sock->drops++;
	if (sock->spoilt)
		sock->spoilt(sock, sim_datagram);
	free(sim_datagram);
}

/* Receives one datagram. Returns its length, even if there is less room, or -errno. */
static ssize_t receive(struct sim_socket *sock, struct msghdr *message, int flags)
{
	struct sim_datagram *sim_datagram = sock->first;
	struct iovec *span = message->msg_iov;
	int error = sock->error;
	size_t n;

	EXPECT(flags & MSG_DONTWAIT && message->msg_iovlen == 1);
	sock->error = 0;
	if (!error)
		error = sim_udp_fault(SIM_UDP_RECEIVE, sock);
	if (error == EAGAIN && sim_datagram)
		spoil(sock, sim_datagram);
	if (!error && !sim_datagram)
		error = EAGAIN;
	if (error)
		return -error;
	n = sim_datagram->n < span->iov_len ? sim_datagram->n : span->iov_len;
	if (n)
		memcpy(span->iov_base, sim_datagram->bytes, n);
	message->msg_flags = sim_datagram->n > n ? MSG_TRUNC : 0;
	message->msg_namelen = sim_socket_write_name(sock, &sim_datagram->from, message->msg_name,
						     message->msg_namelen);
	write_controls(sock, sim_datagram, message);
	unlink_first(sock);
	sock->taken_n++;
	if (sock->taken)
		sock->taken(sock, sim_datagram);
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
	struct sim_socket *sock = sim_socket_called(fd, KERNEL_recvmmsg);
	unsigned done = 0;
	ssize_t bytes = 0;

	EXPECT(sock && !timeout && n);
	while (done < n && (bytes = receive(sock, &messages[done].msg_hdr, flags)) >= 0)
		messages[done++].msg_len = (unsigned)bytes;
	if (!done)
		return (int)answer_received(bytes);
	if (bytes < 0 && bytes != -EAGAIN) /* like do_recvmmsg(), kept for the next call */
		sim_socket_fail(sock, (int)-bytes);
	return (int)done;
}

ssize_t sim_udp_recvmsg(int fd, struct msghdr *message, int flags)
{
	struct sim_socket *sock = sim_socket_called(fd, KERNEL_recvmsg);

	return sock ? answer_received(receive(sock, message, flags))
		    : sim_udp_before()->recvmsg(fd, message, flags);
}

ssize_t sim_udp_recvfrom(int fd, void *bytes, size_t n, int flags, struct sockaddr *peer,
			 socklen_t *peer_n)
{
	struct sim_socket *sock = sim_socket_called(fd, KERNEL_recvfrom);
	struct iovec span = {bytes, n};
	struct msghdr message = {
	    .msg_name = peer, .msg_namelen = *peer_n, .msg_iov = &span, .msg_iovlen = 1};
	ssize_t result = receive(sock, &message, flags);

	if (result >= 0)
		*peer_n = message.msg_namelen;
	return answer_received(result);
}

/* ---- sending ---- */

struct send_request { /* what a message asks for */
	struct place to;
	struct in6_addr from;
	size_t segment, n;
	unsigned char bytes[1 << 17];
};

static void read_controls(const struct sim_socket *sock, struct msghdr *message,
			  struct send_request *request)
{
	bool is4 = IN6_IS_ADDR_V4MAPPED(&request->to.address);
	unsigned char *at = message->msg_control, *end = at + message->msg_controllen;

	/* If the message does not say, the route decides: not the address that was asked. */
	request->from = IN6_IS_ADDR_UNSPECIFIED(&sock->here.address) ||
				(sock->family == AF_INET && !sock->here.address.s6_addr[12])
			    ? ip4(192, 0, 2, 99)
			    : sock->here.address;
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
			request->segment = segment;
		} else if (control->cmsg_level == IPPROTO_IP) {
			EXPECT(is4 && control->cmsg_type == IP_PKTINFO &&
			       control->cmsg_len == CMSG_LEN(sizeof info4));
			memcpy(&info4, CMSG_DATA(control), sizeof info4);
			EXPECT(!info4.ipi_ifindex);
			request->from = ip4(0, 0, 0, 0);
			memcpy(request->from.s6_addr + 12, &info4.ipi_spec_dst, 4);
		} else {
			EXPECT(!is4 && control->cmsg_level == IPPROTO_IPV6 &&
			       control->cmsg_type == IPV6_PKTINFO &&
			       control->cmsg_len == CMSG_LEN(sizeof info6));
			memcpy(&info6, CMSG_DATA(control), sizeof info6);
			EXPECT(!info6.ipi6_ifindex == !IN6_IS_ADDR_LINKLOCAL(&info6.ipi6_addr));
			request->from = info6.ipi6_addr;
		}
	}
}

static void read_send_request(const struct sim_socket *sock, const struct msghdr *message,
			      struct send_request *request)
{
	struct msghdr copy = *message;

	request->segment = request->n = 0;
	request->to = sim_socket_read_name(sock, message->msg_name, message->msg_namelen);
	EXPECT(request->to.port);
	read_controls(sock, &copy, request);
	EXPECT((size_t)message->msg_iovlen <= 1024); /* IOV_MAX */
	for (size_t i = 0; i < (size_t)message->msg_iovlen; i++) {
		const struct iovec *span = &message->msg_iov[i];

		EXPECT(request->n + span->iov_len <= sizeof request->bytes);
		if (span->iov_len)
			memcpy(request->bytes + request->n, span->iov_base, span->iov_len);
		request->n += span->iov_len;
	}
	if (request->segment >= request->n)
		request->segment = 0;
}

/* The error that the kernel gives without a fault of the test's; 0: none. */
static int judge(const struct sim_socket *sock, const struct send_request *request)
{
	if (sock->owed >= sock->send_max)
		return EAGAIN;
	if (request->n > 65507)
		return EMSGSIZE;
	if (!request->segment)
		return 0;
	if (request->segment > sock->segment_max || request->n > request->segment * SEGMENTS_MAX)
		return EINVAL;
	return sock->train_error;
}

typedef void each_segment(struct sim_socket *sock, const struct send_request *request, size_t at,
			  size_t n, int error);

static void leave(struct sim_socket *sock, const struct send_request *request, size_t at, size_t n,
		  int error)
{
	(void)error;
	sock->sent_n++;
	if (sock->sent)
		sock->sent(sock, &request->to, &request->from, request->bytes + at, n);
}

static void stay(struct sim_socket *sock, const struct send_request *request, size_t at, size_t n,
		 int error)
{
	if (sock->refused)
		sock->refused(sock, &request->to, request->bytes + at, n, error,
			      request->segment > 0);
}

static void cut(struct sim_socket *sock, const struct send_request *request, int error,
		each_segment *each)
{
	size_t at = 0;

	do {
		size_t left = request->n - at;
		size_t n = request->segment && request->segment < left ? request->segment : left;

		each(sock, request, at, n, error);
		at += n;
	} while (at < request->n);
}

static ssize_t send_one(struct sim_socket *sock, const struct msghdr *message, int flags)
{
	static struct send_request request;
	int error = sock->error;

	EXPECT(flags == (MSG_DONTWAIT | MSG_NOSIGNAL));
	read_send_request(sock, message, &request);
	sock->error = 0;
	if (error)
		return -error; /* refused() is not called: the error is about an earlier datagram */
	error = sim_udp_fault(SIM_UDP_SEND, sock);
	if (!error)
		error = judge(sock, &request);
	if (error && error != EAGAIN)
		cut(sock, &request, error, stay);
	if (error)
		return -error;
	if (sock->send_max != SIZE_MAX)
		sock->owed += request.n + DATAGRAM_OVERHEAD;
	cut(sock, &request, 0, leave);
	return (ssize_t)request.n;
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
	struct sim_socket *sock = sim_socket_called(fd, KERNEL_sendmmsg);
	unsigned done = 0;
	ssize_t bytes = 0;

	EXPECT(sock && n && n <= 1024);
	while (done < n && (bytes = send_one(sock, &messages[done].msg_hdr, flags)) >= 0)
		messages[done++].msg_len = (unsigned)bytes;
	/* An error after messages that were sent is forgotten. */
	return done ? (int)done : (int)answer_sent(bytes);
}

ssize_t sim_udp_sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct sim_socket *sock = sim_socket_called(fd, KERNEL_sendmsg);

	return sock ? answer_sent(send_one(sock, message, flags))
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

void sim_socket_drain(struct sim_socket *sock, size_t n)
{
	sock->owed -= n < sock->owed ? n : sock->owed;
	if (sim_socket_poll(sock) & EPOLLOUT)
		sim_socket_wake(sock, EPOLLOUT);
}
