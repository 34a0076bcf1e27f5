/*
 * queue: several queues that share one small struct buffers, compared with plain byte arrays.
 *
 * The buffers are so small that they run out again and again. What is shown: the bytes and
 * their order, what is held, that nothing is refused without need and a refusal takes nothing, that
 * nobody writes into shared bytes, and that nothing is left at the end. Writing the spans to a
 * socket is conn's job, and not tested here.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/stream/queue.h"
#include "tests/support/harness.h"

/* ck_assert() writes a mark each time it is passed, which is slow for a million of them. */
#define MUST(condition) ((condition) ? (void)0 : ck_abort_msg("%s does not hold", #condition))

#define CHUNKS	    64
#define ALL_BYTES   ((size_t)CHUNKS * 16 * CHUNK_BYTES) /* a queue can owe more, by sharing */
#define QUEUES	    3
#define OWN_CHUNKS  4
#define WRITE_MAX   60000
#define SHARED_LEFT (1u << 20) /* above this a model queue shares no more */

static struct stats stats;
static struct buffers buffers;

static void open_buffers(void)
{
	memset(&stats, 0, sizeof stats);
	ck_assert_int_eq(buffers_open(&buffers, CHUNKS * CHUNK_SIZE, 0, &stats), 0);
}

static void expect_nothing_in_use(void)
{
	ck_assert_uint_eq(buffers.chunks.used, 0);
	ck_assert_uint_eq(buffers.segments.used, 0);
	ck_assert_uint_eq(stats.chunks, 0);
	ck_assert_uint_eq(stats.queued_bytes, 0);
	buffers_close(&buffers);
}

/* All owed bytes, copied out of the spans. */
static size_t read_owed(const struct queue *queue, unsigned char *bytes, size_t n)
{
	static struct iovec spans[4096];
	int count = queue_spans(queue, spans, 4096);
	size_t at = 0;

	for (int i = 0; i < count; i++) {
		MUST(spans[i].iov_len > 0 && at + spans[i].iov_len <= n);
		memcpy(bytes + at, spans[i].iov_base, spans[i].iov_len);
		at += spans[i].iov_len;
	}
	MUST(at == queue->owed);
	return at;
}

static void expect_owed(const struct queue *queue, const char *text)
{
	unsigned char bytes[256] = {0};

	ck_assert_uint_eq(read_owed(queue, bytes, sizeof bytes - 1), strlen(text));
	ck_assert_str_eq((char *)bytes, text);
}

/* ---- the model ---- */

struct plain {
	unsigned char *bytes;
	size_t owed, held;
};

static struct queue queues[QUEUES];
static struct plain plains[QUEUES];
static struct chunk *own[OWN_CHUNKS];
static unsigned char noise[WRITE_MAX + 4096];
static unsigned long refused, most_bytes;

static void plain_add(struct plain *plain, const void *bytes, size_t n, bool hold)
{
	memcpy(plain->bytes + plain->owed + plain->held, bytes, n);
	if (hold || plain->held)
		plain->held += n;
	else
		plain->owed += n;
	if (plain->owed + plain->held > most_bytes)
		most_bytes = plain->owed + plain->held;
}

static size_t all_bytes(void)
{
	size_t n = 0;

	for (int i = 0; i < QUEUES; i++)
		n += plains[i].owed + plains[i].held;
	return n;
}

static void do_add(int at, uint64_t random, bool hold)
{
	size_t n = (size_t)(random >> 20) % (random % 4 ? 300 : WRITE_MAX);
	const unsigned char *bytes = noise + (random >> 40) % 4096;
	size_t chunks = buffers.chunks.used, segments = buffers.segments.used;
	size_t needed = (n + CHUNK_BYTES - 1) / CHUNK_BYTES;
	bool done = hold ? queue_hold(&queues[at], &buffers, bytes, n)
			 : queue_append(&queues[at], &buffers, bytes, n);

	if (done) {
		plain_add(&plains[at], bytes, n, hold);
		return;
	}
	refused++;
	MUST(needed > CHUNKS - chunks || needed > CHUNKS * 16 - segments);
	MUST(buffers.chunks.used == chunks && buffers.segments.used == segments);
}

