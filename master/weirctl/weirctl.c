/* weirctl: asks a running weir over its control socket, and waits for the outcome. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "master/control/command.h"
#include "master/control/control_file.h"
#include "master/options.h"
#include "master/weirctl/ask.h"
#include "master/weirctl/find.h"
#include "master/weirctl/show.h"
#include "master/weirctl/top.h"
#include "reactor/base/inherited.h"
#include "reactor/base/log.h"
#include "reactor/base/printable.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define QUICK_MS	10000 /* for what a server answers at once */
#define INTERVAL_MS	1000  /* of top */
#define INTERVAL_MS_MIN 100

static struct {
	enum command command;
	char request[256];
	bool json;
	const char *control;
	uint64_t timeout_ms; /* 0: none */
	uint64_t due_ms;
	struct top_plan top;
	struct ask ask;
	const char *why; /* it failed */
} ctl = {.top = {.interval_ms = INTERVAL_MS}};

static const struct command_row *row(void)
{
	return &command_rows[ctl.command];
}

static bool is_top(void)
{
	return ctl.command == COMMAND_top;
}

/* ---- usage ---- */

static _Noreturn void usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

static _Noreturn void usage_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)fputs("weirctl: ", stderr);
	(void)vfprintf(stderr, format, arguments);
	(void)fputs(" (weirctl --help)\n", stderr);
	va_end(arguments);
	exit(2);
}

static _Noreturn void print_help(void)
{
	(void)printf("weirctl [-j] [--control PATH] [--timeout T] COMMAND\n"
		     "Looks at and steers a running weir, and waits for the outcome.\n\n");
	for (size_t i = 0; i < COMMANDS; i++) {
		char name[32];
		const struct command_row *command = &command_rows[i];

		(void)snprintf(name, sizeof name, "%s%s%s", command->name,
			       *command->argument ? " " : "", command->argument);
		(void)printf("  %-11s %s\n", name, command->meaning);
	}
	(void)printf(
	    "\n  -j, --json          the answer as one JSON document\n"
	    "      --control PATH  the server's socket; without it, the only server there is\n"
	    "                      in " CONTROL_FOLDER " and $XDG_RUNTIME_DIR\n"
	    "      --interval T    of top: how long between two looks (default: 1s)\n"
	    "      --count N       of top: how many tables, 0 being without end (default:\n"
	    "                      0 on a terminal, else 1)\n"
	    "      --timeout T     how long to wait for the outcome, 0 being for ever\n"
	    "                      (default: 10s for status, workers, top, metrics and\n"
	    "                      pid, else 0)\n"
	    "  -V, --version       print the version and exit\n"
	    "  -h, --help          print this and exit\n"
	    "\nTimes are a whole number with its unit, ms s m h.\n"
	    "Exit status: 0 done, 1 failed, 2 wrong usage, 3 no server, or more than one.\n");
	exit(0);
}

static uint64_t take_time(const char *flag, const char *text)
{
	uint64_t us;

	if (!time_parse(text, &us) || us / 1000 > INT32_MAX)
		usage_error("%s takes a time such as 500ms, 30s or 5m, not \"%s\"", flag, text);
	return (us + 999) / 1000;
}

static void take_rhythm(const char *interval, const char *count)
{
	if ((interval || count) && !is_top())
		usage_error("%s is for top alone", interval ? "--interval" : "--count");
	if (interval)
		ctl.top.interval_ms = take_time("--interval", interval);
	if (ctl.top.interval_ms < INTERVAL_MS_MIN)
		usage_error("--interval takes 100ms or more, not \"%s\"", interval);
	if (count && !number_parse(count, &ctl.top.count))
		usage_error("--count takes a number, not \"%s\"", count);
	ctl.top.counted = count != NULL;
}

static void take_command(int argc, char **argv)
{
	if (optind == argc)
		usage_error("there is no COMMAND");
	ctl.command = command_find(argv[optind]);
	if (ctl.command == COMMANDS)
		usage_error("there is no command \"%s\"", argv[optind]);
	if (argc - optind > (*row()->argument ? 2 : 1))
		usage_error("%s takes no \"%s\"", row()->name, argv[argc - 1]);
	if ((size_t)snprintf(ctl.request, sizeof ctl.request, "%s%s%s\n", row()->name,
			     argc - optind > 1 ? " " : "",
			     argc - optind > 1 ? argv[optind + 1] : "") >= sizeof ctl.request)
		usage_error("\"%s\" is too long", argv[optind + 1]);
}

