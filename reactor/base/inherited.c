#include "reactor/base/inherited.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/time.h>

#include "reactor/base/sys.h"

#define STACK_BYTES (8u << 20) /* as most systems have it */

/*
 * A program that was started without one of the standard descriptors would find a socket of its
 * own in its place, and write its log to a peer. What is opened there instead can't be read or
 * written, so that weirctl does not believe that an answer was written that went nowhere.
 */
static void open_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int opened;

		if (sys_descriptor_is_open(fd))
			continue;
		opened = sys_open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
		if (opened < 0) /* no /dev here */
			opened = sys_open("/", O_PATH);
		if (opened != fd) /* and there is nobody to tell */
			exit(1);
	}
}

/* Commands leave these as they are. */
static bool is_of_terminal(int number)
{
	return number == SIGHUP || number == SIGINT || number == SIGQUIT || number == SIGTSTP ||
	       number == SIGTTIN || number == SIGTTOU;
}

/* exec keeps that a signal is ignored, but no handler: one that is there a library of ours set. */
static void reset_signals(enum inherited_by program)
{
	bool server = program == INHERITED_BY_SERVER;
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		if (sys_signal_is_ignored(number) && (server || !is_of_terminal(number)))
			sys_signal_handle(number, SIG_DFL);
	if (server) { /* a write that is refused is an error, but does not end us */
		sys_signal_handle(SIGPIPE, SIG_IGN);
		sys_signal_handle(SIGXFSZ, SIG_IGN);
	}
	(void)sigemptyset(&none);
	(void)sys_sigprocmask(SIG_SETMASK, &none, NULL);
}

/* An alarm(2) of the parent's would end us. */
static void stop_timers(void)
{
	sys_set_timer(ITIMER_REAL, 0);
	sys_set_timer(ITIMER_VIRTUAL, 0);
	sys_set_timer(ITIMER_PROF, 0);
}

/* These soft limits would end the process, rather than fail a call; it may raise them itself. */
static void raise_limits(void)
{
	sys_raise_limit(RLIMIT_CPU, RLIM_INFINITY);
	sys_raise_limit(RLIMIT_FSIZE, RLIM_INFINITY);
	sys_raise_limit(RLIMIT_STACK, STACK_BYTES);
}

void inherited_repair(enum inherited_by program)
{
	open_standard_descriptors();
	reset_signals(program);
	stop_timers();
	raise_limits();
	/* The umask goes on deciding who else may connect to a socket file; we ourselves may do so,
	 * and read our own files. */
	if (program == INHERITED_BY_SERVER)
		sys_umask_let_through(0700);
}
