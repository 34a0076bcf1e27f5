#include "tests/support/tracee.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static void look_up(int signal)
{
	(void)signal;
}

bool tracee_seize(struct tracee *tracee, pid_t pid)
{
	struct sigaction action = {.sa_handler = look_up, .sa_flags = SA_RESTART};
	int status;

	tracee->pid = pid;
	(void)sigaction(SIGCHLD, &action, NULL);
	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD) < 0) {
		ck_assert_msg(errno == EPERM, "ptrace of %d: %s", (int)pid, strerror(errno));
		return false;
	}
	ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, pid, 0, 0), 0);
	ck_assert_int_eq(waitpid(pid, &status, __WALL), pid);
	ck_assert(WIFSTOPPED(status));
	ck_assert_int_eq(ptrace(PTRACE_SYSCALL, pid, 0, 0), 0);
	return true;
}

static void other_end(struct tracee *tracee)
{
	struct wait wait = wait_begin();
	char state;

	tracee->ended = kill(tracee->other, SIGKILL) == 0;
	while ((state = process_state(tracee->other)) && state != 'Z')
		wait_more(&wait, "a worker to die");
	ck_assert_int_eq(ptrace(PTRACE_SYSCALL, tracee->pid, 0, 0), 0);
}

static void tracee_end(struct tracee *tracee)
{
	int status;

	if (tracee->other) {
		other_end(tracee);
		return;
	}
	tracee->ended = true;
	if (tracee->hangs) {
		ck_assert_int_eq(ptrace(PTRACE_DETACH, tracee->pid, 0, SIGSTOP), 0);
		tracee->pid = 0;
		return;
	}
	ck_assert_int_eq(kill(tracee->pid, SIGKILL), 0);
	while (waitpid(tracee->pid, &status, __WALL) == tracee->pid && WIFSTOPPED(status))
		;
	ck_assert(WIFSIGNALED(status));
	tracee->pid = 0;
}

bool tracee_turn(struct tracee *tracee)
{
	int status, signal = 0;

	if (!tracee->pid || waitpid(tracee->pid, &status, __WALL | WNOHANG) != tracee->pid)
		return false;
	if (!WIFSTOPPED(status)) {
		tracee->pid = 0;
		return false;
	}
	if (WSTOPSIG(status) == (SIGTRAP | 0x80) && ++tracee->stops == tracee->end_at) {
		tracee_end(tracee);
		return true;
	}
	if (WSTOPSIG(status) != (SIGTRAP | 0x80) && status >> 16 == 0)
		signal = WSTOPSIG(status);
	(void)ptrace(PTRACE_SYSCALL, tracee->pid, 0, signal);
	return true;
}

void tracee_let_go(struct tracee *tracee)
{
	int status;

	if (tracee->pid && ptrace(PTRACE_INTERRUPT, tracee->pid, 0, 0) == 0 &&
	    waitpid(tracee->pid, &status, __WALL) == tracee->pid && WIFSTOPPED(status))
		(void)ptrace(PTRACE_DETACH, tracee->pid, 0, 0);
	tracee->pid = 0;
	(void)signal(SIGCHLD, SIG_DFL);
}
