/*
 * validity: whether a run of weirload may be believed, and what its limit was. The generator is
 * starved, stopped, killed and left without descriptors, and the server is stopped and slow:
 * weirload has to say whose fault it was. No test here is about speed.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench/weirload/report/validity.h"
#include "bench/weirload/report/report.h"
#include "tests/support/servers/faulty.h"
#include "tests/support/harness.h"
#include "tests/support/clients/load.h"

/* ---- the server's time ---- */

/* The share of values above ms, according to the HDR text. */
static double share_above(double ms)
{
	char *text = strdup(load_hdr());
	double share = 1;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		double value, percentile;

		if (sscanf(line, "%lf %lf", &value, &percentile) != 2)
			continue;
		if (value > ms)
			break;
		share = 1 - percentile;
	}
	return share;
}

/* Waits until the server has received so many bytes. False: weirload ended before. */
static bool has_had(const struct server *server, uint64_t bytes, pid_t load)
{
	struct wait wait = wait_begin();

	while (server_stat(server, "received_bytes") < bytes) {
		if (process_state(load) == 'Z')
			return false;
		wait_more(&wait, "a load");
	}
	return true;
}

/* The server stands still for a fifth of the time: about a fifth of the messages are due in that
 * time, and their response times must show it; only the 20 that were under way have a long service
 * time. The test stops the server's process, not the clock, so the shares have some tolerance.
 * False: this machine stood still, too. */
static bool shows_a_stall(unsigned stall_ms)
{
	struct server *server = SERVER("-w", "1", "--no-master", "echo://127.0.0.1:0");
	char duration[24], timeout[24];
	double above, stall_us = 1000.0 * stall_ms;
	pid_t load;
	int status;

	(void)snprintf(duration, sizeof duration, "%ums", 5 * stall_ms);
	(void)snprintf(timeout, sizeof timeout, "%ums", 20000 + 5 * stall_ms);
	load =
	    load_start(&load_plain,
		       (const char *const[]){"-c", "20", "-d", duration, "--warmup", "0", "--rate",
					     load_number(600000 / stall_ms), "--timeout", timeout,
					     load_listener("echo", server->ports[0]), NULL});
	if (has_had(server, 64 * 500, load)) {
		ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
		(void)usleep(1000 * stall_ms); /* the stall that is tested */
		ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
	}
	status = load_wait(load);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	load_expect_fine(status);
	above = share_above(stall_ms / 15.0);
	(void)printf("FIGURE stall of %u ms in %s: %.1f %% of responses above a 15th of it; p99 "
		     "response %.1f ms, service %.3f ms\n",
		     stall_ms, duration, 100 * above, load_figure("response_p99_us") / 1000,
		     load_figure("service_p99_us") / 1000);
	return above > 0.12 && above < 0.4 && load_figure("response_p99_us") > stall_us * 2 / 3 &&
	       load_figure("service_p99_us") < stall_us / 3 &&
	       load_figure("response_max_us") > stall_us * 5 / 6;
}

/* Tried with longer stalls, too, compared with which the stalls of a busy machine are short. */
START_TEST(shows_a_stall_in_response_time_and_not_in_service_time)
{
	unsigned stall_ms = 300;

	while (!shows_a_stall(stall_ms)) {
		stall_ms *= 3;
		ck_assert_msg(stall_ms < 60000, "%s", load_said());
	}
}
END_TEST

START_TEST(blames_a_slow_server_for_its_slowness)
{
	unsigned port;
	int status;

	(void)faulty_start(FAULT_SLOW, 1, &port);
	status = LOAD("-c", "1", "-d", "1s", "--warmup", "0", "--churn", "--rate", "1000",
		      load_listener("echo", port));
	load_expect_fine(status);
	ck_assert_msg(status == 3 || load_figure("slip_p99_us") < 200000, "%s", load_said());
	ck_assert_msg(load_figure("response_p99_us") > 400000, "%s", load_said());
	ck_assert(load_figure("unsent") > 500);
}
END_TEST

