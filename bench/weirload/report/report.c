#include "bench/weirload/report/report.h"

#include <errno.h>
#include <string.h>

#include "bench/weirload/plan/plan_http.h"
#include "bench/weirload/report/figures.h"
#include "bench/weirload/report/report_json.h"
#include "bench/weirload/report/validity.h"
#include "reactor/base/check.h"
#include "reactor/base/printable.h"

static FILE *json_file, *hdr_file;

static FILE *open_file(const char *name)
{
	FILE *file;

	if (!name)
		return NULL;
	if (strcmp(name, "-") == 0)
		return stdout;
	file = fopen(name, "we");
	if (!file)
		die("%s: %s", name, strerror(errno));
	return file;
}

void report_open(const struct plan *plan)
{
	json_file = open_file(plan->json);
	hdr_file = open_file(plan->hdr);
}

/* ---- numbers as people read them ---- */

#define TEXTS	   16 /* in use at a time */
#define TEXT_BYTES 48

static char *text_new(void)
{
	static char texts[TEXTS][TEXT_BYTES];
	static unsigned next;

	return texts[next++ % TEXTS];
}

/* 1234567 as 1,234,567 */
static const char *grouped(uint64_t n)
{
	char digits[24], *text = text_new(), *out = text;
	int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*out++ = ',';
		*out++ = digits[i];
	}
	*out = '\0';
	return text;
}

/* A rate below 1 has a fraction. */
static const char *rate_text(double rate)
{
	char *text = text_new();

	if (rate >= (double)(uint64_t)rate && rate <= (double)(uint64_t)rate)
		return grouped((uint64_t)rate);
	(void)snprintf(text, TEXT_BYTES, "%.10g", rate);
	return text;
}

/* Three significant digits. */
static const char *scaled(double value, const char *const units[], double step)
{
	char *text = text_new();

	while (value >= step * 0.9995 && units[1])
		value /= step, units++;
	(void)snprintf(text, TEXT_BYTES, "%.*f %s",
		       value < 9.995   ? 2
		       : value < 99.95 ? 1
				       : 0,
		       value, *units);
	return text;
}

static const char *time_text(uint64_t ns)
{
	static const char *const units[] = {"us", "ms", "s", NULL};

	return scaled((double)ns / 1000, units, 1000);
}

static const char *bytes_text(double bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", NULL};

	return scaled(bytes, units, 1024);
}

/* ---- the table ---- */

static const char *address_text(const struct address *address)
{
	static char text[ADDRESS_TEXT_BYTES];

	address_format(address, text);
	return text;
}

static void print_head(FILE *out, const struct plan *plan, const struct outcome *outcome)
{
	char listener[6 * ENDPOINT_TEXT_BYTES];

	(void)fprintf(out, "%s, %s loop", printable_text(listener, sizeof listener, plan->listener),
		      plan_is_open(plan) ? "open" : "closed");
	if (plan->idle || plan->churn)
		(void)fprintf(out, ", %s", plan_mode(plan));
	if (plan_is_open(plan))
		(void)fprintf(out, ", %s %s/s", rate_text(plan->rate),
			      plan->chats ? "lines" : "messages");
	(void)fprintf(out, "\n%s %.*s", grouped(plan->connections),
		      (int)strlen(plan_noun(plan)) - (plan->connections == 1), plan_noun(plan));
	if (plan->protocol->http)
		(void)fprintf(out, ", %s %s", plan->message.method, plan->message.path);
	if (plan->size)
		(void)fprintf(out, ", %s bytes%s", grouped(plan->size),
			      plan->chunked ? " in a chunk" : "");
	if (plan->headers_n)
		(void)fprintf(out, ", %s header%s", grouped(plan->headers_n),
			      plan->headers_n == 1 ? "" : "s");
	if (plan->status)
		(void)fprintf(out, ", status %s", plan->status);
	if (plan->body == PLAN_BODY_ANY)
		(void)fprintf(out, ", bodies not compared");
	if (plan->pipeline > 1)
		(void)fprintf(out, ", pipeline %s", grouped(plan->pipeline));
	if (plan->endpoint.datagrams && !plan->batch)
		(void)fprintf(out, ", no batches");
	if (plan->chats)
		(void)fprintf(out, ", %s sender%s", grouped(plan->senders),
			      plan->senders == 1 ? "" : "s");
	if (plan->slow)
		(void)fprintf(out, ", %s slow", grouped(plan->slow));
	(void)fprintf(out, ", %s process%s", grouped(plan->processes),
		      plan->processes == 1 ? "" : "es");
	if (plan->destinations == 1)
		(void)fprintf(out, ", to %s", address_text(&plan->endpoint.address));
	else if (plan->destinations)
		(void)fprintf(out, ", to %s addresses", grouped(plan->destinations));
	if (plan->sources)
		(void)fprintf(out, ", from %s source address%s", grouped(plan->sources),
			      plan->sources == 1 ? "" : "es");
	if (outcome->measured_ns)
		(void)fprintf(out, ", %s after %s", time_text(outcome->measured_ns),
			      time_text(plan->warmup_us * 1000));
	(void)fprintf(out, "\n\n");
}

