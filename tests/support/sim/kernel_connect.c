/* The simulated kernel's sockets that the server connects: what it asks, and what it is answered.
 */
#include "tests/support/sim/kernel_parts.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

static int sim_socket(int family, int type, int protocol)
{
	struct peer *peer;
	int fd;

	if (!(type & SOCK_STREAM))
		return kernel_genuine.socket(family, type, protocol);
	EXPECT((type & (SOCK_NONBLOCK | SOCK_CLOEXEC)) == (SOCK_NONBLOCK | SOCK_CLOEXEC));
	if (descriptors_used_up())
		return refuse(EMFILE);
	peer = peer_new(&fd);
	peer->unconnected = true;
	peer->family = family;
	return fd;
}

static int tell_outcome(struct peer *peer)
{
	int error = peer->refused;

	if (peer->connecting)
		return refuse(EALREADY);
	if (peer->unconnected) {
		peer->refused = 0;
		return refuse(error);
	}
	if (peer->was_reset) {
		error = peer->error ? peer->error : ECONNABORTED;
		peer->error = 0;
		return refuse(error);
	}
	if (peer->told)
		return refuse(EISCONN);
	peer->told = true;
	return 0;
}

static int sim_connect(int fd, const struct sockaddr *address, socklen_t n)
{
	struct peer *peer = stream_of(fd);
	int outcome;

	EXPECT(peer && address->sa_family == peer->family && n <= sizeof peer->there);
	if (!peer->unconnected || peer->connecting || peer->refused)
		return tell_outcome(peer);
	memcpy(&peer->there, address, n);
	peer->there_n = n;
	outcome = kernel.on_connect ? kernel.on_connect(peer, address) : ECONNREFUSED;
	if (!outcome) {
		peer->unconnected = false;
		peer->told = true;
		return 0;
	}
	peer->connecting = outcome == EINPROGRESS && peer->unconnected && !peer->refused;
	return refuse(outcome);
}

static int sim_setsockopt(int fd, int level, int name, const void *value, socklen_t n)
{
	struct peer *peer = stream_of(fd);

	if (!peer)
		return kernel_genuine.setsockopt(fd, level, name, value, n);
	if (level == IPPROTO_TCP && name == TCP_NODELAY)
		peer->nodelay = *(const int *)value;
	if (level == SOL_SOCKET && name == SO_OOBINLINE)
		peer->oobinline = *(const int *)value;
	if (level != SOL_SOCKET || name != SYS_SO_PASSRIGHTS)
		return 0;
	if (kernel.passes_rights)
		return refuse(ENOPROTOOPT);
	peer->refuses_rights = !*(const int *)value;
	return 0;
}

static int sim_getsockopt(int fd, int level, int name, void *value, socklen_t *n)
{
	struct peer *peer = stream_of(fd);

	if (!peer)
		return kernel_genuine.getsockopt(fd, level, name, value, n);
	EXPECT(level == SOL_SOCKET);
	if (name == SYS_SO_PASSRIGHTS && kernel.passes_rights)
		return refuse(ENOPROTOOPT);
	if (name == SYS_SO_PASSRIGHTS || name == SO_DOMAIN) {
		*(int *)value = name == SO_DOMAIN ? peer->family : !peer->refuses_rights;
		return 0;
	}
	EXPECT(name == SO_ERROR);
	*(int *)value = peer->error;
	peer->error = 0;
	return 0;
}

/* How unix sockets are looked at to which descriptors may have come. */
static ssize_t sim_recvmsg(int fd, struct msghdr *message, int flags)
{
	struct peer *peer = stream_of(fd);
	struct iovec *room = message->msg_iov;
	size_t n;

	if (!peer)
		return kernel_genuine.recvmsg(fd, message, flags);
	EXPECT((flags & MSG_PEEK) && message->msg_iovlen == 1);
	message->msg_flags = 0;
	if (!peer->in.n)
		return peer->finished || peer->was_reset ? 0 : refuse(EAGAIN);
	n = peer->in.n < room->iov_len ? peer->in.n : room->iov_len;
	memcpy(room->iov_base, peer->in.at + peer->in.start, n);
	return (ssize_t)n;
}

/* ---- what a test says ---- */

void peer_answer(struct peer *peer)
{
	if (peer->closed)
		return;
	EXPECT(peer->unconnected);
	peer->unconnected = peer->connecting = false;
	peer_wake(peer, EPOLLOUT);
}

void peer_refuse(struct peer *peer, int error)
{
	if (peer->closed)
		return;
	EXPECT(peer->unconnected);
	peer->connecting = false;
	peer->refused = error;
	peer_wake(peer, 0);
}

void kernel_connect_begin(struct sys_kernel *calls)
{
	calls->socket = sim_socket;
	calls->connect = sim_connect;
	calls->setsockopt = sim_setsockopt;
	calls->getsockopt = sim_getsockopt;
	calls->recvmsg = sim_recvmsg;
}
