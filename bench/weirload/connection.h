/*
 * connection: one connection of the load, and what is under way on it.
 *
 *     ABSENT -> CONNECTING -> OPEN -> ENDING -> ABSENT
 *
 * ABSENT waits to be opened (again, after an error or in churn); ENDING has shut its side and
 * waits for the server's end. It keeps no bytes: what was sent is computed again to check
 * the reply. A connection dies with its sender.
 */
#ifndef BENCH_WEIRLOAD_CONNECTION_H
#define BENCH_WEIRLOAD_CONNECTION_H

#include "bench/weirload/sender.h"

enum connection_phase {
	CONNECTION_ABSENT,
	CONNECTION_CONNECTING,
	CONNECTION_OPEN,
	CONNECTION_ENDING
};

struct flight {
	uint64_t sent_ns, due_ns;
};

struct connection {
	struct source source;
	uint64_t key;		 /* of its bytes; 2^24 connections later another one has it again */
	uint64_t sent, received; /* messages, whole ones */
	uint32_t sent_bytes;	 /* of message number `sent` */
	uint32_t received_bytes; /* of the reply to message number `received` */
	uint64_t asked, begun;	 /* open loop: messages that were due so far; that were begun */
	uint64_t opened_ns;	 /* when connect() was called */
	uint64_t free_ns;	 /* when there was last room for one more message */
	uint32_t number;	 /* among those of its sender */
	uint32_t retry_ms;	 /* how long the next attempt waits */
	uint8_t phase;
	bool slow : 1, settled : 1, greeted : 1, greets : 1, finished : 1;
	bool busy : 1;		 /* with --idle: its last message is under way */
	struct flight flights[]; /* plan->pipeline of them: a ring, by message number */
};

void connection_init(struct connection *connection, struct sender *sender, uint32_t number);
void connection_open(struct connection *connection, struct sender *sender);
/* Sends what may be sent by now. */
void connection_pump(struct connection *connection, struct sender *sender);
/* No more messages: ends when what is under way has been answered. */
void connection_end(struct connection *connection, struct sender *sender);
/* The time is over: what is still awaited is an error. */
void connection_give_up(struct connection *connection, struct sender *sender);

#endif
