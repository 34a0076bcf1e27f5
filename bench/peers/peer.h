/*
 * peer: what the peers in C show to the outside, the same as every server under bench/.
 *
 *     NAME PROTOCOL://HOST:PORT   (port 0: any; the ready line on stderr says which)
 *
 * Only that: how a peer accepts and moves bytes is its own and its library's.
 */
#ifndef BENCH_PEERS_PEER_H
#define BENCH_PEERS_PEER_H

#include "reactor/base/address.h"

#define PEER_BACKLOG 4096

/* Takes the one argument, a listener of that protocol, apart; ends the program with status 2 where
 * it is wrong. Raises the soft limit of descriptors to the hard one, and lets SIGPIPE be an error
 * of write. */
void peer_begin(struct address *address, int argc, char **argv, const char *protocol);
/* For peers whose library does not listen for them: a socket with these flags more; the name is
 * for what is said where it fails. */
int peer_listen(const struct address *address, const char *name, int flags);
/* The ready line, with the address that the listening socket fd has. */
void peer_ready(int fd);
/* Accepted sockets inherit TCP_NODELAY from their listener, as weir's do. */
void peer_no_delay(int fd);
/* Says which step failed, on what and why (an errno value); status 1. */
_Noreturn void peer_fail(const char *step, const char *object, int error);

#endif
