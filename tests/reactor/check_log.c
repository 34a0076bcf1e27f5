/*
 * log: the form of a line, in logfmt and JSON, and that lines of several processes never mix.
 *
 * Each test's stderr becomes a pipe of the test's own, before log_open(). The JSON is read by a
 * small reader in this file, which is as strict as any other reader.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "reactor/base/log.h"
#include "reactor/base/utf8.h"
#include "tests/support/harness.h"
#include "tests/support/log_pipe.h"

/* ---- a reader of JSON: an object of strings and whole numbers ---- */

static bool hex4(const char *at)
{
	return strspn(at, "0123456789abcdefABCDEF") >= 4;
}

/* The end of the string at `at`, whose value goes to value; NULL: it is not a string. */
static const char *json_string(const char *at, char *value)
{
	static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";

	if (*at++ != '"')
		return NULL;
	while (*at != '"') {
		uint32_t character;
		size_t n = utf8_decode((const unsigned char *)at, UTF8_BYTES_MAX, &character);

		if (!n || (unsigned char)*at < 0x20)
			return NULL;
		if (*at != '\\') {
			memcpy(value, at, n);
			value += n;
			at += n;
		} else if (at[1] == 'u' && hex4(at + 2)) {
			unsigned code = 0;

			(void)sscanf(at + 2, "%4x", &code);
			*value++ = code < 0x80 ? (char)code : '?';
			at += 6;
		} else if (at[1] && strchr(escapes, at[1])) {
			*value++ = meant[strchr(escapes, at[1]) - escapes];
			at += 2;
		} else {
			return NULL;
		}
	}
	*value = '\0';
	return at + 1;
}

/* Reads a line, which has to be an object: *value is the value of key, NULL if there is none.
 * False: it is not JSON. */
static bool json_line(const char *line, const char *key, char **value)
{
	static char name[LOG_LINE_BYTES], text[LOG_LINE_BYTES], found[LOG_LINE_BYTES];

	*value = NULL;
	if (*line++ != '{')
		return false;
	for (;;) {
		if (!(line = json_string(line, name)) || *line++ != ':')
			return false;
		if (*line == '"') {
			if (!(line = json_string(line, text)))
				return false;
		} else {
			size_t n = strspn(line, "-0123456789");

			if (!n)
				return false;
			(void)snprintf(text, sizeof text, "%.*s", (int)n, line);
			line += n;
		}
		if (strcmp(name, key) == 0)
			*value = strcpy(found, text);
		if (*line == '}')
			return line[1] == '\n' && !line[2];
		if (*line++ != ',')
			return false;
	}
}

static void expect_json(const char *line, const char *key, const char *expected)
{
	char *value;

	ck_assert_msg(json_line(line, key, &value), "this is no JSON: %s", line);
	ck_assert_msg(value && strcmp(value, expected) == 0, "%s is %s in %s", key,
		      value ? value : "not there", line);
}

/* ---- the form ---- */

START_TEST(a_line_says_when_how_bad_who_and_what)
{
	int fd = capture();
	struct tm utc = {0};
	char level[8], process[16];
	const char *line, *rest;
	int ms;
	double age;

	(void)setenv("TZ", "Asia/Kathmandu", 1); /* the log's time is UTC even so */
	tzset();
	log_open(LOG_INFO, LOG_LOGFMT);
	log_name("weir-w3");
	log_warn("it happened", LOG_TEXT("word", "plain"), LOG_NUMBER("number", -42));
	line = read_all(fd);
	rest = strptime(line, "time=%Y-%m-%dT%H:%M:%S", &utc);
	ck_assert_msg(rest != NULL, "%s", line);
	ck_assert_int_eq(sscanf(rest, ".%3dZ level=%7s process=%15s", &ms, level, process), 3);
	age = difftime(time(NULL), timegm(&utc));
	ck_assert_msg(age >= -1 && age < 60, "%s", line);
	ck_assert_str_eq(level, "warn");
	ck_assert_str_eq(process, "weir-w3");
	ck_assert_ptr_nonnull(strstr(line, " msg=\"it happened\" word=plain number=-42\n"));
	ck_assert_uint_eq(count(line, "\n"), 1);
}
END_TEST

