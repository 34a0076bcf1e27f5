/*
 * Reloads under load: good and bad configurations, other numbers of workers, other accept modes.
 * What this shows: clients that talk or connect notice nothing; a bad configuration is reported
 * with its line and changes nothing; two hundred reloads leak nothing. Changes of listeners and
 * options are in check_reload_listeners.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/clients/load_process.h"
#include "tests/support/server_control.h"

/* ---- one every 100 ms ---- */

static void reloads_under_load(const char *mode, uint64_t messages, uint64_t connects,
			       unsigned reloads)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "--accept", mode, "echo://127.0.0.1:0");
	struct load_process *talkers = load_process_start(&(struct load_plan){
				server_control_address(server, 0), .talkers = 50}),
			    *comers = load_process_start(&(struct load_plan){
				server_control_address(server, 0), .comers = 16});
	uint64_t begin = now_ms();
	unsigned made = 0;
	char what[96];

	while (load_process_now(talkers).messages < messages ||
	       load_process_now(comers).connects < connects || made < reloads) {
		server_control_forget(server);
		ck_assert_int_eq(kill(server->pid, SIGHUP), 0);
		(void)poll(NULL, 0, 100); /* ten reloads a second are promised to work */
		made += (unsigned)server_log_count(server, "msg=\"change made\" what=reload");
	}
	(void)snprintf(what, sizeof what, "%u reloads in %llu ms, %s, talkers", made,
		       (unsigned long long)(now_ms() - begin), mode);
	load_process_ends_well(talkers, what);
	load_process_ends_well(comers, "comers beside them");
	server_control_wait_workers(server, 2);
	ck_assert_uint_ge(server_stat(server, "moved_in"), (uint64_t)made * 40);
	ck_assert_uint_eq(server_stat(server, "closed_worker_died"), 0);
	server_control_stop(server);
}

static const char *const modes[] = {"reuseport", "shared", "handoff"};

START_TEST(thousands_of_messages)
{
	reloads_under_load(modes[_i], suite_volume(20000), suite_volume(2000), 6);
}
END_TEST

START_TEST(a_million_messages)
{
	reloads_under_load("reuseport", suite_volume(1000000), suite_volume(100000), 20);
}
END_TEST

START_TEST(fewer_in_the_other_modes)
{
	reloads_under_load(modes[1 + _i], suite_volume(100000), suite_volume(10000), 10);
}
END_TEST

/* ---- good, bad, good, bad ---- */

static const struct {
	const char *text, *line, *why;
} bad[] = {
    {"listen = echo://127.0.0.1:0\nworkers = 2\nno-such-key = 1\n", ":3", "no-such-key"},
    {"workers = many\nlisten = echo://127.0.0.1:0\n", ":1", "workers"},
    {"workers = 2\nlisten = nothing://127.0.0.1:0\n", ":2", "nothing"},
    {"workers = 2\nlisten = echo://127.0.0.1:0\n\nlow-water = 2G\n", ":4", "low-water"},
    {"workers = 2\nlisten = echo://no.such.host.:0\n", ":2", "no.such.host."},
};

static void by_turns(unsigned n)
{
	struct server *server = CONTROLLED(
	    "--config", server_control_config("workers = 2\nlisten = echo://127.0.0.1:0\n"));
	struct load_process *load = load_process_start(
	    &(struct load_plan){server_control_address(server, 0), .talkers = 50, .comers = 4});
	long generation = 1;
	char wanted[200];
	const char *path;

	for (unsigned i = 0; i < n; i++) {
		server_control_forget(server);
		(void)server_control_config(i % 2 ? "workers = 2\nlisten = echo://127.0.0.1:0\n"
						  : "workers = 2\nidle-timeout = 1m\n"
						    "listen = echo://127.0.0.1:0\n");
		server_control_do("reload");
		generation++;
		path = server_control_config(bad[i % 5].text);
		(void)snprintf(wanted, sizeof wanted, "%s%s", path, bad[i % 5].line);
		ck_assert_int_eq(server_control_ask("reload"), 1);
		ck_assert_msg(strstr(server_control_answer(), wanted) &&
				  strstr(server_control_answer(), bad[i % 5].why),
			      "not \"%s\" and \"%s\": %s", wanted, bad[i % 5].why,
			      server_control_answer());
		server_wait_log(server, wanted);
		ck_assert_int_eq(server_control_status("generation"), generation);
		load_process_wait(load, 20, 2);
	}
	(void)printf("FIGURE good and bad configurations by turns: %u of each\n", n);
	load_process_ends_well(load, "meanwhile");
	server_control_wait_workers(server, 2);
	server_control_stop(server);
}

