#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/sim_udp_parts.h"

#define FDS_MAX	   64
#define EPOLLS_MAX 8

struct sim_udp sim_udp;
char sim_udp_how[200];

void sim_udp_failed(const char *file, int line, const char *format, ...)
{
	char words[300];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(words, sizeof words, format, arguments);
	va_end(arguments);
	ck_abort_msg("%s:%d: %s (%s)", file, line, words, sim_udp_how);
}

const char *const sim_udp_step_names[SIM_UDP_STEPS] = {
    "receive", "send",	 "setsockopt", "getsockopt",  "epoll_ctl", "epoll_wait",
    "mmap",    "socket", "bind",       "getsockname", "close"};

struct registration {
	int ep, fd;
	uint32_t events;
	epoll_data_t data;
	bool queued; /* it is in its epoll's ready list */
};

static struct {
	bool open;
	struct sys_kernel before;
	struct sim_socket *sockets[FDS_MAX];
	struct registration registrations[FDS_MAX]; /* oldest first */
	unsigned registrations_n;
	struct {
		int ep;
		bool asleep;
	} epolls[EPOLLS_MAX];
	uint16_t next_port;
} room;

static int refuse(int error)
{
	errno = error;
	return -1;
}

int sim_udp_fault(enum sim_udp_step step, struct sim_socket *sock)
{
	sim_udp.steps[step]++;
	return sim_udp.fault ? sim_udp.fault(step, sock) : 0;
}

static struct sim_socket *sock_at(int fd)
{
	if (!room.open || fd < SIM_UDP_FD_FIRST)
		return NULL;
	EXPECT(fd < SIM_UDP_FD_FIRST + FDS_MAX);
	EXPECT_MSG(room.sockets[fd - SIM_UDP_FD_FIRST], "a call on socket %d, which is closed", fd);
	return room.sockets[fd - SIM_UDP_FD_FIRST];
}

const struct sys_kernel *sim_udp_before(void)
{
	return &room.before;
}

struct sim_socket *sim_socket_called(int fd, enum kernel_call call)
{
	struct sim_socket *sock = sock_at(fd);

	if (sock)
		kernel.calls[call]++;
	return sock;
}

static int descriptor_for(struct sim_socket *sock)
{
	for (int i = 0; i < FDS_MAX; i++) {
		if (room.sockets[i])
			continue;
		room.sockets[i] = sock;
		sock->holders++;
		sim_udp.descriptors++;
		return SIM_UDP_FD_FIRST + i;
	}
	ck_abort_msg("more than %d sockets", FDS_MAX);
}

/* ---- epoll ---- */

uint32_t sim_socket_poll(const struct sim_socket *sock)
{
	return (sock->first ? EPOLLIN : 0u) | (sock->error ? EPOLLERR : 0u) |
	       (2 * sock->owed < sock->send_max ? EPOLLOUT : 0u);
}

static bool *asleep(int ep)
{
	for (int i = 0; i < EPOLLS_MAX; i++) {
		if (room.epolls[i].ep == ep)
			return &room.epolls[i].asleep;
		if (room.epolls[i].ep)
			continue;
		room.epolls[i].ep = ep;
		return &room.epolls[i].asleep;
	}
	ck_abort_msg("more than %d epolls", EPOLLS_MAX);
}

static void wake_those(const struct sim_socket *sock, uint32_t key, uint32_t exclusive)
{
	for (unsigned i = 0; i < room.registrations_n; i++) {
		struct registration *one = &room.registrations[i];
		bool slept;

		if (sock_at(one->fd) != sock || (one->events & EPOLLEXCLUSIVE) != exclusive ||
		    !(key & one->events))
			continue;
		one->queued = true;
		slept = *asleep(one->ep);
		*asleep(one->ep) = false;
		if (slept && exclusive)
			return;
	}
}

/* As ep_poll_callback() and __wake_up_common() do: wakes all that are not exclusive, then exclusive
 * ones up to the first that sleeps. */
void sim_socket_wake(const struct sim_socket *sock, uint32_t key)
{
	wake_those(sock, key, 0);
	wake_those(sock, key, EPOLLEXCLUSIVE);
}

static struct registration *registration_of(int ep, int fd)
{
	for (unsigned i = 0; i < room.registrations_n; i++)
		if (room.registrations[i].ep == ep && room.registrations[i].fd == fd)
			return &room.registrations[i];
	return NULL;
}

