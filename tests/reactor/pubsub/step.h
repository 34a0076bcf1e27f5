/*
 * step: a traced process, one instruction at a time.
 *
 * The test is the tracer. The traced process stops itself by stop() just before the action that is
 * tested, and says in shared memory when that is done. Traced processes end with the test. If
 * ptrace is not allowed the test is skipped.
 */
#ifndef TESTS_REACTOR_PUBSUB_STEP_H
#define TESTS_REACTOR_PUBSUB_STEP_H

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/support/harness.h"

/* ck_assert() writes a mark each time it is passed, which is slow for a million of them. */
#define MUST(condition) ((condition) ? (void)0 : ck_abort_msg("%s does not hold", #condition))

static inline int allowed_cpus(cpu_set_t *cpus)
{
	ck_assert_int_eq(sched_getaffinity(0, sizeof *cpus, cpus), 0);
	return CPU_COUNT(cpus);
}

/* Pins this process to the nth of the allowed CPUs. */
static inline void pin(const cpu_set_t *cpus, int n)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, cpus) && n-- == 0)
			CPU_SET(cpu, &one);
	(void)sched_setaffinity(0, sizeof one, &one);
}

static inline bool may_trace(const char *test)
{
	cpu_set_t cpus;
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(ptrace(PTRACE_TRACEME, 0, 0, 0) ? 1 : 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (status) {
		suite_skip(test, "ptrace is not allowed");
		return false;
	}
	/* A step takes two switches on one CPU, but two wake-ups on two. So both stay on this CPU,
	 * whichever it is: other tests that do the same now are likely to be on other ones. */
	CPU_ZERO(&cpus);
	CPU_SET((size_t)sched_getcpu(), &cpus);
	(void)sched_setaffinity(0, sizeof cpus, &cpus);
	return true;
}

/* Has a traced process wait for its tracer. */
static inline void stop(void)
{
	(void)kill(getpid(), SIGSTOP);
}

static inline void await_stop(pid_t pid, int signal)
{
	int status;

	MUST(waitpid(pid, &status, __WALL) == pid);
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != signal)
		ck_abort_msg("status 0x%x in place of a stop by %s", (unsigned)status,
			     strsignal(signal));
}

static inline pid_t trace(void (*body)(void))
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0)
			body();
		_exit(1);
	}
	await_stop(pid, SIGSTOP);
	return pid;
}

static inline void go_on(pid_t pid)
{
	MUST(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
	await_stop(pid, SIGSTOP);
}

/* Steps until done, for at most so many instructions. Returns how many there were. */
static inline unsigned long step(pid_t pid, const bool *done, unsigned long most)
{
	unsigned long n = 0;

	while (n < most && !__atomic_load_n(done, __ATOMIC_ACQUIRE)) {
		MUST(ptrace(PTRACE_SINGLESTEP, pid, 0, 0) == 0);
		await_stop(pid, SIGTRAP);
		n++;
	}
	return n;
}

static inline void end_process(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, __WALL), pid);
}

#endif