START_TEST(good_and_bad_by_turns)
{
	by_turns(sizeof bad / sizeof *bad);
}
END_TEST

START_TEST(fifty_good_and_bad_by_turns)
{
	by_turns((unsigned)suite_volume(50));
}
END_TEST

/* ---- a file that is cut short is refused ---- */

#define WHOLE	   "workers = 2\nlisten = echo://127.0.0.1:0\n"
#define TEXT(text) text, sizeof(text) - 1

static const struct {
	const char *text;
	size_t n;
	const char *why;
} parts[] = {
    {TEXT(""), "no setting is left in it"},
    {TEXT("# workers and listeners\n\n"), "no setting is left in it"},
    {TEXT("workers = 2\n"), "it no longer names a listener"},
    {TEXT("workers = 2\nlisten = echo://127.0.0.1:2"), ":2: the last line has no newline"},
    {TEXT(WHOLE "idle-timeout = 5m\r"), ":3: the last line has no newline"},
    {TEXT(WHOLE "#"), ":3: the last line has no newline"},
    {TEXT(WHOLE "\0\0\0\n"), "it holds a 0 byte"},
    {TEXT("\xef\xbb\xbf" WHOLE), ":1: it begins with a UTF-8 byte order mark"},
    {TEXT("\xff\xfew\0o\0r\0\n\0"), ":1: it begins with the byte order mark of UTF-16"},
    {TEXT("\xc2\xa0" WHOLE), ":1: unknown key \"\\xc2\\xa0workers\"; did you mean"},
};

static void write_bytes(const char *path, const char *bytes, size_t n)
{
	FILE *file = fopen(path, "we");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
	ck_assert_int_eq(fclose(file), 0);
}

static void refused(const char *verb, const char *why)
{
	ck_assert_int_eq(server_control_ask(verb), 1);
	ck_assert_msg(strstr(server_control_answer(), why) != NULL, "%s: not \"%s\": %s", verb, why,
		      server_control_answer());
}

START_TEST(a_part_of_a_file_changes_nothing)
{
	const char *path = server_control_config(WHOLE);
	struct server *server = CONTROLLED("--config", path);
	int fd = connect_to(server->ports[0]);

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		write_bytes(path, parts[i].text, parts[i].n);
		refused("reload", parts[i].why);
		refused("upgrade", parts[i].why);
		ck_assert_int_eq(server_control_status("generation"), 1);
	}
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	refused("reload", "it is no file");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	refused("reload", "Is a directory");
	ck_assert_int_eq(rmdir(path), 0);
	send_text(fd, "here still");
	expect_text(fd, "here still");
	(void)server_control_config("workers = 2\r\nlisten = echo://127.0.0.1:0\r\n");
	server_control_do("reload");
	send_text(fd, "moved");
	expect_text(fd, "moved");
	server_control_wait_workers(server, 2);
	server_control_stop(server);
}
END_TEST

/* A file without a setting is not taken as cut short if the one before had none either. */
START_TEST(an_empty_file_may_stay_empty)
{
	struct server *server =
	    CONTROLLED("--config", server_control_config("# nothing\n"), "echo://127.0.0.1:0");

	(void)server_control_config("");
	server_control_do("reload");
	(void)server_control_config("workers = 1\n");
	server_control_do("reload");
	server_control_wait_workers(server, 1);
	server_control_stop(server);
}
END_TEST

