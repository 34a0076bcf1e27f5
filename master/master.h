/*
 * master: keeps the workers that there should be, and ends with them.
 *
 * One more program on the loop: signals, channels and timers are its sources, the roster
 * decides, and what it decides is done here. It never touches a connection, but where it
 * hands them over.
 */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H

#include "master/listen.h"
#include "worker/board.h"
#include "worker/identity.h"

struct master_setup {
	const struct config *config;
	const struct identity *identity; /* NULL: workers stay what the master is */
	struct listen_set *set;
	struct board *board;
	struct bus *bus; /* NULL: no listener has a topic */
};

/* Until it is stopped; the process' exit status. */
int master_run(const struct master_setup *setup);

/* What happened, in the end, over all slots: every counter that is not 0. */
void master_log_totals(const struct board *board, size_t slots, const struct stats *own);
/* The ready line. */
void master_log_ready(const struct config *config);

#endif
