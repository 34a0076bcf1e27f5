#include "master/listen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <netinet/in.h>

#include "reactor/check.h"
#include "reactor/datagram.h"
#include "reactor/listener.h"
#include "reactor/log.h"
#include "reactor/sys.h"

static _Noreturn void die_binding(const struct endpoint *endpoint, const char *step, int error)
{
	char text[ENDPOINT_TEXT_BYTES];

	endpoint_format(endpoint, text);
	die("listening on %s: %s: %s", text, step, strerror(-error));
}

/* A socket file that nobody listens on is left over from one who was killed. */
static void replace_stale_file(const struct endpoint *endpoint)
{
	const char *path = address_path(&endpoint->address);
	struct stat status;
	int fd, error;

	if (!path || lstat(path, &status) < 0)
		return;
	if (!S_ISSOCK(status.st_mode))
		die_binding(endpoint, "a file that is no socket is there", -EADDRINUSE);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		die_binding(endpoint, "socket", -errno);
	error = connect(fd, (const struct sockaddr *)&endpoint->address.socket,
			endpoint->address.bytes) < 0
		    ? errno
		    : 0;
	(void)close(fd);
	if (error == 0 || error == EAGAIN)
		die_binding(endpoint, "a server is listening there", -EADDRINUSE);
	if (error == ECONNREFUSED && unlink(path) < 0 && errno != ENOENT)
		die_binding(endpoint, "removing a stale socket file", -errno);
}

static int open_socket(struct endpoint *endpoint, const struct listen_options *options,
		       const char **step)
{
	struct datagram_options datagrams = {.reuseport = options->reuseport,
					     .queue_bytes = endpoint->queue_bytes,
					     .send_queue_bytes = endpoint->send_queue_bytes};

	if (endpoint->datagrams)
		return datagram_bind(&endpoint->address, &datagrams, step);
	return listen_on(&endpoint->address, options, step);
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

/*
 * SO_REUSEPORT lets two servers of one user bind the same port and share its connections;
 * a second start must fail instead. A bind without it tells: it does where nobody listens.
 * Of datagrams the kernel may give two servers the same port even for port 0: the port is
 * chosen here, then.
 */
static void refuse_second_server(struct endpoint *endpoint)
{
	struct endpoint other = *endpoint;
	struct listen_options options = {.backlog = 1};
	const char *step;
	int fd;

	if (!address_port(&other.address) && !endpoint->datagrams)
		return;
	fd = open_socket(&other, &options, &step);
	if (fd == -EAFNOSUPPORT && endpoint->address.dual_stack) {
		without_ipv6(&endpoint->address);
		refuse_second_server(endpoint);
		return;
	}
	if (fd < 0)
		die_binding(endpoint, step, fd);
	address_set_port(&endpoint->address, address_port(&other.address));
	(void)close(fd);
}

static int open_one(struct endpoint *endpoint, const struct listen_options *options)
{
	const char *step;
	int fd = open_socket(endpoint, options, &step);

	if (fd == -EAFNOSUPPORT && endpoint->address.dual_stack) {
		without_ipv6(&endpoint->address);
		fd = open_socket(endpoint, options, &step);
	}
	if (fd < 0)
		die_binding(endpoint, step, fd);
	return fd;
}

static void remember_file(struct listen_set *set, size_t i)
{
	const char *path = address_path(&set->config->listeners[i].address);
	struct stat status;

	if (!path || stat(path, &status) < 0)
		return;
	set->files[i].device = status.st_dev;
	set->files[i].inode = status.st_ino;
}

static void warn_of_somaxconn(uint64_t backlog)
{
	FILE *file = fopen("/proc/sys/net/core/somaxconn", "re");
	unsigned long long max = 0;

	if (!file)
		return;
	if (fscanf(file, "%llu", &max) == 1 && backlog > max)
		log_warn("net.core.somaxconn cuts the backlog", LOG_NUMBER("backlog", backlog),
			 LOG_NUMBER("somaxconn", max));
	(void)fclose(file);
}

static void warn_of_short_queue(const struct endpoint *endpoint, int fd)
{
	char text[ENDPOINT_TEXT_BYTES];
	int bytes = 0;
	socklen_t n = sizeof bytes;

	/* The kernel doubles what was asked, for its own part (socket(7)). */
	if (!endpoint->queue_bytes || getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &n) < 0 ||
	    (uint64_t)bytes + 2 >= 2 * endpoint->queue_bytes)
		return;
	endpoint_format(endpoint, text);
	log_warn("net.core.rmem_max cuts the queue", LOG_TEXT("listener", text),
		 LOG_NUMBER("queue", bytes / 2));
}

