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

#include "master/activation.h"
#include "reactor/check.h"
#include "reactor/stats.h"
#include "worker/identity.h"

#define FILE_BYTES_MAX (1 << 20)
#define ROWS_MAX       64
#define LONG_BASE      1000 /* what getopt_long answers for row i: LONG_BASE + i */

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

/* ---- the file ---- */

struct place {
	const char *file;
	unsigned line;
};

static bool read_text(FILE *file, char *text, const char *path, char error[OPTIONS_ERROR_BYTES])
{
	size_t n = fread(text, 1, FILE_BYTES_MAX + 1, file);

	if (ferror(file))
		return wrong(error, "%s: %s", path, strerror(errno));
	if (n > FILE_BYTES_MAX)
		return wrong(error, "%s: a config file has at most 1M", path);
	if (strlen(text) != n)
		return wrong(error, "%s: it holds a 0 byte", path);
	return true;
}

/* It is the configuration's: values lie in it. */
static bool file_text(struct config *config, const char *path, char error[OPTIONS_ERROR_BYTES])
{
	FILE *file = fopen(path, "re");
	bool good;

	if (!file)
		return wrong(error, "%s: %s", path, strerror(errno));
	config->file_text = calloc(1, FILE_BYTES_MAX + 2);
	good = config->file_text ? read_text(file, config->file_text, path, error)
				 : wrong(error, "%s: %s", path, strerror(ENOMEM));
	(void)fclose(file);
	return good;
}

/* Without the white space at both ends, in place. */
static char *trim(char *text)
{
	size_t n;

	text += strspn(text, " \t\r");
	n = strlen(text);
	while (n && strchr(" \t\r", text[n - 1]))
		text[--n] = '\0';
	return text;
}

/* A # begins a comment at the start of a line and behind white space. */
static void cut_comment(char *line)
{
	for (char *at = line; (at = strchr(at, '#')); at++) {
		if (at == line || at[-1] == ' ' || at[-1] == '\t') {
			*at = '\0';
			return;
		}
	}
}

static bool unknown_key(const struct place *place, const char *key, char error[OPTIONS_ERROR_BYTES])
{
	const char *nearest = config_nearest(key, true);

	if (nearest)
		return wrong(error, "%s:%u: unknown key \"%s\"; did you mean \"%s\"?", place->file,
			     place->line, key, nearest);
	return wrong(error, "%s:%u: unknown key \"%s\" (weir --help lists them)", place->file,
		     place->line, key);
}

static bool file_value(struct config *config, const struct place *place, const char *key,
		       char *value, unsigned seen[ROWS_MAX], char error[OPTIONS_ERROR_BYTES])
{
	const struct option_row *row = config_find(key);
	char why[CONFIG_ERROR_BYTES];

	if (!row || row->kind == OPTION_ACTION)
		return unknown_key(place, key, error);
	if (seen[row - option_rows])
		return wrong(error, "%s:%u: %s stands in line %u already", place->file, place->line,
			     key, seen[row - option_rows]);
	seen[row - option_rows] = place->line;
	if (!*value && row->kind != OPTION_TEXT)
		return wrong(error, "%s:%u: %s has no value", place->file, place->line, key);
	if (!config_set(config, row, *value ? value : NULL, why))
		return wrong(error, "%s:%u: %s %s", place->file, place->line, key, why);
	return true;
}

static bool file_line(struct config *config, const struct place *place, char *line,
		      unsigned seen[ROWS_MAX], char error[OPTIONS_ERROR_BYTES])
{
	char why[CONFIG_ERROR_BYTES], *value, *key;

	cut_comment(line);
	key = trim(line);
	if (!*key)
		return true;
	value = strchr(key, '=');
	if (!value)
		return wrong(error, "%s:%u: \"%s\" is not `key = value`", place->file, place->line,
			     key);
	*value++ = '\0';
	key = trim(key);
	value = trim(value);
	if (strcmp(key, "listen") != 0)
		return file_value(config, place, key, value, seen, error);
	if (!config_listen(config, value, why))
		return wrong(error, "%s:%u: listen: %s", place->file, place->line, why);
	return true;
}

static bool read_file(struct config *config, const char *path, char error[OPTIONS_ERROR_BYTES])
{
	struct place place = {.file = path};
	unsigned seen[ROWS_MAX] = {0};
	char *rest, *line;

	if (!file_text(config, path, error))
		return false;
	rest = config->file_text;
	while ((line = strsep(&rest, "\n"))) {
		place.line++;
		if (!file_line(config, &place, line, seen, error))
			return false;
	}
	return true;
}