static void do_share(int at, uint64_t random)
{
	struct chunk **chunk = &own[random % OWN_CHUNKS];
	uint32_t begin, end;

	if (!*chunk) {
		*chunk = chunk_new(&buffers);
		MUST(*chunk || buffers.chunks.used == CHUNKS);
		if (!*chunk)
			return;
		(*chunk)->used = 1 + (uint32_t)(random >> 10) % CHUNK_BYTES;
		memcpy((*chunk)->bytes, noise + (random >> 40) % 4096, (*chunk)->used);
	}
	begin = (uint32_t)(random >> 8) % (*chunk)->used;
	end = begin + 1 + (uint32_t)(random >> 30) % ((*chunk)->used - begin);
	if (plains[at].owed + plains[at].held > SHARED_LEFT)
		return;
	if (queue_share(&queues[at], &buffers, *chunk, begin, end))
		plain_add(&plains[at], (*chunk)->bytes + begin, end - begin, false);
	else
		MUST(buffers.segments.used == CHUNKS * 16);
	/* Often only queues have it from now on. */
	if (random >> 62)
		return;
	chunk_release(&buffers, *chunk);
	*chunk = NULL;
}

static void do_sent(int at, uint64_t random)
{
	struct plain *plain = &plains[at];
	struct iovec spans[64];
	int max = 1 + (int)(random % 64), count = queue_spans(&queues[at], spans, max);
	size_t n = 0, all = 0;

	MUST(count <= max);
	for (int i = 0; i < count; i++)
		all += spans[i].iov_len;
	MUST(all <= plain->owed && (count == max || all == plain->owed));
	/* All that was offered is sent, or a part, as a kernel may do. */
	n = random >> 60 && all ? (size_t)(random >> 8) % (all + 1) : all;
	queue_sent(&queues[at], &buffers, n);
	plain->owed -= n;
	memmove(plain->bytes, plain->bytes + n, plain->owed + plain->held);
}

static void do_step(int at, uint64_t random, unsigned what)
{
	struct plain *plain = &plains[at];

	switch (what) {
	case 0:
	case 1:
	case 2:
		do_add(at, random, false);
		break;
	case 3:
		do_add(at, random, true);
		break;
	case 4:
	case 5:
		do_share(at, random);
		break;
	case 6:
		queue_commit(&queues[at]);
		plain->owed += plain->held;
		plain->held = 0;
		break;
	case 7:
		queue_drop_held(&queues[at], &buffers);
		plain->held = 0;
		break;
	case 8: /* rarely */
		if (random % 64)
			break;
		queue_clear(&queues[at], &buffers);
		plain->owed = plain->held = 0;
		break;
	default:
		do_sent(at, random);
	}
}

/* Compares a queue with its model: only the first owed bytes, which is cheap, or all. */
static void compare(int at, bool all)
{
	static unsigned char bytes[ALL_BYTES];
	const struct plain *plain = &plains[at];
	struct iovec span;

	MUST(queues[at].owed == plain->owed && queues[at].held == plain->held);
	MUST((queues[at].last != NULL) == (plain->owed + plain->held > 0));
	if (queue_spans(&queues[at], &span, 1))
		MUST(span.iov_len <= plain->owed &&
		     memcmp(span.iov_base, plain->bytes, span.iov_len < 64 ? span.iov_len : 64) ==
			 0);
	else
		MUST(!plain->owed);
	MUST(stats.queued_bytes == all_bytes());
	MUST(stats.chunks == buffers.chunks.used);
	if (all)
		MUST(memcmp(bytes, plain->bytes, read_owed(&queues[at], bytes, ALL_BYTES)) == 0);
}

