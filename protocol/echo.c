/* echo (RFC 862): every byte comes back, in order; each datagram too. */
#include "protocol/protocol.h"

static void echo_stream(struct conn *conn, unsigned char *bytes, size_t n)
{
	conn_send(conn, bytes, n);
}

static bool echo_datagram(struct datagram *datagram)
{
	(void)datagram; /* it is its own answer */
	return true;
}

const struct protocol echo_protocol = {
    .name = "echo",
    .stream = echo_stream,
    .datagram = echo_datagram,
};
