#include "bench/weirload/tcp/connection_parts.h"

#include <errno.h>

#include "bench/weirload/plan/dial.h"

#define BACKLOG_RETRY_MS  5
#define SLOW_BUFFER_BYTES 4096

void connection_connected(struct connection *connection, struct sender *sender)
{
	uint64_t now_ns = clock_ns();

	connection->phase = CONNECTION_OPEN;
	if (!sender->plan->churn) /* in churn connecting is part of the message */
		connection->caller.free_ns = now_ns;
	connection->retry_ms = 0;
	connection->caller.source.ready |= SOURCE_OUT;
	connection->caller.source.want = connection->caller.slow ? 0 : SOURCE_IN;
	histogram_add(&sender->tally->connect, now_ns - connection->opened_ns);
	sender_count_open(sender);
	if (connection->caller.slow)
		loop_deadline(&sender->loop, &connection->caller.source,
			      sender->loop.now_ms + CONNECTION_SLOW_READ_MS);
	else if (sender->plan->protocol->kind ==
		 CLIENT_PROTOCOL_SPEAKS) /* this client sends no message that would begin it */
		loop_deadline(&sender->loop, &connection->caller.source,
			      sender->loop.now_ms + plan_timeout_ms(sender->plan));
	if (sender->plan->idle)
		connection->caller.asked = 1;
	else
		connection_settled(connection, sender);
	connection_pump(connection, sender);
}

static void connection_connect(struct connection *connection, struct sender *sender, uint64_t nth)
{
	int error = dial_connect(sender->plan, nth, connection->caller.source.fd);

	if (error == -EAGAIN) { /* a unix socket whose backlog is full */
		uint64_t opened_ns = connection->opened_ns;

		connection_close(connection, sender);
		connection->opened_ns = opened_ns;
		if (clock_ns() - opened_ns >= sender->plan->timeout_us * 1000)
			connection_fail(connection, sender, TALLY_timeout,
					"connect: its backlog is full");
		else
			loop_deadline(&sender->loop, &connection->caller.source,
				      sender->loop.now_ms + BACKLOG_RETRY_MS);
		return;
	}
	if (error && error != -EINPROGRESS) {
		connection_fail_of(connection, sender, "connect", error);
		return;
	}
	connection->phase = CONNECTION_CONNECTING;
	error = loop_watch(&sender->loop, &connection->caller.source, CONN_EVENTS);
	if (error) {
		connection_fail_of(connection, sender, "epoll_ctl", error);
		return;
	}
	loop_deadline(&sender->loop, &connection->caller.source,
		      sender->loop.now_ms + plan_timeout_ms(sender->plan));
	/* Over loopback it is connected at once: asking costs less than waiting for an event. */
	if (dial_is_up(connection->caller.source.fd)) {
		connection_connected(connection, sender);
		return;
	}
	connection->caller.source.want = SOURCE_OUT | SOURCE_IN;
	error = loop_watch_out(&sender->loop, &connection->caller.source);
	if (error)
		connection_fail_of(connection, sender, "epoll_ctl", error);
}

void connection_open(struct connection *connection, struct sender *sender)
{
	const struct plan *plan = sender->plan;
	uint64_t nth = sender_nth(sender);
	const char *call;
	int fd = dial_socket(plan, nth, connection->caller.slow ? SLOW_BUFFER_BYTES : 0, &call);

	connection->sent = connection->received = 0;
	connection->sent_bytes = connection->received_bytes = 0;
	connection->greeted = connection->reset = false;
	if (plan->protocol->http)
		connection_http_begin(connection, sender);
	connection->key = sender_key(sender);
	sender->opened++;
	if (!connection->opened_ns)
		connection->opened_ns = clock_ns();
	connection->caller.source.ready = 0;
	connection->caller.source.fd = fd < 0 ? -1 : fd;
	if (fd == -EADDRNOTAVAIL)
		connection_fail(connection, sender, TALLY_other,
				"bind: a --source address is not of this machine");
	else if (fd < 0)
		connection_fail_of(connection, sender, call, fd);
	else
		connection_connect(connection, sender, nth);
}