START_TEST(random_operations_agree_with_plain_bytes)
{
	unsigned long steps = suite_volume(200000);
	uint64_t seed = 7;

	open_buffers();
	fill_random(noise, sizeof noise, 8);
	for (int i = 0; i < QUEUES; i++) {
		plains[i].bytes = malloc(ALL_BYTES);
		ck_assert_ptr_nonnull(plains[i].bytes);
	}
	for (unsigned long step = 0; step < steps; step++) {
		uint64_t random = next_random(&seed);
		int at = (int)(random % QUEUES);
		/* By turns: for some time little is sent, so that the buffers run out. */
		unsigned what = (unsigned)(next_random(&seed) % (step / 500 % 2 ? 9 : 13));

		do_step(at, random / QUEUES, what);
		for (int i = 0; i < QUEUES; i++)
			compare(i, step % 64 == 0);
	}
	for (int i = 0; i < QUEUES; i++) {
		queue_commit(&queues[i]);
		plains[i].owed += plains[i].held;
		plains[i].held = 0;
		compare(i, true);
		queue_clear(&queues[i], &buffers);
		free(plains[i].bytes);
		plains[i] = (struct plain){0};
	}
	for (int i = 0; i < OWN_CHUNKS; i++)
		if (own[i])
			chunk_release(&buffers, own[i]);
	printf("FIGURE queue model: %lu operations, %lu refused\n", steps, refused);
	(void)fflush(stdout);
	ck_assert_uint_gt(refused, 0);
	ck_assert_uint_eq(stats.queued_bytes_max, most_bytes);
	ck_assert_uint_eq(stats.chunks_max, CHUNKS);
	ck_assert_uint_eq(stats.chunks_capacity, CHUNKS);
	expect_nothing_in_use();
}
END_TEST

/* ---- single cases ---- */

START_TEST(a_chunk_in_ten_thousand_queues_is_one_chunk)
{
	static struct queue many[10000];
	struct chunk *chunk;

	ck_assert_int_eq(buffers_open(&buffers, 1000 * CHUNK_SIZE, 0, &stats), 0);
	chunk = chunk_new(&buffers);
	memcpy(chunk->bytes, "to everyone", 11);
	chunk->used = 11;
	for (int i = 0; i < 10000; i++)
		MUST(queue_share(&many[i], &buffers, chunk, 3, 11));
	chunk_release(&buffers, chunk);
	ck_assert_uint_eq(buffers.chunks.used, 1);
	expect_owed(&many[0], "everyone");
	for (int i = 0; i < 10000; i++) {
		MUST(buffers.chunks.used == 1);
		queue_sent(&many[i], &buffers, 8);
		MUST(!many[i].last);
	}
	expect_nothing_in_use();
}
END_TEST

START_TEST(nobody_writes_behind_what_others_share)
{
	struct queue a = {0}, b = {0};
	struct chunk *chunk;

	open_buffers();
	chunk = chunk_new(&buffers);
	memcpy(chunk->bytes, "one two", 7);
	chunk->used = 7;
	ck_assert(queue_share(&a, &buffers, chunk, 0, 7));
	ck_assert(queue_share(&b, &buffers, chunk, 0, 3));
	chunk_release(&buffers, chunk);
	/* The chunk is shared, so neither may append to it. */
	ck_assert(queue_append(&a, &buffers, " a", 2));
	ck_assert(queue_append(&b, &buffers, " b", 2));
	expect_owed(&a, "one two a");
	expect_owed(&b, "one b");
	ck_assert_uint_eq(buffers.chunks.used, 2); /* both got small chunks, pieces of one */
	queue_clear(&a, &buffers);
	expect_owed(&b, "one b");
	queue_clear(&b, &buffers);

	/* The queue is the chunk's only owner, but does not share its end: the bytes there are
	 * neither overwritten nor sent. */
	chunk = chunk_new(&buffers);
	memcpy(chunk->bytes, "one two", 7);
	chunk->used = 7;
	ck_assert(queue_share(&a, &buffers, chunk, 0, 3));
	chunk_release(&buffers, chunk);
	ck_assert(queue_append(&a, &buffers, "!", 1));
	expect_owed(&a, "one!");
	queue_clear(&a, &buffers);
	expect_nothing_in_use();
}
END_TEST

