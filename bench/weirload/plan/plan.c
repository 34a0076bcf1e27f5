#include "bench/weirload/plan/plan_parts.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/weirload/chat/chat_line.h"
#include "bench/weirload/plan/dial.h"
#include "master/options.h"
#include "reactor/base/descriptor.h"
#include "reactor/base/printable.h"
#include "worker/config/config.h"

#define SIZE_MAX_BYTES	(1u << 30)
#define PIPELINE_MAX	65536
#define CONNECTIONS_MAX ((uint64_t)PLAN_PROCESSES_MAX * 1000000)
#define TIMEOUT_US	10000000
#define ADDRESSES_MAX	16 /* of a name */
#define SIZE_BYTES	64
/* Of datagrams: */
#define DATAGRAM_TIMEOUT_US   1000000
#define DATAGRAM_MIN	      16 /* a word, and one more to be sure: which question it was */
#define DATAGRAM_BENT_MIN     32 /* one of them is as it was before a rule bent it */
#define DATAGRAM_MAX	      65507
#define DATAGRAM_PIPELINE_MAX 4096

_Noreturn void usage_error(const char *format, ...)
{
	char words[4096], shown[4096];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(words, sizeof words, format, arguments);
	va_end(arguments);
	(void)fprintf(stderr, "weirload: %s (weirload --help)\n",
		      printable_text(shown, sizeof shown, words));
	exit(2);
}

/* ---- values ---- */

static uint64_t number(const char *name, const char *text, uint64_t min, uint64_t max)
{
	uint64_t value;

	if (!number_parse(text, &value) || value < min || value > max)
		usage_error("--%s takes a whole number from %llu to %llu, not \"%s\"", name,
			    (unsigned long long)min, (unsigned long long)max, text);
	return value;
}

static uint64_t duration(const char *name, const char *text)
{
	uint64_t value;

	if (!time_parse(text, &value) || value > 24 * 3600 * 1000000ull)
		usage_error("--%s takes a time such as 500ms, 10s or 2m, at most 24h, not \"%s\"",
			    name, text);
	return value;
}

static void option_connections(struct plan *plan, const char *value)
{
	plan->connections = number("connections", value, 1, CONNECTIONS_MAX);
}

static void option_duration(struct plan *plan, const char *value)
{
	plan->duration_us = duration("duration", value);
	if (!plan->duration_us)
		usage_error("--duration is longer than 0");
}

static void option_warmup(struct plan *plan, const char *value)
{
	plan->warmup_us = duration("warmup", value);
}

static void option_size(struct plan *plan, const char *value)
{
	if (!size_parse(value, &plan->size) || !plan->size || plan->size > SIZE_MAX_BYTES)
		usage_error("--size takes a size from 1 to 1G, not \"%s\"", value);
}

static void option_pipeline(struct plan *plan, const char *value)
{
	plan->pipeline = number("pipeline", value, 1, PIPELINE_MAX);
}

static void option_rate(struct plan *plan, const char *value)
{
	plan->rate = number("rate", value, 1, 1000000000);
}

static void option_processes(struct plan *plan, const char *value)
{
	plan->processes =
	    strcmp(value, "auto") == 0 ? 0 : number("processes", value, 1, PLAN_PROCESSES_MAX);
}

static void option_connect_rate(struct plan *plan, const char *value)
{
	plan->connect_rate = number("connect-rate", value, 1, 1000000000);
}

static void option_timeout(struct plan *plan, const char *value)
{
	plan->timeout_us = duration("timeout", value);
	if (!plan->timeout_us)
		usage_error("--timeout is longer than 0");
}

static void option_batch(struct plan *plan, const char *value)
{
	plan->batch = strcmp(value, "on") == 0;
	if (!plan->batch && strcmp(value, "off") != 0)
		usage_error("--batch takes on or off, not \"%s\"", value);
}

static void option_churn(struct plan *plan, const char *value)
{
	(void)value;
	plan->churn = true;
}

