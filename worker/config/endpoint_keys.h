/*
 * endpoint_keys: the keys of a LISTENER, KEY=VALUE[&KEY=VALUE]...
 *
 * Those that a listener has whatever its protocol are a table here; the others are settings of its
 * protocol, of those that this may turn into, and of the prefix before it
 * (reactor/stream/protocol.h).
 */
#ifndef WORKER_CONFIG_ENDPOINT_KEYS_H
#define WORKER_CONFIG_ENDPOINT_KEYS_H

#include "worker/config/endpoint.h"

/* Sets what text says, which is cut in pieces. False, and what is wrong. */
bool endpoint_keys_set(struct endpoint *endpoint, char *text, char *error, size_t error_n);
/* Writes those that were set behind a LISTENER's address. */
void endpoint_keys_format(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES]);
/* The names of all, with `between` between two of them. Returns how many bytes it wrote. */
size_t endpoint_keys_list(char *text, size_t n, const char *between);
/* A setting of a protocol, or of those that it may turn into; NULL: they have none of that name. */
const struct setting *endpoint_setting_of(const struct protocol *protocol, const char *name);
/* What the LISTENER itself says of a setting; 0: nothing. */
uint64_t endpoint_setting(const struct endpoint *endpoint, const char *name);

#endif
