/*
 * report: the results of a run, as a table for people, and as JSON and HDR text for programs.
 */
#ifndef BENCH_WEIRLOAD_REPORT_REPORT_H
#define BENCH_WEIRLOAD_REPORT_REPORT_H

#include "bench/weirload/run.h"

/* Opens the files that will be written. Called before the run, so that if one can't be opened the
 * process ends with 1 at once. */
void report_open(const struct plan *plan);
/* The table on stdout (on stderr if the JSON goes to stdout), and the files. */
void report(const struct outcome *outcome, const struct plan *plan);

#endif
