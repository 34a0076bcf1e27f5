/*
 * options: the command line, the config file, --help, -t, -T and the manual page. The values of
 * options are in check_config.
 */
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "master/options.h"
#include "tests/support/harness.h"

/* ---- the file, and what is wrong with it ---- */

/* Each one is in line 3; the message must have all of `says`, and FILE:3: . */
static const struct {
	const char *line, *says[2];
} bad_lines[] = {
    {"workerz = 2", {"\"workerz\"", "did you mean \"workers\"?"}},
    {"acept = shared", {"\"acept\"", "did you mean \"accept\"?"}},
    {"idle_timeout = 3s", {"\"idle_timeout\"", "did you mean \"idle-timeout\"?"}},
    {"idle-timout = 3s", {"\"idle-timout\"", "did you mean \"idle-timeout\"?"}},
    {"max-frames = 3K", {"\"max-frames\"", "did you mean \"max-frame\"?"}},
    {"loglevel = info", {"\"loglevel\"", "did you mean \"log-level\"?"}},
    {"listener = echo://127.0.0.1:0", {"\"listener\"", "did you mean \"listen\"?"}},
    {"listn = echo://127.0.0.1:0", {"\"listn\"", "did you mean \"listen\"?"}},
    {"nothing-like-any-of-them = 1", {"\"nothing-like-any-of-them\"", "--help"}},
    {"workers", {"\"workers\"", "key = value"}},
    {"workers =", {"workers", "value"}},
    {"= 2", {"\"\"", "unknown key"}},
    {"workers = -1", {"workers", "\"-1\""}},
    {"workers = 1.5", {"workers", "\"1.5\""}},
    {"workers = two", {"workers", "\"two\""}},
    {"workers = 2 3", {"workers", "\"2 3\""}},
    {"workers = 99999999999999999999999", {"workers", "99999"}},
    {"backlog = auto", {"backlog", "\"auto\""}},
    {"accept = random", {"accept", "reuseport|shared|handoff"}},
    {"accept = Shared", {"accept", "\"Shared\""}},
    {"affinity = maybe", {"affinity", "\"maybe\""}},
    {"no-master = 2", {"no-master", "\"2\""}},
    {"overload = drop", {"overload", "pause|reject"}},
    {"log-level = loud", {"log-level", "error|warn|info|debug"}},
    {"log-format = xml", {"log-format", "logfmt|json"}},
    {"idle-timeout = 30", {"idle-timeout", "\"30\""}},
    {"idle-timeout = 5parsecs", {"idle-timeout", "\"5parsecs\""}},
    {"write-timeout = 99999h", {"write-timeout", "\"99999h\""}},
    {"drain-timeout = -1s", {"drain-timeout", "\"-1s\""}},
    {"high-water = 64Q", {"high-water", "\"64Q\""}},
    {"low-water = K", {"low-water", "\"K\""}},
    {"buffers = 18446744073709551616", {"buffers", "18446744073709551616"}},
    {"listen = echo", {"listen", "PROTOCOL://"}},
    {"listen =", {"listen", ""}},
    {"listen = ekho://127.0.0.1:1", {"listen", "\"ekho\""}},
    {"listen = echo://127.0.0.1:99999", {"listen", "65535"}},
    {"listen = echo://127.0.0.1", {"listen", "127.0.0.1"}},
    {"listen = echo://::1:80", {"listen", "brackets"}},
    {"listen = echo://127.0.0.1:1?accept=x", {"listen", "accept"}},
    {"listen = echo://127.0.0.1:1?mode=0660", {"listen", "mode"}},
    {"listen = echo:///tmp/x?mode=9", {"listen", "mode"}},
    {"listen = line://127.0.0.1:1?max-frame=1", {"listen", "max-frame"}},
    {"listen = echo://127.0.0.1:1?colour=red", {"listen", "colour"}},
};

static void start_with(struct config *config, const char *path)
{
	static char *argv[] = {(char *)(uintptr_t) "weir", (char *)(uintptr_t) "-c", NULL, NULL};

	argv[2] = (char *)(uintptr_t)path;
	options_read(config, 3, argv, 2, 4096);
}

/* A server that was started with a good file, and reads this one again, must say the same as a
 * start with it. */
