/*
 * endpoint: one LISTENER, PROTOCOL[+udp]://ADDRESS[?KEY=VALUE[&KEY=VALUE]...], taken apart.
 *
 * Whether the protocol serves datagrams at all is for its user to ask.
 */
#ifndef WORKER_CONFIG_ENDPOINT_H
#define WORKER_CONFIG_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/protocol.h"
#include "reactor/base/address.h"

#define LISTENERS_MAX 64

/* How connections reach workers (weir(8)). */
enum accept_mode { ACCEPT_REUSEPORT, ACCEPT_SHARED, ACCEPT_HANDOFF };
/* Their names, as value.h writes choices, in the order of the enum. */
#define ACCEPT_MODES "reuseport|shared|handoff"

#define ENDPOINT_TEXT_BYTES (ADDRESS_TEXT_BYTES + 128)

struct endpoint {
	const struct protocol *protocol;
	bool datagrams; /* +udp */
	bool joined;	/* with the one before it: another address of the same LISTENER */
	struct address address;
	const char *name; /* where the text of the LISTENER has it; NULL: it was none */
	int name_n;
	int accept;	      /* enum accept_mode; -1: as --accept says */
	unsigned mode;	      /* of a socket file; 0: what umask gives */
	uint64_t message_max; /* 0: as --max-line, --max-frame or --max-body says */
	bool names;	      /* chat: say who said what */
	uint64_t rate;	      /* datagrams: answers a second to a source address; 0: no limit */
	uint64_t queue_bytes; /* datagrams: of the kernel's queue; 0: as the kernel has it */
	uint64_t send_queue_bytes; /* the same of answers; 0: DATAGRAM_SEND_BYTES */
};

/* One for each address that a name has, at most max, which differ in that alone; they borrow text
 * if it has a name. How many; 0, and what is wrong with it. */
size_t endpoint_list(struct endpoint *list, size_t max, const char *text, char *error,
		     size_t error_n);
/* The first of them. */
bool endpoint_parse(struct endpoint *endpoint, const char *text, char *error, size_t error_n);
/* As a LISTENER, with the number of its address; or with its name, if it has one. */
void endpoint_format_named(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES]);
void endpoint_format(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES]);

#endif
