#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/sim_udp_parts.h"

#define FDS_MAX	   64
#define EPOLLS_MAX 8

struct mailroom mailroom;
char mailroom_how[200];

void mailroom_failed(const char *file, int line, const char *format, ...)
{
	char words[300];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(words, sizeof words, format, arguments);
	va_end(arguments);
	ck_abort_msg("%s:%d: %s (%s)", file, line, words, mailroom_how);
}

const char *const mail_step_names[MAIL_STEPS] = {
    "receive", "send",	 "setsockopt", "getsockopt",  "epoll_ctl", "epoll_wait",
    "mmap",    "socket", "bind",       "getsockname", "close"};

struct registration {
	int ep, fd;
	uint32_t events;
	epoll_data_t data;
	bool queued; /* in its epoll's list of those that may be ready */
};

static struct {
	bool open;
	struct sys_kernel before;
	struct mailbox *boxes[FDS_MAX];
	struct registration registrations[FDS_MAX]; /* in the order in which they were made */
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

int mailroom_fault(enum mail_step step, struct mailbox *box)
{
	mailroom.steps[step]++;
	return mailroom.fault ? mailroom.fault(step, box) : 0;
}

static struct mailbox *box_at(int fd)
{
	if (!room.open || fd < MAILROOM_FD_FIRST)
		return NULL;
	EXPECT(fd < MAILROOM_FD_FIRST + FDS_MAX);
	EXPECT_MSG(room.boxes[fd - MAILROOM_FD_FIRST], "a call on mailbox %d, which is closed", fd);
	return room.boxes[fd - MAILROOM_FD_FIRST];
}

const struct sys_kernel *mailroom_before(void)
{
	return &room.before;
}

struct mailbox *mailbox_called(int fd, enum kernel_call call)
{
	struct mailbox *box = box_at(fd);

	if (box)
		kernel.calls[call]++;
	return box;
}

static int descriptor_for(struct mailbox *box)
{
	for (int i = 0; i < FDS_MAX; i++) {
		if (room.boxes[i])
			continue;
		room.boxes[i] = box;
		box->holders++;
		mailroom.descriptors++;
		return MAILROOM_FD_FIRST + i;
	}
	ck_abort_msg("more than %d mailboxes", FDS_MAX);
}

/* ---- epoll ---- */

uint32_t mailbox_poll(const struct mailbox *box)
{
	return (box->first ? EPOLLIN : 0u) | (box->error ? EPOLLERR : 0u) |
	       (2 * box->owed < box->send_max ? EPOLLOUT : 0u);
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

static void wake_those(const struct mailbox *box, uint32_t key, uint32_t exclusive)
{
	for (unsigned i = 0; i < room.registrations_n; i++) {
		struct registration *one = &room.registrations[i];
		bool slept;

		if (box_at(one->fd) != box || (one->events & EPOLLEXCLUSIVE) != exclusive ||
		    !(key & one->events))
			continue;
		one->queued = true;
		slept = *asleep(one->ep);
		*asleep(one->ep) = false;
		if (slept && exclusive)
			return;
	}
}

/* As ep_poll_callback() and __wake_up_common(): all who share, then the first who sleeps. */
void mailbox_wake(const struct mailbox *box, uint32_t key)
{
	wake_those(box, key, 0);
	wake_those(box, key, EPOLLEXCLUSIVE);
}

static struct registration *registration_of(int ep, int fd)
{
	for (unsigned i = 0; i < room.registrations_n; i++)
		if (room.registrations[i].ep == ep && room.registrations[i].fd == fd)
			return &room.registrations[i];
	return NULL;
}

static int mail_epoll_ctl(int ep, int op, int fd, struct epoll_event *event)
{
	struct mailbox *box = box_at(fd);
	struct registration *one = registration_of(ep, fd);
	int error;

	if (!box)
		return room.before.epoll_ctl(ep, op, fd, event);
	kernel.calls[KERNEL_epoll_ctl]++;
	error = mailroom_fault(MAIL_WATCH, box);
	/* What is to end has ended, as nobody looks whether it did: DEL fails for bugs only. */
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
	EXPECT(op == EPOLL_CTL_ADD); /* what MOD does to EPOLLEXCLUSIVE: EINVAL */
	EXPECT(!(event->events & EPOLLET));
	if (one)
		return refuse(EEXIST);
	if (event->events & EPOLLEXCLUSIVE && event->events & (EPOLLRDHUP | EPOLLPRI))
		return refuse(EINVAL);
	EXPECT(room.registrations_n < FDS_MAX);
	one = &room.registrations[room.registrations_n++];
	*one = (struct registration){ep, fd, event->events | EPOLLERR | EPOLLHUP, event->data,
				     (mailbox_poll(box) & (event->events | EPOLLERR)) != 0};
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
		now = mailbox_poll(box_at(one->fd)) & one->events;
		one->queued = now != 0; /* it stays in the list until it is found not to be ready */
		if (now)
			events[n++] = (struct epoll_event){.events = now, .data = one->data};
	}
	return n;
}

static bool alarm_rings(int timeout_ms)
{
	uint64_t end_us = kernel.now_us + (uint64_t)timeout_ms * 1000;
	void (*rings)(void) = mailroom.alarm;

	if (!mailroom.alarm_us || (timeout_ms >= 0 && mailroom.alarm_us > end_us))
		return false;
	if (kernel.now_us < mailroom.alarm_us)
		kernel.now_us = mailroom.alarm_us;
	mailroom.alarm_us = 0;
	rings();
	return true;
}

static int mail_epoll_wait(int ep, struct epoll_event *events, int max, int timeout_ms)
{
	uint64_t end_us = kernel.now_us + (uint64_t)(timeout_ms < 0 ? 0 : timeout_ms) * 1000;
	int error = mailroom_fault(MAIL_WAIT, NULL), n, left_ms = timeout_ms;

	mailroom.wait_asked = timeout_ms;
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

socklen_t mailbox_write_name(const struct mailbox *box, const struct place *place, void *name,
			     socklen_t room_n)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(place->port)};
	struct sockaddr_in6 in6 = {
	    .sin6_family = AF_INET6, .sin6_port = htons(place->port), .sin6_addr = place->address};
	socklen_t n = box->family == AF_INET ? sizeof in4 : sizeof in6;

