/*
 * master: keeps as many workers as there should be, and ends with them.
 *
 * One more program on the loop: signals, channels and timers are its sources, the roster decides,
 * and what it decides is done here. It never touches a connection, unless it accepts for workers
 * (handoff.h).
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include "master/change/generation.h"
#include "master/change/upgrade.h"

struct master_setup {
	struct generation *first; /* its configuration is read, its sockets are open */
	struct scoreboard *scoreboard;
	int scoreboard_fd;
	const struct handover_state *handover; /* NULL: no master was before this one */
};

/* Runs until it is stopped. Returns the process' exit status. */
int master_run(const struct master_setup *setup);

/* The last line of the log: every counter that is not 0, over all seats. */
void master_log_totals(const struct scoreboard *scoreboard, const struct stats *own);
/* The ready line. */
void master_log_ready(const struct config *config);

#endif
