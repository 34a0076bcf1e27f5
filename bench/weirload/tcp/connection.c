#include "bench/weirload/tcp/connection_parts.h"

#include <errno.h>
#include <stdlib.h>

#include "bench/weirload/http/http_body.h"
#include "bench/weirload/http/http_reply.h"
#include "bench/weirload/plan/dial.h"
#include "bench/weirload/report/diagnosis.h"
#include "reactor/base/check.h"
#include "reactor/base/list.h"
#include "reactor/base/sys.h"

#define TURN_READS 4

/* ---- receiving ---- */

static bool expects_bytes(const struct connection *connection, const struct sender *sender)
{
	if (sender->plan->protocol->kind != CLIENT_PROTOCOL_ANSWERS)
		return sender->plan->protocol->kind == CLIENT_PROTOCOL_SPEAKS;
	return connection_under_way(connection) != 0;
}

/* Checks n bytes that have come. False: the connection was ended because of them. */
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
	if (connection->greets && !connection->greeted) { /* a greeting is one byte long */
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

/* A server of HTTP may end a connection between answers, in any way and whatever is under way: it
 * can't know of a request that has not arrived, and a close() with a request unread sends a reset.
 * What is under way is asked again. An end before the first answer of a connection is an error. */
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

/* Reads what has come. False: the connection has gone. */
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
	return true; /* the rest is read in another turn: SOURCE_IN is still set */
}

/* With --churn and --idle: what happens after an answer. */
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

/* No more messages: ends when what is under way has been answered. */
static void connection_end(struct connection *connection, struct sender *sender)
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
	/* If the connection was reset, a read will say so. */
	if (sys_shutdown(connection->caller.source.fd, SHUT_WR) < 0)
		connection->caller.source.ready |= SOURCE_IN;
}

static void connection_give_up(struct connection *connection, struct sender *sender)
{
	char detail[TALLY_DETAIL_BYTES];

	if (connection->finished)
		return;
	if (connection->phase == CONNECTION_ABSENT) { /* why it is absent has been counted */
		connection_finished(connection, sender);
		return;
	}
	diagnosis_say_late(detail, connection, sender);
	connection_fail(connection, sender, TALLY_timeout, detail);
}

/* ---- turns ---- */

/* Its deadline has passed, or an earlier one that was put off since. */
static void connection_due(struct connection *connection, struct sender *sender)
{
	uint64_t now_ns = clock_ns(), timeout_ns = sender->plan->timeout_us * 1000;
	uint64_t since_ns = connection->opened_ns;
	char detail[TALLY_DETAIL_BYTES];

	if (connection->phase == CONNECTION_ABSENT || connection->phase == CONNECTION_ENDING)
		return;
	if (connection->caller.slow && connection->phase == CONNECTION_OPEN) {
		loop_deadline(&sender->loop, &connection->caller.source,
			      sender->loop.now_ms + CONNECTION_SLOW_READ_MS);
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
	if (source->ready & SOURCE_BROKEN) /* a read will say what has happened */
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
		else if (source->ready & SOURCE_IN) /* a read says why it could not connect */
			(void)connection_receive(connection, sender, 1);
		else if (due)
			connection_due(connection, sender);
		return;
	}
	if (due) /* a reply that lies there unread is not late */
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

/* ---- what a sender asks of a connection ---- */

static struct connection *connection_of(struct caller *caller)
{
	return CONTAINER_OF(caller, struct connection, caller);
}

static void kind_prepare(struct sender *sender)
{
	bool http = sender->plan->protocol->http;

	sender->buffer = malloc(SENDER_BUFFER_BYTES);
	sender->expected = malloc(SENDER_BUFFER_BYTES);
	sender->head = http ? calloc(1, sizeof *sender->head) : NULL;
	sender->body = http ? calloc(1, sizeof *sender->body) : NULL;
	if (!sender->buffer || !sender->expected || (http && (!sender->head || !sender->body)))
		die("no memory for %u connections", sender->callers_n);
}

static size_t kind_bytes(const struct sender *sender)
{
	return sizeof(struct connection) + sender->plan->pipeline * sizeof(struct flight) +
	       (sender->plan->protocol->http ? connection_http_bytes() : 0);
}

static void kind_init(struct caller *caller, struct sender *sender)
{
	source_init(&caller->source, -1, connection_turn);
	connection_of(caller)->greets = sender->plan->protocol->greeting != NULL;
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

const struct caller_kind connection_kind = {.prepare = kind_prepare,
					    .bytes = kind_bytes,
					    .init = kind_init,
					    .open = kind_open,
					    .is_open = kind_is_open,
					    .start = sender_wake_callers,
					    .ask = kind_ask,
					    .end = kind_end,
					    .give_up = kind_give_up};
