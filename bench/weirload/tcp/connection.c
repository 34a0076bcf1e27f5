#include "bench/weirload/tcp/connection_parts.h"

#include <errno.h>
#include <string.h>

#include "bench/weirload/plan/dial.h"
#include "bench/weirload/report/reply_diagnosis.h"
#include "reactor/base/list.h"
#include "reactor/base/sys.h"

#define TURN_READS     4
#define RETRY_MS_FIRST 10
#define RETRY_MS_MAX   1000
#define SLOW_READ_MS   1000

static void connection_turn(struct loop *loop, struct source *source);

void connection_init(struct connection *connection, struct sender *sender)
{
	source_init(&connection->caller.source, -1, connection_turn);
	connection->greets = sender->plan->protocol->greeting != NULL;
}

/* Of a message that is not whole yet, the reply may be. */
uint64_t connection_under_way(const struct connection *connection)
{
	uint64_t begun = connection->sent + (connection->sent_bytes != 0);

	return begun > connection->received ? begun - connection->received : 0;
}

/* ---- the end of a connection ---- */

void connection_close(struct connection *connection, struct sender *sender)
{
	if (connection->caller.source.fd >= 0)
		(void)sys_close(connection->caller.source.fd);
	connection->caller.source.fd = -1;
	connection->caller.source.ready = connection->caller.source.want = 0;
	connection->caller.source.watches_out = false;
	loop_no_deadline(&sender->loop, &connection->caller.source);
	if (connection->phase >= CONNECTION_OPEN)
		TALLY_ADD(sender->tally, open, -1);
	connection->phase = CONNECTION_ABSENT;
	connection->opened_ns = 0;
}

static void connection_settled(struct connection *connection, struct sender *sender)
{
	if (connection->settled)
		return;
	connection->settled = true;
	sender_settled(sender);
}

static void connection_finished(struct connection *connection, struct sender *sender)
{
	if (connection->finished)
		return;
	connection->finished = true;
	sender_finished(sender);
}

/* Whether an absent connection is to be opened again. */
static bool connection_is_wanted(const struct connection *connection, const struct sender *sender)
{
	const struct plan *plan = sender->plan;

	if (sender->phase != SENDER_RUN || plan->idle)
		return false;
	return !plan->churn || !plan->rate || connection->caller.asked > connection->caller.begun;
}

/* After a connection has gone, for good or ill. */
static void connection_absent(struct connection *connection, struct sender *sender)
{
	connection_settled(connection, sender);
	if (sender->plan->idle)
		sender_answered(sender, &connection->caller);
	if (sender->phase == SENDER_END) {
		connection_finished(connection, sender);
	} else if (connection_is_wanted(connection, sender)) {
		if (connection->retry_ms)
			loop_deadline(&sender->loop, &connection->caller.source,
				      sender->loop.now_ms + connection->retry_ms);
		else
			loop_wake(&sender->loop, &connection->caller.source);
	}
}

void connection_fail(struct connection *connection, struct sender *sender, enum tally_error kind,
		     const char *detail)
{
	struct tally *tally = sender->tally;

	if (connection->caller.slow && connection->phase >= CONNECTION_OPEN &&
	    tally_errors[kind].blame == BLAME_SERVER) {
		TALLY_ADD(tally, slow_ended, 1); /* as a server may do */
	} else {
		sender_wrong(sender, kind, detail);
		if (tally_errors[kind].blame == BLAME_SERVER && connection_under_way(connection))
			TALLY_ADD(tally, errors[TALLY_unanswered],
				  connection_under_way(connection));
	}
	connection->retry_ms = !connection->retry_ms		     ? RETRY_MS_FIRST
			       : connection->retry_ms < RETRY_MS_MAX ? 2 * connection->retry_ms
								     : RETRY_MS_MAX;
	connection->caller.free_ns = clock_ns() + connection->retry_ms * 1000000ull;
	connection_close(connection, sender);
	connection_absent(connection, sender);
}

void connection_fail_of(struct connection *connection, struct sender *sender, const char *call,
			ssize_t error)
{
	char detail[TALLY_DETAIL_BYTES];
	enum tally_error kind = diagnosis_of_errno((int)-error);

	diagnosis_say_errno(detail, call, (int)-error);
	connection_fail(connection, sender, kind, detail);
}

