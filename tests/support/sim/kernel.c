#include "tests/support/sim/kernel.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdlib.h>

/* ---- the real calls, and the gate in front of every call ---- */

#define SYS(type, name, parameters, arguments)                                                     \
	static type real_##name parameters                                                         \
	{                                                                                          \
		return name arguments;                                                             \
	}
#include "reactor/base/sys.def"
#undef SYS

#define SYS(type, name, parameters, arguments) .name = real_##name,
static const struct sys_kernel genuine = {
#include "reactor/base/sys.def"
};
#undef SYS

/* What answers a call that is not made to fail. */
static struct sys_kernel under;

struct kernel kernel;

static bool refuses(enum kernel_call call, intptr_t first);

#define FIRST(...)	 FIRST_OF(__VA_ARGS__, 0)
#define FIRST_OF(a, ...) a
#define SYS(type, name, parameters, arguments)                                                     \
	static type entry_##name parameters                                                        \
	{                                                                                          \
		if (refuses(KERNEL_##name, (intptr_t)(FIRST arguments)))                           \
			return -1;                                                                 \
		return (under.name ? under.name : genuine.name)arguments;                          \
	}
#include "reactor/base/sys.def"
#undef SYS

#define SYS(type, name, parameters, arguments) .name = entry_##name,
struct sys_kernel sys_kernel = {
#include "reactor/base/sys.def"
};
#undef SYS

#define SYS(type, name, parameters, arguments) #name,
const char *const kernel_call_names[KERNEL_CALLS] = {
#include "reactor/base/sys.def"
};
#undef SYS

/* ---- what there is ---- */

#define FDS_MAX 4096

struct object {
	enum kind { NOTHING, STREAM, LISTENER, EPOLL, DOORBELL } kind;
	struct peer *peer;    /* of a stream */
	struct peer *backlog; /* of a listener: first come first */
	uint64_t count;	      /* of a doorbell */
	int ep;		      /* where it is registered */
	uint32_t events;      /* its registration; 0: none */
	epoll_data_t data;
	bool queued;
};

static struct {
	struct object objects[FDS_MAX];
	int ready[FDS_MAX]; /* places of objects whose registrations are queued */
	struct peer *peers;
	bool simulated;
	struct {
		enum kernel_call call;
		unsigned long at; /* the number of the call; 0: every one */
		int error, subject;
	} fault;
} sim;

static struct object *object_of(int fd)
{
	struct object *object;

	if (!sim.simulated || fd < KERNEL_FD_FIRST)
		return NULL;
	EXPECT(fd < KERNEL_FD_FIRST + FDS_MAX);
	object = &sim.objects[fd - KERNEL_FD_FIRST];
	EXPECT_MSG(object->kind != NOTHING, "a call on descriptor %d, which is closed", fd);
	return object;
}

static struct peer *stream_of(int fd)
{
	struct object *object = object_of(fd);

	return object && object->kind == STREAM ? object->peer : NULL;
}

static bool descriptors_used_up(void)
{
	return kernel.descriptors_max && kernel.descriptors >= kernel.descriptors_max;
}

static int object_new(enum kind kind)
{
	if (descriptors_used_up()) {
		errno = EMFILE;
		return -1;
	}
	for (int i = 0; i < FDS_MAX; i++) {
		if (sim.objects[i].kind != NOTHING)
			continue;
		sim.objects[i] = (struct object){.kind = kind};
		kernel.descriptors++;
		return KERNEL_FD_FIRST + i;
	}
	ck_abort_msg("more than %d descriptors", FDS_MAX);
}

static int refuse(int error)
{
	errno = error;
	return -1;
}

/* ---- epoll ---- */

/* As the kernel asks for half of what is queued to be free (sk_stream_is_writeable). */
static bool peer_writable(const struct peer *peer)
{
	return peer->out.n < peer->space && peer->space - peer->out.n >= peer->out.n / 2;
}

static uint32_t object_poll(struct object *object)
{
	struct peer *peer = object->peer;
	uint32_t events = 0;

	if (object->kind == LISTENER)
		return object->backlog ? EPOLLIN : 0;
	if (object->kind == DOORBELL)
		return object->count ? EPOLLIN | EPOLLOUT : EPOLLOUT;
	if (object->kind != STREAM)
		return 0;
	if (peer->in.n || peer->finished || peer->was_reset)
		events |= EPOLLIN;
	if (peer->finished || peer->was_reset)
		events |= EPOLLRDHUP;
	if ((peer->finished && peer->shut) || peer->was_reset)
		events |= EPOLLHUP;
	if (peer->error)
		events |= EPOLLERR;
	if (peer->shut || peer->was_reset || peer_writable(peer))
		events |= EPOLLOUT;
	else
		peer->nospace = true;
	return events;
}

static void object_queue(struct object *object)
{
	if (object->queued)
		return;
	object->queued = true;
	sim.ready[kernel.ready_n++] = (int)(object - sim.objects);
}

/* key: what happened; 0: anything. */
static void object_wake(struct object *object, uint32_t key)
{
	if (object->events && (!key || (key & (object->events | EPOLLERR | EPOLLHUP))))
		object_queue(object);
}

static void peer_wake(struct peer *peer, uint32_t key)
{
	if (peer->fd >= 0)
		object_wake(object_of(peer->fd), key);
	if (peer->copy >= 0)
		object_wake(object_of(peer->copy), key);
}

static void object_forget(struct object *object)
{
	size_t kept = 0;

	for (size_t i = 0; i < kernel.ready_n; i++)
		if (&sim.objects[sim.ready[i]] != object)
			sim.ready[kept++] = sim.ready[i];
	kernel.ready_n = kept;
	object->queued = false;
	object->events = 0;
}

static int sim_epoll_create1(int flags)
{
	(void)flags;
	return object_new(EPOLL);
}

static int sim_epoll_ctl(int ep, int op, int fd, struct epoll_event *event)
{
	struct object *object = object_of(fd);

	EXPECT(object && object_of(ep)->kind == EPOLL);
	if (op == EPOLL_CTL_ADD && object->events)
		return refuse(EEXIST);
	if (op != EPOLL_CTL_ADD && !object->events)
		return refuse(ENOENT);
	if (op == EPOLL_CTL_DEL) {
		object_forget(object);
		return 0;
	}
	if (op == EPOLL_CTL_ADD && kernel.watches_used_up)
		return refuse(ENOSPC);
	if (op == EPOLL_CTL_MOD && ((object->events | event->events) & EPOLLEXCLUSIVE))
		return refuse(EINVAL);
	if ((event->events & EPOLLEXCLUSIVE) && (event->events & EPOLLRDHUP))
		return refuse(EINVAL);
	EXPECT(!object->events || object->ep == ep);
	object->ep = ep;
	object->events = event->events | EPOLLERR | EPOLLHUP;
	object->data = event->data;
	if (object_poll(object) & object->events)
		object_queue(object);
	return 0;
}

static int sim_epoll_wait(int ep, struct epoll_event *events, int max, int timeout_ms)
{
	size_t n_before = kernel.ready_n, kept = 0, again_n = 0;
	static int again[FDS_MAX];
	int n = 0;

	EXPECT(object_of(ep)->kind == EPOLL);
	kernel.wait_asked = timeout_ms;
	for (size_t i = 0; i < n_before; i++) {
		struct object *object = &sim.objects[sim.ready[i]];
		uint32_t now;

		if (object->ep != ep || n == max) {
			sim.ready[kept++] = sim.ready[i];
			continue;
		}
		object->queued = false;
		now = object_poll(object) & object->events;
		if (!now)
			continue;
		events[n++] = (struct epoll_event){.events = now, .data = object->data};
		if (!(object->events & EPOLLET))
			again[again_n++] = sim.ready[i];
	}
	kernel.ready_n = kept;
	for (size_t i = 0; i < again_n; i++)
		object_queue(&sim.objects[again[i]]);
	if (!n && timeout_ms > 0)
		kernel.now_us += (uint64_t)timeout_ms * 1000;
	return n;
}

static int sim_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	EXPECT(n == 1 && timeout_ms == 0);
	fds->revents = (short)((int)object_poll(object_of(fds->fd)) & fds->events);
	return fds->revents != 0;
}

/* ---- streams ---- */

static ssize_t sim_read(int fd, void *bytes, size_t n)
{
	struct peer *peer = stream_of(fd);
	ssize_t result;

	if (!peer)
		return genuine.read(fd, bytes, n);
	if (peer->in.n) {
		result = (ssize_t)bytes_take(&peer->in, bytes, n);
	} else if (peer->error && !peer->finished) {
		result = refuse(peer->error);
		peer->error = 0;
	} else {
		result = peer->finished || peer->was_reset ? 0 : refuse(EAGAIN);
	}
	if (!peer->in.n && peer->after_read) {
		int error = errno;

		peer->after_read(peer);
		errno = error;
	}
	return result;
}

static ssize_t sim_writev(int fd, const struct iovec *spans, int n)
{
	struct peer *peer = stream_of(fd);
	size_t wanted = 0, taken = 0;

	if (!peer)
		return genuine.writev(fd, spans, n);
	EXPECT(n <= 1024); /* IOV_MAX */
	if (peer->error || peer->was_reset || peer->shut) {
		int error = peer->error ? peer->error : EPIPE;

		peer->error = 0;
		return refuse(error);
	}
	for (int i = 0; i < n; i++) {
		size_t room = peer->space > peer->out.n ? peer->space - peer->out.n : 0;
		size_t part = spans[i].iov_len < room ? spans[i].iov_len : room;

		bytes_add(&peer->out, spans[i].iov_base, part);
		wanted += spans[i].iov_len;
		taken += part;
	}
	if (taken < wanted)
		peer->nospace = true;
	return taken || !wanted ? (ssize_t)taken : refuse(EAGAIN);
}

static ssize_t sim_write(int fd, const void *bytes, size_t n)
{
	struct iovec span = {(void *)(uintptr_t)bytes, n};
	struct object *object = object_of(fd);

	if (object && object->kind == DOORBELL) {
		object->count += *(const uint64_t *)bytes;
		object_wake(object, EPOLLIN); /* each write is an edge */
		return (ssize_t)n;
	}
	return stream_of(fd) ? sim_writev(fd, &span, 1) : genuine.write(fd, bytes, n);
}

static int sim_shutdown(int fd, int how)
{
	struct peer *peer = stream_of(fd);

	EXPECT(peer && how == SHUT_WR);
	if (peer->was_reset)
		return refuse(ENOTCONN);
	peer->shut = true;
	peer_wake(peer, 0);
	return 0;
}

static int sim_ioctl(int fd, sys_ioctl_request request, void *value)
{
	struct peer *peer = stream_of(fd);

	if (!peer)
		return genuine.ioctl(fd, request, value);
	EXPECT(request == TIOCOUTQ || request == FIONREAD);
	if (request == FIONREAD) {
		*(int *)value = (int)peer->in.n;
		return 0;
	}
	*(int *)value = peer->out.n > peer->window ? (int)(peer->out.n - peer->window) : 0;
	return 0;
}

static int sim_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
	struct peer *peer = stream_of(fd);

	if (!peer)
		return genuine.getsockopt(fd, level, name, value, n);
	EXPECT(level == SOL_SOCKET && name == SO_ERROR);
	*(int *)value = peer->error;
	peer->error = 0;
	return 0;
}

