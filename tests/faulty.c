#include "tests/faulty.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/suite.h"

#define PEERS_MAX  256
#define SPAN_BYTES 24 /* of a fault that is longer than a byte */

struct faulty {
	enum fault fault;
	unsigned long every, since;
	struct pollfd fds[PEERS_MAX]; /* the first is the listener */
	nfds_t n;
	unsigned char before[SPAN_BYTES]; /* the last bytes of another connection */
	nfds_t before_of;
};

static void send_whole(int fd, const unsigned char *bytes, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return;
		bytes += sent;
		n -= (size_t)sent;
	}
}

/* Answers n bytes with a fault at byte `at`. */
static void answer_wrongly(struct faulty *faulty, nfds_t i, unsigned char *bytes, size_t n,
			   size_t at)
{
	int fd = faulty->fds[i].fd;
	size_t span = n - at < SPAN_BYTES ? n - at : SPAN_BYTES;
	unsigned char byte = bytes[at];

	switch (faulty->fault) {
	case FAULT_DROP:
		memmove(bytes + at, bytes + at + 1, n - at - 1);
		n--;
		break;
	case FAULT_DOUBLE:
		send_whole(fd, bytes, at + span);
		bytes += at;
		n -= at;
		break;
	case FAULT_SWAP:
		if (at + 1 < n && byte != bytes[at + 1]) {
			bytes[at] = bytes[at + 1];
			bytes[at + 1] = byte;
		} else {
			bytes[at] ^= 1;
		}
		break;
	case FAULT_ALTER:
		bytes[at] ^= 1;
		break;
	case FAULT_FOREIGN:
		memcpy(bytes + at, faulty->before, span);
		break;
	case FAULT_EXTRA:
		send_whole(fd, bytes, n);
		n = 3;
		memcpy(bytes, "\0\0\0", n);
		break;
	case FAULT_CLOSE:
		(void)shutdown(fd, SHUT_RDWR);
		return;
	default:
		break;
	}
	send_whole(fd, bytes, n);
}

static bool fault_fits(const struct faulty *faulty, nfds_t i, size_t n, size_t at)
{
	if (faulty->fault == FAULT_FOREIGN)
		return n - at >= SPAN_BYTES && faulty->before_of && faulty->before_of != i;
	if (faulty->fault == FAULT_DROP || faulty->fault == FAULT_SWAP)
		return n - at >= SPAN_BYTES;
	return true;
}

static void answer(struct faulty *faulty, nfds_t i, unsigned char *bytes, size_t n)
{
	faulty->since += n;
	if (faulty->fault < FAULT_MUTE && faulty->fault != FAULT_NONE &&
	    faulty->since >= faulty->every) {
		size_t at = n / 3;

		if (fault_fits(faulty, i, n, at)) {
			faulty->since = 0;
			answer_wrongly(faulty, i, bytes, n, at);
			return;
		}
	}
	if (n >= SPAN_BYTES) {
		memcpy(faulty->before, bytes + n - SPAN_BYTES, SPAN_BYTES);
		faulty->before_of = i;
	}
	send_whole(faulty->fds[i].fd, bytes, n);
}

static void serve_one(struct faulty *faulty, nfds_t i)
{
	static unsigned char bytes[65536];
	ssize_t n = read(faulty->fds[i].fd, bytes, sizeof bytes);

	if (n > 0 && faulty->fault == FAULT_MUTE)
		return;
	if (n > 0 && faulty->fault == FAULT_SLOW)
		(void)usleep(5000); /* what it is there for */
	if (n > 0) {
		answer(faulty, i, bytes, (size_t)n);
		return;
	}
	(void)close(faulty->fds[i].fd);
	faulty->fds[i].fd = -1; /* poll leaves it out; the place is taken again */
}

static void accept_one(struct faulty *faulty)
{
	int fd = accept4(faulty->fds[0].fd, NULL, NULL, SOCK_CLOEXEC), on = 1;
	nfds_t i = 1;

	if (fd < 0)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (faulty->fault == FAULT_BABBLE)
		send_whole(fd, (const unsigned char *)"hello", 5);
	while (i < faulty->n && faulty->fds[i].fd >= 0)
		i++;
	if (i == PEERS_MAX) {
		(void)close(fd);
		return;
	}
	if (i == faulty->n)
		faulty->n++;
	faulty->fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static _Noreturn void faulty_serve(struct faulty *faulty)
{
	for (;;) {
		if (poll(faulty->fds, faulty->n, -1) < 0)
			continue;
		for (nfds_t i = 1; i < faulty->n; i++)
			if (faulty->fds[i].fd >= 0 && faulty->fds[i].revents)
				serve_one(faulty, i);
		if (faulty->fds[0].revents)
			accept_one(faulty);
	}
}

pid_t faulty_start(enum fault fault, unsigned long every, unsigned *port)
{
	static struct faulty faulty;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	ck_assert_int_eq(listen(fd, 1024), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	*port = ntohs(address.sin_port);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		faulty = (struct faulty){.fault = fault, .every = every, .n = 1};
		faulty.fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
		faulty_serve(&faulty);
	}
	(void)close(fd);
	return pid;
}
