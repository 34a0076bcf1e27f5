/*
 * proxy_parse: the header of the PROXY protocol, versions 1 and 2, by which a proxy says for whom
 * it has connected.
 *
 * A function of bytes: no I/O, no allocation, nothing kept. It is given the bytes that have come so
 * far, from the first of the connection on. The first wrong byte decides, so that the answer does
 * not depend on how the bytes came: a prefix that is refused is refused whatever follows, and what
 * begins some header is not refused. No byte behind the header is looked at.
 *
 * The rules are those of HAProxy's doc/proxy-protocol.txt (2020/03/05): 2.1 is version 1, 2.2 is
 * version 2.
 */
#ifndef PROTOCOL_PROXY_PROXY_PARSE_H
#define PROTOCOL_PROXY_PROXY_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reactor/base/address.h"

/* In bytes: the longest line of version 1, with its CRLF. What version 2 needs is less, so with so
 * many bytes the answer is never that more are needed. */
#define PROXY_HEADER_MAX 107

struct proxy_header {
	bool known; /* false: the connection's own addresses hold, and those here mean nothing. So
		     * it is if the proxy speaks for itself (LOCAL, its health checks), cannot say
		     * (UNKNOWN, UNSPEC), or was connected to by a unix socket. */
	struct address source, destination; /* of IPv4 or IPv6 as it was said: an IPv4 address that
					     * is mapped to IPv6 stays one of IPv6 */
	uint32_t rest; /* bytes of version 2 that follow, to be thrown away: additions (TLVs), and
			* addresses of no use; 0 to 65,535 */
};

/* What is wrong with the first wrong byte. */
enum proxy_error {
	PROXY_NO_HEADER = 1, /* neither "PROXY " nor the 12 bytes that begin version 2 */
	PROXY_V1_FAMILY,     /* neither TCP4, TCP6 nor UNKNOWN, or no space behind it */
	PROXY_V1_ADDRESS,    /* an address, or what is between it and the next */
	PROXY_V1_PORT,	     /* a port, or what is between the two */
	PROXY_V1_LINE_END,   /* no CRLF just behind the last port, or behind UNKNOWN's CR */
	PROXY_V1_TOO_LONG,   /* PROXY_HEADER_MAX bytes without CRLF */
	PROXY_V2_VERSION,    /* another than 2 */
	PROXY_V2_COMMAND,    /* neither LOCAL nor PROXY */
	PROXY_V2_FAMILY,     /* a family or a transport that is not specified, or datagrams */
	PROXY_V2_TOO_SHORT,  /* its length leaves no room for its addresses */
};

/*
 * Reads a header. Returns
 *   > 0  how many bytes are used up, all but header->rest; *header is filled in
 *   0    more have to come
 *   < 0  minus an enum proxy_error
 *
 * Of version 2 the addresses are used up with the 16 bytes before them, if they are known. If it is
 * not > 0, nothing in *header means anything.
 */
int proxy_parse(const unsigned char *bytes, size_t n, struct proxy_header *header);

#endif
