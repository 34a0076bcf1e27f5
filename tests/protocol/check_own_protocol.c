/*
 * Protocols that live outside the tree: those of protocol/README.md are built as it says, and do
 * what it says; what one has in its tables appears wherever such things do.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/clients/scraper.h"

/* Finds the first block of C in protocol/README.md that contains text. */
static bool readme_block(const char *readme, const char *text, char *block, size_t n)
{
	for (const char *at = readme; (at = strstr(at, "\n```c\n"));) {
		const char *end;

		at += strlen("\n```c\n");
		end = strstr(at, "\n```");
		if (!end)
			return false;
		(void)snprintf(block, n, "%.*s\n", (int)(end - at), at);
		if (strstr(block, text))
			return true;
	}
	return false;
}

/* Builds weir with README's protocol of that name in the test's folder, by the command `how`, with
 * this build's compiler. False: it is not here. */
static bool build(const char *name, const char *before, const char *how)
{
	static char block[8192];
	const char *readme = read_whole("protocol/README.md"), *folder = temporary_folder();
	char command[1024], constant[64], file[64];

	if (!readme || access("Makefile", R_OK)) {
		suite_skip("README's own protocols",
			   "there is no protocol/README.md, or no Makefile, here");
		return false;
	}
	(void)snprintf(constant, sizeof constant, "%s_protocol", name);
	(void)snprintf(file, sizeof file, "%s.c", name);
	ck_assert(readme_block(readme, constant, block, sizeof block));
	(void)write_file(file, block);
	(void)snprintf(command, sizeof command,
		       "exec >%s/make.log 2>&1; D=%s B=$D/build BUILT=%s E=$D/%s; %s "
		       "env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u MAKELEVEL %s "
		       "EXTRA_PROTOCOL=$E BUILD=$B",
		       folder, folder, built(""), file, before, how);
	ck_assert_msg(system(command) == 0, "%s", read_whole(in_folder("make.log")));
	ck_assert_ptr_null(strstr(read_whole(in_folder("make.log")), "warning"));
	ck_assert_int_eq(setenv("WEIR", in_folder("build/weir"), 1), 0);
	return true;
}

/* Uses the objects of this build: make finds that they were made with the same flags, to which this
 * protocol is added, and only has to make the list of protocols again. */
static bool build_quickly(const char *name)
{
	return build(
	    name,
	    "mkdir -p $B/bench && cp -Rp $BUILT/bench/weirload $B/bench && "
	    "cp -Rp $BUILT/reactor $BUILT/protocol $BUILT/worker $BUILT/master $BUILT/flags $B && "
	    "sed -i \"s,$,$E,\" $B/flags && "
	    "touch -r $BUILT/flags $B/flags &&",
	    "make -W protocol/protocol.c $B/weir");
}

