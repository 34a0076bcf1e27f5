/*
 * pool: the cap, the order, the walk, a random model, and its resident memory, which the kernel
 * tells by mincore(2).
 *
 * It can't see a write to an object that was given back: nothing guards it. Huge pages are
 * switched off here, so that a page is 4 KiB; if the system has them always on, memory
 * may come and go in larger steps than these tests expect.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/pool.h"
#include "tests/support/harness.h"

#define PAGE 4096

/* ck_assert() writes a mark each time it is passed, which is slow for a million of them. */
#define MUST(condition) ((condition) ? (void)0 : ck_abort_msg("%s does not hold", #condition))

static void open_pool(struct pool *pool, size_t object_bytes, size_t objects_max,
		      size_t spare_bytes)
{
	(void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	ck_assert_int_eq(pool_open(pool, object_bytes, objects_max, spare_bytes), 0);
}

/* ---- order and cap ---- */

START_TEST(takes_the_lowest_up_to_the_cap)
{
	static const size_t caps[] = {1, 2, 63, 64, 65, 127, 128, 129, 1000};

	for (size_t i = 0; i < sizeof caps / sizeof *caps; i++) {
		struct pool pool;
		char *first = NULL;

		open_pool(&pool, 40, caps[i], 0);
		for (size_t at = 0; at < caps[i]; at++) {
			char *object = pool_take(&pool);

			ck_assert_ptr_nonnull(object);
			ck_assert_uint_eq((uintptr_t)object % 8, 0);
			memset(object, 0xa5, 40);
			first = first ? first : object;
			ck_assert_ptr_eq(object, first + at * 40);
			ck_assert_uint_eq(pool_free(&pool), caps[i] - at - 1);
		}
		ck_assert_ptr_null(pool_take(&pool));
		pool_give(&pool, first + (caps[i] / 2) * 40);
		ck_assert_ptr_eq(pool_take(&pool), first + (caps[i] / 2) * 40);
		ck_assert_ptr_null(pool_take(&pool));
		pool_close(&pool);
		pool_close(&pool); /* the second call does nothing */
	}
}
END_TEST

/* Expects act(), called in a child, to fail a CHECK with these words. */
static void expect_abort(void (*act)(void), const char *words)
{
	struct rlimit no_core = {0, 0};
	char said[1024] = {0};
	int ends[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &no_core);
		(void)dup2(ends[1], STDERR_FILENO);
		act();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_gt((int)write(ends[1], ".", 1), 0);
	ck_assert_int_gt((int)read(ends[0], said, sizeof said - 1), 0);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	ck_assert_msg(strstr(said, words) != NULL, "it said: %s", said);
}

static struct pool victim;

static void give_twice(void)
{
	void *object = pool_take(&victim);

	pool_give(&victim, object);
	pool_give(&victim, object);
}

static void give_the_middle(void)
{
	pool_give(&victim, (char *)pool_take(&victim) + 8);
}

static void give_what_lies_behind(void)
{
	pool_give(&victim, (char *)pool_take(&victim) + 100 * 16);
}

static void give_what_lies_before(void)
{
	pool_give(&victim, (char *)pool_take(&victim) - 16);
}

START_TEST(giving_what_was_not_taken_aborts)
{
	open_pool(&victim, 16, 100, 0);
	expect_abort(give_twice, "pool->taken[group] & bit");
	expect_abort(give_the_middle, "offset % pool->object_bytes == 0");
	expect_abort(give_what_lies_behind, "index < pool->objects_max");
	expect_abort(give_what_lies_before, "index < pool->objects_max");
	pool_close(&victim);
}
END_TEST

START_TEST(an_impossible_pool_is_an_error)
{
	struct pool pool;

	if (suite_sanitized()) {
		suite_skip("an impossible pool is an error", "ASan takes no such mmap");
		return;
	}
	ck_assert_int_eq(pool_open(&pool, 1 << 20, (size_t)1 << 40, 0), -ENOMEM);
	pool_close(&pool);
}
END_TEST

/* ---- against a model ---- */

#define OBJECTS	     700 /* ten groups and a part of one */
#define OBJECT_BYTES 72

static struct {
	struct pool pool;
	char *first;
	bool taken[OBJECTS];
	size_t used;
} random_pool;

static void expect_contents(size_t index)
{
	const uint64_t *object =
	    (const uint64_t *)(const void *)(random_pool.first + index * OBJECT_BYTES);

	for (size_t i = 0; i < OBJECT_BYTES / 8; i++)
		MUST(object[i] == index * 1000 + i);
}

static void random_take(void)
{
	char *object = pool_take(&random_pool.pool);
	size_t lowest = 0;
	uint64_t *words;

	if (random_pool.used == OBJECTS) {
		MUST(!object);
		return;
	}
	while (random_pool.taken[lowest])
		lowest++;
	if (!random_pool.first)
		random_pool.first = object;
	MUST(object == random_pool.first + lowest * OBJECT_BYTES);
	words = (uint64_t *)(void *)object;
	for (size_t i = 0; i < OBJECT_BYTES / 8; i++)
		words[i] = lowest * 1000 + i;
	random_pool.taken[lowest] = true;
	random_pool.used++;
}

static void random_give(size_t index)
{
	if (!random_pool.taken[index])
		return;
	expect_contents(index);
	pool_give(&random_pool.pool, random_pool.first + index * OBJECT_BYTES);
	random_pool.taken[index] = false;
	random_pool.used--;
}

static void random_walk(void)
{
	size_t cursor = 0, index = 0;
	char *object;

	while ((object = pool_next(&random_pool.pool, &cursor))) {
		while (index < OBJECTS && !random_pool.taken[index])
			index++;
		MUST(index < OBJECTS);
		MUST(object == random_pool.first + index * OBJECT_BYTES);
		expect_contents(index++);
	}
	while (index < OBJECTS)
		MUST(!random_pool.taken[index++]);
	MUST(!pool_next(&random_pool.pool, &cursor));
}

START_TEST(random_operations_agree_with_a_model)
{
	unsigned long steps = suite_volume(500000);
	uint64_t seed = 2;

	open_pool(&random_pool.pool, OBJECT_BYTES, OBJECTS, 8192);
	for (unsigned long step = 0; step < steps; step++) {
		uint64_t random = next_random(&seed);
		/* It fills and empties by turns, so that it is full, empty, and in between. */
		bool rising = step / 3000 % 2 == 0;
		size_t index = (size_t)(random >> 8) % OBJECTS;

		if (random % 8 < (rising ? 6 : 2))
			random_take();
		else
			random_give(index);
		MUST(random_pool.pool.used == random_pool.used);
		if (step % 512 == 0)
			random_walk();
	}
	printf("FIGURE pool model: %lu operations\n", steps);
	(void)fflush(stdout);
	pool_close(&random_pool.pool);
}
END_TEST

START_TEST(a_walk_meets_each_one_that_stays_once_whatever_goes_meanwhile)
{
	uint64_t seed = 3;

	for (int round = 0; round < 300; round++) {
		char *objects[OBJECTS], *object;
		bool gone[OBJECTS] = {false}, met[OBJECTS] = {false};
		size_t cursor = 0;
		struct pool pool;

		open_pool(&pool, OBJECT_BYTES, OBJECTS, 0);
		for (size_t i = 0; i < OBJECTS; i++)
			objects[i] = pool_take(&pool);
		while ((object = pool_next(&pool, &cursor))) {
			size_t index = (size_t)(object - objects[0]) / OBJECT_BYTES;
			size_t other = (size_t)next_random(&seed) % OBJECTS;

			MUST(!met[index] && !gone[index]);
			met[index] = true;
			/* Gives back this object, or any other one. */
			other = next_random(&seed) % 2 ? index : other;
			if (!gone[other])
				pool_give(&pool, objects[other]);
			gone[other] = true;
		}
		for (size_t i = 0; i < OBJECTS; i++)
			MUST(met[i] || gone[i]);
		pool_close(&pool);
	}
}
END_TEST

/* ---- memory ---- */

/* How many bytes of the pool, without its bitmap, are in memory. */
static size_t resident(const struct pool *pool)
{
	size_t bitmap = (size_t)(pool->base - (char *)pool->taken);
	size_t pages = (pool->mapped_bytes - bitmap + PAGE - 1) / PAGE, count = 0;
	unsigned char *in = malloc(pages);

	ck_assert_ptr_nonnull(in);
	ck_assert_int_eq(mincore(pool->base, pool->mapped_bytes - bitmap, in), 0);
	for (size_t i = 0; i < pages; i++)
		count += in[i] & 1;
	free(in);
	return count * PAGE;
}

static void **take_all(struct pool *pool)
{
	void **objects = calloc(pool->objects_max, sizeof *objects);

	ck_assert_ptr_nonnull(objects);
	for (size_t i = 0; i < pool->objects_max; i++)
		objects[i] = memset(pool_take(pool), 1, pool->object_bytes);
	return objects;
}

START_TEST(a_page_is_there_from_the_first_touch_only)
{
	struct pool pool;
	void *object;

	open_pool(&pool, 16384, 65536, 0); /* a gigabyte of addresses */
	ck_assert_uint_eq(resident(&pool), 0);
	object = pool_take(&pool);
	ck_assert_uint_eq(resident(&pool), 0);
	memset(object, 1, 16384);
	ck_assert_uint_eq(resident(&pool), 16384);
	pool_give(&pool, object);
	ck_assert_uint_eq(resident(&pool), 0);
	pool_close(&pool);
}
END_TEST

/* With the sizes of weir's connections and chunks. */
START_TEST(free_groups_go_back_to_the_kernel)
{
	static const size_t sizes[] = {128, 16384};

	for (size_t size = 0; size < 2; size++) {
		size_t objects_n = (size_t)(32 << 20) / sizes[size];
		struct pool pool;
		void **objects;

		open_pool(&pool, sizes[size], objects_n, 0);
		objects = take_all(&pool);
		ck_assert_uint_eq(resident(&pool), 32 << 20);
		/* All but the first object of each group are given back: no memory can be. */
		for (size_t i = 0; i < objects_n; i++)
			if (i % POOL_GROUP)
				pool_give(&pool, objects[i]);
		ck_assert_uint_eq(resident(&pool), 32 << 20);
		/* Then the first of every second group. */
		for (size_t i = 0; i < objects_n; i += 2 * POOL_GROUP)
			pool_give(&pool, objects[i]);
		ck_assert_uint_eq(resident(&pool), 16 << 20);
		for (size_t i = POOL_GROUP; i < objects_n; i += 2 * POOL_GROUP)
			pool_give(&pool, objects[i]);
		printf("FIGURE pool of %zu byte objects, 32 MiB taken and given: %zu KiB stay\n",
		       sizes[size], resident(&pool) / 1024);
		(void)fflush(stdout);
		ck_assert_uint_eq(resident(&pool), 0);
		free(objects);
		pool_close(&pool);
	}
}
END_TEST

START_TEST(a_last_group_that_is_a_part_goes_back_too)
{
	struct pool pool;
	void **objects;

	open_pool(&pool, 16384, POOL_GROUP + 10, 0);
	objects = take_all(&pool);
	for (size_t i = 0; i < pool.objects_max; i++)
		pool_give(&pool, objects[i]);
	ck_assert_uint_eq(resident(&pool), 0);
	free(objects);
	pool_close(&pool);
}
END_TEST

START_TEST(the_spare_bytes_stay_and_no_more)
{
	struct pool pool;
	void **objects;

	open_pool(&pool, 128, 65536, 64 << 10);
	objects = take_all(&pool);
	for (size_t i = 0; i < pool.objects_max; i++)
		pool_give(&pool, objects[i]);
	ck_assert_uint_eq(resident(&pool), 64 << 10);
	free(objects);
	pool_close(&pool);
}
END_TEST

/*
 * Spare groups must be counted correctly: when a group is taken again, it may be one whose pages
 * went back long ago, and then the spare groups are still there.
 */
START_TEST(no_more_than_the_spare_bytes_stay_after_any_history)
{
	const size_t groups = 256, group_bytes = 128 * POOL_GROUP, spare = 2 * group_bytes;
	char *first = NULL;
	struct pool pool;
	void **objects;

	open_pool(&pool, 128, groups * POOL_GROUP, spare);
	objects = take_all(&pool);
	/* Objects go from the top down, and after each group one object is taken and given back. */
	for (size_t i = pool.objects_max; i-- > 0;) {
		pool_give(&pool, objects[i]);
		if (i % POOL_GROUP || i == 0)
			continue;
		first = pool_take(&pool);
		ck_assert_ptr_eq(first, objects[i]);
		*first = 1;
		pool_give(&pool, first);
	}
	printf("FIGURE pool with %zu KiB to spare, emptied group by group: %zu KiB stay\n",
	       spare / 1024, resident(&pool) / 1024);
	(void)fflush(stdout);
	ck_assert_uint_eq(pool.used, 0);
	ck_assert_uint_le(resident(&pool), spare);
	free(objects);
	pool_close(&pool);
}
END_TEST

/* With the size of a queue's segments a group is less than a page. */
START_TEST(groups_smaller_than_a_page_go_back_too)
{
	struct pool pool;
	void **objects;

	open_pool(&pool, 24, 262144, 64 << 10); /* as many as for 256M of buffers */
	objects = take_all(&pool);
	for (size_t i = 0; i < pool.objects_max; i++)
		pool_give(&pool, objects[i]);
	printf("FIGURE pool of 24 byte objects, 6 MiB taken and given: %zu KiB stay\n",
	       resident(&pool) / 1024);
	(void)fflush(stdout);
	/* The pages at both ends of each spare group may be shared with other groups. */
	ck_assert_uint_le(resident(&pool), 512 << 10);
	free(objects);
	pool_close(&pool);
}
END_TEST

SUITE("pool", {"takes the lowest up to the cap", takes_the_lowest_up_to_the_cap, 10},
      {"giving what was not taken aborts", giving_what_was_not_taken_aborts, 10},
      {"an impossible pool is an error", an_impossible_pool_is_an_error, 10},
      {"random operations agree with a model", random_operations_agree_with_a_model, 60},
      {"a walk meets each one that stays once, whatever goes meanwhile",
       a_walk_meets_each_one_that_stays_once_whatever_goes_meanwhile, 60},
      {"a page is there from the first touch only", a_page_is_there_from_the_first_touch_only, 10},
      {"free groups go back to the kernel", free_groups_go_back_to_the_kernel, 60},
      {"a last group that is a part goes back too", a_last_group_that_is_a_part_goes_back_too, 10},
      {"the spare bytes stay and no more", the_spare_bytes_stay_and_no_more, 30},
      {"no more than the spare bytes stay after any history",
       no_more_than_the_spare_bytes_stay_after_any_history, 30},
      {"groups smaller than a page go back too", groups_smaller_than_a_page_go_back_too, 30})
