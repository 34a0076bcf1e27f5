/*
 * wrong_usage: ends weirload if its command line cannot be followed.
 *
 * Called only before the fork, by whatever reads the command line. Each message names the option,
 * or LISTENER, that it is about.
 */
#ifndef BENCH_WEIRLOAD_PLAN_WRONG_USAGE_H
#define BENCH_WEIRLOAD_PLAN_WRONG_USAGE_H

/* Says on stderr what is wrong, and exits with 2. */
_Noreturn void wrong_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
