/*
 * top: asks a server once an interval, and shows what changed in between.
 *
 * On a terminal it is a live table, until q or a signal; elsewhere one table after one interval, or
 * as many as were asked for, as plain lines or JSON documents. It stays with the server if that
 * gets another pid (an upgrade), and keeps to its path if it has gone. Whatever ends it, the
 * terminal is as it was before.
 */
#ifndef MASTER_WEIRCTL_TOP_H
#define MASTER_WEIRCTL_TOP_H

#include <stdbool.h>
#include <stdint.h>

#include "master/weirctl/find.h"

struct top_plan {
	const char *control; /* NULL: the only server */
	bool json, counted;
	uint64_t interval_ms;
	uint64_t count;	     /* if counted; 0: without end */
	uint64_t timeout_ms; /* of an answer; 0: none */
};

/* Takes the connection. Returns the exit status. */
int top_run(const struct top_plan *plan, struct found found);

#endif
