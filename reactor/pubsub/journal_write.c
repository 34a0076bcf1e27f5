/*
 * How a record becomes part of the order, and why nobody can be in the way.
 *
 *     draft    a writer writes the record into a segment that it alone owns
 *     commit   one compare-and-swap of the next id's slot, from what a lap before left there to
 *              where the record lies: it is published, whole, with all readers agreeing on its id
 *     head     moved behind it, by its writer or by any other: it is only where to begin looking
 *
 * Nothing is reserved, so nothing can be left half made in the order: a writer that is killed, or
 * stopped for however long, is either before the swap and has said nothing, or after it and has
 * said all. One that loses the swap tries the next id with the same record. Somebody's swap has
 * succeeded then, so all together always get on.
 *
 * A stopped writer that goes on much later must not overwrite what others have written meanwhile.
 * It may write to no more than this: its segment, which stays its own until it closes it, or
 * whoever reaped it does; a slot, by a swap that expects what it read there, which fails if
 * somebody has used it since, because slots say whose lap it is; the floor and the head, by swaps
 * that only raise them; its seat, which is nobody else's.
 *
 * A writer that needs a segment takes one whose records are gone already, or one that was never
 * used as long as the history has room, or the one whose records are the oldest: then the floor is
 * raised past all of them first, so that readers know, and the segment's state is swapped from what
 * it was then. When the oldest was closed, all others may have been begun, but no more than one for
 * each seat: of all that are closed by now, as many as the history has beyond these were written
 * since. So the history is whole if one segment for each seat is kept beyond it, and with those
 * that seats own it takes at most two for each.
 *
 *     free --> owned by a seat --> closed, all records below an id --> owned by a seat ...
 *
 * Whoever takes a seat goes on in the segment that its last process has left there.
 */
#include "reactor/pubsub/journal_parts.h"

#include <errno.h>
#include <string.h>

#include "reactor/base/check.h"

#define SEGMENT_UNITS (JOURNAL_SEGMENT / RECORD_UNIT)

/* ---- segments ---- */

