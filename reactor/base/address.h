/*
 * address: where a socket listens, or connects to, as text and as sockaddr.
 *
 *     HOST:PORT   [IPV6]:PORT   :PORT (every address, IPv6 and IPv4)   /PATH   @ABSTRACT
 *
 * HOST is a number, or a name that getaddrinfo(3) looks up. That may take as long as name servers
 * like: text that may hold a name is never parsed on a loop.
 */
#ifndef REACTOR_BASE_ADDRESS_H
#define REACTOR_BASE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ADDRESS_TEXT_BYTES 160

struct address {
	struct sockaddr_storage socket;
	socklen_t bytes;
	bool dual_stack; /* :PORT */
};

/* A name gives its first address. False, and *why (which is not to be freed), if text is none of
 * the forms above, or its name can't be looked up. */
bool address_parse(struct address *address, const char *text, const char **why);
/* A name gives all its addresses, none twice, at most max; any other form gives one. Returns how
 * many; 0: it failed, *why as above. */
size_t address_list(struct address *list, size_t max, const char *text, const char **why);
/* Did the last of these fail for a reason that may pass, such as a silent name server? */
bool address_failed_for_now(void);
/* Until ms from now, a name that can't be looked up for such a reason is tried again. */
void address_patience(uint32_t ms);
/* Is HOST in this text a name? */
bool address_has_name(const char *text);
bool address_is_same(const struct address *a, const struct address *b);
void address_format(const struct address *address, char text[ADDRESS_TEXT_BYTES]);
bool address_is_unix(const struct address *address);
/* The path of a socket file; NULL for abstract and IP addresses. */
const char *address_path(const struct address *address);
/* 0 for unix. */
unsigned address_port(const struct address *address);
void address_set_port(struct address *address, unsigned port);
/* The bytes of an IP address, those of IPv4 mapped to IPv6 (RFC 4291, 2.5.5.2). False: it is no
 * IP address. */
bool address_bytes(const struct sockaddr *ip, unsigned char bytes[16]);
/* Are such bytes 0.0.0.0 or ::? A listener means every address by that; no sender has it. */
bool address_is_unspecified(const unsigned char bytes[16]);

#endif
