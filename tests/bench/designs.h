/*
 * designs: a server of bench/designs, started for a test.
 *
 * The harness starts whatever $WEIR names, so that is set to the design. It serves one listener, on
 * 127.0.0.1, at server->ports[0].
 */
#ifndef TESTS_BENCH_DESIGNS_H
#define TESTS_BENCH_DESIGNS_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/harness.h"

#define DESIGN_LAUNCH(...) design_launch((const char *const[]){__VA_ARGS__, NULL})

/* Chooses the design that is launched from now on. */
static inline void design_choose(const char *name)
{
	char below[64];
	const char *path;

	(void)snprintf(below, sizeof below, "designs/%s", name);
	path = built(below);
	ck_assert_msg(access(path, X_OK) == 0, "%s is not built: make designs", path);
	(void)setenv("WEIR", path, 1);
}

/* Starts the design. Returns when it serves. */
static inline struct server *design_launch(const char *const arguments[])
{
	struct server *server = server_launch(arguments);
	const char *port;

	server_wait_log(server, "msg=ready");
	while (server->log[server->log_n - 1] != '\n')
		server_wait_log(server, "\n");
	port = strstr(server->log, "127.0.0.1:");
	ck_assert_ptr_nonnull(port);
	server->ports[0] = (unsigned)strtoul(port + strlen("127.0.0.1:"), NULL, 10);
	return server;
}

/* Ends a design by TERM, which has its default action there. */
static inline void design_stop(struct server *server)
{
	ck_assert_int_eq(server_stop(server, SIGTERM), 128 + SIGTERM);
}

/* Finds a process' children, zombies included. Returns how many there are. */
static inline size_t design_children(pid_t pid, pid_t *children, size_t max)
{
	char path[64];
	size_t n = 0;
	FILE *file;
	int child;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	while (n < max && fscanf(file, "%d", &child) == 1)
		children[n++] = child;
	(void)fclose(file);
	return n;
}

/* What increment answers to these bytes: an independent implementation, without state. */
static inline size_t design_incremented(unsigned char *out, const unsigned char *in, size_t n)
{
	bool inside = false;
	size_t out_n = 0;

	out[out_n++] = '*';
	for (size_t i = 0; i < n; i++) {
		if (inside && in[i] != '$')
			out[out_n++] = (unsigned char)(in[i] + 1);
		else if (in[i] == (inside ? '$' : '^'))
			inside = !inside;
	}
	return out_n;
}

#endif
