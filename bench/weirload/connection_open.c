/*
 * How a connection comes up: its socket, its local address, connect().
 */
#include "bench/weirload/connection_parts.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "reactor/sys.h"

#define BACKLOG_RETRY_MS  5
#define SLOW_BUFFER_BYTES 4096

/* A socket, made ready to connect; or -errno, and the call that failed. */
static int connection_socket(struct connection *connection, struct sender *sender,
			     const char **call)
{
	const struct plan *plan = sender->plan;
	const struct address *to = &plan->endpoint.address;
	int on = 1, small = SLOW_BUFFER_BYTES, error = 0;
	int fd = sys_socket(to->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*call = "socket";
	if (fd < 0)
		return fd;
	if (!address_is_unix(to) && !plan->churn)
		error = sys_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (!error && connection->slow)
		error = sys_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	*call = "setsockopt";
	if (!error && plan->sources) {
		/* The port is chosen by connect(), which knows that another destination may
		 * have the same one: ip(7). */
		struct address from =
		    plan_source(plan, sender->opened * plan->processes + sender->number);

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

bool connection_is_up(int fd)
{
	struct sockaddr_storage peer;
	socklen_t n = sizeof peer;

	return sys_getpeername(fd, (struct sockaddr *)&peer, &n) == 0;
}

static void connection_connect(struct connection *connection, struct sender *sender)
{
	const struct address *to = &sender->plan->endpoint.address;
	int error = connect(connection->source.fd, (const struct sockaddr *)&to->socket, to->bytes);

	error = error ? -errno : 0;
	if (error == -EAGAIN) { /* a unix socket whose backlog is full */
		uint64_t opened_ns = connection->opened_ns;

		connection_close(connection, sender);
		connection->opened_ns = opened_ns;
		if (clock_ns() - opened_ns >= sender->plan->timeout_us * 1000)
			connection_fail(connection, sender, TALLY_timeout,
					"connect: its backlog is full");
		else
			loop_deadline(&sender->loop, &connection->source,
				      sender->loop.now_ms + BACKLOG_RETRY_MS);
		return;
	}
	if (error && error != -EINPROGRESS) {
		connection_fail_of(connection, sender, "connect", error);
		return;
	}
	connection->phase = CONNECTION_CONNECTING;
	error = loop_watch(&sender->loop, &connection->source, CONN_EVENTS);
	if (error) {
		connection_fail_of(connection, sender, "epoll_ctl", error);
		return;
	}
	loop_deadline(&sender->loop, &connection->source,
		      sender->loop.now_ms + plan_timeout_ms(sender->plan));
	/* Over loopback it is there at once: asking costs less than an event for space. */
	if (connection_is_up(connection->source.fd)) {
		connection_connected(connection, sender);
		return;
	}
	connection->source.want = SOURCE_OUT | SOURCE_IN;
	error = loop_watch_out(&sender->loop, &connection->source);
	if (error)
		connection_fail_of(connection, sender, "epoll_ctl", error);
}

void connection_open(struct connection *connection, struct sender *sender)
{
	const struct plan *plan = sender->plan;
	const char *call;
	int fd = connection_socket(connection, sender, &call);

	connection->sent = connection->received = 0;
	connection->sent_bytes = connection->received_bytes = 0;
	connection->greeted = false;
	connection->key =
	    (sender->opened * plan->processes + sender->number) % (1u << PATTERN_KEY_BITS);
	sender->opened++;
	if (!connection->opened_ns)
		connection->opened_ns = clock_ns();
	connection->source.ready = 0;
	connection->source.fd = fd < 0 ? -1 : fd;
	if (fd == -EADDRNOTAVAIL)
		connection_fail(connection, sender, TALLY_other,
				"bind: a --source address is not of this machine");
	else if (fd < 0)
		connection_fail_of(connection, sender, call, fd);
	else
		connection_connect(connection, sender);
}
