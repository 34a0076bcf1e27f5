/*
 * The scripts of bench/: that they say what they do and what is wrong, that their arithmetic is
 * right, and that their results are JSON. check_scripts_earnest runs them with a real load.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/script.h"

static const char *const scripts[] = {"ladder", "compare", "syscalls", "memory",  "accept",
				      "scale",	"profile", "million",  "members", "suite",
				      "chat",	"http",	   "slow"};
#define SCRIPTS (sizeof scripts / sizeof *scripts)

START_TEST(json_is_checked)
{
	static const char *const good[] = {"{}", "[1, -2.5, null]", "{\"a\": [{\"b\\n\": true}]}"};
	static const char *const bad[] = {"{",	   "[1,]",	  "{\"a\" 1}", "01",
					  "[nul]", "{\"a\": 1,}", "\"\n\""};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		ck_assert_msg(script_is_json(good[i]), "%s", good[i]);

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(!script_is_json(bad[i]), "%s", bad[i]);
}
END_TEST

/* ---- what they say ---- */

START_TEST(each_says_what_it_does)
{
	for (size_t i = 0; i < SCRIPTS; i++) {
		char name[32];

		(void)snprintf(name, sizeof name, "bench/%s ", scripts[i]);
		ck_assert_int_eq(script_run("bench/%s -h", scripts[i]), 0);
		ck_assert_msg(strncmp(script_output, name, strlen(name)) == 0, "%s", script_output);
		script_expect("-o DIR");
		script_expect("-q ");
	}
}
END_TEST

START_TEST(wrong_usage_is_named)
{
	static const char *const wrong[][2] = {
	    {"compare -n 0", "-n 0: not a whole number above 0"},
	    {"compare -d fast", "-d fast: not a number of seconds"},
	    {"compare -c", "-c needs a value"},
	    {"compare floor weir weir", "weir is there twice"},
	    {"compare weir", "only weir is there"},
	    {"compare --batch", "--batch needs a value"},
	    {"compare -c 50x floor weir", "-c : not a whole number above 0"},
	    {"compare -c x16 floor weir", "-c : not a whole number above 0"},
	    {"compare --churn iterative-udp weir-udp", "weir-udp has no connections: no --churn"},
	    {"compare --ready-port 65536 floor ./tests/run", "--ready-port 65536: not a port"},
	    {"compare --ready-port 5000 floor weir", "--ready-port is for the path of a server"},
	    {"accept -w two", "-w two: not a whole number above 0"},
	    {"million many", "many: not a number of millions"},
	    {"million --no-probe 0", "0: not above 0"},
	    {"members many", "MEMBERS many: not a whole number above 0"},
	    {"members 199", "MEMBERS 199: at least 200"},
	    {"members -c 19 1000", "-c 19: at least 20 members"},
	    {"members -i soon", "-i soon: not a number of seconds"},
	    {"ladder nosuch", "no server nosuch"},
	    {"ladder nosuch-udp", "no server nosuch-udp"},
	    {"suite weir", "unknown argument weir"},
	    {"chat -c 19", "-c 19: at least 20 clients"},
	    {"chat -m 1001", "-m 1001: more than there are clients"},
	    {"chat weir weir", "weir is there twice"},
	    {"http -d 0.5", "-d 0.5: not a whole number above 0"},
	    {"http --driver ab", "--driver ab: wrk or weirload"},
	    {"http --depth '1 x'", "--depth x: not a whole number above 0"},
	    {"http weir weir", "weir is there twice"},
	    {"http nosuch", "no server nosuch"},
	    {"slow floor", "floor: its counters are asked for, so it has to be weir"},
	};

	for (size_t i = 0; i < SCRIPTS; i++) {
		ck_assert_int_eq(script_run("bench/%s --nonsense", scripts[i]), 2);
		script_expect("unknown option --nonsense");
	}
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		ck_assert_msg(script_run("bench/%s", wrong[i][0]) == 2, "%s: %s", wrong[i][0],
			      script_output);
		script_expect(wrong[i][1]);
	}
}
END_TEST

START_TEST(without_weirload_it_says_so)
{
	ck_assert_int_eq(script_run("BUILD=%s bench/ladder -q", temporary_folder()), 1);
	script_expect("(make builds it");
}
END_TEST

