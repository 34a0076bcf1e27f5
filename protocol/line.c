/*
 * line: delimiter framing. Each line, with its \n, comes back once it is whole. A line of
 * more than max-line bytes, \n not counted, closes the connection. The part of a line that
 * has come waits at the end of the write queue, held back.
 */
#include <string.h>

#include "protocol/lines.h"
#include "protocol/protocol.h"

enum { MAX_LINE };
static struct setting line_settings[] = {[MAX_LINE] = LINES_MAX_LINE(1u << 30), {0}};

enum { TOO_LONG };
static struct reason line_reasons[] = {[TOO_LONG] = LINES_TOO_LONG, {0}};

struct line {
	uint32_t held; /* bytes of the line under way */
};

static size_t line_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	struct line *line = conn_state(conn);
	uint32_t max = (uint32_t)conn_setting(conn, MAX_LINE);
	size_t used = 0;

	while (used < n) {
		unsigned char *start = bytes + used;
		unsigned char *end = memchr(start, '\n', n - used);
		size_t part = end ? (size_t)(end - start) : n - used;

		/* A reload may have lowered the limit below what has come. */
		if (line->held > max || part > max - line->held) {
			conn_fail(conn, TOO_LONG);
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
    .settings = line_settings,
    .reasons = line_reasons,
};
