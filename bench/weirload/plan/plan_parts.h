/*
 * plan_parts: what the files of the plan's room share, and nobody else may use.
 *
 *     plan.c            the command line, and what is asked of every protocol
 *     plan_addresses.c  which addresses connections come from, and go to
 *     plan_http.c       what is asked of HTTP
 */
#ifndef BENCH_WEIRLOAD_PLAN_PLAN_PARTS_H
#define BENCH_WEIRLOAD_PLAN_PLAN_PARTS_H

#include "bench/weirload/plan/plan.h"

/* plan.c: says what is wrong, and exits. */
_Noreturn void usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* plan_addresses.c */
void option_source(struct plan *plan, const char *value);
void option_destination(struct plan *plan, const char *value);
/* What was told instead of LISTENER's address takes its place. */
void plan_take_destination(struct plan *plan);
/* Chooses several addresses where many connections need them and nothing was told. */
void plan_spread(struct plan *plan);

/* plan_http.c */
void option_path(struct plan *plan, const char *value);
void option_method(struct plan *plan, const char *value);
void option_header(struct plan *plan, const char *value);
void option_status(struct plan *plan, const char *value);
void option_body(struct plan *plan, const char *value);
void option_chunked(struct plan *plan, const char *value);
/* http://HOST:PORT/PATH, as people have it from elsewhere: what is behind the port is what is asked
 * for, and LISTENER the rest. */
void plan_take_path(struct plan *plan);
/* What is asked, and rules of its own; of other protocols, that nothing of the kind is told. */
void plan_make_http(struct plan *plan);

#endif