static int sim_udp_epoll_ctl(int ep, int op, int fd, struct epoll_event *event)
{
	struct sim_socket *sock = sock_at(fd);
	struct registration *one = registration_of(ep, fd);
	int error;

	if (!sock)
		return room.before.epoll_ctl(ep, op, fd, event);
	kernel.calls[KERNEL_epoll_ctl]++;
	error = sim_udp_fault(SIM_UDP_WATCH, sock);
	/* A DEL is done even so, because nobody checks it: in the kernel it fails only for bugs. */
	if (error && op != EPOLL_CTL_DEL)
		return refuse(error);
	if (op == EPOLL_CTL_DEL) {
		if (!one)
			return refuse(ENOENT);
		*one = (struct registration){0};
		room.registrations_n--;
		memmove(one, one + 1,
			(size_t)(room.registrations + room.registrations_n - one) * sizeof *one);
		return 0;
	}
	EXPECT(op == EPOLL_CTL_ADD); /* MOD with EPOLLEXCLUSIVE would be EINVAL */
	EXPECT(!(event->events & EPOLLET));
	if (one)
		return refuse(EEXIST);
	if (event->events & EPOLLEXCLUSIVE && event->events & (EPOLLRDHUP | EPOLLPRI))
		return refuse(EINVAL);
	EXPECT(room.registrations_n < FDS_MAX);
	one = &room.registrations[room.registrations_n++];
	*one = (struct registration){ep, fd, event->events | EPOLLERR | EPOLLHUP, event->data,
				     (sim_socket_poll(sock) & (event->events | EPOLLERR)) != 0};
	return 0;
}

static int collect(int ep, struct epoll_event *events, int max)
{
	int n = 0;

	for (unsigned i = 0; i < room.registrations_n && n < max; i++) {
		struct registration *one = &room.registrations[i];
		uint32_t now;

		if (one->ep != ep || !one->queued)
			continue;
		now = sim_socket_poll(sock_at(one->fd)) & one->events;
		one->queued = now != 0; /* it stays in the list until it is not ready any more */
		if (now)
			events[n++] = (struct epoll_event){.events = now, .data = one->data};
	}
	return n;
}

static bool alarm_rings(int timeout_ms)
{
	uint64_t end_us = kernel.now_us + (uint64_t)timeout_ms * 1000;
	void (*rings)(void) = sim_udp.alarm;

	if (!sim_udp.alarm_us || (timeout_ms >= 0 && sim_udp.alarm_us > end_us))
		return false;
	if (kernel.now_us < sim_udp.alarm_us)
		kernel.now_us = sim_udp.alarm_us;
	sim_udp.alarm_us = 0;
	rings();
	return true;
}

static int sim_udp_epoll_wait(int ep, struct epoll_event *events, int max, int timeout_ms)
{
	uint64_t end_us = kernel.now_us + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000;
	int error = sim_udp_fault(SIM_UDP_WAIT, NULL), n, left_ms = timeout_ms;

	sim_udp.wait_asked = timeout_ms;
	if (error)
		return refuse(error);
	while (!(n = collect(ep, events, max)) && alarm_rings(left_ms))
		if (timeout_ms > 0)
			left_ms = end_us > kernel.now_us
				      ? (int)((end_us - kernel.now_us + 999) / 1000)
				      : 0;
	if (n < max) {
		int more = room.before.epoll_wait(ep, events + n, max - n, n ? 0 : left_ms);

		EXPECT(more >= 0);
		n += more;
	}
	*asleep(ep) = !n;
	return n;
}

/* ---- sockets ---- */

socklen_t sim_socket_write_name(const struct sim_socket *sock, const struct place *place,
				void *name, socklen_t room_n)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(place->port)};
	struct sockaddr_in6 in6 = {
	    .sin6_family = AF_INET6, .sin6_port = htons(place->port), .sin6_addr = place->address};
	socklen_t n = sock->family == AF_INET ? sizeof in4 : sizeof in6;

	memcpy(&in4.sin_addr, place->address.s6_addr + 12, 4);
	memcpy(name, sock->family == AF_INET ? (void *)&in4 : (void *)&in6,
	       n < room_n ? n : room_n);
	return n;
}

struct place sim_socket_read_name(const struct sim_socket *sock, const void *name, socklen_t n)
{
	struct sockaddr_in in4 = {0};
	struct sockaddr_in6 in6 = {0};
	struct place place;

