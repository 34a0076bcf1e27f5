/*
 * carried: what was counted on the scoreboard of a master before this one, whose counters are
 * others.
 *
 * After an upgrade to a version with one counter more, one fewer, or in another order, a new
 * scoreboard is made; what both versions know, by its name and kind, goes on from where it was. The
 * processes of the master before still count on their own scoreboard until they end: whoever shows
 * counters has it looked at first. Its workers may write there what they like: the
 * description is copied, and checked, before it is followed.
 */
#ifndef MASTER_METRICS_CARRIED_COUNTERS_H
#define MASTER_METRICS_CARRIED_COUNTERS_H

#include "worker/scoreboard.h"

/* Of the scoreboard that fd is, which is taken over. False: it can't be read. */
bool carried_open(struct scoreboard *scoreboard, int fd);
/* Has the new scoreboard say what the old one says now. Where there is none, it does nothing. */
void carried_look(void);
/* The last of those who counted there has gone: so nothing is there now, and the rest stays. */
void carried_close(void);

#endif
