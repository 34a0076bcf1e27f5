/*
 * address: where a socket listens, or connects to, as text and as sockaddr.
 *
 *     HOST:PORT   [IPV6]:PORT   :PORT (every address, IPv6 and IPv4)   /PATH   @ABSTRACT
 *
 * HOST is a number or a name that getaddrinfo(3) knows; the first answer is taken.
 */
#ifndef REACTOR_ADDRESS_H
#define REACTOR_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ADDRESS_TEXT_BYTES 160

struct address {
	struct sockaddr_storage socket;
	socklen_t bytes;
	bool dual_stack; /* :PORT */
};

/* False, and why (a static text), where text is none of the forms above. */
bool address_parse(struct address *address, const char *text, const char **why);
void address_format(const struct address *address, char text[ADDRESS_TEXT_BYTES]);
bool address_is_unix(const struct address *address);
/* The path of a socket file; NULL for abstract and IP addresses. */
const char *address_path(const struct address *address);
/* 0 for unix. */
unsigned address_port(const struct address *address);
void address_set_port(struct address *address, unsigned port);
/* The bytes of an IP address, IPv4's as IPv6 maps them (RFC 4291, 2.5.5.2). False: it is none. */
bool address_bytes(const struct sockaddr *ip, unsigned char bytes[16]);
/* 0.0.0.0 or ::, in such bytes: every address where something listens, and none of a sender. */
bool address_is_unspecified(const unsigned char bytes[16]);

#endif