static void print_times(FILE *out, const char *name, const struct histogram *histogram)
{
	static const double percents[] = {50, 90, 99, 99.9, 100};

	if (!histogram->n)
		return;
	(void)fprintf(out, "%-10s", name);
	for (size_t i = 0; i < sizeof percents / sizeof *percents; i++)
		(void)fprintf(out, "%10s", time_text(histogram_percentile(histogram, percents[i])));
	(void)fprintf(out, "\n");
}

static void print_all_times(FILE *out, const struct tally *all)
{
	if (all->service.n || all->connect.n)
		(void)fprintf(out, "\n%-10s%10s%10s%10s%10s%10s\n", "", "p50", "p90", "p99",
			      "p99.9", "max");
	print_times(out, "service", &all->service);
	print_times(out, "response", &all->response);
	print_times(out, "slip", &all->slip);
	print_times(out, "connect", &all->connect);
}

static void print_reopened(FILE *out, const struct outcome *outcome)
{
	if (!outcome->reopened && !outcome->retried)
		return;
	(void)fprintf(out, "reopened  %s connections that the server ended between answers",
		      grouped(outcome->reopened));
	if (outcome->reopened_by_reset)
		(void)fprintf(out, ", %s of them by a reset", grouped(outcome->reopened_by_reset));
	if (outcome->retried)
		(void)fprintf(out, "\n          %s requests were under way then, and asked again",
			      grouped(outcome->retried));
	(void)fprintf(out, "\n");
}

static void print_throughput(FILE *out, const struct outcome *outcome, const struct plan *plan,
			     const struct figures *figures)
{
	const char *mark =
	    !plan_is_open(plan) && outcome->messages && outcome->limit == LIMIT_GENERATOR
		? "   (the generator's limit, not the server's)"
		: "";

	if (plan->idle)
		return;
	if (plan->chats)
		(void)fprintf(out, "lines     %s, %s/s; deliveries ", grouped(outcome->lines),
			      grouped((uint64_t)(figures->lines_per_s + 0.5)));
	(void)fprintf(out, "%s%s, %s/s%s\n", plan->chats ? "" : "messages  ",
		      grouped(outcome->messages),
		      grouped((uint64_t)(figures->messages_per_s + 0.5)), mark);
	if (plan->churn)
		(void)fprintf(out, "connects  %s, %s/s\n", grouped(outcome->connects),
			      grouped((uint64_t)(figures->connects_per_s + 0.5)));
	(void)fprintf(out, "bytes     %s/s sent, %s/s received\n",
		      bytes_text(figures->sent_bytes_per_s),
		      bytes_text(figures->received_bytes_per_s));
	print_reopened(out, outcome);
	if (outcome->all.unsent)
		(void)fprintf(out,
			      "unsent    %s %s were due and had not left by the end: response "
			      "has what they waited\n",
			      grouped(outcome->all.unsent), plan->chats ? "lines" : "messages");
}

