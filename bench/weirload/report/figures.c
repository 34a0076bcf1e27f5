#include "bench/weirload/report/figures.h"

#define CONNECTIONS_TELLING 100 /* with fewer the memory of one connection does not show */

static double per(double what, double n)
{
	return n > 0 ? what / n : -1;
}

void figures_make(struct figures *figures, const struct outcome *outcome, const struct plan *plan)
{
	const struct usage *server = &outcome->server, *generator = &outcome->generator;
	double seconds = (double)outcome->measured_ns / 1e9, n = (double)outcome->messages;
	double held = (double)outcome->held;
	int64_t server_grew = outcome->server_held_bytes - outcome->server_base_bytes;

	*figures = (struct figures){
	    .server_us_per_message = -1,
	    .server_user_us = -1,
	    .server_system_us = -1,
	    .server_us_per_connection = -1,
	    .generator_us_per_message = -1,
	    .user_bytes_per_connection = -1,
	    .kernel_bytes_per_connection = -1,
	};
	if (seconds > 0) {
		figures->messages_per_s = n / seconds;
		figures->lines_per_s = (double)outcome->lines / seconds;
		figures->connects_per_s = (double)outcome->connects / seconds;
		figures->sent_bytes_per_s = (double)outcome->sent_bytes / seconds;
		figures->received_bytes_per_s = (double)outcome->received_bytes / seconds;
		figures->generator_us_per_message = per((double)generator->cpu_ns / 1000, n);
		figures->generator_cpus = (double)generator->cpu_ns / 1e9 / seconds;
		figures->generator_busiest = (double)generator->busiest_ns / 1e9 / seconds;
	}
	if (plan->idle)
		figures->connects_per_s =
		    per((double)outcome->all.connects, (double)outcome->ramp_ns / 1e9);
	if (held >= CONNECTIONS_TELLING && !plan->churn) {
		figures->kernel_bytes_per_connection = (double)outcome->kernel_held_bytes / held;
		if (outcome->server_base_bytes >= 0 && outcome->server_held_bytes >= 0)
			figures->user_bytes_per_connection =
			    server_grew > 0 ? (double)server_grew / held : 0;
	}
	if (!outcome->server_known || seconds <= 0)
		return;
	figures->server_cpus = (double)server->cpu_ns / 1e9 / seconds;
	figures->server_busiest = (double)server->busiest_ns / 1e9 / seconds;
	figures->server_us_per_message = per((double)server->cpu_ns / 1000, n);
	figures->server_user_us = per((double)server->user_ns / 1000, n);
	figures->server_system_us = per((double)server->system_ns / 1000, n);
	if (plan->churn)
		figures->server_us_per_connection =
		    per((double)server->cpu_ns / 1000, (double)outcome->connects);
}
