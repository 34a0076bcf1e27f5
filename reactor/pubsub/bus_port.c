/*
 * What lies in shared memory, and who writes it:
 *
 *     header: how many seats are in use                         the master; the rest is fixed
 *     seat: state, wants_doorbell, wants_space, cursor[ring]    its reader (whoever rings takes
 *                                                               the wish for a doorbell back)
 *     ring: head, floor, records                                its writer
 *
 * A ring's positions only grow; a position's place is its remainder by ring_bytes. Records lie
 * in [floor, head); at head lies a header alone, with the number of the record that comes there.
 * Before a writer overwrites anything it raises the floor past it, and a reader looks at the floor
 * after it has copied: what it copied from below the floor may be torn, and does not count. That
 * is a seqlock whose writer never waits and holds nothing.
 *
 * Sleeping and waking are two stores and two loads that cross:
 *
 *     reader (bus_sleep)              writer (bus_publish, bus_announce)
 *       wants_doorbell = 1              head = more
 *       -- full fence --                -- full fence --
 *       look at head                    look at wants_doorbell
 *
 * In any order of these four at least one side sees what the other one stored: if both looks
 * missed, each would have come before the other side's store, and so before the store of its own
 * side, which the fences exclude. Whoever sees wants_doorbell takes it back with an exchange, so
 * that one sleep costs one doorbell. A writer that waits for space and the reader that makes some
 * do the same with wants_space and the cursor. A writer that dies between its store and its
 * look wakes nobody: therefore whoever reaps it rings all doorbells. One that does not have the
 * doorbell of a seat yet leaves the wish, and rings when it gets the doorbell.
 *
 * A seat comes into use before anybody sits there. A reader that does not know of it yet is waited
 * for: its cursor for that ring is 0, as fresh memory is. Readers look how many seats there are
 * behind their fence, too, so that the above holds for new seats.
 */
#include "reactor/pubsub/bus_parts.h"

#include <string.h>

#include "reactor/base/check.h"

