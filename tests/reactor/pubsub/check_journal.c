/*
 * journal: ids, their order, the floor, and what is found by id, by topic and by time.
 */
#include "tests/reactor/pubsub/journal_room.h"

/* ---- ids ---- */

START_TEST(ids_are_dense_and_only_grow)
{
	struct journal_entry entry;
	uint64_t seed = 1, next = FIRST;

	open_room(3);
	ck_assert_uint_eq(journal_floor(&journal), FIRST);
	ck_assert_uint_eq(journal_end(&journal), FIRST);
	ck_assert_int_eq(journal_find(&journal, FIRST, &entry), JOURNAL_NOT_YET);
	ck_assert_int_eq(journal_find(&journal, FIRST - 1, &entry), JOURNAL_GONE);
	ck_assert_int_eq(journal_find(&journal, 0, &entry), JOURNAL_GONE);
	for (unsigned i = 0; i < 1000; i++) {
		unsigned seat = (unsigned)(next_random(&seed) % 3);

		MUST(say(&ports[seat], i, next_random(&seed) % 300) == next++);
		MUST(journal_end(&journal) == next);
		MUST(heard_sender(next - 1) == sender_of(seat, i));
	}
	ck_assert_uint_eq(hear_all(), 1000);
	journal_close(&journal);
}
END_TEST

START_TEST(a_first_id_is_the_time)
{
	ck_assert_int_eq(journal_open(&journal, 1, HISTORY, 0), 0);
	ck_assert_uint_gt(journal.first, UINT64_C(1700000000) * 1000000);
	ck_assert_uint_eq(journal_floor(&journal), journal.first);
	ck_assert_uint_eq(journal_end(&journal), journal.first);
	journal_close(&journal);
}
END_TEST

START_TEST(all_of_a_record_comes_back)
{
	static unsigned char words[WORDS_MAX];
	struct journal_message message = {.topic = 77,
					  .name = {words, 1},
					  .type = {words + 200, 64},
					  .payload = {{words + 300, 10}, {words + 400, 20}},
					  .sender = UINT64_MAX,
					  .said_us = UINT64_MAX - 1};
	struct journal_entry entry;

	open_room(1);
	fill_random(words, sizeof words, 5);
	ck_assert_int_eq(journal_draft(&ports[0], &message), 0);
	ck_assert(journal_commit(&ports[0], FIRST, UINT64_MAX, 3));
	ck_assert_int_eq(journal_find(&journal, FIRST, &entry), JOURNAL_FOUND);
	ck_assert(entry.id == FIRST && entry.topic == 77 && entry.previous == UINT64_MAX &&
		  entry.number == 3 && entry.sender == UINT64_MAX &&
		  entry.said_us == UINT64_MAX - 1 && entry.payload_n == 30 && entry.name_n == 1 &&
		  entry.type_n == 64);
	ck_assert_int_eq(memcmp(entry.bytes, words, 1), 0);
	ck_assert_int_eq(memcmp(entry.bytes + 1, words + 200, 64), 0);
	ck_assert_int_eq(memcmp(journal_payload(&entry), words + 300, 10), 0);
	ck_assert_int_eq(memcmp(journal_payload(&entry) + 10, words + 400, 20), 0);
	journal_close(&journal);
}
END_TEST

/* The longest fills what is left of a segment to the last byte; nothing lies behind the last. */
START_TEST(records_of_all_lengths)
{
	struct journal_entry entry;
	uint64_t number = 0;

	open_room(1);
	for (size_t n = 0; n <= JOURNAL_PAYLOAD_MAX; n += n < 200 || n > 65500 ? 1 : 97) {
		MUST(heard_sender(say(&ports[0], number, n)) == sender_of(0, number));
		number++;
	}
	for (size_t space = 65536; space > 65536 - 200; space -= 7) { /* up to a segment's end */
		size_t n;

		while (JOURNAL_SEGMENT - ports[0].used > space + 1000)
			(void)say(&ports[0], number++, 900);
		n = JOURNAL_SEGMENT - ports[0].used - RECORD_HEAD - 7 - type_length(number);
		MUST(n <= JOURNAL_PAYLOAD_MAX + 1000);
		if (n <= JOURNAL_PAYLOAD_MAX) {
			uint32_t segment = ports[0].segment;
			uint64_t id = say(&ports[0], number++, n);

			MUST(ports[0].used == JOURNAL_SEGMENT && ports[0].segment == segment);
			MUST(hear(id, &entry) == JOURNAL_FOUND);
		}
		MUST(hear(say(&ports[0], number++, 1), &entry) == JOURNAL_FOUND);
	}
	(void)hear_all();
	journal_close(&journal);
}
END_TEST