/* A file that no longer exists counts as a bad configuration. */
START_TEST(a_file_that_is_missing_changes_nothing)
{
	const char *path = server_control_config("workers = 2\nlisten = echo://127.0.0.1:0\n");
	struct server *server = CONTROLLED("--config", path);
	char aside[160];

	(void)snprintf(aside, sizeof aside, "%s.aside", path);
	ck_assert_int_eq(rename(path, aside), 0);
	ck_assert_int_eq(server_control_ask("reload"), 1);
	ck_assert_msg(strstr(server_control_answer(), path) != NULL, "%s", server_control_answer());
	ck_assert_int_eq(server_control_status("generation"), 1);
	ck_assert_int_eq(rename(aside, path), 0);
	server_control_do("reload");
	server_control_wait_workers(server, 2);
	server_control_stop(server);
}
END_TEST

/* ---- workers that do not come up ---- */

static void no_workers_come_up(int tries)
{
	struct rlimit before;
	struct server *server;
	struct load_process *load;

	if (suite_sanitized()) {
		suite_skip("workers that do not come up change nothing",
			   "a sanitizer's own memory ends with RLIMIT_AS");
		return;
	}
	server = CONTROLLED("--workers", "2", "echo://127.0.0.1:0");
	load = load_process_start(
	    &(struct load_plan){server_control_address(server, 0), .talkers = 20, .comers = 4});
	/* Enough memory to answer weirctl, but not for a worker's buffers. */
	process_starve(server->pid, 8 << 20, &before);
	while (tries--) {
		server_control_forget(server);
		ck_assert_int_eq(server_control_ask("reload"), 1);
		ck_assert_msg(strstr(server_control_answer(), "did not come up") != NULL, "%s",
			      server_control_answer());
		server_control_wait_workers(server, 2);
		load_process_wait(load, 20, 5);
	}
	ck_assert_int_eq(server_control_ask("upgrade"), 1);
	server_control_wait_workers(server, 2);
	ck_assert_int_eq(prlimit(server->pid, RLIMIT_AS, &before, NULL), 0);
	ck_assert_int_eq(server_control_status("generation"), 1);
	server_control_do("reload");
	load_process_ends_well(load, "reloads and an upgrade whose workers did not come up");
	server_control_wait_workers(server, 2);
	server_control_stop(server);
}

START_TEST(workers_that_do_not_come_up_change_nothing)
{
	no_workers_come_up(4);
}
END_TEST

START_TEST(twenty_times_workers_do_not_come_up)
{
	no_workers_come_up(20);
}
END_TEST

/* ---- what is left of two hundred ---- */

static void nothing_is_left(unsigned n)
{
	static char before[65536], after[65536], worker[65536];
	char text[5000];
	struct server *server;
	size_t memory, grown;

	memset(text, ' ', sizeof text); /* 4 KiB, so that a leak can be measured */
	*text = '#';
	text[4096] = '\n';
	(void)snprintf(text + 4097, sizeof text - 4097,
		       "workers = 2\nlisten = echo://127.0.0.1:0\nlisten = chat://127.0.0.1:0\n"
		       "listen = echo+udp://127.0.0.1:0\nlisten = line://%s\n"
		       "listen = frame://127.0.0.1:0?accept=handoff\n",
		       in_folder("line.sock"));
	server = CONTROLLED("--config", server_control_config(text));
	for (int i = 0; i < 10; i++)
		server_control_do("reload");
	server_control_wait_workers(server, 2);
	process_descriptors(server->pid, before, sizeof before);
	process_descriptors(server_wait_worker(server, 0, 0), worker, sizeof worker);
	memory = process_memory(server->pid);
	for (unsigned i = 0; i < n; i++) {
		server_control_forget(server);
		server_control_do("reload");
	}
	server_control_wait_workers(server, 2);
	process_descriptors(server->pid, after, sizeof after);
	ck_assert_str_eq(before, after);
	process_descriptors(server_wait_worker(server, 0, 0), after, sizeof after);
	ck_assert_str_eq(worker, after);
	grown = process_memory(server->pid);
	grown = grown > memory ? grown - memory : 0;
	(void)printf("FIGURE %u reloads: the master grew by %zu bytes\n", n, grown);
	(void)fflush(stdout);
	if (!suite_sanitized())
		ck_assert_uint_le(grown, 128 << 10);
	ck_assert(exists(in_folder("line.sock")));
	server_control_stop(server);
	ck_assert(!exists(in_folder("line.sock")));
}

