#include "bench/weirload/plan/plan_options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bench/weirload/plan/plan_addresses.h"
#include "bench/weirload/plan/plan_http.h"
#include "bench/weirload/plan/wrong_usage.h"
#include "master/options.h"
#include "worker/config/config.h"

#define SIZE_MAX_BYTES	(1u << 30)
#define PIPELINE_MAX	65536
#define NICE_MAX	19
#define RATE_MIN	0.001
#define RATE_MAX	1e9
#define CONNECTIONS_MAX ((uint64_t)PLAN_PROCESSES_MAX * 1000000)

/* ---- values ---- */

static uint64_t number(const char *name, const char *text, uint64_t min, uint64_t max)
{
	uint64_t value;

	if (!number_parse(text, &value) || value < min || value > max)
		wrong_usage("--%s takes a whole number from %llu to %llu, not \"%s\"", name,
			    (unsigned long long)min, (unsigned long long)max, text);
	return value;
}

static uint64_t duration(const char *name, const char *text)
{
	uint64_t value;

	if (!time_parse(text, &value) || value > 24 * 3600 * 1000000ull)
		wrong_usage("--%s takes a time such as 500ms, 10s or 2m, at most 24h, not \"%s\"",
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
		wrong_usage("--duration is longer than 0");
}

static void option_warmup(struct plan *plan, const char *value)
{
	plan->warmup_us = duration("warmup", value);
}

static void option_size(struct plan *plan, const char *value)
{
	if (!size_parse(value, &plan->size) || !plan->size || plan->size > SIZE_MAX_BYTES)
		wrong_usage("--size takes a size from 1 to 1G, not \"%s\"", value);
}

static void option_pipeline(struct plan *plan, const char *value)
{
	plan->pipeline = number("pipeline", value, 1, PIPELINE_MAX);
}

static void option_rate(struct plan *plan, const char *value)
{
	char *end;

	plan->rate = strtod(value, &end);
	if (!*value || strspn(value, "0123456789.") != strlen(value) || *end ||
	    plan->rate < RATE_MIN || plan->rate > RATE_MAX)
		wrong_usage("--rate takes a number from %g to %.0f, such as 1000 or 0.1, not "
			    "\"%s\"",
			    RATE_MIN, RATE_MAX, value);
}

static void option_processes(struct plan *plan, const char *value)
{
	plan->processes =
	    strcmp(value, "auto") == 0 ? 0 : number("processes", value, 1, PLAN_PROCESSES_MAX);
}

static void option_nice(struct plan *plan, const char *value)
{
	plan->nice = (int)number("nice", value, 0, NICE_MAX);
}

static void option_connect_rate(struct plan *plan, const char *value)
{
	plan->connect_rate = number("connect-rate", value, 1, 1000000000);
}

static void option_timeout(struct plan *plan, const char *value)
{
	plan->timeout_us = duration("timeout", value);
	if (!plan->timeout_us)
		wrong_usage("--timeout is longer than 0");
}

static void option_batch(struct plan *plan, const char *value)
{
	plan->batch = strcmp(value, "on") == 0;
	if (!plan->batch && strcmp(value, "off") != 0)
		wrong_usage("--batch takes on or off, not \"%s\"", value);
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

static void option_wait(struct plan *plan, const char *value)
{
	(void)value;
	plan->wait = true;
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

static void option_source(struct plan *plan, const char *value)
{
	plan->sources = plan_addresses_range("source", value, &plan->source);
}

static void option_destination(struct plan *plan, const char *value)
{
	plan->destinations = plan_addresses_range("destination", value, &plan->destination);
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

/* ---- values of HTTP ---- */

static void option_path(struct plan *plan, const char *value)
{
	plan->path = value;
	if (!http_message_path_is(value))
		wrong_usage("--path takes a path such as /bytes/1000, not \"%s\"", value);
}

static void option_method(struct plan *plan, const char *value)
{
	static const char *const known[] = {"GET",    "HEAD",  "POST",	"PUT",
					    "DELETE", "PATCH", "TRACE", "OPTIONS"};

	plan->method = value;
	if (!http_message_method_is(value))
		wrong_usage("--method takes a method such as PUT, not \"%s\"", value);
	if (strcasecmp(value, "CONNECT") == 0)
		wrong_usage("--method CONNECT asks for a tunnel, and no reply");
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcasecmp(value, known[i]) == 0 && strcmp(value, known[i]) != 0)
			wrong_usage("--method %s: methods tell case apart; do you mean %s?", value,
				    known[i]);
}

static void option_header(struct plan *plan, const char *value)
{
	const char *wrong = http_message_header_wrong(value);
	size_t bytes = strlen(value);

	if (wrong)
		wrong_usage("--header \"%s\": %s", value, wrong);
	for (size_t i = 0; i < plan->headers_n; i++) {
		bytes += strlen(plan->headers[i]);
		if (http_message_header_is(value, "Host") &&
		    http_message_header_is(plan->headers[i], "Host"))
			wrong_usage("--header Host is there twice: which of them?");
	}
	if (plan->headers_n == HTTP_HEADERS_MAX || bytes > HTTP_HEADERS_BYTES)
		wrong_usage("--header: at most %d of them, and %d bytes in all", HTTP_HEADERS_MAX,
			    HTTP_HEADERS_BYTES);
	plan->headers[plan->headers_n++] = value;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Takes a status, 404 or 4xx. Returns its length; 0: it is neither. A status below 200 is not a
 * final answer. */
static size_t take_status(struct plan *plan, const char *at)
{
	bool class = at[0] >= '2' && at[0] <= '5' && strncasecmp(at + 1, "xx", 2) == 0;
	unsigned from = (unsigned)(at[0] - '0') * 100;

	if (at[0] < '2' || at[0] > '5' || (!class && (!is_digit(at[1]) || !is_digit(at[2]))))
		return 0;
	if (!class)
		from += (unsigned)(at[1] - '0') * 10 + (unsigned)(at[2] - '0');
	for (unsigned i = 0; i < (class ? 100 : 1); i++)
		plan->wanted[from + i] = true;
	return 3;
}

static void option_status(struct plan *plan, const char *value)
{
	const char *at = value;
	size_t n;

	plan->status = value;
	memset(plan->wanted, 0, sizeof plan->wanted);
	do {
		n = take_status(plan, at);
		at += n;
	} while (n && *at == ',' && *++at);
	if (!n || *at || at[-1] == ',')
		wrong_usage("--status takes numbers from 200 to 599 and classes, such as 404 or "
			    "2xx,304, not \"%s\"",
			    value);
}

static void option_body(struct plan *plan, const char *value)
{
	plan->body = plan_http_body_named(value);
	if (plan->body == PLAN_BODY_UNTOLD)
		wrong_usage("--body takes same, echo or any, not \"%s\"", value);
}

static void option_chunked(struct plan *plan, const char *value)
{
	(void)value;
	plan->chunked = true;
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

void plan_options_read(struct plan *plan, int argc, char **argv)
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
			wrong_usage("%s needs a value", argv[optind - 1]);
		if (found == '?' && strncmp(argv[optind - 1], "--", 2) != 0)
			wrong_usage("there is no option -%c", optopt);
		if (found == '?' && strchr(argv[optind - 1], '='))
			wrong_usage("there is no option %s, or it takes no value",
				    argv[optind - 1]);
		if (found == '?')
			wrong_usage("there is no option %s", argv[optind - 1]);
		while (longs[row].val != found)
			row++;
		rows[row].set(plan, optarg);
	}
}
