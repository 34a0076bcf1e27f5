/*
 * usage: compared with what children know that they used.
 *
 * A child burns CPU until its own clock shows that it is enough, says so by a byte in a pipe, and
 * then stays until it is told to go, so that both snapshots are taken while the tree does nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/weirload/report/usage.h"
#include "tests/support/harness.h"

#define MS  1000000ULL
#define OFF (35 * MS) /* the tolerance, for slow machines; less than any part that is burnt */

static struct usage_snapshot before, after;
static struct usage usage;

/* ---- children ---- */

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000 * MS + (uint64_t)now.tv_nsec;
}

static void burn(clockid_t clock, uint64_t ns)
{
	uint64_t until = clock_ns(clock) + ns;

	while (clock_ns(clock) < until)
		;
}

static void *burn_in_thread(void *ns)
{
	burn(CLOCK_THREAD_CPUTIME_ID, *(uint64_t *)ns);
	return NULL;
}

static void burn_in_threads(uint64_t first_ns, uint64_t second_ns, pthread_t threads[2],
			    uint64_t ns[2])
{
	ns[0] = first_ns;
	ns[1] = second_ns;
	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, burn_in_thread, &ns[i]))
			_exit(1);
}

struct child {
	pid_t pid;
	int go, done; /* pipes to it and from it */
};

static void tell(int fd)
{
	if (write(fd, "x", 1) != 1)
		_exit(1);
}

static void hear(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		_exit(1);
}

/* Starts a child, which waits for a byte before its work, and for another one before its end. */
static struct child child_start(void (*work)(int go, int done))
{
	int to[2], from[2];
	struct child child;