static const char *percent(uint64_t n, uint64_t of)
{
	char *text = text_new();

	(void)snprintf(text, TEXT_BYTES, "%s (%.*f %%)", grouped(n), n ? 3 : 0,
		       of ? 100 * (double)n / (double)of : 0);
	return text;
}

/* What UDP did to the messages: it is allowed to. */
static void print_loss(FILE *out, const struct outcome *outcome, const struct plan *plan)
{
	const struct tally *all = &outcome->all;

	if (!plan->endpoint.datagrams || plan->protocol->kind != CLIENT_PROTOCOL_ANSWERS)
		return;
	(void)fprintf(out, "datagrams %s lost", percent(all->lost, all->asked));
	if (all->late)
		(void)fprintf(out, ", of which %s came late", grouped(all->late));
	(void)fprintf(out, ", %s doubled", percent(all->doubled, all->asked));
	if (plan->protocol->alike)
		(void)fprintf(out, ", reordered: not to be told, all answers are alike\n");
	else
		(void)fprintf(out, ", %s reordered\n", percent(all->reordered, all->asked));
	if (all->dropped)
		(void)fprintf(out,
			      "          %s answers were dropped in weirload's own queues: it did "
			      "not read in time\n",
			      grouped(all->dropped));
}

static void print_held(FILE *out, const struct outcome *outcome, const struct plan *plan,
		       const struct figures *figures)
{
	if (!plan->idle)
		return;
	(void)fprintf(out, "held      %s connections for %s, all there after %s (%s/s)\n",
		      grouped(outcome->held), time_text(outcome->held_ns),
		      time_text(outcome->ramp_ns),
		      grouped((uint64_t)(figures->connects_per_s + 0.5)));
	(void)fprintf(
	    out, "messages  %s: one when a connection came up, one when it had been held, in %s\n",
	    grouped(outcome->all.messages), time_text(outcome->finish_ns));
}

/* The name of what is counted. */
static const char *unit_of(const struct plan *plan)
{
	return plan->chats ? "delivery" : "message";
}

static void print_costs(FILE *out, const struct outcome *outcome, const struct plan *plan,
			const struct figures *figures)
{
	const char *unit = unit_of(plan);

	if (figures->server_us_per_message >= 0) {
		(void)fprintf(out, "server    %.2f us of CPU a %s (user %.2f, system %.2f)",
			      figures->server_us_per_message, unit, figures->server_user_us,
			      figures->server_system_us);
		if (figures->server_us_per_connection >= 0)
			(void)fprintf(out, ", %.2f us a connection",
				      figures->server_us_per_connection);
		(void)fprintf(
		    out, "\n          %.2f CPUs in %u process%s, the busiest thread %.0f %%\n",
		    figures->server_cpus, outcome->server.processes,
		    outcome->server.processes == 1 ? "" : "es", 100 * figures->server_busiest);
	}
	if (figures->generator_us_per_message >= 0)
		(void)fprintf(out, "generator %.2f us of CPU a %s, the busiest process %.0f %%\n",
			      figures->generator_us_per_message, unit,
			      100 * figures->generator_busiest);
	if (figures->user_bytes_per_connection >= 0)
		(void)fprintf(out, "memory    %.1f bytes a connection in the server's processes\n",
			      figures->user_bytes_per_connection);
	if (figures->kernel_bytes_per_connection >= 0)
		(void)fprintf(out,
			      "          %.0f bytes a connection in the kernel, for both ends\n",
			      figures->kernel_bytes_per_connection);
}

/* A process that waits for a CPU is as busy as one that has it: both count. */
static const char *shares_text(const struct usage *usage, double time_ns)
{
	static char text[96];

	(void)snprintf(text, sizeof text, "%.0f %% of the time, and waited for a CPU %.0f %%",
		       100 * (double)usage->busiest_ns / time_ns,
		       100 * (double)usage->busiest_wait_ns / time_ns);
	return text;
}

