/*
 * journal_setup: the journal and its doorbells, which the master makes and keeps for all of its
 * workers.
 *
 * It is made when the first listener wants a topic, or comes from the master before this one; seats
 * are never taken back. Workers that are there learn the doorbells of seats that come later. Its
 * size stays as it was made, whatever a later configuration says. The master lets old records go,
 * as long as it serves.
 */
#ifndef MASTER_JOURNAL_SETUP_H
#define MASTER_JOURNAL_SETUP_H

#include "master/change/generation.h"
#include "master/change/upgrade.h"

/* The owner of the generations, whose journal it sets. Borrowed. */
void journal_setup_init(struct generation_owner *owner);
/* So many seats are in use from now on; makes a journal if the configuration needs one. 0 or
 * -errno. */
int journal_setup_use(const struct config *config, unsigned n);
/* Lets go of records that are too old, if this is the master that serves, by the configuration that
 * serves. It has a deadline of its own while there are any; so this is for when there may be some
 * again, or something else may serve. */
void journal_setup_look(void);

/* What is shown of it. Workers can write there whatever they like: these are numbers, and no more.
 */
struct journal_figures {
	bool there; /* else all is 0 */
	uint64_t history_bytes, bytes, records, age_us, published, voids;
};
struct journal_figures journal_setup_figures(void);

/* ---- an upgrade ---- */

/* Fills in what the next master gets of journal and doorbells. 0 or -errno. */
int journal_setup_export(const struct config *config, struct handover_state *handover);
/* A doorbell that the next master made: it stays that seat's, whatever becomes of that master. */
void journal_setup_add_doorbell(unsigned seat, int fd);
/* In the next master: what the one before made goes on, with the seats that we need beside it. */
void journal_setup_inherit(const struct handover_state *handover, unsigned n);

#endif