	ck_assert_int_eq(pipe(to), 0);
	ck_assert_int_eq(pipe(from), 0);
	child.pid = fork();
	ck_assert_int_ge(child.pid, 0);
	if (child.pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(to[1]);
		(void)close(from[0]);
		tell(from[1]); /* it has started */
		hear(to[0]);
		work(to[0], from[1]);
		_exit(0);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	child.go = to[1];
	child.done = from[0];
	hear(child.done);
	return child;
}

static void child_end(struct child *child)
{
	int status;

	tell(child->go);
	ck_assert_int_eq(waitpid(child->pid, &status, 0), child->pid);
	ck_assert_int_eq(status, 0);
}

/* Has the child do its work, between two snapshots. */
static void child_measure(struct child *child, bool memory)
{
	ck_assert_int_eq(usage_take(&before, child->pid, memory), 0);
	tell(child->go);
	hear(child->done);
	ck_assert_int_eq(usage_take(&after, child->pid, memory), 0);
	usage_difference(&usage, &before, &after);
}

static void must_be_about(uint64_t said, uint64_t right, uint64_t off)
{
	ck_assert_msg(said + off >= right && said <= right + off, "%.1f ms is not %.1f ms",
		      (double)said / MS, (double)right / MS);
}

/* The busiest thread is the one that ran and waited for a CPU longest: on a busy machine that may
 * be another one than was meant. */
static void busiest_must_be_about(uint64_t right)
{
	if (usage.busiest_wait_ns < OFF)
		must_be_about(usage.busiest_ns, right, OFF);
	else
		ck_assert_uint_ge(usage.busiest_ns + usage.busiest_wait_ns + OFF, right);
}

/* ---- CPU ---- */

static void burns_200_ms(int go, int done)
{
	burn(CLOCK_PROCESS_CPUTIME_ID, 200 * MS);
	tell(done);
	hear(go);
}

START_TEST(a_process_cpu_time_is_seen)
{
	struct child child = child_start(burns_200_ms);

	child_measure(&child, false);
	must_be_about(usage.cpu_ns, 200 * MS, OFF);
	must_be_about(usage.busiest_ns, 200 * MS, OFF);
	ck_assert_int_eq(usage.busiest_tid, child.pid);
	ck_assert_uint_eq(usage.user_ns + usage.system_ns, usage.cpu_ns);
	ck_assert_uint_eq(usage.processes, 1);
	ck_assert_uint_eq(usage.threads, 1);
	ck_assert_uint_eq(usage.memory_bytes, 0);
	/* What was used before is not counted again. */
	ck_assert_int_eq(usage_take(&before, child.pid, false), 0);
	usage_difference(&usage, &after, &before);
	ck_assert_uint_lt(usage.cpu_ns, 1 * MS);
	child_end(&child);
}
END_TEST

static void computes(int go, int done)
{
	while (clock_ns(CLOCK_PROCESS_CPUTIME_ID) < 300 * MS) {
		uint64_t seed = 1;

		for (int i = 0; i < 100000; i++)
			(void)next_random(&seed);
	}
	tell(done);
	hear(go);
}

/* Makes the kernel work: zeroes pages. */
static void asks_the_kernel(int go, int done)
{
	size_t n = 32 << 20;

	while (clock_ns(CLOCK_PROCESS_CPUTIME_ID) < 300 * MS) {
		char *pages = mmap(NULL, n, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		(void)munmap(pages, n);
	}
	tell(done);
	hear(go);
}

/* The kernel distinguishes user and system time by what runs when its clock ticks, which is only a
 * sample. */
START_TEST(user_and_system_time_are_told_apart)
{
	struct child child = child_start(computes);

	child_measure(&child, false);
	ck_assert_uint_gt(usage.user_ns, usage.cpu_ns / 2);
	child_end(&child);
	child = child_start(asks_the_kernel);
	child_measure(&child, false);
	ck_assert_uint_gt(usage.system_ns, usage.cpu_ns / 2);
	child_end(&child);
}
END_TEST

static void reaps_one_that_burnt(int go, int done)
{
	pid_t pid = fork();

	if (pid == 0) {
		burn(CLOCK_PROCESS_CPUTIME_ID, 200 * MS);
		_exit(0);
	}
	if (waitpid(pid, NULL, 0) != pid)
		_exit(1);
	tell(done);
	hear(go);
}

/* The kernel counts the time of reaped children in ticks: of user and of system time a tick may be
 * missing. */
START_TEST(a_reaped_grandchild_counts)
{
	struct child child = child_start(reaps_one_that_burnt);

	child_measure(&child, false);
	must_be_about(usage.cpu_ns, 200 * MS, OFF);
	ck_assert_uint_eq(usage.processes, 1);
	ck_assert_uint_lt(usage.busiest_ns, 50 * MS);
	child_end(&child);
}
END_TEST

/* Grandchildren, one of which is dead and not reaped. */
static void has_a_family(int go, int done)
{
	int dead[2], back[2], never[2];
	siginfo_t info;
	pid_t pid;

	if (pipe(dead) || pipe(back) || pipe(never) || (pid = fork()) < 0)
		_exit(1);
	if (pid == 0) {
		burn(CLOCK_PROCESS_CPUTIME_ID, 100 * MS);
		_exit(0);
	}
	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT))
		_exit(1);
	pid = fork();
	if (pid == 0) {
		(void)close(never[1]);
		if (fork() == 0)
			burn(CLOCK_PROCESS_CPUTIME_ID, 100 * MS);
		tell(back[1]);
		(void)read(never[0], dead, 1); /* returns when the head of the family ends */
		_exit(0);
	}
	(void)close(never[0]);
	hear(back[0]);
	hear(back[0]);
	tell(done);
	hear(go);
}

START_TEST(all_that_descend_are_of_the_tree)
{
	struct child child = child_start(has_a_family);

	child_measure(&child, false);
	must_be_about(usage.cpu_ns, 200 * MS, OFF);
	busiest_must_be_about(100 * MS);
	ck_assert_uint_eq(usage.processes, 4);
	child_end(&child);
}
END_TEST

/* One thread lives on, two are gone; the tree has one process at all times. */
static void burns_in_threads(int go, int done)
{
	pthread_t threads[2];
	uint64_t ns[2];

	burn_in_threads(60 * MS, 100 * MS, threads, ns);
	burn(CLOCK_THREAD_CPUTIME_ID, 40 * MS);
	for (int i = 0; i < 2; i++)
		(void)pthread_join(threads[i], NULL);
	tell(done);
	hear(go);
}

START_TEST(threads_that_ended_count)
{
	struct child child = child_start(burns_in_threads);

	child_measure(&child, false);
	must_be_about(usage.cpu_ns, 200 * MS, OFF);
	must_be_about(usage.busiest_ns, 40 * MS, OFF / 2);
	ck_assert_uint_eq(usage.threads, 1);
	child_end(&child);
}
END_TEST

