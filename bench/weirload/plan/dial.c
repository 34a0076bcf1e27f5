#include "bench/weirload/plan/dial.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include "bench/weirload/plan/plan_addresses.h"
#include "reactor/base/sys.h"

#define CONNECT_MS  2000
#define DATAGRAM_MS 50

int dial_socket(const struct plan *plan, uint64_t nth, int receive_bytes, const char **call)
{
	const struct address *to = &plan->endpoint.address;
	int type = plan->endpoint.datagrams ? SOCK_DGRAM : SOCK_STREAM;
	int fd = sys_socket(to->socket.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, error = 0;

	*call = "socket";
	if (fd < 0)
		return fd;
	if (type == SOCK_STREAM && !address_is_unix(to) && !plan->churn)
		error = sys_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (!error && receive_bytes)
		error =
		    sys_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
	*call = "setsockopt";
	if (!error && plan->sources) {
		/* Then connect() chooses the port, and may choose one that is in use with another
		 * destination: ip(7). */
		struct address from = plan_addresses_source(plan, nth);

		error = sys_setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
		if (!error) {
			*call = "bind";
			error = sys_bind(fd, (struct sockaddr *)&from.socket, from.bytes);
		}
	}
	if (error) {
		(void)sys_close(fd);
		return error;
	}
	return fd;
}

int dial_connect(const struct plan *plan, uint64_t nth, int fd)
{
	struct address to = plan_addresses_destination(plan, nth);

	return connect(fd, (const struct sockaddr *)&to.socket, to.bytes) ? -errno : 0;
}

/* Makes a connection and ends it; or sends an empty datagram, which needs no answer: if nobody
 * listens there, the kernel reports that. */
static bool answers(const struct endpoint *endpoint)
{
	const struct address *to = &endpoint->address;
	int type = endpoint->datagrams ? SOCK_DGRAM : SOCK_STREAM;
	int fd = sys_socket(to->socket.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pollfd up = {.fd = fd, .events = endpoint->datagrams ? POLLIN : POLLOUT};
	int error = 0;
	socklen_t n = sizeof error;
	bool answered;

	if (fd < 0)
		return false;
	answered = connect(fd, (const struct sockaddr *)&to->socket, to->bytes) == 0 ||
		   errno == EINPROGRESS;
	if (answered && endpoint->datagrams)
		answered = send(fd, "", 0, MSG_NOSIGNAL) == 0;
	if (answered && poll(&up, 1, endpoint->datagrams ? DATAGRAM_MS : CONNECT_MS) == 0)
		answered = endpoint->datagrams; /* silence is no refusal of a datagram */
	else if (answered)
		answered = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 && !error;
	(void)sys_close(fd);
	return answered;
}

size_t dial_choose(const struct endpoint *addresses, size_t n, const struct address *from)
{
	for (size_t i = 0; i < n && n > 1; i++)
		if ((!from || from->socket.ss_family == addresses[i].address.socket.ss_family) &&
		    answers(&addresses[i]))
			return i;
	return 0;
}

bool dial_is_up(int fd)
{
	struct sockaddr_storage peer;
	socklen_t n = sizeof peer;

	return sys_getpeername(fd, (struct sockaddr *)&peer, &n) == 0;
}