	memcpy(&in4.sin_addr, place->address.s6_addr + 12, 4);
	memcpy(name, box->family == AF_INET ? (void *)&in4 : (void *)&in6, n < room_n ? n : room_n);
	return n;
}

struct place mailbox_read_name(const struct mailbox *box, const void *name, socklen_t n)
{
	struct sockaddr_in in4 = {0};
	struct sockaddr_in6 in6 = {0};
	struct place place;

	if (box->family == AF_INET6) {
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

static int mail_socket(int family, int type, int protocol)
{
	struct mailbox *box;
	int error = mailroom_fault(MAIL_SOCKET, NULL);

	EXPECT(type == (SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC) && !protocol);
	kernel.calls[KERNEL_socket]++;
	if (error)
		return refuse(error);
	box = calloc(1, sizeof *box);
	EXPECT(box);
	*box = (struct mailbox){
	    .family = family, .queue_max = 208 << 10, .send_max = SIZE_MAX, .segment_max = 65535};
	return descriptor_for(box);
}

static bool *option_of(struct mailbox *box, int level, int name)
{
	if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY)
		return &box->v6only;
	if (level == IPPROTO_IPV6 && name == IPV6_RECVPKTINFO)
		return &box->pktinfo6;
	if (level == IPPROTO_IP && name == IP_PKTINFO)
		return &box->pktinfo4;
	if (level == SOL_SOCKET && name == SO_REUSEPORT)
		return &box->reuseport;
	if (level == SOL_SOCKET && name == SO_RXQ_OVFL)
		return &box->counts_drops;
	if (level == SYS_UDP && name == SYS_UDP_GRO)
		return &box->trains;
	return NULL;
}

static int mail_setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
	struct mailbox *box = mailbox_called(fd, KERNEL_setsockopt);
	struct sys_filter_program program;
	bool *option;
	int number, error;

	if (!box)
		return room.before.setsockopt(fd, level, name, value, n);
	error = mailroom_fault(MAIL_SET_OPTION, box);
	if (error)
		return refuse(error);
	if (level == SOL_SOCKET && name == SO_ATTACH_FILTER) {
		EXPECT(n == sizeof program);
		memcpy(&program, value, sizeof program);
		EXPECT(program.n == 1 && program.instructions->code == 6 &&
		       program.instructions->k == 0);
		box->filtered = true;
		return 0;
	}
	EXPECT(n == sizeof number);
	memcpy(&number, value, sizeof number);
	if (level == SOL_SOCKET && (name == SO_RCVBUFFORCE || name == SO_SNDBUFFORCE))
		return refuse(EPERM);
	if (level == SOL_SOCKET && name == SO_SNDBUF)
		return 0; /* tests say how long it is: send_max */
	if (level == SOL_SOCKET && name == SO_RCVBUF) {
		box->queue_max = 2 * (size_t)number;
		return 0;
	}
	option = option_of(box, level, name);
	EXPECT(option && (level != IPPROTO_IPV6 || box->family == AF_INET6));
	*option = number != 0;
	return 0;
}