START_TEST(an_id_is_given_once)
{
	struct journal_entry entry;

	open_room(2);
	ck_assert_int_eq(draft(&ports[0], 1, 50, 0), 0);
	ck_assert_int_eq(draft(&ports[1], 2, 60, 0), 0);
	ck_assert(journal_commit(&ports[1], FIRST, 0, 1));
	ck_assert(!journal_commit(&ports[0], FIRST, 0, 1));
	ck_assert(!journal_commit(&ports[0], FIRST, 0, 1));
	ck_assert_int_eq(journal_find(&journal, FIRST + 1, &entry), JOURNAL_NOT_YET);
	ck_assert(journal_commit(&ports[0], FIRST + 1, FIRST, 2)); /* the same draft */
	ck_assert_uint_eq(heard_sender(FIRST), sender_of(1, 2));
	ck_assert_uint_eq(heard_sender(FIRST + 1), sender_of(0, 1));
	/* A draft that is followed by another one is dropped. */
	ck_assert_int_eq(draft(&ports[0], 3, 50, 0), 0);
	ck_assert_int_eq(draft(&ports[0], 4, 5000, 0), 0);
	ck_assert_uint_eq(journal_append(&ports[0]), FIRST + 2);
	ck_assert_uint_eq(heard_sender(FIRST + 2), sender_of(0, 4));
	ck_assert_uint_eq(hear_all(), 3);
	journal_leave_seat(&ports[0]);
	ck_assert_uint_eq(journal_voids(&journal), 0);
	journal_close(&journal);
}
END_TEST

/* Whoever wrote the end may have been killed before the head was moved. */
START_TEST(an_end_is_found_behind_the_head)
{
	uint64_t *head, ids[3];

	open_room(1);
	head = (uint64_t *)(void *)(journal.memory + 128);
	for (unsigned i = 0; i < 3; i++)
		ids[i] = say(&ports[0], i, 10);
	ck_assert_uint_eq(*head, ids[2] + 1);
	*head = FIRST;
	ck_assert_uint_eq(journal_end(&journal), ids[2] + 1);
	ck_assert_uint_eq(say(&ports[0], 3, 10), ids[2] + 1);
	ck_assert_uint_eq(*head, ids[2] + 2);
	journal_close(&journal);
}
END_TEST

/* ---- the floor ---- */

START_TEST(slots_are_gone_round)
{
	uint64_t number = 0, held;

	open_room(2);
	ck_assert_uint_eq(1u << journal.slots_shift, SLOTS);
	while (number < 70 * SLOTS) {
		MUST(say(&ports[number & 1], number, number % 3) == FIRST + number);
		number++;
		if (number % (SLOTS / 3))
			continue;
		held = hear_all();
		MUST(number <= SLOTS ? held == number : held > SLOTS - SLOTS / 32);
		MUST(held <= SLOTS);
	}
	journal_close(&journal);
}
END_TEST

/* Laps have 16 bits. That they begin anew is seen by nobody, not even by one who comes back from
 * when they were the same, or the half of them ago. */
