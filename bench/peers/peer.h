/*
 * peer: what the peers in C have in common: the command line and the ready line that every server
 * under bench/ has.
 *
 *     NAME PROTOCOL://HOST:PORT   (port 0: any; the ready line on stderr says which)
 *
 * Nothing else: how a peer accepts and moves bytes is up to it and its library.
 */
#ifndef BENCH_PEERS_PEER_H
#define BENCH_PEERS_PEER_H

#include "reactor/base/address.h"

#define PEER_BACKLOG 4096

/* Reads the one argument, a listener of that protocol; ends the program with status 2 if it is
 * wrong. Then does what peer_prepare() does. */
void peer_begin(struct address *address, int argc, char **argv, const char *protocol);
/* For peers that take more than one argument: what one of them says; wrong usage ends the program
 * as above. */
void peer_parse(struct address *address, const char *program, const char *listener,
		const char *protocol);
_Noreturn void peer_usage(const char *program, const char *what, const char *why);
/* Raises the soft limit of descriptors to the hard one, and ignores SIGPIPE, so that write fails
 * instead. Returns the limit. */
unsigned long peer_prepare(void);
/* For peers whose library does not listen for them: a listening socket with these flags. The name
 * is for the message if it fails. */
int peer_listen(const struct address *address, const char *name, int flags);
/* The same for one of several processes that listen at this address (SO_REUSEPORT). The first of
 * them learns in *address which port it has. */
int peer_listen_too(struct address *address, const char *name, int flags);
/* The ready line, with the address that the listening socket fd has; or n of them have. */
void peer_ready(int fd);
void peer_all_ready(const int *fds, size_t n);
/* Accepted sockets inherit TCP_NODELAY from their listener, as weir's do. */
void peer_no_delay(int fd);
/* Says which step failed, on what and why (an errno value), and exits with 1. */
_Noreturn void peer_fail(const char *step, const char *object, int error);

#endif