START_TEST(logfmt_quotes_where_a_reader_could_lose_its_way)
{
	static const struct {
		const char *text, *expected;
	} values[] = {
	    {"plain", " k=plain\n"},
	    {"127.0.0.1:80", " k=127.0.0.1:80\n"},
	    {"", " k=\"\"\n"},
	    {"two words", " k=\"two words\"\n"},
	    {"a=b", " k=\"a=b\"\n"},
	    {"say \"x\"", " k=\"say \\\"x\\\"\"\n"},
	    {"back\\slash", " k=\"back\\\\slash\"\n"},
	    {"two\nlines", " k=\"two\\u000alines\"\n"},
	    {"\x1b[31mred", " k=\"\\u001b[31mred\"\n"},
	    {"del\x7f", " k=\"del\\u007f\"\n"},
	    {"gr\xc3\xbc\xc3\x9f", " k=gr\xc3\xbc\xc3\x9f\n"},
	    {"csi\xc2\x9b[2J", " k=\"csi\\u009b[2J\"\n"},
	    {"exe.\xe2\x80\xaetxt", " k=\"exe.\\u202etxt\"\n"},
	    {"no\xffutf8", " k=\"no\\ufffdutf8\"\n"},
	};
	int fd = capture();

	log_open(LOG_INFO, LOG_LOGFMT);
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		const char *line;

		log_info("x", LOG_TEXT("k", values[i].text));
		line = read_all(fd);
		ck_assert_msg(strstr(line, values[i].expected) != NULL, "%s, not %s", line,
			      values[i].expected);
		ck_assert_uint_eq(count(line, "\n"), 1);
	}
}
END_TEST

START_TEST(json_gives_every_value_back)
{
	int fd = capture();
	char every[256], *value;
	const char *line;

	for (int i = 1; i < 0x80; i++)
		every[i - 1] = (char)i;
	every[0x7f] = '\0';
	log_open(LOG_DEBUG, LOG_JSON);
	log_name("we\"ir");
	log_debug("every\nbyte", LOG_TEXT("k", every), LOG_TEXT("empty", ""),
		  LOG_TEXT("umlaut", "gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\xa7"),
		  LOG_NUMBER("least", INT64_MIN));
	line = read_all(fd);
	expect_json(line, "k", every);
	expect_json(line, "msg", "every\nbyte");
	expect_json(line, "process", "we\"ir");
	expect_json(line, "level", "debug");
	expect_json(line, "empty", "");
	expect_json(line, "umlaut", "gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\xa7");
	expect_json(line, "least", "-9223372036854775808");
	log_error("nothing more");
	ck_assert(json_line(read_all(fd), "k", &value));
	ck_assert_ptr_null(value);
}
END_TEST

/* "Values may hold anything", such as the bytes of a path; JSON is UTF-8 (RFC 8259, 8.1). */
START_TEST(json_is_utf8_whatever_the_value_is)
{
	static const char *const texts[] = {"\xff",	    "/srv/\xe9t\xe9", "\xc3",
					    "\xf0\x9f\x90", "\xc0\x80",	      "\x80 and more"};
	int fd = capture();

	log_open(LOG_INFO, LOG_JSON);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		char *value;

		log_info("x", LOG_TEXT("k", texts[i]));
		ck_assert_msg(json_line(read_all(fd), "k", &value), "text %zu", i);
	}
}
END_TEST

START_TEST(levels_below_the_least_are_not_logged)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	int fd = capture();

	for (int least = LOG_ERROR; least <= LOG_DEBUG; least++) {
		const char *text;

		log_open((enum log_level)least, LOG_LOGFMT);
		for (int level = LOG_ERROR; level <= LOG_DEBUG; level++)
			LOG_LINE((enum log_level)level, "x", LOG_NUMBER("least", least));
		text = read_all(fd);
		for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
			char word[32];

			(void)snprintf(word, sizeof word, "level=%s ", names[level]);
			ck_assert_uint_eq(count(text, word), level <= least);
			ck_assert_int_eq(log_enabled((enum log_level)level), level <= least);
		}
	}
}
END_TEST

START_TEST(lines_before_the_start_go_out_too)
{
	int fd = capture();
	const char *text;

	log_info("early");
	log_debug("not this one");
	text = read_all(fd);
	ck_assert_ptr_nonnull(strstr(text, "level=info process=weir msg=early\n"));
	ck_assert_ptr_null(strstr(text, "not this one"));
}
END_TEST

/* ---- long values ---- */

/* Logs values of many lengths: a line that is too long is cut within a value, and keeps its form.
 */
static void each_long_line(int fd, const char *unit, void (*look)(const char *line, size_t n))
{
	static char text[8192];

	for (size_t n = 1500; n<4200; n += n> 1850 && n < 2100 ? 1 : 97) {
		size_t n_units = n / strlen(unit);

		*text = '\0';
		for (size_t i = 0; i < n_units; i++)
			memcpy(text + i * strlen(unit), unit, strlen(unit) + 1);
		log_info("x", LOG_TEXT("k", text), LOG_NUMBER("after", 1));
		look(read_all(fd), n);
	}
}

