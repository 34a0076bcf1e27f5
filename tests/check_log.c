/*
 * log: the form of a line, in logfmt and JSON, and that no reader can hold the writer up.
 *
 * Each test's stderr becomes a pipe, a socket or a file of the test's own, before log_open().
 * A small reader of JSON strings judges the JSON: what it takes, any reader does. A terminal
 * is not looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "reactor/log.h"
#include "tests/harness.h"

/* A pipe becomes stderr; its read end, which does not block. */
static int capture(void)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	(void)close(ends[1]);
	set_nonblocking(ends[0]);
	return ends[0];
}

/* All that is there now. */
static const char *read_all(int fd)
{
	static char text[1 << 20];
	size_t n = 0;
	ssize_t part;

	while ((part = read(fd, text + n, sizeof text - 1 - n)) > 0)
		n += (size_t)part;
	text[n] = '\0';
	return text;
}

static size_t count(const char *text, const char *part)
{
	size_t n = 0;

	for (; (text = strstr(text, part)); text += strlen(part))
		n++;
	return n;
}

/* ---- a reader of JSON: an object of strings and whole numbers ---- */

static bool hex4(const char *at)
{
	return strspn(at, "0123456789abcdefABCDEF") >= 4;
}

/* How many bytes the UTF-8 character there has; 0: it is none. */
static size_t utf8(const char *at)
{
	const unsigned char *c = (const unsigned char *)at;
	size_t n = *c < 0x80		     ? 1
		   : *c >= 0xc2 && *c < 0xe0 ? 2
		   : *c >= 0xe0 && *c < 0xf0 ? 3
		   : *c >= 0xf0 && *c < 0xf5 ? 4
					     : 0;

	for (size_t i = 1; i < n; i++)
		if (c[i] >> 6 != 2)
			return 0;
	/* Overlong forms, surrogates, and what is above U+10FFFF. */
	if ((*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] > 0x9f) ||
	    (*c == 0xf0 && c[1] < 0x90) || (*c == 0xf4 && c[1] > 0x8f))
		return 0;
	return n;
}

/* What stands behind the string; NULL: it is none. Its value goes to value. */
static const char *json_string(const char *at, char *value)
{
	static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";

	if (*at++ != '"')
		return NULL;
	while (*at != '"') {
		size_t n = utf8(at);

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

/* One line that is an object. The value of key, NULL where it is not there, goes to value;
 * false: it is no JSON. */
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

	(void)setenv("TZ", "Asia/Kathmandu", 1); /* the time is UTC all the same */
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

/* "Values may hold anything", a path's bytes too; JSON is UTF-8 (RFC 8259, 8.1). */
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

/* A line of all of these lengths is whole: it is cut inside of a value, not its form. */
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

/* ---- nobody holds the writer up ---- */

/* The number behind the first dropped_lines in text. */
static unsigned long dropped_told(const char *text)
{
	const char *at = strstr(text, "dropped_lines=");

	return at ? strtoul(at + strlen("dropped_lines="), NULL, 10) : 0;
}

START_TEST(a_pipe_that_nobody_reads_never_blocks)
{
	const unsigned long lines = 20000;
	int fd = capture();
	const char *text;
	size_t came;

	(void)fcntl(fd, F_SETPIPE_SZ, 4096);
	log_open(LOG_INFO, LOG_LOGFMT);
	for (unsigned long i = 0; i < lines; i++)
		log_info("filling the pipe up", LOG_NUMBER("line", i));
	ck_assert_uint_gt(log_dropped(), 0);
	text = read_all(fd);
	came = count(text, "\n");
	ck_assert_uint_eq(came + log_dropped(), lines);
	ck_assert_uint_eq(count(text, " line="), came); /* whole ones */
	/* The next line says it, once. */
	log_info("there is room again");
	text = read_all(fd);
	ck_assert_uint_eq(dropped_told(text), log_dropped());
	log_info("and on");
	ck_assert_ptr_null(strstr(read_all(fd), "dropped_lines"));
	printf("FIGURE log to a pipe that nobody reads: %zu of %lu lines dropped\n",
	       (size_t)log_dropped(), lines);
	(void)fflush(stdout);
}
END_TEST

START_TEST(all_that_were_dropped_are_told_also_where_the_telling_was_long)
{
	static char text[4000];
	int fd = capture();
	bool told = false;

	memset(text, 'x', sizeof text - 1);
	log_open(LOG_INFO, LOG_LOGFMT);
	while (!log_dropped())
		log_info("filling the pipe up");
	(void)read_all(fd);
	for (int i = 0; i < 3; i++) {
		log_info("next", LOG_TEXT("k", i ? "short" : text));
		told |= dropped_told(read_all(fd)) == log_dropped();
	}
	ck_assert(told);
}
END_TEST

/* O_NONBLOCK belongs to the open file, which is the shell's too, and its other children's. */
START_TEST(the_inherited_stderr_stays_blocking)
{
	int fd = capture(), shells = dup(STDERR_FILENO);

	log_open(LOG_INFO, LOG_LOGFMT);
	log_info("x");
	ck_assert_int_eq(fcntl(shells, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(log_descriptor(), F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(log_descriptor(), F_GETFD) & FD_CLOEXEC, 0);
	log_open(LOG_DEBUG, LOG_JSON); /* again, as a reload would: no second one */
	ck_assert_int_eq(fcntl(log_descriptor() + 1, F_GETFD), -1);
	ck_assert_uint_eq(count(read_all(fd), "\n"), 1);
}
END_TEST

START_TEST(a_socket_that_nobody_reads_never_blocks)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	(void)dup2(ends[1], STDERR_FILENO);
	log_open(LOG_INFO, LOG_LOGFMT);
	while (log_dropped() < 100)
		log_info("filling the socket up");
	ck_assert_int_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
	set_nonblocking(ends[0]);
	(void)read_all(ends[0]);
	log_info("there is room again");
	ck_assert_uint_eq(dropped_told(read_all(ends[0])), log_dropped());
	/* Nor does a reader that has gone end it. */
	(void)close(ends[0]);
	log_info("to nobody");
	ck_assert_uint_eq(log_dropped(), 101);
}
END_TEST

/* The program ignores SIGPIPE, as main() does. */
START_TEST(a_pipe_whose_reader_has_gone_counts_as_dropped)
{
	int fd = capture();

	(void)signal(SIGPIPE, SIG_IGN);
	log_open(LOG_INFO, LOG_LOGFMT);
	(void)close(fd);
	for (int i = 0; i < 10; i++)
		log_info("to nobody");
	ck_assert_uint_eq(log_dropped(), 10);
}
END_TEST

START_TEST(a_file_gets_every_line)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof path, "%s/log", temporary_folder());
	fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
	ck_assert_int_ge(fd, 0);
	(void)dup2(fd, STDERR_FILENO);
	log_open(LOG_INFO, LOG_LOGFMT);
	for (int i = 0; i < 5000; i++)
		log_info("x", LOG_NUMBER("line", i));
	ck_assert_uint_eq(log_dropped(), 0);
	ck_assert_int_eq((int)lseek(fd, 0, SEEK_SET), 0);
	ck_assert_uint_eq(count(read_all(fd), " line="), 5000);
}
END_TEST

/* ---- where stderr can't be opened anew ---- */

/* As another user's: who opens it by its path is refused. */
static void forbid_opening(void)
{
	(void)fchmod(STDERR_FILENO, 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(setgid(65534), 0);
		ck_assert_int_eq(setuid(65534), 0);
	}
	ck_assert_int_lt(open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK), 0);
}