static void expect_capitals(void)
{
	struct server *server = SERVER("--workers", "1", "upper://127.0.0.1:0");
	int fd = connect_to(server->ports[0]);

	send_text(fd, "hello\n");
	expect_text(fd, "HELLO\n");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(the_shortest_one_works)
{
	if (build_quickly("upper"))
		expect_capitals();
}
END_TEST

/* Builds everything, as README says, and not with this build's flags. */
START_TEST(the_shortest_one_is_built_as_it_says)
{
	if (build("upper", "", "-u CFLAGS make -j2"))
		expect_capitals();
}
END_TEST

/* ---- what a protocol has in its tables ---- */

static void expect_output(const char *text)
{
	const char *output = read_whole(in_folder("output"));

	ck_assert_msg(strstr(output, text) != NULL, "\"%s\" is not in:\n%.3000s", text, output);
}

static void run(const char *arguments, int status)
{
	char command[1024];

	(void)snprintf(command, sizeof command, "exec >%s 2>&1; %s %s", in_folder("output"),
		       getenv("WEIR"), arguments);
	ck_assert_int_eq(WEXITSTATUS(system(command)), status);
}

static void expect_its_setting(void)
{
	run("--help", 0);
	expect_output("--max-words N\n");
	expect_output("the most words of a client; also `?max-words=` of one");
	run("-T --max-words 7 'words://127.0.0.1:1?max-words=5'", 0);
	expect_output("\nmax-words = 7\n");
	expect_output("\nlisten = words://127.0.0.1:1?max-words=5\n");
	run("-t --max-words 0", 2);
	expect_output("--max-words is from 1 to 1000000, not \"0\"");
	run("-t --max-wrods 5", 2);
	expect_output("did you mean --max-words?");
	run("-t 'words://127.0.0.1:1?max-words=many'", 2);
	expect_output("max-words takes a number from 1 to 1000000 for words, not \"many\"");
	run("-t 'echo://127.0.0.1:1?max-words=5'", 2);
	expect_output("max-words does not apply to this listener");
	(void)write_file("words.conf", "max-words = 1000001\n");
	(void)chdir(temporary_folder());
	run("-t -c words.conf", 2);
	expect_output("words.conf:1: max-words is from 1 to 1000000, not \"1000001\"");
}

/* The option is for both listeners, the key for one of them. */
static void expect_its_limit(struct server *server)
{
	int three = connect_to(server->ports[0]), two = connect_to(server->ports[1]);

	send_text(three, "one two three");
	expect_text(three, "one two three");
	send_text(three, " four");
	expect_text(three, " four");
	expect_end(three);
	send_text(two, "one two three");
	expect_text(two, "one two three");
	expect_end(two);
	(void)close(three);
	(void)close(two);
	for (struct wait wait = wait_begin();
	     server_log_count(server, "reason=too_many_words") < 2;)
		wait_more(&wait, "the log to say why both ended");
}

START_TEST(what_one_has_of_its_own_appears_everywhere)
{
	struct server *server;
	struct reply *reply;

	if (!build_quickly("words"))
		return;
	expect_its_setting();
	server = SERVER("--workers", "1", "--max-words", "3", "--log-level", "debug", "--metrics",
			"127.0.0.1:0", "words://127.0.0.1:0", "words://127.0.0.1:0?max-words=2");
	expect_its_limit(server);
	reply = get_on(connect_to(metrics_port(server)), "/metrics");
	ck_assert_msg(strstr(reply->body, "# TYPE weir_words_total counter\n") != NULL, "%s",
		      reply->body);
	expect_sample(reply->body, "weir_words_total{worker=\"0\"}", "7");
	expect_sample(reply->body,
		      "weir_connections_closed_total{worker=\"0\",reason=\"too_many_words\"}", "2");
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	server_wait_log(server, " closed_too_many_words=2");
	server_wait_log(server, " words=7");
	ck_assert_int_eq(server_wait_exit(server), 0);
}
END_TEST

/* ---- one that speaks in messages ---- */

static const char netstrings[] = "5:hello,0:,12:a, b:c,12,34,";
static const char shouted[] = "5:HELLO,0:,12:A, B:C,12,34,";

static void expect_end_of(struct server *server, size_t listener, const char *sent,
			  const char *answer)
{
	int fd = connect_to(server->ports[listener]);

	send_text(fd, sent);
	expect_text(fd, answer);
	expect_end(fd);
	(void)close(fd);
}

START_TEST(one_that_speaks_in_messages_works)
{
	static const char *const bad[] = {"x",
					  ",",
					  ":",
					  "-1:",
					  "05:hello,",
					  "00:,",
					  "5;",
					  "5:hello.",
					  "4097:",
					  "12345",
					  "99999999999999999999:"};
	struct server *server;
	size_t bad_n = sizeof bad / sizeof *bad;

	if (!build_quickly("shout"))
		return;
	run("-t --max-netstring 10K", 2);
	expect_output("--max-netstring is from 1 to 9999, not \"10K\"");
	run("-T 'shout://127.0.0.1:1?max-netstring=5'", 0);
	expect_output("\nlisten = shout://127.0.0.1:1?max-netstring=5\n");
	server = SERVER("--workers", "1", "--log-level", "debug", "shout://127.0.0.1:0",
			"shout://127.0.0.1:0?max-netstring=4");
	for (size_t cut = 0; cut <= strlen(netstrings); cut++) {
		int fd = connect_to(server->ports[0]);
		char first[64];

		(void)snprintf(first, sizeof first, "%.*s", (int)cut, netstrings);
		send_text(fd, first);
		if (cut >= 8) /* it has been read, and answered as far as it is whole */
			expect_text(fd, "5:HELLO,");
		send_text(fd, netstrings + cut);
		expect_text(fd, shouted + (cut >= 8 ? 8 : 0));
		(void)close(fd);
	}
	for (size_t i = 0; i < bad_n; i++) {
		char after[64];

		(void)snprintf(after, sizeof after, "2:ok,%s", bad[i]);
		expect_end_of(server, 0, after, "2:OK,");
	}
	expect_end_of(server, 1, "4:four,5:", "4:FOUR,");
	for (struct wait wait = wait_begin();
	     server_log_count(server, "reason=bad_netstring") < bad_n + 1;)
		wait_more(&wait, "the log to say why all ended");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("own_protocol", {"the shortest one works", the_shortest_one_works, 60},
      {"the shortest one is built as it says", the_shortest_one_is_built_as_it_says, 200,
       .kind = SUITE_LONG},
      {"one that speaks in messages works", one_that_speaks_in_messages_works, 90},
      {"what one has of its own appears everywhere", what_one_has_of_its_own_appears_everywhere,
       90})
