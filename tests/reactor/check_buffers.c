/*
 * The bound that reactor/stream/buffers.h states: the memory taken is in proportion to the bytes
 * kept, in whatever order buffers are taken and given back, and small chunks never overlap.
 *
 * It can't see how much of that is resident: check_memory looks at that.
 */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/stream/buffers.h"
#include "tests/support/suite.h"

#define CHUNKS 1024
#define KEPT   20000
#define STEPS  200000

/* ck_assert() writes a mark each time it is passed, which is slow for a million of them. */
#define MUST(condition) ((condition) ? (void)0 : ck_abort_msg("%s does not hold", #condition))

static struct stats stats;
static struct buffers buffers;
static struct chunk *kept[KEPT];

static void open_buffers(void)
{
	memset(&stats, 0, sizeof stats);
	ck_assert_int_eq(buffers_open(&buffers, (size_t)CHUNKS * CHUNK_SIZE, 0, &stats), 0);
}

static void expect_nothing_in_use(void)
{
	ck_assert_uint_eq(buffers.chunks.used, 0);
	ck_assert_uint_eq(stats.chunks, 0);
	buffers_close(&buffers);
}

START_TEST(a_chunk_is_of_the_size_of_its_bytes)
{
	open_buffers();
	for (size_t n = 1; n <= CHUNK_BYTES; n++) {
		struct chunk *chunk = chunk_new_for(&buffers, n);
		size_t weight = chunk_weight(&buffers, chunk);

		MUST(chunk_room(&buffers, chunk) >= n && chunk_fits(&buffers, chunk, n));
		MUST(weight <= 256 || weight * 10 <= n * 43);
		memset(chunk->bytes, 0xff, n);
		chunk_release(&buffers, chunk);
	}
	expect_nothing_in_use();
}
END_TEST

/* 17,000 connections that hold a single byte each take little of the default --buffers. */
START_TEST(single_bytes_take_little)
{
	open_buffers();
	for (size_t i = 0; i < 17000; i++)
		MUST(kept[i] = chunk_new_for(&buffers, 1));
	ck_assert_uint_le(buffers.chunks.used, 17000 / 64 + 1);
	for (size_t i = 0; i < 17000; i++)
		chunk_release(&buffers, kept[i]);
	expect_nothing_in_use();
}
END_TEST

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static size_t size_of(uint64_t random)
{
	static const size_t most[] = {240, 1000, 4000, CHUNK_BYTES};

	return 1 + (size_t)(random >> 8) % most[random % 4];
}

/* Each small chunk is filled with a byte of its own, which is still there when it is released. */
START_TEST(small_chunks_do_not_stand_on_one_another)
{
	static size_t sizes[KEPT];
	uint64_t state = 42;
	size_t refused = 0;

	open_buffers();
	for (size_t step = 0; step < suite_volume(STEPS); step++) {
		size_t i = (size_t)random_next(&state) % KEPT;

		if (kept[i]) {
			MUST(kept[i]->bytes[0] == (unsigned char)i &&
			     kept[i]->bytes[sizes[i] - 1] == (unsigned char)i);
			chunk_release(&buffers, kept[i]);
			kept[i] = NULL;
			continue;
		}
		sizes[i] = size_of(random_next(&state));
		size_t cost = buffers_cost(&buffers, sizes[i]), used = buffers.chunks.used;
		kept[i] = chunk_new_for(&buffers, sizes[i]);
		refused += !kept[i];
		MUST(kept[i] ? buffers.chunks.used == used + cost : cost && used == CHUNKS);
		if (kept[i])
			memset(kept[i]->bytes, (int)i, sizes[i]);
	}
	ck_assert_uint_gt(refused, 0);
	for (size_t i = 0; i < KEPT; i++)
		if (kept[i])
			chunk_release(&buffers, kept[i]);
	expect_nothing_in_use();
}
END_TEST

/* If all but one piece of each cut chunk are given back, and then others are taken, these fill the
 * holes: no more chunks are cut than the largest number of pieces at one time needs. */
START_TEST(holes_are_filled_before_another_is_cut)
{
	size_t n = 100 * 64;

	open_buffers();
	for (size_t i = 0; i < n; i++)
		kept[i] = chunk_new_for(&buffers, 1);
	ck_assert_uint_eq(buffers.chunks.used, 100);
	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < n; i++)
			if (i % 64 != (size_t)round)
				chunk_release(&buffers, kept[i]);
		for (size_t i = 0; i < n; i++)
			if (i % 64 != (size_t)round)
				kept[i] = chunk_new_for(&buffers, 200);
		ck_assert_uint_eq(buffers.chunks.used, 100);
	}
	for (size_t i = 0; i < n; i++)
		chunk_release(&buffers, kept[i]);
	expect_nothing_in_use();
}
END_TEST

/* So that to fork a child costs no more if many are in use: it dies of touching one. */
START_TEST(children_do_not_have_them)
{
	int status;
	pid_t pid;

	open_buffers();
	kept[0] = chunk_new(&buffers);
	kept[0]->bytes[0] = 'x';
	pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		_exit(*(volatile unsigned char *)kept[0]->bytes == 'x');
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	ck_assert_int_eq(kept[0]->bytes[0], 'x');
	chunk_release(&buffers, kept[0]);
	expect_nothing_in_use();
}
END_TEST

SUITE("buffers", {"a chunk is of the size of its bytes", a_chunk_is_of_the_size_of_its_bytes, 20},
      {"single bytes take little", single_bytes_take_little, 20},
      {"small chunks do not stand on one another", small_chunks_do_not_stand_on_one_another, 60},
      {"holes are filled before another is cut", holes_are_filled_before_another_is_cut, 20},
      {"children do not have them", children_do_not_have_them, 20})
