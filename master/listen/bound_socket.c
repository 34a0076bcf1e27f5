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

/* errno says the reason, too. */
static bool failed(const struct endpoint *endpoint, const char *step, int error_number,
		   char error[CONFIG_ERROR_BYTES])
{
	char text[ENDPOINT_TEXT_BYTES];

	endpoint_format(endpoint, text);
	(void)snprintf(error, CONFIG_ERROR_BYTES, "listening on %s: %s: %s", text, step,
		       strerror(-error_number));
	errno = -error_number;
	return false;
}

/* ---- addresses ---- */

bool point_is_at(const struct point *point, const struct endpoint *endpoint)
{
	return point->datagrams == endpoint->datagrams &&
	       (address_is_same(&point->asked, &endpoint->address) ||
		address_is_same(&point->bound, &endpoint->address));
}

/* Is b one of the addresses that a stands for? */
static bool covers(const struct address *a, const struct address *b)
{
	unsigned char bytes[16];

	return address_bytes((const struct sockaddr *)&a->socket, bytes) &&
	       address_is_unspecified(bytes) &&
	       (a->dual_stack || a->socket.ss_family == b->socket.ss_family);
}

bool point_overlaps(const struct point *point, const struct endpoint *endpoint)
{
	const struct address *a = &point->bound, *b = &endpoint->address;

	return point->datagrams == endpoint->datagrams && address_port(b) &&
	       address_port(a) == address_port(b) && (covers(a, b) || covers(b, a));
}

/* Without IPv6 in the kernel, every address is every IPv4 one. */
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

/* At point->bound, which it makes definite. fd or -errno. */
static int open_socket(struct point *point, bool reuseport, const char **step)
{
	struct datagram_options datagrams = {
	    .reuseport = reuseport,
	    .queue_bytes = point->settings.queue_bytes,
	    .send_queue_bytes = point->settings.send_queue_bytes,
	};
	struct listen_options streams = {
	    .backlog = point->settings.backlog,
	    .reuseport = reuseport,
	};

	if (address_path(&point->bound))
		return socket_file_open(&point->file, &point->bound, &streams, point->settings.mode,
					step);
	return point->datagrams ? datagram_bind(&point->bound, &datagrams, step)
				: listen_on(&point->bound, &streams, step);
}

static int open_socket_anyhow(struct point *point, bool reuseport, const char **step)
{
	int fd = open_socket(point, reuseport, step);

	if (fd != -EAFNOSUPPORT || !point->bound.dual_stack)
		return fd;
	without_ipv6(&point->bound);
	return open_socket(point, reuseport, step);
}

/*
 * SO_REUSEPORT lets two servers of one user bind the same port and share its connections; a second
 * start must fail instead. A socket without it is bound first, which fails where anybody is, and
 * of two who try at once the kernel lets one listen. It has SO_REUSEPORT only then, and goes when
 * ours is beside it: so there is no moment in which another's would find nobody. Of datagrams the
 * kernel may give two servers the same port even for port 0: the port is chosen here, then.
 * 0 or -errno; *guard -1: none is needed.
 */
static int open_guard(struct point *point, int *guard, const char **step)
{
	int fd, on = 1, tries = 0;

	*guard = -1;
	if (address_is_unix(&point->bound) || (!address_port(&point->bound) && !point->datagrams))
		return 0;
	do /* two who listen in the same instant are both refused: one of them has it next */
		fd = open_socket_anyhow(point, false, step);
	while (fd == -EADDRINUSE && strcmp(*step, "listen") == 0 && ++tries < GUARD_TRIES);
	if (fd < 0)
		return fd;
	*guard = fd;
	*step = "SO_REUSEPORT";
	return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ? -errno : 0;
}

static bool bind_first(struct point *point, const struct endpoint *endpoint, bool alone,
		       char error[CONFIG_ERROR_BYTES])
{
	const char *step;
	int guard = -1, fd = alone ? open_guard(point, &guard, &step) : 0;

	if (fd == 0)
		fd = open_socket_anyhow(point, true, &step);
	if (guard >= 0)
		(void)close(guard);
	if (fd < 0)
		return failed(endpoint, step, fd, error);
	point->fds[point->fds_n++] = fd;
	return true;
}

/* 0 or -errno. */
static int adopt(const struct point *point, int fd, const char **step)
{
	struct datagram_options datagrams = {
	    .queue_bytes = point->settings.queue_bytes,
	    .send_queue_bytes = point->settings.send_queue_bytes,
	};

	return point->datagrams ? datagram_adopt(fd, &point->bound, &datagrams, step)
				: listen_adopt(fd, &point->bound, point->settings.backlog, step);
}

/* A worker that stops for ever has datagrams dropped: a filter, which must not stay. */
static void let_datagrams_in(int fd)
{
	int unused = 0;

	(void)setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused);
}

