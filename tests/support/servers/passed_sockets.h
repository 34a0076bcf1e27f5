/*
 * passed_sockets: sockets like those that a .socket unit makes, and a child that inherits them like
 * a service of systemd. For tests of activation.
 */
#ifndef TESTS_SUPPORT_SERVERS_PASSED_SOCKETS_H
#define TESTS_SUPPORT_SERVERS_PASSED_SOCKETS_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "master/listen/activation.h"
#include "tests/support/harness.h"

/* ---- sockets like those of a .socket unit ---- */

static inline bool ipv6_is_here(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0 && access("/proc/net/if_inet6", F_OK) == 0;
}

/* text: the ADDRESS of a LISTENER; :PORT is IPv6 and IPv4. Port 0: a free one. */
static inline int bind_to(const char *text, int type)
{
	struct address address;
	const char *why = "";
	int fd, only;

	ck_assert_msg(address_parse(&address, text, &why), "%s: %s", text, why);
	fd = socket(address.socket.ss_family, type, 0);
	ck_assert_int_ge(fd, 0);
	only = !address.dual_stack;
	if (address.socket.ss_family == AF_INET6)
		ck_assert_int_eq(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only), 0);
	ck_assert_msg(bind(fd, (const struct sockaddr *)&address.socket, address.bytes) == 0,
		      "%s: %s", text, strerror(errno));
	return fd;
}

static inline int listen_at(const char *text)
{
	int fd = bind_to(text, SOCK_STREAM);

	ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

/* Listens at an abstract name, which may contain any bytes. */
static inline int listen_at_name(const char *name, size_t n)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(address.sun_path + 1, name, n);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)),
			 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

static inline int datagrams_at(const char *text)
{
	return bind_to(text, SOCK_DGRAM);
}

/* The ADDRESS of a socket, in weir's form. */
static inline const char *address_of(int fd)
{
	static char texts[8][ADDRESS_TEXT_BYTES];
	static unsigned next;
	struct activation_socket sock;
	char *text = texts[next++ % 8];
	const char *why = "";

	ck_assert_msg(activation_look(fd, &sock, &why), "%s", why);
	address_format(&sock.address, text);
	return text;
}

static inline const char *listener_of(const char *protocol, int fd)
{
	static char texts[8][ENDPOINT_TEXT_BYTES];
	static unsigned next;
	char *text = texts[next++ % 8];

	(void)snprintf(text, ENDPOINT_TEXT_BYTES, "%s://%s", protocol, address_of(fd));
	return text;
}

/* ---- how they are passed ---- */

struct said {
	const char *pid; /* NULL: the child's own; "": the variable is not set */
	const char *fds, *names;
};

static inline void say(const char *name, const char *value)
{
	if (value)
		(void)setenv(name, value, 1);
	else
		(void)unsetenv(name);
}

/* In a child: gives it these sockets from 3 on, as systemd does, and this environment. */
static inline void become_activated(const struct said *said, const int *fds, int n)
{
	int high[16];
	char pid[16];

	for (int i = 0; i < n; i++)
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 100);
	for (int i = 0; i < n; i++)
		(void)dup2(high[i], 3 + i);
	(void)snprintf(pid, sizeof pid, "%d", getpid());
	say("LISTEN_PID", !said->pid ? pid : *said->pid ? said->pid : NULL);
	say("LISTEN_FDS", said->fds);
	say("LISTEN_FDNAMES", said->names);
}

#endif
