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
	uint64_t key;		 /* of its pattern; after 2^24 connections keys repeat */
	uint64_t sent, received; /* whole messages */
	uint32_t sent_bytes;	 /* how much of message number `sent` has been sent */
	uint32_t received_bytes; /* how much of the reply to message `received` has come */
	uint64_t opened_ns;	 /* when connect() was called */
	uint32_t retry_ms;	 /* how long the next attempt waits */
	uint8_t phase;
	bool settled : 1, greeted : 1, greets : 1, finished : 1;
	bool reset : 1;		 /* a write has reported a reset by the server, so no read will */
	struct flight flights[]; /* a ring of plan->pipeline flights, by message number */
};

extern const struct caller_kind connection_kind;

#endif