/* ---- the generator's limits ---- */

/* Processes that burn the generator's CPU; they end with the test. */
static void burn(int cpu, int n)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			cpu_set_t set;

			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			CPU_ZERO(&set);
			CPU_SET((size_t)cpu, &set);
			(void)sched_setaffinity(0, sizeof set, &set);
			for (;;)
				__asm__ volatile("");
		}
	}
}

static int a_cpu(void)
{
	cpu_set_t set;

	ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET((size_t)cpu, &set))
			return cpu;
	return 0;
}

START_TEST(says_that_it_was_starved)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0");
	struct load_setting starved = {.cpu = a_cpu(), .nice = 10};
	int status;

	burn(starved.cpu, 4);
	status = load_in(
	    &starved, (const char *const[]){"-c", "10", "-d", "1s", "--warmup", "0", "--rate",
					    "5000", load_listener("echo", server->ports[0]), NULL});
	ck_assert_msg(status == 3, "status %d\n%s", status, load_said());
	ck_assert(load_says("valid", "false"));
	/* Or, if nothing at all was answered in that time, it says that. */
	ck_assert_msg(strstr(load_said(), "INVALID: the generator did not keep") ||
			  strstr(load_said(), "INVALID: the generator hardly ran"),
		      "%s", load_said());
	ck_assert_msg(load_says("limit", "\"generator\"") &&
			  strstr(load_said(), "\nlimit     generator"),
		      "%s", load_said());

	/* If others keep the server waiting even longer, it is neither's fault: then once more. */
	for (int tries = 0; tries < 10 && (!tries || load_says("limit", "\"neither\"")); tries++)
		status = load_in(
		    &starved, (const char *const[]){"-c", "10", "-d", "1s", "--warmup", "0",
						    "--server-pid", load_number(server->pid),
						    load_listener("echo", server->ports[0]), NULL});
	ck_assert_msg(status == 0 || strstr(load_said(), "INVALID: the generator hardly ran"),
		      "status %d\n%s", status, load_said());
	ck_assert_msg(load_says("limit", "\"generator\""), "%s", load_said());
	ck_assert_ptr_nonnull(strstr(load_said(), "starved"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(says_that_descriptors_ran_out)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0");
	struct load_setting poor = {.cpu = -1, .descriptors = 64};
	int status =
	    load_in(&poor, (const char *const[]){"-c", "100", "-P", "1", "-d", "200ms",
						 load_listener("echo", server->ports[0]), NULL});

	ck_assert_msg(status == 3, "status %d\n%s", status, load_said());
	ck_assert_ptr_nonnull(strstr(load_said(), "INVALID: descriptors ran out"));
	/* Without -P it starts as many processes as that limit requires. */
	status =
	    load_in(&poor, (const char *const[]){"-c", "100", "-d", "200ms", "--warmup", "0",
						 load_listener("echo", server->ports[0]), NULL});
	load_expect_fine(status);
	ck_assert_msg(load_figure("processes") > 2, "%s", load_said());
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST
static pid_t child_of(pid_t pid)
{
	char path[96], *text;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
	text = read_whole(path);
	return text ? (pid_t)strtol(text, NULL, 10) : 0;
}

/* weirload is stopped for twice as long as it waits for a reply. False: a reply really came too
 * late, or the stop was not most of the time, because this machine was busy. */
static bool sleeps_and_blames_nobody(unsigned timeout_ms)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0");
	uint64_t had;
	char timeout[24];
	pid_t load, sender;

	(void)snprintf(timeout, sizeof timeout, "%ums", timeout_ms);
	load = load_start(&load_plain, (const char *const[]){
					   "-c", "200", "-d", "1h", "--warmup", "0", "--timeout",
					   timeout, load_listener("echo", server->ports[0]), NULL});
	server_wait_stat(server, "received_bytes", 20000);
	sender = child_of(load);
	ck_assert_int_gt(sender, 0);
	ck_assert_int_eq(kill(sender, SIGSTOP), 0);
	(void)usleep(2000 * timeout_ms); /* the stop that is tested */
	had = server_stat(server, "received_bytes");
	ck_assert_int_eq(kill(sender, SIGCONT), 0);
	server_wait_stat(server, "received_bytes", had + 20000); /* it has read all replies */
	(void)load_end(load);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	return load_figure("errors") == 0 && load_says("limit", "\"generator\"");
}

/* Replies that wait unread while the generator stands still did not come late. */
START_TEST(does_not_blame_the_server_for_its_own_sleep)
{
	unsigned timeout_ms = 300;

	while (!sleeps_and_blames_nobody(timeout_ms)) {
		timeout_ms *= 2;
		ck_assert_msg(timeout_ms < 20000, "%s", load_said());
	}
}
END_TEST

START_TEST(is_invalid_when_a_sender_dies)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0");

	for (int ramp = 0; ramp < 2; ramp++) {
		pid_t load = load_start(
		    &load_plain,
		    (const char *const[]){"-c", "40", "-d", "1h", "--warmup", "0", "--connect-rate",
					  ramp ? "20" : "1000",
					  load_listener("echo", server->ports[0]), NULL});
		int status;

		server_wait_stat(server, "connections", 1);
		if (!ramp)
			server_wait_stat(server, "received_bytes", 100000);
		ck_assert_int_eq(kill(child_of(load), SIGKILL), 0);
		status = load_wait(load);
		ck_assert_msg(status == 3, "status %d\n%s", status, load_said());
		ck_assert_ptr_nonnull(strstr(load_said(), "INVALID: a sending process"));
		server_wait_stat_is(server, "connections", 0);
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* What a killed process had found is not known: above all it is not known that there was no error.
 */
START_TEST(is_invalid_when_a_sender_does_not_end)
{
	struct server *server = SERVER("-w", "1", "echo://127.0.0.1:0");
	pid_t load = load_start(
	    &load_plain,
	    (const char *const[]){"-c", "4", "-d", "1h", "--warmup", "0", "--timeout", "100ms",
				  load_listener("echo", server->ports[0]), NULL});
	int status;

	server_wait_stat(server, "received_bytes", 1000);
	ck_assert_int_eq(kill(child_of(load), SIGSTOP), 0);
	status = load_end(load); /* a signal, like Ctrl-C */
	ck_assert_msg(status == 3, "status %d\n%s", status, load_said());
	ck_assert_ptr_nonnull(strstr(load_said(), "INVALID: a sending process did not come to"));
	ck_assert_ptr_nonnull(strstr(load_said(), "ended early"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* If the generator was idle and yet late, the limit has to agree with INVALID: the generator. But
 * if the server was busy all the time, the limit is the server. */
START_TEST(names_the_generator_where_its_schedule_makes_it_invalid)
{
	static struct outcome outcome;
	const struct plan plan = {.rate = 1000, .connections = 1};

	for (int busy = 0; busy < 2; busy++) {
		memset(&outcome, 0, sizeof outcome);
		outcome.measured_ns = 1000000000;
		outcome.messages = outcome.held = outcome.cpus = 1;
		outcome.server_known = busy;
		outcome.server.busiest_ns = outcome.measured_ns;
		for (int i = 0; i < 1000; i++) {
			histogram_add(&outcome.all.slip, 5 * VALIDITY_SLIP_NS);
			histogram_add(&outcome.all.response, VALIDITY_SLIP_NS);
		}
		validity_conclude(&outcome, &plan);
		ck_assert_ptr_nonnull(strstr(outcome.invalid_why, "its own schedule"));
		ck_assert_str_eq(validity_limit_name(&outcome), busy ? "server" : "generator");
		ck_assert_int_eq(outcome.exit_status, 3);
	}
}
END_TEST

/* A generator that ran for little more than half of the time may be at its limit: it has to be said
 * why. */
START_TEST(says_that_waiting_for_a_cpu_counts)
{
	static struct outcome outcome;
	struct plan plan = {.connections = 1, .processes = 1, .listener = "echo://127.0.0.1:1"};
	const char *said, *file = in_folder("said");

	plan.protocol = client_protocol_find("echo", false);
	outcome = (struct outcome){.measured_ns = 1000000000, .messages = 10, .held = 1, .cpus = 4};
	outcome.all.messages = 10;
	outcome.generator.busiest_ns = 560000000;
	outcome.generator.busiest_wait_ns = 420000000;
	validity_conclude(&outcome, &plan);
	ck_assert_str_eq(validity_limit_name(&outcome), "generator");
	ck_assert_ptr_nonnull(freopen(file, "w", stdout));
	report(&outcome, &plan);
	said = read_whole(file);
	ck_assert_msg(strstr(said,
			     "limit     generator: CPU a message is the figure to quote\n"
			     "          (its busiest process ran 56 % of the time, and waited "
			     "for a CPU 42 %)\n") != NULL,
		      "%s", said);
}
END_TEST

/* A line of a chat may contain any bytes, and so may a path. */
START_TEST(shows_nothing_that_rules_a_terminal)
{
	static struct outcome outcome;
	struct plan plan = {.connections = 1,
			    .processes = 1,
			    .listener = "echo:///tmp/\xff\x1b\xc2\x9b",
			    .json = in_folder("json")};
	const char *said, *file = in_folder("said");

	plan.protocol = client_protocol_find("echo", false);
	outcome = (struct outcome){.measured_ns = 1000000000, .held = 1, .cpus = 4};
	outcome.all.errors[TALLY_altered] = outcome.all.errors[TALLY_other] = 1;
	(void)strcpy(outcome.all.details[TALLY_altered], "a line: \xc2\x9b[2J\xe2\x80\xae\x7f\xc3");
	(void)strcpy(outcome.all.details[TALLY_other], "\x1b[2J");
	ck_assert_ptr_nonnull(freopen(file, "w", stdout));
	report_open(&plan);
	report(&outcome, &plan);
	said = read_whole(file);
	ck_assert_msg(strstr(said, "first: a line: \\u009b[2J\\u202e\\u007f\\ufffd\n") &&
			  strstr(said, "1 \\u001b[2J\n") &&
			  strncmp(said, "echo:///tmp/\\ufffd\\u001b\\u009b, ", 29) == 0,
		      "%s", said);
	said = read_whole(plan.json);
	ck_assert_msg(strstr(said, "\"echo:///tmp/\\ufffd\\u001b\\u009b\"") != NULL, "%s", said);
}
END_TEST

SUITE("judge",
      {"shows a stall in response time and not in service time",
       shows_a_stall_in_response_time_and_not_in_service_time, 60, .kind = SUITE_ALONE},
      {"says that it was starved", says_that_it_was_starved, 60},
      {"says that descriptors ran out", says_that_descriptors_ran_out, 20},
      {"blames a slow server for its slowness", blames_a_slow_server_for_its_slowness, 20},
      {"does not blame the server for its own sleep", does_not_blame_the_server_for_its_own_sleep,
       40},
      {"names the generator where its schedule makes it INVALID",
       names_the_generator_where_its_schedule_makes_it_invalid, 20},
      {"says that waiting for a CPU counts", says_that_waiting_for_a_cpu_counts, 10},
      {"shows nothing that rules a terminal", shows_nothing_that_rules_a_terminal, 10},
      {"is INVALID when a sender does not end", is_invalid_when_a_sender_does_not_end, 20},
      {"is INVALID when a sender dies", is_invalid_when_a_sender_dies, 30})
