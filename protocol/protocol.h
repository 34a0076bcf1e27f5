/*
 * protocol: the meaning of bytes. One file each, one line each in protocols.def.
 *
 * reactor/stream/conn.h says what a protocol is, and which verbs it may use. Each file defines one
 * constant, NAME_protocol. `make EXTRA_PROTOCOL=path/upper.c` adds one that lives elsewhere: the
 * file upper.c, the constant upper_protocol.
 */
#ifndef PROTOCOL_PROTOCOL_H
#define PROTOCOL_PROTOCOL_H

#include "reactor/stream/conn.h"

/* In the order of protocols.def; NULL ends it. */
extern const struct protocol *const protocols[];

/* The PROXY header, which may stand before any of them (proxy/proxy.c). */
extern const struct protocol proxy_protocol;

const struct protocol *protocol_find(const char *name); /* NULL: there is none */

/* Registers them all; each process does so before it serves, or reads what it is to serve. Calling
 * it again does nothing. */
void protocols_register(void);

#endif
