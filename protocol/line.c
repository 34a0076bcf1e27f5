/*
 * line: delimiter framing. Each line, with its \n, comes back once it is whole. A line of
 * more than max-line bytes, \n not counted, closes the connection. The part of a line that
 * has come waits at the end of the write queue, held back.
 */
#include <string.h>

#include "protocol/protocol.h"

struct line {
	uint32_t held; /* bytes of the line under way */
};

static size_t line_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	struct line *line = conn_state(conn);
	uint32_t max = conn_message_max(conn);
	size_t used = 0;

	while (used < n) {
		unsigned char *start = bytes + used;
		unsigned char *end = memchr(start, '\n', n - used);
		size_t part = end ? (size_t)(end - start) : n - used;

		/* A reload may have lowered the limit below what has come. */
		if (line->held > max || part > max - line->held) {
			conn_finish(conn, CLOSE_line_too_long);
			return n;
		}
		if (!end) {
			conn_hold(conn, start, part);
			line->held += (uint32_t)part;
			conn_message_begun(conn);
			return n;
		}
		conn_send(conn, start, part + 1);
		line->held = 0;
		used += part + 1;
		if (!conn_message_done(conn))
			return used;
	}
	return used;
}

const struct protocol line_protocol = {
    .name = "line",
    .state_bytes = sizeof(struct line),
    .input = line_input,
    .message_max = MESSAGE_MAX_LINE,
};
