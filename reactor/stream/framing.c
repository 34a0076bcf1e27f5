#include "reactor/stream/framing.h"

#include <string.h>

#include "reactor/stream/conn_parts.h"

#define COPIED_MAX 256 /* a piece up to this is cheaper to copy than to hand over as a span */

/* ---- in ---- */

/* Has the connection neither ended nor turned into another protocol? Else its state is no longer
 * the framing's. */
static bool is_there(const struct conn *conn, const struct conn_table *table)
{
	return conn->phase == OPEN && !table->switched;
}

static bool goes_on(const struct conn *conn, const struct conn_table *table)
{
	return is_there(conn, table) && conn_listens(conn) && table->messages_left;
}

/* False: it was not taken. */
static bool hand_over(struct conn *conn, struct conn_table *table, struct message message)
{
	const struct protocol *protocol = conn->service->protocol;

	conn->message_open = false; /* it is whole, should the connection end by what it says */
	if (!protocol->message(conn, message))
		return false;
	STATS_ADD(table->stats, messages, 1);
	if (table->messages_left)
		table->messages_left--;
	if (protocol->framing->taken && is_there(conn, table))
		protocol->framing->taken(conn);
	return true;
}

size_t framing_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	struct conn_table *table = conn->service->table;
	const struct framing *framing = framing_of(conn);
	size_t used = 0;

	while (used < n && goes_on(conn, table)) {
		struct message message = {0};
		size_t cut;

		conn_message_begun(conn);
		cut = framing->cut(conn, bytes + used, n - used, &message);
		CHECK(cut <= n - used && (cut || !message.bytes));
		if (!cut)
			break;
		if (message.bytes && is_there(conn, table) && !hand_over(conn, table, message))
			break;
		used += cut;
	}
	return used;
}

/* ---- out ---- */

/* Where the pieces of a message go: to a connection, or to memory. */
struct framed {
	struct conn *conn; /* NULL: memory */
	unsigned char *to; /* NULL: they are counted only */
	size_t n;
};

static void framed_write(struct framed *framed, const void *bytes, size_t n)
{
	if (framed->to && n)
		memcpy(framed->to + framed->n, bytes, n);
	framed->n += n;
}

void framed_add(struct framed *framed, const void *bytes, size_t n)
{
	if (framed->conn)
		conn_copy(framed->conn, bytes, n);
	else
		framed_write(framed, bytes, n);
}

void framed_payload(struct framed *framed, const void *bytes, size_t n)
{
	if (framed->conn && n > COPIED_MAX)
		conn_send(framed->conn, bytes, n);
	else
		framed_add(framed, bytes, n);
}

void conn_send_message(struct conn *conn, struct message message)
{
	if (conn->phase != OPEN)
		return;
	framing_of(conn)->frame(&(struct framed){.conn = conn}, message);
	STATS_ADD(conn->service->table->stats, messages_sent, 1);
}

size_t framing_write(const struct framing *framing, struct message message, void *to)
{
	struct framed framed = {.to = to};

	framing->frame(&framed, message);
	return framed.n;
}