static bool borrow(struct point *point, const struct endpoint *endpoint,
		   const struct activation_socket *inherited, char error[CONFIG_ERROR_BYTES])
{
	const char *step = "taking the inherited socket";
	int fd = fcntl(inherited->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), flags, e = 0;

	point->borrowed = point->single = true;
	if (fd < 0)
		return failed(endpoint, step, -errno, error);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		e = -errno;
	if (point->datagrams)
		let_datagrams_in(fd);
	if (!e)
		e = adopt(point, fd, &step);
	if (e) {
		(void)close(fd);
		return failed(endpoint, step, e, error);
	}
	point->fds[point->fds_n++] = fd;
	return true;
}

static void warn_of_short_queue(const struct point *point)
{
	char text[ADDRESS_TEXT_BYTES];
	int bytes = 0;
	socklen_t n = sizeof bytes;

	/* The kernel doubles what was asked, for its own part (socket(7)). */
	if (!point->datagrams || !point->settings.queue_bytes ||
	    getsockopt(point->fds[0], SOL_SOCKET, SO_RCVBUF, &bytes, &n) < 0 ||
	    (uint64_t)bytes + 2 >= 2 * point->settings.queue_bytes)
		return;
	address_format(&point->bound, text);
	log_warn("net.core.rmem_max cuts the queue", LOG_TEXT("listener", text),
		 LOG_NUMBER("queue", bytes / 2));
}

bool point_open(struct point *point, const struct endpoint *endpoint,
		const struct point_settings *settings, const struct activation_socket *inherited,
		bool alone, char error[CONFIG_ERROR_BYTES])
{
	*point = (struct point){
	    .asked = endpoint->address,
	    .bound = endpoint->address,
	    .datagrams = endpoint->datagrams,
	    .single = address_is_unix(&endpoint->address),
	    .fed = WORKERS_MAX,
	    .reached = WORKERS_MAX,
	    .settings = *settings,
	    .ledger = -1,
	    .file.held = -1,
	};
	if (inherited ? !borrow(point, endpoint, inherited, error)
		      : !bind_first(point, endpoint, alone, error))
		return false;
	warn_of_short_queue(point);
	point->used = true;
	return true;
}

bool point_adopt(struct point *point, const struct endpoint *endpoint,
		 const struct point_settings *settings, int fd, const struct socket_file *file)
{
	struct address bound = {.bytes = sizeof bound.socket,
				.dual_stack = endpoint->address.dual_stack};

	if (getsockname(fd, (struct sockaddr *)&bound.socket, &bound.bytes) < 0)
		return false;
	*point = (struct point){
	    .asked = endpoint->address,
	    .bound = bound,
	    .single = address_is_unix(&bound),
	    .fed = WORKERS_MAX,
	    .reached = WORKERS_MAX,
	    .settings = *settings,
	    .ledger = -1,
	    .fds_n = 1,
	    .fds = {fd},
	    .used = true,
	    .file.held = -1,
	};
	if (address_path(&bound))
		(void)socket_file_adopt(&point->file, address_path(&bound), file->device,
					file->inode);
	if (point->single)
		(void)rights_refuse(fd);
	return true;
}

bool point_is_lost(const struct point *point)
{
	const char *path = address_path(&point->bound);

	return path && !point->borrowed && !socket_file_is_there(&point->file, path);
}

/* ---- more and fewer of them ---- */

/* Where newcomers come to all, no program is needed. */
static int steer(const struct point *point, size_t n)
{
	if (point->single || !point->fds_n)
		return 0;
	return listen_steer(point->fds[0], n < point->fds_n ? (unsigned)n : 0);
}

bool point_widen(struct point *point, size_t n, char error[CONFIG_ERROR_BYTES])
{
	size_t before = point->fds_n;

	CHECK(n <= WORKERS_MAX);
	if (point->single)
		return true;
	/* Before the others are there: they get nobody, not for a moment. Where the kernel does
	 * not, whoever comes waits there for the worker. */
	if (n > before && point->fed < n)
		(void)listen_steer(point->fds[0],
				   (unsigned)(point->fed < before ? point->fed : before));
	while (point->fds_n < n) {
		const char *step;
		int fd = open_socket(point, true, &step);

		if (fd < 0) {
			struct endpoint endpoint = {.address = point->bound, .accept = -1};
			char text[ADDRESS_TEXT_BYTES];

			address_format(&endpoint.address, text);
			(void)snprintf(error, CONFIG_ERROR_BYTES,
				       "listening on %s for slot %zu: %s: %s", text, point->fds_n,
				       step, strerror(-fd));
			point_narrow(point, before);
			return false;
		}
		if (point->dropped) /* a new socket has dropped nothing */
			point->dropped[point->fds_n] = 0;
		point->fds[point->fds_n++] = fd;
	}
	return true;
}

int point_feed(struct point *point, size_t n)
{
	CHECK(n);
	point->fed = n;
	if (point->reached > point->fds_n) /* all that there were by now */
		point->reached = point->fds_n;
	if (point->reached < n)
		point->reached = n;
	return steer(point, n);
}

