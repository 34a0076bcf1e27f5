/*
 * title: what ps, perf and strace call a process.
 *
 * The title takes the place of argv and the environment, which move elsewhere; the comm
 * (at most 15 bytes, prctl(2) PR_SET_NAME) is set apart from it.
 */
#ifndef WORKER_TITLE_H
#define WORKER_TITLE_H

/* Call it once, first thing in main(), and use the copy of argv that it returns from then on. */
char **title_open(int argc, char **argv);
void title_set(const char *comm, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
