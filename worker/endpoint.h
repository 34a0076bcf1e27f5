/*
 * endpoint: one LISTENER, PROTOCOL://ADDRESS[?KEY=VALUE[&KEY=VALUE]...], taken apart.
 */
#ifndef WORKER_ENDPOINT_H
#define WORKER_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/protocol.h"
#include "reactor/address.h"

#define ENDPOINT_TEXT_BYTES (ADDRESS_TEXT_BYTES + 128)

struct endpoint {
	const struct protocol *protocol;
	struct address address;
	int accept;	      /* enum accept_mode; -1: as --accept says */
	unsigned mode;	      /* of a socket file; 0: what umask gives */
	uint64_t message_max; /* 0: as --max-line or --max-frame says */
	bool names;	      /* chat: say who said what */
};

/* False, and what is wrong with it. */
bool endpoint_parse(struct endpoint *endpoint, const char *text, char *error, size_t error_n);
void endpoint_format(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES]);

#endif
