#include "bench/weirload/report/report_json.h"

#include <math.h>

#include "bench/weirload/plan/plan_http.h"
#include "bench/weirload/report/validity.h"
#include "master/options.h"
#include "reactor/base/printable.h"

struct json {
	FILE *file;
	bool begun;
};

static void json_key(struct json *json, const char *key)
{
	(void)fprintf(json->file, "%s  \"%s\": ", json->begun ? ",\n" : "{\n", key);
	json->begun = true;
}

static void json_text(struct json *json, const char *key, const char *text)
{
	json_key(json, key);
	(void)fputc('"', json->file);
	while (*text) {
		char unit[PRINTABLE_UNIT_BYTES];

		if (*text == '"' || *text == '\\')
			(void)fputc('\\', json->file);
		text += printable_unit(unit, text);
		(void)fputs(unit, json->file);
	}
	(void)fputc('"', json->file);
}

static void json_number(struct json *json, const char *key, uint64_t number)
{
	json_key(json, key);
	(void)fprintf(json->file, "%llu", (unsigned long long)number);
}

static void json_value(struct json *json, const char *key, double value, bool known)
{
	json_key(json, key);
	if (known && isfinite(value))
		(void)fprintf(json->file, "%.3f", value);
	else
		(void)fputs("null", json->file);
}

static void json_times(struct json *json, const char *name, const struct histogram *histogram)
{
	static const struct {
		const char *key;
		double percent;
	} rows[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p999", 99.9}, {"max", 100}};
	bool known = histogram->n != 0;
	char key[32];

	(void)snprintf(key, sizeof key, "%s_n", name);
	json_number(json, key, histogram->n);
	(void)snprintf(key, sizeof key, "%s_mean_us", name);
	json_value(json, key, histogram_mean(histogram) / 1000, known);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		(void)snprintf(key, sizeof key, "%s_%s_us", name, rows[i].key);
		json_value(json, key,
			   (double)histogram_percentile(histogram, rows[i].percent) / 1000, known);
	}
}

static void json_plan(struct json *json, const struct plan *plan)
{
	json_text(json, "weirload", WEIR_VERSION);
	json_text(json, "listener", plan->listener);
	json_text(json, "protocol", plan->protocol->name);
	json_text(json, "mode", plan_mode(plan));
	json_number(json, "connections", plan->connections);
	json_number(json, "size", plan->size);
	json_number(json, "pipeline", plan->pipeline);
	json_number(json, "processes", plan->processes);
	json_key(json, "rate");
	(void)fprintf(json->file, "%.10g", plan->rate);
	json_number(json, "slow", plan->slow);
	json_number(json, "senders", plan->senders);
	json_number(json, "sources", plan->sources);
	json_number(json, "destinations", plan->destinations);
	if (plan->protocol->http) {
		json_text(json, "method", plan->message.method);
		json_text(json, "path", plan->message.path);
		json_text(json, "body", plan_http_body_name(plan));
		json_text(json, "status", plan_http_status(plan));
		json_number(json, "headers", plan->headers_n);
	}
	if (plan->endpoint.datagrams)
		json_text(json, "batch", plan->batch ? "on" : "off");
	json_value(json, "warmup_s", (double)plan->warmup_us / 1e6, true);
}

static void json_costs(struct json *json, const struct outcome *outcome,
		       const struct figures *figures)
{
	bool server = figures->server_us_per_message >= 0;

	json_value(json, "server_cpu_us_per_message", figures->server_us_per_message, server);
	json_value(json, "server_user_us_per_message", figures->server_user_us, server);
	json_value(json, "server_system_us_per_message", figures->server_system_us, server);
	json_value(json, "server_cpu_us_per_connection", figures->server_us_per_connection,
		   figures->server_us_per_connection >= 0);
	json_value(json, "server_cpus", figures->server_cpus, server);
	json_value(json, "server_busiest", figures->server_busiest, server);
	json_number(json, "server_processes", outcome->server.processes);
	json_value(json, "server_user_bytes_base", (double)outcome->server_base_bytes,
		   outcome->server_base_bytes >= 0);
	json_value(json, "server_user_bytes_per_connection", figures->user_bytes_per_connection,
		   figures->user_bytes_per_connection >= 0);
	json_value(json, "kernel_bytes_per_connection", figures->kernel_bytes_per_connection,
		   figures->kernel_bytes_per_connection >= 0);
	json_value(json, "generator_cpu_us_per_message", figures->generator_us_per_message,
		   figures->generator_us_per_message >= 0);
	json_value(json, "generator_cpus", figures->generator_cpus, outcome->measured_ns != 0);
	json_value(json, "generator_busiest", figures->generator_busiest,
		   outcome->measured_ns != 0);
	json_value(json, "generator_still_percent",
		   100 * (double)outcome->all.frozen_ns / (double)outcome->measured_ns,
		   outcome->measured_ns != 0);
	json_text(json, "limit", validity_limit_name(outcome));
}

