/*
 * Reading: nothing here waits, or trusts what is read. A record is copied, and then the floor is
 * looked at: a record below it may have been overwritten meanwhile, and does not count. That is a
 * seqlock whose writers raise the floor before they overwrite anything (journal_write.c).
 */
#include "reactor/pubsub/journal_parts.h"

#include <string.h>

#include "reactor/base/sys.h"

/* ---- from where to where ---- */

uint64_t journal_floor(const struct journal *journal)
{
	return LOAD(header_of(journal)->floor);
}

/* A writer that has ended, or is stopped, may not have moved the head: so we look behind it, as far
 * as if that had happened to all there can be at once, and more. What does not end there was
 * written by somebody else. */
#define LOOK_BEHIND_HEAD (4 * JOURNAL_SEATS_MAX)

uint64_t journal_end(const struct journal *journal)
{
	uint64_t id = LOAD(header_of(journal)->head);

	for (unsigned n = 0; n < LOOK_BEHIND_HEAD; n++) {
		int other = slot_compare(journal, id, LOAD(*slot_of(journal, id)));

		if (other < 0)
			break;
		id = other ? LOAD(header_of(journal)->head) : id + 1;
	}
	return id;
}

void journal_raise_floor(const struct journal *journal, uint64_t id)
{
	uint64_t *floor = &header_of(journal)->floor, now = LOAD(*floor);
	uint64_t end = now < id ? journal_end(journal) : id;

	if (id > end)
		id = end;
	while (now < id && !__atomic_compare_exchange_n(floor, &now, id, true, __ATOMIC_ACQ_REL,
							__ATOMIC_ACQUIRE))
		continue;
}

/* ---- records ---- */

bool journal_holds(const struct journal *journal, uint64_t id)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE); /* after what was copied */
	return LOAD_RELAXED(header_of(journal)->floor) <= id;
}

const unsigned char *record_at(const struct journal *journal, uint32_t place)
{
	uint64_t at = ((uint64_t)place - 1) * RECORD_UNIT;

	if (!place || at >= (uint64_t)journal->segments * JOURNAL_SEGMENT ||
	    at % JOURNAL_SEGMENT + sizeof(struct journal_record) > JOURNAL_SEGMENT)
		return NULL;
	return segment_bytes(journal) + at;
}

static bool record_fits(const struct journal *journal, const unsigned char *at,
			const struct journal_record *record)
{
	size_t room = JOURNAL_SEGMENT - (size_t)(at - segment_bytes(journal)) % JOURNAL_SEGMENT -
		      sizeof *record;

	return record->name_n <= JOURNAL_TOPIC_MAX && record->type_n <= JOURNAL_TYPE_MAX &&
	       record->payload_n <= JOURNAL_PAYLOAD_MAX &&
	       (size_t)record->name_n + record->type_n + record->payload_n <= room;
}

enum journal_found journal_find(const struct journal *journal, uint64_t id,
				struct journal_entry *entry)
{
	uint64_t slot = LOAD(*slot_of(journal, id));
	int other = slot_compare(journal, id, slot);
	struct journal_record record;
	const unsigned char *at;

	if (journal_floor(journal) > id)
		return JOURNAL_GONE;
	if (other)
		return other < 0 ? JOURNAL_NOT_YET : JOURNAL_GONE;
	at = record_at(journal, (uint32_t)slot);
	if (!at)
		return JOURNAL_GONE;
	memcpy(&record, at, sizeof record);
	if (!journal_holds(journal, id) || record.id != id || !record_fits(journal, at, &record))
		return JOURNAL_GONE;
	*entry = (struct journal_entry){.id = id,
					.topic = record.topic,
					.previous = record.previous,
					.number = record.number,
					.sender = record.sender,
					.said_us = record.said_us,
					.payload_n = record.payload_n,
					.name_n = record.name_n,
					.type_n = record.type_n,
					.bytes = at + sizeof record};
	return JOURNAL_FOUND;
}

/* Lap and hash of a slot are its upper half: one comparison for both. */
uint64_t journal_scan(const struct journal *journal, uint64_t from, uint64_t hash, uint64_t most)
{
	uint64_t end = journal_end(journal), mask = (UINT64_C(1) << journal->slots_shift) - 1;

	if (from >= end)
		return from;
	if (most > mask)
		most = mask + 1; /* there are no more that it could find */
	if (end - from > most)
		end = from + most;
	while (from < end) {
		uint64_t at = (from - journal->first) & mask, n = mask + 1 - at;
		uint32_t wanted = (uint32_t)(slot_value(journal, from, hash, 0) >> 32);
		const uint64_t *slots = slots_of(journal) + at;

		if (n > end - from)
			n = end - from;
		for (uint64_t i = 0; i < n; i++)
			if (LOAD_RELAXED(slots[i]) >> 32 == wanted)
				return from + i;
		from += n;
	}
	return from;
}

/* ---- time ---- */

uint64_t journal_since(const struct journal *journal, uint64_t since_us)
{
	uint64_t low = journal_floor(journal), high = journal_end(journal);

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		struct journal_entry entry;

		if (journal_find(journal, middle, &entry) == JOURNAL_FOUND &&
		    entry.said_us >= since_us)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

void journal_forget(const struct journal *journal, uint64_t before_us)
{
	journal_raise_floor(journal, journal_since(journal, before_us));
}

/* ---- figures ---- */

uint64_t journal_bytes(const struct journal *journal)
{
	uint64_t floor = journal_floor(journal) - journal->first, segments = 0;

	for (uint32_t i = 0; i < journal->segments; i++) {
		uint64_t state = LOAD(segment_states(journal)[i]);

		segments += SEGMENT_KIND(state) == SEGMENT_OWNED ||
			    (SEGMENT_KIND(state) == SEGMENT_CLOSED && SEGMENT_VALUE(state) > floor);
	}
	return segments * JOURNAL_SEGMENT;
}

uint64_t journal_voids(const struct journal *journal)
{
	return LOAD_RELAXED(header_of(journal)->voids);
}
