#include "bench/designs/children.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/check.h"

static volatile sig_atomic_t children_n; /* made by children_fork(), and not waited for yet */

static void on_child(int signal)
{
	int error = errno; /* of the code that the signal interrupted */

	(void)signal;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		children_n--;
	errno = error;
}

static void on_worker(int signal)
{
	static const char words[] = "level=error msg=\"a worker ended, so all end\"\n";

	(void)signal;
	(void)!write(STDERR_FILENO, words, sizeof words - 1);
	_exit(1);
}

static void handle(void (*handler)(int signal))
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_NOCLDSTOP};

	if (sigaction(SIGCHLD, &action, NULL) < 0)
		die("sigaction of SIGCHLD failed");
}

void children_reap(void)
{
	handle(on_child);
}

void children_end_with_parent(void)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* The parent may have ended before prctl() was called: then no signal comes. */
static void end_with(pid_t parent)
{
	children_end_with_parent();
	if (getppid() != parent)
		_exit(1);
}

/* SIGCHLD is blocked here: else a child could end before it is counted, or the last one could end
 * after children_n was read and before the sleep. */
int children_fork(unsigned max)
{
	sigset_t child, before;
	pid_t parent = getpid(), pid;

	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &child, &before);
	while (children_n >= (int)max)
		(void)sigsuspend(&before);
	pid = fork();
	if (pid > 0)
		children_n++;
	else if (pid < 0)
		serve_trouble("no room to fork", errno);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid == 0)
		end_with(parent);
	return pid < 0 ? -1 : pid;
}

void children_prefork(struct serve *serve, void (*run)(struct serve *serve, unsigned worker))
{
	pid_t parent = getpid();

	handle(on_worker);
	for (unsigned i = 0; i < serve->workers; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork of worker %u: no room", i);
		if (pid > 0)
			continue;
		end_with(parent);
		run(serve, i);
		_exit(1);
	}
}
