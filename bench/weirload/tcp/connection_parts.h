/*
 * connection_parts: what the files of the connection's room share, and nobody else may use.
 *
 *     connection.c       messages, replies, turns, the end
 *     connection_open.c  how it comes up, and its face to the sender
 *     connection_http.c  replies of HTTP
 */
#ifndef BENCH_WEIRLOAD_TCP_CONNECTION_PARTS_H
#define BENCH_WEIRLOAD_TCP_CONNECTION_PARTS_H

#include "bench/weirload/tcp/connection.h"

/* connection_open.c */
void connection_open(struct connection *connection, struct sender *sender);

/* connection_http.c */
size_t connection_http_bytes(void); /* of it, beside others */
void connection_http_begin(struct connection *connection, const struct sender *sender);
/* Checks n bytes that have come. False: the connection has ended over it. */
bool connection_http_check(struct connection *connection, struct sender *sender,
			   unsigned char *bytes, size_t n, uint64_t now_ns);
/* The server has ended its side. True: a reply was whole with that, and all has been done. */
bool connection_http_end(struct connection *connection, struct sender *sender);
/* Whether it has got a whole reply, and nothing of the next one. */
bool connection_http_is_between(struct connection *connection, const struct sender *sender);

/* connection.c */
void connection_init(struct connection *connection, struct sender *sender);
/* Sends what may be sent by now. */
void connection_pump(struct connection *connection, struct sender *sender);
/* No more messages: ends when what is under way has been answered. */
void connection_end(struct connection *connection, struct sender *sender);
/* The time is over: what is still awaited is an error. */
void connection_give_up(struct connection *connection, struct sender *sender);
/* Messages that were begun and not answered. */
uint64_t connection_under_way(const struct connection *connection);
void connection_answered(struct connection *connection, struct sender *sender, uint64_t now_ns);
/* bytes are not what they should be: says how, and ends the connection. */
void connection_wrong(struct connection *connection, struct sender *sender, unsigned char *bytes,
		      size_t n);
/* The server ends it, as it may: what is under way is asked again on another one. */
void connection_reopen(struct connection *connection, struct sender *sender, bool by_reset);
void connection_connected(struct connection *connection, struct sender *sender);
void connection_close(struct connection *connection, struct sender *sender);
/* Counts it, closes, and opens anew later where the run goes on. */
void connection_fail(struct connection *connection, struct sender *sender, enum tally_error kind,
		     const char *detail);
void connection_fail_of(struct connection *connection, struct sender *sender, const char *call,
			ssize_t error); /* -errno */

#endif