START_TEST(small_writes_fill_a_chunk_before_they_take_another)
{
	struct queue queue = {0};

	open_buffers();
	for (size_t i = 0; i < CHUNK_BYTES; i++)
		MUST(queue_append(&queue, &buffers, "x", 1));
	ck_assert_uint_eq(buffers.chunks.used, 1);
	ck_assert_uint_eq(buffers.segments.used, 1);
	ck_assert(queue_append(&queue, &buffers, "x", 1));
	ck_assert_uint_eq(buffers.chunks.used, 2);
	queue_sent(&queue, &buffers, CHUNK_BYTES);
	ck_assert_uint_eq(buffers.chunks.used, 1);
	queue_sent(&queue, &buffers, 1);
	ck_assert_ptr_null(queue.last);
	expect_nothing_in_use();
}
END_TEST

START_TEST(bytes_that_come_one_by_one_move_to_a_larger_chunk)
{
	struct queue queue = {0};

	open_buffers();
	for (size_t n = 1; n <= CHUNK_BYTES; n++) {
		unsigned char byte = (unsigned char)n;
		struct iovec span;

		MUST(queue_append(&queue, &buffers, &byte, 1));
		MUST(buffers.segments.used == 1 && buffers.chunks.used == 1);
		MUST(queue_spans(&queue, &span, 1) == 1 && span.iov_len == n);
		MUST(((unsigned char *)span.iov_base)[n - 1] == byte);
	}
	for (size_t i = 0; i < CHUNK_BYTES; i++) {
		struct iovec span;

		MUST(queue_spans(&queue, &span, 1) == 1);
		MUST(*(unsigned char *)span.iov_base == (unsigned char)(i + 1));
		queue_sent(&queue, &buffers, 1);
	}
	expect_nothing_in_use();
}
END_TEST

START_TEST(held_bytes_are_not_sent_before_they_are_committed)
{
	struct queue queue = {0};

	open_buffers();
	ck_assert(queue_hold(&queue, &buffers, "half", 4));
	expect_owed(&queue, "");
	queue_drop_held(&queue, &buffers);
	ck_assert_ptr_null(queue.last);
	ck_assert(queue_append(&queue, &buffers, "owed,", 5));
	ck_assert(queue_hold(&queue, &buffers, "held", 4));
	/* Bytes appended after held bytes wait with them, so that the order is kept. */
	ck_assert(queue_append(&queue, &buffers, "+more", 5));
	ck_assert_uint_eq(queue.owed, 5);
	ck_assert_uint_eq(queue.held, 9);
	expect_owed(&queue, "owed,");
	queue_sent(&queue, &buffers, 5);
	expect_owed(&queue, "");
	queue_commit(&queue);
	expect_owed(&queue, "held+more");
	ck_assert(queue_hold(&queue, &buffers, "gone", 4));
	queue_drop_held(&queue, &buffers);
	ck_assert(queue_append(&queue, &buffers, "!", 1));
	expect_owed(&queue, "held+more!");
	queue_clear(&queue, &buffers);
	expect_nothing_in_use();
}
END_TEST

START_TEST(nothing_at_all_takes_nothing)
{
	struct queue queue = {0};

	open_buffers();
	ck_assert(queue_append(&queue, &buffers, "", 0));
	ck_assert(queue_hold(&queue, &buffers, "", 0));
	queue_commit(&queue);
	queue_drop_held(&queue, &buffers);
	queue_sent(&queue, &buffers, 0);
	ck_assert_ptr_null(queue.last);
	ck_assert_int_eq(queue_spans(&queue, NULL, 0), 0);
	queue_clear(&queue, &buffers);
	expect_nothing_in_use();
}
END_TEST

