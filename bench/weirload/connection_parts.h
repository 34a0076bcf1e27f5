/*
 * connection_parts: what the files of the connection's room share, and nobody else may use.
 *
 *     connection.c       messages, replies, turns, the end
 *     connection_open.c  how it comes up
 */
#ifndef BENCH_WEIRLOAD_CONNECTION_PARTS_H
#define BENCH_WEIRLOAD_CONNECTION_PARTS_H

#include "bench/weirload/connection.h"

/* connection.c */
void connection_connected(struct connection *connection, struct sender *sender);
void connection_close(struct connection *connection, struct sender *sender);
/* Counts it, closes, and opens anew later where the run goes on. */
void connection_fail(struct connection *connection, struct sender *sender, enum tally_error kind,
		     const char *detail);
void connection_fail_of(struct connection *connection, struct sender *sender, const char *call,
			ssize_t error); /* -errno */

#endif