static void reread_says_the_same(const char *name, const char *text, const char *said)
{
	static const char prefix[] = "weir: ";
	static struct config first, second;
	char error[OPTIONS_ERROR_BYTES] = "";
	size_t n = strlen(said);

	start_with(&first, write_file(name, "workers = 1\n"));
	(void)write_file(name, text);
	ck_assert_msg(!options_reread(&second, NULL, NULL, error), "taken: %s", text);
	ck_assert(n > sizeof prefix && strncmp(said, prefix, sizeof prefix - 1) == 0);
	ck_assert_msg(strlen(error) + sizeof prefix == n &&
			  strncmp(error, said + sizeof prefix - 1, strlen(error)) == 0,
		      "\"%s\" at a reload, at start: %s", error, said);
	options_free(&first);
}

static void bad_line(const char *line, const char *const says[2])
{
	char text[512], place[160], output[4096];
	const char *path;
	int status;

	(void)snprintf(text, sizeof text, "# a comment\n\n%s\n", line);
	path = write_file("bad.conf", text);
	(void)snprintf(place, sizeof place, "%s:3: ", path);
	status = RUN(output, "-t", "-c", path);
	ck_assert_msg(status == 2, "\"%s\": exit %d: %s", line, status, output);
	ck_assert_msg(strstr(output, place), "\"%s\" is not placed: %s", line, output);
	for (int i = 0; i < 2; i++)
		ck_assert_msg(strstr(output, says[i]), "\"%s\" does not say %s: %s", line, says[i],
			      output);
	ck_assert_msg(strchr(output, '\n') == output + strlen(output) - 1, "one line: %s", output);
	reread_says_the_same("bad.conf", text, output);
}

START_TEST(file_errors_name_file_line_and_key)
{
	for (size_t i = 0; i < sizeof bad_lines / sizeof *bad_lines; i++)
		bad_line(bad_lines[i].line, bad_lines[i].says);
	(void)printf("FIGURE bad config lines: %zu\n", sizeof bad_lines / sizeof *bad_lines);
	(void)fflush(stdout);
}
END_TEST

/* For a value out of range, too, the message has the line. */
START_TEST(values_out_of_range_are_placed_too)
{
	static const char *const lines[][2] = {
	    {"workers = 257", "workers"},      {"backlog = 0", "backlog"},
	    {"high-water = 2G", "high-water"}, {"buffers = 1K", "buffers"},
	    {"max-line = 0", "max-line"},      {"max-frame = 2G", "max-frame"},
	    {"history = 17G", "history"},      {"max-topics = 0", "max-topics"},
	    {"history = 1K", "history"},       {"max-subscriptions = 0", "max-subscriptions"},
	};

	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		bad_line(lines[i][0], (const char *const[]){lines[i][1], ""});
}
END_TEST

/* Two values that contradict each other have no single line: file and key are named. */
START_TEST(values_that_contradict_are_named)
{
	static const char *const texts[][2] = {
	    {"low-water = 512K\n", "low-water"},
	    {"no-master = on\nworkers = 2\n", "no-master"},
	};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		const char *path = write_file("bad.conf", texts[i][0]);
		char output[4096];

		ck_assert_int_eq(RUN(output, "-t", "-c", path), 2);
		ck_assert_msg(strstr(output, path) && strstr(output, texts[i][1]), "%s", output);
		reread_says_the_same("bad.conf", texts[i][0], output);
	}
}
END_TEST

/* A flag that is an action can't be a key, and must not be proposed as one. */
START_TEST(actions_are_no_keys)
{
	static const char *const keys[] = {"config", "test", "dump", "version", "help", "hlp"};

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		char line[64], output[4096];
		const char *proposed;

		(void)snprintf(line, sizeof line, "%s = 1", keys[i]);
		bad_line(line, (const char *const[]){keys[i], "unknown key"});
		ck_assert_int_eq(RUN(output, "-t", "-c", in_folder("bad.conf")), 2);
		proposed = strstr(output, "did you mean \"");
		EACH_OPTION (row)
			ck_assert_msg(!proposed || row->kind != OPTION_ACTION ||
					  strncmp(proposed + 14, row->name, strlen(row->name)) != 0,
				      "%s", output);
	}
}
END_TEST

START_TEST(a_key_twice_names_both_lines)
{
	const char *path = write_file("twice.conf", "workers = 1\n\nworkers = 2\n");
	char output[4096], place[160];

	(void)snprintf(place, sizeof place, "%s:3: workers", path);
	ck_assert_int_eq(RUN(output, "-t", "-c", path), 2);
	ck_assert_msg(strstr(output, place) && strstr(output, "line 1"), "%s", output);
	ck_assert_int_eq(RUN(output, "-t", "-c", in_folder("none.conf")), 2);
	ck_assert_msg(strstr(output, "none.conf"), "%s", output);
}
END_TEST

