/*
 * faulty_datagram: an echo over datagrams that gets one answer in so many wrong, and counts it,
 * to see whether weirload counts the same; a discard and a chargen, too.
 *
 * A process of its own, on a free port of loopback, one thread. It ends with the test's process.
 */
#ifndef TESTS_SUPPORT_SERVERS_FAULTY_DATAGRAM_H
#define TESTS_SUPPORT_SERVERS_FAULTY_DATAGRAM_H

#include <sys/types.h>

enum datagram_fault {
	DATAGRAM_NONE,
	DATAGRAM_LOSE,	   /* no answer */
	DATAGRAM_DOUBLE,   /* it goes twice */
	DATAGRAM_JOIN,	   /* the same by one call: the kernel hands both over as one */
	DATAGRAM_AGAIN,	   /* it goes, and once more DATAGRAM_AGAIN_MS later */
	DATAGRAM_SWAP,	   /* it goes behind the next one to the same socket */
	DATAGRAM_ALTER,	   /* a byte of it has one bit changed */
	DATAGRAM_ALTER_1,  /* the same of its first byte, by which a word is known */
	DATAGRAM_CUT,	   /* its last 5 bytes are missing */
	DATAGRAM_LENGTHEN, /* it has 5 bytes more */
	DATAGRAM_EMPTY,	   /* it has no bytes */
	DATAGRAM_FOREIGN,  /* it is the one that another socket got before */
	DATAGRAM_STRAY,	   /* it answers a request that the first socket never asked */
	DATAGRAM_LATE,	   /* it goes DATAGRAM_LATE_MS later */
	DATAGRAM_MUTE,	   /* nothing is ever answered */
};
#define DATAGRAM_LATE_MS  800
#define DATAGRAM_AGAIN_MS 20

enum datagram_form { DATAGRAM_ECHO, DATAGRAM_CHARGEN };

/* Written by the server, in shared memory. */
struct datagram_count {
	unsigned long asked, faults;
	unsigned long held; /* SWAP, LATE, AGAIN: answers that have not gone yet */
};

/* The fault happens once in `every` requests, `most` times at most. */
pid_t faulty_datagram_start(enum datagram_form form, enum datagram_fault fault, unsigned long every,
			    unsigned long most, unsigned *port,
			    const struct datagram_count **count);

#endif
