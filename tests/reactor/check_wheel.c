/*
 * wheel: compared with a plain table of deadlines, on a clock that wraps.
 *
 * What is shown: a deadline fires once, in the first advance that reaches it, and never before;
 * and a loop that sleeps as long as wheel_wait_ms() says is never late. The order of deadlines that
 * come due in one advance is not promised, and not tested.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/loop/wheel.h"
#include "tests/support/harness.h"

/* ck_assert() writes a mark each time it is passed, which is slow for a million of them. */
#define MUST(condition) ((condition) ? (void)0 : ck_abort_msg("%s does not hold", #condition))

#define DEADLINES 200

/* Clocks start around 0, around the change of sign, around the wrap, and elsewhere. */
static const uint32_t starts[] = {0,
				  1,
				  63,
				  4095,
				  0x7fffffff - 70000,
				  0x80000000,
				  0xbfffffff,
				  UINT32_MAX - 100,
				  UINT32_MAX,
				  0xdeadbeef,
				  UINT32_MAX - (1u << 24),
				  UINT32_MAX - (1u << 30)};
#define STARTS (sizeof starts / sizeof *starts)

struct entry {
	struct deadline deadline;
	uint32_t due_ms;
	bool armed;
};

static struct world {
	struct wheel wheel;
	struct entry entries[DEADLINES];
	unsigned long fired;
} world;

static void world_init(uint32_t now_ms)
{
	memset(&world, 0, sizeof world);
	wheel_init(&world.wheel, now_ms);
	for (int i = 0; i < DEADLINES; i++)
		deadline_init(&world.entries[i].deadline);
}

static void world_arm(struct entry *entry, uint32_t due_ms)
{
	wheel_arm(&world.wheel, &entry->deadline, due_ms);
	entry->due_ms = due_ms;
	entry->armed = true;
}

static void world_disarm(struct entry *entry)
{
	wheel_disarm(&world.wheel, &entry->deadline);
	entry->armed = false;
}

/* Advances time, and expects exactly the entries that are due to fire, once each. */
static void world_advance(uint32_t now_ms)
{
	struct list due;

	list_init(&due);
	wheel_advance(&world.wheel, now_ms, &due);
	MUST(world.wheel.now_ms == now_ms);
	LIST_EACH_SAFE (&due, node) {
		struct entry *entry = CONTAINER_OF(node, struct entry, deadline.node);

		MUST(entry->armed && (int32_t)(entry->due_ms - now_ms) <= 0);
		list_remove(node);
		entry->armed = false;
		world.fired++;
	}
	for (int i = 0; i < DEADLINES; i++) {
		struct entry *entry = &world.entries[i];

		MUST(deadline_armed(&entry->deadline) == entry->armed);
		MUST(!entry->armed || (int32_t)(entry->due_ms - now_ms) > 0);
	}
}

/* The wheel's wait, which must not reach beyond the next deadline; one that has passed counts as
 * due in a millisecond. */
static int world_wait(void)
{
	int wait = wheel_wait_ms(&world.wheel);
	int64_t soonest = INT64_MAX;

	for (int i = 0; i < DEADLINES; i++) {
		const struct entry *entry = &world.entries[i];
		int32_t ahead = (int32_t)(entry->due_ms - world.wheel.now_ms);

		if (entry->armed && ahead < soonest)
			soonest = ahead > 1 ? ahead : 1;
	}
	if (wait < 0)
		MUST(soonest == INT64_MAX);
	else
		MUST(wait >= 1 && wait <= soonest);
	return wait;
}

/* A random number of random bits: spans of 3 ms are as frequent as spans of 3 days. */
static uint32_t random_span(uint64_t random, unsigned bits_max)
{
	unsigned bits = (unsigned)(random >> 56) % (bits_max + 1);

	return (uint32_t)random & ((1u << bits) - 1);
}

