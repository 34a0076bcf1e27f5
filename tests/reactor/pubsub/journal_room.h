/*
 * journal_room: seats of one journal in one process, for tests of the journal.
 *
 * The history is the smallest there can be, so that slots and segments are soon gone round. All
 * bytes of a record follow from its seat, its number and its length, so that whoever reads one can
 * tell whether it is whole.
 */
#ifndef TESTS_REACTOR_PUBSUB_JOURNAL_ROOM_H
#define TESTS_REACTOR_PUBSUB_JOURNAL_ROOM_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "reactor/pubsub/journal.h"
#include "tests/reactor/pubsub/step.h"

#define HISTORY	    JOURNAL_HISTORY_MIN
#define SLOTS	    (HISTORY / JOURNAL_RECORD_BYTES)
#define SEATS	    8
#define FIRST	    UINT64_C(1000000007)
#define RECORD_HEAD 64 /* bytes of a record beside its name, type and payload */

static struct journal journal;
static struct journal_port ports[SEATS];

static inline void open_room(unsigned seats)
{
	ck_assert_int_eq(journal_open(&journal, seats, HISTORY, FIRST), 0);
	for (unsigned i = 0; i < seats && i < SEATS; i++)
		journal_take_seat(&ports[i], &journal, i);
}

/* ---- what is said ---- */

#define WORDS_MAX (JOURNAL_TOPIC_MAX + JOURNAL_TYPE_MAX + JOURNAL_PAYLOAD_MAX)

static inline size_t put_name(char *name, uint64_t number)
{
	return (size_t)snprintf(name, 32, "topic/%u", (unsigned)(number % 5));
}

static inline size_t type_length(uint64_t number)
{
	return number % 3 ? 0 : 5;
}

static inline uint64_t sender_of(unsigned seat, uint64_t number)
{
	return (uint64_t)seat << 48 | number;
}

/* Writes the name, the type and n bytes of payload. Returns how many bytes that is. */
static inline size_t fill_words(unsigned char *words, uint64_t sender, size_t n)
{
	uint64_t number = sender & 0xffffffffffff;
	size_t name_n = put_name((char *)words, number), type_n = type_length(number);

	memset(words + name_n, 'E', type_n);
	fill_random(words + name_n + type_n, n, sender * 7 + n + 1);
	return name_n + type_n + n;
}

/* The payload comes in two parts, which are cut anywhere. */
static inline struct journal_message message_of(const struct journal_port *port, uint64_t number,
						size_t n, uint64_t said_us)
{
	static unsigned char words[WORDS_MAX + 64];
	uint64_t sender = sender_of(port->seat, number);
	size_t head = fill_words(words, sender, n) - n, type_n = type_length(number),
	       part = number % (n + 1);

	return (struct journal_message){
	    .topic = journal_hash(port->journal, words, head - type_n),
	    .name = {words, head - type_n},
	    .type = {words + head - type_n, type_n},
	    .payload = {{words + head, part}, {words + head + part, n - part}},
	    .sender = sender,
	    .said_us = said_us,
	};
}

static inline int draft(struct journal_port *port, uint64_t number, size_t n, uint64_t said_us)
{
	struct journal_message message = message_of(port, number, n, said_us);

	return journal_draft(port, &message);
}

static inline uint64_t say(struct journal_port *port, uint64_t number, size_t n)
{
	MUST(draft(port, number, n, 0) == 0);
	return journal_append(port);
}

/* ---- what is heard ---- */

static inline bool is_whole(const struct journal_entry *entry, const unsigned char *words,
			    size_t words_n)
{
	static unsigned char said[WORDS_MAX + 64];
	size_t n = fill_words(said, entry->sender, entry->payload_n);
	size_t type_n = type_length(entry->sender & 0xffffffffffff);

	return n == words_n && entry->type_n == type_n &&
	       entry->name_n == n - type_n - entry->payload_n && memcmp(said, words, n) == 0;
}

/* Reads a record as a worker does. One that is found is whole, or it is gone by then. */
static inline enum journal_found hear(uint64_t id, struct journal_entry *entry)
{
	static unsigned char words[WORDS_MAX];
	enum journal_found found = journal_find(&journal, id, entry);
	size_t n;

	if (found != JOURNAL_FOUND) {
		MUST(found == JOURNAL_NOT_YET || journal_floor(&journal) > id);
		return found;
	}
	n = (size_t)entry->name_n + entry->type_n + entry->payload_n;
	memcpy(words, entry->bytes, n);
	if (!journal_holds(&journal, id))
		return JOURNAL_GONE;
	MUST(entry->id == id && is_whole(entry, words, n));
	return JOURNAL_FOUND;
}

static inline uint64_t heard_sender(uint64_t id)
{
	struct journal_entry entry;

	MUST(hear(id, &entry) == JOURNAL_FOUND);
	return entry.sender;
}

/* All from the floor to the end is there. Returns how many that is. */
static inline uint64_t hear_all(void)
{
	uint64_t floor = journal_floor(&journal), end = journal_end(&journal);
	struct journal_entry entry;

	MUST(floor <= end);
	for (uint64_t id = floor; id < end; id++)
		MUST(hear(id, &entry) == JOURNAL_FOUND);
	MUST(hear(end, &entry) == JOURNAL_NOT_YET);
	return end - floor;
}

static inline uint64_t doorbells_rung(unsigned seat)
{
	uint64_t n;

	return read(journal.doorbells[seat], &n, sizeof n) == sizeof n ? n : 0;
}

#endif
