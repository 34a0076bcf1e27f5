/*
 * offload: a child process does work that may block. What this shows: its result arrives once; a
 * child that hangs delays nothing and is killed in time; a child's death is reported, even if
 * somebody else reaps it; no child keeps a descriptor of its parent, from the first moment on, or
 * outlives it; none is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/sys.h"
#include "reactor/loop/offload.h"
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

static void ended(struct offload *of, const void *found, const char *why)
{
	ck_assert_ptr_eq(of, &offload);
	ends++;
	if (found)
		told = *(const struct found *)found;
	(void)snprintf(told_why, sizeof told_why, "%s", why ? why : "");
}

static void finds(struct offload *of, void *memory)
{
	struct found *found = memory;

	(void)of;
	*found = (struct found){42, fcntl(descriptor, F_GETFD) >= 0};
}

static void hangs(struct offload *of, void *memory)
{
	(void)of;
	(void)memory;
	for (;;)
		(void)pause();
}

static void dies(struct offload *of, void *memory)
{
	(void)of;
	((struct found *)memory)->number = 13;
	(void)kill(getpid(), SIGKILL);
}

static void exits(struct offload *of, void *memory)
{
	(void)of;
	(void)memory;
	_exit(7);
}

static int begin_job(void (*job)(struct offload *of, void *found), uint32_t ms)
{
	return offload_begin(&offload, sizeof told, ms, job, ended);
}

static void pass_until(unsigned ends_wanted)
{
	struct wait wait = wait_begin();

	while (ends < ends_wanted) {
		loop_pass(&loop, 100);
		wait_more(&wait, "the end of a job");
	}
}

/* The loop reaps a child that was killed, and nobody else is there. */
static void nobody_is_left(void)
{
	struct wait wait = wait_begin();

	while (offload.pid) {
		loop_pass(&loop, 100);
		wait_more(&wait, "a child that was killed");
	}
	ck_assert_int_eq(offload.source.fd, -1);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}

START_TEST(what_it_found_arrives)
{
	begin();
	for (unsigned i = 1; i <= 3; i++) {
		told = (struct found){0};
		ck_assert_int_eq(begin_job(finds, 10000), 0);
		ck_assert(offload_is_busy(&offload));
		pass_until(i);
		ck_assert_int_eq(told.number, 42);
		ck_assert(!told.has_descriptor);
		ck_assert_str_eq(told_why, "");
		ck_assert(!offload_is_busy(&offload));
	}
	nobody_is_left();
	ck_assert_uint_eq(ends, 3);
}
END_TEST

/* No other child is started before the killed one has ended. */
START_TEST(one_that_hangs_is_given_up)
{
	begin();
	ck_assert_int_eq(begin_job(hangs, 30), 0);
	ck_assert_int_eq(begin_job(finds, 30), -EBUSY);
	while (!ends)
		loop_pass(&loop, -1);
	ck_assert_str_eq(told_why, "it took too long");
	ck_assert(!offload_is_busy(&offload));
	nobody_is_left();
	ck_assert_uint_eq(ends, 1);
	ck_assert_int_eq(begin_job(finds, 10000), 0);
	pass_until(2);
	ck_assert_int_eq(told.number, 42);
}
END_TEST

START_TEST(one_that_dies_is_told)
{
	begin();
	ck_assert_int_eq(begin_job(dies, 10000), 0);
	pass_until(1);
	ck_assert_int_eq(told.number, 0);
	ck_assert_msg(strstr(told_why, "signal 9"), "%s", told_why);
	ck_assert_int_eq(begin_job(exits, 10000), 0);
	pass_until(2);
	ck_assert_msg(strstr(told_why, "status 7"), "%s", told_why);
	nobody_is_left();
}
END_TEST

/* As a process may that has other children, too. */
START_TEST(somebody_else_may_reap_it)
{
	begin();
	ck_assert_int_eq(begin_job(finds, 10000), 0);
	ck_assert_int_eq(waitpid(-1, NULL, 0), offload.pid);
	pass_until(1);
	ck_assert_int_eq(told.number, 42);
	ck_assert_str_eq(told_why, "");
	ck_assert_int_eq(begin_job(dies, 10000), 0);
	ck_assert_int_eq(waitpid(-1, NULL, 0), offload.pid);
	pass_until(2);
	ck_assert_msg(strstr(told_why, "died"), "%s", told_why);
	nobody_is_left();
}
END_TEST

