/*
 * control_parts: what the files of control share, and nobody else may use.
 *
 *     control.c         the socket: where it listens, which clients may ask, upgrades
 *     control_client.c  the clients: a request in, an answer out
 */
#ifndef MASTER_CONTROL_CONTROL_PARTS_H
#define MASTER_CONTROL_CONTROL_PARTS_H

#include "master/control/control.h"
#include "reactor/stream/conn.h"

extern const struct protocol control_protocol;

/* Before the first client. Borrows owner. */
void control_client_begin(const struct control_owner *owner);
/* Takes over fd, as conn_open() does, and lets peer ask. */
void control_client_open(struct service *service, int fd, const struct ucred *peer);

#endif