START_TEST(laps_begin_anew)
{
	const unsigned char nothing = 0;
	struct journal_message message = {.topic = 5, .name = {(void *)(uintptr_t)&nothing, 1}};
	const uint64_t laps = 65536 + 4;
	struct journal_entry entry;

	open_room(1);
	ck_assert_int_eq(journal_draft(&ports[0], &message), 0);
	ck_assert_uint_eq(journal_append(&ports[0]), FIRST);
	for (uint64_t lap = 1; lap <= laps; lap++) {
		/* As if all ids in between had been given. */
		uint64_t *slots = (uint64_t *)(void *)(journal.memory + journal.mapped_bytes -
						       (size_t)journal.segments * JOURNAL_SEGMENT) -
				  SLOTS;
		uint64_t end = FIRST + lap * SLOTS;

		for (unsigned i = 0; i < SLOTS; i++)
			slots[i] = lap << 48 | 1;
		*(uint64_t *)(void *)(journal.memory + 128) = end;
		journal_raise_floor(&journal, end);
		MUST(journal_floor(&journal) == end && journal_end(&journal) == end);
		MUST(journal_draft(&ports[0], &message) == 0);
		MUST(!journal_commit(&ports[0], FIRST, 0, 0));
		MUST(lap < 2 || !journal_commit(&ports[0], end - SLOTS, 0, 0));
		MUST(journal_find(&journal, FIRST, &entry) == JOURNAL_GONE);
		MUST(journal_append(&ports[0]) == end);
		MUST(journal_find(&journal, end, &entry) == JOURNAL_FOUND);
		MUST(journal_find(&journal, end + 1, &entry) == JOURNAL_NOT_YET);
	}
	journal_close(&journal);
}
END_TEST

START_TEST(a_floor_is_raised_and_never_beyond_the_end)
{
	struct journal_entry entry;

	open_room(1);
	for (unsigned i = 0; i < 10; i++)
		(void)say(&ports[0], i, 10);
	journal_raise_floor(&journal, FIRST + 4);
	ck_assert_uint_eq(journal_floor(&journal), FIRST + 4);
	ck_assert_int_eq(journal_find(&journal, FIRST + 3, &entry), JOURNAL_GONE);
	ck_assert_int_eq(hear(FIRST + 4, &entry), JOURNAL_FOUND);
	ck_assert(!journal_holds(&journal, FIRST + 3));
	ck_assert(journal_holds(&journal, FIRST + 4));
	journal_raise_floor(&journal, FIRST + 2); /* it never falls */
	ck_assert_uint_eq(hear_all(), 6);
	journal_raise_floor(&journal, FIRST + 1000);
	ck_assert_uint_eq(journal_floor(&journal), FIRST + 10);
	ck_assert_uint_eq(say(&ports[0], 11, 10), FIRST + 10);
	ck_assert_uint_eq(hear_all(), 1);
	journal_close(&journal);
}
END_TEST

/* ---- by topic ---- */

START_TEST(a_search_finds_all_of_a_topic)
{
	uint64_t from, end, found[5] = {0}, hash;
	char name[32];

	open_room(1);
	for (uint64_t i = 0; i < 3 * SLOTS + 1234; i++) /* so that it goes over the last slot */
		(void)say(&ports[0], i, i % 2);
	from = journal_floor(&journal);
	end = journal_end(&journal);
	for (unsigned topic = 0; topic < 5; topic++) {
		struct journal_entry entry;

		hash = journal_hash(&journal, name, put_name(name, topic));
		for (uint64_t id = from; id < end; id++) {
			uint64_t next = journal_scan(&journal, id, hash, UINT64_MAX);

			MUST(next >= id && next <= id + 5);
			id = next;
			if (id == end)
				break;
			MUST(hear(id, &entry) == JOURNAL_FOUND);
			found[topic] += entry.topic == hash;
		}
		MUST(found[topic] >= (end - from) / 5 && found[topic] <= (end - from) / 5 + 1);
	}
	hash = journal_hash(&journal, "nobody's", 8);
	ck_assert_uint_eq(journal_scan(&journal, from, hash, 100), from + 100);
	ck_assert_uint_eq(journal_scan(&journal, from, hash, 0), from);
	ck_assert_uint_eq(journal_scan(&journal, from, hash, UINT64_MAX), end);
	ck_assert_uint_eq(journal_scan(&journal, end, hash, 10), end);
	ck_assert_uint_eq(journal_scan(&journal, end + 5, hash, 10), end + 5);
	/* From far below the floor it comes up in steps of a lap at most. */
	for (from = FIRST - 5; from < end;) {
		uint64_t next = journal_scan(&journal, from, hash, UINT64_MAX);

		MUST(next > from && next - from <= SLOTS);
		from = next;
	}
	journal_close(&journal);
}
END_TEST

