/*
 * tracee: a worker that this process traces and ends as its n-th system call begins or returns; or
 * another worker that is ended at that moment, while the traced one stands still.
 *
 * It stops at each call until tracee_turn() lets it go on, so the tracer has to call that again and
 * again until it calls tracee_let_go() or the worker has ended. A stop interrupts an epoll_wait()
 * of the tracer, which therefore need not spin. tracee_seize() says if tracing is not allowed here
 * (in a container, say).
 */
#ifndef TESTS_SUPPORT_TRACEE_H
#define TESTS_SUPPORT_TRACEE_H

#include "tests/support/harness.h"

struct tracee {
	pid_t pid; /* 0: it is not there any more */
	unsigned stops;
	unsigned end_at; /* the stop where it is ended; 0: it is not */
	bool hangs;	 /* it is stopped there instead, and not traced any more */
	pid_t other;	 /* this one is ended there instead; 0: there is none */
	bool ended;	 /* it was */
};

/* False: not allowed here. */
bool tracee_seize(struct tracee *tracee, pid_t pid);
/* Lets it go on. Whether it had stopped. */
bool tracee_turn(struct tracee *tracee);
/* A worker that lived through all of it is not looked at any more. */
void tracee_let_go(struct tracee *tracee);

#endif
