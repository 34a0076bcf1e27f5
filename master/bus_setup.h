/*
 * bus_setup: the bus and its doorbells, which the master makes and keeps for all of its workers.
 *
 * It is made when the first listener wants a topic, or comes from the master before this one; seats
 * are never taken back. Workers that are there learn the doorbells of seats that come later.
 */
#ifndef MASTER_BUS_SETUP_H
#define MASTER_BUS_SETUP_H

#include "master/change/generation.h"
#include "master/change/upgrade.h"

/* The owner of the generations, whose bus it sets. Borrowed. */
void bus_setup_init(struct generation_owner *owner);
/* So many seats are in use from now on; makes a bus if the configuration needs one. 0 or -errno. */
int bus_setup_use(const struct config *config, unsigned n);

/* ---- an upgrade ---- */

/* Fills in what the next master gets of bus and doorbells. 0 or -errno. */
int bus_setup_export(const struct config *config, struct handover_state *handover);
/* A doorbell that the next master made: it stays that seat's, whatever becomes of that master. */
void bus_setup_add_doorbell(unsigned seat, int fd);
/* In the next master: what the one before made goes on, with the seats that we need beside it. */
void bus_setup_inherit(const struct handover_state *handover, unsigned n);

#endif