static void look_at_logfmt(const char *line, size_t n)
{
	size_t quotes = 0;

	ck_assert_uint_le(strlen(line), LOG_LINE_BYTES);
	ck_assert_uint_eq(count(line, "\n"), 1);
	for (const char *at = line; *at; at++) {
		if (*at == '\\' && at[1])
			at++;
		else
			quotes += *at == '"';
	}
	ck_assert_msg(quotes % 2 == 0, "with %zu bytes the quotes are not closed: ...%s", n,
		      line + strlen(line) - 40);
}

static void look_at_json(const char *line, size_t n)
{
	char *value;

	ck_assert_uint_le(strlen(line), LOG_LINE_BYTES);
	ck_assert_msg(json_line(line, "msg", &value), "with %zu bytes it is no JSON: ...%s", n,
		      line + strlen(line) - 40);
}

START_TEST(a_long_logfmt_line_is_cut_and_stays_one)
{
	int fd = capture();

	log_open(LOG_INFO, LOG_LOGFMT);
	each_long_line(fd, "x", look_at_logfmt);
	each_long_line(fd, "x y", look_at_logfmt);
	each_long_line(fd, "\"", look_at_logfmt);
}
END_TEST

START_TEST(a_long_json_line_is_cut_and_stays_json)
{
	int fd = capture();

	log_open(LOG_INFO, LOG_JSON);
	each_long_line(fd, "x", look_at_json);
	each_long_line(fd, "\n", look_at_json);
	each_long_line(fd, "\xc3\xbc", look_at_json);
}
END_TEST

/* ---- several processes ---- */

static _Noreturn void write_lines(int writer, const char *tail, unsigned long lines, int report)
{
	uint64_t dropped;
	char name[16];

	(void)snprintf(name, sizeof name, "w%d", writer);
	log_name(name);
	for (unsigned long i = 0; i < lines; i++)
		log_info("x", LOG_TEXT("k", tail + (i * 7) % 1500));
	dropped = log_dropped();
	_exit(write(report, &dropped, sizeof dropped) == (ssize_t)sizeof dropped ? 0 : 1);
}

/* Each line is whole and from one process, and valid JSON. */
START_TEST(lines_of_several_processes_never_mix)
{
	const unsigned long lines = suite_volume(5000);
	int fd = capture(), reports[2];
	uint64_t dropped, came = 0, dropped_all = 0;
	static char tail[1600], line[LOG_LINE_BYTES + 1];
	char *value;
	FILE *file;

	memset(tail, 'y', sizeof tail - 1);
	ck_assert_int_eq(pipe(reports), 0);
	log_open(LOG_INFO, LOG_JSON);
	for (int writer = 0; writer < 4; writer++) {
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			write_lines(writer, tail, lines, reports[1]);
	}
	(void)fcntl(fd, F_SETFL, 0); /* blocking: reading ends when the last writer does */
	(void)close(STDERR_FILENO);
	(void)close(log_descriptor());
	file = fdopen(fd, "r");
	while (fgets(line, sizeof line, file)) {
		came++;
		if (!json_line(line, "k", &value) || !value || value[strspn(value, "y")])
			ck_abort_msg("this is no line of one process: %s", line);
	}
	for (int writer = 0; writer < 4; writer++) {
		ck_assert_int_eq((int)read(reports[0], &dropped, sizeof dropped), 8);
		dropped_all += dropped;
	}
	ck_assert_uint_eq(came + dropped_all, 4 * lines);
	ck_assert_uint_gt(came, 0);
	while (wait(NULL) > 0)
		;
	printf("FIGURE log of four processes at once: %llu whole lines, %llu dropped\n",
	       (unsigned long long)came, (unsigned long long)dropped_all);
	(void)fflush(stdout);
}
END_TEST

SUITE("log", {"a line says when, how bad, who and what", a_line_says_when_how_bad_who_and_what, 10},
      {"logfmt quotes where a reader could lose its way",
       logfmt_quotes_where_a_reader_could_lose_its_way, 10},
      {"JSON gives every value back", json_gives_every_value_back, 10},
      {"JSON is UTF-8 whatever the value is", json_is_utf8_whatever_the_value_is, 10},
      {"levels below the least are not logged", levels_below_the_least_are_not_logged, 10},
      {"lines before the start go out too", lines_before_the_start_go_out_too, 10},
      {"a long logfmt line is cut and stays one", a_long_logfmt_line_is_cut_and_stays_one, 10},
      {"a long JSON line is cut and stays JSON", a_long_json_line_is_cut_and_stays_json, 10},
      {"lines of several processes never mix", lines_of_several_processes_never_mix, 60})
