/*
 * seats: the bus, and its bells, as the master has them for all of its workers.
 *
 * It is made when the first listener wants a topic, or comes from the master before this one;
 * seats are never taken back. Workers that are there learn the bells of seats that come later.
 */
#ifndef MASTER_BUS_SETUP_H
#define MASTER_BUS_SETUP_H

#include "master/change/generation.h"
#include "master/change/upgrade.h"

/* The owner of the generations, whose bus it sets. Borrowed. */
void seats_init(struct generation_owner *owner);
/* So many are used from now on; a bus is made if the configuration needs one. 0 or -errno. */
int seats_use(const struct config *config, unsigned n);

/* ---- an upgrade ---- */

/* Fills in what of them the next master gets. 0 or -errno. */
int seats_bequeath(const struct config *config, struct upgrade_estate *estate);
/* A bell that the next master made: it stays that seat's, whatever becomes of that master. */
void seats_add_bell(unsigned seat, int fd);
/* In the next master: what the one before made goes on, with the seats that we need beside it. */
void seats_inherit(const struct upgrade_estate *estate, unsigned n);

#endif
