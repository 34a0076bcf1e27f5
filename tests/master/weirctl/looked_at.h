/*
 * looked_at: for tests of `weirctl top`, the server that it looks at (one at a time), and functions
 * that read its output.
 */
#ifndef TESTS_MASTER_WEIRCTL_LOOKED_AT_H
#define TESTS_MASTER_WEIRCTL_LOOKED_AT_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/ctl.h"

static struct server *server;
static char path[100];

static inline void start(void)
{
	(void)snprintf(path, sizeof path, "%s", in_folder("control"));
	server =
	    SERVER("--workers", "2", "--control", path, "echo://127.0.0.1:0", "line://127.0.0.1:0");
}

static inline void stop(void)
{
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

#define LAUNCH(...) CTL_LAUNCH("--control", path, "--timeout", "60s", __VA_ARGS__)
#define ASK(...)    ctl_outcome(LAUNCH(__VA_ARGS__))

/* The number after the next "KEY": at or after `at`. */
static inline double number_of(const char *at, const char *key)
{
	char text[80];

	(void)snprintf(text, sizeof text, "\"%s\":", key);
	at = strstr(at, text);
	ck_assert_msg(at != NULL, "no %s", text);
	return strtod(at + strlen(text), NULL);
}

static inline const char *worker_row(const char *line, unsigned worker)
{
	char text[32];
	const char *row;

	(void)snprintf(text, sizeof text, "{\"worker\":%u,", worker);
	row = strstr(line, text);
	ck_assert_ptr_nonnull(row);
	return row;
}

#endif