static bool segment_swap(const struct journal *journal, uint32_t segment, uint64_t from,
			 uint64_t to)
{
	return __atomic_compare_exchange_n(&segment_states(journal)[segment], &from, to, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* All that its owner has published is below the end by now. */
static void segment_close(const struct journal *journal, uint32_t segment)
{
	STORE(segment_states(journal)[segment],
	      SEGMENT_STATE(SEGMENT_CLOSED, journal_end(journal) - journal->first));
}

/* The segment that is to be taken next, and its state; JOURNAL_NO_SEGMENT: others own them all. */
static uint32_t segment_choose(const struct journal *journal, uint64_t *state)
{
	uint64_t floor = journal_floor(journal) - journal->first, oldest = UINT64_MAX;
	uint32_t unused = JOURNAL_NO_SEGMENT, closed = JOURNAL_NO_SEGMENT, closed_n = 0;
	uint32_t enough = journal->segments_max + seats_in_use(journal);

	for (uint32_t i = 0; i < journal->segments; i++) {
		uint64_t now = LOAD(segment_states(journal)[i]);

		if (now == SEGMENT_STATE(SEGMENT_FREE, 0) && unused == JOURNAL_NO_SEGMENT)
			unused = i;
		if (SEGMENT_KIND(now) != SEGMENT_CLOSED)
			continue;
		closed_n++;
		if (now < oldest) {
			oldest = now;
			closed = i;
		}
	}
	if (closed != JOURNAL_NO_SEGMENT && (SEGMENT_VALUE(oldest) <= floor || closed_n >= enough ||
					     unused == JOURNAL_NO_SEGMENT)) {
		*state = oldest;
		return closed;
	}
	*state = SEGMENT_STATE(SEGMENT_FREE, 0);
	return unused;
}

static bool segment_take(struct journal_port *port)
{
	struct journal *journal = port->journal;
	uint64_t ours = SEGMENT_STATE(SEGMENT_OWNED, port->seat), state;

	if (port->segment != JOURNAL_NO_SEGMENT)
		segment_close(journal, port->segment);
	port->used = 0;
	STORE(seat_of(journal, port->seat)->used, 0); /* after that: else it would be overwritten */
	do {
		port->segment = segment_choose(journal, &state);
		if (port->segment == JOURNAL_NO_SEGMENT)
			return false;
		if (SEGMENT_KIND(state) == SEGMENT_CLOSED)
			journal_raise_floor(journal, journal->first + SEGMENT_VALUE(state));
	} while (!segment_swap(journal, port->segment, state, ours));
	/* What is written there comes after the floor, whoever raised it: readers look at the floor
	 * last. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	return true;
}

/* ---- seats ---- */

/*
 * What a seat says of its draft is what it swaps into a slot, so that whoever finds the seat left
 * can tell whether it did. When others come round to that slot, nobody could tell that any more:
 * so these take back what the seat says before they use the slot. They do so only while the record
 * that they replace is the one at that place.
 */
static void draft_was_published(const struct journal *journal, uint64_t id, uint64_t slot)
{
	const unsigned char *at = record_at(journal, (uint32_t)slot);
	uint64_t state, seat;

	if (!at)
		return;
	state = LOAD(segment_states(journal)[((uint32_t)slot - 1) / SEGMENT_UNITS]);
	seat = SEGMENT_VALUE(state);
	if (SEGMENT_KIND(state) != SEGMENT_OWNED || seat >= JOURNAL_SEATS_MAX ||
	    LOAD_RELAXED(((const struct journal_record *)(const void *)at)->id) != id)
		return;
	(void)__atomic_compare_exchange_n(&seat_of(journal, (unsigned)seat)->draft, &slot, 0, false,
					  __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* Did a seat that was left publish a draft of which it still speaks? If not, that is void. The slot
 * is read first: if it is used again, then the draft was taken back before. */
static bool draft_clear(struct journal *journal, uint64_t *draft)
{
	uint64_t said = LOAD(*draft), slot = 0;
	const unsigned char *at = record_at(journal, (uint32_t)said);

	if (at)
		slot = LOAD(*slot_of(
		    journal, LOAD_RELAXED(((const struct journal_record *)(const void *)at)->id)));
	if (!__atomic_exchange_n(draft, 0, __ATOMIC_RELAXED))
		return false;
	if (slot != said)
		(void)__atomic_add_fetch(&header_of(journal)->voids, 1, __ATOMIC_RELAXED);
	return slot == said;
}

/* The segment of a seat that was left, and in *used how much of it is written: whoever sits there
 * next goes on behind that, so that many short lives do not use up the history. If its writer ended
 * just after it had published, it has not said how much that is: then it is closed. */
static uint32_t writer_clear(struct journal *journal, unsigned seat, uint32_t *used)
{
	struct journal_seat *own = seat_of(journal, seat);
	uint64_t owned = SEGMENT_STATE(SEGMENT_OWNED, seat);
	bool sure = !draft_clear(journal, &own->draft);
	uint32_t segment = JOURNAL_NO_SEGMENT;

	*used = LOAD(own->used);
	sure = sure && *used % RECORD_UNIT == 0 && *used <= JOURNAL_SEGMENT;
	for (uint32_t i = 0; i < journal->segments; i++) {
		if (LOAD(segment_states(journal)[i]) != owned)
			continue;
		if (sure && segment == JOURNAL_NO_SEGMENT)
			segment = i;
		else
			segment_close(journal, i);
	}
	return segment;
}

void journal_vacate(struct journal *journal, unsigned seat)
{
	struct journal_seat *own = seat_of(journal, seat);
	uint32_t used;

	(void)writer_clear(journal, seat, &used);
	STORE(own->state, VACANT);
	STORE(own->wants_doorbell, 0);
}

void journal_take_seat(struct journal_port *port, struct journal *journal, unsigned seat)
{
	struct journal_seat *own = seat_of(journal, seat);

	CHECK(seat < JOURNAL_SEATS_MAX);
	*port = (struct journal_port){.journal = journal, .seat = seat};
	for (unsigned i = 0; i < JOURNAL_SEATS_MAX; i++) /* seen when we first look */
		port->seen[i].turns = LOAD_RELAXED(seat_of(journal, i)->turns) - 1;
	port->segment = writer_clear(journal, seat, &port->used);
	STORE(own->wants_doorbell, 0);
	STORE(own->cursor, journal_end(journal));
	STORE(own->state, TAKEN);
}

void journal_leave_seat(struct journal_port *port)
{
	port->draft_bytes = 0;
	port->segment = JOURNAL_NO_SEGMENT;
	journal_vacate(port->journal, port->seat);
}

uint64_t journal_serial(const struct journal *journal)
{
	return __atomic_add_fetch(&header_of(journal)->serial, 1, __ATOMIC_RELAXED);
}

/* ---- records ---- */

static uint32_t draft_place(const struct journal_port *port)
{
	uint64_t at = (uint64_t)port->segment * JOURNAL_SEGMENT + port->used;

	return (uint32_t)(at / RECORD_UNIT) + 1;
}

static struct journal_record *draft_record(const struct journal_port *port)
{
	return (struct journal_record *)(void *)(segment_bytes(port->journal) +
						 (size_t)port->segment * JOURNAL_SEGMENT +
						 port->used);
}

static unsigned char *put(unsigned char *to, struct iovec bytes)
{
	if (bytes.iov_len) /* else there may be none to point at */
		memcpy(to, bytes.iov_base, bytes.iov_len);
	return to + bytes.iov_len;
}

int journal_draft(struct journal_port *port, const struct journal_message *message)
{
	size_t payload_n = message->payload[0].iov_len + message->payload[1].iov_len;
	size_t bytes = sizeof(struct journal_record) + message->name.iov_len +
		       message->type.iov_len + payload_n;
	struct journal_record *record;
	unsigned char *to;

	CHECK(message->name.iov_len && message->name.iov_len <= JOURNAL_TOPIC_MAX &&
	      message->type.iov_len <= JOURNAL_TYPE_MAX && payload_n <= JOURNAL_PAYLOAD_MAX);
	bytes = (bytes + RECORD_UNIT - 1) & ~(size_t)(RECORD_UNIT - 1);
	port->draft_bytes = 0;
	STORE_RELAXED(seat_of(port->journal, port->seat)->draft, 0);
	if ((port->segment == JOURNAL_NO_SEGMENT || port->used + bytes > JOURNAL_SEGMENT) &&
	    !segment_take(port))
		return -ENOSPC;
	STORE_RELAXED(seat_of(port->journal, port->seat)->draft, draft_place(port));
	record = draft_record(port);
	*record = (struct journal_record){.topic = message->topic,
					  .sender = message->sender,
					  .said_us = message->said_us,
					  .payload_n = (uint32_t)payload_n,
					  .name_n = (uint8_t)message->name.iov_len,
					  .type_n = (uint8_t)message->type.iov_len};
	to = put((unsigned char *)(record + 1), message->name);
	to = put(to, message->type);
	to = put(to, message->payload[0]);
	(void)put(to, message->payload[1]);
	port->draft_bytes = (uint32_t)bytes;
	return 0;
}

/* The slot is that of a record of a lap before, which is gone before another takes its place. */
static void slot_clear(const struct journal *journal, uint64_t id, uint64_t before)
{
	uint64_t slots = UINT64_C(1) << journal->slots_shift;

	if (id - journal->first < slots)
		return;
	draft_was_published(journal, id - slots, before);
	if (journal_floor(journal) <= id - slots)
		journal_raise_floor(journal, id - slots + 1 + slots / 64); /* not for each record */
}

static void head_raise(const struct journal *journal, uint64_t id)
{
	uint64_t *head = &header_of(journal)->head, now = LOAD_RELAXED(*head);

	while (now < id && !__atomic_compare_exchange_n(head, &now, id, true, __ATOMIC_RELEASE,
							__ATOMIC_RELAXED))
		continue;
}

/* For journal_may_go_on(): where the last parts of what was written here began. */
static void count_ahead(struct journal_port *port, uint64_t id)
{
	const struct journal *journal = port->journal;
	uint64_t share =
	    (uint64_t)journal->segments_max * JOURNAL_SEGMENT / 2 / seats_in_use(journal);
	uint64_t part = share / JOURNAL_AHEAD_PARTS;

	/* A slot is as scarce as that many bytes. */
	port->ahead_bytes +=
	    port->draft_bytes > JOURNAL_RECORD_BYTES ? port->draft_bytes : JOURNAL_RECORD_BYTES;
	for (unsigned n = 0; port->ahead_bytes >= part && n < JOURNAL_AHEAD_PARTS; n++) {
		port->ahead_bytes -= (uint32_t)part;
		port->ahead_at = (port->ahead_at + 1) % JOURNAL_AHEAD_PARTS;
		port->ahead[port->ahead_at] = id + 1;
		port->looks = true;
	}
	if (port->ahead_bytes >= part) /* a record that is longer than all parts */
		port->ahead_bytes = 0;
}

/* A writer may have been stopped since it said this. Times must not fall along the order: else what
 * is searched by time is not found, and what is new would be forgotten with it. */
static void keep_time(const struct journal_port *port, uint64_t id, struct journal_record *record)
{
	uint64_t before_us = port->last_us;
	struct journal_entry before;

	if (port->last != id - 1) /* it is not ours */
		before_us = journal_find(port->journal, id - 1, &before) == JOURNAL_FOUND
				? before.said_us
				: 0;
	if (before_us > record->said_us)
		record->said_us = before_us;
}

bool journal_commit(struct journal_port *port, uint64_t id, uint64_t previous, uint64_t number)
{
	const struct journal *journal = port->journal;
	struct journal_seat *own = seat_of(journal, port->seat);
	struct journal_record *record = draft_record(port);
	uint64_t *slot = slot_of(journal, id), before = LOAD(*slot);
	uint64_t after = slot_value(journal, id, record->topic, draft_place(port));

	CHECK(port->draft_bytes);
	/* The lap alone does not say it to one who was stopped for half of all laps that there are.
	 */
	if (slot_compare(journal, id, before) >= 0 || journal_floor(journal) > id)
		return false;
	slot_clear(journal, id, before);
	record->id = id;
	record->previous = previous;
	record->number = number;
	keep_time(port, id, record);
	STORE(own->draft, after);
	if (!__atomic_compare_exchange_n(slot, &before, after, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return false;
	head_raise(journal, id + 1);
	count_ahead(port, id);
	port->used += port->draft_bytes;
	port->draft_bytes = 0;
	STORE(own->used, port->used);
	port->last = id;
	port->last_us = record->said_us;
	STORE(own->draft, 0);
	port->unannounced = true;
	return true;
}

/* If we are not the next, somebody else was, and the end has moved: else the memory is not what we
 * take it for. */
uint64_t journal_append(struct journal_port *port)
{
	uint64_t last = 0, id;

	while ((id = journal_end(port->journal)) > last) {
		if (journal_commit(port, id, 0, 0))
			return id;
		last = id;
	}
	return 0;
}
