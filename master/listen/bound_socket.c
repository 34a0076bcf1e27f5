#include "master/listen/bound_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <netinet/in.h>

#include "master/listen/activation.h"
#include "reactor/base/check.h"
#include "reactor/udp/datagram.h"
#include "reactor/loop/listener.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"
#include "reactor/base/sys.h"

#define LEDGER_BYTES (WORKERS_MAX * sizeof(uint32_t))
#define GUARD_TRIES  8

/* ---- addresses ---- */

bool bound_socket_is_at(const struct bound_socket *bound, const struct endpoint *endpoint)
{
	return bound->datagrams == endpoint->datagrams &&
	       (address_is_same(&bound->asked, &endpoint->address) ||
		address_is_same(&bound->address, &endpoint->address));
}

/* Is b one of the addresses that a stands for? */
static bool covers(const struct address *a, const struct address *b)
{
	unsigned char bytes[16];

	return address_bytes((const struct sockaddr *)&a->socket, bytes) &&
	       address_is_unspecified(bytes) &&
	       (a->dual_stack || a->socket.ss_family == b->socket.ss_family);
}

bool bound_socket_overlaps(const struct bound_socket *bound, const struct endpoint *endpoint)
{
	const struct address *a = &bound->address, *b = &endpoint->address;

	return bound->datagrams == endpoint->datagrams && address_port(b) &&
	       address_port(a) == address_port(b) && (covers(a, b) || covers(b, a));
}

/* If the kernel has no IPv6, every address means every IPv4 address. */
static void without_ipv6(struct address *address)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	unsigned port = address_port(address);

	memset(&address->socket, 0, sizeof address->socket);
	memcpy(&address->socket, &any, sizeof any);
	address->bytes = sizeof any;
	address->dual_stack = false;
	address_set_port(address, port);
	log_warn("no IPv6 here: listening on every IPv4 address", LOG_NUMBER("port", port));
}

/* ---- making sockets ---- */

/* Opens a socket at bound->address, whose port 0 becomes the one that the kernel chose. fd or
 * -errno. */
static int open_socket(struct bound_socket *bound, bool reuseport, const char **step)
{
	struct datagram_options datagrams = {
	    .reuseport = reuseport,
	    .queue_bytes = bound->settings.queue_bytes,
	    .send_queue_bytes = bound->settings.send_queue_bytes,
	};
	struct listen_options streams = {
	    .backlog = bound->settings.backlog,
	    .reuseport = reuseport,
	};

	if (address_path(&bound->address))
		return socket_file_open(&bound->file, &bound->address, &streams,
					bound->settings.mode, step);
	return bound->datagrams ? datagram_bind(&bound->address, &datagrams, step)
				: listen_on(&bound->address, &streams, step);
}

static int open_socket_anyhow(struct bound_socket *bound, bool reuseport, const char **step)
{
	int fd = open_socket(bound, reuseport, step);

	if (fd != -EAFNOSUPPORT || !bound->address.dual_stack)
		return fd;
	without_ipv6(&bound->address);
	return open_socket(bound, reuseport, step);
}

/*
 * SO_REUSEPORT lets two servers of one user bind the same port and share its connections; a second
 * start must fail instead. So a guard socket without it is bound first, which fails if anybody else
 * is bound there; of two servers that try at once the kernel lets one listen. Only then does the
 * guard get SO_REUSEPORT, and it is closed when our socket is bound beside it: at no moment can
 * another server bind there. With datagrams the kernel may give two servers the same port even if
 * they ask for port 0: so the guard chooses the port. 0 or -errno; *guard -1: none is needed.
 */
static int open_guard(struct bound_socket *bound, int *guard, const char **step)
{
	int fd, on = 1, tries = 0;

	*guard = -1;
	if (address_is_unix(&bound->address) ||
	    (!address_port(&bound->address) && !bound->datagrams))
		return 0;
	do /* two that listen in the same instant are both refused: try again */
		fd = open_socket_anyhow(bound, false, step);
	while (fd == -EADDRINUSE && strcmp(*step, "listen") == 0 && ++tries < GUARD_TRIES);
	if (fd < 0)
		return fd;
	*guard = fd;
	*step = "SO_REUSEPORT";
	return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ? -errno : 0;
}

