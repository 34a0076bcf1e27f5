/*
 * tracee: a worker that this process traces, and ends where its n-th system call begins or ends;
 * or another one, while this one stands still there.
 *
 * It runs from stop to stop: who traces it has to take turns until it is let go or has ended. A
 * stop ends an epoll_wait() of the tracer, which so need not spin.
 * One that is not allowed to trace (a container's rules) is told so.
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
/* Who lived through all of it is not looked at any more. */
void tracee_let_go(struct tracee *tracee);

#endif
