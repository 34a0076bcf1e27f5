#include "bench/weirload/plan/plan.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/weirload/chat/chat_line.h"
#include "bench/weirload/plan/dial.h"
#include "bench/weirload/plan/plan_addresses.h"
#include "bench/weirload/plan/plan_http.h"
#include "bench/weirload/plan/plan_options.h"
#include "bench/weirload/plan/wrong_usage.h"
#include "reactor/base/descriptor.h"
#include "worker/config/config.h"

#define TIMEOUT_US    10000000
#define ADDRESSES_MAX 16 /* of a name */
#define SIZE_BYTES    64
/* For datagrams: */
#define DATAGRAM_TIMEOUT_US   1000000
#define DATAGRAM_MIN	      16 /* two words of the pattern, to be sure which message it is */
#define DATAGRAM_BENT_MIN     32 /* if a rule changes bytes: at least one word is unchanged */
#define DATAGRAM_MAX	      65507
#define DATAGRAM_PIPELINE_MAX 4096

static void read_listener(struct plan *plan)
{
	struct endpoint found[ADDRESSES_MAX];
	char error[CONFIG_ERROR_BYTES];
	size_t n;

	plan_http_take_path(plan);
	n = endpoint_list(found, ADDRESSES_MAX, plan->listener, error, sizeof error);
	if (!n)
		wrong_usage("%s: %s", plan->listener, error);
	/* With --destination the addresses of LISTENER are not tried. */
	plan->endpoint = found[dial_choose(found, plan->destinations ? 1 : n,
					   plan->sources ? &plan->source : NULL)];
	if (!address_is_unix(&plan->endpoint.address) && !address_port(&plan->endpoint.address))
		wrong_usage("%s: which port?", plan->listener);
	plan_addresses_take_destination(plan);
	plan->protocol =
	    client_protocol_find(plan->endpoint.protocol->name, plan->endpoint.datagrams);
	plan->chats = plan->protocol && plan->protocol->kind == CLIENT_PROTOCOL_CHATS;
	if (plan->talk && plan->protocol && plan->protocol->http)
		wrong_usage("--talk does not speak http; curl does");
	if (plan->talk)
		return;
	if (!plan->protocol)
		wrong_usage("%s: weirload does not speak it%s", plan->listener,
			    plan->endpoint.datagrams ? " over datagrams" : "");
	if (!plan->timeout_us)
		plan->timeout_us = plan->endpoint.datagrams ? DATAGRAM_TIMEOUT_US : TIMEOUT_US;
}

/* Datagrams have rules of their own. */
static void check_datagrams(const struct plan *plan)
{
	const struct client_protocol *protocol = plan->protocol;
	uint64_t least = protocol->alike || protocol->kind == CLIENT_PROTOCOL_LISTENS ? 1
			 : protocol->received.plus_one ? DATAGRAM_BENT_MIN
						       : DATAGRAM_MIN;
	uint64_t affixes = client_protocol_message_bytes(protocol, 1) - 1;

	if (!plan->endpoint.datagrams)
		return;
	if (plan->churn || plan->idle || plan->slow)
		wrong_usage("a socket for datagrams is no connection: it has no --%s",
			    plan->churn	 ? "churn"
			    : plan->idle ? "idle"
					 : "slow");
	if (plan->size < least || plan->size + affixes > DATAGRAM_MAX)
		wrong_usage("--size of a datagram of %s is from %llu to %llu", protocol->name,
			    (unsigned long long)least,
			    (unsigned long long)(DATAGRAM_MAX - affixes));
	if (plan->pipeline > DATAGRAM_PIPELINE_MAX)
		wrong_usage("--pipeline of datagrams is at most %d", DATAGRAM_PIPELINE_MAX);
}

/* Chat has rules of its own. */
static void check_chat(struct plan *plan)
{
	uint64_t readers = plan->connections > plan->slow ? plan->connections - plan->slow : 0;

	if (!plan->chats && (plan->senders || plan->redis))
		wrong_usage("--%s is for chat only", plan->senders ? "senders" : "redis");
	if (!plan->chats)
		return;
	if (plan->churn || plan->idle)
		wrong_usage("chat has no --churn and no --idle");
	if (plan_is_open(plan) && plan->pipeline > 1)
		wrong_usage("chat has --rate or --pipeline, not both");
	if (plan->size < CHAT_LINE_BYTES_MIN || plan->size > CHAT_LINE_BYTES_MAX)
		wrong_usage("--size of a line of chat is from %d to %d", CHAT_LINE_BYTES_MIN,
			    CHAT_LINE_BYTES_MAX);
	if (!plan->senders)
		plan->senders = readers;
	if (plan->senders > readers)
		wrong_usage("--senders %llu of %llu connections that are not slow?",
			    (unsigned long long)plan->senders, (unsigned long long)readers);
	if (plan->senders > CHAT_SENDERS_MAX)
		wrong_usage("a line of chat can name %d senders at most", CHAT_SENDERS_MAX);
	/* A process needs two: one of them gets the lines of the other. */
	if (readers / plan->processes < 2)
		wrong_usage("chat takes 2 connections or more that are not slow in each process");
}