void point_narrow(struct point *point, size_t n)
{
	CHECK(n);
	if (point->single || point->guest || point->fds_n <= n)
		return;
	while (point->fds_n > n) {
		int fd = point->fds[--point->fds_n];

		/* Out of the kernel's group now, also where a child that is being forked has
		 * a copy: the order of those that come next is theirs. */
		if (!point->datagrams)
			(void)shutdown(fd, SHUT_RD);
		(void)close(fd);
	}
	if (point->reached > n)
		point->reached = n;
	if (point->fed > n)
		point->fed = n;
	(void)steer(point, point->fed);
}

void point_let_wait(struct point *point, size_t first)
{
	for (size_t i = first; i < point->fds_n && !point->datagrams; i++)
		(void)listen(point->fds[i], point->settings.backlog);
}

int point_keep_accounts(struct point *point, uint64_t rate)
{
	int error;

	if (!point->dropped) {
		int fd = memfd_create("weir-ledger", MFD_CLOEXEC);

		if (fd < 0)
			return -errno;
		if (ftruncate(fd, LEDGER_BYTES) < 0 ||
		    !(point->dropped = sys_map(LEDGER_BYTES, MAP_SHARED, fd))) {
			error = -errno;
			(void)close(fd);
			return error;
		}
		point->ledger = fd;
	}
	return rate && !point->limiter.places ? limiter_open(&point->limiter, rate) : 0;
}

int point_attach_accounts(struct point *point, int ledger, int limiter)
{
	struct stat status;

	if (ledger >= 0) {
		if (fstat(ledger, &status) < 0)
			return -errno;
		if (!S_ISREG(status.st_mode) || status.st_size != (off_t)LEDGER_BYTES)
			return -EPROTO;
		point->dropped = sys_map(LEDGER_BYTES, MAP_SHARED, ledger);
		if (!point->dropped)
			return -errno;
		point->ledger = ledger;
	}
	return limiter >= 0 ? limiter_attach(&point->limiter, limiter, 1) : 0;
}

/* ---- settings ---- */

/* What a socket has that was asked for no queue of its own. */
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

static void set_mode(struct point *point, unsigned mode)
{
	int error;

	if (mode == point->settings.mode || !point->file.inode)
		return;
	error = socket_file_set_mode(&point->file, mode);
	if (error)
		log_warn("a socket file keeps its mode",
			 LOG_TEXT("path", address_path(&point->bound)),
			 LOG_TEXT("error", strerror(-error)));
}

void point_set(struct point *point, const struct point_settings *settings)
{
	struct point_settings before = point->settings;
	char text[ADDRESS_TEXT_BYTES];
	const char *step;
	int error = 0;

	set_mode(point, settings->mode);
	point->settings = *settings;
	if (before.queue_bytes && !settings->queue_bytes)
		point->settings.queue_bytes = default_queue();
	/* All of it again, whatever a worker may have done to a socket when it ended. */
	for (size_t i = 0; i < point->fds_n && !error; i++) {
		if (point->datagrams)
			let_datagrams_in(point->fds[i]);
		error = adopt(point, point->fds[i], &step);
	}
	point->settings = *settings;
	if (error) {
		address_format(&point->bound, text);
		log_warn("a listener keeps its queue", LOG_TEXT("listener", text),
			 LOG_TEXT("step", step), LOG_TEXT("error", strerror(-error)));
	}
	if (before.queue_bytes != settings->queue_bytes)
		warn_of_short_queue(point);
}

/* ---- the end ---- */

void point_take(struct point *point, size_t i, uint32_t number,
		void (*took)(uint32_t number, int fd))
{
	int fd;

	if (point->datagrams || point->borrowed || i >= point->fds_n)
		return;
	while ((fd = accept4(point->fds[i], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0 ||
	       errno == EINTR || errno == ECONNABORTED) {
		if (fd < 0)
			continue;
		if (took)
			took(number, fd);
		else
			rights_close(fd);
	}
}

void point_close_sockets(struct point *point)
{
	if (point->borrowed) /* whoever comes is the service manager's, whatever we do */
		return;
	while (point->fds_n)
		(void)close(point->fds[--point->fds_n]);
}

/* As it was given to us: whoever comes is for the next one who is started. */
static void give_back(struct point *point)
{
	for (size_t i = 0; i < point->fds_n; i++) {
		if (point->datagrams)
			let_datagrams_in(point->fds[i]);
		else
			(void)listen(point->fds[i], point->settings.backlog);
		rights_close_listener(point->fds[i], true);
	}
	point->fds_n = 0;
}

void point_close(struct point *point, bool keep_file)
{
	if (!keep_file && point->borrowed)
		give_back(point);
	while (point->fds_n)
		rights_close_listener(point->fds[--point->fds_n], point->borrowed);
	if (keep_file || !point->file.inode)
		socket_file_forget(&point->file);
	else
		socket_file_remove(&point->file, address_path(&point->bound));
	if (point->dropped)
		(void)munmap(point->dropped, LEDGER_BYTES);
	if (point->ledger >= 0)
		(void)close(point->ledger);
	limiter_close(&point->limiter);
	*point = (struct point){.ledger = -1};
}