/* ---- arithmetic ---- */

START_TEST(median_and_spread)
{
	static const char *const known[][2] = {
	    {"7", "7 7 7 1"},
	    {"5 1 3", "3 1 5 3"},
	    {"4 1 3 2", "2.5 1 4 4"},
	    {"10 9 8", "9 8 10 3"},
	    {"0.98 - 1.02 1", "1 0.98 1.02 3"},
	    {"", "- - - 0"},
	    {"-1 1e3 2", "2 -1 1000 3"},
	    {"1 1 1 1", "1 1 1 4"},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		ck_assert_int_eq(
		    script_run("sh -c '. bench/figures.sh; printf \"%%s\\n\" %s | summary'",
			       known[i][0]),
		    0);
		script_output[strcspn(script_output, "\n")] = '\0';
		ck_assert_str_eq(script_output, known[i][1]);
	}
}
END_TEST

START_TEST(numbers_for_people)
{
	(void)write_file("numbers",
			 ". bench/figures.sh\n"
			 "awk \"$awk_lib\"'BEGIN { print commas(0), commas(999), commas(1000), "
			 "commas(1234567), micro(4.125), micro(12345), whole(\"-\"); "
			 "print point_text(\"16384/50\"); print point_short(\"64/1\"); "
			 "print point_text(\"64/50x16\"); print point_short(\"64/50x16\") }'\n");
	ck_assert_int_eq(script_run("sh %s", in_folder("numbers")), 0);
	ck_assert_str_eq(script_output,
			 "0 999 1,000 1,234,567 4.12 12,345 -\n16 KiB, 50 connections\n64 B x 1\n"
			 "64 B, 50 connections, 16 under way on each\n64 B x 50 x 16\n");
}
END_TEST

/*
 * A weirload whose figures are known: 4 us for floor, 8 us for weir, nothing valid at 50
 * connections, and a lost reply in churn. The rest of the build is the real one.
 */
static const char false_weirload[] =
    "#!/bin/sh\n"
    "while [ $# -gt 1 ]; do\n"
    "	case $1 in --json) json=$2 ;; --server-pid) pid=$2 ;; -c) n=$2 ;; --churn) churn=1 ;; "
    "esac\n"
    "	shift\n"
    "done\n"
    "case $(cat /proc/$pid/comm) in weir*) us=8.000 ;; *) us=4.000 ;; esac\n"
    "case $churn$n in 150) status=1 ;; 50) status=3 ;; *) status=0 ;; esac\n"
    "printf '{\\n  \"messages_per_s\": 1000.0,\\n  \"server_cpu_us_per_message\": %s,\\n' $us "
    ">$json\n"
    "printf '  \"service_p50_us\": 9.0,\\n  \"limit\": \"generator\",\\n' >>$json\n"
    "printf '  \"errors_lost\": 3,\\n  \"invalid_why\": \"ports: none left\"\\n}\\n' >>$json\n"
    "exit $status\n";

START_TEST(ratios_and_verdicts)
{
	const char *folder;

	if (!script_can_load("ratios and verdicts"))
		return;
	folder = script_false_build(false_weirload);
	script_mark();
	ck_assert_int_eq(
	    script_run("BUILD=%s bench/compare -n 3 -d 0.1 -c '1 50' --churn -o %s/out floor weir",
		       folder, folder),
	    0);
	ck_assert_int_eq(script_run("grep '64/1	weir	cpu' %s/out/ratios.tsv", folder), 0);
	ck_assert_str_eq(script_output, "64/1\tweir\tcpu\t8\t2\t2\t2\t3\tdearer\tgenerator\n");
	ck_assert_int_eq(script_run("grep '64/1	floor again	cpu' %s/out/ratios.tsv", folder),
			 0);
	ck_assert_str_eq(script_output,
			 "64/1\tfloor again\tcpu\t4\t1\t1\t1\t3\tcontrol\tgenerator\n");
	ck_assert_int_eq(script_run("grep '64/1	weir	rate' %s/out/ratios.tsv", folder), 0);
	script_expect("no difference shown");
	/* A run without a figure is shown as such, and is in no ratio. */
	ck_assert_int_eq(script_run("grep '64/50	weir	cpu' %s/out/ratios.tsv", folder),
			 0);
	ck_assert_str_eq(script_output,
			 "64/50\tweir\tcpu\t-\t-\t-\t-\t0\tINVALID: ports (3 of 3)\tgenerator\n");
	ck_assert_int_eq(script_run("grep 'churn	weir	cpu' %s/out/ratios.tsv", folder),
			 0);
	script_expect("ERRORS: 3 lost (3 of 3)");
	script_expect_json(in_folder("out/results.json"), "\"verdict\": \"dearer\"");
	script_expect_nothing_left();
}
END_TEST

