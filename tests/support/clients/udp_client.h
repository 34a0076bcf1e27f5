/*
 * udp_client: sends datagrams from one socket, and looks at which address answers what.
 *
 * To show that no answer comes, a test does not wait for some time: a counter shows that the server
 * has read all that was sent, or it sleeps and its queue is empty; over loopback, whatever it has
 * answered by then is in the client's queue. Sockets are never connected, so that the address of
 * the answer can be seen. Waits have the deadlines of the harness.
 */
#ifndef TESTS_SUPPORT_CLIENTS_UDP_CLIENT_H
#define TESTS_SUPPORT_CLIENTS_UDP_CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "reactor/base/address.h"
#include "tests/support/harness.h"

#define UDP_CLIENT_BYTES_MAX   65507  /* over IPv4; over IPv6 20 more */
#define UDP_CLIENT_QUEUE_BYTES 212992 /* every kernel allows a queue of twice as much */

/* HOST is 127.0.0.1 or [::1]. */
static inline struct address udp_client_address(const char *host, unsigned port)
{
	char text[ADDRESS_TEXT_BYTES];
	struct address address;
	const char *why = "";

	(void)snprintf(text, sizeof text, "%s:%u", host, port);
	ck_assert_msg(address_parse(&address, text, &why), "%s: %s", text, why);
	return address;
}

static inline bool udp_client_same(const struct address *a, const struct address *b)
{
	const struct sockaddr_in *a4 = (const void *)&a->socket, *b4 = (const void *)&b->socket;
	const struct sockaddr_in6 *a6 = (const void *)&a->socket, *b6 = (const void *)&b->socket;

	if (a->socket.ss_family != b->socket.ss_family)
		return false;
	if (a->socket.ss_family == AF_INET)
		return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a6->sin6_port == b6->sin6_port && a6->sin6_scope_id == b6->sin6_scope_id &&
	       memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof a6->sin6_addr) == 0;
}

