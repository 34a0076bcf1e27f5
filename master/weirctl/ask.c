#include "master/weirctl/ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/base/check.h"

#define BYTES_MAX (16384 + ANSWER_LINE_BYTES)

static const char *const not_understood = "the server says what weirctl does not understand";

void ask_begin(struct ask *ask, int fd, const char *request)
{
	char *bytes = ask->bytes ? ask->bytes : malloc(BYTES_MAX);

	if (!bytes)
		die("memory: %s", strerror(errno));
	*ask = (struct ask){.fd = fd, .bytes = bytes};
	/* If this fails, the answer says more: a server that refuses us says why without being
	 * asked. */
	(void)send(fd, request, strlen(request), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void ask_end(struct ask *ask)
{
	if (ask->fd >= 0)
		(void)close(ask->fd);
	ask->fd = -1;
}

static void take_line(struct ask *ask, const char *line)
{
	const struct answer_record *record;
	const struct log_field *why;

	if (ask->said)
		return;
	record = answer_line(&ask->answer, line);
	ask->said = !record || strcmp(record->kind, "done") == 0;
	if (!record) {
		ask->why = not_understood;
	} else if (strcmp(record->kind, "failed") == 0) {
		why = answer_field(record, "why");
		ask->why = why && why->text ? why->text : "the server does not say why";
		ask->said = true;
	}
}

/* Whole lines of what has come; what is left moves to the front. */
static void take_lines(struct ask *ask)
{
	char *line = ask->bytes, *end;

	while ((end = memchr(line, '\n', ask->n - (size_t)(line - ask->bytes)))) {
		*end = '\0';
		take_line(ask, line);
		line = end + 1;
	}
	ask->n -= (size_t)(line - ask->bytes);
	memmove(ask->bytes, line, ask->n);
}

bool ask_read(struct ask *ask)
{
	for (;;) {
		ssize_t n = recv(ask->fd, ask->bytes + ask->n, BYTES_MAX - ask->n, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0)
			break;
		ask->n += (size_t)n;
		take_lines(ask);
		if (ask->n == BYTES_MAX) {
			ask->why = not_understood;
			ask->said = true;
			break;
		}
	}
	if (!ask->said)
		ask->why = "the server ended before it had answered";
	ask_end(ask);
	return false;
}
