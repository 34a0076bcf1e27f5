/*
 * tracee: a worker that this process traces and kills when its n-th system call begins or returns;
 * or another worker that is killed at that moment, while the traced one stands still.
 *
 * The worker stops at each call until tracee_turn() lets it go on, so the tracer has to call that
 * again and again until it calls tracee_let_go() or the worker has ended. Each stop interrupts an
 * epoll_wait() of the tracer, which therefore need not spin. tracee_seize() says whether tracing is
 * allowed here (in a container it may not be).
 */
#ifndef TESTS_SUPPORT_TRACEE_H
#define TESTS_SUPPORT_TRACEE_H

#include "tests/support/harness.h"

struct tracee {
	pid_t pid; /* 0: the worker is not there any more */
	unsigned stops;
	unsigned end_at; /* the stop at which it is killed; 0: never */
	bool hangs;	 /* at that stop it is not killed but stopped, and traced no more */
	pid_t other;	 /* at that stop this process is killed instead; 0: none */
	bool ended;	 /* one of these was done */
};

/* Begins to trace. False: that is not allowed here. */
bool tracee_seize(struct tracee *tracee, pid_t pid);
/* Lets the worker go on if it has stopped. Returns whether it had. */
bool tracee_turn(struct tracee *tracee);
/* Traces no more a worker that lived through all of it. */
void tracee_let_go(struct tracee *tracee);

#endif