/* A reload would refuse such a file, so a start does, too. */
START_TEST(a_file_without_its_end_is_refused_at_start)
{
	const char *path = write_file("cut.conf", "workers = 1\nlisten = echo://127.0.0.1:2");
	char output[4096], wanted[200];

	(void)snprintf(wanted, sizeof wanted,
		       "weir: %s:2: the last line has no newline at its end: was it cut?\n", path);
	ck_assert_int_eq(RUN(output, "-t", "-c", path), 2);
	ck_assert_str_eq(output, wanted);
	ck_assert_int_eq(RUN(output, "-c", path), 2);
	ck_assert_str_eq(output, wanted);
	ck_assert_int_eq(RUN(output, "-t", "-c", write_file("cut.conf", "")), 0);
}
END_TEST

/* ---- reading the file again ---- */

static size_t maps_n(void)
{
	char line[512];
	FILE *file = fopen("/proc/self/maps", "re");
	size_t n = 0;

	while (fgets(line, sizeof line, file))
		n++;
	(void)fclose(file);
	return n;
}

/* There are two configurations at a time, and neither uses the other one's text. */
START_TEST(reading_again_leaks_nothing)
{
	static struct config configs[2];
	char text[128], error[OPTIONS_ERROR_BYTES];
	size_t mapped = 0, descriptors = 0;

	start_with(&configs[0], write_file("weir.conf", "pid-file = p0\nlisten = echo://:7001\n"));
	for (int i = 1; i <= 200; i++) {
		struct config *old = &configs[(i - 1) % 2], *new = &configs[i % 2];

		(void)write_file("weir.conf",
				 "workers = 0\n"); /* bad, and must leave nothing behind */
		ck_assert(!options_reread(new, NULL, NULL, error));
		ck_assert_ptr_null(new->file_text);
		(void)snprintf(text, sizeof text,
			       "pid-file = p%d\nlisten = line://:%d\nworkers=%d\n", i, 7000 + i,
			       1 + i % 7);
		(void)write_file("weir.conf", text);
		ck_assert_msg(options_reread(new, NULL, NULL, error), "%s", error);
		(void)snprintf(text, sizeof text, "p%d", i - 1);
		ck_assert_str_eq(old->pid_file, text);
		(void)snprintf(text, sizeof text, "p%d", i);
		ck_assert_str_eq(new->pid_file, text);
		ck_assert_uint_eq(new->workers, (unsigned)(1 + i % 7));
		ck_assert_uint_eq(new->listeners_n, 1);
		ck_assert_uint_eq(address_port(&new->listeners[0].address), (unsigned)(7000 + i));
		options_free(old);
		ck_assert_str_eq(new->pid_file, text);
		if (i == 50) {
			mapped = maps_n();
			descriptors = process_descriptors_n(getpid());
		}
	}
	if (!suite_sanitized()) /* which has maps of its own, and a leak check */
		ck_assert_uint_eq(maps_n(), mapped);
	ck_assert_uint_eq(process_descriptors_n(getpid()), descriptors);
	options_free(&configs[0]);
}
END_TEST

/* At a reload, too, a flag wins over the file; and settings that are no longer in the file have
 * their defaults again. */
START_TEST(reading_again_is_from_the_start)
{
	static char *argv[] = {(char *)(uintptr_t) "weir",
			       (char *)(uintptr_t) "--workers=3",
			       (char *)(uintptr_t) "echo://:7002",
			       (char *)(uintptr_t) "-c",
			       NULL,
			       NULL};
	static struct config config, again;
	char error[OPTIONS_ERROR_BYTES];
	const char *path = write_file("weir.conf", "workers = 2\nbacklog = 9\nspin = 1ms\n");

	argv[4] = (char *)(uintptr_t)path;
	options_read(&config, 5, argv, 2, 4096);
	ck_assert_uint_eq(config.backlog, 9);
	(void)write_file("weir.conf", "workers = 4\nspin = 2ms\nlisten = line://:7003\n");
	ck_assert_msg(options_reread(&again, NULL, NULL, error), "%s", error);
	ck_assert_uint_eq(again.workers, 3);
	ck_assert_uint_eq(again.backlog, 4096);
	ck_assert_uint_eq(again.spin, 2000);
	ck_assert_uint_eq(again.listeners_n, 1);
	ck_assert_uint_eq(address_port(&again.listeners[0].address), 7002);
	ck_assert_uint_eq(again.max_connections, config.max_connections);
	options_free(&again);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert(!options_reread(&again, NULL, NULL, error));
	ck_assert_msg(strstr(error, path) == error && strstr(error, "No such file"), "%s", error);
	options_free(&config);
}
END_TEST

