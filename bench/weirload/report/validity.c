#include "bench/weirload/report/validity.h"

#include <stdarg.h>
#include <stdio.h>

const char *validity_limit_name(const struct outcome *outcome)
{
	static const char *const names[] = {"unknown", "neither", "server", "generator"};

	return names[outcome->limit];
}

static void invalid(struct outcome *outcome, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Only the first reason is kept. */
static void invalid(struct outcome *outcome, const char *format, ...)
{
	va_list arguments;

	if (outcome->invalid_why[0])
		return;
	va_start(arguments, format);
	(void)vsnprintf(outcome->invalid_why, sizeof outcome->invalid_why, format, arguments);
	va_end(arguments);
}

static void check_generator_limits(struct outcome *outcome, const struct plan *plan)
{
	const struct tally *all = &outcome->all;
	uint64_t slip_ns, allowed_ns;

	if (all->errors[TALLY_ports])
		invalid(outcome, "local ports ran out: spread connections with --source "
				 "FIRST-LAST, or widen net.ipv4.ip_local_port_range");
	if (all->errors[TALLY_descriptors])
		invalid(outcome, "descriptors ran out: use more processes, -P");
	if (all->errors[TALLY_memory])
		invalid(outcome, "the kernel had no memory: %s", all->details[TALLY_memory]);
	if ((double)all->dropped > VALIDITY_DROPPED * (double)all->asked)
		invalid(outcome,
			"%llu answers found the generator's own queue full: fewer under way (-p), "
			"or a larger net.core.rmem_max",
			(unsigned long long)all->dropped);
	if (!plan_is_open(plan) || !all->slip.n)
		return;
	if ((double)all->frozen_ns > VALIDITY_FROZEN_OPEN * (double)outcome->measured_ns)
		invalid(
		    outcome,
		    "the generator did not keep its own schedule: it stood still for %.0f %% of "
		    "the time",
		    100 * (double)all->frozen_ns / (double)outcome->measured_ns);
	slip_ns = histogram_percentile(&all->slip, 99);
	allowed_ns = histogram_percentile(&all->response, 99) / 10;
	if (allowed_ns < VALIDITY_SLIP_NS)
		allowed_ns = VALIDITY_SLIP_NS;
	if (slip_ns > allowed_ns)
		invalid(outcome,
			"the generator did not keep its own schedule: one %s in a hundred "
			"left %.1f ms late or more",
			plan->chats ? "line" : "message", (double)slip_ns / 1e6);
}

bool validity_frozen(const struct outcome *outcome)
{
	return (double)outcome->all.frozen_ns >= VALIDITY_FROZEN * (double)outcome->measured_ns;
}

bool validity_starved(const struct outcome *outcome)
{
	const struct usage *generator = &outcome->generator;

	return generator->busiest_wait_ns > generator->busiest_ns &&
	       (double)generator->busiest_wait_ns >= VALIDITY_FROZEN * (double)outcome->measured_ns;
}

/* If both were at their limits the generator counts as the limit: with more load the server might
 * have done more. */
static void find_limit(struct outcome *outcome)
{
	const struct usage *server = &outcome->server, *generator = &outcome->generator;
	double time_ns = (double)outcome->measured_ns;
	bool full, generator_full, server_full;

	if (time_ns <= 0)
		return;
	full =
	    (double)(server->cpu_ns + generator->cpu_ns) >= VALIDITY_BUSY * time_ns * outcome->cpus;
	generator_full = (double)(generator->busiest_ns + generator->busiest_wait_ns) >=
			     VALIDITY_BUSY * time_ns ||
			 validity_frozen(outcome);
	server_full =
	    outcome->server_known &&
	    ((double)(server->busiest_ns + server->busiest_wait_ns) >= VALIDITY_BUSY * time_ns ||
	     (full && server->cpu_ns > generator->cpu_ns));
	if (generator_full)
		outcome->limit = LIMIT_GENERATOR;
	else if (server_full)
		outcome->limit = LIMIT_SERVER;
	else if (outcome->server_known)
		outcome->limit = LIMIT_NEITHER;
}

/* False if all connections are slow, or nothing was due yet. */
bool validity_expects_messages(const struct outcome *outcome, const struct plan *plan)
{
	return outcome->measured_ns && plan->slow < plan->connections && !outcome->interrupted &&
	       (!plan_is_open(plan) || outcome->all.unsent || outcome->all.slip.n);
}

void validity_conclude(struct outcome *outcome, const struct plan *plan)
{
	check_generator_limits(outcome, plan);
	if (!plan->idle)
		find_limit(outcome);
	if (outcome->limit == LIMIT_GENERATOR && !outcome->messages &&
	    (validity_starved(outcome) || validity_frozen(outcome)))
		invalid(outcome, "the generator hardly ran");
	/* A server that was busy all the time stays the limit, whatever else went wrong. */
	if (outcome->invalid_why[0] && !plan->idle && outcome->limit != LIMIT_SERVER)
		outcome->limit = LIMIT_GENERATOR;
	if (tally_errors_of(&outcome->all, BLAME_SERVER) ||
	    tally_errors_of(&outcome->all, BLAME_REPLY))
		outcome->exit_status = 1;
	else if (outcome->invalid_why[0])
		outcome->exit_status = 3;
	else if (!outcome->held || (!outcome->messages && validity_expects_messages(outcome, plan)))
		outcome->exit_status = 1;
}