START_TEST(one_that_is_cancelled_says_nothing)
{
	begin();
	ck_assert_int_eq(begin_job(hangs, 10000), 0);
	offload_cancel(&offload);
	ck_assert(!offload_is_busy(&offload));
	offload_cancel(&offload);
	nobody_is_left();
	loop_pass(&loop, 0);
	ck_assert_uint_eq(ends, 0);
}
END_TEST

/* What is closed here as soon as it has begun ends, because there is no copy of it. */
START_TEST(it_keeps_nothing_open)
{
	begin();
	for (int i = 0; i < 20; i++) {
		int ends_of[2];
		char byte;

		ck_assert_int_eq(pipe2(ends_of, O_CLOEXEC | O_NONBLOCK), 0);
		ck_assert_int_eq(begin_job(hangs, 10000), 0);
		ck_assert_int_eq(close(ends_of[1]), 0);
		ck_assert_int_eq(read(ends_of[0], &byte, 1), 0);
		ck_assert_int_eq(close(ends_of[0]), 0);
		offload_cancel(&offload);
		nobody_is_left();
	}
}
END_TEST

/* The counters of the system calls may lie in memory that the child shares. */
START_TEST(it_counts_nothing_of_its_parent)
{
	struct stats *shared =
	    mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	begin();
	sys_count_into(shared);
	ck_assert_int_eq(begin_job(finds, 10000), 0);
	pass_until(1);
	/* The gate's two ends, and the pidfd; the child closed its copy of the gate. */
	ck_assert_uint_eq(shared->calls[CALL_close], 3);
	sys_count_into(NULL);
}
END_TEST

/* A process in between begins it, says the child's number, and ends. */
START_TEST(it_ends_with_its_parent)
{
	struct pollfd end = {.events = POLLIN};
	int ends_of[2];
	pid_t between, child;

	ck_assert_int_eq(pipe2(ends_of, O_CLOEXEC), 0);
	between = fork();
	if (between == 0) {
		begin();
		if (begin_job(hangs, 10000) == 0 &&
		    write(ends_of[1], &offload.pid, sizeof offload.pid) > 0)
			_exit(0);
		_exit(1);
	}
	ck_assert_int_eq(read(ends_of[0], &child, sizeof child), sizeof child);
	end.fd = sys_pidfd_open(child);
	ck_assert_int_eq(waitpid(between, NULL, 0), between);
	if (end.fd >= 0)
		ck_assert_int_eq(poll(&end, 1, (int)patience_ms()), 1);
	else
		ck_assert_int_eq(end.fd, -ESRCH);
}
END_TEST

/* If nothing can tell when the child ends, there is none. */
START_TEST(what_fails_leaves_nothing)
{
	begin();
	ck_assert_int_eq(close(loop.epfd), 0);
	ck_assert_int_lt(begin_job(hangs, 10000), 0);
	ck_assert(!offload_is_busy(&offload));
	nobody_is_left();
	loop.epfd = -1;
}
END_TEST

static void ended_and_gone(struct offload *of, const void *found, const char *why)
{
	ck_assert_ptr_null(why);
	ck_assert_int_eq(((const struct found *)found)->number, 42);
	memset(of, 0xa5, sizeof *of); /* its memory is another's now */
	ends++;
}

/* What was found is still there, and its owner may be gone. */
START_TEST(its_owner_may_go_when_it_is_told)
{
	struct wait wait = wait_begin();

	begin();
	ck_assert_int_eq(
	    offload_begin(&offload, sizeof(struct found), 60000, finds, ended_and_gone), 0);
	while (!ends) {
		loop_pass(&loop, 10);
		wait_more(&wait, "the child's end");
	}
	(void)close(descriptor);
	loop_close(&loop);
}
END_TEST

SUITE("offload", {"what it found arrives", what_it_found_arrives, 20},
      {"its owner may go when it is told", its_owner_may_go_when_it_is_told, 20},
      {"one that hangs is given up", one_that_hangs_is_given_up, 20},
      {"one that dies is told", one_that_dies_is_told, 20},
      {"somebody else may reap it", somebody_else_may_reap_it, 20},
      {"one that is cancelled says nothing", one_that_is_cancelled_says_nothing, 20},
      {"it keeps nothing open", it_keeps_nothing_open, 20},
      {"it counts nothing of its parent", it_counts_nothing_of_its_parent, 20},
      {"it ends with its parent", it_ends_with_its_parent, 20},
      {"what fails leaves nothing", what_fails_leaves_nothing, 20})