/* ---- by time ---- */

static void say_at(unsigned seat, uint64_t number, uint64_t said_us)
{
	MUST(draft(&ports[seat], number, 20, said_us) == 0);
	MUST(journal_append(&ports[seat]));
}

START_TEST(what_was_said_since_then)
{
	open_room(1);
	ck_assert_uint_eq(journal_since(&journal, 0), FIRST);
	for (uint64_t i = 0; i < 100; i++)
		say_at(0, i, 1000 + i / 10 * 10);
	ck_assert_uint_eq(journal_since(&journal, 0), FIRST);
	ck_assert_uint_eq(journal_since(&journal, 1000), FIRST);
	ck_assert_uint_eq(journal_since(&journal, 1001), FIRST + 10);
	ck_assert_uint_eq(journal_since(&journal, 1090), FIRST + 90);
	ck_assert_uint_eq(journal_since(&journal, 1091), FIRST + 100);
	journal_forget(&journal, 1045);
	ck_assert_uint_eq(journal_floor(&journal), FIRST + 50);
	ck_assert_uint_eq(journal_since(&journal, 0), FIRST + 50);
	journal_forget(&journal, 1020);
	ck_assert_uint_eq(journal_floor(&journal), FIRST + 50);
	journal_forget(&journal, UINT64_MAX);
	ck_assert_uint_eq(journal_floor(&journal), FIRST + 100);
	ck_assert_uint_eq(hear_all(), 0);
	journal_close(&journal);
}
END_TEST

/* A writer that was stopped between saying something and publishing it comes with an old time. */
START_TEST(times_never_fall_along_the_order)
{
	struct journal_entry entry;
	uint64_t last = 0, seed = 4;

	open_room(2);
	MUST(draft(&ports[1], 0, 20, 1000) == 0);
	for (uint64_t i = 0; i < 64; i++)
		say_at(0, i, 1000000);
	MUST(journal_append(&ports[1]));
	for (uint64_t i = 64; i < 127; i++)
		say_at(0, i, 1000000);
	ck_assert_uint_eq(journal_since(&journal, 5000), FIRST);
	journal_forget(&journal, 5000);
	ck_assert_uint_eq(hear_all(), 128);
	for (uint64_t i = 0; i < 3 * SLOTS; i++) {
		say_at((unsigned)i % 2, i, 2000000 + i + next_random(&seed) % 1000);
		MUST(journal_find(&journal, journal_end(&journal) - 1, &entry) == JOURNAL_FOUND);
		MUST(entry.said_us >= last && entry.said_us >= 2000000 + i);
		last = entry.said_us;
	}
	/* What is gone does not count any more. */
	journal_raise_floor(&journal, journal_end(&journal));
	say_at(0, 1, 5);
	MUST(journal_find(&journal, journal_end(&journal) - 1, &entry) == JOURNAL_FOUND);
	ck_assert_uint_eq(entry.said_us, 5);
	journal_close(&journal);
}
END_TEST

SUITE("journal", {"ids are dense and only grow", ids_are_dense_and_only_grow, 5},
      {"a first id is the time", a_first_id_is_the_time, 5},
      {"all of a record comes back", all_of_a_record_comes_back, 5},
      {"records of all lengths", records_of_all_lengths, 20},
      {"an id is given once", an_id_is_given_once, 5},
      {"an end is found behind the head", an_end_is_found_behind_the_head, 5},
      {"slots are gone round", slots_are_gone_round, 20}, {"laps begin anew", laps_begin_anew, 20},
      {"a floor is raised and never beyond the end", a_floor_is_raised_and_never_beyond_the_end, 5},
      {"a search finds all of a topic", a_search_finds_all_of_a_topic, 10},
      {"what was said since then", what_was_said_since_then, 5},
      {"times never fall along the order", times_never_fall_along_the_order, 10})