static void print_limit(FILE *out, const struct outcome *outcome, const struct plan *plan)
{
	double time_ns = (double)outcome->measured_ns;

	if (plan->idle || !outcome->measured_ns)
		return;
	if (outcome->limit == LIMIT_GENERATOR && validity_starved(outcome))
		(void)fprintf(
		    out,
		    "limit     generator: it was starved of CPU (it waited for one %.0f %% of "
		    "the time)\n",
		    100 * (double)outcome->generator.busiest_wait_ns /
			(double)outcome->measured_ns);
	else if (outcome->limit == LIMIT_GENERATOR && validity_frozen(outcome))
		(void)fprintf(out, "limit     generator: it stood still for %.0f %% of the time\n",
			      100 * (double)outcome->all.frozen_ns / (double)outcome->measured_ns);
	else if (outcome->limit == LIMIT_GENERATOR && outcome->invalid_why[0])
		(void)fprintf(out, "limit     generator: the run is INVALID, see below\n");
	else if (outcome->limit == LIMIT_GENERATOR && !outcome->messages)
		(void)fprintf(out, "limit     generator\n");
	else if (outcome->limit == LIMIT_GENERATOR)
		(void)fprintf(out,
			      "limit     generator: CPU a %s is the figure to quote\n"
			      "          (its busiest process ran %s)\n",
			      unit_of(plan), shares_text(&outcome->generator, time_ns));
	else if (outcome->limit == LIMIT_SERVER)
		(void)fprintf(out, "limit     server (its busiest thread ran %s)\n",
			      shares_text(&outcome->server, time_ns));
	else if (outcome->limit != LIMIT_UNKNOWN)
		(void)fprintf(out, "limit     %s\n", validity_limit_name(outcome));
	else
		(void)fprintf(out, "limit     not the generator (--server-pid tells more)\n");
}

/* In a chat, over datagrams and for HTTP bodies some errors mean something else. */
static const char *error_text(const struct plan *plan, int kind)
{
	static const char *const of_chat[TALLY_ERROR_KINDS] = {
	    [TALLY_timeout] = "clients that the server did not take, pass lines to, or end in time",
	    [TALLY_lost] = "deliveries of lines that never came",
	    [TALLY_doubled] = "lines that came again",
	    [TALLY_reordered] = "lines that came behind a later one of their sender",
	    [TALLY_foreign] = "lines of a sender that is none of this run",
	    [TALLY_altered] = "lines with bytes that were never sent",
	    [TALLY_unexpected] = "lines that came back to their sender",
	};

	static const char *const of_datagrams[TALLY_ERROR_KINDS] = {
	    [TALLY_refused] = "times nobody listened there (ICMP)",
	    [TALLY_foreign] = "answers with bytes of another socket",
	    [TALLY_altered] = "answers with bytes that were never sent",
	    [TALLY_unexpected] = "datagrams to which nothing was asked",
	};
	static const char *const of_bodies[TALLY_ERROR_KINDS] = {
	    [TALLY_altered] = "answers whose body is not that of the first",
	};
	const char *const *texts = plan->chats			  ? of_chat
				   : plan->body == PLAN_BODY_SAME ? of_bodies
				   : plan->endpoint.datagrams	  ? of_datagrams
								  : NULL;
	static char of_status[256];

	if (kind == TALLY_status) {
		(void)snprintf(of_status, sizeof of_status, "answers with another status than %s",
			       plan_http_status(plan));
		return of_status;
	}
	return texts && texts[kind] ? texts[kind] : tally_errors[kind].text;
}