static void read_options(int argc, char **argv)
{
	static const struct option options[] = {
	    {"json", no_argument, NULL, 'j'},	       {"control", required_argument, NULL, 'c'},
	    {"timeout", required_argument, NULL, 't'}, {"version", no_argument, NULL, 'V'},
	    {"help", no_argument, NULL, 'h'},	       {"interval", required_argument, NULL, 'i'},
	    {"count", required_argument, NULL, 'n'},   {NULL, 0, NULL, 0},
	};
	const char *timeout = NULL, *interval = NULL, *count = NULL;
	int letter;

	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":jVh", options, NULL)) != -1) {
		if (letter == 'h')
			print_help();
		if (letter == 'V') {
			(void)printf("weirctl " WEIR_VERSION "\n");
			exit(0);
		}
		if (letter == 'j')
			ctl.json = true;
		else if (letter == 'c')
			ctl.control = optarg;
		else if (letter == 't')
			timeout = optarg;
		else if (letter == 'i')
			interval = optarg;
		else if (letter == 'n')
			count = optarg;
		else if (letter == ':')
			usage_error("%s takes a value", argv[optind - 1]);
		else
			usage_error("%s is no option, or takes no value", argv[optind - 1]);
	}
	take_command(argc, argv);
	if (ctl.json && ctl.command == COMMAND_metrics)
		usage_error("metrics are Prometheus' text, and not to be had as JSON");
	ctl.timeout_ms = row()->kind == COMMAND_SHOWS ? QUICK_MS : 0;
	if (timeout)
		ctl.timeout_ms = take_time("--timeout", timeout);
	take_rhythm(interval, count);
}

/* ---- time ---- */

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* False: the time is over. */
static bool wait_for(int fd)
{
	struct pollfd one = {.fd = fd, .events = POLLIN};
	int left_ms = -1, n;

	do {
		if (ctl.timeout_ms) {
			uint64_t now = now_ms();

			left_ms = now < ctl.due_ms ? (int)(ctl.due_ms - now) : 0;
		}
		n = poll(&one, 1, left_ms);
	} while (n < 0 && errno == EINTR);
	return n != 0;
}

/* ---- the answer ---- */

/* Notes are shown as they come. */
static void read_answer(void)
{
	size_t told = 0;
	bool more = true;

	while (more && !ctl.why) {
		if (!wait_for(ctl.ask.fd)) {
			ctl.why = "the time is over, and the outcome is not known";
			return;
		}
		more = ask_read(&ctl.ask);
		for (; told < ctl.ask.answer.n; told++)
			if (!ctl.json && strcmp(ctl.ask.answer.records[told].kind, "note") == 0)
				show_note(&ctl.ask.answer.records[told]);
	}
	ctl.why = ctl.ask.why;
}

/* Waits for the server's process to end, which happens after its last words. */
static void wait_until_gone(int pidfd)
{
	if (pidfd >= 0 && !ctl.why && !wait_for(pidfd))
		ctl.why = "the time is over, and the server is still there";
}

/* The reason is escaped, because a server may have said it. */
static void tell_failure(void)
{
	char why[LOG_LINE_BYTES];

	(void)fprintf(stderr, "weirctl: %s: %s\n", row()->name,
		      printable_text(why, sizeof why, ctl.why));
}

int main(int argc, char **argv)
{
	struct found found;
	int pidfd = -1;

	log_name("weirctl");
	inherited_repair(INHERITED_BY_TOOL);
	read_options(argc, argv);
	ctl.due_ms = now_ms() + ctl.timeout_ms;
	found = find_server(ctl.control, (int)ctl.timeout_ms);
	if (is_top()) {
		ctl.top.control = ctl.control;
		ctl.top.json = ctl.json;
		ctl.top.timeout_ms = ctl.timeout_ms;
		return top_run(&ctl.top, found);
	}
	if (row()->kind == COMMAND_ENDS && found.pid > 0)
		pidfd = (int)syscall(SYS_pidfd_open, found.pid, 0);
	ask_begin(&ctl.ask, found.fd, ctl.request);
	read_answer();
	wait_until_gone(pidfd);
	if (ctl.json)
		show_json(&ctl.ask.answer, row()->list, ctl.why);
	else if (!ctl.why)
		show_tables(&ctl.ask.answer);
	if (!ctl.json && !ctl.why && row()->kind != COMMAND_SHOWS)
		(void)printf("%s: done\n", row()->name);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		(void)fprintf(stderr, "weirctl: writing the answer: %s\n", strerror(errno));
		return 1;
	}
	if (ctl.why)
		tell_failure();
	return ctl.why ? 1 : 0;
}
