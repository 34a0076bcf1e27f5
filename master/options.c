#include "master/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/listen/activation.h"
#include "reactor/base/check.h"
#include "reactor/base/stats.h"
#include "worker/config/endpoint_keys.h"
#include "worker/identity.h"

#define LONG_BASE 1000 /* what getopt_long returns for row i */

static bool wrong(char error[OPTIONS_ERROR_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool wrong(char error[OPTIONS_ERROR_BYTES], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(error, OPTIONS_ERROR_BYTES, format, arguments);
	va_end(arguments);
	return false;
}

/* ---- answers ---- */

/* Prints text in lines of at most 78 columns, each with the same indent. */
static void print_wrapped(const char *indent, const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t word = strcspn(text, " ");

		if (!column || column + 1 + word > 78)
			column = (size_t)printf("%s%s", column ? "\n" : "", indent) - (column != 0);
		else
			column += (size_t)printf(" ");
		column += (size_t)printf("%.*s", (int)word, text);
		text += word + strspn(text + word, " ");
	}
	(void)printf("\n");
}

static void print_help(void)
{
	char keys[512];

	(void)printf("weir [OPTION]... [LISTENER]...\n"
		     "A preforked TCP and UDP server: a master, workers, an event loop in each.\n\n"
		     "LISTENER = PROTOCOL://ADDRESS[?KEY=VALUE[&KEY=VALUE]...]\n"
		     "PROTOCOL =");
	for (const struct protocol *const *p = protocols; *p; p++)
		(void)printf(" %s", (*p)->name);
	for (const struct protocol *const *p = protocols; *p; p++)
		if ((*p)->datagram)
			(void)printf(" %s+udp", (*p)->name);
	(void)printf("\nADDRESS  = HOST:PORT | [IPV6]:PORT | :PORT | @ABSTRACT | /PATH\n"
		     "KEY      = one of these, each for some listeners:\n");
	(void)endpoint_keys_list(keys, sizeof keys, " ");
	print_wrapped("           ", keys);
	(void)printf("Without a LISTENER, weir serves on loopback:\n");
	for (const char *const *text = config_default_listeners; *text; text++)
		(void)printf("  %s\n", *text);
	(void)printf("\n");
	EACH_OPTION (row) {
		char flag[96], meaning[768];

		(void)snprintf(flag, sizeof flag, "%c%c%c --%s%s%s", row->letter ? '-' : ' ',
			       row->letter ? row->letter : ' ', row->letter ? ',' : ' ', row->name,
			       row->argument ? " " : "", row->argument ? row->argument : "");
		(void)snprintf(meaning, sizeof meaning,
			       row->value && row->argument ? "%s (default: %s)" : "%s",
			       row->meaning, row->value);
		(void)printf("  %s\n", flag);
		print_wrapped("        ", meaning);
	}
	(void)printf("\nTimes are a whole number with its unit, us ms s m h; sizes take K M G.\n"
		     "Signals: TERM and INT stop gracefully, a second one or QUIT at once;\n"
		     "HUP reloads, USR2 upgrades, TTIN and TTOU: one worker more, one fewer.\n"
		     "Exit status: 0 fine, 1 could not run, 2 wrong usage or configuration.\n");
}

static void print_config(const struct config *config)
{
	char text[4096];

	EACH_OPTION (row) {
		if (row->kind == OPTION_ACTION)
			continue;
		config_text(config, row, text, sizeof text);
		(void)printf("%s =%s%s\n", row->name, *text ? " " : "", text);
	}
	for (size_t i = 0; i < config->listeners_n; i++) {
		if (config->listeners[i].joined)
			continue;
		endpoint_format_named(&config->listeners[i], text);
		(void)printf("listen = %s\n", text);
	}
}

/* ---- the command line ---- */

static char short_options[2 * OPTION_ROWS_MAX + 2];
static struct option long_options[OPTION_ROWS_MAX + 1];

static void make_options(void)
{
	struct option *option = long_options;
	char *letter = short_options;

	*letter++ = ':';
	EACH_OPTION (row) {
		*option++ = (struct option){
		    .name = row->name,
		    .has_arg = row->argument ? required_argument : no_argument,
		    .val = row->letter ? row->letter : LONG_BASE + (int)(row - config_rows()),
		};
		if (!row->letter)
			continue;
		*letter++ = row->letter;
		if (row->argument)
			*letter++ = ':';
	}
}

static const struct option_row *row_of(int answer)
{
	if (answer >= LONG_BASE)
		return &config_rows()[answer - LONG_BASE];
	EACH_OPTION (row)
		if (row->letter == answer)
			return row;
	return NULL;
}

static bool unknown_flag(int answer, const char *given, char error[OPTIONS_ERROR_BYTES])
{
	const char *nearest;
	char name[64];

	if (answer == ':')
		return wrong(error, "%s needs a value", given);
	if (strncmp(given, "--", 2) != 0)
		return wrong(error, "unknown flag -%c (weir --help lists them)", optopt);
	(void)snprintf(name, sizeof name, "%.*s", (int)strcspn(given + 2, "="), given + 2);
	if (config_find(name))
		return wrong(error, "--%s takes no value", name);
	nearest = config_nearest(name, false);
	if (nearest)
		return wrong(error, "unknown flag --%s; did you mean --%s?", name, nearest);
	return wrong(error, "unknown flag --%s (weir --help lists them)", name);
}

/* What the process was started with. */
static struct {
	int argc;
	char **argv;
	size_t cpus, descriptors;
	const char *file;
	bool test, dump;
} asked;

/* Goes over the flags and gives each to act; NULL value if it takes none. */
static bool each_flag(bool (*act)(struct config *config, const struct option_row *row,
				  const char *value, char error[OPTIONS_ERROR_BYTES]),
		      struct config *config, char error[OPTIONS_ERROR_BYTES])
{
	int answer;

	opterr = 0;
	optind = 0; /* from the start: glibc and musl both take it so */
	while ((answer = getopt_long(asked.argc, asked.argv, short_options, long_options, NULL)) !=
	       -1) {
		const struct option_row *row = row_of(answer);

		if (!row)
			return unknown_flag(answer, asked.argv[optind - 1], error);
		if (!act(config, row, optarg, error))
			return false;
	}
	return true;
}

static bool is_flag(const struct option_row *row, const char *name)
{
	return strcmp(row->name, name) == 0;
}

static bool take_action(struct config *config, const struct option_row *row, const char *value,
			char error[OPTIONS_ERROR_BYTES])
{
	(void)config;
	(void)error;
	if (is_flag(row, "help")) {
		print_help();
		exit(0);
	} else if (is_flag(row, "version")) {
		(void)printf("weir " WEIR_VERSION "\n");
		exit(0);
	} else if (is_flag(row, "config")) {
		asked.file = value;
	} else if (is_flag(row, "test")) {
		asked.test = true;
	} else if (is_flag(row, "dump")) {
		asked.dump = true;
	}
	return true;
}

static bool take_value(struct config *config, const struct option_row *row, const char *value,
		       char error[OPTIONS_ERROR_BYTES])
{
	char why[CONFIG_ERROR_BYTES];

	if (row->kind != OPTION_ACTION && !config_set(config, row, value ? value : "on", why))
		return wrong(error, "--%s %s", row->name, why);
	return true;
}

static bool take_listeners(struct config *config, char error[OPTIONS_ERROR_BYTES])
{
	char why[CONFIG_ERROR_BYTES];

	if (optind < asked.argc)
		config->listeners_n = 0;
	for (int i = optind; i < asked.argc; i++)
		if (!config_listen(config, asked.argv[i], why))
			return wrong(error, "listener \"%s\": %s", asked.argv[i], why);
	return true;
}

static bool join_inherited(struct config *config, char error[OPTIONS_ERROR_BYTES])
{
	char why[CONFIG_ERROR_BYTES];

	if (!activation_join(config, activation_socket(0), activation_n(), why))
		return wrong(error, "%s", why);
	return true;
}

static bool read_file(struct config *config, char *room, char error[OPTIONS_ERROR_BYTES])
{
	if (!asked.file)
		return true;
	config->file_text = room ? room : config_file_room();
	if (!config->file_text)
		return wrong(error, "%s: %s", asked.file, strerror(ENOMEM));
	return config_file_read(config, asked.file, config->file_text, error);
}

/* Reads what was given, into *given too, and completes it in *config. */
static bool read_all(struct config *config, struct config *given, char *room,
		     char error[OPTIONS_ERROR_BYTES])
{
	char why[CONFIG_ERROR_BYTES];
	const char *unknown;

	config_defaults(config);
	if (!read_file(config, room, error) || !each_flag(take_value, config, error) ||
	    !take_listeners(config, error) || !join_inherited(config, error))
		return false;
	*given = *config;
	if (!config_complete(config, asked.cpus, asked.descriptors, why))
		return wrong(error, "%s%s%s", asked.file ? asked.file : "", asked.file ? ": " : "",
			     why);
	if (config->user && (unknown = identity_find(&config->identity, config->user)))
		return wrong(error, "user \"%s\": %s", config->user, unknown);
	return true;
}

/* Reading ends at the first error, so if a lookup failed for now, that is the error. */
static bool failed_for_now(void)
{
	return address_failed_for_now() || identity_failed_for_now();
}

static _Noreturn void refuse(const char *error)
{
	if (!check_last_words(error))
		(void)fprintf(stderr, "weir: %s\n", error);
	exit(failed_for_now() ? 1 : 2);
}

void options_read(struct config *config, int argc, char **argv, size_t cpus, size_t descriptors)
{
	char error[OPTIONS_ERROR_BYTES];
	struct config given;

	make_options();
	asked.argc = argc;
	asked.argv = argv;
	asked.cpus = cpus;
	asked.descriptors = descriptors;
	if (!each_flag(take_action, config, error))
		refuse(error);
	if (!asked.test && !asked.dump)
		address_patience(OPTIONS_PATIENCE_MS);
	if (!read_all(config, &given, NULL, error))
		refuse(error);
	if (asked.dump) {
		/* What was left to weir stays "auto", so that the file is good on other machines
		 * too. */
		memcpy(given.listeners, config->listeners, sizeof given.listeners);
		given.listeners_n = config->listeners_n;
		print_config(&given);
		exit(0);
	}
	if (asked.test) {
		(void)printf("the configuration is good; listeners: %zu, workers: %llu\n",
			     config->listeners_n, (unsigned long long)config->workers);
		exit(0);
	}
}

/* Not checked when options are read at start, because anybody may test a configuration. */
static bool may_become(const struct config *config, char error[OPTIONS_ERROR_BYTES])
{
	if (!config->user || identity_may_be_taken(&config->identity))
		return true;
	return wrong(error, "user %s: only root can become another user", config->user);
}

/* A config that was a pipe at start may never be written to again, and reading it would wait for
 * ever. */
static bool may_be_read_again(const char *path, char error[OPTIONS_ERROR_BYTES])
{
	struct stat status;

	if (!path || stat(path, &status) < 0 || S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))
		return true; /* what is wrong then is said when it is read */
	return wrong(error, "%s: it is no file, and can't be read again", path);
}

bool options_look_intended(const struct config *config, size_t file_settings,
			   bool default_listeners, char error[OPTIONS_ERROR_BYTES])
{
	if (!config->file_settings && file_settings)
		return wrong(error, "%s: no setting is left in it: was it emptied?", asked.file);
	if (config->default_listeners && !default_listeners)
		return wrong(error,
			     "%s: it no longer names a listener: was it cut? (To serve the default "
			     "ones, name them)",
			     asked.file ? asked.file : "the command line");
	return true;
}

bool options_reread(struct config *config, const struct config *serving, char *room,
		    char error[OPTIONS_ERROR_BYTES])
{
	struct config given;

	config->file_text = NULL;
	if (may_be_read_again(asked.file, error) && read_all(config, &given, room, error) &&
	    may_become(config, error) &&
	    (!serving || options_look_intended(config, serving->file_settings,
					       serving->default_listeners, error)))
		return true;
	if (room)
		config->file_text = NULL;
	options_free(config);
	return false;
}

void options_free(struct config *config)
{
	config_file_forget(config->file_text);
	config->file_text = NULL;
}

const char *options_file(void)
{
	return asked.file;
}
