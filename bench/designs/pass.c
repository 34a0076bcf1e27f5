/*
 * pass: workers that were started before, and are given connections by their parent.
 *
 * Teaches: a descriptor is sent to another process as rights beside a message (SCM_RIGHTS,
 * unix(7)): the receiver gets its own number for the same open socket. All workers wait in
 * recvmsg() on one end of one socketpair; the kernel gives each message to one of them, so
 * an idle one takes it, and nobody has to know who is idle. The parent can decide who may
 * come in before a worker is bothered, and can give up the right to bind a port later on.
 *
 * Breaks: two system calls and a wake-up more for a connection than accept-many, and all
 * accepting goes through one process. With every worker busy, connections lie in the
 * socketpair, accepted and served by nobody; then sendmsg() blocks. A descriptor in flight
 * is lost where its receiver dies. A worker serves one at a time, see accept-many.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "bench/designs/blocking.h"
#include "bench/designs/children.h"
#include "reactor/base/check.h"

static int ends[2]; /* the parent sends into 0, workers receive from 1 */

union rights {
	struct cmsghdr header; /* aligns it */
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* A message must have a byte for the rights to go beside. */
static void send_descriptor(int fd)
{
	union rights rights = {0};
	struct iovec iov = {"", 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &rights,
				 .msg_controllen = sizeof rights};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	if (sendmsg(ends[0], &message, MSG_NOSIGNAL) < 0)
		serve_trouble("a descriptor did not go", errno);
}

/* -1: the message came without it, for want of room here. */
static int receive_descriptor(void)
{
	union rights rights;
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &rights,
				 .msg_controllen = sizeof rights};
	struct cmsghdr *header;
	int fd;

	if (recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC) <= 0)
		_exit(1); /* the parent has gone */
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(header), sizeof fd);
	return fd;
}

static void work(struct serve *serve, unsigned worker)
{
	(void)worker;
	(void)close(serve->fd);
	(void)close(ends[0]);
	for (;;) {
		int fd = receive_descriptor();

		if (fd < 0)
			continue;
		blocking_serve(&serve->service, fd, fd);
		(void)close(fd);
	}
}

int main(int argc, char **argv)
{
	struct serve serve = {.workers = 4};

	serve_open(&serve, argc, argv);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		die("socketpair: %s", strerror(errno));
	children_prefork(&serve, work);
	(void)close(ends[1]);
	serve_ready(&serve);
	for (;;) {
		int fd = serve_accept(&serve);

		send_descriptor(fd);
		(void)close(fd); /* the message holds its own */
	}
}
