/*
 * Measured, on Linux 6.18:
 *
 *   - SO_PASSRIGHTS belongs to the socket that receives. A connection has what its listener had at
 *     the moment of connect(), not of accept(): one that waits in the queue of an inherited
 *     listener keeps it on, and keeps what has come by then. Urgent bytes are no way around it.
 *     getsockopt() of a TCP socket fails.
 *   - recv() of bytes that came with a lingering socket took the 3 s that its owner asked for. So
 *     did close() with them unread; the exit of a process that held the last copy took no time:
 *     the kernel does not linger for one that exits, however deep the socket is buried.
 *   - A MSG_PEEK without room for control data sets MSG_CTRUNC if there are descriptors, stops at
 *     them, and takes nothing: the copies that it makes are not the last ones.
 *   - SO_OOBINLINE is not inherited by what a unix listener accepts. Without it, what came with
 *     an urgent byte is thrown away by the read that passes it.
 *
 * What is not solved on older kernels: before about 6.10, a process that closes any unix socket may
 * have to collect cycles of unix sockets of all users, and then closes what is in them.
 */
#include "reactor/base/rights.h"

#include "reactor/base/descriptor.h"
#include "reactor/base/log.h"
#include "reactor/base/sys.h"

#define KEPT_MAX 4096

static struct {
	int channel;
	int kept[KEPT_MAX]; /* the channel was full: these are sent later */
	size_t kept_n;
	bool refused; /* rights_refuse() has worked, so the kernel can */
} rights = {.channel = -1};

bool rights_refuse(int fd)
{
	int off = 0;

	if (sys_setsockopt(fd, SOL_SOCKET, SYS_SO_PASSRIGHTS, &off, sizeof off) < 0)
		return false;
	rights.refused = true;
	return true;
}

static int option(int fd, int name)
{
	int value = 0;
	socklen_t n = sizeof value;
	int error = sys_getsockopt(fd, SOL_SOCKET, name, &value, &n);

	return error ? error : value;
}

bool rights_may_come(int fd)
{
	static const int names[] = {SO_OOBINLINE, SO_PASSCRED, SO_PASSSEC, SYS_SO_PASSPIDFD};
	int passes = option(fd, SYS_SO_PASSRIGHTS);

	if (passes == 0 || passes == -EOPNOTSUPP || option(fd, SO_DOMAIN) != AF_UNIX)
		return false;
	/* Whoever made an inherited listener may have asked for other control data, which would
	 * set MSG_CTRUNC as descriptors do. */
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		int value = names[i] == SO_OOBINLINE;

		(void)sys_setsockopt(fd, SOL_SOCKET, names[i], &value, sizeof value);
	}
	return true;
}

/* How many bytes, n at most, can be read before any that came with descriptors. */
static ssize_t peek(int fd, void *bytes, size_t n)
{
	struct iovec iov = {bytes, n};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t seen;

	do
		seen = sys_recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
	while (seen == -EINTR);
	return seen >= 0 && (message.msg_flags & MSG_CTRUNC) ? -RIGHTS_CAME : seen;
}

ssize_t rights_read(int fd, void *bytes, size_t n)
{
	ssize_t seen = peek(fd, bytes, n);

	/* No byte more: those that have come since may have descriptors. */
	return seen <= 0 ? seen : sys_read(fd, bytes, (size_t)seen);
}

ssize_t rights_receive(int channel, void *bytes, size_t n)
{
	ssize_t received;

	/* A peer that ends with something unread leaves one ECONNRESET, before what it sent. */
	do
		received =
		    rights.refused ? sys_read(channel, bytes, n) : rights_read(channel, bytes, n);
	while (received == -EINTR || received == -ECONNRESET);
	return received;
}

/* ---- the end ---- */

/* Our copy must not be the last: the end of a pipe goes with it, and tells when ours is closed. */
static bool hand_over(int fd)
{
	int ends[2], both[2];
	bool sent;

	if (rights.channel < 0 || sys_pipe2(ends, O_CLOEXEC) < 0)
		return false;
	both[0] = fd;
	both[1] = ends[0];
	sent = descriptors_send(rights.channel, "", 1, both, 2) >= 0;
	(void)sys_close(ends[0]);
	if (sent)
		(void)sys_close(fd);
	(void)sys_close(ends[1]);
	return sent;
}

static void dispose(int fd)
{
	while (rights.kept_n && hand_over(rights.kept[rights.kept_n - 1]))
		rights.kept_n--;
	if (hand_over(fd))
		return;
	if (rights.kept_n < KEPT_MAX)
		rights.kept[rights.kept_n++] = fd;
	else /* it does so until we exit */
		log_warn("a connection that may have descriptors in it stays open");
}

void rights_disarm(int fd)
{
	struct linger off = {0};

	(void)sys_setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof off);
}

static void end(int fd, bool may_wait_there)
{
	char byte;
	ssize_t unread = 0;

	if (may_wait_there)
		do
			unread = peek(fd, &byte, 1);
		while (unread == -ECONNRESET);
	if (unread != 0 && unread != -EAGAIN) {
		dispose(fd);
		return;
	}
	rights_disarm(fd);
	(void)sys_close(fd);
}

/* After shutdown() nothing more comes once we have looked, and the peer sees the end, however long
 * the descriptor stays open. */
void rights_close(int fd)
{
	bool may_come = rights_may_come(fd);

	if (may_come)
		(void)sys_shutdown(fd, SHUT_RDWR);
	end(fd, may_come);
}

/* Descriptors could come after we have looked. But our close would be the last one only if the
 * other process received the connection, and closed it, between two calls of this one. */
void rights_leave(int fd)
{
	end(fd, rights_may_come(fd));
}

void rights_close_listener(int fd, bool inherited)
{
	if (option(fd, SO_DOMAIN) == AF_UNIX && (inherited || rights_may_come(fd)))
		dispose(fd);
	else
		(void)sys_close(fd);
}

void rights_hand_to(int channel)
{
	rights.channel = channel;
}

int rights_channel(void)
{
	return rights.channel;
}
