/*
 * ctl: the weirctl that was built, not on a terminal, and its output.
 *
 * One at a time in a test's process, with which it ends. Its output goes to the files out and err
 * in the test's temporary folder, and stays in `out` and `err` until the next one has ended.
 */
#ifndef TESTS_SUPPORT_CTL_H
#define TESTS_SUPPORT_CTL_H

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/harness.h"

static char out[1 << 18], err[1 << 16];

static inline pid_t ctl_launch(const char *const arguments[])
{
	const char *argv[16] = {built("weirctl")};
	pid_t pid;

	for (int i = 0; arguments[i]; i++)
		argv[i + 1] = arguments[i];
	(void)write_file("out", "");
	(void)write_file("err", "");
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)dup2(open(in_folder("out"), O_WRONLY), STDOUT_FILENO);
		(void)dup2(open(in_folder("err"), O_WRONLY), STDERR_FILENO);
		(void)execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	return pid;
}

/* Waits for its end. Returns the exit status, or 128 + the signal that ended it. */
static inline int ctl_outcome(pid_t pid)
{
	struct wait wait = wait_begin();
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0)
		wait_more(&wait, "weirctl's end");
	(void)snprintf(out, sizeof out, "%s", read_whole(in_folder("out")));
	(void)snprintf(err, sizeof err, "%s", read_whole(in_folder("err")));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define CTL_LAUNCH(...) ctl_launch((const char *const[]){__VA_ARGS__, NULL})
#define CTL(...)	ctl_outcome(CTL_LAUNCH(__VA_ARGS__))

static inline void has(const char *text, const char *part)
{
	ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in: %s", part, text);
}

#endif