/* ---- answers ---- */

/* Words of text up to column 78, each line behind the same indent. */
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
		     "KEY      = accept | mode (of a /PATH) | max-line | max-frame | max-body | "
		     "names (of chat)\n"
		     "           | rate | queue | send-queue (of datagrams)\n"
		     "Without a LISTENER, weir serves on loopback:\n");
	for (const char *const *text = config_default_listeners; *text; text++)
		(void)printf("  %s\n", *text);
	(void)printf("\n");
	for (size_t i = 0; i < option_rows_n; i++) {
		const struct option_row *row = &option_rows[i];
		char flag[96], meaning[512];

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

	for (size_t i = 0; i < option_rows_n; i++) {
		const struct option_row *row = &option_rows[i];

		if (row->kind == OPTION_ACTION)
			continue;
		config_text(config, row, text, sizeof text);
		(void)printf("%s =%s%s\n", row->name, *text ? " " : "", text);
	}
	for (size_t i = 0; i < config->listeners_n; i++) {
		endpoint_format(&config->listeners[i], text);
		(void)printf("listen = %s\n", text);
	}
}

/* ---- the command line ---- */

static char short_options[2 * ROWS_MAX + 2];
static struct option long_options[ROWS_MAX + 1];

static void make_options(void)
{
	char *letter = short_options;

	*letter++ = ':';
	for (size_t i = 0; i < option_rows_n; i++) {
		const struct option_row *row = &option_rows[i];

		long_options[i] = (struct option){
		    .name = row->name,
		    .has_arg = row->argument ? required_argument : no_argument,
		    .val = row->letter ? row->letter : LONG_BASE + (int)i,
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
		return &option_rows[answer - LONG_BASE];
	for (size_t i = 0; i < option_rows_n; i++)
		if (option_rows[i].letter == answer)
			return &option_rows[i];
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

/* Goes over the flags and gives each to act; NULL value where it takes none. */
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

/* What was given, and the whole that it makes. */
static bool read_all(struct config *config, struct config *given, char error[OPTIONS_ERROR_BYTES])
{
	char why[CONFIG_ERROR_BYTES];
	struct identity identity;
	const char *unknown;

	if ((asked.file && !read_file(config, asked.file, error)) ||
	    !each_flag(take_value, config, error) || !take_listeners(config, error) ||
	    !join_inherited(config, error))
		return false;
	*given = *config;
	if (!config_complete(config, asked.cpus, asked.descriptors, why))
		return wrong(error, "%s%s%s", asked.file ? asked.file : "", asked.file ? ": " : "",
			     why);
	if (config->user && (unknown = identity_find(&identity, config->user)))
		return wrong(error, "user \"%s\": %s", config->user, unknown);
	return true;
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
	config_defaults(config);
	if (!each_flag(take_action, config, error) || !read_all(config, &given, error)) {
		if (!check_last_words(error))
			(void)fprintf(stderr, "weir: %s\n", error);
		exit(2);
	}
	if (asked.dump) {
		/* What was not said stays "auto": the file is good on other machines too. */
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

/* At start this is another step's to say: a configuration may be tested by anybody. */
static bool may_become(const struct config *config, char error[OPTIONS_ERROR_BYTES])
{
	struct identity identity;

	if (!config->user || geteuid() == 0 ||
	    (!identity_find(&identity, config->user) && identity.uid == geteuid()))
		return true;
	return wrong(error, "user %s: only root can become another user", config->user);
}

/* A pipe was there for the start: nobody may ever write to it again. */
static bool may_be_read_again(const char *path, char error[OPTIONS_ERROR_BYTES])
{
	struct stat status;

	if (!path || stat(path, &status) < 0 || S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))
		return true; /* what is wrong then is said when it is read */
	return wrong(error, "%s: it is no file, and can't be read again", path);
}

bool options_reread(struct config *config, char error[OPTIONS_ERROR_BYTES])
{
	struct config given;

	config_defaults(config);
	if (may_be_read_again(asked.file, error) && read_all(config, &given, error) &&
	    may_become(config, error))
		return true;
	options_free(config);
	return false;
}

void options_free(struct config *config)
{
	free(config->file_text);
	config->file_text = NULL;
}

const char *options_file(void)
{
	return asked.file;
}
