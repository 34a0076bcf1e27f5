/*
 * The verbs of a connection that echo and increment do not use: protocols that do are linked, too.
 * The designs differ in conn_send, the one verb that those two use: blocking.c waits, pending.c
 * keeps what the kernel did not take, datagram.c gathers an answer.
 */
#include "reactor/base/check.h"
#include "reactor/stream/conn.h"
#include "reactor/pubsub/delivery.h"

void conn_hold(struct conn *conn, const void *bytes, size_t n)
{
	(void)conn;
	(void)bytes;
	(void)n;
	check_failed(__FILE__, __LINE__, __func__, "no design serves what holds bytes back");
}

void conn_finish(struct conn *conn, enum close_reason reason)
{
	conn->reason = (uint8_t)reason;
}

void conn_message_begun(struct conn *conn)
{
	(void)conn; /* no design has timeouts */
}

void conn_request_begun(struct conn *conn)
{
	(void)conn;
}

void conn_message_progress(struct conn *conn)
{
	(void)conn;
}

bool conn_message_taken(struct conn *conn)
{
	(void)conn;
	return true;
}

bool conn_message_done(struct conn *conn)
{
	(void)conn; /* no design has budgets */
	return true;
}

void conn_produce(struct conn *conn, bool more)
{
	(void)conn;
	CHECK(!more); /* no design serves a protocol that says more than it reads */
}

bool conn_peer(const struct conn *conn, struct address *peer)
{
	(void)conn;
	(void)peer;
	return false;
}

/* No design stands behind a proxy. */
void conn_set_peer(struct conn *conn, const struct address *peer)
{
	(void)conn;
	(void)peer;
}

bool conn_count_peer(struct conn *conn)
{
	(void)conn;
	return true;
}

void conn_end_prefix(struct conn *conn)
{
	(void)conn;
}

/* No design has topics: thread-chat does without weir's protocol code. */
const struct shared_kind pubsub_kind = {"pubsub"};

bool subscribe(struct subscriptions *subscriptions, struct conn *conn, uint32_t *list,
	       const char *name, size_t n, const struct format *format, struct since since)
{
	(void)subscriptions;
	(void)conn;
	(void)list;
	(void)name;
	(void)n;
	(void)format;
	(void)since;
	return false;
}

void unsubscribe_all(struct subscriptions *subscriptions, uint32_t *list)
{
	(void)subscriptions;
	(void)list;
}

void subscriptions_produce(struct subscriptions *subscriptions, uint32_t list, struct conn *conn)
{
	(void)subscriptions;
	(void)list;
	(void)conn;
}

size_t subscriptions_bytes(const struct subscriptions *subscriptions, uint32_t list)
{
	(void)subscriptions;
	(void)list;
	return 0;
}

void subscriptions_describe(const struct subscriptions *subscriptions, uint32_t list,
			    unsigned char *bytes)
{
	(void)subscriptions;
	(void)list;
	(void)bytes;
}

bool subscriptions_are_valid(const unsigned char *bytes, size_t n)
{
	(void)bytes;
	(void)n;
	return false;
}

bool subscriptions_restore(struct subscriptions *subscriptions, struct conn *conn, uint32_t *list,
			   const unsigned char *bytes, size_t n, const struct format *format)
{
	(void)subscriptions;
	(void)conn;
	(void)list;
	(void)bytes;
	(void)n;
	(void)format;
	return false;
}

uint64_t journal_serial(const struct journal *journal)
{
	(void)journal;
	return 0;
}

bool delivery_say(struct delivery *delivery, uint32_t handle, struct iovec first,
		  struct iovec second)
{
	(void)delivery;
	(void)handle;
	(void)first;
	(void)second;
	return false;
}

void conn_abort(struct conn *conn, enum close_reason reason)
{
	conn_finish(conn, reason);
}

void conn_fail(struct conn *conn, unsigned i)
{
	(void)i;
	conn_finish(conn, CLOSE_finished);
}
