/*
 * bus_room: seats of one bus in one process, for tests of the bus.
 *
 * The ring has the smallest size, so that it is full soon. A record's bytes are computed from its
 * seat and its number, so that a reader can tell whether it is whole.
 */
#ifndef TESTS_REACTOR_BUS_ROOM_H
#define TESTS_REACTOR_BUS_ROOM_H

#include <string.h>
#include <unistd.h>

#include "reactor/pubsub/bus.h"
#include "tests/reactor/pubsub/step.h"

#define RING_BYTES (1u << 16)
#define SEATS	   4

static struct bus bus;
static struct bus_port ports[SEATS];

static inline void open_room(unsigned seats)
{
	ck_assert_int_eq(bus_open(&bus, seats, RING_BYTES), 0);
	for (unsigned i = 0; i < seats; i++)
		bus_take_seat(&ports[i], &bus, i);
}

static inline void fill_record(void *bytes, size_t n, unsigned seat, uint64_t number)
{
	fill_random(bytes, n, number * BUS_SEATS_MAX + seat + 1);
}

/* Publishes n bytes in two parts, which are cut anywhere. */
static inline bool say(struct bus_port *port, size_t n)
{
	static unsigned char bytes[BUS_RECORD_MAX];
	size_t first = port->number % (n + 1);

	fill_record(bytes, n, port->seat, port->number);
	return bus_publish(port, (uint16_t)port->number, port->seat, (struct iovec){bytes, first},
			   (struct iovec){bytes + first, n - first});
}

/* Whether these are all bytes of the record that was published. */
static inline bool is_whole(const struct bus_record *record, const void *bytes, unsigned seat)
{
	static unsigned char said[BUS_RECORD_MAX];

	fill_record(said, record->bytes, seat, record->number);
	return record->sender == seat && record->topic == (uint16_t)record->number &&
	       memcmp(said, bytes, record->bytes) == 0;
}

static inline bool hear(struct bus_port *port, struct bus_record *record)
{
	static unsigned char bytes[BUS_RECORD_MAX];

	if (!bus_peek(port, record))
		return false;
	MUST(bus_take(port, record, bytes));
	MUST(is_whole(record, bytes, port->ring));
	return true;
}

static inline unsigned long hear_all(struct bus_port *port)
{
	struct bus_record record;
	unsigned long n = 0;

	while (hear(port, &record))
		n++;
	return n;
}

static inline unsigned long say_until_full(struct bus_port *port, size_t n)
{
	unsigned long said = 0;

	while (say(port, n))
		said++;
	return said;
}

static inline uint64_t doorbells_rung(unsigned seat)
{
	uint64_t n;

	return read(bus.doorbells[seat], &n, sizeof n) == sizeof n ? n : 0;
}

static inline bool wait_on(struct bus_port *port, uint32_t at_ms, unsigned expected)
{
	unsigned left_behind = 0;
	bool space = bus_wait_on(port, at_ms, &left_behind);

	ck_assert_uint_eq(left_behind, expected);
	return space;
}

#endif