/* ---- flags ---- */

START_TEST(flag_errors_name_the_flag)
{
	static const struct {
		const char *flags[3], *says[2];
	} bad[] = {
	    {{"--workerz", "2"}, {"--workerz", "did you mean --workers?"}},
	    {{"--acept=shared"}, {"--acept", "did you mean --accept?"}},
	    {{"--drain_timeout", "1s"}, {"--drain_timeout", "did you mean --drain-timeout?"}},
	    {{"--nothing-like-any-of-them"}, {"--nothing-like-any-of-them", "--help"}},
	    {{"-x"}, {"-x", "unknown flag"}},
	    {{"--workers"}, {"--workers", "needs a value"}},
	    {{"-w"}, {"-w", "needs a value"}},
	    {{"-w", "many"}, {"--workers", "\"many\""}},
	    {{"--workers=0x2"}, {"--workers", "\"0x2\""}},
	    {{"--no-master=on"}, {"--no-master", "takes no value"}},
	    {{"-a", "best"}, {"--accept", "reuseport|shared|handoff"}},
	    {{"--idle-timeout", "5"}, {"--idle-timeout", "\"5\""}},
	    {{"--high-water", "lots"}, {"--high-water", "\"lots\""}},
	    {{"--workers", "257"}, {"--workers", "256"}},
	    {{"--backlog", "0"}, {"--backlog", ""}},
	    {{"echo:/127.0.0.1:1"}, {"listener \"echo:/127.0.0.1:1\"", "PROTOCOL://"}},
	    {{"tcp://127.0.0.1:1"}, {"listener \"tcp://127.0.0.1:1\"", "echo"}},
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char output[4096];
		int status =
		    server_run((const char *const[]){"-t", bad[i].flags[0], bad[i].flags[1], NULL},
			       output, sizeof output);

		ck_assert_msg(status == 2, "%s: exit %d: %s", bad[i].flags[0], status, output);
		for (int j = 0; j < 2; j++)
			ck_assert_msg(strstr(output, bad[i].says[j]), "%s does not say %s: %s",
				      bad[i].flags[0], bad[i].says[j], output);
	}
}
END_TEST

START_TEST(a_flag_wins_over_the_file)
{
	const char *path = write_file("weir.conf", "workers = 3\n"
						   "log-level = debug # the loudest\n"
						   "listen = echo://127.0.0.1:7\n"
						   "listen = line://127.0.0.1:8\n");
	char output[8192];

	ck_assert_int_eq(RUN(output, "--workers", "2", "-T", "-c", path), 0);
	ck_assert(strstr(output, "\nworkers = 2\n") || strncmp(output, "workers = 2\n", 12) == 0);
	ck_assert(strstr(output, "log-level = debug\n"));
	ck_assert(strstr(output, "listen = echo://127.0.0.1:7\nlisten = line://127.0.0.1:8\n"));
	ck_assert_int_eq(RUN(output, "-c", path, "-T", "frame://127.0.0.1:9"), 0);
	ck_assert(strstr(output, "workers = 3\n"));
	ck_assert(strstr(output, "listen = frame://127.0.0.1:9\n"));
	ck_assert_ptr_null(strstr(output, "listen = echo"));
}
END_TEST

/* -T writes a config file. When it is read, -T writes the same again. */
START_TEST(a_dump_is_whole_and_good_as_a_file)
{
	static char first[16384], second[16384];

	for (int round = 0; round < 2; round++) {
		const char *path;

		if (round == 0)
			ck_assert_int_eq(RUN(first, "-T"), 0);
		else
			ck_assert_int_eq(
			    RUN(first, "-T", "-w", "3", "-a", "handoff", "--spin", "50us",
				"--idle-timeout", "90s", "--high-water", "5121", "--low-water",
				"3K", "--affinity", "on", "--pid-file", "/tmp/a b.pid",
				"--log-format", "json", "--overload", "reject",
				"line://:12?max-line=5K&accept=shared", "echo://[::1]:7",
				"echo://@name", "frame:///tmp/x.sock?mode=0660"),
			    0);
		EACH_OPTION (row) {
			char key[64];

			(void)snprintf(key, sizeof key, "%s =", row->name);
			ck_assert_msg((row->kind == OPTION_ACTION) != !!strstr(first, key),
				      "%s: %s", key, first);
		}
		path = write_file("dump.conf", first);
		ck_assert_int_eq(RUN(second, "-c", path, "-T"), 0);
		ck_assert_str_eq(first, second);
	}
	ck_assert(strstr(first, "pid-file = /tmp/a b.pid\n"));
	ck_assert(strstr(first, "spin = 50us\n"));
	ck_assert(strstr(first, "idle-timeout = 90s\n"));
}
END_TEST

