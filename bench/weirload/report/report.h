/*
 * report: what a run came to, as a table for people and as JSON and HDR text for programs.
 */
#ifndef BENCH_WEIRLOAD_REPORT_REPORT_H
#define BENCH_WEIRLOAD_REPORT_REPORT_H

#include "bench/weirload/run.h"

/* Opens the files that will be written, before the run: exit 1 where one cannot be. */
void report_open(const struct plan *plan);
/* The table on stdout (stderr where the JSON goes to stdout), and the files. */
void report(const struct outcome *outcome, const struct plan *plan);

/* What both forms say. */
struct figures {
	double messages_per_s, lines_per_s, connects_per_s, sent_bytes_per_s, received_bytes_per_s;
	/* Of CPU time, in us; negative: not known. */
	double server_us_per_message, server_user_us, server_system_us, server_us_per_connection;
	double generator_us_per_message;
	double server_cpus, server_busiest, generator_cpus, generator_busiest; /* of one CPU */
	/* Memory, in bytes; negative: not known. */
	double user_bytes_per_connection, kernel_bytes_per_connection;
};

void figures_make(struct figures *figures, const struct outcome *outcome, const struct plan *plan);
void report_json(FILE *file, const struct outcome *outcome, const struct plan *plan,
		 const struct figures *figures);

#endif
