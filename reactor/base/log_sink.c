/*
 * Where lines go: stderr, which another program opened, and may read as slowly as it likes.
 *
 * O_NONBLOCK belongs to the open file, which stderr shares with whoever started us, so it is not
 * set there. Instead, by what stderr is:
 *
 *     a pipe or a terminal    it is opened anew, without blocking; if that is not allowed (it
 *                             is another user's, as in a container with a USER):
 *       a pipe                RWF_NOWAIT does the same for one write
 *       anything else         (also a pipe before Linux 6.5, which has no RWF_NOWAIT for it)
 *                             poll(2) says whether there is room; if there is too little, so
 *                             that the write waits all the same, a timer ends it
 *     a socket                MSG_DONTWAIT
 *     a file                  a write never waits
 */
#include "reactor/base/log_parts.h"
#include "reactor/base/sys.h"

#define GUARD_US 2000	/* the longest that a write may wait */
#define REST_US	 200000 /* no write for so long after one that waited: 1 % of the time at most */

static struct {
	enum { SINK_PLAIN, SINK_SOCKET, SINK_PIPE, SINK_GUARDED } kind;
	int fd;
	bool torn; /* the last line was cut short */
	uint64_t rests_until_us;
} sink = {.fd = STDERR_FILENO};

static void on_alarm(int number)
{
	(void)number;
}

static void guard(void)
{
	sink.kind = SINK_GUARDED;
	sys_signal_handle(SIGALRM, on_alarm);
}

/* The timer repeats, because it may go off before the write has begun. */
static ssize_t write_guarded(const struct iovec *line)
{
	ssize_t n;

	if (sys_clock_us() < sink.rests_until_us || !sys_may_write(sink.fd))
		return -EAGAIN;
	sys_set_timer(ITIMER_REAL, GUARD_US);
	n = sys_write(sink.fd, line->iov_base, line->iov_len);
	sys_set_timer(ITIMER_REAL, 0);
	if (n != (ssize_t)line->iov_len)
		sink.rests_until_us = sys_clock_us() + REST_US;
	return n;
}

static ssize_t write_to_pipe(const struct iovec *line)
{
	ssize_t n = sys_write_nowait(sink.fd, line);

	if (n != -EOPNOTSUPP && n != -ENOSYS)
		return n;
	guard();
	return write_guarded(line);
}

static ssize_t write_once(const char *bytes, size_t n)
{
	struct iovec line = {(void *)(uintptr_t)bytes, n};
	struct msghdr message = {.msg_iov = &line, .msg_iovlen = 1};

	switch (sink.kind) {
	case SINK_SOCKET:
		return sys_sendmsg(sink.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	case SINK_PIPE:
		return write_to_pipe(&line);
	case SINK_GUARDED:
		return write_guarded(&line);
	default:
		return sys_write(sink.fd, bytes, n);
	}
}

bool log_sink_write(const char *bytes, size_t n)
{
	ssize_t written;

	if (sink.torn) { /* so that this line begins on its own */
		if (write_once("\n", 1) != 1)
			return false;
		sink.torn = false;
	}
	written = write_once(bytes, n);
	sink.torn = written > 0 && written != (ssize_t)n;
	return written == (ssize_t)n;
}

void log_sink_open(void)
{
	struct stat status;
	int fd = -1;

	if (sink.fd != STDERR_FILENO || sys_fstat(STDERR_FILENO, &status) < 0)
		return;
	sink.kind = S_ISSOCK(status.st_mode) ? SINK_SOCKET : SINK_PLAIN;
	if (sink.kind == SINK_SOCKET || S_ISREG(status.st_mode))
		return;
	fd = sys_open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd >= 0)
		sink.fd = fd;
	else if (S_ISFIFO(status.st_mode))
		sink.kind = SINK_PIPE;
	else
		guard();
}

int log_sink_descriptor(void)
{
	return sink.fd;
}
