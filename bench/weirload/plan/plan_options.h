/*
 * plan_options: the options of the command line: their values, one by one, and --help.
 *
 * Each value is checked by itself here; values that depend on each other are checked by the plan.
 */
#ifndef BENCH_WEIRLOAD_PLAN_PLAN_OPTIONS_H
#define BENCH_WEIRLOAD_PLAN_PLAN_OPTIONS_H

#include "bench/weirload/plan/plan.h"

/* Fills in the plan, and leaves optind at LISTENER. A wrong value, --help and --version end the
 * process. */
void plan_options_read(struct plan *plan, int argc, char **argv);

#endif
