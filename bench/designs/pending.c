#include "bench/designs/pending.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reactor/base/check.h"
#include "reactor/base/list.h"

/* How many of n bytes the kernel took. */
static size_t write_some(struct conn *conn, const unsigned char *bytes, size_t n)
{
	ssize_t written;

	do
		written = write(conn->source.fd, bytes, n);
	while (written < 0 && errno == EINTR);
	if (written >= 0)
		return (size_t)written;
	if (errno != EAGAIN)
		conn->reason = CLOSE_reset;
	return 0;
}

void conn_send(struct conn *conn, const void *bytes, size_t n)
{
	struct pending *pending = CONTAINER_OF(conn, struct pending, conn);
	const unsigned char *at = bytes;

	if (!pending->owed && n) {
		size_t written = write_some(conn, at, n);

		at += written;
		n -= written;
	}
	if (!n || conn->reason)
		return;
	if (!pending->owed)
		pending->owed = malloc(SERVE_BYTES);
	if (!pending->owed) {
		conn->reason = CLOSE_no_buffers;
		return;
	}
	CHECK(n <= SERVE_BYTES - pending->owed_end);
	memcpy(pending->owed + pending->owed_end, at, n);
	pending->owed_end += n;
}

static void flush(struct pending *pending)
{
	pending->owed_at += write_some(&pending->conn, pending->owed + pending->owed_at,
				       pending->owed_end - pending->owed_at);
	if (pending->owed_at < pending->owed_end)
		return;
	free(pending->owed);
	pending->owed = NULL;
	pending->owed_at = pending->owed_end = 0;
}

static void take_input(struct pending *pending)
{
	static unsigned char bytes[SERVE_BYTES];
	ssize_t n = read(pending->conn.source.fd, bytes, sizeof bytes);

	if (n > 0)
		pending->conn.service->protocol->stream(&pending->conn, bytes, (size_t)n);
	else if (n == 0)
		pending->conn.reason =
		    CLOSE_eof; /* nothing is owed: otherwise this would not read */
	else if (errno != EAGAIN && errno != EINTR)
		pending->conn.reason = CLOSE_reset;
}

static bool lives(struct pending *pending)
{
	if (!pending->conn.reason)
		return true;
	(void)close(pending->conn.source.fd);
	free(pending->owed);
	free(pending);
	return false;
}

struct pending *pending_open(struct service *service, int fd)
{
	struct pending *pending = calloc(1, sizeof *pending);

	if (!pending) {
		serve_trouble("no memory for a connection", ENOMEM);
		(void)close(fd);
		return NULL;
	}
	pending->conn = (struct conn){.source.fd = fd, .service = service};
	if (service->protocol->open)
		service->protocol->open(&pending->conn);
	return lives(pending) ? pending : NULL;
}

bool pending_turn(struct pending *pending)
{
	if (pending->owed)
		flush(pending);
	else
		take_input(pending);
	return lives(pending);
}

short pending_waits_for(const struct pending *pending)
{
	return pending->owed ? POLLOUT : POLLIN;
}
