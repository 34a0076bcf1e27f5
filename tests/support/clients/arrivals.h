/* arrivals: many connections to a server of two workers, for tests of which worker gets them. */
#ifndef TESTS_SUPPORT_CLIENTS_ARRIVALS_H
#define TESTS_SUPPORT_CLIENTS_ARRIVALS_H

#include <stdio.h>

#include "tests/support/harness.h"

#define WORKERS 2

static inline void figure(const char *what, const char *mode, double value, const char *unit)
{
	(void)printf("FIGURE %s, %s: %.3f %s\n", what, mode, value, unit);
	(void)fflush(stdout);
}

static inline struct server *start(const char *mode)
{
	raise_descriptor_limit();
	return SERVER("--workers", "2", "--accept", mode, "--drain-timeout", "1h",
		      "echo://0.0.0.0:0");
}

static inline int connect_nth(const struct server *server, unsigned n)
{
	char host[32];

	/* One address with half of its ports in use makes connect() search. */
	(void)snprintf(host, sizeof host, "127.0.0.%u", 1 + n % 16);
	return connect_to_host(host, server->ports[0]);
}

#endif
