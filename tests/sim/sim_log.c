/*
 * Repeated lines of the log, on a simulated clock, so that no test has to wait for a second. stderr
 * is a pipe of the test's own.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "tests/support/sim/kernel.h"

#define OTHERS 12

static struct {
	struct loop loop;
	struct stats stats;
	int reader;
	char text[1 << 16];
} t;

static void begin(void)
{
	int ends[2];

	kernel_begin();
	memset(&t, 0, sizeof t);
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	(void)close(ends[1]);
	t.reader = ends[0];
	(void)fcntl(t.reader, F_SETFL, O_NONBLOCK);
	ck_assert_int_eq(loop_open(&t.loop, &t.stats, 0), 0);
}

static void end(void)
{
	loop_close(&t.loop);
	kernel_end();
}

/* How many lines of what was read last contain part. */
static size_t lines_with(const char *part)
{
	size_t n = 0;

	for (const char *at = t.text; (at = strstr(at, part)); at++)
		n++;
	return n;
}

static size_t read_lines(void)
{
	ssize_t n = read(t.reader, t.text, sizeof t.text - 1);

	t.text[n > 0 ? n : 0] = '\0';
	return lines_with("\n");
}

static void fails(size_t times)
{
	for (size_t i = 0; i < times; i++)
		log_warn("connection failed", LOG_TEXT("error", "No space left"));
}

START_TEST(a_flood_of_one_line_is_two)
{
	begin();
	fails(1000);
	ck_assert_uint_eq(read_lines(), 1);
	ck_assert_uint_eq(lines_with("repeated"), 0);
	loop_pass(&t.loop, -1); /* it sleeps no longer than until the second is over */
	ck_assert_int_gt(kernel.wait_asked, 0);
	ck_assert_int_le(kernel.wait_asked, 1000);
	loop_pass(&t.loop, 0);
	ck_assert_uint_eq(read_lines(), 1);
	ck_assert_msg(lines_with("level=warn process=weir repeated=999 msg=\"connection failed\" "
				 "error=\"No space left\"\n") == 1,
		      "%s", t.text);
	end();
}
END_TEST

START_TEST(a_long_flood_is_a_line_a_second)
{
	size_t lines = 0, repeated = 0;

	begin();
	for (int i = 0; i < 100; i++) { /* for ten seconds */
		char *at = t.text;

		fails(10);
		kernel.now_us += 100000;
		loop_pass(&t.loop, 0); /* this pass reads the clock */
		loop_pass(&t.loop, 0);
		lines += read_lines();
		while ((at = strstr(at, "repeated="))) {
			at += strlen("repeated=");
			repeated += strtoul(at, NULL, 10);
		}
	}
	ck_assert_uint_ge(lines, 10);
	ck_assert_uint_le(lines, 12);
	kernel.now_us += 2000000;
	loop_pass(&t.loop, 0);
	loop_pass(&t.loop, 0);
	(void)read_lines();
	/* The first line was no repetition, and no repetition is counted twice. */
	ck_assert_uint_le(repeated, 999);
	ck_assert_uint_ge(repeated, 900);
	end();
}
END_TEST

START_TEST(other_lines_are_not_lost)
{
	begin();
	for (int round = 0; round < 5; round++)
		for (int i = 0; i < OTHERS; i++) {
			log_warn("one of several", LOG_NUMBER("worker", i));
			log_error("one of several", LOG_NUMBER("worker", 100 + i * 100));
			log_info("it happened", LOG_NUMBER("round", 7));
		}
	(void)read_lines();
	for (int i = 0; i < OTHERS; i++) {
		char part[32];

		(void)snprintf(part, sizeof part, "worker=%d\n", i);
		ck_assert_uint_ge(lines_with(part), 1);
		(void)snprintf(part, sizeof part, "worker=%d\n", 100 + i * 100);
		ck_assert_uint_ge(lines_with(part), 1);
	}
	/* Only warnings and errors are counted; other lines are written each time. */
	ck_assert_uint_eq(lines_with("round=7"), 5 * OTHERS);
	end();
}
END_TEST

START_TEST(what_is_counted_is_told_at_the_end)
{
	begin();
	fails(3);
	t.loop.stopped = true;
	loop_run(&t.loop);
	ck_assert_uint_eq(read_lines(), 2);
	ck_assert_uint_eq(lines_with("repeated=2 "), 1);
	/* A child process begins with a count of its own. */
	fails(3);
	log_name("w1");
	(void)read_lines();
	fails(1);
	ck_assert_uint_eq(read_lines(), 1);
	ck_assert_uint_eq(lines_with("repeated"), 0);
	end();
}
END_TEST

/* What was counted is written before the last words, even if these repeat a line. */
START_TEST(what_is_counted_is_told_before_the_end_of_one_that_dies)
{
	int status = 0;
	pid_t pid;

	begin();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		fails(3);
		log_error("the end");
		die("the end");
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	ck_assert_uint_eq(read_lines(), 4);
	ck_assert_uint_eq(lines_with("repeated=2 "), 1);
	ck_assert_uint_eq(lines_with("the end"), 2);
	end();
}
END_TEST

START_TEST(a_line_that_comes_again_later_is_told_at_once)
{
	begin();
	fails(1);
	ck_assert_uint_eq(read_lines(), 1);
	kernel.now_us += 1000000;
	fails(1);
	ck_assert_uint_eq(read_lines(), 1);
	ck_assert_uint_eq(lines_with("repeated"), 0);
	end();
}
END_TEST

SUITE("sim_log", {"a flood of one line is two", a_flood_of_one_line_is_two, 10},
      {"a long flood is a line a second", a_long_flood_is_a_line_a_second, 10},
      {"other lines are not lost", other_lines_are_not_lost, 10},
      {"what is counted is told at the end", what_is_counted_is_told_at_the_end, 10},
      {"what is counted is told before the end of one that dies",
       what_is_counted_is_told_before_the_end_of_one_that_dies, 10},
      {"a line that comes again later is told at once",
       a_line_that_comes_again_later_is_told_at_once, 10})