static void json_errors(struct json *json, const struct outcome *outcome, const struct plan *plan)
{
	uint64_t errors = 0;

	for (int kind = 0; kind < TALLY_ERROR_KINDS; kind++) {
		char key[32];

		(void)snprintf(key, sizeof key, "errors_%s", tally_errors[kind].name);
		json_number(json, key, outcome->all.errors[kind]);
		errors += outcome->all.errors[kind];
	}
	json_number(json, "errors", errors);
	json_number(json, "unsent", outcome->all.unsent);
	json_number(json, "datagrams_asked", outcome->all.asked);
	json_number(json, "datagrams_lost", outcome->all.lost);
	json_number(json, "datagrams_late", outcome->all.late);
	json_number(json, "datagrams_doubled", outcome->all.doubled);
	json_number(json, "datagrams_reordered", outcome->all.reordered);
	json_number(json, "datagrams_dropped", outcome->all.dropped);
	json_value(json, "loss_percent",
		   100 * (double)outcome->all.lost / (double)outcome->all.asked,
		   outcome->all.asked && plan->protocol->kind == CLIENT_PROTOCOL_ANSWERS);
	json_number(json, "reopened", outcome->reopened);
	json_number(json, "reopened_by_reset", outcome->reopened_by_reset);
	json_number(json, "retried", outcome->retried);
	json_number(json, "slow_ended", outcome->all.slow_ended);
	json_key(json, "valid");
	(void)fputs(outcome->invalid_why[0] ? "false" : "true", json->file);
	json_text(json, "invalid_why", outcome->invalid_why);
	json_number(json, "exit_status", (uint64_t)outcome->exit_status);
}

void report_json(FILE *file, const struct outcome *outcome, const struct plan *plan,
		 const struct figures *figures)
{
	struct json json = {.file = file};
	bool measured = outcome->measured_ns != 0;

	json_plan(&json, plan);
	json_value(&json, "duration_s", (double)outcome->measured_ns / 1e9, measured);
	json_number(&json, "messages", plan->idle ? outcome->all.messages : outcome->messages);
	json_number(&json, "messages_total", outcome->all.messages);
	json_value(&json, "messages_per_s", figures->messages_per_s, measured);
	json_number(&json, "lines", outcome->lines);
	json_value(&json, "lines_per_s", figures->lines_per_s, measured && plan->chats);
	json_value(&json, "bytes_per_s", figures->received_bytes_per_s, measured);
	json_value(&json, "sent_bytes_per_s", figures->sent_bytes_per_s, measured);
	json_number(&json, "connects", plan->idle ? outcome->all.connects : outcome->connects);
	json_number(&json, "connects_total", outcome->all.connects);
	json_value(&json, "connects_per_s", figures->connects_per_s, true);
	json_number(&json, "connected_max", outcome->all.open_max);
	json_number(&json, "held", outcome->held);
	json_value(&json, "ramp_s", (double)outcome->ramp_ns / 1e9, true);
	json_value(&json, "hold_s", (double)outcome->held_ns / 1e9, plan->idle);
	json_value(&json, "finish_s", (double)outcome->finish_ns / 1e9, plan->idle);
	json_times(&json, "service", &outcome->all.service);
	json_times(&json, "response", &outcome->all.response);
	json_times(&json, "slip", &outcome->all.slip);
	json_times(&json, "connect", &outcome->all.connect);
	json_costs(&json, outcome, figures);
	json_errors(&json, outcome, plan);
	(void)fputs("\n}\n", file);
}