static int threads_go, threads_done;

static void *burn_and_stay(void *ns)
{
	burn(CLOCK_THREAD_CPUTIME_ID, *(uint64_t *)ns);
	tell(threads_done);
	hear(threads_go);
	return NULL;
}

static void burns_in_threads_that_stay(int go, int done)
{
	static uint64_t ns[2] = {60 * MS, 140 * MS};
	pthread_t threads[2];
	int back[2], never[2];

	if (pipe(back) || pipe(never))
		_exit(1);
	threads_done = back[1];
	threads_go = never[0];
	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, burn_and_stay, &ns[i]))
			_exit(1);
	hear(back[0]);
	hear(back[0]);
	tell(done);
	hear(go);
	tell(never[1]);
	tell(never[1]);
	for (int i = 0; i < 2; i++)
		(void)pthread_join(threads[i], NULL);
}

START_TEST(the_busiest_thread_is_named)
{
	struct child child = child_start(burns_in_threads_that_stay);

	child_measure(&child, false);
	must_be_about(usage.cpu_ns, 200 * MS, OFF);
	ck_assert(usage.busiest_tid != child.pid || usage.busiest_wait_ns >= OFF);
	ck_assert_int_ne(usage.busiest_tid, child.pid);
	ck_assert_uint_eq(usage.threads, 3);
	ck_assert_uint_eq(usage.processes, 1);
	child_end(&child);
}
END_TEST

/* Two processes on one CPU: each runs half of the time, and waits for the other one. */
static void share_a_cpu(int go, int done)
{
	cpu_set_t one;
	int cpu = sched_getcpu();
	pid_t pid;

	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	if (sched_setaffinity(0, sizeof one, &one) || (pid = fork()) < 0)
		_exit(1);
	burn(CLOCK_PROCESS_CPUTIME_ID, 150 * MS);
	if (pid == 0)
		_exit(0);
	tell(done);
	hear(go);
}

START_TEST(waiting_for_a_cpu_is_seen)
{
	struct child child = child_start(share_a_cpu);

	child_measure(&child, false);
	ck_assert_uint_gt(usage.busiest_ns, 100 * MS);
	if (access("/proc/self/schedstat", R_OK) == 0)
		ck_assert_uint_gt(usage.busiest_wait_ns, 50 * MS);
	child_end(&child);
}
END_TEST

/* ---- memory ---- */

static void touches_64_mib(int go, int done)
{
	size_t n = 64 << 20;
	char *pages = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (size_t i = 0; i < n; i += 4096)
		pages[i] = 1;
	/* Shared with a child: counted once, however many processes map it. */
	if (fork() == 0) {
		tell(done);
		hear(go);
		_exit(0);
	}
	hear(go);
}

START_TEST(memory_is_what_was_touched_shared_pages_once)
{
	struct child child = child_start(touches_64_mib);
	uint64_t grown;

	child_measure(&child, true);
	grown = after.memory_bytes - before.memory_bytes;
	ck_assert_uint_ge(grown, 64 << 20);
	ck_assert_uint_lt(grown, (64 << 20) * (suite_sanitized() ? 2 : 1) + (4 << 20));
	ck_assert_uint_eq(usage.memory_bytes, after.memory_bytes);
	ck_assert_uint_eq(usage.processes, 2);
	tell(child.go);
	child_end(&child);
}
END_TEST

START_TEST(kernel_memory_grows_with_sockets)
{
	uint64_t bytes = usage_kernel_bytes();
	static int ends[400][2];
	int n = 0;

	ck_assert_uint_gt(bytes, 1 << 20);
	ck_assert_uint_lt(bytes, (uint64_t)sysconf(_SC_PHYS_PAGES) * 4096);
	raise_descriptor_limit();
	while (n < 400 && socketpair(AF_UNIX, SOCK_STREAM, 0, ends[n]) == 0)
		n++;
	ck_assert_int_gt(n, 100);
	printf("FIGURE kernel memory of a socket pair: %.0f bytes\n",
	       ((double)usage_kernel_bytes() - (double)bytes) / n);
	(void)fflush(stdout);
}
END_TEST

/* ---- processes that end while they are read ---- */