START_TEST(random_operations_agree_with_a_table)
{
	unsigned long steps = suite_volume(1000000) / STARTS, fired = 0;
	uint64_t seed = 4;

	for (size_t start = 0; start < STARTS; start++) {
		world_init(starts[start]);
		for (unsigned long step = 0; step < steps; step++) {
			uint64_t random = next_random(&seed);
			struct entry *entry = &world.entries[(random >> 32) % DEADLINES];
			uint32_t now = world.wheel.now_ms;
			int wait;

			switch (next_random(&seed) % 8) {
			case 0:
			case 1:
			case 2:
				world_arm(entry, now + random_span(random, 30));
				break;
			case 3: /* at the very edges of levels */
				world_arm(entry, now + (1u << (random >> 40) % 30) -
						     (uint32_t)(random % 3));
				break;
			case 4: /* a deadline that has passed already */
				world_arm(entry, now - random_span(random, 20));
				break;
			case 5:
				world_disarm(entry);
				break;
			case 6:
				world_advance(now + 1 + random_span(random, random % 9 ? 12 : 29));
				break;
			case 7:
				wait = world_wait();
				world_advance(now + (uint32_t)(wait > 0 ? wait : 1));
				break;
			}
			(void)world_wait();
		}
		fired += world.fired;
	}
	printf("FIGURE wheel model: %lu operations, %lu deadlines fired\n", steps * STARTS, fired);
	(void)fflush(stdout);
	ck_assert_uint_gt(fired, steps);
}
END_TEST

/* The next deadline; NULL: there is none. */
static const struct entry *world_next(void)
{
	const struct entry *next = NULL;

	for (int i = 0; i < DEADLINES; i++) {
		const struct entry *entry = &world.entries[i];

		if (entry->armed && (!next || (int32_t)(entry->due_ms - next->due_ms) < 0))
			next = entry;
	}
	return next;
}

/* A sleeper that does what the wheel says wakes up at the millisecond of each deadline, and else
 * only once for each level that a deadline moves down. */
START_TEST(a_writer_that_waits_as_told_is_never_late_nor_woken_often)
{
	unsigned long rounds = suite_volume(40), wakes = 0, fired = 0;
	uint64_t seed = 5;

	for (unsigned long round = 0; round < rounds * STARTS; round++) {
		const struct entry *next;

		world_init(starts[round % STARTS]);
		for (int i = 0; i < DEADLINES; i++)
			world_arm(&world.entries[i],
				  world.wheel.now_ms + 1 + random_span(next_random(&seed), 29));
		while ((next = world_next())) {
			uint32_t due_ms = next->due_ms;
			uint32_t to_ms = world.wheel.now_ms + (uint32_t)world_wait();
			unsigned long before = world.fired;

			MUST((int32_t)(to_ms - due_ms) <= 0);
			world_advance(to_ms);
			MUST((world.fired > before) == (to_ms == due_ms));
			wakes++;
		}
		MUST(world.fired == DEADLINES);
		MUST(wheel_wait_ms(&world.wheel) == -1);
		fired += world.fired;
	}
	printf("FIGURE wheel wake-ups for each deadline: %.2f\n", (double)wakes / (double)fired);
	(void)fflush(stdout);
	ck_assert_uint_le(wakes, fired * WHEEL_LEVELS);
}
END_TEST

/* ---- single cases ---- */

START_TEST(a_single_deadline_fires_at_its_millisecond_at_every_distance)
{
	for (size_t start = 0; start < STARTS; start++) {
		for (unsigned bit = 0; bit < 30; bit++) {
			for (int off = -2; off <= 2; off++) {
				uint32_t ahead = (1u << bit) + (uint32_t)off;
				uint32_t due_ms = starts[start] + ahead;

				if ((int32_t)ahead < 2)
					continue;
				/* A long sleep until just before it, and one more millisecond. */
				world_init(starts[start]);
				world_arm(&world.entries[0], due_ms);
				(void)world_wait();
				world_advance(due_ms - 1);
				MUST(world.fired == 0);
				MUST(world_wait() == 1);
				world_advance(due_ms);
				MUST(world.fired == 1);
			}
		}
	}
}
END_TEST

START_TEST(the_farthest_that_is_allowed_fires_and_one_more_aborts)
{
	struct rlimit no_core = {0, 0};
	int status;
	pid_t pid;

	world_init(UINT32_MAX - 5);
	world_arm(&world.entries[0], world.wheel.now_ms + WHEEL_MS_MAX - 1);
	while (world.entries[0].armed)
		world_advance(world.wheel.now_ms + (uint32_t)world_wait());
	ck_assert_uint_eq(world.wheel.now_ms, UINT32_MAX - 5 + WHEEL_MS_MAX - 1);
	pid = fork();
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &no_core);
		(void)close(STDERR_FILENO);
		world_arm(&world.entries[0], world.wheel.now_ms + WHEEL_MS_MAX);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

