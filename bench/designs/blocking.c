#include "bench/designs/blocking.h"

#include <errno.h>
#include <unistd.h>

void conn_send(struct conn *conn, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n && !conn->reason) {
		ssize_t written = write(conn->source.fd, at, n);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0) {
			conn->reason = CLOSE_reset;
			return;
		}
		at += written;
		n -= (size_t)written;
	}
}

void blocking_serve(struct service *service, int in, int out)
{
	struct conn conn = {.source.fd = out, .service = service};
	unsigned char bytes[SERVE_BYTES];

	if (service->protocol->open)
		service->protocol->open(&conn);
	while (!conn.reason) {
		ssize_t n = read(in, bytes, sizeof bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		service->protocol->stream(&conn, bytes, (size_t)n);
	}
}