START_TEST(a_test_binds_nothing)
{
	struct server *server = SERVER("--workers", "1", "echo://127.0.0.1:0");
	char listener[64], unix_listener[160], output[4096];

	(void)snprintf(listener, sizeof listener, "echo://127.0.0.1:%u", server->ports[0]);
	(void)snprintf(unix_listener, sizeof unix_listener, "echo://%s", in_folder("x.sock"));
	ck_assert_int_eq(
	    RUN(output, "-t", listener, unix_listener, "--pid-file", in_folder("t.pid")), 0);
	ck_assert(!exists(in_folder("x.sock")) && !exists(in_folder("t.pid")));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- --help and the manual page ---- */

START_TEST(help_lists_every_option)
{
	static char output[32768];

	ck_assert_int_eq(RUN(output, "--help"), 0);
	EACH_OPTION (row) {
		char flag[128];

		(void)snprintf(flag, sizeof flag, "%.*s--%s%s%s\n", row->letter ? 4 : 0,
			       (char[]){'-', row->letter, ',', ' '}, row->name,
			       row->argument ? " " : "", row->argument ? row->argument : "");
		ck_assert_msg(strstr(output, flag), "--help has no %s", flag);
	}
	ck_assert_int_eq(RUN(output, "-V"), 0);
	ck_assert_int_eq(strncmp(output, "weir ", 5), 0);
}
END_TEST

/* Removes fonts and escapes from the manual page. */
static void unformat(char *page)
{
	char *to = page;

	for (const char *from = page; *from; from++) {
		if (strncmp(from, "\\fB", 3) == 0 || strncmp(from, "\\fI", 3) == 0 ||
		    strncmp(from, "\\fR", 3) == 0)
			from += 2;
		else if (strncmp(from, "\\e", 2) == 0)
			*to++ = *from++;
		else if (*from != '\\')
			*to++ = *from;
	}
	*to = '\0';
}

START_TEST(the_manual_page_has_each_option)
{
	char *page = read_whole("master/install/weir.8"), *end;
	size_t rows = 0, options = 0;

	if (!page) {
		suite_skip("the manual page has each option", "there is no weir.8 here");
		return;
	}
	page = strstr(page, "\n.SH OPTIONS\n"); /* only this section */
	ck_assert_ptr_nonnull(page);
	end = strstr(page + 1, "\n.SH ");
	ck_assert_ptr_nonnull(end);
	end[1] = '\0';
	unformat(page);
	EACH_OPTION (row) {
		char text[1024], *at = text;

		at += sprintf(at, "\n.TP\n%.*s--%s%s%s\n", row->letter ? 4 : 0,
			      (char[]){'-', row->letter, ',', ' '}, row->name,
			      row->argument ? " " : "", row->argument ? row->argument : "");
		for (const char *from = row->meaning; *from; from++)
			if (*from != '`')
				*at++ = *from;
		*at = '\0';
		if (row->argument && row->value)
			(void)sprintf(at, " (default: %s)", row->value);
		ck_assert_msg(strstr(page, text), "weir.8 lacks: %s", text);
		options++;
	}
	for (const char *at = page; (at = strstr(at, "\n.TP\n")); at++)
		rows++;
	ck_assert_msg(rows == options, "weir.8 has %zu options, weir has %zu", rows, options);
}
END_TEST

SUITE("options", {"file errors name file, line and key", file_errors_name_file_line_and_key, 60},
      {"values out of range are placed too", values_out_of_range_are_placed_too, 30},
      {"values that contradict are named", values_that_contradict_are_named, 20},
      {"actions are no keys", actions_are_no_keys, 30},
      {"a key twice names both lines", a_key_twice_names_both_lines, 20},
      {"a file without its end is refused at start", a_file_without_its_end_is_refused_at_start,
       20},
      {"reading again leaks nothing", reading_again_leaks_nothing, 20},
      {"reading again is from the start", reading_again_is_from_the_start, 20},
      {"flag errors name the flag", flag_errors_name_the_flag, 30},
      {"a flag wins over the file", a_flag_wins_over_the_file, 20},
      {"a dump is whole, and good as a file", a_dump_is_whole_and_good_as_a_file, 20},
      {"a test binds nothing", a_test_binds_nothing, 20},
      {"--help lists every option", help_lists_every_option, 20},
      {"the manual page has each option", the_manual_page_has_each_option, 20})
