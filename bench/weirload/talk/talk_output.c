#include "bench/weirload/talk/talk_output.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

int talk_output_complain(const struct talk *talk, const char *format, ...)
{
	va_list arguments;

	(void)fprintf(stderr, "weirload: %s: ", talk->name);
	va_start(arguments, format);
	(void)vfprintf(stderr, format, arguments);
	va_end(arguments);
	(void)fputc('\n', stderr);
	return 1;
}

bool talk_output_some(struct talk *talk)
{
	size_t n = byte_queue_n(&talk->print);
	ssize_t written =
	    write(STDOUT_FILENO, talk->print.at + talk->print.begin, n < PIPE_BUF ? n : PIPE_BUF);

	if (written < 0)
		return errno == EINTR || errno == EAGAIN;
	byte_queue_take(&talk->print, (size_t)written);
	return true;
}

bool talk_output_all(struct talk *talk)
{
	while (byte_queue_n(&talk->print)) {
		struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

		if (poll(&out, 1, -1) > 0 && !talk_output_some(talk))
			return false;
	}
	return true;
}
