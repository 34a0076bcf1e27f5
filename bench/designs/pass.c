/*
 * pass: workers that were started beforehand, to which their parent passes connections.
 *
 * Teaches: a descriptor is sent to another process as rights beside a message (SCM_RIGHTS,
 * unix(7)): the receiver gets its own number for the same open socket. All workers wait in
 * recvmsg() on one end of one socketpair. The kernel gives each message to a worker that waits
 * there, so nobody has to know which workers are idle. The parent can refuse a peer before
 * a worker is woken, and can give up the right to bind a port once it has bound it.
 *
 * Breaks: a connection costs two system calls and a wake-up more than in accept-many, and one
 * process accepts all. If every worker is busy connections wait in the socketpair, accepted but
 * served by nobody; when that is full, sendmsg() blocks. A descriptor in flight is lost if its
 * receiver dies. A worker serves one connection at a time: see accept-many.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "bench/designs/blocking.h"
#include "bench/designs/children.h"
#include "reactor/base/check.h"

static int ends[2]; /* the parent sends into 0, workers receive from 1 */

union rights {
	struct cmsghdr header; /* never read: it aligns the bytes */
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* Rights travel beside a message of at least one byte. */
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

/* -1: the message came without a descriptor, because this process has no room for one more. */
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
		(void)close(fd); /* the message holds a copy */
	}
}