START_TEST(running_out_is_an_answer)
{
	static unsigned char bytes[CHUNKS * CHUNK_BYTES + 1];
	struct chunk *all[CHUNKS];
	struct queue queue = {0};

	open_buffers();
	ck_assert(!queue_append(&queue, &buffers, bytes, sizeof bytes));
	ck_assert_ptr_null(queue.last);
	ck_assert(queue_append(&queue, &buffers, bytes, sizeof bytes - 1));
	ck_assert_ptr_null(chunk_new(&buffers));
	ck_assert(!queue_append(&queue, &buffers, bytes, 1));
	ck_assert(!queue_hold(&queue, &buffers, bytes, 1));
	ck_assert_uint_eq(queue.owed, sizeof bytes - 1);
	ck_assert_uint_eq(queue.held, 0);
	/* Room in the queue's last chunk needs no other chunk; enlarging a small chunk does. */
	queue_sent(&queue, &buffers, CHUNK_BYTES);
	ck_assert(queue_append(&queue, &buffers, bytes, 1));
	ck_assert(queue_append(&queue, &buffers, bytes, 200));
	ck_assert(!queue_append(&queue, &buffers, bytes, 200));
	queue_sent(&queue, &buffers, CHUNK_BYTES);
	ck_assert(!queue_append(&queue, &buffers, bytes, 2 * CHUNK_BYTES));
	ck_assert(queue_append(&queue, &buffers, bytes, CHUNK_BYTES - 201));
	ck_assert_uint_eq(buffers_free_chunks(&buffers), 1);
	queue_clear(&queue, &buffers);
	for (int i = 0; i < CHUNKS; i++) {
		all[i] = chunk_new(&buffers);
		ck_assert_ptr_nonnull(all[i]);
	}
	ck_assert_ptr_null(chunk_new(&buffers));
	all[0]->used = 1;
	/* Segments may run out, too: then sharing is refused, and takes no reference. */
	for (int i = 0; i < CHUNKS * 16; i++)
		MUST(queue_share(&queue, &buffers, all[0], 0, 1));
	ck_assert(!queue_share(&queue, &buffers, all[0], 0, 1));
	ck_assert_uint_eq(all[0]->references, CHUNKS * 16 + 1);
	queue_clear(&queue, &buffers);
	for (int i = 0; i < CHUNKS; i++)
		chunk_release(&buffers, all[i]);
	expect_nothing_in_use();
}
END_TEST

/* ---- what a programmer may not do ---- */

static void send_more_than_is_owed(void)
{
	struct queue queue = {0};

	(void)queue_append(&queue, &buffers, "owed", 4);
	(void)queue_hold(&queue, &buffers, "held", 4);
	queue_sent(&queue, &buffers, 5);
}

static void share_more_than_was_written(void)
{
	struct queue queue = {0};

	(void)queue_share(&queue, &buffers, chunk_new(&buffers), 0, 1);
}

static void release_once_too_often(void)
{
	struct chunk *chunk = chunk_new(&buffers);

	chunk_release(&buffers, chunk);
	chunk_release(&buffers, chunk);
}

static void open_too_small(void)
{
	(void)buffers_open(&buffers, BUFFERS_MIN - 1, 0, &stats);
}

START_TEST(misuse_aborts)
{
	static void (*const acts[])(void) = {send_more_than_is_owed, share_more_than_was_written,
					     release_once_too_often, open_too_small};
	struct rlimit no_core = {0, 0};

	for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			(void)setrlimit(RLIMIT_CORE, &no_core);
			(void)close(STDERR_FILENO);
			open_buffers(); /* a child has none of its parent's */
			acts[i]();
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "act %zu", i);
	}
}
END_TEST

SUITE("queue",
      {"random operations agree with plain bytes", random_operations_agree_with_plain_bytes, 120},
      {"a chunk in ten thousand queues is one chunk", a_chunk_in_ten_thousand_queues_is_one_chunk,
       20},
      {"nobody writes behind what others share", nobody_writes_behind_what_others_share, 10},
      {"small writes fill a chunk before they take another",
       small_writes_fill_a_chunk_before_they_take_another, 10},
      {"bytes that come one by one move to a larger chunk",
       bytes_that_come_one_by_one_move_to_a_larger_chunk, 10},
      {"held bytes are not sent before they are committed",
       held_bytes_are_not_sent_before_they_are_committed, 10},
      {"nothing at all takes nothing", nothing_at_all_takes_nothing, 10},
      {"running out is an answer", running_out_is_an_answer, 10},
      {"misuse aborts", misuse_aborts, 10})
