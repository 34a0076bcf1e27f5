/*
 * check: what a program does when it cannot go on.
 *
 * CHECK() states what must hold whatever the peer sends; it stays on in production. If it does
 * not hold, the last words are written (to stderr, and to whoever asked for them with
 * check_witness()) and the process aborts, with a core for gdb.
 * die() is for an operator's error at start: it names the step and its object, and exits with 1.
 * Nothing that a peer can cause may end in either.
 */
#ifndef REACTOR_BASE_CHECK_H
#define REACTOR_BASE_CHECK_H

#include <stdbool.h>

#define CHECK(condition)                                                                           \
	(__builtin_expect(!!(condition), 1)                                                        \
	     ? (void)0                                                                             \
	     : check_failed(__FILE__, __LINE__, __func__, #condition))

_Noreturn void check_failed(const char *file, int line, const char *function,
			    const char *condition);

/* The last words of this process go to witness as well, from now on; NULL: no longer. */
void check_witness(void (*witness)(const char *words));
/* Last words of a process that ends, but not by die(): for the witness. False: there is none. */
bool check_last_words(const char *words);

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
