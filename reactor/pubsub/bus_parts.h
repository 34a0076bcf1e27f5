/*
 * bus_parts: what the files of the bus' room share, and nobody else may use.
 *
 *     bus.c       the memory, its seats and their doorbells
 *     bus_port.c  a seat as its process sees it: writing and reading
 *
 * How they stay right without a lock is said in bus_port.c.
 */
#ifndef REACTOR_PUBSUB_BUS_PARTS_H
#define REACTOR_PUBSUB_BUS_PARTS_H

#include "reactor/pubsub/bus.h"

#define CACHE_LINE 64

struct bus_header {
	uint64_t magic, ring_bytes;
	uint32_t layout, seats_max;
	_Alignas(CACHE_LINE) uint32_t seats; /* in use */
};

struct bus_ring {
	_Alignas(CACHE_LINE) uint64_t head; /* published up to here */
	uint64_t floor;			    /* records below are gone */
	_Alignas(CACHE_LINE) unsigned char bytes[];
};

enum { VACANT, TAKEN, SAID_ALL };

struct bus_seat {
	_Alignas(CACHE_LINE) uint32_t state;
	uint32_t wants_doorbell, wants_space;
	uint32_t looks;			/* how often it has called bus_all_said() */
	uint32_t serial;		/* of the last one that was given */
	uint64_t cursor[BUS_SEATS_MAX]; /* in each ring */
};

_Static_assert(sizeof(struct bus_record) == 16, "headers are aligned in the ring");

#define LOAD(field)		    __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define STORE(field, value)	    __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
#define LOAD_RELAXED(field)	    __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE_RELAXED(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)
#define FULL_FENCE()		    __atomic_thread_fence(__ATOMIC_SEQ_CST)

static inline struct bus_header *header_of(const struct bus *bus)
{
	return (struct bus_header *)(void *)bus->memory;
}

static inline struct bus_seat *seat_of(const struct bus *bus, unsigned seat)
{
	return (struct bus_seat *)(void *)(bus->memory + sizeof(struct bus_header)) + seat;
}

static inline struct bus_ring *ring_of(const struct bus *bus, unsigned seat)
{
	char *rings = (char *)seat_of(bus, BUS_SEATS_MAX);

	return (struct bus_ring *)(void *)(rings +
					   seat * (sizeof(struct bus_ring) + bus->ring_bytes));
}

/* No more than there is memory for, whatever the header says. */
static inline unsigned seats_in_use(const struct bus *bus)
{
	uint32_t seats = LOAD(header_of(bus)->seats);

	return seats - 1 < BUS_SEATS_MAX ? seats : BUS_SEATS_MAX;
}

/* bus.c: does nothing if this process does not have the doorbell. */
void ring_doorbell(const struct bus *bus, unsigned seat);

#endif
