/*
 * report_json: the results as JSON: one flat object, one key a line; what is not known is null.
 *
 * Scripts read it line by line (bench/figures.sh). A key never changes its name or meaning.
 */
#ifndef BENCH_WEIRLOAD_REPORT_REPORT_JSON_H
#define BENCH_WEIRLOAD_REPORT_REPORT_JSON_H

#include "bench/weirload/report/figures.h"

void report_json(FILE *file, const struct outcome *outcome, const struct plan *plan,
		 const struct figures *figures);

#endif