static size_t round_up(size_t n, size_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* ---- records in a ring ---- */

static size_t record_size(size_t bytes)
{
	return round_up(sizeof(struct bus_record) + bytes, sizeof(struct bus_record));
}

/* Floor and head of one moment, between which records lie. False: no writer of ours made that
 * ring, and nothing is read from it. */
static bool ring_bounds(const struct bus *bus, const struct bus_ring *ring, uint64_t *floor,
			uint64_t *head)
{
	do {
		*floor = LOAD(ring->floor);
		*head = LOAD(ring->head);
	} while (LOAD(ring->floor) != *floor);
	return *floor <= *head && *head - *floor <= bus->ring_bytes;
}

/* A header never lies across the ring's end: the ring and all records are multiples of its size. */
static struct bus_record record_at(const struct bus *bus, const struct bus_ring *ring,
				   uint64_t position)
{
	struct bus_record record;

	position &= (bus->ring_bytes - 1) & ~(sizeof record - 1);
	memcpy(&record, ring->bytes + position, sizeof record);
	return record;
}

static void copy_in(const struct bus *bus, struct bus_ring *ring, uint64_t position,
		    const void *bytes, size_t n)
{
	size_t at = position & (bus->ring_bytes - 1);
	size_t first = n < bus->ring_bytes - at ? n : bus->ring_bytes - at;

	if (!n) /* then bytes may be NULL */
		return;
	memcpy(ring->bytes + at, bytes, first);
	memcpy(ring->bytes, (const char *)bytes + first, n - first);
}

static void copy_out(const struct bus *bus, const struct bus_ring *ring, uint64_t position,
		     void *bytes, size_t n)
{
	size_t at = position & (bus->ring_bytes - 1);
	size_t first = n < bus->ring_bytes - at ? n : bus->ring_bytes - at;

	memcpy(bytes, ring->bytes + at, first);
	memcpy((char *)bytes + first, ring->bytes, n - first);
}

/* ---- a seat ---- */

void bus_take_seat(struct bus_port *port, struct bus *bus, unsigned seat)
{
	struct bus_seat *own = seat_of(bus, seat);

	CHECK(seat < seats_in_use(bus));
	*port = (struct bus_port){.bus = bus, .seat = seat, .ring = seat};
	STORE(own->state, TAKEN);
	FULL_FENCE();
	/* Whoever writes meanwhile sees no reader here, or one that stands too far back. A head
	 * that has moved far by now is read anew, because nobody may have waited for us. */
	for (unsigned i = 0; i < seats_in_use(bus); i++) {
		const struct bus_ring *ring = ring_of(bus, i);

		do {
			port->at[i] = LOAD(ring->head);
			STORE(own->cursor[i], port->at[i]);
			port->expected[i] = record_at(bus, ring, port->at[i]).number;
			FULL_FENCE();
		} while (LOAD(ring->head) - port->at[i] > bus->ring_bytes / 4);
	}
	port->number = port->expected[seat];
}

uint32_t bus_serial(struct bus_port *port)
{
	return ++seat_of(port->bus, port->seat)->serial;
}

/* ---- writing ---- */

/* Is this reader one that a writer has to wait for? Then *cursor says where it stands. */
static bool is_reading(const struct bus_port *port, unsigned seat, uint64_t *cursor)
{
	const struct bus_seat *reader = seat_of(port->bus, seat);

	if (LOAD(reader->state) == VACANT)
		return false;
	*cursor = LOAD(reader->cursor[port->seat]);
	return *cursor >= ring_of(port->bus, port->seat)->floor;
}

/* May the ring be written up to there? A reader that was left behind may come back at any moment,
 * so it is looked for each time. */
static bool has_space(struct bus_port *port, uint64_t end)
{
	const struct bus *bus = port->bus;
	uint64_t cursor, slowest = ring_of(bus, port->seat)->head;
	bool left_behind = false;

	FULL_FENCE(); /* whoever takes a seat now sees our head, or we see that it is taken */
	for (unsigned i = 0, n = seats_in_use(bus); i < n; i++) {
		if (!is_reading(port, i, &cursor))
			left_behind |= LOAD(seat_of(bus, i)->state) != VACANT;
		else if (cursor < slowest)
			slowest = cursor;
	}
	port->limit = slowest + bus->ring_bytes;
	if (end > port->limit)
		return false;
	if (left_behind)
		port->limit = end;
	return true;
}

/* Raises it to the first record at or behind a position. */
static void raise_floor(const struct bus *bus, struct bus_ring *ring, uint64_t position)
{
	uint64_t floor = ring->floor;

	if (floor >= position)
		return;
	while (floor < position)
		floor += record_size(record_at(bus, ring, floor).bytes);
	STORE_RELAXED(ring->floor, floor < ring->head ? floor : ring->head);
	__atomic_thread_fence(__ATOMIC_RELEASE); /* before anything is overwritten */
}

bool bus_publish(struct bus_port *port, uint16_t topic, uint32_t sender, struct iovec first,
		 struct iovec second)
{
	const struct bus *bus = port->bus;
	struct bus_ring *ring = ring_of(bus, port->seat);
	struct bus_record record = {.number = port->number,
				    .sender = sender,
				    .topic = topic,
				    .bytes = (uint16_t)(first.iov_len + second.iov_len)};
	uint64_t head = ring->head;
	struct bus_record next = {.number = port->number + 1};
	uint64_t end = head + record_size(record.bytes), room = end + sizeof next;

	CHECK(first.iov_len + second.iov_len <= BUS_RECORD_MAX);
	port->wanted = room;
	if (room > port->limit && !has_space(port, room))
		return false;
	if (room > bus->ring_bytes)
		raise_floor(bus, ring, room - bus->ring_bytes);
	copy_in(bus, ring, head, &record, sizeof record);
	copy_in(bus, ring, head + sizeof record, first.iov_base, first.iov_len);
	copy_in(bus, ring, head + sizeof record + first.iov_len, second.iov_base, second.iov_len);
	copy_in(bus, ring, end, &next, sizeof next); /* whoever takes a seat counts from it */
	STORE(ring->head, end);
	port->number++;
	port->unannounced = true;
	return true;
}

/* Rings for the others that want it, and returns how many; `wants` is where their seats say so. */
static unsigned ring_doorbells(const struct bus_port *port, size_t wants)
{
	const struct bus *bus = port->bus;
	unsigned rung = 0;

	FULL_FENCE();
	for (unsigned i = 0, n = seats_in_use(bus); i < n; i++) {
		uint32_t *want = (uint32_t *)(void *)((char *)seat_of(bus, i) + wants);

		if (i == port->seat || !LOAD_RELAXED(*want) || bus->doorbells[i] < 0 ||
		    !__atomic_exchange_n(want, 0, __ATOMIC_SEQ_CST))
			continue;
		ring_doorbell(bus, i);
		rung++;
	}
	return rung;
}

unsigned bus_announce(struct bus_port *port)
{
	if (!port->unannounced)
		return 0;
	port->unannounced = false;
	return ring_doorbells(port, offsetof(struct bus_seat, wants_doorbell));
}

/* Has this reader not moved for BUS_PATIENCE_MS? anew: its time begins now. */
static bool is_overdue(struct bus_port *port, unsigned seat, uint64_t cursor, uint32_t now_ms,
		       bool anew)
{
	if (!anew && port->seen[seat].cursor == cursor)
		return now_ms - port->seen[seat].since_ms >= BUS_PATIENCE_MS;
	port->seen[seat].cursor = cursor;
	port->seen[seat].since_ms = now_ms;
	return false;
}

/* Leaves behind the readers in the way that are overdue and stand behind all that are not: the
 * floor must not rise past one that moves. */
static bool look_around(struct bus_port *port, uint32_t now_ms, bool anew, unsigned *left_behind)
{
	const struct bus *bus = port->bus;
	uint64_t cursor, overdue[BUS_SEATS_MAX], slowest = UINT64_MAX, floor = 0;
	unsigned overdue_n = 0;

	for (unsigned i = 0, n = seats_in_use(bus); i < n; i++) {
		if (!is_reading(port, i, &cursor) || cursor + bus->ring_bytes >= port->wanted)
			continue;
		/* Nobody leaves itself behind: what keeps it from reading keeps it from writing. */
		if (is_overdue(port, i, cursor, now_ms, anew) && i != port->seat)
			overdue[overdue_n++] = cursor;
		else if (cursor < slowest)
			slowest = cursor;
	}
	for (unsigned i = 0; i < overdue_n; i++) {
		if (overdue[i] >= slowest)
			continue;
		++*left_behind;
		if (overdue[i] >= floor)
			floor = overdue[i] + 1;
	}
	raise_floor(bus, ring_of(bus, port->seat), floor);
	return has_space(port, port->wanted);
}

bool bus_wait(struct bus_port *port, uint32_t now_ms)
{
	struct bus_seat *own = seat_of(port->bus, port->seat);
	unsigned none = 0;

	STORE(own->wants_space, 1);
	FULL_FENCE();
	if (!look_around(port, now_ms, true, &none))
		return true;
	STORE(own->wants_space, 0);
	return false;
}

bool bus_wait_on(struct bus_port *port, uint32_t now_ms, unsigned *left_behind)
{
	struct bus_seat *own = seat_of(port->bus, port->seat);

	STORE(own->wants_space, 1); /* whoever rang has taken it back */
	FULL_FENCE();
	if (!look_around(port, now_ms, false, left_behind))
		return false;
	STORE(own->wants_space, 0);
	return true;
}

void bus_say_last(struct bus_port *port)
{
	STORE(seat_of(port->bus, port->seat)->state, SAID_ALL);
	bus_ring_waiters(port->bus);
}

bool bus_all_said(struct bus_port *port, uint32_t now_ms)
{
	struct bus_seat *own = seat_of(port->bus, port->seat);
	bool all = true;

	STORE_RELAXED(own->looks, own->looks + 1);
	for (unsigned i = 0, n = seats_in_use(port->bus); i < n; i++) {
		const struct bus_seat *other = seat_of(port->bus, i);
		uint32_t looks = LOAD_RELAXED(other->looks);

		if (!port->looked || port->alive[i].looks != looks) {
			port->alive[i].looks = looks;
			port->alive[i].since_ms = now_ms;
		}
		if (LOAD(other->state) == TAKEN &&
		    now_ms - port->alive[i].since_ms < BUS_PATIENCE_MS)
			all = false;
	}
	port->looked = true;
	return all;
}

/* ---- reading ---- */

static void move_to(struct bus_port *port, unsigned ring, uint64_t position)
{
	port->at[ring] = position;
	if (!port->holds)
		STORE(seat_of(port->bus, port->seat)->cursor[ring], position);
}

/* The record where we stand in a ring, if there is one; if we were left behind, the first one from
 * the floor on. */
static bool peek_ring(struct bus_port *port, unsigned number, struct bus_record *record)
{
	const struct bus *bus = port->bus;
	struct bus_ring *ring = ring_of(bus, number);
	const uint64_t *at = &port->at[number];

	for (;;) {
		uint64_t floor, head;

		if (!ring_bounds(bus, ring, &floor, &head))
			return false;
		if (*at < floor)
			move_to(port, number, floor);
		if (*at >= head)
			return false;
		*record = record_at(bus, ring, *at);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (LOAD_RELAXED(ring->floor) > *at)
			continue;
		if (record->bytes <= BUS_RECORD_MAX && *at + record_size(record->bytes) <= head)
			return true;
		move_to(port, number, head); /* no writer of ours wrote that */
		return false;
	}
}

static unsigned next_ring(const struct bus_port *port, unsigned seats)
{
	unsigned next = port->ring + 1;

	return next < seats ? next : 0;
}

bool bus_peek(struct bus_port *port, struct bus_record *record)
{
	unsigned seats;

	if (peek_ring(port, port->ring, record))
		return true;
	seats = seats_in_use(port->bus);
	for (unsigned i = 1; i < seats; i++) {
		port->ring = next_ring(port, seats);
		if (peek_ring(port, port->ring, record))
			return true;
	}
	port->ring = next_ring(port, seats);
	return false;
}

bool bus_peek_in(struct bus_port *port, unsigned ring, struct bus_record *record)
{
	CHECK(ring < BUS_SEATS_MAX);
	port->ring = ring;
	return peek_ring(port, ring, record);
}

static bool copy_record(const struct bus_port *port, unsigned number,
			const struct bus_record *record, void *bytes)
{
	const struct bus_ring *ring = ring_of(port->bus, number);
	uint64_t at = port->at[number];

	copy_out(port->bus, ring, at + sizeof *record, bytes, record->bytes);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return LOAD_RELAXED(ring->floor) <= at;
}

bool bus_copy(const struct bus_port *port, const struct bus_record *record, void *bytes)
{
	return copy_record(port, port->ring, record, bytes);
}

bool bus_take(struct bus_port *port, const struct bus_record *record, void *bytes)
{
	unsigned ring = port->ring;
	uint64_t *expected = &port->expected[ring];

	if (!copy_record(port, ring, record, bytes))
		return false;
	if (record->number > *expected)
		port->missed += record->number - *expected;
	*expected = record->number + 1;
	move_to(port, ring, port->at[ring] + record_size(record->bytes));
	return true;
}

unsigned bus_rest(struct bus_port *port)
{
	port->ring = next_ring(port, seats_in_use(port->bus));
	return ring_doorbells(port, offsetof(struct bus_seat, wants_space));
}

bool bus_sleep(struct bus_port *port)
{
	struct bus_seat *own = seat_of(port->bus, port->seat);
	struct bus_record record;

	STORE(own->wants_doorbell, 1);
	FULL_FENCE();
	if (!bus_peek(port, &record))
		return true;
	STORE(own->wants_doorbell, 0);
	return false;
}

void bus_wake_up(struct bus_port *port)
{
	STORE(seat_of(port->bus, port->seat)->wants_doorbell, 0);
}

/* ---- reading again ---- */

void bus_hold(struct bus_port *port)
{
	port->holds = true;
}

void bus_let_go(struct bus_port *port)
{
	port->holds = false;
	for (unsigned i = 0, n = seats_in_use(port->bus); i < n; i++)
		move_to(port, i, port->at[i]);
}

uint64_t bus_head(const struct bus *bus, unsigned ring)
{
	return LOAD(ring_of(bus, ring)->head);
}

bool bus_read_again(struct bus_port *again, const struct bus_port *port, const uint64_t marks[],
		    unsigned n)
{
	unsigned seats = seats_in_use(port->bus);

	*again = (struct bus_port){.bus = port->bus, .seat = port->seat, .holds = true};
	for (unsigned i = 0; i < seats; i++) {
		const struct bus_ring *ring = ring_of(port->bus, i);
		uint64_t mark = i < n ? marks[i] : 0;

		if (mark > port->at[i])
			return false;
		again->at[i] = mark;
		again->expected[i] = port->expected[i];
		if (mark == port->at[i])
			continue;
		again->expected[i] = record_at(port->bus, ring, mark).number;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (LOAD_RELAXED(ring->floor) > mark)
			return false;
	}
	return true;
}

bool bus_read_all_again(const struct bus_port *again, const struct bus_port *port)
{
	for (unsigned i = 0, n = seats_in_use(port->bus); i < n; i++)
		if (again->at[i] != port->at[i] || again->expected[i] != port->expected[i])
			return false;
	return !again->missed;
}