/* 0 or -errno. */
static int bind_first(struct bound_socket *bound, bool alone, const char **step)
{
	int guard = -1, fd = alone ? open_guard(bound, &guard, step) : 0;

	if (fd == 0)
		fd = open_socket_anyhow(bound, true, step);
	if (guard >= 0)
		(void)close(guard);
	if (fd < 0)
		return fd;
	bound->fds[bound->fds_n++] = fd;
	return 0;
}

/* 0 or -errno. */
static int adopt(const struct bound_socket *bound, int fd, const char **step)
{
	struct datagram_options datagrams = {
	    .queue_bytes = bound->settings.queue_bytes,
	    .send_queue_bytes = bound->settings.send_queue_bytes,
	};

	return bound->datagrams ? datagram_adopt(fd, &bound->address, &datagrams, step)
				: listen_adopt(fd, &bound->address, bound->settings.backlog, step);
}

/* Removes the filter that drops datagrams, which a worker that ends leaves on the socket. */
static void let_datagrams_in(int fd)
{
	int unused = 0;

	(void)setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused);
}

/* 0 or -errno. */
static int borrow(struct bound_socket *bound, const struct activation_socket *inherited,
		  const char **step)
{
	int fd = fcntl(inherited->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), flags, e = 0;

	*step = "taking the inherited socket";
	bound->borrowed = bound->single = true;
	if (fd < 0)
		return -errno;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		e = -errno;
	if (bound->datagrams)
		let_datagrams_in(fd);
	if (!e)
		e = adopt(bound, fd, step);
	if (e) {
		(void)close(fd);
		return e;
	}
	bound->fds[bound->fds_n++] = fd;
	return 0;
}

static void warn_of_short_queue(const struct bound_socket *bound)
{
	char text[ADDRESS_TEXT_BYTES];
	int bytes = 0;
	socklen_t n = sizeof bytes;

	/* The kernel doubles what was asked, for its own use (socket(7)). */
	if (!bound->datagrams || !bound->settings.queue_bytes ||
	    getsockopt(bound->fds[0], SOL_SOCKET, SO_RCVBUF, &bytes, &n) < 0 ||
	    (uint64_t)bytes + 2 >= 2 * bound->settings.queue_bytes)
		return;
	address_format(&bound->address, text);
	log_warn("net.core.rmem_max cuts the queue", LOG_TEXT("listener", text),
		 LOG_NUMBER("queue", bytes / 2));
}

int bound_socket_open(struct bound_socket *bound, const struct endpoint *endpoint,
		      const struct bound_socket_settings *settings,
		      const struct activation_socket *inherited, bool alone, const char **step)
{
	int error;

	*bound = (struct bound_socket){
	    .asked = endpoint->address,
	    .address = endpoint->address,
	    .datagrams = endpoint->datagrams,
	    .single = address_is_unix(&endpoint->address),
	    .reuseport_width = WORKERS_MAX,
	    .width_used = WORKERS_MAX,
	    .settings = *settings,
	    .ledger = -1,
	    .file.held = -1,
	};
	error = inherited ? borrow(bound, inherited, step) : bind_first(bound, alone, step);
	if (error)
		return error;
	warn_of_short_queue(bound);
	bound->used = true;
	return 0;
}

bool bound_socket_adopt(struct bound_socket *bound, const struct endpoint *endpoint,
			const struct bound_socket_settings *settings, int fd,
			const struct socket_file *file)
{
	struct address address = {.bytes = sizeof address.socket,
				  .dual_stack = endpoint->address.dual_stack};

	if (getsockname(fd, (struct sockaddr *)&address.socket, &address.bytes) < 0)
		return false;
	*bound = (struct bound_socket){
	    .asked = endpoint->address,
	    .address = address,
	    .single = address_is_unix(&address),
	    .reuseport_width = WORKERS_MAX,
	    .width_used = WORKERS_MAX,
	    .settings = *settings,
	    .ledger = -1,
	    .fds_n = 1,
	    .fds = {fd},
	    .used = true,
	    .file.held = -1,
	};
	if (address_path(&address))
		(void)socket_file_adopt(&bound->file, address_path(&address), file->device,
					file->inode);
	if (bound->single)
		(void)rights_refuse(fd);
	return true;
}

