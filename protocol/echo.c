/* echo (RFC 862): every byte comes back, in order; each datagram too. */
#include "protocol/protocol.h"

static size_t echo_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	conn_send(conn, bytes, n);
	return n;
}

static bool echo_datagram(struct datagram *datagram)
{
	(void)datagram; /* it is its own answer */
	return true;
}

const struct protocol echo_protocol = {
    .name = "echo",
    .input = echo_input,
    .uses_all = true,
    .datagram = echo_datagram,
};
