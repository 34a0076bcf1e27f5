#include "bench/weirload/dial.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "reactor/sys.h"

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
		/* The port is chosen by connect(), which knows that another destination may
		 * have the same one: ip(7). */
		struct address from = plan_source(plan, nth);

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

int dial_connect(const struct plan *plan, int fd)
{
	const struct address *to = &plan->endpoint.address;

	return connect(fd, (const struct sockaddr *)&to->socket, to->bytes) ? -errno : 0;
}

bool dial_is_up(int fd)
{
	struct sockaddr_storage peer;
	socklen_t n = sizeof peer;

	return sys_getpeername(fd, (struct sockaddr *)&peer, &n) == 0;
}