	if (sock->family == AF_INET6) {
		EXPECT(n >= sizeof in6);
		memcpy(&in6, name, sizeof in6);
		EXPECT(in6.sin6_family == AF_INET6);
		return (struct place){in6.sin6_addr, ntohs(in6.sin6_port)};
	}
	EXPECT(n >= sizeof in4);
	memcpy(&in4, name, sizeof in4);
	EXPECT(in4.sin_family == AF_INET);
	place = (struct place){ip4(0, 0, 0, 0), ntohs(in4.sin_port)};
	memcpy(place.address.s6_addr + 12, &in4.sin_addr, 4);
	return place;
}

static int sim_udp_socket(int family, int type, int protocol)
{
	struct sim_socket *sock;
	int error = sim_udp_fault(SIM_UDP_SOCKET, NULL);

	EXPECT(type == (SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC) && !protocol);
	kernel.calls[KERNEL_socket]++;
	if (error)
		return refuse(error);
	sock = calloc(1, sizeof *sock);
	EXPECT(sock);
	*sock = (struct sim_socket){
	    .family = family, .queue_max = 208 << 10, .send_max = SIZE_MAX, .segment_max = 65535};
	return descriptor_for(sock);
}

static bool *option_of(struct sim_socket *sock, int level, int name)
{
	if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY)
		return &sock->v6only;
	if (level == IPPROTO_IPV6 && name == IPV6_RECVPKTINFO)
		return &sock->pktinfo6;
	if (level == IPPROTO_IP && name == IP_PKTINFO)
		return &sock->pktinfo4;
	if (level == SOL_SOCKET && name == SO_REUSEPORT)
		return &sock->reuseport;
	if (level == SOL_SOCKET && name == SO_RXQ_OVFL)
		return &sock->counts_drops;
	if (level == SYS_UDP && name == SYS_UDP_GRO)
		return &sock->trains;
	return NULL;
}

static int sim_udp_setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
	struct sim_socket *sock = sim_socket_called(fd, KERNEL_setsockopt);
	struct sys_filter_program program;
	bool *option;
	int number, error;

	if (!sock)
		return room.before.setsockopt(fd, level, name, value, n);
	error = sim_udp_fault(SIM_UDP_SET_OPTION, sock);
	if (error)
		return refuse(error);
	if (level == SOL_SOCKET && name == SO_ATTACH_FILTER) {
		EXPECT(n == sizeof program);
		memcpy(&program, value, sizeof program);
		EXPECT(program.n == 1 && program.instructions->code == 6 &&
		       program.instructions->k == 0);
		sock->filtered = true;
		return 0;
	}
	EXPECT(n == sizeof number);
	memcpy(&number, value, sizeof number);
	if (level == SOL_SOCKET && (name == SO_RCVBUFFORCE || name == SO_SNDBUFFORCE))
		return refuse(EPERM);
	if (level == SOL_SOCKET && name == SO_SNDBUF)
		return 0; /* ignored: a test sets the length of the queue, send_max */
	if (level == SOL_SOCKET && name == SO_RCVBUF) {
		sock->queue_max = 2 * (size_t)number;
		return 0;
	}
	option = option_of(sock, level, name);
	EXPECT(option && (level != IPPROTO_IPV6 || sock->family == AF_INET6));
	*option = number != 0;
	return 0;
}

static int sim_udp_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
	struct sim_socket *sock = sim_socket_called(fd, KERNEL_getsockopt);
	uint32_t figures[SYS_MEMINFO_FIGURES] = {0};
	int error, number;

	if (!sock)
		return room.before.getsockopt(fd, level, name, value, n);
	error = sim_udp_fault(SIM_UDP_GET_OPTION, sock);
	if (error)
		return refuse(error);
	if (level == SOL_SOCKET && name == SYS_SO_MEMINFO) {
		figures[SYS_MEMINFO_DROPS] = sock->drops;
		*n = *n < sizeof figures ? *n : (socklen_t)sizeof figures;
		memcpy(value, figures, *n);
		return 0;
	}
	if (level == SOL_SOCKET && name == SO_GET_FILTER) {
		EXPECT(!*n);
		*n = sock->filtered; /* the number of its instructions */
		return 0;
	}
	EXPECT(option_of(sock, level, name) && *n == sizeof number);
	if (level == IPPROTO_IPV6 && sock->family != AF_INET6)
		return refuse(EOPNOTSUPP);
	number = *option_of(sock, level, name);
	memcpy(value, &number, sizeof number);
	return 0;
}

/* The product calls it only to find out whether an address is a broadcast address: then it fails
 * with EACCES. Nothing is sent. */