static inline void udp_client_patience(int fd)
{
	struct timeval patience = {.tv_sec = patience_ms() / 1000};

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

/* Returns -errno if the port is taken. shared: other sockets of this user may have the port, too.
 */
static inline int udp_client_try_open(const struct address *from, bool shared)
{
	int fd = socket(from->socket.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;

	suite_datagrams();
	ck_assert_int_ge(fd, 0);
	udp_client_patience(fd);
	set_buffers(fd, 0, UDP_CLIENT_QUEUE_BYTES);
	if (shared)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
	if (bind(fd, (const struct sockaddr *)&from->socket, from->bytes) < 0) {
		int error = errno;

		(void)close(fd);
		return -error;
	}
	return fd;
}

/* Port 0: any. */
static inline int udp_client_open(const char *host, unsigned port)
{
	struct address from = udp_client_address(host, port);
	int fd = udp_client_try_open(&from, false);

	ck_assert_msg(fd >= 0, "bind %s:%u: %s", host, port, strerror(-fd));
	return fd;
}

static inline void udp_client_send(int fd, const struct address *to, const void *bytes, size_t n)
{
	ssize_t sent = sendto(fd, bytes, n, 0, (const struct sockaddr *)&to->socket, to->bytes);

	ck_assert_msg(sent == (ssize_t)n, "sendto, %zu bytes: %s", n, strerror(errno));
}

/* Waits for a datagram; with MSG_DONTWAIT it returns -1 if there is none. */
static inline ssize_t udp_client_receive(int fd, void *bytes, size_t n, struct address *from,
					 int flags)
{
	struct address unwanted, *who = from ? from : &unwanted;
	ssize_t came;

	*who = (struct address){.bytes = sizeof who->socket};
	came =
	    recvfrom(fd, bytes, n, flags | MSG_TRUNC, (struct sockaddr *)&who->socket, &who->bytes);
	if (came < 0 && flags & MSG_DONTWAIT && errno == EAGAIN)
		return -1;
	ck_assert_msg(came >= 0, "recvfrom: %s", strerror(errno));
	ck_assert_msg((size_t)came <= n, "%zd bytes came, into room for %zu", came, n);
	return came;
}

static inline void udp_client_nothing(int fd)
{
	static unsigned char bytes[1 << 16];
	ssize_t came = udp_client_receive(fd, bytes, sizeof bytes, NULL, MSG_DONTWAIT);

	ck_assert_msg(came < 0, "%zd bytes came, and none were expected", came);
}

/* Expects the next answer to be these bytes, from that address. */
static inline void udp_client_expect(int fd, const struct address *from, const void *bytes,
				     size_t n)
{
	static unsigned char came[1 << 16];
	char asked[ADDRESS_TEXT_BYTES], other[ADDRESS_TEXT_BYTES];
	struct address who;
	ssize_t came_n = udp_client_receive(fd, came, sizeof came, &who, 0);

	address_format(from, asked);
	address_format(&who, other);
	ck_assert_msg(udp_client_same(from, &who), "%s was asked, %s answered", asked, other);
	ck_assert_msg(came_n == (ssize_t)n, "%s: %zd bytes came, not %zu", asked, came_n, n);
	ck_assert_msg(!n || memcmp(came, bytes, n) == 0, "%s: %zu bytes, but others", asked, n);
}

static inline void udp_client_echo(int fd, const struct address *to, const void *bytes, size_t n)
{
	udp_client_send(fd, to, bytes, n);
	udp_client_expect(fd, to, bytes, n);
}

/* Reads all answers that are there. Returns how many there were. */
static inline size_t udp_client_collect(int fd)
{
	static unsigned char bytes[1 << 16];
	size_t n = 0;

	while (udp_client_receive(fd, bytes, sizeof bytes, NULL, MSG_DONTWAIT) >= 0)
		n++;
	return n;
}

/* A port that nobody uses now, neither for TCP nor for UDP. */
static inline unsigned udp_client_free_port(void)
{
	for (;;) {
		struct address address = udp_client_address("127.0.0.1", 0);
		int on = 1, udp = udp_client_try_open(&address, false), tcp;
		unsigned port;
		bool both;

		ck_assert_int_ge(udp, 0);
		ck_assert_int_eq(getsockname(udp, (struct sockaddr *)&address.socket,
					     &(socklen_t){sizeof address.socket}),
				 0);
		tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		(void)setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		port = address_port(&address);
		both = bind(tcp, (struct sockaddr *)&address.socket, address.bytes) == 0;
		(void)close(udp);
		(void)close(tcp);
		if (both)
			return port;
	}
}

/* ---- what the kernel says of the sockets at a port, over IPv4 and IPv6 ---- */

struct udp_queue {
	unsigned sockets;
	unsigned long waiting; /* bytes, the kernel's overhead included */
	unsigned long dropped; /* datagrams since the sockets were made */
	unsigned long inodes[64];
};

/* Whether a socket is the server's: on other addresses of 127.0.0.0/8 anybody's clients may have
 * that port. */
static inline bool udp_queue_is_served(const char *hex)
{
	return strlen(hex) != 8 || strcmp(hex, "00000000") == 0 ||
	       strtoul(hex, NULL, 16) == htonl(INADDR_LOOPBACK);
}

/* The kernel may give a line twice if other sockets come and go meanwhile. */
static inline void udp_queue_line(struct udp_queue *queue, unsigned port, const char *line)
{
	unsigned long waiting, inode, dropped;
	char address[33];
	unsigned at;

	if (sscanf(line, " %*d: %32[0-9A-F]:%x %*s %*x %*x:%lx %*x:%*x %*x %*u %*u %lu %*u %*s %lu",
		   address, &at, &waiting, &inode, &dropped) != 5 ||
	    at != port || !udp_queue_is_served(address))
		return;
	for (unsigned i = 0; i < queue->sockets; i++)
		if (queue->inodes[i] == inode)
			return;
	ck_assert_uint_lt(queue->sockets, sizeof queue->inodes / sizeof *queue->inodes);
	queue->inodes[queue->sockets++] = inode;
	queue->waiting += waiting;
	queue->dropped += dropped;
}

static inline struct udp_queue udp_queue(unsigned port)
{
	static const char *const paths[] = {"/proc/net/udp", "/proc/net/udp6"};
	struct udp_queue queue = {0};
	char line[512];

	for (size_t i = 0; i < 2; i++) {
		FILE *file = fopen(paths[i], "re");

		while (file && fgets(line, sizeof line, file))
			udp_queue_line(&queue, port, line);
		if (file)
			(void)fclose(file);
	}
	return queue;
}

/* ---- workers that stand still ---- */

static inline void udp_client_go_on(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGCONT), 0);
}

/* Returns when the workers have read all that waits at this port, and sleep: then what they had in
 * hand has been sent, or dropped. */
static inline void udp_client_wait_quiet(const struct server *server, unsigned workers,
					 unsigned port)
{
	struct wait wait = wait_begin();
	bool quiet;

	do {
		wait_more(&wait, "workers that have nothing to do");
		quiet = !udp_queue(port).waiting;
		for (unsigned i = 0; quiet && i < workers; i++) {
			pid_t pid = server_worker(server, i);

			quiet = pid && process_state(pid) == 'S';
		}
		quiet = quiet && !udp_queue(port).waiting;
	} while (!quiet);
}

#endif
