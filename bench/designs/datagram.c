#include "bench/designs/datagram.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "reactor/base/check.h"

static struct {
	size_t n;
	unsigned char bytes[1 << 16];
} answer; /* one is enough: a process has one exchange at a time */

void conn_send(struct conn *conn, const void *bytes, size_t n)
{
	(void)conn;
	CHECK(n <= sizeof answer.bytes - answer.n);
	memcpy(answer.bytes + answer.n, bytes, n);
	answer.n += n;
}

void datagram_receive(const struct serve *serve, struct exchange *exchange)
{
	for (;;) {
		exchange->peer_n = sizeof exchange->peer;
		ssize_t n = recvfrom(serve->fd, exchange->bytes, sizeof exchange->bytes, 0,
				     (struct sockaddr *)&exchange->peer, &exchange->peer_n);

		if (n >= 0) {
			exchange->n = (size_t)n;
			return;
		}
		if (errno == EINTR)
			continue;
		serve_trouble("a datagram did not come", errno);
		(void)poll(NULL, 0, SERVE_RETRY_MS);
	}
}

void datagram_answer(struct serve *serve, struct exchange *exchange)
{
	const struct protocol *protocol = serve->service.protocol;
	struct conn conn = {.source.fd = serve->fd, .service = &serve->service};

	answer.n = 0;
	if (protocol->open)
		protocol->open(&conn);
	protocol->stream(&conn, exchange->bytes, exchange->n);
	if (sendto(serve->fd, answer.bytes, answer.n, 0, (struct sockaddr *)&exchange->peer,
		   exchange->peer_n) < 0)
		serve_trouble("an answer did not go", errno);
}
