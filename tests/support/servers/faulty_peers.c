#include "tests/support/servers/faulty_peers.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/harness.h"

pid_t faulty_peers_fork(struct faulty_peers *peers, unsigned *port)
{
	int fd = bind_any(SOCK_STREAM, port);
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		peers->fds[0] = (struct pollfd){.fd = fd, .events = POLLIN};
		peers->n = 1;
	} else {
		(void)close(fd);
	}
	return pid;
}

/* Accepts a connection. Returns its place; 0: nobody waits, or no place is free. */
static nfds_t accept_one(struct faulty_peers *peers)
{
	int fd = accept4(peers->fds[0].fd, NULL, NULL, SOCK_CLOEXEC), on = 1;
	nfds_t i = 1;

	if (fd < 0)
		return 0;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	while (i < peers->n && peers->fds[i].fd >= 0)
		i++;
	if (i == FAULTY_PEERS_MAX) {
		(void)close(fd);
		return 0;
	}
	if (i == peers->n)
		peers->n++;
	peers->fds[i] = (struct pollfd){.fd = fd, .events = POLLIN};
	return i;
}

_Noreturn void faulty_peers_run(struct faulty_peers *peers,
				void (*came)(struct faulty_peers *peers, nfds_t i),
				void (*turn)(struct faulty_peers *peers, nfds_t i))
{
	for (;;) {
		if (poll(peers->fds, peers->n, -1) < 0)
			continue;
		for (nfds_t i = 1; i < peers->n; i++)
			if (peers->fds[i].fd >= 0 && peers->fds[i].revents)
				turn(peers, i);
		if (peers->fds[0].revents) {
			nfds_t i = accept_one(peers);

			if (i && came)
				came(peers, i);
		}
	}
}

/* poll() skips the closed place, which is free to be used again. */
void faulty_peers_close(struct faulty_peers *peers, nfds_t i)
{
	(void)close(peers->fds[i].fd);
	peers->fds[i].fd = -1;
}

void faulty_peers_send(const struct faulty_peers *peers, nfds_t i, const void *bytes, size_t n)
{
	const unsigned char *at = bytes;

	while (n) {
		ssize_t sent = send(peers->fds[i].fd, at, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return;
		at += sent;
		n -= (size_t)sent;
	}
}