void connection_reopen(struct connection *connection, struct sender *sender, bool by_reset)
{
	if (!sender->plan->churn) {
		TALLY_ADD(sender->tally, reopened, 1);
		TALLY_ADD(sender->tally, reopened_by_reset, by_reset);
	}
	if (!connection->caller.slow) {
		TALLY_ADD(sender->tally, retried, connection_under_way(connection));
		connection->caller.begun -= connection_under_way(connection);
	}
	connection_close(connection, sender);
	connection_absent(connection, sender);
}

/* ---- opening ---- */

void connection_connected(struct connection *connection, struct sender *sender)
{
	uint64_t now_ns = clock_ns();

	connection->phase = CONNECTION_OPEN;
	if (!sender->plan->churn) /* there, connecting is part of the message */
		connection->caller.free_ns = now_ns;
	connection->retry_ms = 0;
	connection->caller.source.ready |= SOURCE_OUT;
	connection->caller.source.want = connection->caller.slow ? 0 : SOURCE_IN;
	histogram_add(&sender->tally->connect, now_ns - connection->opened_ns);
	TALLY_ADD(sender->tally, connects, 1);
	TALLY_ADD(sender->tally, open, 1);
	if (sender->tally->open > sender->tally->open_max)
		sender->tally->open_max = sender->tally->open;
	if (connection->caller.slow)
		loop_deadline(&sender->loop, &connection->caller.source,
			      sender->loop.now_ms + SLOW_READ_MS);
	else if (sender->plan->protocol->kind ==
		 CLIENT_PROTOCOL_SPEAKS) /* no message of ours does */
		loop_deadline(&sender->loop, &connection->caller.source,
			      sender->loop.now_ms + plan_timeout_ms(sender->plan));
	if (sender->plan->idle)
		connection->caller.asked = 1;
	else
		connection_settled(connection, sender);
	connection_pump(connection, sender);
}

/* ---- sending ---- */

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
	if (plan->rate && connection->caller.asked - connection->caller.begun < n)
		n = connection->caller.asked - connection->caller.begun;
	return n;
}

/* What may be sent now, as much as the buffer holds. */
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

void connection_answered(struct connection *connection, struct sender *sender, uint64_t now_ns)
{
	const struct plan *plan = sender->plan;
	struct tally *tally = sender->tally;
	struct flight *flight = &connection->flights[connection->received % plan->pipeline];

	/* With room for more there was room before. */
	if (connection_under_way(connection) >= plan->pipeline ||
	    plan->protocol->kind == CLIENT_PROTOCOL_SPEAKS)
		connection->caller.free_ns = now_ns;
	connection->received++;
	connection->received_bytes = 0;
	if (connection->caller.slow)
		return;
	TALLY_ADD(tally, messages, 1);
	if (plan->protocol->kind == CLIENT_PROTOCOL_ANSWERS)
		sender_measure(sender, flight, now_ns);
}

/* n bytes have gone. */
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

/* What the server had said before it went lies there to be read, and the end behind it: so that is
 * what tells how it went, whether or not there was something to write meanwhile. But a read says
 * nothing of a reset that a write has told. */
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

/* One write; where more could follow at once, in the next turn. */
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
	if (connection->caller.source.want & SOURCE_OUT) /* the kernel had no room until now */
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
	    sender->plan->protocol->kind == CLIENT_PROTOCOL_LISTENS) /* no answer gives it a turn */
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

/* ---- receiving ---- */

void connection_wrong(struct connection *connection, struct sender *sender, unsigned char *bytes,
		      size_t n)
{
	char detail[TALLY_DETAIL_BYTES];
	enum tally_error kind = diagnosis_of_reply(connection, sender, bytes, n, detail);

	connection_fail(connection, sender, kind, detail);
}

static bool expects_bytes(const struct connection *connection, const struct sender *sender)
{
	if (sender->plan->protocol->kind != CLIENT_PROTOCOL_ANSWERS)
		return sender->plan->protocol->kind == CLIENT_PROTOCOL_SPEAKS;
	return connection_under_way(connection) != 0;
}