bool bound_socket_is_lost(const struct bound_socket *bound)
{
	const char *path = address_path(&bound->address);

	return path && !bound->borrowed && !socket_file_is_there(&bound->file, path);
}

/* ---- more and fewer of them ---- */

/* If new connections come to all sockets, no program is needed. */
static int steer(const struct bound_socket *bound, size_t n)
{
	if (bound->single || !bound->fds_n)
		return 0;
	return listen_steer(bound->fds[0], n < bound->fds_n ? (unsigned)n : 0);
}

bool bound_socket_widen(struct bound_socket *bound, size_t n, char error[CONFIG_ERROR_BYTES])
{
	size_t before = bound->fds_n;

	CHECK(n <= WORKERS_MAX);
	if (bound->single)
		return true;
	/* Steered before the other sockets exist, so that no client comes to those for a moment. If
	 * the kernel can't steer, clients that come there wait for the worker. */
	if (n > before && bound->reuseport_width < n)
		(void)listen_steer(
		    bound->fds[0],
		    (unsigned)(bound->reuseport_width < before ? bound->reuseport_width : before));
	while (bound->fds_n < n) {
		const char *step;
		int fd = open_socket(bound, true, &step);

		if (fd < 0) {
			struct endpoint endpoint = {.address = bound->address, .accept = -1};
			char text[ADDRESS_TEXT_BYTES];

			address_format(&endpoint.address, text);
			(void)snprintf(error, CONFIG_ERROR_BYTES,
				       "listening on %s for slot %zu: %s: %s", text, bound->fds_n,
				       step, strerror(-fd));
			bound_socket_narrow(bound, before);
			return false;
		}
		if (bound->dropped) /* a new socket has dropped nothing */
			bound->dropped[bound->fds_n] = 0;
		bound->fds[bound->fds_n++] = fd;
	}
	return true;
}

int bound_socket_set_width(struct bound_socket *bound, size_t n)
{
	CHECK(n);
	bound->reuseport_width = n;
	if (bound->width_used > bound->fds_n) /* WORKERS_MAX stood for all there are */
		bound->width_used = bound->fds_n;
	if (bound->width_used < n)
		bound->width_used = n;
	return steer(bound, n);
}

void bound_socket_narrow(struct bound_socket *bound, size_t n)
{
	CHECK(n);
	if (bound->single || bound->shared || bound->fds_n <= n)
		return;
	while (bound->fds_n > n) {
		int fd = bound->fds[--bound->fds_n];

		/* shutdown() takes it out of the kernel's group at once, even if a child that is
		 * being forked has a copy: the order in the group says which slot a socket belongs
		 * to. */
		if (!bound->datagrams)
			(void)shutdown(fd, SHUT_RD);
		(void)close(fd);
	}
	if (bound->width_used > n)
		bound->width_used = n;
	if (bound->reuseport_width > n)
		bound->reuseport_width = n;
	(void)steer(bound, bound->reuseport_width);
}

void bound_socket_let_wait(struct bound_socket *bound, size_t first)
{
	for (size_t i = first; i < bound->fds_n && !bound->datagrams; i++)
		(void)listen(bound->fds[i], bound->settings.backlog);
}

int bound_socket_keep_accounts(struct bound_socket *bound, uint64_t rate)
{
	int error;

	if (!bound->dropped) {
		int fd = memfd_create("weir-ledger", MFD_CLOEXEC);

		if (fd < 0)
			return -errno;
		if (ftruncate(fd, LEDGER_BYTES) < 0 ||
		    !(bound->dropped = sys_map(LEDGER_BYTES, MAP_SHARED, fd))) {
			error = -errno;
			(void)close(fd);
			return error;
		}
		bound->ledger = fd;
	}
	return rate && !bound->limiter.places ? limiter_open(&bound->limiter, rate) : 0;
}

