/*
 * connection_parts: what the files of the connection's room share, and nobody else may use.
 *
 *     connection.c       messages, replies, turns, the end
 *     connection_open.c  how it comes up, and its face to the sender
 */
#ifndef BENCH_WEIRLOAD_CONNECTION_PARTS_H
#define BENCH_WEIRLOAD_CONNECTION_PARTS_H

#include "bench/weirload/connection.h"

/* connection_open.c */
void connection_open(struct connection *connection, struct sender *sender);

/* connection.c */
void connection_init(struct connection *connection, struct sender *sender);
/* Sends what may be sent by now. */
void connection_pump(struct connection *connection, struct sender *sender);
/* No more messages: ends when what is under way has been answered. */
void connection_end(struct connection *connection, struct sender *sender);
/* The time is over: what is still awaited is an error. */
void connection_give_up(struct connection *connection, struct sender *sender);
void connection_connected(struct connection *connection, struct sender *sender);
void connection_close(struct connection *connection, struct sender *sender);
/* Counts it, closes, and opens anew later where the run goes on. */
void connection_fail(struct connection *connection, struct sender *sender, enum tally_error kind,
		     const char *detail);
void connection_fail_of(struct connection *connection, struct sender *sender, const char *call,
			ssize_t error); /* -errno */

#endif
