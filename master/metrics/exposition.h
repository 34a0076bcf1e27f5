/*
 * exposition: a scrape as Prometheus' text, format 0.0.4, a piece at a time.
 *
 * A pure function of the scrape and of how far it is: no clock, no state, no allocation. Each
 * metric has its HELP and TYPE once, before its samples; a worker's samples have the label worker,
 * its slot. The master's own counters have worker="master", if they are not 0 and not of its loop:
 * what it counts of connections before it hands them over. Texts that come from outside are made
 * harmless: what is not printable ASCII becomes "?".
 */
#ifndef MASTER_METRICS_EXPOSITION_H
#define MASTER_METRICS_EXPOSITION_H

#include "master/metrics/scrape.h"

#define EXPOSITION_TYPE	    "text/plain; version=0.0.4; charset=utf-8"
#define EXPOSITION_ROOM_MIN 4096

struct exposition_place {
	uint32_t family, item; /* 0, 0: the beginning */
};

/* Writes whole lines, as many as have room, at least EXPOSITION_ROOM_MIN. Returns how many bytes;
 * 0: that was all. */
size_t exposition_write(const struct scrape *scrape, struct exposition_place *place, char *at,
			size_t room);
/* How long the whole text is. */
size_t exposition_bytes(const struct scrape *scrape);

#endif
