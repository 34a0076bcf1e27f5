/*
 * carried_counters: what was counted on the scoreboard of a master before this one, if its version
 * has other counters.
 *
 * After an upgrade to a version with one counter more, one fewer, or in another order, a new
 * scoreboard is made; counters that both versions know, by name and kind, go on from their values.
 * The processes of the master before still count on their own scoreboard until they end: whoever
 * shows counters calls carried_counters_look() first. Its workers may write there what they like:
 * the description is copied, and checked, before it is followed.
 */
#ifndef MASTER_METRICS_CARRIED_COUNTERS_H
#define MASTER_METRICS_CARRIED_COUNTERS_H

#include "worker/scoreboard.h"

/* Begins to carry the counters of the old scoreboard; takes fd. False: it can't be read. */
bool carried_counters_open(struct scoreboard *scoreboard, int fd);
/* Copies what the old scoreboard says now to the new one. If there is no old one, it does
 * nothing. */
void carried_counters_look(void);
/* The last process that counted there has gone: gauges are 0 from now on, and counters stay. */
void carried_counters_close(void);

#endif
