/*
 * offload: a child process does work that may block. What this shows: its result arrives once; a
 * child that hangs delays nothing and is killed in time; a child's death is reported; no child
 * inherits descriptors of the master, and none is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/offload.h"
#include "tests/support/harness.h"

struct found {
	int number;
	bool has_descriptor;
};

static struct loop loop;
static struct stats stats;
static struct offload offload;
static struct found told;
static char told_why[128];
static unsigned ends;
static int descriptor;

static void begin(void)
{
	ck_assert_int_eq(loop_open(&loop, &stats, 0), 0);
	offload_init(&offload, &loop);
	descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(descriptor, 3);
}

static void ended(const void *found, const char *why)
{
	ends++;
	if (found)
		told = *(const struct found *)found;
	(void)snprintf(told_why, sizeof told_why, "%s", why ? why : "");
}

static void finds(void *memory)
{
	struct found *found = memory;

	*found = (struct found){42, fcntl(descriptor, F_GETFD) >= 0};
}

static void hangs(void *memory)
{
	(void)memory;
	for (;;)
		(void)pause();
}

static void dies(void *memory)
{
	((struct found *)memory)->number = 13;
	(void)kill(getpid(), SIGKILL);
}

/* Reaps children as a master does at SIGCHLD, until so many have ended. */
static void reap_until(unsigned ends_wanted)
{
	struct wait wait = wait_begin();
	int status;
	pid_t pid;

	while (ends < ends_wanted) {
		loop_pass(&loop, 1);
		pid = waitpid(-1, &status, WNOHANG);
		if (pid > 0)
			ck_assert(offload_reaped(&offload, pid, status));
		wait_more(&wait, "the end of a job");
	}
}

static void nobody_is_left(void)
{
	struct wait wait = wait_begin();
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) == 0)
		wait_more(&wait, "a child that was killed");
	if (pid > 0)
		ck_assert(offload_reaped(&offload, pid, status));
	ck_assert_int_eq(waitpid(-1, &status, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}

START_TEST(what_it_found_arrives)
{
	begin();
	for (unsigned i = 1; i <= 3; i++) {
		told = (struct found){0};
		ck_assert_int_eq(offload_begin(&offload, sizeof told, 10000, finds, ended), 0);
		ck_assert(offload_is_busy(&offload));
		reap_until(i);
		ck_assert_int_eq(told.number, 42);
		ck_assert(!told.has_descriptor);
		ck_assert_str_eq(told_why, "");
		ck_assert(!offload_is_busy(&offload));
	}
	nobody_is_left();
}
END_TEST

/* No other child is started before the killed one has ended. */
START_TEST(one_that_hangs_is_given_up)
{
	begin();
	ck_assert_int_eq(offload_begin(&offload, sizeof told, 30, hangs, ended), 0);
	while (!ends)
		loop_pass(&loop, -1);
	ck_assert_str_eq(told_why, "it took too long");
	ck_assert(!offload_is_busy(&offload));
	ck_assert_int_eq(offload_begin(&offload, sizeof told, 30, finds, ended), -EBUSY);
	nobody_is_left();
	ck_assert_uint_eq(ends, 1);
	ck_assert_int_eq(offload_begin(&offload, sizeof told, 10000, finds, ended), 0);
	reap_until(2);
	ck_assert_int_eq(told.number, 42);
}
END_TEST

START_TEST(one_that_dies_is_told)
{
	begin();
	ck_assert_int_eq(offload_begin(&offload, sizeof told, 10000, dies, ended), 0);
	reap_until(1);
	ck_assert_int_eq(told.number, 0);
	ck_assert_msg(strstr(told_why, "signal 9"), "%s", told_why);
	nobody_is_left();
}
END_TEST

START_TEST(one_that_is_cancelled_says_nothing)
{
	begin();
	ck_assert_int_eq(offload_begin(&offload, sizeof told, 10000, hangs, ended), 0);
	offload_cancel(&offload);
	ck_assert(!offload_is_busy(&offload));
	offload_cancel(&offload);
	nobody_is_left();
	loop_pass(&loop, 0);
	ck_assert_uint_eq(ends, 0);
	ck_assert(!offload_reaped(&offload, getpid(), 0));
}
END_TEST

SUITE("offload", {"what it found arrives", what_it_found_arrives, 20},
      {"one that hangs is given up", one_that_hangs_is_given_up, 20},
      {"one that dies is told", one_that_dies_is_told, 20},
      {"one that is cancelled says nothing", one_that_is_cancelled_says_nothing, 20})
