/*
 * faulty_datagram: an echo, discard or chargen server over datagrams that gets one answer in so
 * many wrong, and counts these, to see whether weirload counts the same.
 *
 * A process of its own, on a free port of loopback, one thread. It ends with the test's process.
 */
#ifndef TESTS_SUPPORT_SERVERS_FAULTY_DATAGRAM_H
#define TESTS_SUPPORT_SERVERS_FAULTY_DATAGRAM_H

#include <sys/types.h>

enum datagram_fault {
	DATAGRAM_NONE,
	DATAGRAM_LOSE,	   /* no answer */
	DATAGRAM_DOUBLE,   /* an answer is sent twice */
	DATAGRAM_JOIN,	   /* the same in one call: the receiver's kernel hands over both as one */
	DATAGRAM_AGAIN,	   /* it is sent, and once more DATAGRAM_AGAIN_MS later */
	DATAGRAM_SWAP,	   /* it is sent after the next one to the same socket */
	DATAGRAM_ALTER,	   /* one bit of it is changed */
	DATAGRAM_ALTER_1,  /* the same in its first byte, by which a word is recognised */
	DATAGRAM_CUT,	   /* its last 5 bytes are missing */
	DATAGRAM_LENGTHEN, /* it has 5 bytes more */
	DATAGRAM_EMPTY,	   /* it has no bytes */
	DATAGRAM_FOREIGN,  /* it is the answer that another socket got before */
	DATAGRAM_STRAY,	   /* it answers a request that the first socket never made */
	DATAGRAM_LATE,	   /* it is sent DATAGRAM_LATE_MS later */
	DATAGRAM_MUTE,	   /* nothing is ever answered */
};
#define DATAGRAM_LATE_MS  800
#define DATAGRAM_AGAIN_MS 20

enum datagram_form { DATAGRAM_ECHO, DATAGRAM_CHARGEN };

/* Written by the server, in shared memory. */
struct datagram_count {
	unsigned long asked, faults;
	unsigned long held; /* with SWAP, LATE and AGAIN: answers that are held back now */
};

/* Starts a server; the fault happens once in `every` requests, at most `most` times. */
pid_t faulty_datagram_start(enum datagram_form form, enum datagram_fault fault, unsigned long every,
			    unsigned long most, unsigned *port,
			    const struct datagram_count **count);

#endif