/* Nobody reads; then somebody reads all, and then lines come whole again. */
static void never_waits(int reader)
{
	uint64_t begun_ms;
	const char *text;

	forbid_opening();
	log_open(LOG_INFO, LOG_LOGFMT);
	ck_assert_int_eq(log_descriptor(), STDERR_FILENO);
	begun_ms = now_ms();
	for (int i = 0; i < 2000; i++)
		log_info("nobody reads this", LOG_NUMBER("line", i));
	ck_assert_uint_lt(now_ms() - begun_ms, 5000);
	ck_assert_uint_gt(log_dropped(), 100);
	ck_assert_int_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
	text = read_all(reader);
	ck_assert_uint_ge(count(text, " line="), 100);
	ck_assert_uint_ge(count(text, " line=") + log_dropped(), 2000);
	begun_ms = now_ms();
	do { /* one that had to be broken off is rested from */
		log_info("there is room again");
		text = read_all(reader);
	} while (!strstr(text, "room again\"") && now_ms() - begun_ms < patience_ms());
	ck_assert_uint_gt(dropped_told(text), 100);
	/* It begins where a line begins. */
	ck_assert_msg(strncmp(text, "time=", 5) == 0 || text[strcspn(text, "\n") + 1] == 't', "%s",
		      text);
}

START_TEST(another_users_pipe_never_blocks)
{
	never_waits(capture());
}
END_TEST

/* A kernel's RWF_NOWAIT does not know these. */
START_TEST(another_users_fifo_never_blocks)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof path, "%s/fifo", temporary_folder());
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR);
	(void)unlink(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	(void)close(fd);
	fd = open("/proc/self/fd/2", O_RDONLY | O_NONBLOCK);
	ck_assert_int_ge(fd, 0);
	never_waits(fd);
}
END_TEST

START_TEST(another_users_terminal_never_blocks)
{
	int terminal = posix_openpt(O_RDWR | O_NOCTTY), fd;

	ck_assert_int_ge(terminal, 0);
	ck_assert_int_eq(grantpt(terminal) | unlockpt(terminal), 0);
	fd = open(ptsname(terminal), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	(void)close(fd);
	set_nonblocking(terminal);
	never_waits(terminal);
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

/* Whole lines of one process, each with the JSON of a line. */
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
	(void)fcntl(fd, F_SETFL, 0); /* blocking: it ends when the last writer does */
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
      {"a pipe that nobody reads never blocks", a_pipe_that_nobody_reads_never_blocks, 30},
      {"all that were dropped are told, also where the telling was long",
       all_that_were_dropped_are_told_also_where_the_telling_was_long, 10},
      {"the inherited stderr stays blocking", the_inherited_stderr_stays_blocking, 10},
      {"a socket that nobody reads never blocks", a_socket_that_nobody_reads_never_blocks, 20},
      {"a pipe whose reader has gone counts as dropped",
       a_pipe_whose_reader_has_gone_counts_as_dropped, 10},
      {"a file gets every line", a_file_gets_every_line, 20},
      {"another user's pipe never blocks", another_users_pipe_never_blocks, 20},
      {"another user's FIFO never blocks", another_users_fifo_never_blocks, 20},
      {"another user's terminal never blocks", another_users_terminal_never_blocks, 20},
      {"lines of several processes never mix", lines_of_several_processes_never_mix, 60})