/*
 * The same for chat: 4 us a delivery for thread-chat, which holds 300 lines a second and is stopped
 * by slow clients; 2 us for weir, which closes slow clients.
 */
static const char false_chat[] =
    "#!/bin/sh\n"
    "while [ $# -gt 1 ]; do\n"
    "	case $1 in --json) json=$2 ;; --server-pid) pid=$2 ;; -c) n=$2 ;; --rate) rate=$2 ;; "
    "--slow) slow=$2 ;; esac\n"
    "	shift\n"
    "done\n"
    "case $(cat /proc/$pid/comm) in weir*) us=2.000 ended=$slow ;; *) us=4.000 lost=$slow ;; esac\n"
    "if [ ${rate:-1000} -gt 300 ]; then rate=300; fi\n"
    "printf '{\\n  \"messages_per_s\": %s.0,\\n  \"server_cpu_us_per_message\": %s,\\n' "
    "$((rate * (n - 1))) $us >$json\n"
    "printf '  \"response_p99_us\": 900.0,\\n  \"limit\": \"server\",\\n' >>$json\n"
    "printf '  \"slow\": %s,\\n  \"slow_ended\": %s,\\n' ${slow:-0} ${ended:-0} >>$json\n"
    "printf '  \"errors_lost\": %s\\n}\\n' ${lost:-0} >>$json\n"
    "[ ${lost:-0} -eq 0 ]\n";

START_TEST(the_highest_rate_is_found)
{
	const char *folder;

	if (!script_can_load("the highest rate is found"))
		return;
	folder = script_false_build(false_chat);
	script_mark();
	ck_assert_int_eq(script_run("BUILD=%s bench/chat -n 1 -d 0.1 -c 100 -l 50 -o %s/out "
				    "thread-chat weir",
				    folder, folder),
			 0);
	/* The search: 50, 100, 200, 400 no, 300, 350 no, 325 no, 312 no; then 300 twice more. */
	script_expect(
	    "The highest rate that thread-chat holds: 300 lines/s. At 312 lines/s: 96.2 % of "
	    "what was due, limit server.");
	ck_assert_int_eq(script_run("grep '\tslow\t1\t' %s/out/chat.tsv | cut -f 1,4,13-", folder),
			 0);
	ck_assert_str_eq(script_output,
			 "weir\tfine\t10\t10\t0\nthread-chat\tERRORS: 10 lost\t10\t0\t10\n");
	ck_assert_int_eq(script_run("cut -f 1-4 %s/out/ratios.tsv", folder), 0);
	script_expect("highest\tthread-chat again\t4\t1\n");
	script_expect("highest\tweir\t2\t0.5\n");
	script_expect_json(in_folder("out/results.json"), "\"point\": \"search 312\"");
	script_expect_nothing_left();
}
END_TEST

/*
 * For members: rooms of 500, 400 and 100, two lines in each, of which the small one lacks three
 * deliveries if it is told to; 2.5 us a delivery for weir, 2 us for fan_floor.
 */
