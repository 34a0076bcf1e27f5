#include "bench/peers/peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static char scheme[16]; /* "echo://" */

static _Noreturn void usage(const char *program, const char *what, const char *why)
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

void peer_begin(struct address *address, int argc, char **argv, const char *protocol)
{
	const char *listener = argv[argc - 1], *why;
	struct rlimit limit;

	(void)snprintf(scheme, sizeof scheme, "%s://", protocol);
	if (argc < 2)
		usage(argv[0], "LISTENER", "missing");
	if (argc > 2 || *listener == '-')
		usage(argv[0], argv[1], "no such option: there is one thread, and one LISTENER");
	if (strncmp(listener, scheme, strlen(scheme)) != 0)
		usage(argv[0], listener, "this peer speaks another protocol");
	if (!address_parse(address, listener + strlen(scheme), &why))
		usage(argv[0], listener, why);
	if (address_is_unix(address))
		usage(argv[0], listener, "a peer listens on TCP only");
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	(void)signal(SIGPIPE, SIG_IGN);
}

int peer_listen(const struct address *address, const char *name, int flags)
{
	int on = 1, fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd < 0)
		peer_fail("socket", name, errno);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	peer_no_delay(fd);
	if (bind(fd, (const struct sockaddr *)&address->socket, address->bytes) < 0)
		peer_fail("bind", name, errno);
	if (listen(fd, PEER_BACKLOG) < 0)
		peer_fail("listen", name, errno);
	return fd;
}

void peer_ready(int fd)
{
	struct address address = {.bytes = sizeof address.socket};
	char text[ADDRESS_TEXT_BYTES];

	(void)getsockname(fd, (struct sockaddr *)&address.socket, &address.bytes);
	address_format(&address, text);
	(void)fprintf(stderr, "msg=ready listeners=\"%s%s\"\n", scheme, text);
}

void peer_no_delay(int fd)
{
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}
