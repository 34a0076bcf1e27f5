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

/* How to build weir with a protocol more, and what to do before. */
struct how {
	const char *before, *make;
};

/* Uses the objects of this build: make finds that they were made with the same flags, to which this
 * protocol is added, and only has to make the list of protocols again. */
static const struct how quickly = {
    "mkdir -p $B/bench && cp -Rp $BUILT/bench/weirload $B/bench && "
    "cp -Rp $BUILT/reactor $BUILT/protocol $BUILT/worker $BUILT/master $BUILT/flags $B && "
    "sed -i \"s,$,$E,\" $B/flags && "
    "touch -r $BUILT/flags $B/flags &&",
    "make -W protocol/protocol.c $B/weir"};
/* Builds everything, as README says, and not with this build's flags. */
static const struct how as_readme_says = {"", "-u CFLAGS make -j2"};

/* Builds weir with NAME.c in the test's folder, with this build's compiler. */
static void build_source(const char *name, const char *source, const struct how *how)
{
	const char *folder = temporary_folder();
	char command[1024], file[64];

	(void)snprintf(file, sizeof file, "%s.c", name);
	(void)write_file(file, source);
	(void)snprintf(command, sizeof command,
		       "exec >%s/make.log 2>&1; D=%s B=$D/build BUILT=%s E=$D/%s; %s "
		       "env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u MAKELEVEL %s "
		       "EXTRA_PROTOCOL=$E BUILD=$B",
		       folder, folder, built(""), file, how->before, how->make);
	ck_assert_msg(system(command) == 0, "%s", read_whole(in_folder("make.log")));
	ck_assert_ptr_null(strstr(read_whole(in_folder("make.log")), "warning"));
	ck_assert_int_eq(setenv("WEIR", in_folder("build/weir"), 1), 0);
}

static bool can_build(void)
{
	if (!access("protocol/README.md", R_OK) && !access("Makefile", R_OK))
		return true;
	suite_skip("protocols of one's own",
		   "there is no protocol/README.md, or no Makefile, here");
	return false;
}

/* The same with README's protocol of that name. False: it is not here. */
static bool build(const char *name, const struct how *how)
{
	static char block[8192];
	char constant[64];

	if (!can_build())
		return false;
	(void)snprintf(constant, sizeof constant, "%s_protocol", name);
	ck_assert(readme_block(read_whole("protocol/README.md"), constant, block, sizeof block));
	build_source(name, block, how);
	return true;
}

static bool build_quickly(const char *name)
{
	return build(name, &quickly);
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

START_TEST(the_shortest_one_is_built_as_it_says)
{
	if (build("upper", &as_readme_says))
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

/* ---- rules that are checked at start ---- */

static const char first_half[] =
    "#include \"protocol/protocol.h\"\n"
    "enum { KEY };\n"
    "static struct setting second_settings[] = {[KEY] = SETTING(CHOICE, \"second-key\", \"a\",\n"
    "	\"a|b|c\", 0, 0, \"which one\"), {0}};\n"
    "enum { BYE };\n"
    "static struct reason second_reasons[] = {[BYE] = REASON(\"said_bye\", \"it said bye\"), "
    "{0}};\n"
    "enum { BYTES };\n"
    "static struct counter second_counters[] = {[BYTES] = COUNTER(\"second_bytes\",\n"
    "	\"weir_second_bytes_total\", \"bytes\"), {0}};\n";

/* Says which key is set, and ends; the first one turns into it when a byte comes. */
static const char second_half[] =
    "static void second_open(struct conn *conn)\n"
    "{\n"
    "	conn_copy(conn, &\"abc\"[conn_setting(conn, KEY)], 1);\n"
    "	conn_count(conn, BYTES);\n"
    "	conn_fail(conn, BYE);\n"
    "}\n"
    "static const struct protocol second = {.name = \"second\", .open = second_open,\n"
    "	.settings = second_settings, .reasons = second_reasons, .counters = second_counters};\n"
    "static const struct protocol *const next[] = {&second, NULL};\n"
    "static size_t first_input(struct conn *conn, unsigned char *bytes, size_t n)\n"
    "{\n"
    "	(void)bytes;\n"
    "	(void)n;\n"
    "	conn_switch(conn, &second);\n"
    "	return 1;\n"
    "}\n"
    "const struct protocol first_protocol = {.name = \"first\", .input = first_input,\n"
    "	.turns_into = next};\n";

/* Its tables are as good as those of one that a listener may name. */
START_TEST(one_that_another_turns_into_has_its_tables)
{
	struct server *server;
	static char source[8192];

	(void)snprintf(source, sizeof source, "%s%s", first_half, second_half);
	if (!can_build())
		return;
	build_source("first", source, &quickly);
	run("--help", 0);
	expect_output("--second-key a|b|c\n");
	expect_output("of one `first`");
	server = SERVER("--workers", "1", "--second-key", "c", "--metrics", "127.0.0.1:0",
			"first://127.0.0.1:0", "first://127.0.0.1:0?second-key=b");
	for (size_t i = 0; i < 2; i++) {
		int fd = connect_to(server->ports[i]);

		send_text(fd, "x");
		expect_text(fd, i ? "b" : "c");
		expect_end(fd);
		(void)close(fd);
	}
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	server_wait_log(server, " closed_said_bye=2");
	server_wait_log(server, " second_bytes=2");
	ck_assert_int_eq(server_wait_exit(server), 0);
}
END_TEST

/* Says whose, and what. */
START_TEST(one_that_breaks_a_rule_is_refused_at_start)
{
	static const struct {
		const char *rows, *says;
	} bad[] = {
	    {".state_bytes = 25", "protocol bad: its state is too large"},
	    {".reasons = (struct reason[]){REASON(\"Too-Many\", \"x\"), {0}}",
	     "Too-Many is no name"},
	    {".counters = (struct counter[]){COUNTER(\"wide\", \"wide total\", \"x\"), {0}}",
	     "wide total is no name"},
	};

	for (size_t i = 0; can_build() && i < sizeof bad / sizeof *bad; i++) {
		char source[1024];

		(void)snprintf(source, sizeof source,
			       "#include \"protocol/protocol.h\"\n"
			       "const struct protocol bad_protocol = {.name = \"bad\", %s};\n",
			       bad[i].rows);
		build_source("bad", source, &quickly);
		run("-t", 1);
		expect_output(bad[i].says);
	}
}
END_TEST

SUITE(
    "own_protocol",
    {"one that another turns into has its tables", one_that_another_turns_into_has_its_tables, 60},
    {"one that breaks a rule is refused at start", one_that_breaks_a_rule_is_refused_at_start, 90},
    {"the shortest one works", the_shortest_one_works, 60},
    {"the shortest one is built as it says", the_shortest_one_is_built_as_it_says, 200,
     .kind = SUITE_LONG},
    {"one that speaks in messages works", one_that_speaks_in_messages_works, 90},
    {"what one has of its own appears everywhere", what_one_has_of_its_own_appears_everywhere, 90})
