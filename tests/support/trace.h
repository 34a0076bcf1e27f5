/*
 * trace: the system calls of a process, as strace(1) sees them, between two marks.
 *
 * A mark is a SIGWINCH, which weir neither blocks nor handles: only a tracer notices it, and its
 * line in the trace proves that strace is attached and has written all that came before. If a trial
 * shows that strace may not trace a process that is not its child, the test is skipped.
 */
#ifndef TESTS_SUPPORT_TRACE_H
#define TESTS_SUPPORT_TRACE_H

#include "tests/support/harness.h"

#define CALLS_MAX 65536

struct trace {
	pid_t pid, strace;
	char path[96];
	unsigned marks;
	char *text;
	const char *calls[CALLS_MAX]; /* lines of the last window, in order */
	size_t calls_n;
};

/* False, and the test is skipped, if nothing can be traced. */
bool tracing_works(const char *test);
/* True once strace, a child of ours, traces pid; false when it has ended, because it may not. */
bool strace_attached(pid_t strace, pid_t pid);
/* Attaches strace, makes a mark, and begins the first window. */
struct trace *trace_begin(pid_t pid);
/* The same, but only after the timers of the process' start (a look at a listener after 50 ms) and
 * the effects of earlier requests are over: when it has made no call between two marks. */
struct trace *trace_begin_settled(pid_t pid);
/* Ends the window with a mark; its calls are in trace->calls. The wait that the mark itself
 * interrupted is not counted. */
void trace_window(struct trace *trace);
void trace_end(struct trace *trace);

/* Calls of that name in the window whose line has the text `with`. */
size_t calls_of(const struct trace *trace, const char *name, const char *with);
/* Writes the names of the calls from begin to end, with spaces between them. */
void calls_text(const struct trace *trace, size_t begin, size_t end, char *text, size_t n);
/* Waits until a process sleeps in the kernel, with nothing left to do. */
void wait_asleep(pid_t pid);
/* The sum of the rows of /proc/PID/status whose names end in `name`. */
unsigned long status_of(pid_t pid, const char *name);

#endif
