/*
 * journal_parts: what the files of the journal share, and nobody else may use.
 *
 *     journal.c        the memory, its seats and their doorbells
 *     journal_read.c   records, by id, by topic and by time; the floor
 *     journal_write.c  segments, and how a record becomes part of the order
 *     journal_wait.c   sleeping, waking, and waiting for others
 *
 * A file calls only those above it in this list. How they stay right without a lock is said in
 * journal_write.c.
 */
#ifndef REACTOR_PUBSUB_JOURNAL_PARTS_H
#define REACTOR_PUBSUB_JOURNAL_PARTS_H

#include "reactor/pubsub/journal.h"

#define CACHE_LINE	   64
#define RECORD_UNIT	   16 /* records begin at multiples of it */
#define JOURNAL_NO_SEGMENT UINT32_MAX

struct journal_header {
	uint64_t magic;
	uint32_t layout, seats_max;
	uint64_t history, first;
	uint64_t key[2];
	_Alignas(CACHE_LINE) uint32_t seats; /* in use */
	_Alignas(
	    CACHE_LINE) uint64_t head; /* ids below it are given; so may be some from there on */
	_Alignas(CACHE_LINE) uint64_t floor;  /* records below are gone */
	_Alignas(CACHE_LINE) uint64_t serial; /* the last that was given */
	uint64_t voids;
};

enum { VACANT, TAKEN, SAID_ALL };

struct journal_seat {
	_Alignas(CACHE_LINE) uint32_t state;
	uint32_t wants_doorbell;
	uint32_t looks; /* how often it has called journal_all_said() */
	uint32_t used;	/* bytes of its segment, unless a draft was published since */
	uint64_t draft; /* what it is about to publish, as the slot would say; 0: nothing */
	uint64_t cursor;
	uint32_t turns; /* how often it has told that */
};

/* A record as it lies in its segment; name, type and payload follow. */
struct journal_record {
	uint64_t id; /* that it was to get when this was last written */
	uint64_t topic, previous, number, sender, said_us;
	uint32_t payload_n;
	uint8_t name_n, type_n;
	uint16_t unused;
	uint64_t unused_too;
};

_Static_assert(sizeof(struct journal_record) == 64, "and a multiple of RECORD_UNIT");
_Static_assert(sizeof(struct journal_record) + JOURNAL_TOPIC_MAX + JOURNAL_TYPE_MAX +
		       JOURNAL_PAYLOAD_MAX + RECORD_UNIT <
		   JOURNAL_SEGMENT,
	       "every record fits a segment");

/*
 * A slot says where the record of an id is, in one word:
 *
 *     lap (16 bits)   how often the slots have been gone round, from 1 on: whose id it is
 *     hash (16 bits)  of the topic's, so that a search need not look at the record
 *     place (32 bits) of the record, in units, in the memory of all segments, plus 1
 *
 * A segment's state is one word, too: FREE, or OWNED with its seat, or CLOSED with the id below
 * which all of its records are.
 */
enum { SEGMENT_FREE, SEGMENT_OWNED, SEGMENT_CLOSED };

#define SEGMENT_KIND(state)	   ((state)&3)
#define SEGMENT_VALUE(state)	   ((state) >> 2)
#define SEGMENT_STATE(kind, value) ((uint64_t)(kind) | (uint64_t)(value) << 2)

#define LOAD(field)		    __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define STORE(field, value)	    __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
#define LOAD_RELAXED(field)	    __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE_RELAXED(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)
#define FULL_FENCE()		    __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* ---- where things are ---- */

static inline struct journal_header *header_of(const struct journal *journal)
{
	return (struct journal_header *)(void *)journal->memory;
}

static inline struct journal_seat *seat_of(const struct journal *journal, unsigned seat)
{
	return (struct journal_seat *)(void *)(journal->memory + sizeof(struct journal_header)) +
	       seat;
}

static inline uint64_t *segment_states(const struct journal *journal)
{
	return (uint64_t *)(void *)seat_of(journal, JOURNAL_SEATS_MAX);
}

static inline uint64_t *slots_of(const struct journal *journal)
{
	return segment_states(journal) + journal->segments;
}

static inline uint64_t *slot_of(const struct journal *journal, uint64_t id)
{
	uint64_t mask = (UINT64_C(1) << journal->slots_shift) - 1;

	return slots_of(journal) + ((id - journal->first) & mask);
}

static inline unsigned char *segment_bytes(const struct journal *journal)
{
	return (unsigned char *)(slots_of(journal) + (UINT64_C(1) << journal->slots_shift));
}

/* No more than there is memory for, whatever the header says. */
static inline unsigned seats_in_use(const struct journal *journal)
{
	uint32_t seats = LOAD(header_of(journal)->seats);

	return seats - 1 < JOURNAL_SEATS_MAX ? seats : JOURNAL_SEATS_MAX;
}

/* ---- slots ---- */

static inline uint16_t lap_of(const struct journal *journal, uint64_t id)
{
	return (uint16_t)(((id - journal->first) >> journal->slots_shift) + 1);
}

static inline uint64_t slot_value(const struct journal *journal, uint64_t id, uint64_t hash,
				  uint32_t place)
{
	return (uint64_t)lap_of(journal, id) << 48 | (hash & 0xffff) << 32 | place;
}

/* Is the slot of this id this id's (0), that of one a lap before, or never used (below 0), or that
 * of a later one (above 0)? */
static inline int slot_compare(const struct journal *journal, uint64_t id, uint64_t slot)
{
	return (int16_t)(uint16_t)((uint16_t)(slot >> 48) - lap_of(journal, id));
}

/* ---- between the files ---- */

/* journal.c: does nothing if this process does not have the doorbell. */
void journal_ring_doorbell(const struct journal *journal, unsigned seat);
/* journal_read.c: NULL: no writer of ours said that a record lies there. */
const unsigned char *record_at(const struct journal *journal, uint32_t place);

#endif