static void option_idle(struct plan *plan, const char *value)
{
	(void)value;
	plan->idle = true;
}

static void option_slow(struct plan *plan, const char *value)
{
	plan->slow = number("slow", value, 0, CONNECTIONS_MAX);
}

static void option_senders(struct plan *plan, const char *value)
{
	plan->senders = number("senders", value, 1, CONNECTIONS_MAX);
}

static void option_redis(struct plan *plan, const char *value)
{
	(void)value;
	plan->redis = true;
}

static void option_server_pid(struct plan *plan, const char *value)
{
	plan->server_pid = (pid_t)number("server-pid", value, 1, 1u << 30);
}

static void option_json(struct plan *plan, const char *value)
{
	plan->json = value;
}

static void option_hdr(struct plan *plan, const char *value)
{
	plan->hdr = value;
}

static void option_talk(struct plan *plan, const char *value)
{
	(void)value;
	plan->talk = true;
}

/* ---- the command line ---- */

static void print_help(void);

static void option_help(struct plan *plan, const char *value)
{
	(void)plan, (void)value;
	print_help();
	exit(0);
}

static void option_version(struct plan *plan, const char *value)
{
	(void)plan, (void)value;
	(void)printf("weirload %s\n", WEIR_VERSION);
	exit(0);
}

