/*
 * plan_options: the options of the command line: their values, one by one, and --help.
 *
 * Each value is checked by itself here; what several of them say together is checked by the plan.
 */
#ifndef BENCH_WEIRLOAD_PLAN_PLAN_OPTIONS_H
#define BENCH_WEIRLOAD_PLAN_PLAN_OPTIONS_H

#include "bench/weirload/plan/plan.h"

/* Fills the plan in, and leaves the place of LISTENER in optind. A wrong value ends the process, as
 * --help and --version do. */
void plan_options_read(struct plan *plan, int argc, char **argv);

#endif
