#include "bench/weirload/tcp/connection_parts.h"

#include <errno.h>

#include "reactor/base/sys.h"

/* How many more messages may begin now. */
static uint64_t allowance(const struct connection *connection, const struct sender *sender)
{
	const struct plan *plan = sender->plan;
	uint64_t n;

	if (connection->phase != CONNECTION_OPEN || plan->protocol->kind == CLIENT_PROTOCOL_SPEAKS)
		return 0;
	if (plan->idle)
		return connection->caller.asked - connection->caller.begun;
	if (sender->phase != SENDER_RUN)
		return 0;
	if (connection->caller.slow)
		return UINT32_MAX;
	if (plan->churn)
		n = connection->sent || connection->sent_bytes ? 0 : 1;
	else
		n = connection_under_way(connection) < plan->pipeline
			? plan->pipeline - connection_under_way(connection)
			: 0;
	if (plan_is_open(plan) && connection->caller.asked - connection->caller.begun < n)
		n = connection->caller.asked - connection->caller.begun;
	return n;
}

/* Writes to the buffer what may be sent now, as much as it holds. */
static size_t connection_compose(const struct connection *connection, const struct sender *sender)
{
	uint64_t message = connection->sent, may_begin = allowance(connection, sender);
	uint32_t offset = connection->sent_bytes, size = (uint32_t)sender->plan->size;
	size_t n = 0;

	while (n < SENDER_BUFFER_BYTES) {
		size_t part = sender->message_bytes - offset;

		if (!offset && !may_begin--)
			break;
		if (part > SENDER_BUFFER_BYTES - n)
			part = SENDER_BUFFER_BYTES - n;
		client_protocol_fill(sender->plan->protocol, size, connection->key, message, offset,
				     sender->buffer + n, (uint32_t)part);
		n += part;
		message++;
		offset = 0;
	}
	return n;
}

static void connection_begin(struct connection *connection, struct sender *sender, uint64_t now_ns)
{
	const struct plan *plan = sender->plan;
	struct flight *flight = &connection->flights[connection->sent % plan->pipeline];

	if (connection->caller.slow)
		return;
	if (!connection_under_way(connection))
		loop_deadline(&sender->loop, &connection->caller.source,
			      sender->loop.now_ms + plan_timeout_ms(sender->plan));
	flight->sent_ns = now_ns;
	sender_begin(sender, &connection->caller, flight, plan->churn ? connection->opened_ns : 0);
}

/* n bytes have been sent. */
static void connection_sent(struct connection *connection, struct sender *sender, size_t n,
			    uint64_t now_ns)
{
	TALLY_ADD(sender->tally, sent_bytes, n);
	while (n) {
		uint32_t left = sender->message_bytes - connection->sent_bytes;

		if (!connection->sent_bytes)
			connection_begin(connection, sender, now_ns);
		if (n < left) {
			connection->sent_bytes += (uint32_t)n;
			return;
		}
		n -= left;
		connection->sent_bytes = 0;
		connection->sent++;
		if (sender->plan->protocol->kind == CLIENT_PROTOCOL_LISTENS)
			connection_answered(connection, sender, clock_ns());
	}
}

/* What the server had sent before it ended can still be read, and after that how it ended. So the
 * decision is left to a read, whether or not there was something to write. But once a write has
 * reported a reset, no read will: so that is kept. */
static void connection_cannot_write(struct connection *connection, struct sender *sender,
				    ssize_t error)
{
	if ((error != -EPIPE && error != -ECONNRESET) || connection->caller.slow) {
		connection_fail_of(connection, sender, "write", error);
		return;
	}
	connection->reset |= error == -ECONNRESET;
	connection->caller.source.ready &= (uint8_t)~SOURCE_OUT;
	connection->caller.source.ready |= SOURCE_IN | SOURCE_ENDED;
	loop_wake(&sender->loop, &connection->caller.source);
}

void connection_pump(struct connection *connection, struct sender *sender)
{
	uint64_t now_ns;
	ssize_t written;
	size_t n;

	if (connection->phase != CONNECTION_OPEN || !(connection->caller.source.ready & SOURCE_OUT))
		return;
	n = connection_compose(connection, sender);
	if (!n)
		return;
	now_ns = clock_ns();
	if (connection->caller.source.want & SOURCE_OUT) /* until now the kernel had no room */
		connection->caller.free_ns = now_ns;
	do
		written = sys_write(connection->caller.source.fd, sender->buffer, n);
	while (written == -EINTR);
	if (written == -EAGAIN)
		written = 0;
	if (written < 0) {
		connection_cannot_write(connection, sender, written);
		return;
	}
	connection_sent(connection, sender, (size_t)written, now_ns);
	if ((sender->plan->churn || sender->plan->idle) &&
	    sender->plan->protocol->kind ==
		CLIENT_PROTOCOL_LISTENS) /* no answer will give it a turn */
		loop_wake(&sender->loop, &connection->caller.source);
	connection->caller.source.want &= (uint8_t)~SOURCE_OUT;
	if ((size_t)written < n) {
		int error = loop_watch_out(&sender->loop, &connection->caller.source);

		connection->caller.source.ready &= (uint8_t)~SOURCE_OUT;
		connection->caller.source.want |= SOURCE_OUT;
		if (error)
			connection_fail_of(connection, sender, "epoll_ctl", error);
	} else if (connection->sent_bytes || allowance(connection, sender)) {
		loop_wake(&sender->loop, &connection->caller.source);
	}
}
