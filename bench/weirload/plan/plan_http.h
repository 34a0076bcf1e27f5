/*
 * plan_http: what the command line says about HTTP: the request, and which replies are right.
 *
 * Used once, while the plan is made.
 */
#ifndef BENCH_WEIRLOAD_PLAN_PLAN_HTTP_H
#define BENCH_WEIRLOAD_PLAN_PLAN_HTTP_H

#include "bench/weirload/plan/plan.h"

/* Takes http://HOST:PORT/PATH apart, as people copy it from a browser: the path is what is asked
 * for, and LISTENER is the rest. */
void plan_http_take_path(struct plan *plan);
/* Checks the options of HTTP together, and makes the request; for another protocol it checks that
 * none of them is given. */
void plan_http_make(struct plan *plan);

/* The value of --body; PLAN_BODY_UNTOLD if there is no such word. */
enum plan_body plan_http_body_named(const char *name);
/* "same", "echo" or "any"; and "200", or what --status says. */
const char *plan_http_body_name(const struct plan *plan);
const char *plan_http_status(const struct plan *plan);

#endif
