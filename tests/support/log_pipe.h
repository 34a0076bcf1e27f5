/*
 * log_pipe: has a test's own log go to a pipe, and reads what was written there.
 */
#ifndef TESTS_SUPPORT_LOG_PIPE_H
#define TESTS_SUPPORT_LOG_PIPE_H

#include <string.h>
#include <unistd.h>

#include "tests/support/harness.h"

/* Makes stderr a pipe. Returns the read end, which is non-blocking. */
static inline int capture(void)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	(void)close(ends[1]);
	set_nonblocking(ends[0]);
	return ends[0];
}

/* All that is in the pipe now. */
static inline const char *read_all(int fd)
{
	static char text[1 << 20];
	size_t n = 0;
	ssize_t part;

	while ((part = read(fd, text + n, sizeof text - 1 - n)) > 0)
		n += (size_t)part;
	text[n] = '\0';
	return text;
}

static inline size_t count(const char *text, const char *part)
{
	size_t n = 0;

	for (; (text = strstr(text, part)); text += strlen(part))
		n++;
	return n;
}

#endif