static int sim_udp_connect(int fd, const struct sockaddr *peer, socklen_t n)
{
	struct sim_socket *sock = sim_socket_called(fd, KERNEL_connect);
	struct place to = sim_socket_read_name(sock, peer, n);

	return sim_socket_is_broadcast(&to.address) ? refuse(EACCES) : 0;
}

static int sim_udp_bind(int fd, const struct sockaddr *address, socklen_t n)
{
	struct sim_socket *sock = sim_socket_called(fd, KERNEL_bind);
	int error = sim_udp_fault(SIM_UDP_BIND, sock);

	if (error)
		return refuse(error);
	sock->here = sim_socket_read_name(sock, address, n);
	if (!sock->here.port)
		sock->here.port = room.next_port++;
	return 0;
}

static int sim_udp_getsockname(int fd, struct sockaddr *address, socklen_t *n)
{
	struct sim_socket *sock = sim_socket_called(fd, KERNEL_getsockname);
	int error = sim_udp_fault(SIM_UDP_NAME, sock);

	if (error)
		return refuse(error);
	*n = sim_socket_write_name(sock, &sock->here, address, *n);
	return 0;
}

static int sim_udp_close(int fd)
{
	struct sim_socket *sock = sim_socket_called(fd, KERNEL_close);
	int error;

	if (!sock)
		return room.before.close(fd);
	error = sim_udp_fault(SIM_UDP_CLOSE, sock);
	for (unsigned i = 0; i < room.registrations_n; i++)
		EXPECT_MSG(room.registrations[i].fd != fd, "closed while it is watched");
	room.sockets[fd - SIM_UDP_FD_FIRST] = NULL;
	sim_udp.descriptors--;
	if (--sock->holders == 0) {
		while (sock->first) {
			struct sim_datagram *sim_datagram = sock->first;

			sock->first = sim_datagram->next;
			free(sim_datagram);
		}
		free(sock);
	}
	return error ? refuse(error) : 0; /* the descriptor is freed even if close(2) fails */
}

struct sim_socket *sim_socket_of(int fd)
{
	return sock_at(fd);
}

int sim_socket_dup(int fd)
{
	return descriptor_for(sock_at(fd));
}

/* ---- memory ---- */

/* sys_map() calls the C library without sys.def: this takes the place of the library's. */
void *mmap(void *start, size_t n, int protection, int flags, int fd, off_t at)
{
	if (room.open) {
		int error = sim_udp_fault(SIM_UDP_MAP, NULL);

		if (error) {
			errno = error;
			return MAP_FAILED;
		}
		sim_udp.mapped_bytes += n;
	}
	/* syscall(2) returns an address, or -1, which is MAP_FAILED. */
	return (void *)syscall(SYS_mmap, start, n, protection, flags, fd, at);
}

static int sim_udp_munmap(void *start, size_t n)
{
	sim_udp.mapped_bytes -= n;
	return room.before.munmap(start, n);
}

/* ---- the whole ---- */

void sim_udp_begin(void)
{
	memset(&room, 0, sizeof room);
	sim_udp = (struct sim_udp){0};
	room.before = sys_kernel;
	room.next_port = 40000;
	room.open = true;
	sys_kernel.recvmmsg = sim_udp_recvmmsg;
	sys_kernel.recvmsg = sim_udp_recvmsg;
	sys_kernel.recvfrom = sim_udp_recvfrom;
	sys_kernel.sendmmsg = sim_udp_sendmmsg;
	sys_kernel.sendmsg = sim_udp_sendmsg;
	sys_kernel.sendto = sim_udp_sendto;
	sys_kernel.socket = sim_udp_socket;
	sys_kernel.bind = sim_udp_bind;
	sys_kernel.connect = sim_udp_connect;
	sys_kernel.getsockname = sim_udp_getsockname;
	sys_kernel.setsockopt = sim_udp_setsockopt;
	sys_kernel.getsockopt = sim_udp_getsockopt;
	sys_kernel.epoll_ctl = sim_udp_epoll_ctl;
	sys_kernel.epoll_wait = sim_udp_epoll_wait;
	sys_kernel.close = sim_udp_close;
	sys_kernel.munmap = sim_udp_munmap;
}

void sim_udp_end(void)
{
	EXPECT(!sim_udp.descriptors && !room.registrations_n);
	EXPECT_MSG(!sim_udp.mapped_bytes, "%zu bytes are mapped still", sim_udp.mapped_bytes);
	sys_kernel = room.before;
	room.open = false;
}