START_TEST(no_such_process_is_said)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(usage_take(&before, pid, true), -ESRCH);
	ck_assert_uint_eq(before.processes, 0);
	ck_assert_int_eq(usage_take(&before, getpid(), true), 0);
	ck_assert_int_eq(usage_take(&before, pid, true), -ESRCH);
	ck_assert_uint_eq(before.cpu_ns, 0);
	usage_free(&before);
	usage_free(&before);
}
END_TEST

/* Like a design that has a process for each of a thousand connections. */
static void comes_and_goes(int go, int done)
{
	(void)go;
	tell(done);
	for (;;) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		if (waitpid(pid, NULL, 0) != pid)
			_exit(1);
	}
}

START_TEST(members_that_vanish_are_no_error)
{
	struct child child = child_start(comes_and_goes);
	uint64_t last = 0, begin = now_ms();
	unsigned processes = 0;
	int status;

	tell(child.go);
	hear(child.done);
	while (now_ms() - begin < 500) {
		ck_assert_int_eq(usage_take(&after, child.pid, true), 0);
		processes = after.processes > processes ? after.processes : processes;
		/* Never less than before, except for a few ticks, and for a process that was just
		 * missed. */
		ck_assert_uint_ge(after.cpu_ns + 40 * MS, last);
		last = after.cpu_ns;
	}
	ck_assert_uint_ge(processes, 1);
	ck_assert_uint_le(processes, 2);
	(void)kill(child.pid, SIGKILL);
	ck_assert_int_eq(waitpid(child.pid, &status, 0), child.pid);
	usage_free(&after);
}
END_TEST

/* ---- many ---- */

#define MANY 1000

static unsigned long children_n;

static void has_many_children(int go, int done)
{
	int never[2];

	if (pipe(never))
		_exit(1);
	for (unsigned long i = 0; i < children_n; i++) {
		if (fork() == 0) {
			(void)close(never[1]);
			(void)read(never[0], never, 1); /* until their parent ends */
			_exit(0);
		}
	}
	tell(done);
	hear(go);
}

static void a_large_tree(unsigned long n)
{
	struct child child;
	uint64_t begin;

	children_n = n;
	child = child_start(has_many_children);
	child_measure(&child, false);
	ck_assert_uint_eq(usage.processes, n + 1);
	begin = clock_ns(CLOCK_MONOTONIC);
	ck_assert_int_eq(usage_take(&after, child.pid, false), 0);
	printf("FIGURE a snapshot of %u processes: %.1f ms", after.processes,
	       (double)(clock_ns(CLOCK_MONOTONIC) - begin) / MS);
	begin = clock_ns(CLOCK_MONOTONIC);
	ck_assert_int_eq(usage_take(&after, child.pid, true), 0);
	printf(", with memory %.1f ms\n", (double)(clock_ns(CLOCK_MONOTONIC) - begin) / MS);
	(void)fflush(stdout);
	child_end(&child);
	usage_free(&before);
	usage_free(&after);
}

START_TEST(a_large_tree_is_read)
{
	a_large_tree(suite_volume(MANY / 5));
}
END_TEST

START_TEST(a_tree_of_a_thousand_is_read)
{
	a_large_tree(suite_volume(MANY));
}
END_TEST

SUITE("usage", {"a process' CPU time is seen", a_process_cpu_time_is_seen, 10},
      {"user and system time are told apart", user_and_system_time_are_told_apart, 20},
      {"a reaped grandchild counts", a_reaped_grandchild_counts, 10},
      {"all that descend are of the tree", all_that_descend_are_of_the_tree, 10},
      {"threads that ended count", threads_that_ended_count, 10},
      {"the busiest thread is named", the_busiest_thread_is_named, 10},
      {"waiting for a CPU is seen", waiting_for_a_cpu_is_seen, 10},
      {"memory is what was touched, shared pages once",
       memory_is_what_was_touched_shared_pages_once, 20},
      {"kernel memory grows with sockets", kernel_memory_grows_with_sockets, 10},
      {"no such process is said", no_such_process_is_said, 10},
      {"members that vanish are no error", members_that_vanish_are_no_error, 20},
      {"a large tree is read", a_large_tree_is_read, 60},
      {"a tree of a thousand is read", a_tree_of_a_thousand_is_read, 60, .kind = SUITE_LONG})
