/*
 * limiter: at most so many a second to each address, in memory that several processes share.
 *
 * Each address has a place in a table of fixed size, which is one number: when it will have
 * been served all that it took at that rate (GCRA, the "virtual scheduling" of ITU-T I.371,
 * annex A). Up to a second's worth may be taken at once. A number that has passed is that of
 * nobody: nothing has to be cleaned up. If a newcomer finds no place free it shares that of
 * another: so the table never lets more through than it should, and it cannot be filled to any
 * end. Numbers are changed by compare and swap: no process can stop another one, and what a
 * dead one has counted still counts.
 *
 * An address is IPv4's 32 bits, or the first 64 of IPv6: whoever has one of those has them all
 * (RFC 6177).
 */
#ifndef REACTOR_UDP_LIMITER_H
#define REACTOR_UDP_LIMITER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define LIMITER_RATE_MAX 1000000 /* a second */

struct limiter {
	uint64_t *places; /* shared by whoever was forked after limiter_open(), or has fd */
	uint64_t seed;
	uint64_t begun_us;
	uint64_t interval; /* between two, in ticks of limiter.c */
	uint64_t ahead;	   /* a second's worth of them */
	int fd;		   /* of the table; a copy of the struct does not own it */
};

/* rate: a second, at least 1. 0 or -errno. */
int limiter_open(struct limiter *limiter, uint64_t rate);
/* The table that another process' fd has, which is the limiter's then. 0 or -errno; -EPROTO: it
 * is none of this build. */
int limiter_attach(struct limiter *limiter, int fd, uint64_t rate);
/* Another rate for the same table: what was taken before stays taken. */
void limiter_set_rate(struct limiter *limiter, uint64_t rate);
void limiter_close(struct limiter *limiter);

/* Takes one for this address; false: it has had its share. now_us: of sys_clock_us(). */
bool limiter_take(struct limiter *limiter, const struct sockaddr *peer, uint64_t now_us);

#endif
