/*
 * The write of one turn. What a protocol sends is not copied: the outbox remembers where it
 * lies, one writev sends the queue and it together, and only the rest is queued.
 */
#include "reactor/stream/conn_parts.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

void outbox_clear(struct outbox *outbox)
{
	outbox->n = 0;
	outbox->bytes = 0;
	outbox->held.iov_len = 0;
}

/* Keeps what the kernel did not take: n bytes of the outbox have gone. */
static void outbox_keep(struct conn *conn, struct conn_table *table, size_t n)
{
	struct outbox *outbox = &table->outbox;
	size_t left = outbox->bytes - n + outbox->held.iov_len;
	bool kept = true;

	for (int i = 0; kept && i < outbox->n; i++) {
		struct iovec span = outbox->spans[i];

		if (n >= span.iov_len) {
			n -= span.iov_len;
			continue;
		}
		left -= span.iov_len - n;
		kept = queue_append_of(&conn->queue, &table->buffers, (char *)span.iov_base + n,
				       span.iov_len - n, left);
		n = 0;
	}
	if (kept && outbox->held.iov_len)
		kept = queue_hold(&conn->queue, &table->buffers, outbox->held.iov_base,
				  outbox->held.iov_len);
	outbox_clear(outbox);
	/* Only a protocol that sends more than it reads, in one turn, can get here. */
	if (!kept)
		conn_die(conn, CLOSE_no_buffers);
}

void conn_send(struct conn *conn, const void *bytes, size_t n)
{
	struct conn_table *table = conn->service->table;
	struct outbox *outbox = &table->outbox;
	struct iovec span = {(void *)(uintptr_t)bytes, n};

	if (!conn->queue.owed)
		conn->progress_ms = table->loop->now_ms;
	queue_commit(&conn->queue);
	if (outbox->held.iov_len) { /* it goes now, before these */
		struct iovec held = outbox->held;

		outbox->held.iov_len = 0;
		conn_send(conn, held.iov_base, held.iov_len);
	}
	if (!n || conn->phase != OPEN)
		return;
	if (outbox->n) {
		struct iovec *last = &outbox->spans[outbox->n - 1];

		if ((char *)last->iov_base + last->iov_len == (char *)span.iov_base) {
			last->iov_len += n;
			outbox->bytes += n;
			return;
		}
	}
	if (outbox->n == CONN_SPANS) {
		outbox_keep(conn, table, 0);
		if (conn->phase != OPEN)
			return;
	}
	outbox->bytes += n;
	outbox->spans[outbox->n++] = span;
}

void conn_copy(struct conn *conn, const void *bytes, size_t n)
{
	struct conn_table *table = conn->service->table;
	struct outbox *outbox = &table->outbox;
	unsigned char *copy;

	if (conn->phase != OPEN)
		return;
	if (!outbox->n)
		outbox->copies_n = 0;
	if (n > OUTBOX_COPIES - outbox->copies_n) { /* the queue takes all, and copies it */
		conn_send(conn, bytes, n);
		outbox_keep(conn, table, 0);
		return;
	}
	copy = outbox->copies + outbox->copies_n;
	memcpy(copy, bytes, n);
	outbox->copies_n += n;
	conn_send(conn, copy, n);
}

void conn_hold(struct conn *conn, const void *bytes, size_t n)
{
	struct outbox *outbox = &conn->service->table->outbox;

	if (!n || conn->phase != OPEN)
		return;
	if (outbox->held.iov_len)
		outbox_keep(conn, conn->service->table, 0);
	if (conn->phase != OPEN)
		return;
	outbox->held = (struct iovec){(void *)(uintptr_t)bytes, n};
}

bool conn_share(struct conn *conn, struct chunk *chunk, uint32_t begin, uint32_t end)
{
	struct conn_table *table = conn->service->table;

	if (conn->phase != OPEN)
		return false;
	CHECK(!conn->queue.held);
	if (!conn->queue.owed)
		conn->progress_ms = table->loop->now_ms;
	if (!queue_share(&conn->queue, &table->buffers, chunk, begin, end)) {
		conn_abort(conn, CLOSE_no_buffers);
		return false;
	}
	conn->source.want |= SOURCE_OUT;
	loop_requeue(table->loop, &conn->source);
	return true;
}

/* One writev of queue and outbox. True: all of it was taken. */
static bool conn_write(struct conn *conn, struct conn_table *table, size_t *sent)
{
	struct outbox *outbox = &table->outbox;
	struct iovec spans[2 * CONN_SPANS];
	int n = queue_spans(&conn->queue, spans, CONN_SPANS);
	size_t bytes = 0;
	ssize_t written;

	for (int i = 0; i < n; i++)
		bytes += spans[i].iov_len;
	if (bytes == conn->queue.owed) { /* else the outbox has to wait */
		memcpy(spans + n, outbox->spans, (size_t)outbox->n * sizeof *spans);
		n += outbox->n;
		bytes += outbox->bytes;
	}
	do
		written = n == 1 ? sys_write(conn->source.fd, spans->iov_base, spans->iov_len)
				 : sys_writev(conn->source.fd, spans, n);
	while (written == -EINTR);
	if (written == -ENOBUFS || written == -ENOMEM) /* no edge follows these: register anew */
		conn->source.watches_out = false;
	if (written == -EAGAIN || written == -ENOBUFS || written == -ENOMEM)
		written = 0;
	if (written < 0) {
		conn_die_of(conn, written);
		return false;
	}
	*sent = (size_t)written;
	return *sent == bytes;
}

void conn_flush(struct conn *conn, struct conn_table *table)
{
	struct outbox *outbox = &table->outbox;
	bool owed = conn->queue.owed != 0;

	while ((conn->source.ready & SOURCE_OUT) && conn->queue.owed + outbox->bytes) {
		size_t sent = 0, from_queue;
		bool all = conn_write(conn, table, &sent);

		if (conn->phase == DEAD) {
			outbox_clear(outbox);
			return;
		}
		if (sent) {
			conn->active_ms = conn->progress_ms = table->loop->now_ms;
			STATS_ADD(table->stats, sent_bytes, sent);
		}
		from_queue = sent < conn->queue.owed ? sent : conn->queue.owed;
		if (from_queue)
			queue_sent(&conn->queue, &table->buffers, from_queue);
		if (!all)
			conn->source.ready &= (uint8_t)~SOURCE_OUT;
		if (all && !conn->queue.owed && !outbox->held.iov_len)
			outbox_clear(outbox);
		else if (sent > from_queue || !conn->queue.owed || !all)
			outbox_keep(conn, table, sent - from_queue);
	}
	if (outbox->n || outbox->held.iov_len)
		outbox_keep(conn, table, 0);
	if (!conn->queue.owed)
		return;
	if (!owed)
		conn->progress_ms = table->loop->now_ms;
	int error = loop_watch_out(table->loop, &conn->source);
	if (error)
		conn_die_of(conn, error);
}
