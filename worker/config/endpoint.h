/*
 * endpoint: one LISTENER, PROTOCOL[+udp]://ADDRESS[?KEY=VALUE[&KEY=VALUE]...], taken apart.
 *
 * Whether the protocol serves datagrams at all is for the caller to check.
 */
#ifndef WORKER_CONFIG_ENDPOINT_H
#define WORKER_CONFIG_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/protocol.h"
#include "reactor/base/address.h"
#include "reactor/base/network.h"

#define LISTENERS_MAX 64

/* How connections reach workers (weir(8)). */
enum accept_mode { ACCEPT_REUSEPORT, ACCEPT_SHARED, ACCEPT_HANDOFF };
/* Their names, as value.h writes choices, in the order of the enum. */
#define ACCEPT_MODES "reuseport|shared|handoff"

/* A setting's number has at most 20 digits. */
#define ENDPOINT_TEXT_BYTES                                                                        \
	(ADDRESS_TEXT_BYTES + 128 + NETWORKS_MAX * NETWORK_TEXT_BYTES +                            \
	 PROTOCOL_SETTINGS_MAX * (PROTOCOL_NAME_MAX + 22))

struct endpoint {
	const struct protocol *protocol;
	bool datagrams; /* +udp */
	bool joined;	/* with the one before it: another address of the same LISTENER */
	struct address address;
	const char *name; /* the host's name, in the text of the LISTENER; NULL: it has none */
	int name_n;
	int accept;    /* enum accept_mode; -1: as --accept says */
	unsigned mode; /* of a socket file; 0: what umask gives */
	bool proxy;    /* clients begin with a PROXY header */
	/* What is set here of protocols, by the setting's number, and which of them is; others are
	 * as the options say. */
	uint64_t settings[SETTINGS_MAX];
	uint32_t settings_given;
	struct network networks[NETWORKS_MAX]; /* of the one setting of that kind */
	uint64_t rate;	      /* datagrams: answers a second to a source address; 0: no limit */
	uint64_t queue_bytes; /* datagrams: size of the kernel's queue; 0: the kernel's default */
	uint64_t send_queue_bytes; /* the same of answers; 0: DATAGRAM_SEND_BYTES */
};

/* Makes an endpoint for each address of the LISTENER's name, at most max; they differ in the
 * address alone, and borrow text if there is a name. Returns how many; 0, and what is wrong. */
size_t endpoint_list(struct endpoint *list, size_t max, const char *text, char *error,
		     size_t error_n);
/* The same, but the first address only. */
bool endpoint_parse(struct endpoint *endpoint, const char *text, char *error, size_t error_n);
/* Writes it as a LISTENER: _named with its name, if it has one; the other always with its numeric
 * address. */
void endpoint_format_named(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES]);
void endpoint_format(const struct endpoint *endpoint, char text[ENDPOINT_TEXT_BYTES]);

#endif