START_TEST(a_deadline_in_the_past_fires_at_the_next_advance)
{
	for (size_t start = 0; start < STARTS; start++) {
		static const uint32_t ago[] = {0, 1, 63, 64, 5000, 1u << 24, 1u << 29};

		world_init(starts[start]);
		for (size_t i = 0; i < sizeof ago / sizeof *ago; i++)
			world_arm(&world.entries[i], starts[start] - ago[i]);
		ck_assert_int_eq(world_wait(), 1);
		world_advance(starts[start] + 1);
		ck_assert_uint_eq(world.fired, sizeof ago / sizeof *ago);
	}
}
END_TEST

START_TEST(moving_a_deadline_forgets_where_it_was)
{
	world_init(1000);
	world_arm(&world.entries[0], 1010);
	world_arm(&world.entries[0], 500000);
	world_advance(499999);
	ck_assert_uint_eq(world.fired, 0);
	world_arm(&world.entries[0], 500010);
	world_advance(500010);
	ck_assert_uint_eq(world.fired, 1);
	world_disarm(&world.entries[0]); /* does nothing if it is not armed */
	world_advance(2000000);
	ck_assert_uint_eq(world.fired, 1);
}
END_TEST

START_TEST(time_that_stands_or_goes_back_changes_nothing)
{
	struct list due;

	list_init(&due);
	world_init(5000);
	world_arm(&world.entries[0], 5000);
	wheel_advance(&world.wheel, 5000, &due);
	wheel_advance(&world.wheel, 4000, &due);
	ck_assert(!list_linked(&due));
	ck_assert_uint_eq(world.wheel.now_ms, 5000);
	world_advance(5001);
	ck_assert_uint_eq(world.fired, 1);
}
END_TEST

/* In the turn of a deadline that came due, another one that came due at the same time may be
 * disarmed or moved: it is taken out of the list of those that are due. */
START_TEST(one_that_came_due_may_be_disarmed_or_moved_before_its_turn)
{
	struct list due;
	size_t n = 0;

	list_init(&due);
	world_init(0);
	for (int i = 0; i < 3; i++)
		world_arm(&world.entries[i], 10);
	wheel_advance(&world.wheel, 10, &due);
	wheel_disarm(&world.wheel, &world.entries[0].deadline);
	wheel_arm(&world.wheel, &world.entries[1].deadline, 20);
	LIST_EACH (&due, node) {
		ck_assert_ptr_eq(node, &world.entries[2].deadline.node);
		n++;
	}
	ck_assert_uint_eq(n, 1);
	ck_assert(!deadline_armed(&world.entries[0].deadline));
	list_remove(&world.entries[2].deadline.node);
	wheel_advance(&world.wheel, 20, &due);
	ck_assert_ptr_eq(due.next, &world.entries[1].deadline.node);
}
END_TEST

/* After a disarmed deadline the wait is -1, or there is at most one needless wake-up. */
START_TEST(what_was_disarmed_soon_wakes_nobody)
{
	uint64_t seed = 6;

	world_init(UINT32_MAX - 3000);
	for (int round = 0; round < 20000; round++) {
		struct entry *entry = &world.entries[0];
		int wait;

		world_arm(entry, world.wheel.now_ms + random_span(next_random(&seed), 16));
		world_disarm(entry);
		wait = world_wait();
		if (wait > 0)
			world_advance(world.wheel.now_ms + (uint32_t)wait);
		MUST(wheel_wait_ms(&world.wheel) == -1);
	}
	ck_assert_uint_eq(world.fired, 0);
}
END_TEST

SUITE("wheel", {"random operations agree with a table", random_operations_agree_with_a_table, 120},
      {"a writer that waits as told is never late nor woken often",
       a_writer_that_waits_as_told_is_never_late_nor_woken_often, 120},
      {"a single deadline fires at its millisecond at every distance",
       a_single_deadline_fires_at_its_millisecond_at_every_distance, 30},
      {"the farthest that is allowed fires and one more aborts",
       the_farthest_that_is_allowed_fires_and_one_more_aborts, 10},
      {"a deadline in the past fires at the next advance",
       a_deadline_in_the_past_fires_at_the_next_advance, 10},
      {"moving a deadline forgets where it was", moving_a_deadline_forgets_where_it_was, 10},
      {"time that stands or goes back changes nothing",
       time_that_stands_or_goes_back_changes_nothing, 10},
      {"one that came due may be disarmed or moved before its turn",
       one_that_came_due_may_be_disarmed_or_moved_before_its_turn, 10},
      {"what was disarmed soon wakes nobody", what_was_disarmed_soon_wakes_nobody, 30})