static int mail_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
	struct mailbox *box = mailbox_called(fd, KERNEL_getsockopt);
	uint32_t figures[SYS_MEMINFO_FIGURES] = {0};
	int error, number;

	if (!box)
		return room.before.getsockopt(fd, level, name, value, n);
	error = mailroom_fault(MAIL_GET_OPTION, box);
	if (error)
		return refuse(error);
	if (level == SOL_SOCKET && name == SYS_SO_MEMINFO) {
		figures[SYS_MEMINFO_DROPS] = box->drops;
		*n = *n < sizeof figures ? *n : (socklen_t)sizeof figures;
		memcpy(value, figures, *n);
		return 0;
	}
	if (level == SOL_SOCKET && name == SO_GET_FILTER) {
		EXPECT(!*n);
		*n = box->filtered; /* how many instructions */
		return 0;
	}
	EXPECT(option_of(box, level, name) && *n == sizeof number);
	if (level == IPPROTO_IPV6 && box->family != AF_INET6)
		return refuse(EOPNOTSUPP);
	number = *option_of(box, level, name);
	memcpy(value, &number, sizeof number);
	return 0;
}

/* Only asked to find out whether an address is one of a broadcast: here none is. */
/* Nothing leaves, but a broadcast address tells itself apart. */
static int mail_connect(int fd, const struct sockaddr *peer, socklen_t n)
{
	struct mailbox *box = mailbox_called(fd, KERNEL_connect);
	struct place to = mailbox_read_name(box, peer, n);

	return mailbox_is_broadcast(&to.address) ? refuse(EACCES) : 0;
}

static int mail_bind(int fd, const struct sockaddr *address, socklen_t n)
{
	struct mailbox *box = mailbox_called(fd, KERNEL_bind);
	int error = mailroom_fault(MAIL_BIND, box);

	if (error)
		return refuse(error);
	box->here = mailbox_read_name(box, address, n);
	if (!box->here.port)
		box->here.port = room.next_port++;
	return 0;
}

static int mail_getsockname(int fd, struct sockaddr *address, socklen_t *n)
{
	struct mailbox *box = mailbox_called(fd, KERNEL_getsockname);
	int error = mailroom_fault(MAIL_NAME, box);

	if (error)
		return refuse(error);
	*n = mailbox_write_name(box, &box->here, address, *n);
	return 0;
}

static int mail_close(int fd)
{
	struct mailbox *box = mailbox_called(fd, KERNEL_close);
	int error;

	if (!box)
		return room.before.close(fd);
	error = mailroom_fault(MAIL_CLOSE, box);
	for (unsigned i = 0; i < room.registrations_n; i++)
		EXPECT_MSG(room.registrations[i].fd != fd, "closed while it is watched");
	room.boxes[fd - MAILROOM_FD_FIRST] = NULL;
	mailroom.descriptors--;
	if (--box->holders == 0) {
		while (box->first) {
			struct letter *letter = box->first;

			box->first = letter->next;
			free(letter);
		}
		free(box);
	}
	return error ? refuse(error) : 0; /* the descriptor is free, whatever close(2) says */
}

struct mailbox *mailbox_of(int fd)
{
	return box_at(fd);
}

int mailbox_dup(int fd)
{
	return descriptor_for(box_at(fd));
}

/* ---- memory ---- */

/* sys_map() goes round sys.def, to the C library: this takes the library's place. */
void *mmap(void *start, size_t n, int protection, int flags, int fd, off_t at)
{
	if (room.open) {
		int error = mailroom_fault(MAIL_MAP, NULL);

		if (error) {
			errno = error;
			return MAP_FAILED;
		}
		mailroom.mapped_bytes += n;
	}
	/* The call gives an address, or -1, which is MAP_FAILED. */
	return (void *)syscall(SYS_mmap, start, n, protection, flags, fd, at);
}

static int mail_munmap(void *start, size_t n)
{
	mailroom.mapped_bytes -= n;
	return room.before.munmap(start, n);
}

/* ---- the whole ---- */

void mailroom_begin(void)
{
	memset(&room, 0, sizeof room);
	mailroom = (struct mailroom){0};
	room.before = sys_kernel;
	room.next_port = 40000;
	room.open = true;
	sys_kernel.recvmmsg = mail_recvmmsg;
	sys_kernel.recvmsg = mail_recvmsg;
	sys_kernel.recvfrom = mail_recvfrom;
	sys_kernel.sendmmsg = mail_sendmmsg;
	sys_kernel.sendmsg = mail_sendmsg;
	sys_kernel.sendto = mail_sendto;
	sys_kernel.socket = mail_socket;
	sys_kernel.bind = mail_bind;
	sys_kernel.connect = mail_connect;
	sys_kernel.getsockname = mail_getsockname;
	sys_kernel.setsockopt = mail_setsockopt;
	sys_kernel.getsockopt = mail_getsockopt;
	sys_kernel.epoll_ctl = mail_epoll_ctl;
	sys_kernel.epoll_wait = mail_epoll_wait;
	sys_kernel.close = mail_close;
	sys_kernel.munmap = mail_munmap;
}

void mailroom_end(void)
{
	EXPECT(!mailroom.descriptors && !room.registrations_n);
	EXPECT_MSG(!mailroom.mapped_bytes, "%zu bytes are mapped still", mailroom.mapped_bytes);
	sys_kernel = room.before;
	room.open = false;
}
