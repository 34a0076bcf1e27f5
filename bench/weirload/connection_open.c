/*
 * How a connection comes up: its socket, connect(), and what becomes of either.
 */
#include "bench/weirload/connection_parts.h"

#include <errno.h>

#include "bench/weirload/dial.h"

#define BACKLOG_RETRY_MS  5
#define SLOW_BUFFER_BYTES 4096

static void connection_connect(struct connection *connection, struct sender *sender)
{
	int error = dial_connect(sender->plan, connection->source.fd);

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
	if (dial_is_up(connection->source.fd)) {
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
	int fd = dial_socket(plan, sender->opened * plan->processes + sender->number,
			     connection->slow ? SLOW_BUFFER_BYTES : 0, &call);

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
