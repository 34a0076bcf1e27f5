/*
 * Names, on a machine whose hosts file and name servers are the test's own (nameservers.h).
 *
 * What this shows: name servers that say nothing hold up nobody who talks, connects or steers,
 * and change nothing; at start weir asks again for a while. Needs root.
 */
#include <signal.h>

#include "tests/crowd.h"
#include "tests/nameservers.h"
#include "tests/steer.h"

#define ONE "listen = echo://one.test:0?accept=handoff\n"

/* ---- at a reload ---- */

/* The master's own answer, which a lookup on its loop would hold up. */
static uint64_t answers_in_ms(void)
{
	uint64_t begin = now_ms();

	ck_assert_int_eq(steer_number("generation"), 1);
	return now_ms() - begin;
}

/* Of the child that looks names up. */
static pid_t lookup_pid(const struct server *server)
{
	char command[96], line[32] = "";
	FILE *found;

	(void)snprintf(command, sizeof command, "pgrep -x -P %d weir-lookup", (int)server->pid);
	found = popen(command, "r");
	ck_assert_ptr_nonnull(found);
	ck_assert_ptr_nonnull(fgets(line, sizeof line, found));
	ck_assert_int_eq(pclose(found), 0);
	return (pid_t)strtol(line, NULL, 10);
}

static void wait_asked(void)
{
	for (struct wait wait = wait_begin(); !nameservers_asked();)
		wait_more(&wait, "a question to a name server");
}

START_TEST(silent_name_servers_hold_up_nobody)
{
	uint64_t longest = 0;
	struct server *server;
	struct crowd *crowd;
	pid_t asked;

	if (nameservers_cannot("silent name servers hold up nobody"))
		return;
	nameservers_silent();
	server = STEERED("--workers", "2", "--config", steer_config(ONE));
	crowd =
	    crowd_start(&(struct crowd_plan){steer_address(server, 0), .talkers = 10, .comers = 4});
	(void)steer_config(ONE "listen = line://far-away:0\n");
	asked = steer_ask_begin("reload");
	wait_asked();
	for (int i = 0; i < 20; i++) {
		uint64_t ms;

		crowd_wait(crowd, 10, 10);
		ms = answers_in_ms();
		longest = ms > longest ? ms : longest;
	}
	(void)printf("FIGURE beside a lookup that nobody answers, status took at most %llu ms\n",
		     (unsigned long long)longest);
	(void)fflush(stdout);
	ck_assert_uint_lt(longest, 4000); /* one query to one of them takes 5 s */
	ck_assert_int_eq(kill(lookup_pid(server), SIGKILL), 0);
	ck_assert_int_eq(steer_ask_end(asked), 1);
	ck_assert_msg(strstr(steer_said(), "looking up its names"), "%s", steer_said());
	ck_assert_int_eq(steer_number("generation"), 1);
	(void)steer_config(ONE);
	steer_do("reload");
	crowd_ends_well(crowd, "while a name was looked up");
	steer_settle(server, 2);
	steer_stop(server);
}
END_TEST

/* It stops in the midst of it, and leaves no child behind. */
START_TEST(a_stop_does_not_wait_for_a_name)
{
	struct server *server;

	if (nameservers_cannot("a stop does not wait for a name"))
		return;
	nameservers_silent();
	server = STEERED("--workers", "1", "--config", steer_config(ONE));
	(void)steer_config("listen = line://far-away:0\n");
	ck_assert_int_eq(kill(server->pid, SIGHUP), 0);
	wait_asked();
	steer_stop(server);
}
END_TEST

/* ---- at start ---- */

START_TEST(a_start_asks_again)
{
	struct server *server;

	if (nameservers_cannot("a start asks again"))
		return;
	server = server_launch((const char *const[]){"--control", in_folder("c"), "-w", "1",
						     "echo://late.test:0", NULL});
	server_wait_log(server, "a name can't be looked up now");
	nameservers_hosts("127.0.0.1 late.test\n");
	server_wait_log(server, "msg=ready");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* A service manager starts again what ended with 1, and nothing that ended with 2. */
START_TEST(what_may_pass_ends_with_1)
{
	char output[4096];

	if (nameservers_cannot("what may pass ends with 1"))
		return;
	ck_assert_int_eq(RUN(output, "-t", "echo://late.test:0"), 1);
	ck_assert_msg(strstr(output, "late.test:0"), "%s", output);
	ck_assert_int_eq(RUN(output, "-t", "--metrics", "late.test:0"), 1);
	ck_assert_int_eq(RUN(output, "-t", "echo://one.test:99999"), 2);
	nameservers_write("nsswitch.conf", "hosts: files\n");
	ck_assert_int_eq(RUN(output, "-t", "echo://late.test:0"), 2);
	ck_assert_int_eq(RUN(output, "-t", "echo://one.test:0"), 0);
}
END_TEST

SUITE("names", {"silent name servers hold up nobody", silent_name_servers_hold_up_nobody, 60},
      {"a stop does not wait for a name", a_stop_does_not_wait_for_a_name, 30},
      {"a start asks again", a_start_asks_again, 30},
      {"what may pass ends with 1", what_may_pass_ends_with_1, 30})