/* Checks values that depend on each other. */
static void check(struct plan *plan)
{
	bool speaks = plan->protocol->kind == CLIENT_PROTOCOL_SPEAKS;

	if (plan->churn && plan->idle)
		wrong_usage("--churn and --idle exclude each other");
	if (plan->idle && (plan_is_open(plan) || plan->slow))
		wrong_usage("--idle has no --rate and no --slow");
	if (plan->churn && (plan->pipeline > 1 || plan->slow))
		wrong_usage("--churn has no --pipeline and no --slow");
	if (speaks && (plan_is_open(plan) || plan->pipeline > 1))
		wrong_usage("%s is not asked: it has no --rate and no --pipeline",
			    plan->protocol->name);
	if (speaks && plan->idle)
		wrong_usage("%s never idles", plan->protocol->name);
	if (plan->slow > plan->connections)
		wrong_usage("--slow %llu of --connections %llu?", (unsigned long long)plan->slow,
			    (unsigned long long)plan->connections);
	if (plan_is_open(plan) && plan->slow == plan->connections)
		wrong_usage("--rate needs a connection that is not slow");
	if (plan->sources &&
	    plan->source.socket.ss_family != plan->endpoint.address.socket.ss_family)
		wrong_usage("--source is of another kind of address than %s",
			    plan->destinations ? "--destination" : plan->listener);
	if (plan->server_pid && kill(plan->server_pid, 0) < 0 && errno == ESRCH) {
		(void)fprintf(stderr, "weirload: --server-pid %d: there is no such process\n",
			      (int)plan->server_pid);
		exit(2);
	}
	if (plan->json && plan->hdr && strcmp(plan->json, plan->hdr) == 0)
		wrong_usage("--json and --hdr would both write %s", plan->json);
}

static void choose_processes(struct plan *plan)
{
	uint64_t limit = descriptors_raise_limit();
	uint64_t room = limit > 2 * PLAN_DESCRIPTORS ? limit - PLAN_DESCRIPTORS : PLAN_DESCRIPTORS;

	if (!plan->processes)
		plan->processes = (plan->connections + room - 1) / room;
	if (plan->processes > PLAN_PROCESSES_MAX)
		wrong_usage("%llu connections need more than %d processes of %llu descriptors",
			    (unsigned long long)plan->connections, PLAN_PROCESSES_MAX,
			    (unsigned long long)limit);
	if (plan->processes > plan->connections)
		plan->processes = plan->connections;
	if (plan->processes + PLAN_DESCRIPTORS_CONDUCTOR > limit)
		wrong_usage("%llu processes need more than %llu descriptors",
			    (unsigned long long)plan->processes, (unsigned long long)limit);
}

void plan_read(struct plan *plan, int argc, char **argv)
{
	*plan = (struct plan){0};
	plan_options_read(plan, argc, argv);
	if (optind == argc)
		wrong_usage("which LISTENER?");
	if (optind + 1 < argc)
		wrong_usage("one LISTENER: what is \"%s\"?", argv[optind + 1]);
	plan->listener = argv[optind];
	read_listener(plan);
	if (plan->talk)
		return;
	check(plan);
	plan_http_make(plan);
	if (!plan->size && !plan->protocol->http)
		plan->size = SIZE_BYTES;
	check_datagrams(plan);
	plan_addresses_spread(plan);
	choose_processes(plan);
	check_chat(plan);
}

const char *plan_noun(const struct plan *plan)
{
	return plan->endpoint.datagrams ? "sockets" : "connections";
}

const char *plan_mode(const struct plan *plan)
{
	if (plan->idle)
		return "idle";
	if (plan->churn)
		return "churn";
	return plan_is_open(plan) ? "open" : "closed";
}

uint32_t plan_deal(const struct plan *plan, uint64_t n, unsigned i)
{
	return (uint32_t)(n / plan->processes + (i < n % plan->processes));
}

uint32_t plan_share(const struct plan *plan, unsigned i)
{
	return plan_deal(plan, plan->connections, i);
}