/* Made before the fork, so that all workers have it, and the next ones too. */
static void open_ledger(struct listen_set *set, size_t i)
{
	const struct endpoint *endpoint = &set->config->listeners[i];
	struct datagram_ledger *ledger = &set->ledgers[i];
	int error = 0;

	ledger->dropped =
	    sys_map(set->slots * sizeof *ledger->dropped, MAP_SHARED | MAP_ANONYMOUS, -1);
	if (endpoint->rate) {
		ledger->limiter = &set->limiters[i];
		error = limiter_open(ledger->limiter, endpoint->rate);
	}
	if (!ledger->dropped || error)
		die("shared memory for a listener of datagrams: %s", strerror(ENOMEM));
	warn_of_short_queue(endpoint, set->fds[i][0]);
}

void listen_bind_all(struct listen_set *set, struct config *config)
{
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		for (size_t slot = 0; slot < WORKERS_MAX; slot++)
			set->fds[i][slot] = -1;
	set->config = config;
	set->slots = config->workers;
	warn_of_somaxconn(config->backlog);
	for (size_t i = 0; i < config->listeners_n; i++) {
		struct endpoint *endpoint = &config->listeners[i];
		struct listen_options options = {
		    .backlog = (int)config->backlog,
		    .reuseport = config_accept_mode(config, endpoint) == ACCEPT_REUSEPORT,
		    .mode = endpoint->mode,
		};

		replace_stale_file(endpoint);
		if (options.reuseport)
			refuse_second_server(endpoint);
		for (size_t slot = 0; slot < (options.reuseport ? set->slots : 1); slot++)
			set->fds[i][slot] = open_one(endpoint, &options);
		remember_file(set, i);
		if (endpoint->datagrams)
			open_ledger(set, i);
	}
}

static void refuse(int fd)
{
	int waiting;

	while (fd >= 0 && (waiting = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		(void)close(waiting);
}

void listen_refuse(struct listen_set *set, size_t slot)
{
	for (size_t i = 0; i < set->config->listeners_n; i++)
		if (config_accept_mode(set->config, &set->config->listeners[i]) ==
			ACCEPT_REUSEPORT &&
		    !set->config->listeners[i].datagrams)
			refuse(set->fds[i][slot]);
}

void listen_refuse_all(struct listen_set *set)
{
	for (size_t i = 0; i < set->config->listeners_n; i++)
		for (size_t slot = 0; slot < set->slots; slot++)
			if (!set->config->listeners[i].datagrams)
				refuse(set->fds[i][slot]);
}

void listen_stop(struct listen_set *set)
{
	for (size_t i = 0; i < set->config->listeners_n; i++) {
		for (size_t slot = 0; slot < WORKERS_MAX; slot++) {
			if (set->fds[i][slot] >= 0)
				(void)close(set->fds[i][slot]);
			set->fds[i][slot] = -1;
		}
	}
}

void listen_close(struct listen_set *set)
{
	if (!set->config)
		return;
	listen_stop(set);
	for (size_t i = 0; i < set->config->listeners_n; i++) {
		const char *path = address_path(&set->config->listeners[i].address);
		struct stat status;

		if (path && stat(path, &status) == 0 && set->files[i].inode == status.st_ino &&
		    set->files[i].device == status.st_dev)
			(void)unlink(path);
	}
}

void listen_for_slot(const struct listen_set *set, size_t slot, int fds[LISTENERS_MAX])
{
	for (size_t i = 0; i < set->config->listeners_n; i++) {
		switch (config_accept_mode(set->config, &set->config->listeners[i])) {
		case ACCEPT_REUSEPORT:
			fds[i] = set->fds[i][slot];
			break;
		case ACCEPT_SHARED:
			fds[i] = set->fds[i][0];
			break;
		case ACCEPT_HANDOFF:
			fds[i] = -1;
			break;
		}
	}
}