int bound_socket_attach_accounts(struct bound_socket *bound, int ledger, int limiter)
{
	struct stat status;

	if (ledger >= 0) {
		if (fstat(ledger, &status) < 0)
			return -errno;
		if (!S_ISREG(status.st_mode) || status.st_size != (off_t)LEDGER_BYTES)
			return -EPROTO;
		bound->dropped = sys_map(LEDGER_BYTES, MAP_SHARED, ledger);
		if (!bound->dropped)
			return -errno;
		bound->ledger = ledger;
	}
	return limiter >= 0 ? limiter_attach(&bound->limiter, limiter, 1) : 0;
}

/* ---- settings ---- */

/* How long a socket's queue is if no length was asked for, in bytes. */
static uint64_t default_queue(void)
{
	FILE *file = fopen("/proc/sys/net/core/rmem_default", "re");
	unsigned long long bytes = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%llu", &bytes) != 1)
		bytes = 0;
	(void)fclose(file);
	return bytes / 2; /* the kernel doubles it */
}

static void set_mode(struct bound_socket *bound, unsigned mode)
{
	int error;

	if (mode == bound->settings.mode || !bound->file.inode)
		return;
	error = socket_file_set_mode(&bound->file, mode);
	if (error)
		log_warn("a socket file keeps its mode",
			 LOG_TEXT("path", address_path(&bound->address)),
			 LOG_TEXT("error", strerror(-error)));
}

void bound_socket_set(struct bound_socket *bound, const struct bound_socket_settings *settings)
{
	struct bound_socket_settings before = bound->settings;
	char text[ADDRESS_TEXT_BYTES];
	const char *step;
	int error = 0;

	set_mode(bound, settings->mode);
	bound->settings = *settings;
	if (before.queue_bytes && !settings->queue_bytes)
		bound->settings.queue_bytes = default_queue();
	/* All settings again, because a worker may have changed them when it ended. */
	for (size_t i = 0; i < bound->fds_n && !error; i++) {
		if (bound->datagrams)
			let_datagrams_in(bound->fds[i]);
		error = adopt(bound, bound->fds[i], &step);
	}
	bound->settings = *settings;
	if (error) {
		address_format(&bound->address, text);
		log_warn("a listener keeps its queue", LOG_TEXT("listener", text),
			 LOG_TEXT("step", step), LOG_TEXT("error", strerror(-error)));
	}
	if (before.queue_bytes != settings->queue_bytes)
		warn_of_short_queue(bound);
}

/* ---- the end ---- */

void bound_socket_take(struct bound_socket *bound, size_t i, uint32_t number,
		       void (*took)(uint32_t number, int fd))
{
	int fd;

	if (bound->datagrams || bound->borrowed || i >= bound->fds_n)
		return;
	while ((fd = accept4(bound->fds[i], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0 ||
	       errno == EINTR || errno == ECONNABORTED) {
		if (fd < 0)
			continue;
		if (took)
			took(number, fd);
		else
			rights_close(fd);
	}
}

void bound_socket_close_sockets(struct bound_socket *bound)
{
	if (bound->borrowed) /* the service manager goes on listening, whatever we do */
		return;
	while (bound->fds_n)
		(void)close(bound->fds[--bound->fds_n]);
}

/* Leaves the sockets as they were given to us: clients that come are for the next server. */
static void give_back(struct bound_socket *bound)
{
	for (size_t i = 0; i < bound->fds_n; i++) {
		if (bound->datagrams)
			let_datagrams_in(bound->fds[i]);
		else
			(void)listen(bound->fds[i], bound->settings.backlog);
		rights_close_listener(bound->fds[i], true);
	}
	bound->fds_n = 0;
}

void bound_socket_close(struct bound_socket *bound, bool keep_file)
{
	if (!keep_file && bound->borrowed)
		give_back(bound);
	while (bound->fds_n)
		rights_close_listener(bound->fds[--bound->fds_n], bound->borrowed);
	if (keep_file || !bound->file.inode)
		socket_file_forget(&bound->file);
	else
		socket_file_remove(&bound->file, address_path(&bound->address));
	if (bound->dropped)
		(void)munmap(bound->dropped, LEDGER_BYTES);
	if (bound->ledger >= 0)
		(void)close(bound->ledger);
	limiter_close(&bound->limiter);
	*bound = (struct bound_socket){.ledger = -1};
}
