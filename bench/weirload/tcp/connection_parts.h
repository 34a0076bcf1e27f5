/*
 * connection_parts: what the files of a connection share, and nobody else may use. Each of them
 * calls only those below it:
 *
 *     connection.c          what it reads; its turns; its end in END; what the sender calls
 *     connection_open.c     how it comes up
 *     connection_send.c     what it writes
 *     connection_http.c     replies of HTTP
 *     connection_outcome.c  an answer, an error, and the end of a connection
 */
#ifndef BENCH_WEIRLOAD_TCP_CONNECTION_PARTS_H
#define BENCH_WEIRLOAD_TCP_CONNECTION_PARTS_H

#include "bench/weirload/tcp/connection.h"

#define CONNECTION_SLOW_READ_MS 1000 /* from one byte that a slow one reads to the next */

/* ---- connection_open.c ---- */

void connection_open(struct connection *connection, struct sender *sender);
/* connect() has succeeded. */
void connection_connected(struct connection *connection, struct sender *sender);

/* ---- connection_send.c ---- */

/* Sends what may be sent by now, with one write. */
void connection_pump(struct connection *connection, struct sender *sender);

/* ---- connection_http.c ---- */

size_t connection_http_bytes(void); /* memory that http takes of each connection, in addition */
void connection_http_begin(struct connection *connection, const struct sender *sender);
/* Checks n bytes that have come. False: the connection was ended because of them. */
bool connection_http_check(struct connection *connection, struct sender *sender,
			   unsigned char *bytes, size_t n, uint64_t now_ns);
/* The server has ended its side. True: that made a reply whole, and nothing is left to be done. */
bool connection_http_end(struct connection *connection, struct sender *sender);
/* Whether it has received a whole reply, and nothing of the next one. */
bool connection_http_is_between(struct connection *connection, const struct sender *sender);

/* ---- connection_outcome.c ---- */

/* The number of messages that were begun and are not answered. */
uint64_t connection_under_way(const struct connection *connection);
void connection_answered(struct connection *connection, struct sender *sender, uint64_t now_ns);
/* Its first attempt has ended, well or not; with --idle only when its message is answered. */
void connection_settled(struct connection *connection, struct sender *sender);
/* END: it needs no more attention. */
void connection_finished(struct connection *connection, struct sender *sender);
/* Whether an absent connection is to be opened again. */
bool connection_is_wanted(const struct connection *connection, const struct sender *sender);
void connection_close(struct connection *connection, struct sender *sender);
/* To be called when it has gone, for whatever reason: it is opened again if the run goes on. */
void connection_absent(struct connection *connection, struct sender *sender);
/* The server ends it, and has the right to: what is under way is asked again on another one. */
void connection_reopen(struct connection *connection, struct sender *sender, bool by_reset);
/* Counts an error, closes, and opens again later if the run goes on. */
void connection_fail(struct connection *connection, struct sender *sender, enum tally_error kind,
		     const char *detail);
void connection_fail_of(struct connection *connection, struct sender *sender, const char *call,
			ssize_t error); /* -errno */
/* bytes are not what they should be: says how, and ends the connection. */
void connection_wrong(struct connection *connection, struct sender *sender, unsigned char *bytes,
		      size_t n);

#endif
