/*
 * journal, a writer's side: how much memory it takes, how much of the history it keeps, and when a
 * writer that waits for readers goes on.
 */
#include <errno.h>
#include <sys/stat.h>

#include "tests/reactor/pubsub/journal_room.h"

/* ---- memory ---- */

static uint64_t memory_used(void)
{
	struct stat status;

	ck_assert_int_eq(fstat(journal.fd, &status), 0);
	return (uint64_t)status.st_blocks * 512;
}

/* Beside segments: header, seats, states, slots; and pages that segments have in part. */
static uint64_t memory_allowed(unsigned seats)
{
	return journal.mapped_bytes - (uint64_t)journal.segments * JOURNAL_SEGMENT + HISTORY +
	       2 * seats * (uint64_t)JOURNAL_SEGMENT + 2 * 4096;
}

static uint64_t bytes_held(void)
{
	uint64_t bytes = 0, end = journal_end(&journal);
	struct journal_entry entry;

	for (uint64_t id = journal_floor(&journal); id < end; id++) {
		MUST(hear(id, &entry) == JOURNAL_FOUND);
		bytes += (uint64_t)RECORD_HEAD + entry.name_n + entry.type_n + entry.payload_n;
	}
	return bytes;
}

/* Whether writers fill their segments at the same time, or not, or only one of them writes much:
 * memory is bounded, and the history is whole. Records are so long that slots do not end first. */
static void write_for_laps(unsigned way, unsigned long n)
{
	uint64_t seed = way, said = 0;

	open_room(SEATS);
	for (unsigned long i = 0; i < n; i++) {
		size_t bytes = 200 + next_random(&seed) % 500;
		unsigned seat = (unsigned)(next_random(&seed) % SEATS);

		if (way == 0)
			seat = (unsigned)i % SEATS, bytes = 400;
		else if (way == 1)
			seat = next_random(&seed) % 64 ? 0 : seat;
		(void)say(&ports[seat], i, bytes);
		said += bytes;
		if (i % 499)
			continue;
		MUST(memory_used() <= memory_allowed(SEATS));
		MUST(journal_bytes(&journal) <= HISTORY + 2 * SEATS * JOURNAL_SEGMENT);
		MUST(said < HISTORY || bytes_held() >= HISTORY - HISTORY / JOURNAL_SEGMENT * 800);
	}
	(void)printf("FIGURE a journal with a history of %u kB and %u writers takes %lu kB\n",
		     HISTORY >> 10, SEATS, (unsigned long)memory_used() >> 10);
	(void)fflush(stdout);
	journal_close(&journal);
}

START_TEST(memory_is_bounded_and_the_history_whole)
{
	write_for_laps((unsigned)_i, suite_volume(40000));
}
END_TEST

/* Processes that end leave segments that are hardly begun. */
START_TEST(memory_is_bounded_though_writers_end)
{
	uint64_t seed = 1;

	open_room(SEATS);
	for (unsigned long i = 0; i < suite_volume(20000); i++) {
		unsigned seat = (unsigned)(next_random(&seed) % SEATS);

		(void)say(&ports[seat], i, next_random(&seed) % 3000);
		if (i % 3 == 0) {
			journal_leave_seat(&ports[seat]);
			journal_take_seat(&ports[seat], &journal, seat);
		}
		if (i % 97 == 0) {
			(void)hear_all();
			MUST(memory_used() <= memory_allowed(SEATS));
		}
	}
	journal_close(&journal);
}
END_TEST

START_TEST(what_has_expired_is_used_before_fresh_memory)
{
	uint64_t used;

	open_room(1);
	for (unsigned i = 0; i < 600; i++) /* two segments, of four and more */
		(void)say(&ports[0], i, 700);
	used = memory_used();
	ck_assert_uint_eq(journal_bytes(&journal), 2 * JOURNAL_SEGMENT);
	journal_raise_floor(&journal, journal_end(&journal));
	ck_assert_uint_eq(journal_bytes(&journal), 1 * JOURNAL_SEGMENT); /* the one it owns */
	for (unsigned i = 0; i < 10000; i++) {
		(void)say(&ports[0], i, 700);
		journal_raise_floor(&journal, journal_end(&journal));
	}
	ck_assert_uint_le(memory_used(), used + JOURNAL_SEGMENT);
	journal_leave_seat(&ports[0]);
	ck_assert_uint_eq(journal_bytes(&journal), 1 * JOURNAL_SEGMENT); /* kept for the next one */
	journal_close(&journal);
}
END_TEST

