/*
 * chat_wire: how lines of chat stand on the wire, to a chat server and to a Redis.
 *
 * Each line has a head and a tail, which are the same for all lines of a run. For chat that is a
 * tail of \n; for Redis (RESP3) it is PUBLISH one way, and the push that comes of it the other way.
 * Clients of a Redis have to subscribe before they count as connected, and get their own lines too.
 * Made once in each process, and only read after.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_WIRE_H
#define BENCH_WEIRLOAD_CHAT_CHAT_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#define CHAT_AFFIX_BYTES   64
#define CHAT_NAME_BYTES	   64	/* no name with its ": " is longer */
#define CHAT_WELCOME_BYTES 2048 /* of what a Redis says of itself before */

struct chat_affix {
	unsigned char bytes[CHAT_AFFIX_BYTES];
	size_t n;
};

struct chat_wire {
	struct chat_affix sent_head, received_head, tail;
	size_t line_bytes, sent_bytes, received_bytes; /* the last two with head and tail */
	size_t kept_max; /* of what was read: so much may be left for the next read */
	const char *hello,
	    *welcome;	/* what a client says first, what then comes last; NULL: none */
	bool own_lines; /* a sender gets what it has sent */
	bool replies;	/* ":N\r\n" may stand between lines */
	bool names;	/* "ADDRESS:PORT: " stands before each line that comes */
};

void chat_wire_make(struct chat_wire *wire, size_t line_bytes, bool redis, bool names);

#endif
