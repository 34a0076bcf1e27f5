#include "bench/weirload/tcp/connection_parts.h"

#include "bench/weirload/report/diagnosis.h"
#include "reactor/base/sys.h"

#define RETRY_MS_FIRST 10
#define RETRY_MS_MAX   1000

/* A reply may be whole before its message has been sent to the end. */
uint64_t connection_under_way(const struct connection *connection)
{
	uint64_t begun = connection->sent + (connection->sent_bytes != 0);

	return begun > connection->received ? begun - connection->received : 0;
}

/* ---- an answer ---- */

void connection_answered(struct connection *connection, struct sender *sender, uint64_t now_ns)
{
	const struct plan *plan = sender->plan;
	struct tally *tally = sender->tally;
	struct flight *flight = &connection->flights[connection->received % plan->pipeline];

	/* free_ns is set only when there was no room until now. */
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

void connection_settled(struct connection *connection, struct sender *sender)
{
	if (connection->settled)
		return;
	connection->settled = true;
	sender_connected(sender);
	sender_settled(sender);
}

void connection_finished(struct connection *connection, struct sender *sender)
{
	if (connection->finished)
		return;
	connection->finished = true;
	sender_finished(sender);
}

bool connection_is_wanted(const struct connection *connection, const struct sender *sender)
{
	const struct plan *plan = sender->plan;

	if (sender->phase != SENDER_RUN || plan->idle)
		return false;
	return !plan->churn || !plan_is_open(plan) ||
	       connection->caller.asked > connection->caller.begun;
}

void connection_absent(struct connection *connection, struct sender *sender)
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
		TALLY_ADD(tally, slow_ended, 1); /* a server may do that */
	} else {
		sender_wrong(sender, kind, 1, "%s", detail);
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

void connection_wrong(struct connection *connection, struct sender *sender, unsigned char *bytes,
		      size_t n)
{
	char detail[TALLY_DETAIL_BYTES];
	enum tally_error kind = diagnosis_of_reply(connection, sender, bytes, n, detail);

	connection_fail(connection, sender, kind, detail);
}