/* Each goes on in the segment of the one before, unless that was in the middle of publishing. */
START_TEST(many_short_lives_do_not_use_up_the_history)
{
	enum { LIVES = 400 };

	open_room(2);
	for (unsigned life = 0; life < LIVES; life++) {
		(void)say(&ports[0], 2 * life, 700);
		(void)say(&ports[1], life, 10);
		journal_leave_seat(&ports[0]);
		journal_take_seat(&ports[0], &journal, 0);
		ck_assert_int_eq(draft(&ports[0], 2 * life + 1, 300, 0), 0); /* and is killed */
		if (life % 2)
			journal_vacate(&journal, 0);
		journal_take_seat(&ports[0], &journal, 0);
	}
	ck_assert_uint_eq(hear_all(), 2 * LIVES);
	journal_close(&journal);
}
END_TEST

START_TEST(the_oldest_segment_goes_first)
{
	uint64_t before = FIRST;

	open_room(1);
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t floor = journal_floor(&journal);

		MUST(floor >= before && floor - before <= JOURNAL_SEGMENT / 700);
		before = floor;
		(void)say(&ports[0], i, 700);
	}
	ck_assert_uint_gt(before, FIRST + 1000);
	journal_close(&journal);
}
END_TEST

/* All memory is held by others, if somebody says so: then there is an error, and later there is
 * none. */
START_TEST(no_segment_is_left)
{
	uint64_t *states = (uint64_t *)(void *)(journal.memory);

	open_room(1);
	states = (uint64_t *)(void *)(journal.memory + journal.mapped_bytes -
				      (size_t)journal.segments * JOURNAL_SEGMENT) -
		 SLOTS - journal.segments;
	for (uint32_t i = 0; i < journal.segments; i++)
		states[i] = 1 | 5 << 2;
	ck_assert_int_eq(draft(&ports[0], 1, 1, 0), -ENOSPC);
	ck_assert_int_eq(draft(&ports[0], 1, 1, 0), -ENOSPC);
	states[7] = 0;
	ck_assert_uint_eq(say(&ports[0], 1, 1), FIRST);
	ck_assert_uint_eq(heard_sender(FIRST), sender_of(0, 1));
	journal_close(&journal);
}
END_TEST

/* ---- waiting for readers ---- */

#define NOW (UINT32_MAX - 500) /* a clock of milliseconds that wraps soon */

static bool may_go_on(unsigned seat, uint32_t now_ms, unsigned expected)
{
	unsigned left_behind = 0;
	bool go_on = journal_may_go_on(&ports[seat], false, now_ms, &left_behind);

	ck_assert_uint_eq(left_behind, expected);
	return go_on;
}

static void read_to_end(unsigned seat)
{
	journal_tell_cursor(&ports[seat], journal_end(&journal));
}

/* Says records of n bytes until it should wait; reads: for others. Returns how many. */
static unsigned say_until_ahead(unsigned seat, size_t n, bool reads)
{
	unsigned said = 0;

	for (; may_go_on(seat, NOW, 0); said++) {
		(void)say(&ports[seat], said, n);
		MUST(said < SLOTS);
		if (reads)
			read_to_end(seat);
	}
	return said;
}

/* Of itself: a 64th of the history, or two, whatever the lengths, or one record if that is longer.
 */
START_TEST(a_writer_is_never_far_ahead)
{
	for (size_t n = 0; n <= JOURNAL_PAYLOAD_MAX; n = n * 2 + 10) {
		uint64_t bytes = n + RECORD_HEAD + 16, share = HISTORY / 64;
		unsigned said;

		open_room(2);
		for (unsigned round = 0; round < 20; round++) {
			read_to_end(0);
			read_to_end(1);
			said = say_until_ahead(0, n, false);
			MUST((said - 1) * bytes <= 2 * share + 16 * said);
			MUST((said + 1) * (bytes > 128 ? bytes : 128) >= share * 13 / 16);
			MUST(said <= SLOTS / 30);
		}
		journal_close(&journal);
	}
}
END_TEST

