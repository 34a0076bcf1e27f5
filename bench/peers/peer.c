#include "bench/peers/peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static char scheme[16]; /* "echo://" */

_Noreturn void peer_usage(const char *program, const char *what, const char *why)
{
	(void)fprintf(stderr, "%s: %s: %s\nusage: %s %sHOST:PORT\n", program, what, why, program,
		      scheme);
	exit(2);
}

_Noreturn void peer_fail(const char *step, const char *object, int error)
{
	(void)fprintf(stderr, "%s %s: %s\n", step, object, strerror(error));
	exit(1);
}

void peer_parse(struct address *address, const char *program, const char *listener,
		const char *protocol)
{
	const char *why;

	(void)snprintf(scheme, sizeof scheme, "%s://", protocol);
	if (strncmp(listener, scheme, strlen(scheme)) != 0)
		peer_usage(program, listener, "this peer speaks another protocol");
	if (!address_parse(address, listener + strlen(scheme), &why))
		peer_usage(program, listener, why);
	if (address_is_unix(address))
		peer_usage(program, listener, "a peer listens on TCP only");
}

unsigned long peer_prepare(void)
{
	struct rlimit limit;

	(void)signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		peer_fail("getrlimit", "descriptors", errno);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}

void peer_begin(struct address *address, int argc, char **argv, const char *protocol)
{
	const char *listener = argv[argc - 1];

	(void)snprintf(scheme, sizeof scheme, "%s://", protocol);
	if (argc < 2)
		peer_usage(argv[0], "LISTENER", "missing");
	if (argc > 2 || *listener == '-')
		peer_usage(argv[0], argv[1],
			   "no such option: there is one thread, and one LISTENER");
	peer_parse(address, argv[0], listener, protocol);
	(void)peer_prepare();
}

static int listen_at(const struct address *address, const char *name, int flags, bool too)
{
	int on = 1, fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd < 0)
		peer_fail("socket", name, errno);
	(void)setsockopt(fd, SOL_SOCKET, too ? SO_REUSEPORT : SO_REUSEADDR, &on, sizeof on);
	peer_no_delay(fd);
	if (bind(fd, (const struct sockaddr *)&address->socket, address->bytes) < 0)
		peer_fail("bind", name, errno);
	if (listen(fd, PEER_BACKLOG) < 0)
		peer_fail("listen", name, errno);
	return fd;
}

int peer_listen(const struct address *address, const char *name, int flags)
{
	return listen_at(address, name, flags, false);
}

int peer_listen_too(struct address *address, const char *name, int flags)
{
	int fd = listen_at(address, name, flags, true);

	(void)getsockname(fd, (struct sockaddr *)&address->socket, &address->bytes);
	return fd;
}

void peer_all_ready(const int *fds, size_t n)
{
	char line[4096], text[ADDRESS_TEXT_BYTES];
	size_t used = 0;

	for (size_t i = 0; i < n && used < sizeof line; i++) {
		struct address address = {.bytes = sizeof address.socket};

		(void)getsockname(fds[i], (struct sockaddr *)&address.socket, &address.bytes);
		address_format(&address, text);
		used += (size_t)snprintf(line + used, sizeof line - used, "%s%s%s", i ? " " : "",
					 scheme, text);
	}
	(void)fprintf(stderr, "msg=ready listeners=\"%s\"\n", line);
}

void peer_ready(int fd)
{
	peer_all_ready(&fd, 1);
}

void peer_no_delay(int fd)
{
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}
