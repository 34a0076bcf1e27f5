/*
 * limiter: at most so many a second to each address, in memory that several processes share.
 *
 * Each address has a place in a table of fixed size, which is one number: the time when all that
 * it took will have been served at that rate (GCRA, the "virtual scheduling" of ITU-T I.371,
 * annex A). Up to a second's worth may be taken at once. A place whose time has passed is free:
 * nothing has to be cleaned up. An address that finds no place free shares that of another: so
 * the table never lets more through than it should, and filling it gains nothing. Numbers are
 * changed by compare and swap: no process can stop another one, and what a dead one has counted
 * still counts.
 *
 * An address is IPv4's 32 bits, or the first 64 of IPv6: whoever has one address with these has
 * them all (RFC 6177).
 */
#ifndef REACTOR_UDP_LIMITER_H
#define REACTOR_UDP_LIMITER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define LIMITER_RATE_MAX 1000000 /* a second */

struct limiter {
	uint64_t *places; /* shared with children forked later, and with whoever has fd */
	uint64_t seed;
	uint64_t begun_us;
	uint64_t interval; /* between two, in ticks of limiter.c */
	uint64_t ahead;	   /* a second's worth of them */
	int fd;		   /* of the table; a copy of the struct does not own it */
};

/* rate: a second, at least 1. 0 or -errno. */
int limiter_open(struct limiter *limiter, uint64_t rate);
/* Uses the table that an fd of another process has; the limiter owns fd if this returns 0. Or
 * -errno; -EPROTO: it is no table of this build. */
int limiter_attach(struct limiter *limiter, int fd, uint64_t rate);
/* Another rate for the same table: what was taken before stays taken. */
void limiter_set_rate(struct limiter *limiter, uint64_t rate);
void limiter_close(struct limiter *limiter);

/* Takes one for this address; false: it has had its share. now_us: of sys_clock_us(). */
bool limiter_take(struct limiter *limiter, const struct sockaddr *peer, uint64_t now_us);

#endif