static const char false_rooms[] =
    "#!/bin/sh\n"
    "while [ $# -gt 1 ]; do\n"
    "	case $1 in --json) json=$2 ;; --server-pid) pid=$2 ;; -c) n=$2 ;; --wait) waits=1 ;; esac\n"
    "	shift\n"
    "done\n"
    "if [ -n \"$waits\" ]; then echo waiting for the end of stdin >&2 && cat >/dev/null; fi\n"
    "case $(tr '\\0' ' ' </proc/$pid/cmdline) in *fan_floor*) us=2.000 ;; *) us=2.500 ;; esac\n"
    "case $n in 100) lost=${MEMBERS_LOST:-0} ;; *) lost=0 ;; esac\n"
    "printf '{\\n  \"messages_total\": %s,\\n  \"held\": %s,\\n' $((2 * (n - 1) - lost)) $n "
    ">$json\n"
    "printf '  \"server_cpu_us_per_message\": %s,\\n  \"processes\": 1,\\n' $us >>$json\n"
    "printf '  \"messages\": %s,\\n  \"lines\": %s,\\n' $((2 * (n - 1))) ${MEMBERS_LINES:-2} "
    ">>$json\n"
    "printf '  \"server_user_bytes_per_connection\": %s.000,\\n' $n >>$json\n"
    "printf '  \"kernel_bytes_per_connection\": 7000.000,\\n  \"ramp_s\": 0.250,\\n' >>$json\n"
    "printf '  \"service_p50_us\": 1000.000,\\n  \"service_p99_us\": 3000.000,\\n' >>$json\n"
    "printf '  \"service_max_us\": 5000.000,\\n  \"errors_lost\": %s\\n}\\n' $lost >>$json\n"
    "[ $lost = 0 ]\n";

/* And for its weirctl: each time that it is asked, 100 more passes of each of two workers, the last
 * time with two long ones of one of them. */
static const char false_lag[] =
    "#!/bin/sh\n"
    "calls=$(dirname \"$0\")/calls\n"
    "echo >>$calls\n"
    "n=$(wc -l <$calls)\n"
    "for worker in 0 1; do\n"
    "	all=$((100 * n)) short=$((100 * n))\n"
    "	[ $worker$n != 13 ] || short=$((all - 2))\n"
    "	for step in 0.000016:$short 0.004096:$short 0.008192:$all +Inf:$all; do\n"
    "		printf 'weir_loop_lag_seconds_bucket{worker=\"%s\",le=\"%s\"} %s\\n' $worker "
    "${step%:*} ${step#*:}\n"
    "	done\n"
    "done\n";

START_TEST(who_missed_a_line_is_said)
{
	const char *folder;

	if (!script_can_load("who missed a line is said"))
		return;
	folder = script_false_build(false_rooms);
	ck_assert_int_eq(unlink(in_folder("weirctl")), 0);
	(void)chmod(write_file("weirctl", false_lag), 0755);
	script_mark();
	ck_assert_int_eq(
	    script_run("BUILD=%s bench/members -q -c 50 -m 2 -o %s/out 1000", folder, folder), 0);
	script_expect(" 1,000 of 1,000\n");
	script_expect("1,994: 2, 2, 2 lines of large, medium, small, one each 1 s\n");
	script_expect(" none\n");
	script_expect(" 1, 3, 5 ms\n");
	script_expect("8.19 ms in the worst worker, 4.1 ms in the middle one, 1 of 2 above 5 ms\n");
	script_expect(" 420\n"); /* of 500, 400 and 100, each that many times */
	script_expect(" 1.250 (1.250-1.250)\n");
	ck_assert_int_eq(script_run("cat %s/out/lag.tsv", folder), 0);
	ck_assert_str_eq(script_output, "when\tworker\tpasses\tp99_s\n"
					"quiet\t0\t100\t0.000016\nquiet\t1\t100\t0.000016\n"
					"speaking\t0\t100\t0.000016\nspeaking\t1\t100\t0.008192\n");
	script_expect_json(in_folder("out/results.json"), "\"point\": \"medium\"");
	ck_assert_int_eq(unlink(in_folder("calls")), 0);
	ck_assert_int_eq(
	    script_run("MEMBERS_LOST=3 BUILD=%s bench/members -q --no-floor -o %s/out 1000", folder,
		       folder),
	    1);
	script_expect("small: ERRORS: 3 lost\n");
	/* CPU time of lines that are not delivered in it is no figure. */
	ck_assert_int_eq(unlink(in_folder("calls")), 0);
	ck_assert_int_eq(
	    script_run("MEMBERS_LINES=4 BUILD=%s bench/members -q -c 50 -o %s/out 1000", folder,
		       folder),
	    0);
	script_expect(": not all was delivered in time (0.5)\n");
	script_expect(" -\n");
	script_expect_nothing_left();
}
END_TEST

