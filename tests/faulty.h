/*
 * faulty: an echo server that gets one byte in so many wrong, to see whether weirload finds it.
 *
 * A process of its own, on a free port of loopback, one thread with poll(2). It ends with the
 * test's process.
 */
#ifndef TESTS_FAULTY_H
#define TESTS_FAULTY_H

#include <sys/types.h>

enum fault {
	FAULT_NONE,
	FAULT_DROP,    /* a byte goes missing */
	FAULT_DOUBLE,  /* 24 bytes come twice */
	FAULT_SWAP,    /* two bytes that follow each other change places */
	FAULT_ALTER,   /* a byte has one bit changed */
	FAULT_FOREIGN, /* 24 bytes are those of another connection */
	FAULT_EXTRA,   /* bytes that nobody sent come behind an answer */
	FAULT_CLOSE,   /* the connection is closed, nothing more is answered */
	FAULT_MUTE,    /* nothing is ever answered */
	FAULT_BABBLE,  /* bytes come before anything was asked */
	FAULT_SLOW,    /* each answer takes 5 ms, one after the other */
};

/* Starts one; the fault happens once in `every` bytes. */
pid_t faulty_start(enum fault fault, unsigned long every, unsigned *port);

#endif