/* Its port is the descriptor's number. */
static void tell_address(int fd, struct sockaddr *address, socklen_t *n)
{
	struct sockaddr_in from = {.sin_family = AF_INET,
				   .sin_port = htons((uint16_t)fd),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	memcpy(address, &from, *n < sizeof from ? *n : sizeof from);
	*n = sizeof from;
}

/* As Linux does, it takes a descriptor before it looks whether anybody waits. */
static int sim_accept4(int fd, struct sockaddr *address, socklen_t *n, int flags)
{
	struct object *object = object_of(fd);
	struct peer *peer;
	int accepted;

	EXPECT(object && object->kind == LISTENER && flags == (SOCK_NONBLOCK | SOCK_CLOEXEC));
	if (descriptors_used_up())
		return refuse(EMFILE);
	peer = object->backlog;
	if (!peer)
		return refuse(EAGAIN);
	accepted = object_new(STREAM);
	object->backlog = peer->script;
	peer->script = NULL;
	peer->fd = accepted;
	object_of(accepted)->peer = peer;
	if (address)
		tell_address(accepted, address, n);
	return accepted;
}

static int sim_getpeername(int fd, struct sockaddr *address, socklen_t *n)
{
	if (stream_of(fd)->was_reset)
		return refuse(ENOTCONN);
	tell_address(fd, address, n);
	return 0;
}

static int sim_eventfd(unsigned int value, int flags)
{
	(void)value;
	(void)flags;
	return object_new(DOORBELL);
}

static int sim_close(int fd)
{
	struct object *object = object_of(fd);
	struct peer *peer;

	if (!object)
		return genuine.close(fd);
	peer = object->peer;
	if (peer && peer->copy >= 0) {
		kernel.stale += object->events != 0;
		peer->fd = fd == peer->fd ? peer->copy : peer->fd;
		peer->copy = -1;
	} else if (peer) {
		kernel.stale += peer->shared && object->events;
		peer->closed = true;
		peer->fd = -1;
		/* Input that nobody read makes it a RST: what is under way is lost. */
		peer->got_reset = peer->in.n && !peer->was_reset;
		if (peer->got_reset && peer->out.n > peer->window)
			peer->out.n = peer->window;
	}
	object_forget(object);
	object->kind = NOTHING;
	kernel.descriptors--;
	return 0;
}

/* ---- the kernel's own face ---- */

static bool refuses(enum kernel_call call, intptr_t first)
{
	int fd = call == KERNEL_epoll_ctl ? sim.fault.subject : (int)first;
	struct peer *peer;

	kernel.calls[call]++;
	if (!sim.fault.error || sim.fault.call != call)
		return false;
	if (sim.fault.at && sim.fault.at != kernel.calls[call])
		return false;
	kernel.failed = true;
	peer = call == KERNEL_accept4 || call == KERNEL_eventfd || call == KERNEL_epoll_wait ||
		       call == KERNEL_poll
		   ? NULL
		   : stream_of(fd);
	kernel.failed_peer = peer;
	/* What was not to be had when it was asked for is there a moment later. */
	if (peer && sim.fault.error == EAGAIN)
		peer_wake(peer, call == KERNEL_read ? EPOLLIN : EPOLLOUT);
	/* close(2) lets go of the descriptor, whatever it says. */
	if (call == KERNEL_close)
		(void)sim_close(fd);
	errno = sim.fault.error;
	return true;
}

static int epoll_ctl_of(int ep, int op, int fd, struct epoll_event *event)
{
	sim.fault.subject = fd;
	return entry_epoll_ctl(ep, op, fd, event);
}

void kernel_begin(void)
{
	memset(&sim, 0, sizeof sim);
	kernel = (struct kernel){0};
	kernel.now_us = (((uint64_t)1 << 32) - 500) * 1000;
	sim.simulated = true;
	under = (struct sys_kernel){
	    .read = sim_read,
	    .write = sim_write,
	    .writev = sim_writev,
	    .accept4 = sim_accept4,
	    .close = sim_close,
	    .shutdown = sim_shutdown,
	    .ioctl = sim_ioctl,
	    .getsockopt = sim_getsockopt,
	    .getpeername = sim_getpeername,
	    .epoll_create1 = sim_epoll_create1,
	    .epoll_ctl = sim_epoll_ctl,
	    .epoll_wait = sim_epoll_wait,
	    .poll = sim_poll,
	    .eventfd = sim_eventfd,
	};
	sys_kernel.epoll_ctl = epoll_ctl_of;
}

void kernel_end(void)
{
	EXPECT(kernel.descriptors == 0 && kernel.stale == 0);
	while (sim.peers)
		peer_free(sim.peers);
	under = (struct sys_kernel){0};
	sys_kernel.epoll_ctl = entry_epoll_ctl;
	sim.simulated = false;
}

/* sys_clock_us() goes round sys.def, to the C library: this takes the library's place. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (!sim.simulated || clock != CLOCK_MONOTONIC)
		return (int)syscall(SYS_clock_gettime, clock, now);
	now->tv_sec = (time_t)(kernel.now_us / 1000000);
	now->tv_nsec = (long)(kernel.now_us % 1000000) * 1000;
	return 0;
}

void kernel_fail(enum kernel_call call, unsigned long k, int error)
{
	sim.fault.call = call;
	sim.fault.at = k ? kernel.calls[call] + k : 0;
	sim.fault.error = error;
	kernel.failed = false;
	kernel.failed_peer = NULL;
}

int kernel_listener(void)
{
	return object_new(LISTENER);
}

/* ---- peers ---- */

static struct peer *peer_alloc(void)
{
	struct peer *peer = calloc(1, sizeof *peer);

	EXPECT(peer);
	peer->fd = peer->copy = -1;
	peer->space = PEER_SPACE;
	peer->window = SIZE_MAX;
	peer->next = sim.peers;
	sim.peers = peer;
	return peer;
}

/* Those that wait are linked through script, which they have no other use for yet. */
struct peer *peer_connect(int listener)
{
	struct object *object = object_of(listener);
	struct peer *peer = peer_alloc(), *last = object->backlog;

	while (last && last->script)
		last = last->script;
	if (last)
		last->script = peer;
	else
		object->backlog = peer;
	object_wake(object, EPOLLIN);
	return peer;
}

size_t peers_waiting(int listener)
{
	size_t n = 0;

	for (struct peer *peer = object_of(listener)->backlog; peer; peer = peer->script)
		n++;
	return n;
}

struct peer *peer_new(int *fd)
{
	struct peer *peer = peer_alloc();

	*fd = peer->fd = object_new(STREAM);
	object_of(*fd)->peer = peer;
	return peer;
}

int peer_copy(struct peer *peer)
{
	EXPECT(peer->fd >= 0 && peer->copy < 0);
	peer->copy = object_new(STREAM);
	object_of(peer->copy)->peer = peer;
	return peer->copy;
}

void peer_free(struct peer *peer)
{
	struct peer **at = &sim.peers;

	EXPECT(peer->fd == -1);
	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	free(peer->in.at);
	free(peer->out.at);
	free(peer);
}

void peer_send(struct peer *peer, const void *bytes, size_t n)
{
	if (peer->closed || !n)
		return;
	bytes_add(&peer->in, bytes, n);
	peer_wake(peer, EPOLLIN);
}

void peer_finish(struct peer *peer)
{
	if (peer->closed)
		return;
	peer->finished = true;
	peer_wake(peer, 0);
}

void peer_reset(struct peer *peer)
{
	if (peer->closed)
		return;
	peer->was_reset = true;
	peer->error = peer->finished ? EPIPE : ECONNRESET;
	peer->out.n = 0;
	peer_wake(peer, 0);
}

size_t peer_receive(struct peer *peer, void *bytes, size_t n)
{
	n = bytes_take(&peer->out, bytes, n);
	peer->received += n;
	if (peer->nospace && peer_writable(peer)) {
		peer->nospace = false;
		peer_wake(peer, EPOLLOUT);
	}
	return n;
}