/* The server may be right, but not made for what it is asked. */
static void print_body_hint(FILE *out, const struct tally *all, const struct plan *plan)
{
	static const int kinds[] = {TALLY_lost,	   TALLY_doubled, TALLY_reordered,
				    TALLY_foreign, TALLY_altered, TALLY_truncated};
	uint64_t n = 0;

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		n += all->errors[kinds[i]];
	if (!n || !plan->protocol->http || plan->body == PLAN_BODY_ANY)
		return;
	(void)fprintf(
	    out,
	    plan->body == PLAN_BODY_ECHO
		? "          (bodies have to be what was sent, unless --body is same or any)\n"
		: "          (bodies have to be that of the first reply, unless --body is any)\n");
}

static void print_errors(FILE *out, const struct outcome *outcome, const struct plan *plan)
{
	const struct tally *all = &outcome->all;
	char detail[6 * TALLY_DETAIL_BYTES]; /* it may quote a peer, so it is made printable */
	bool any = false;

	for (int kind = 0; kind < TALLY_ERROR_KINDS; kind++) {
		if (!all->errors[kind])
			continue;
		(void)printable_text(detail, sizeof detail, all->details[kind]);
		(void)fprintf(out, "%-10s%s ", any ? "" : "errors", grouped(all->errors[kind]));
		any = true;
		if (kind == TALLY_other && all->errors[kind] == 1 && *detail) {
			(void)fprintf(out, "%s\n", detail); /* there is no better name for it */
			continue;
		}
		(void)fprintf(out, "%s\n", error_text(plan, kind));
		if (*detail)
			(void)fprintf(out, "          first: %s\n", detail);
	}
	if (!any)
		(void)fprintf(out, "errors    none\n");
	print_body_hint(out, all, plan);
	if (plan->chats && plan->slow)
		(void)fprintf(out, "slow      %s of %s closed by the server\n",
			      grouped(all->slow_ended), grouped(plan->slow));
	else if (all->slow_ended)
		(void)fprintf(out, "slow      %s slow connections were ended by the server\n",
			      grouped(all->slow_ended));
}

static void print_table(FILE *out, const struct outcome *outcome, const struct plan *plan,
			const struct figures *figures)
{
	print_head(out, plan, outcome);
	print_throughput(out, outcome, plan, figures);
	print_loss(out, outcome, plan);
	print_held(out, outcome, plan, figures);
	/* If nothing was answered, connect times say nothing either. */
	if (outcome->all.messages)
		print_all_times(out, &outcome->all);
	(void)fprintf(out, "\n");
	print_costs(out, outcome, plan, figures);
	print_limit(out, outcome, plan);
	print_errors(out, outcome, plan);
	if (outcome->interrupted)
		(void)fprintf(out, "ended early, by a signal\n");
	if (tally_errors_of(&outcome->all, BLAME_REPLY))
		(void)fprintf(out, "WRONG: %s were not what they had to be\n",
			      plan->chats ? "lines" : "replies");
	if (outcome->invalid_why[0])
		(void)fprintf(out, "INVALID: %s\n", outcome->invalid_why);
	if (!outcome->held && !outcome->interrupted)
		(void)fprintf(out, "no %.*s came up\n", (int)strlen(plan_noun(plan)) - 1,
			      plan_noun(plan));
	else if (!outcome->messages && validity_expects_messages(outcome, plan))
		(void)fprintf(out, "no %s in the time that was measured\n",
			      plan->chats ? "line was delivered" : "message was answered");
}

static void close_file(FILE *file, const char *name)
{
	if (fflush(file) != 0 || ferror(file))
		die("%s: %s", name, strerror(errno));
}

void report(const struct outcome *outcome, const struct plan *plan)
{
	struct figures figures;

	figures_make(&figures, outcome, plan);
	print_table(json_file == stdout ? stderr : stdout, outcome, plan, &figures);
	if (json_file != stdout)
		close_file(stdout, "stdout");
	if (json_file) {
		report_json(json_file, outcome, plan, &figures);
		close_file(json_file, plan->json);
	}
	if (hdr_file) {
		histogram_print_hdr(plan_is_open(plan) ? &outcome->all.response
						       : &outcome->all.service,
				    hdr_file, 1e6);
		close_file(hdr_file, plan->hdr);
	}
}
