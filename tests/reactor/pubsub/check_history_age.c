/*
 * history_age: what is too old goes, and nothing else; a loop without records has no deadline.
 *
 * The loop's clock is set by hand, so that no test waits for a time to pass.
 */
#include "reactor/base/sys.h"
#include "reactor/pubsub/history_age.h"
#include "tests/support/harness.h"

static struct journal journal;
static struct journal_port port;
static struct loop loop;
static struct stats stats;
static struct history_age age;

static void clock_is(uint64_t ms)
{
	loop.now_us = ms * 1000;
	loop.now_ms = (uint32_t)ms;
}

static void begin(uint64_t now_ms)
{
	ck_assert_int_eq(journal_open(&journal, 2, JOURNAL_HISTORY_MIN, 0), 0);
	journal_take_seat(&port, &journal, 0);
	ck_assert_int_eq(loop_open(&loop, &stats, 0), 0);
	history_age_open(&age, &loop, &journal);
	clock_is(now_ms);
	wheel_init(&loop.wheel, loop.now_ms);
}

static void end(void)
{
	history_age_close(&age);
	loop_close(&loop);
	journal_close(&journal);
}

static uint64_t publish(uint64_t said_ms)
{
	const struct journal_message message = {
	    .topic = journal_hash(&journal, "t", 1),
	    .name = {(void *)(uintptr_t) "t", 1},
	    .said_us = said_ms * 1000,
	};

	ck_assert_int_eq(journal_draft(&port, &message), 0);
	return journal_append(&port);
}

static bool waits(void)
{
	return deadline_armed(&age.timer.deadline);
}

static uint64_t held(void)
{
	return journal_end(&journal) - journal_floor(&journal);
}

/* Beyond what the clock of the wheel can count, too. */
static const uint64_t starts[] = {100000, UINT64_C(1) << 31, (UINT64_C(1) << 32) - 500,
				  UINT64_C(3) << 40};

START_TEST(what_is_too_old_goes)
{
	uint64_t now = starts[_i];

	begin(now);
	history_age_look(&age, 1000);
	ck_assert(!waits());
	for (uint64_t i = 0; i < 10; i++)
		(void)publish(now + 100 * i);
	clock_is(now + 999);
	history_age_look(&age, 1000);
	ck_assert_uint_eq(held(), 10);
	clock_is(now + 1000); /* the first is as old as may be: it goes */
	history_age_look(&age, 1000);
	ck_assert_uint_eq(held(), 9);
	ck_assert(waits());
	ck_assert_uint_ge(age.timer.deadline.due_ms - loop.now_ms, 100);
	ck_assert_uint_le(age.timer.deadline.due_ms - loop.now_ms, 100 + 1000 / 64 + 1);
	clock_is(now + 1700);
	history_age_look(&age, 1000);
	ck_assert_uint_eq(held(), 2);
	clock_is(now + 1900);
	history_age_look(&age, 1000);
	ck_assert_uint_eq(held(), 0);
	ck_assert(!waits());
	end();
}
END_TEST

START_TEST(without_a_limit_nothing_goes)
{
	begin(1000);
	(void)publish(1);
	history_age_look(&age, 100000); /* older than the machine is up */
	ck_assert_uint_eq(held(), 1);
	ck_assert(waits());
	history_age_look(&age, 0);
	ck_assert(!waits());
	clock_is(UINT64_C(1) << 40);
	history_age_look(&age, 0);
	ck_assert_uint_eq(held(), 1);
	history_age_look(&age, 1);
	ck_assert_uint_eq(held(), 0);
	end();
}
END_TEST

/* The first record tells; those behind it do not, until all are gone. */
START_TEST(the_first_record_tells)
{
	uint64_t id;

	begin(100000);
	for (int round = 0; round < 3; round++) {
		uint64_t now = 100000 + 5000 * (uint64_t)round;

		clock_is(now);
		id = publish(now);
		ck_assert(history_age_begins(&journal, id));
		history_age_look(&age, 1000);
		ck_assert(waits());
		id = publish(now + 1);
		ck_assert(!history_age_begins(&journal, id));
		clock_is(now + 1001);
		history_age_look(&age, 1000);
		ck_assert_uint_eq(held(), 0);
		ck_assert(!waits());
	}
	end();
}
END_TEST

/* A time that nobody can have written, and a clock that is behind: it looks again within the age.
 */
START_TEST(nonsense_is_looked_at_again)
{
	static const uint64_t said[] = {UINT64_MAX, 100001, UINT64_C(1) << 40};

	for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
		begin(100000);
		(void)publish(said[i]);
		history_age_look(&age, 640);
		ck_assert(waits());
		ck_assert_uint_le(age.timer.deadline.due_ms - loop.now_ms, 640 + 10 + 1);
		end();
	}
}
END_TEST

/* On a real clock, by the loop alone. */
START_TEST(the_loop_does_it)
{
	struct wait wait = wait_begin();
	uint64_t last, begun;

	begun = sys_clock_us() / 1000;
	begin(begun);
	for (int i = 0; i < 100; i++)
		last = publish(begun);
	history_age_look(&age, 50);
	while (held()) {
		loop_pass(&loop, 10);
		wait_more(&wait, "the history to go");
	}
	ck_assert_uint_ge(sys_clock_us() / 1000, begun + 50);
	ck_assert_uint_eq(journal_floor(&journal), last + 1);
	ck_assert(!waits());
	ck_assert_int_eq(wheel_wait_ms(&loop.wheel), -1); /* it would sleep for ever */
	end();
}
END_TEST

SUITE("history_age",
      {"what is too old goes", what_is_too_old_goes, 10, sizeof starts / sizeof *starts},
      {"without a limit nothing goes", without_a_limit_nothing_goes, 10},
      {"the first record tells", the_first_record_tells, 10},
      {"nonsense is looked at again", nonsense_is_looked_at_again, 10},
      {"the loop does it", the_loop_does_it, 10})
