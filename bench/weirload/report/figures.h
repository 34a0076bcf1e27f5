/*
 * figures: figures that both the table and the JSON of a run show, computed once from its outcome.
 */
#ifndef BENCH_WEIRLOAD_REPORT_FIGURES_H
#define BENCH_WEIRLOAD_REPORT_FIGURES_H

#include "bench/weirload/run.h"

struct figures {
	double messages_per_s, lines_per_s, connects_per_s, sent_bytes_per_s, received_bytes_per_s;
	/* CPU time, in us; negative: not known. */
	double server_us_per_message, server_user_us, server_system_us, server_us_per_connection;
	double generator_us_per_message;
	double server_cpus, server_busiest, generator_cpus, generator_busiest; /* 1 is one CPU */
	/* Memory, in bytes; negative: not known. */
	double user_bytes_per_connection, kernel_bytes_per_connection;
};

void figures_make(struct figures *figures, const struct outcome *outcome, const struct plan *plan);

#endif