START_TEST(a_reader_that_stands_still_is_counted_once)
{
	open_room(3);
	(void)say_until_ahead(0, 1000, true);
	read_to_end(0);
	read_to_end(2);
	ck_assert(!may_go_on(0, NOW, 0));
	ck_assert(!may_go_on(0, NOW + JOURNAL_READER_MS - 1, 0));
	ck_assert(may_go_on(0, NOW + JOURNAL_READER_MS, 1));
	for (unsigned i = 0; i < 200; i++) { /* it is not waited for any more, nor counted */
		(void)say(&ports[0], i, 1000);
		read_to_end(0);
		read_to_end(2);
		ck_assert(may_go_on(0, NOW + JOURNAL_READER_MS + i, 0));
	}
	/* It moves, and stops again. */
	journal_tell_cursor(&ports[1], FIRST + 1);
	(void)say(&ports[0], 1, 1000);
	read_to_end(0);
	read_to_end(2);
	for (unsigned i = 0; i < 400; i++)
		(void)say(&ports[0], i, 1000);
	read_to_end(0);
	read_to_end(2);
	ck_assert(!may_go_on(0, NOW + 3000, 0));
	ck_assert(may_go_on(0, NOW + 3000 + JOURNAL_READER_MS, 1));
	/* One that leaves is not waited for at all. */
	journal_tell_cursor(&ports[1], FIRST + 2);
	for (unsigned i = 0; i < 400; i++)
		(void)say(&ports[0], i, 1000);
	read_to_end(0);
	read_to_end(2);
	ck_assert(!may_go_on(0, NOW + 9000, 0));
	journal_leave_seat(&ports[1]);
	ck_assert(may_go_on(0, NOW + 9000, 0));
	journal_close(&journal);
}
END_TEST

START_TEST(a_reader_that_moves_is_waited_for)
{
	uint32_t now = NOW;
	uint64_t cursor = FIRST;
	unsigned looks = 0;

	open_room(3);
	(void)say_until_ahead(0, 1000, true);
	read_to_end(0);
	read_to_end(2);
	while (!may_go_on(0, now, 0)) {
		now += JOURNAL_READER_MS - 1;
		ck_assert(!may_go_on(0, now, 0));
		journal_tell_cursor(&ports[1], ++cursor);
		looks++;
	}
	ck_assert_uint_ge(looks, 1);
	ck_assert_uint_lt(cursor, journal_end(&journal));
	journal_close(&journal);
}
END_TEST

START_TEST(nobody_leaves_itself_behind)
{
	open_room(2);
	(void)say_until_ahead(0, 1000, false);
	read_to_end(1);
	for (uint32_t i = 0; i < 100; i++)
		ck_assert(!may_go_on(0, NOW + i * JOURNAL_READER_MS, 0));
	read_to_end(0);
	ck_assert(may_go_on(0, NOW, 0));
	journal_close(&journal);
}
END_TEST

/* As long as they wait for a reader that moves, however slowly, it misses nothing: even if all of
 * them fill their segments at the same time. */
START_TEST(a_slow_reader_misses_nothing)
{
	uint64_t cursor = FIRST, seed = 3;
	uint32_t now = NOW;

	ck_assert_int_eq(journal_open(&journal, SEATS + 1, HISTORY, FIRST), 0);
	for (unsigned i = 0; i < SEATS; i++)
		journal_take_seat(&ports[i], &journal, i + (i > 0));
	for (unsigned long round = 0; round < suite_volume(4000); round++) {
		size_t n = _i ? next_random(&seed) % (4000u * (unsigned)_i) : 1000;
		bool waiting = false;

		for (unsigned i = 1; i < SEATS; i++)
			if (may_go_on(i, now, 0))
				(void)say(&ports[i], round, n);
			else
				waiting = true;
		for (unsigned i = 1; i < SEATS; i++)
			read_to_end(i);
		if (waiting)
			(void)heard_sender(cursor++);
		journal_tell_cursor(&ports[0], cursor);
		MUST(journal_floor(&journal) <= cursor);
		now += 10;
	}
	while (cursor < journal_end(&journal))
		(void)heard_sender(cursor++);
	ck_assert_uint_gt(cursor, FIRST + suite_volume(4000) / 8);
	journal_close(&journal);
}
END_TEST

SUITE("journal_write",
      {"memory is bounded and the history whole", memory_is_bounded_and_the_history_whole, 30, 3},
      {"memory is bounded though writers end", memory_is_bounded_though_writers_end, 30},
      {"what has expired is used before fresh memory", what_has_expired_is_used_before_fresh_memory,
       10},
      {"many short lives do not use up the history", many_short_lives_do_not_use_up_the_history,
       20},
      {"the oldest segment goes first", the_oldest_segment_goes_first, 10},
      {"no segment is left", no_segment_is_left, 5},
      {"a writer is never far ahead", a_writer_is_never_far_ahead, 20},
      {"a reader that stands still is counted once", a_reader_that_stands_still_is_counted_once, 5},
      {"a reader that moves is waited for", a_reader_that_moves_is_waited_for, 5},
      {"nobody leaves itself behind", nobody_leaves_itself_behind, 5},
      {"a slow reader misses nothing", a_slow_reader_misses_nothing, 20, 3})
