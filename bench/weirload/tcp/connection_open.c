/*
 * How a connection comes up: its socket, connect(), and what becomes of either; and what its
 * sender sees of it.
 */
#include "bench/weirload/tcp/connection_parts.h"

#include <errno.h>

#include "bench/weirload/plan/dial.h"
#include "reactor/base/list.h"

#define BACKLOG_RETRY_MS  5
#define SLOW_BUFFER_BYTES 4096

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
	/* Over loopback it is there at once: asking costs less than an event for space. */
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

/* ---- what a sender wants of it ---- */

static struct connection *connection_of(struct caller *caller)
{
	return CONTAINER_OF(caller, struct connection, caller);
}

static size_t kind_bytes(const struct plan *plan)
{
	return sizeof(struct connection) + plan->pipeline * sizeof(struct flight) +
	       (plan->protocol->http ? connection_http_bytes() : 0);
}

static void kind_init(struct caller *caller, struct sender *sender)
{
	connection_init(connection_of(caller), sender);
}

static void kind_open(struct caller *caller, struct sender *sender)
{
	connection_open(connection_of(caller), sender);
}

static bool kind_is_open(const struct caller *caller)
{
	return CONTAINER_OF(caller, const struct connection, caller)->phase == CONNECTION_OPEN;
}

static void kind_ask(struct caller *caller, struct sender *sender)
{
	struct connection *connection = connection_of(caller);
	uint64_t now_ns = clock_ns();

	if (connection->phase == CONNECTION_OPEN)
		connection_pump(connection, sender);
	else if (connection->phase == CONNECTION_ABSENT && caller->free_ns > now_ns)
		loop_deadline(&sender->loop, &caller->source,
			      sender->loop.now_ms + 1 +
				  (uint32_t)((caller->free_ns - now_ns) / 1000000));
	else if (connection->phase == CONNECTION_ABSENT)
		loop_wake(&sender->loop, &caller->source);
}

static void kind_end(struct caller *caller, struct sender *sender)
{
	connection_end(connection_of(caller), sender);
}

static void kind_give_up(struct caller *caller, struct sender *sender)
{
	connection_give_up(connection_of(caller), sender);
}

const struct caller_kind connection_kind = {.bytes = kind_bytes,
					    .init = kind_init,
					    .open = kind_open,
					    .is_open = kind_is_open,
					    .ask = kind_ask,
					    .end = kind_end,
					    .give_up = kind_give_up};
