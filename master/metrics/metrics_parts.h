/*
 * metrics_parts: what the files of metrics share, and nobody else may use.
 *
 *     metrics.c       the address: its sockets, its table of connections, reloads and upgrades
 *     metrics_http.c  what is said there
 *     metrics_room.c  which connection makes room for another
 */
#ifndef MASTER_METRICS_METRICS_PARTS_H
#define MASTER_METRICS_METRICS_PARTS_H

#include "master/metrics/metrics.h"
#include "reactor/stream/conn.h"

extern const struct protocol metrics_protocol;

/* metrics_http.c: borrows both, before anybody is let in. */
void metrics_http_begin(const struct metrics_owner *owner, const struct conn_table *table);

/* metrics_room.c */
/* Closes one connection to make room for a new one, but none that has asked and is not answered. */
void metrics_make_room(struct conn_table *table);

#endif