/* So many that the master would grow by more than allowed if each reload leaked one file. */
START_TEST(fifty_leave_nothing_behind)
{
	nothing_is_left((unsigned)suite_volume(50));
}
END_TEST

START_TEST(two_hundred_leave_nothing_behind)
{
	nothing_is_left((unsigned)suite_volume(200));
}
END_TEST

/* ---- other workers, other modes ---- */

/* Every worker gets new clients, as each has a socket of its own. */
static void each_gets_newcomers(const struct server *server, unsigned workers)
{
	uint64_t before[8];

	for (unsigned i = 0; i < workers; i++)
		before[i] = server_worker_stat(server, i, "accepted");
	for (unsigned i = 0; i < workers; i++)
		for (struct wait wait = wait_begin();
		     server_worker_stat(server, i, "accepted") == before[i];)
			wait_more(&wait, "newcomers at each worker");
}

static void workers_and_modes(unsigned rounds)
{
	static const struct {
		unsigned workers;
		const char *mode;
	} steps[] = {{2, "shared"},    {4, "shared"},	 {4, "handoff"}, {1, "handoff"},
		     {3, "reuseport"}, {1, "reuseport"}, {2, "handoff"}, {4, "reuseport"},
		     {2, "shared"},    {2, "reuseport"}};
	struct server *server = CONTROLLED(
	    "--config", server_control_config("workers = 2\nlisten = echo://127.0.0.1:0\n"));
	struct load_process *load = load_process_start(
	    &(struct load_plan){server_control_address(server, 0), .talkers = 50, .comers = 8});

	for (unsigned i = 0; i < rounds * (sizeof steps / sizeof *steps); i++) {
		unsigned workers = steps[i % 10].workers;
		char text[128];

		server_control_forget(server);
		(void)snprintf(text, sizeof text,
			       "workers = %u\naccept = %s\nlisten = echo://127.0.0.1:0\n", workers,
			       steps[i % 10].mode);
		(void)server_control_config(text);
		server_control_do("reload");
		ck_assert(server_control_status_is("accept", steps[i % 10].mode));
		load_process_wait(load, 200, 20);
		server_control_wait_workers(server, workers);
		if (strcmp(steps[i % 10].mode, "reuseport") == 0)
			each_gets_newcomers(server, workers);
	}
	load_process_ends_well(load, "other workers and accept modes");
	server_control_stop(server);
}

START_TEST(workers_and_modes_change_under_load)
{
	workers_and_modes(1);
}
END_TEST

START_TEST(workers_and_modes_change_five_times)
{
	workers_and_modes(suite_sanitized() ? 1 : 5);
}
END_TEST

SUITE("reload", {"thousands of messages", thousands_of_messages, 60, 3},
      {"good and bad by turns", good_and_bad_by_turns, 60},
      {"a part of a file changes nothing", a_part_of_a_file_changes_nothing, 30},
      {"a file that never said anything may go on so", an_empty_file_may_stay_empty, 30},
      {"a file that is missing changes nothing", a_file_that_is_missing_changes_nothing, 30},
      {"workers that do not come up change nothing", workers_that_do_not_come_up_change_nothing,
       40},
      {"fifty leave nothing behind", fifty_leave_nothing_behind, 60},
      {"workers and modes change under load", workers_and_modes_change_under_load, 60},
      {"a million messages", a_million_messages, 110, .kind = SUITE_LONG},
      {"fewer in the other modes", fewer_in_the_other_modes, 60, 2, .kind = SUITE_LONG},
      {"fifty good and bad by turns", fifty_good_and_bad_by_turns, 60, .kind = SUITE_LONG},
      {"twenty times workers do not come up", twenty_times_workers_do_not_come_up, 60,
       .kind = SUITE_LONG},
      {"two hundred leave nothing behind", two_hundred_leave_nothing_behind, 60,
       .kind = SUITE_LONG},
      {"workers and modes change five times", workers_and_modes_change_five_times, 60,
       .kind = SUITE_LONG})
