/*
 * connection: one connection of the load, and what is under way on it.
 *
 *     ABSENT -> CONNECTING -> OPEN -> ENDING -> ABSENT
 *
 * ABSENT waits to be opened (again, after an error or in churn); ENDING has shut its side and waits
 * for the server's end. It keeps no bytes: what was sent is computed again to check the reply. It
 * lives as long as its sender.
 */
#ifndef BENCH_WEIRLOAD_TCP_CONNECTION_H
#define BENCH_WEIRLOAD_TCP_CONNECTION_H

#include "bench/weirload/sender.h"

enum connection_phase {
	CONNECTION_ABSENT,
	CONNECTION_CONNECTING,
	CONNECTION_OPEN,
	CONNECTION_ENDING
};

struct connection {
	struct caller caller;
	uint64_t key;		 /* of its bytes; after 2^24 connections keys repeat */
	uint64_t sent, received; /* messages, whole ones */
	uint32_t sent_bytes;	 /* of message number `sent` */
	uint32_t received_bytes; /* of the reply to message number `received` */
	uint64_t opened_ns;	 /* when connect() was called */
	uint32_t retry_ms;	 /* how long the next attempt waits */
	uint8_t phase;
	bool settled : 1, greeted : 1, greets : 1, finished : 1;
	bool reset : 1; /* a write has told of a reset by the server, so that no read will */
	struct flight flights[]; /* plan->pipeline of them: a ring, by message number */
};

extern const struct caller_kind connection_kind;

#endif
