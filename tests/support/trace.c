#include "tests/support/trace.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARK "--- SIGWINCH"

static pid_t strace_start(pid_t pid, const char *path)
{
	char number[16];
	pid_t strace = fork();

	ck_assert_int_ge(strace, 0);
	if (strace)
		return strace;
	(void)snprintf(number, sizeof number, "%d", (int)pid);
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	int null = open("/dev/null", O_RDWR);
	(void)dup2(null, STDERR_FILENO);
	(void)execlp("strace", "strace", "-f", "-o", path, "-p", number, (char *)NULL);
	_exit(127);
}

unsigned long status_of(pid_t pid, const char *name)
{
	char path[64], line[256], *at;
	unsigned long sum = 0;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof line, file))
		if ((at = strstr(line, name)))
			sum += strtoul(at + strlen(name), NULL, 10);
	(void)fclose(file);
	return sum;
}

bool strace_attached(pid_t strace, pid_t pid)
{
	struct wait wait = wait_begin();

	while (!status_of(pid, "TracerPid:")) {
		if (waitpid(strace, NULL, WNOHANG) == strace)
			return false;
		wait_more(&wait, "strace to attach");
	}
	return true;
}

static void strace_stop(pid_t strace)
{
	(void)kill(strace, SIGTERM);
	ck_assert_int_eq(waitpid(strace, NULL, 0), strace);
}

/* Tries it with a process that, like weir, is not a child of strace. */
bool tracing_works(const char *test)
{
	pid_t pid, strace;
	bool works;

	if (!command_exists("strace")) {
		suite_skip(test, "strace is not installed");
		return false;
	}
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)pause();
	}
	strace = strace_start(pid, "/dev/null");
	works = strace_attached(strace, pid);
	if (works)
		strace_stop(strace);
	else
		suite_skip(test, "the kernel does not let strace attach (ptrace)");
	(void)kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	return works;
}

static void trace_read(struct trace *trace)
{
	int fd = open(trace->path, O_RDONLY | O_CLOEXEC);
	off_t n;

	if (fd < 0)
		return;
	n = lseek(fd, 0, SEEK_END);
	free(trace->text);
	trace->text = calloc((size_t)n + 1, 1);
	ck_assert_ptr_nonnull(trace->text);
	ck_assert_int_eq(pread(fd, trace->text, (size_t)n, 0), n);
	(void)close(fd);
}

static unsigned marks_in(const char *text)
{
	unsigned marks = 0;

	for (const char *at = text; at && (at = strstr(at, MARK)); at++)
		marks++;
	return marks;
}

/* Waits until the process sleeps in the kernel, with nothing left to do. A process stopped by its
 * tracer has another state ('t'), and so has one that was woken but has not run yet ('R'). */
void wait_asleep(pid_t pid)
{
	struct wait wait = wait_begin();

	while (process_state(pid) != 'S')
		wait_more(&wait, "a server that sleeps");
}

static void trace_mark(struct trace *trace)
{
	struct wait wait = wait_begin();

	wait_asleep(trace->pid);
	ck_assert_int_eq(kill(trace->pid, SIGWINCH), 0);
	trace->marks++;
	do {
		wait_more(&wait, "a mark in the trace");
		trace_read(trace);
	} while (marks_in(trace->text) < trace->marks);
	wait_asleep(trace->pid);
}

struct trace *trace_begin(pid_t pid)
{
	struct trace *trace = calloc(1, sizeof *trace);

	ck_assert_ptr_nonnull(trace);
	ck_assert_int_gt(pid, 0);
	trace->pid = pid;
	(void)snprintf(trace->path, sizeof trace->path, "%s/trace-%d", temporary_folder(),
		       (int)pid);
	trace->strace = strace_start(pid, trace->path);
	ck_assert_msg(strace_attached(trace->strace, pid),
		      "strace may trace others, but not weir (%d)", (int)pid);
	trace_mark(trace);
	return trace;
}

/* The name of the call, with variants under one name: musl and arm64 call epoll_wait epoll_pwait.
 */
static void call_name(const char *line, char name[24])
{
	(void)snprintf(name, 24, "%.*s", (int)strcspn(line, "("), line);
	if (strcmp(name, "epoll_pwait") == 0)
		(void)snprintf(name, 24, "epoll_wait");
}

static bool call_is(const char *line, const char *wanted)
{
	char name[24];

	call_name(line, name);
	return strcmp(name, wanted) == 0;
}

/* Ends the window with a mark; its calls are in trace->calls. The wait that the mark itself
 * interrupted is not counted. */
void trace_window(struct trace *trace)
{
	char *at, *line;
	unsigned mark = 0;

	trace_mark(trace);
	trace->calls_n = 0;
	at = trace->text;
	while (mark < trace->marks && (line = strsep(&at, "\n"))) {
		line += strspn(line, "0123456789 "); /* the pid, with -f */
		if (strncmp(line, MARK, strlen(MARK)) == 0)
			mark++;
		else if (mark == trace->marks - 1 && *line >= 'a' && *line <= 'z') {
			ck_assert_uint_lt(trace->calls_n, CALLS_MAX);
			trace->calls[trace->calls_n++] = line;
		}
	}
	if (trace->calls_n && call_is(trace->calls[trace->calls_n - 1], "epoll_wait") &&
	    strstr(trace->calls[trace->calls_n - 1], "EINTR"))
		trace->calls_n--;
}

struct trace *trace_begin_settled(pid_t pid)
{
	struct wait wait = wait_begin();
	struct trace *trace;

	wait_asleep(pid); /* now its timers are armed */
	(void)poll(NULL, 0, 200);
	trace = trace_begin(pid);
	do {
		wait_more(&wait, "a window without a call");
		trace_window(trace);
	} while (trace->calls_n);
	return trace;
}

size_t calls_of(const struct trace *trace, const char *name, const char *with)
{
	size_t n = 0;

	for (size_t i = 0; i < trace->calls_n; i++)
		n += call_is(trace->calls[i], name) && strstr(trace->calls[i], with);
	return n;
}

/* Writes the names of the calls from begin to end, with spaces between them. */
void calls_text(const struct trace *trace, size_t begin, size_t end, char *text, size_t n)
{
	size_t at = 0;
	char name[24];

	*text = '\0';
	for (size_t i = begin; i < end && at < n; i++) {
		call_name(trace->calls[i], name);
		at += (size_t)snprintf(text + at, n - at, "%s%s", i > begin ? " " : "", name);
	}
}

void trace_end(struct trace *trace)
{
	strace_stop(trace->strace);
	free(trace->text);
	free(trace);
}
