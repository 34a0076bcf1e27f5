/* What a test's clients do. Every call has a deadline, and anything unexpected fails the test. */
#include "tests/support/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "reactor/base/address.h"

static void set_patience(int fd)
{
	struct timeval patience = {.tv_sec = patience_ms() / 1000};

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

static int connect_address(const struct address *address)
{
	int on = 1, fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	set_patience(fd);
	if (!address_is_unix(address))
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(fd, (const struct sockaddr *)&address->socket, address->bytes) < 0) {
		int error = errno;

		(void)close(fd);
		return -error;
	}
	return fd;
}

static int connect_text(const char *text)
{
	struct address address;
	const char *why = "";
	int fd;

	ck_assert_msg(address_parse(&address, text, &why), "%s: %s", text, why);
	fd = connect_address(&address);
	ck_assert_msg(fd >= 0, "connect to %s: %s", text, strerror(-fd));
	return fd;
}

int try_connect(unsigned port)
{
	struct address address;
	const char *why;

	ck_assert(address_parse(&address, "127.0.0.1:0", &why));
	address_set_port(&address, port);
	return connect_address(&address);
}

int try_connect_unix(const char *path)
{
	struct address address;
	const char *why;

	ck_assert(address_parse(&address, path, &why));
	return connect_address(&address);
}

int connect_to(unsigned port)
{
	int fd = try_connect(port);

	ck_assert_msg(fd >= 0, "connect to port %u: %s", port, strerror(-fd));
	return fd;
}

int connect_narrow(unsigned port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)port),
				      .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct timeval patience = {.tv_sec = patience_ms() / 1000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), mss = 1400;

	ck_assert_int_ge(fd, 0);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof mss);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	set_buffers(fd, 0, 16384);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

int connect_to_host(const char *host, unsigned port)
{
	char text[128];

	(void)snprintf(text, sizeof text, "%s:%u", host, port);
	return connect_text(text);
}

int connect_unix(const char *path)
{
	return connect_text(path);
}

int bind_any(int type, unsigned *port)
{
	struct sockaddr_in name = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof name;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, n), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &n), 0);
	if (type == SOCK_STREAM)
		ck_assert_int_eq(listen(fd, 1024), 0);
	*port = ntohs(name.sin_port);
	return fd;
}

/* Takes a port that is free at every address. */
int bind_own(int type, unsigned *port)
{
	static unsigned next;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	for (;;) {
		struct sockaddr_in name = {.sin_family = AF_INET};

		*port = 10000 + ((unsigned)getpid() * 16 + next++) % 20000;
		name.sin_port = htons((uint16_t)*port);
		if (bind(fd, (struct sockaddr *)&name, sizeof name) == 0)
			break;
		ck_assert_int_eq(errno, EADDRINUSE);
	}
	if (type == SOCK_STREAM)
		ck_assert_int_eq(listen(fd, 1024), 0);
	return fd;
}

void send_all(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);

		ck_assert_msg(sent > 0, "send: %s", strerror(errno));
		at += sent;
		n -= (size_t)sent;
	}
}

void send_text(int fd, const char *text)
{
	send_all(fd, text, strlen(text));
}

void receive_exactly(int fd, void *bytes, size_t n)
{
	char *at = bytes;
	size_t left = n;

	while (left) {
		ssize_t came = recv(fd, at, left, 0);

		ck_assert_msg(came > 0, "recv: %s, %zu of %zu bytes came",
			      came ? strerror(errno) : "the end", n - left, n);
		at += came;
		left -= (size_t)came;
	}
}

size_t receive_to_end(int fd, void *bytes, size_t n)
{
	size_t at = 0;

	for (;;) {
		char extra;
		ssize_t came =
		    at < n ? recv(fd, (char *)bytes + at, n - at, 0) : recv(fd, &extra, 1, 0);

		ck_assert_msg(came >= 0, "recv: %s after %zu bytes", strerror(errno), at);
		if (!came)
			return at;
		ck_assert_msg(at < n, "more than %zu bytes came", n);
		at += (size_t)came;
	}
}

void expect_bytes(int fd, const void *bytes, size_t n)
{
	char *came = malloc(n + 1);

	ck_assert_ptr_nonnull(came);
	receive_exactly(fd, came, n);
	ck_assert_msg(memcmp(came, bytes, n) == 0, "%zu other bytes came than were expected", n);
	free(came);
}

void expect_text(int fd, const char *text)
{
	char came[4096] = {0};

	ck_assert_uint_lt(strlen(text), sizeof came);
	receive_exactly(fd, came, strlen(text));
	ck_assert_str_eq(came, text);
}

void expect_end(int fd)
{
	char byte;
	ssize_t came = recv(fd, &byte, 1, 0);

	ck_assert_msg(came == 0, "the end was expected: %s",
		      came < 0 ? strerror(errno) : "a byte came");
}

void expect_reset_or_end(int fd)
{
	char bytes[65536];
	ssize_t came;

	while ((came = recv(fd, bytes, sizeof bytes, 0)) > 0)
		;
	ck_assert_msg(came == 0 || errno == ECONNRESET, "the end was expected: %s",
		      strerror(errno));
}

void finish_sending(int fd)
{
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
}

void reset(int fd)
{
	struct linger at_once = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	(void)close(fd);
}

void set_nonblocking(int fd)
{
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void set_buffers(int fd, int send_bytes, int receive_bytes)
{
	if (send_bytes)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
	if (receive_bytes)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
}

void raise_descriptor_limit(void)
{
	struct rlimit limit;

	(void)getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}