/* Listens on a port that the kernel does not give to sockets that ask for any port, so that nobody
 * else takes it once it is closed. Returns the descriptor. */
static int listen_somewhere(unsigned *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*port = 10000 + (unsigned)getpid() % 20000;
	do
		address.sin_port = htons((uint16_t)++ * port);
	while (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno == EADDRINUSE);
	ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

/* A server that says no ready line: its port shows when it is ready. */
START_TEST(a_server_of_ones_own_is_compared)
{
	const char *folder;
	char text[512];
	unsigned port;
	int fd;

	if (!script_can_load("a server of one's own is compared"))
		return;
	folder = script_false_build(false_weirload);
	fd = listen_somewhere(&port);
	(void)snprintf(
	    text, sizeof text,
	    "#!/bin/sh\n[ \"$*\" = '-w 1 echo://127.0.0.1:%u' ] && exec %s/designs/floor "
	    "echo://127.0.0.1:%u 2>/dev/null\n",
	    port, folder, port);
	(void)chmod(write_file("mine", text), 0755);
	script_mark();
	ck_assert_int_eq(script_run("BUILD=%s bench/compare -n 1 -d 0.1 -c 1 --ready-port %u -o "
				    "%s/out floor %s/mine:-w,1",
				    folder, port, folder, folder),
			 1);
	(void)snprintf(text, sizeof text, "port %u is in use", port);
	script_expect(text); /* the port that the test chose */
	(void)close(fd);
	ck_assert_int_eq(script_run("BUILD=%s bench/compare -n 1 -d 0.1 -c 1 --ready-port %u -o "
				    "%s/out floor %s/mine:-w,1",
				    folder, port, folder, folder),
			 0);
	ck_assert_int_eq(
	    script_run("grep '/mine:-w,1	cpu' %s/out/ratios.tsv | cut -f 4-8", folder), 0);
	ck_assert_str_eq(script_output, "4\t1\t1\t1\t1\n");
	/* Without --ready-port it is said what is missing. */
	(void)chmod(write_file("mute", "#!/bin/sh\nexit 0\n"), 0755);
	ck_assert_int_eq(script_run("BUILD=%s bench/compare -n 1 -d 0.1 -c 1 -o %s/out floor "
				    "%s/mute",
				    folder, folder, folder),
			 0);
	script_expect("ended before it was ready");
	script_expect_nothing_left();
}
END_TEST

/* The last line of a server that has ended says why; that of one that still runs does not. */
START_TEST(who_is_not_ready_is_told_why)
{
	static const struct {
		const char *name, *said;
		bool alive;
		const char *why;
	} known[] = {
	    {"./mine", "mine: starts\nmine: in use\n", false, "mine: in use\n"},
	    {"./mine", "", false, "ended before it was ready\n"},
	    {"./mine", "mine: starts\n", true, "no ready line within 20 s (see --ready-port)\n"},
	    {"floor", "", true, "no ready line within 20 s\n"},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		(void)write_file("log", known[i].said);
		ck_assert_int_eq(script_run("sh -c 'alive() { %s; } && . bench/ready.sh && "
					    "server_name=%s server_port= server_log=%s && "
					    "unready_why'",
					    known[i].alive ? "true" : "false", known[i].name,
					    in_folder("log")),
				 0);
		ck_assert_str_eq(script_output, known[i].why);
	}
}
END_TEST

SUITE("scripts", {"json is checked", json_is_checked, 10},
      {"each says what it does", each_says_what_it_does, 10},
      {"wrong usage is named", wrong_usage_is_named, 10},
      {"without weirload it says so", without_weirload_it_says_so, 10},
      {"median and spread", median_and_spread, 10}, {"numbers for people", numbers_for_people, 10},
      {"ratios and verdicts", ratios_and_verdicts, 60},
      {"who is not ready is told why", who_is_not_ready_is_told_why, 4},
      {"a server of one's own is compared", a_server_of_ones_own_is_compared, 60},
      {"who missed a line is said", who_missed_a_line_is_said, 60},
      {"the highest rate is found", the_highest_rate_is_found, 120})
