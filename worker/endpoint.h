/*
 * endpoint: one LISTENER, PROTOCOL[+udp]://ADDRESS[?KEY=VALUE[&KEY=VALUE]...], taken apart.
 *
 * Whether the protocol serves datagrams at all is for its user to ask.
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
	bool datagrams; /* +udp */
	struct address address;
	int accept;	      /* enum accept_mode; -1: as --accept says */
	unsigned mode;	      /* of a socket file; 0: what umask gives */
	uint64_t message_max; /* 0: as --max-line, --max-frame or --max-body says */
	bool names;	      /* chat: say who said what */
	uint64_t rate;	      /* datagrams: answers a second to a source address; 0: no limit */
	uint64_t queue_bytes; /* datagrams: of the kernel's queue; 0: as the kernel has it */
	uint64_t send_queue_bytes; /* the same of answers; 0: DATAGRAM_SEND_BYTES */
};

/* False, and what is wrong with it. */
bool endpoint_parse(struct endpoint *endpoint, const char *text, char *error, size_t error_n);
void endpoint_format(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES]);

#endif
