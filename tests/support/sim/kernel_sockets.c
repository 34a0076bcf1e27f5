/* The simulated kernel's sockets: the server's calls on them, and the peers at their other ends. */
#include "tests/support/sim/kernel_parts.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdlib.h>

static struct peer *all_peers;

struct peer *stream_of(int fd)
{
	struct object *object = object_of(fd);

	return object && object->kind == STREAM ? object->peer : NULL;
}

bool peer_writable(const struct peer *peer)
{
	return peer->out.n < peer->space && peer->space - peer->out.n >= peer->out.n / 2;
}

void peer_wake(struct peer *peer, uint32_t key)
{
	if (peer->fd >= 0)
		object_wake(object_of(peer->fd), key);
	if (peer->copy >= 0)
		object_wake(object_of(peer->copy), key);
}

/* ---- the server's calls ---- */

static ssize_t sim_read(int fd, void *bytes, size_t n)
{
	struct peer *peer = stream_of(fd);
	ssize_t result;

	if (!peer)
		return kernel_genuine.read(fd, bytes, n);
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
		return kernel_genuine.writev(fd, spans, n);
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
	return stream_of(fd) ? sim_writev(fd, &span, 1) : kernel_genuine.write(fd, bytes, n);
}

static int sim_shutdown(int fd, int how)
{
	struct peer *peer = stream_of(fd);

	EXPECT(peer && (how == SHUT_WR || how == SHUT_RDWR));
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
		return kernel_genuine.ioctl(fd, request, value);
	EXPECT(request == TIOCOUTQ || request == FIONREAD);
	if (request == FIONREAD) {
		*(int *)value = (int)peer->in.n;
		return 0;
	}
	*(int *)value = peer->out.n > peer->window ? (int)(peer->out.n - peer->window) : 0;
	return 0;
}

/* Writes an address whose port is the descriptor's number. */
static void tell_address(int fd, struct sockaddr *address, socklen_t *n)
{
	struct sockaddr_in from = {.sin_family = AF_INET,
				   .sin_port = htons((uint16_t)fd),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	memcpy(address, &from, *n < sizeof from ? *n : sizeof from);
	*n = sizeof from;
}

/* Like Linux, it takes a descriptor before it looks whether a connection waits. */
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
	struct peer *peer = stream_of(fd);

	if (peer->was_reset || peer->unconnected)
		return refuse(ENOTCONN);
	if (!peer->there_n) {
		tell_address(fd, address, n);
		return 0;
	}
	memcpy(address, &peer->there, *n < peer->there_n ? *n : peer->there_n);
	*n = peer->there_n;
	return 0;
}

static int sim_getsockname(int fd, struct sockaddr *address, socklen_t *n)
{
	if (!stream_of(fd))
		return kernel_genuine.getsockname(fd, address, n);
	tell_address(fd, address, n);
	return 0;
}

static int sim_close(int fd)
{
	struct object *object = object_of(fd);
	struct peer *peer;

	if (!object)
		return kernel_genuine.close(fd);
	peer = object->peer;
	if (peer && peer->copy >= 0) {
		kernel.stale += object->events != 0;
		peer->fd = fd == peer->fd ? peer->copy : peer->fd;
		peer->copy = -1;
	} else if (peer) {
		kernel.stale += peer->shared && object->events;
		peer->closed = true;
		peer->fd = -1;
		/* With unread input closing sends a RST: what is under way is lost. */
		peer->got_reset = peer->in.n && !peer->was_reset;
		if (peer->got_reset && peer->out.n > peer->window)
			peer->out.n = peer->window;
	}
	object_end(object);
	return 0;
}

/* ---- peers ---- */

int kernel_listener(void)
{
	return object_new(LISTENER);
}

static struct peer *peer_alloc(void)
{
	struct peer *peer = calloc(1, sizeof *peer);

	EXPECT(peer);
	peer->fd = peer->copy = -1;
	peer->space = PEER_SPACE;
	peer->window = SIZE_MAX;
	peer->next = all_peers;
	all_peers = peer;
	return peer;
}

/* Peers that wait to be accepted are linked through their `script`, which they do not use yet. */
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
	struct peer **at = &all_peers;

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

void peer_hang_up(struct peer *peer)
{
	peer->was_reset = true;
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

/* ---- beginning and end ---- */

void kernel_sockets_begin(struct sys_kernel *calls)
{
	all_peers = NULL;
	calls->read = sim_read;
	calls->write = sim_write;
	calls->writev = sim_writev;
	calls->accept4 = sim_accept4;
	calls->close = sim_close;
	calls->shutdown = sim_shutdown;
	calls->ioctl = sim_ioctl;
	calls->getpeername = sim_getpeername;
	calls->getsockname = sim_getsockname;
	kernel_connect_begin(calls);
}

void kernel_sockets_end(void)
{
	while (all_peers)
		peer_free(all_peers);
}