static const struct {
	const char *field; /* its name, with _ for - */
	char letter;
	const char *value, *argument, *meaning;
	void (*set)(struct plan *plan, const char *value);
} rows[] = {
#define OPTION(name, letter, value, argument, meaning)                                             \
	{#name, letter, value, argument, meaning, option_##name},
#include "bench/weirload/plan/plan.def"
#undef OPTION
};
#define ROWS (sizeof rows / sizeof *rows)

static const char *row_name(size_t row)
{
	static char names[ROWS][32];

	if (!names[row][0]) {
		(void)snprintf(names[row], sizeof names[row], "%s", rows[row].field);
		for (char *at = names[row]; *at; at++)
			if (*at == '_')
				*at = '-';
	}
	return names[row];
}

static void print_help(void)
{
	(void)printf(
	    "usage: weirload [OPTION]... LISTENER\n\n"
	    "Drives load at a server, checks every byte of its replies, and says what it "
	    "measured.\n"
	    "LISTENER is PROTOCOL://ADDRESS as weir takes it, of these protocols: echo, "
	    "increment,\nline, frame, chargen, discard, http, chat; echo+udp, increment+udp, "
	    "chargen+udp,\ndiscard+udp: datagrams, of which lost, doubled and reordered ones "
	    "are counted, and no errors.\nA closed loop, unless --rate is given.\n\n");
	for (size_t i = 0; i < ROWS; i++) {
		char flags[64];
		int n = rows[i].letter ? snprintf(flags, sizeof flags, "-%c, ", rows[i].letter)
				       : snprintf(flags, sizeof flags, "    ");

		(void)snprintf(flags + n, sizeof flags - (size_t)n, "--%s %s", row_name(i),
			       rows[i].argument ? rows[i].argument : "");
		(void)printf("  %-28s %s%s%s%s\n", flags, rows[i].meaning,
			     rows[i].value ? " (" : "", rows[i].value ? rows[i].value : "",
			     rows[i].value ? ")" : "");
	}
	(void)printf("\nTimes take us ms s m h, sizes K M G. Exit codes: 0 fine; 1 a reply was "
		     "wrong or missing, or a\nconnection failed; 2 wrong usage; 3 INVALID: the "
		     "generator met limits of its own.\n");
}

static void read_options(struct plan *plan, int argc, char **argv)
{
	struct option longs[ROWS + 1];
	char letters[3 * ROWS + 2] = ":";
	size_t n = 1;
	int found;

	memset(longs, 0, sizeof longs);
	for (size_t i = 0; i < ROWS; i++) {
		longs[i] = (struct option){row_name(i), rows[i].argument != NULL, NULL,
					   rows[i].letter ? rows[i].letter : 1000 + (int)i};
		if (rows[i].letter)
			letters[n++] = rows[i].letter;
		if (rows[i].letter && rows[i].argument)
			letters[n++] = ':';
		if (rows[i].value)
			rows[i].set(plan, rows[i].value);
	}
	opterr = 0;
	while ((found = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		size_t row = 0;

		if (found == ':')
			usage_error("%s needs a value", argv[optind - 1]);
		if (found == '?' && strncmp(argv[optind - 1], "--", 2) != 0)
			usage_error("there is no option -%c", optopt);
		if (found == '?' && strchr(argv[optind - 1], '='))
			usage_error("there is no option %s, or it takes no value",
				    argv[optind - 1]);
		if (found == '?')
			usage_error("there is no option %s", argv[optind - 1]);
		while (longs[row].val != found)
			row++;
		rows[row].set(plan, optarg);
	}
}

static void read_listener(struct plan *plan)
{
	struct endpoint found[ADDRESSES_MAX];
	char error[CONFIG_ERROR_BYTES];
	size_t n;

	plan_take_path(plan);
	n = endpoint_list(found, ADDRESSES_MAX, plan->listener, error, sizeof error);
	if (!n)
		usage_error("%s: %s", plan->listener, error);
	/* Of whoever is told where to go instead, no other address is asked. */
	plan->endpoint = found[dial_choose(found, plan->destinations ? 1 : n,
					   plan->sources ? &plan->source : NULL)];
	if (!address_is_unix(&plan->endpoint.address) && !address_port(&plan->endpoint.address))
		usage_error("%s: which port?", plan->listener);
	plan_take_destination(plan);
	plan->protocol =
	    client_protocol_find(plan->endpoint.protocol->name, plan->endpoint.datagrams);
	plan->chats = plan->protocol && plan->protocol->kind == CLIENT_PROTOCOL_CHATS;
	if (plan->talk && plan->protocol && plan->protocol->http)
		usage_error("--talk does not speak http; curl does");
	if (plan->talk)
		return;
	if (!plan->protocol)
		usage_error("%s: weirload does not speak it%s", plan->listener,
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
		usage_error("a socket for datagrams is no connection: it has no --%s",
			    plan->churn	 ? "churn"
			    : plan->idle ? "idle"
					 : "slow");
	if (plan->size < least || plan->size + affixes > DATAGRAM_MAX)
		usage_error("--size of a datagram of %s is from %llu to %llu", protocol->name,
			    (unsigned long long)least,
			    (unsigned long long)(DATAGRAM_MAX - affixes));
	if (plan->pipeline > DATAGRAM_PIPELINE_MAX)
		usage_error("--pipeline of datagrams is at most %d", DATAGRAM_PIPELINE_MAX);
}

/* Chat has rules of its own. */
static void check_chat(struct plan *plan)
{
	uint64_t readers = plan->connections > plan->slow ? plan->connections - plan->slow : 0;

	if (!plan->chats && (plan->senders || plan->redis))
		usage_error("--%s is for chat only", plan->senders ? "senders" : "redis");
	if (!plan->chats)
		return;
	if (plan->churn || plan->idle)
		usage_error("chat has no --churn and no --idle");
	if (plan->rate && plan->pipeline > 1)
		usage_error("chat has --rate or --pipeline, not both");
	if (plan->size < CHAT_LINE_BYTES_MIN || plan->size > CHAT_LINE_BYTES_MAX)
		usage_error("--size of a line of chat is from %d to %d", CHAT_LINE_BYTES_MIN,
			    CHAT_LINE_BYTES_MAX);
	if (!plan->senders)
		plan->senders = readers;
	if (plan->senders > readers)
		usage_error("--senders %llu of %llu connections that are not slow?",
			    (unsigned long long)plan->senders, (unsigned long long)readers);
	if (plan->senders > CHAT_SENDERS_MAX)
		usage_error("a line of chat can name %d senders at most", CHAT_SENDERS_MAX);
	/* One of them sees the lines of the other come in. */
	if (readers / plan->processes < 2)
		usage_error("chat takes 2 connections or more that are not slow in each process");
}

/* What no single value shows. */
static void check(struct plan *plan)
{
	bool speaks = plan->protocol->kind == CLIENT_PROTOCOL_SPEAKS;

	if (plan->churn && plan->idle)
		usage_error("--churn and --idle exclude each other");
	if (plan->idle && (plan->rate || plan->slow))
		usage_error("--idle has no --rate and no --slow");
	if (plan->churn && (plan->pipeline > 1 || plan->slow))
		usage_error("--churn has no --pipeline and no --slow");
	if (speaks && (plan->rate || plan->pipeline > 1))
		usage_error("%s is not asked: it has no --rate and no --pipeline",
			    plan->protocol->name);
	if (speaks && plan->idle)
		usage_error("%s never idles", plan->protocol->name);
	if (plan->slow > plan->connections)
		usage_error("--slow %llu of --connections %llu?", (unsigned long long)plan->slow,
			    (unsigned long long)plan->connections);
	if (plan->rate && plan->slow == plan->connections)
		usage_error("--rate needs a connection that is not slow");
	if (plan->sources &&
	    plan->source.socket.ss_family != plan->endpoint.address.socket.ss_family)
		usage_error("--source is of another kind of address than %s",
			    plan->destinations ? "--destination" : plan->listener);
	if (plan->server_pid && kill(plan->server_pid, 0) < 0 && errno == ESRCH) {
		(void)fprintf(stderr, "weirload: --server-pid %d: there is no such process\n",
			      (int)plan->server_pid);
		exit(2);
	}
	if (plan->json && plan->hdr && strcmp(plan->json, plan->hdr) == 0)
		usage_error("--json and --hdr would both write %s", plan->json);
}

static void choose_processes(struct plan *plan)
{
	uint64_t limit = descriptors_raise_limit();
	uint64_t room = limit > 2 * PLAN_DESCRIPTORS ? limit - PLAN_DESCRIPTORS : PLAN_DESCRIPTORS;

	if (!plan->processes)
		plan->processes = (plan->connections + room - 1) / room;
	if (plan->processes > PLAN_PROCESSES_MAX)
		usage_error("%llu connections need more than %d processes of %llu descriptors",
			    (unsigned long long)plan->connections, PLAN_PROCESSES_MAX,
			    (unsigned long long)limit);
	if (plan->processes > plan->connections)
		plan->processes = plan->connections;
	if (plan->processes + PLAN_DESCRIPTORS_CONDUCTOR > limit)
		usage_error("%llu processes need more than %llu descriptors",
			    (unsigned long long)plan->processes, (unsigned long long)limit);
}

void plan_read(struct plan *plan, int argc, char **argv)
{
	*plan = (struct plan){0};
	read_options(plan, argc, argv);
	if (optind == argc)
		usage_error("which LISTENER?");
	if (optind + 1 < argc)
		usage_error("one LISTENER: what is \"%s\"?", argv[optind + 1]);
	plan->listener = argv[optind];
	read_listener(plan);
	if (plan->talk)
		return;
	check(plan);
	plan_make_http(plan);
	if (!plan->size && !plan->protocol->http)
		plan->size = SIZE_BYTES;
	check_datagrams(plan);
	plan_spread(plan);
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
	return plan->rate ? "open" : "closed";
}

uint32_t plan_deal(const struct plan *plan, uint64_t n, unsigned i)
{
	return (uint32_t)(n / plan->processes + (i < n % plan->processes));
}

uint32_t plan_share(const struct plan *plan, unsigned i)
{
	return plan_deal(plan, plan->connections, i);
}