/* Checks n bytes that have come. False: the connection has ended over it. */
static bool connection_check(struct connection *connection, struct sender *sender,
			     unsigned char *bytes, size_t n)
{
	const struct plan *plan = sender->plan;
	uint64_t now_ns = clock_ns();

	TALLY_ADD(sender->tally, received_bytes, n);
	if (plan->protocol->kind ==
	    CLIENT_PROTOCOL_LISTENS) { /* there is no reply to compare it with */
		connection_fail(connection, sender, TALLY_unexpected,
				"bytes of a server that only listens");
		return false;
	}
	if (connection->greets && !connection->greeted) { /* it is one byte long */
		if (*bytes != (unsigned char)*plan->protocol->greeting) {
			connection_fail(connection, sender, TALLY_altered,
					diagnosis_is_tls(bytes, n)
					    ? diagnosis_tls
					    : "another greeting than the protocol's");
			return false;
		}
		connection->greeted = true;
		bytes++, n--;
	}
	if (plan->protocol->http)
		return connection_http_check(connection, sender, bytes, n, now_ns);
	while (n) {
		uint32_t left = sender->reply_bytes - connection->received_bytes;
		uint32_t part = n < left ? (uint32_t)n : left, matched = 0;

		if (expects_bytes(connection, sender))
			matched = client_protocol_match(plan->protocol, (uint32_t)plan->size,
							connection->key, connection->received,
							connection->received_bytes, bytes, part);
		connection->received_bytes += matched;
		if (matched < part) {
			connection_wrong(connection, sender, bytes + matched, n - matched);
			return false;
		}
		bytes += part, n -= part;
		if (connection->received_bytes == sender->reply_bytes)
			connection_answered(connection, sender, now_ns);
	}
	return true;
}

/* Of HTTP it may be, between answers, however it ends and whatever is under way: a server that
 * closes while the next request is on its way can't know of that, and a close() with a request
 * unread is a reset. What is under way is asked again; an answer that does not come on a
 * connection that had none before is an error. */
static bool may_be_ended(struct connection *connection, const struct sender *sender)
{
	return sender->plan->protocol->http && !sender->plan->idle && !connection->caller.slow &&
	       connection_http_is_between(connection, sender);
}

/* The server has ended its side, or has reset the connection. */
static void connection_ended(struct connection *connection, struct sender *sender, bool by_reset)
{
	bool http = sender->plan->protocol->http;

	if (connection->phase == CONNECTION_ENDING && (!by_reset || http)) {
		connection_close(connection, sender);
		connection_finished(connection, sender);
	} else if (!by_reset && http && connection_http_end(connection, sender)) {
		return;
	} else if (may_be_ended(connection, sender)) {
		connection_reopen(connection, sender, by_reset);
	} else if (by_reset) {
		connection_fail_of(connection, sender, "read", -ECONNRESET);
	} else {
		connection_fail(
		    connection, sender, TALLY_closed,
		    connection->received_bytes ? "the server ended a connection amid "
						 "a reply"
		    : http && !connection->received
			? "the server ended a connection that it never answered (a port of "
			  "TLS may do so)"
			: "the server ended a connection");
	}
}

/* What has come; false: the connection has gone. */
static bool connection_receive(struct connection *connection, struct sender *sender, size_t room)
{
	for (int i = 0; i < TURN_READS; i++) {
		ssize_t n;

		do
			n = sys_read(connection->caller.source.fd, sender->buffer, room);
		while (n == -EINTR);
		if (n == -EAGAIN) {
			connection->caller.source.ready &= (uint8_t)~SOURCE_IN;
			return true;
		}
		if (n == 0 || (n == -ECONNRESET && connection->phase != CONNECTION_CONNECTING)) {
			connection_ended(connection, sender, n < 0 || connection->reset);
			return false;
		}
		if (n < 0) {
			connection_fail_of(
			    connection, sender,
			    connection->phase == CONNECTION_CONNECTING ? "connect" : "read", n);
			return false;
		}
		if (!connection_check(connection, sender, sender->buffer, (size_t)n))
			return false;
		if (connection->caller.slow)
			return true;
		if ((size_t)n < room && !(connection->caller.source.ready & SOURCE_ENDED)) {
			connection->caller.source.ready &= (uint8_t)~SOURCE_IN;
			return true;
		}
	}
	return true; /* the rest in another turn: its bit is still set */
}

/* With --churn and --idle, what an answer leads to. */
static void connection_after_answer(struct connection *connection, struct sender *sender)
{
	const struct plan *plan = sender->plan;

	if (connection->phase != CONNECTION_OPEN)
		return;

	if (plan->idle && !connection_under_way(connection) &&
	    connection->caller.begun == connection->caller.asked) {
		connection_settled(connection, sender);
		sender_answered(sender, &connection->caller);
	}
	if (plan->churn && connection->received && sender->phase != SENDER_RAMP &&
	    (connection->sent_bytes == 0 || plan->protocol->kind == CLIENT_PROTOCOL_SPEAKS)) {
		connection_close(connection, sender);
		connection_absent(connection, sender);
	}
}

