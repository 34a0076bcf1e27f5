/*
 * increment: a stateful protocol between two delimiters. Sends `*` when the connection
 * comes up; ignores bytes until `^`; then returns each byte plus one (255 becomes 0) until
 * `$`; and so on.
 */
#include "protocol/protocol.h"

struct increment {
	uint8_t inside; /* between ^ and $ */
};

static void increment_open(struct conn *conn)
{
	conn_send(conn, "*", 1);
}

/* The output is never longer than the input: it takes the input's place. */
static void increment_stream(struct conn *conn, unsigned char *bytes, size_t n)
{
	struct increment *increment = conn_state(conn);
	unsigned char *out = bytes;

	for (size_t i = 0; i < n; i++) {
		unsigned char byte = bytes[i];

		if (!increment->inside)
			increment->inside = byte == '^';
		else if (byte == '$')
			increment->inside = 0;
		else
			*out++ = (unsigned char)(byte + 1);
	}
	conn_send(conn, bytes, (size_t)(out - bytes));
}

const struct protocol increment_protocol = {
    .name = "increment",
    .state_bytes = sizeof(struct increment),
    .open = increment_open,
    .stream = increment_stream,
};
