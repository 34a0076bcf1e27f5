/*
 * chat_wire: the form of chat lines on the wire, for a chat server and for Redis.
 *
 * Each line has a head and a tail, which are the same for all lines of a run. For chat that is only
 * a \n at the end; for Redis (RESP3) it is a PUBLISH to the server, and a push message from it.
 * Clients of Redis have to subscribe before they count as connected, and get their own lines too.
 * Made once in each process, and read-only from then on.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_WIRE_H
#define BENCH_WEIRLOAD_CHAT_CHAT_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#define CHAT_AFFIX_BYTES   64
#define CHAT_NAME_BYTES	   64	/* no name with its ": " is longer */
#define CHAT_WELCOME_BYTES 2048 /* the longest answer of Redis to a client that subscribes */

struct chat_affix {
	unsigned char bytes[CHAT_AFFIX_BYTES];
	size_t n;
};

struct chat_wire {
	struct chat_affix sent_head, received_head, tail;
	size_t line_bytes, sent_bytes, received_bytes; /* the last two with head and tail */
	size_t kept_max; /* so many bytes may be kept from one read to the next */
	const char *hello,
	    *welcome;	/* what a client says first, and the end of the answer; NULL: none */
	bool own_lines; /* a sender gets its own lines back */
	bool replies;	/* ":N\r\n" may stand between lines */
	bool names;	/* "ADDRESS:PORT: " comes before each line that is received */
};

void chat_wire_make(struct chat_wire *wire, size_t line_bytes, bool redis, bool names);

#endif