/* ---- ending ---- */

void connection_end(struct connection *connection, struct sender *sender)
{
	const struct plan *plan = sender->plan;

	if (connection->phase == CONNECTION_ENDING)
		return;
	if (connection->phase == CONNECTION_OPEN && !connection->caller.slow &&
	    (connection_under_way(connection) || connection->sent_bytes))
		return;
	if (connection->phase != CONNECTION_OPEN || connection->caller.slow || plan->idle ||
	    plan->churn || plan->protocol->kind == CLIENT_PROTOCOL_SPEAKS) {
		connection_close(connection, sender);
		connection_finished(connection, sender);
		return;
	}
	connection->phase = CONNECTION_ENDING;
	/* Where it was reset, a read says so. */
	if (sys_shutdown(connection->caller.source.fd, SHUT_WR) < 0)
		connection->caller.source.ready |= SOURCE_IN;
}

void connection_give_up(struct connection *connection, struct sender *sender)
{
	char detail[TALLY_DETAIL_BYTES];

	if (connection->finished)
		return;
	if (connection->phase == CONNECTION_ABSENT) { /* its error has been counted */
		connection_finished(connection, sender);
		return;
	}
	diagnosis_say_late(detail, connection, sender);
	connection_fail(connection, sender, TALLY_timeout, detail);
}

/* ---- turns ---- */

/* Its deadline has passed, or an older one has. */
static void connection_due(struct connection *connection, struct sender *sender)
{
	uint64_t now_ns = clock_ns(), timeout_ns = sender->plan->timeout_us * 1000;
	uint64_t since_ns = connection->opened_ns;
	char detail[TALLY_DETAIL_BYTES];

	if (connection->phase == CONNECTION_ABSENT || connection->phase == CONNECTION_ENDING)
		return;
	if (connection->caller.slow && connection->phase == CONNECTION_OPEN) {
		loop_deadline(&sender->loop, &connection->caller.source,
			      sender->loop.now_ms + SLOW_READ_MS);
		(void)connection_receive(connection, sender, 1);
		return;
	}
	if (connection->phase == CONNECTION_OPEN) {
		if (sender->plan->protocol->kind == CLIENT_PROTOCOL_SPEAKS)
			since_ns = connection->caller.free_ns;
		else if (connection_under_way(connection))
			since_ns =
			    connection->flights[connection->received % sender->plan->pipeline]
				.sent_ns;
		else
			return;
	}
	if (now_ns - since_ns < timeout_ns) {
		loop_deadline(&sender->loop, &connection->caller.source,
			      sender->loop.now_ms + 1 +
				  (uint32_t)((since_ns + timeout_ns - now_ns) / 1000000));
		return;
	}
	diagnosis_say_late(detail, connection, sender);
	connection_fail(connection, sender, TALLY_timeout, detail);
}

static void connection_turn(struct loop *loop, struct source *source)
{
	struct connection *connection = CONTAINER_OF(source, struct connection, caller.source);
	struct sender *sender = CONTAINER_OF(loop, struct sender, loop);
	bool due = source->ready & SOURCE_DUE;

	source->ready &= (uint8_t) ~(SOURCE_DUE | SOURCE_WOKEN);
	if (source->ready & SOURCE_BROKEN) /* a read will say what it is */
		source->ready =
		    (uint8_t)((source->ready & ~SOURCE_BROKEN) | SOURCE_IN | SOURCE_ENDED);
	if (connection->phase == CONNECTION_ABSENT) {
		bool retry = connection->opened_ns != 0; /* a unix socket that was busy */

		if (retry || connection_is_wanted(connection, sender))
			connection_open(connection, sender);
		return;
	}
	if (connection->phase == CONNECTION_CONNECTING) {
		if (dial_is_up(source->fd))
			connection_connected(connection, sender);
		else if (source->ready & SOURCE_IN) /* a read says why it could not */
			(void)connection_receive(connection, sender, 1);
		else if (due)
			connection_due(connection, sender);
		return;
	}
	if (due) /* what lies there unread is not the server's delay */
		source->ready |= SOURCE_IN;
	if (source->ready & source->want & SOURCE_IN)
		(void)connection_receive(connection, sender, SENDER_BUFFER_BYTES);
	if (due)
		connection_due(connection, sender);
	connection_pump(connection, sender);
	connection_after_answer(connection, sender);
	if (sender->phase == SENDER_END)
		connection_end(connection, sender);
	loop_requeue(loop, source);
}
