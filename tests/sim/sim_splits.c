/*
 * What TCP may do to a transcript must not show: however the input is cut, and however
 * little of the output the kernel takes at a time, the same bytes come back and the
 * connection ends for the same reason.
 *
 * Each transcript is cut in two at every place, sent a byte at a time, and cut at random; pieces
 * arrive between turns or in the middle of one. What is expected is worked out here, not by the
 * protocols.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/segmenter.h"

#define MESSAGE_MAX 100
#define BYTES_MAX   (256u << 10)

struct transcript {
	const char *name, *protocol;
	uint32_t message_max;
	size_t in_n, out_n;
	enum close_reason reason;
	bool endless; /* the output goes on until the peer's FIN; `out` is its beginning */
	unsigned char *in, *out;
};

static unsigned char taken[4 * BYTES_MAX];
static struct transcript all[24];
static size_t all_n;

/* ---- transcripts ---- */

static struct transcript *transcript_new(const char *name, const char *protocol)
{
	struct transcript *t = &all[all_n++];

	*t = (struct transcript){.name = name,
				 .protocol = protocol,
				 .message_max = MESSAGE_MAX,
				 .reason = CLOSE_eof,
				 .in = malloc(BYTES_MAX),
				 .out = malloc(BYTES_MAX)};
	ck_assert(t->in && t->out);
	return t;
}

/* Adds n bytes that are sent and, if `back`, come back. */
static void add(struct transcript *t, const void *bytes, size_t n, bool back)
{
	EXPECT_MSG(t->in_n + n <= BYTES_MAX, "%s is too large", t->name);
	memcpy(t->in + t->in_n, bytes, n);
	t->in_n += n;
	if (back)
		memcpy(t->out + t->out_n, bytes, n);
	t->out_n += back ? n : 0;
}

static void add_text(struct transcript *t, const char *text, bool back)
{
	add(t, text, strlen(text), back);
}

static void add_line(struct transcript *t, size_t n, bool back)
{
	for (size_t i = 0; i < n; i++)
		add(t, &(char){(char)('a' + (i + n) % 26)}, 1, back);
	add(t, "\n", 1, back);
}

static void add_prefix(struct transcript *t, uint32_t n, bool back)
{
	const unsigned char prefix[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16),
					 (unsigned char)(n >> 8), (unsigned char)n};
	add(t, prefix, 4, back);
}

static void add_frame(struct transcript *t, uint32_t n)
{
	add_prefix(t, n, true);
	for (uint32_t i = 0; i < n; i++)
		add(t, &(unsigned char){(unsigned char)(i * 7 + n)}, 1, true);
}

static void make_increment(void)
{
	struct transcript *t = transcript_new("increment", "increment");
	uint64_t seed = 5;
	bool inside = false;

	t->out[t->out_n++] = '*';
	for (int i = 0; i < 600; i++) {
		static const unsigned char often[] = {'^', '$', 255, 0, '^', '$'};
		size_t which = sim_below(&seed, 24);
		unsigned char byte =
		    which < sizeof often ? often[which] : (unsigned char)sim_random(&seed);

		add(t, &byte, 1, false);
		if (inside && byte != '$')
			t->out[t->out_n++] = byte == 255 ? 0 : (unsigned char)(byte + 1);
		inside = inside ? byte != '$' : byte == '^';
	}
}

static void make_chargen(void)
{
	struct transcript *t = transcript_new("chargen", "chargen");

	for (int i = 0; i < 40; i++)
		add(t, "ignored", 7, false);
	t->endless = true;
	for (unsigned line = 0; t->out_n + 74 <= BYTES_MAX; line++) {
		for (unsigned column = 0; column < 72; column++)
			t->out[t->out_n++] = (unsigned char)(32 + (line + column) % 95);
		t->out[t->out_n++] = '\r';
		t->out[t->out_n++] = '\n';
	}
}

static void make_lines(void)
{
	static const size_t lengths[] = {0, 1, 99, 100, 0, 0, 37, 100, 5};
	struct transcript *t = transcript_new("lines", "line");

	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		add_line(t, lengths[i], true);

	t = transcript_new("line without its end", "line");
	add_text(t, "one\ntwo\n\n", true);
	add_text(t, "three, but for its end", false);
	t->reason = CLOSE_truncated;

	t = transcript_new("line too long", "line");
	add_line(t, 100, true);
	add_line(t, 3, true);
	add_line(t, 101, false);
	add_line(t, 5, false);
	t->reason = close_reason_named("line_too_long");

	t = transcript_new("line too long without its end", "line");
	add_text(t, "fine\n", true);
	for (int i = 0; i < 130; i++)
		add_text(t, "x", false);
	t->reason = close_reason_named("line_too_long");
}

static void make_frames(void)
{
	static const uint32_t lengths[] = {0, 1, 100, 0, 0, 3, 99, 100, 4};
	struct transcript *t = transcript_new("frames", "frame");

	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		add_frame(t, lengths[i]);

	t = transcript_new("frame cut in its prefix", "frame");
	add_frame(t, 20);
	add(t, "\0\0\0", 3, false);
	t->reason = CLOSE_truncated;

	t = transcript_new("frame cut in its payload", "frame");
	add_frame(t, 0);
	add_prefix(t, 50, true);
	add_text(t, "less than fifty bytes", true);
	t->reason = CLOSE_truncated;

	t = transcript_new("frame too large", "frame");
	add_frame(t, 100);
	add_prefix(t, 101, false);
	add_text(t, "whatever comes then", false);
	t->reason = close_reason_named("frame_too_large");

	t = transcript_new("largest length of a frame", "frame");
	add_frame(t, 7);
	add_prefix(t, UINT32_MAX, false);
	t->reason = close_reason_named("frame_too_large");
}

static void make_small(void)
{
	struct transcript *t = transcript_new("echo", "echo");
	uint64_t seed = 3;

	for (int i = 0; i < 700; i++)
		add(t, &(unsigned char){(unsigned char)sim_random(&seed)}, 1, true);
	t = transcript_new("echo of nothing", "echo");
	t = transcript_new("discard", "discard");
	for (int i = 0; i < 300; i++)
		add(t, &(unsigned char){(unsigned char)i}, 1, false);
	make_increment();
	make_chargen();
	make_lines();
	make_frames();
}

/* More than a chunk, more than a turn's bytes, more than a turn's messages. */
static void make_large(void)
{
	struct transcript *t = transcript_new("large echo", "echo");

	for (uint32_t i = 0; i < 150000; i++)
		add(t, &(unsigned char){(unsigned char)(i * 2654435761u >> 24)}, 1, true);
	t = transcript_new("large lines", "line");
	t->message_max = 64 << 10;
	add_line(t, 64 << 10, true);
	add_line(t, CHUNK_BYTES, true);
	add_line(t, CHUNK_BYTES - 1, true);
	add_line(t, 30000, true);
	t = transcript_new("large line too long", "line");
	t->message_max = 64 << 10;
	add_line(t, 50000, true);
	add_line(t, (64 << 10) + 1, false);
	t->reason = close_reason_named("line_too_long");
	t = transcript_new("many lines", "line");
	for (size_t i = 0; i < 6000; i++)
		add_line(t, i % 5, true);
	t = transcript_new("large frames", "frame");
	t->message_max = 1 << 20;
	add_frame(t, 100000);
	add_frame(t, CHUNK_BYTES);
	add_frame(t, CHUNK_BYTES - 4);
	t = transcript_new("many frames", "frame");
	for (uint32_t i = 0; i < 5000; i++)
		add_frame(t, i % 3);
	add(t, "\0", 1, false);
	t->reason = CLOSE_truncated;
}

/* ---- a run ---- */

static void run_once(struct world *world, const struct transcript *t, struct segmenter segmenter,
		     const char *how)
{
	size_t taken_n, compared;

	segmenter.name = t->name;
	segmenter.in = t->in;
	segmenter.in_n = t->in_n;
	if (!segmenter.space)
		segmenter.space = t->endless ? 2000 : PEER_SPACE;
	taken_n = segmenter_run(world, &segmenter, taken, sizeof taken);
	compared = t->endless ? (taken_n < t->out_n ? taken_n : t->out_n) : t->out_n;
	EXPECT_MSG(t->endless || taken_n == t->out_n, "%s, %s: %zu bytes came, not %zu", t->name,
		   how, taken_n, t->out_n);
	EXPECT_MSG(memcmp(taken, t->out, compared) == 0, "%s, %s: other bytes came", t->name, how);
	EXPECT_MSG(segmenter.reason == t->reason, "%s, %s: closed for %s, not %s", t->name, how,
		   close_reason_name(segmenter.reason), close_reason_name(t->reason));
}

static void serve(struct world *world, const struct transcript *t)
{
	world->service.protocol = protocol_find(t->protocol);
	world->service.settings[0] = t->message_max;
	world->table.limits.high_water = 256 << 10;
	world->table.limits.low_water = 64 << 10;
}

/* ---- tests ---- */

START_TEST(every_cut_in_two)
{
	struct world world;
	unsigned long runs = 0;
	char how[80];

	make_small();
	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	for (struct transcript *t = all; t < all + all_n; t++) {
		serve(&world, t);
		for (size_t cut = 1; cut <= t->in_n; cut++)
			for (int way = 0; way < 4; way++) {
				struct segmenter segmenter = {.seed = cut,
							      .first = cut,
							      .mid_turn = way & 1,
							      .fin_alone = way & 2};

				(void)snprintf(how, sizeof how, "cut after %zu, way %d", cut, way);
				run_once(&world, t, segmenter, how);
				runs++;
			}
	}
	(void)printf("FIGURE transcripts cut in two: %lu runs\n", runs);
	(void)fflush(stdout);
	world_close(&world);
}
END_TEST

START_TEST(a_byte_at_a_time)
{
	struct world world;

	make_small();
	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	for (struct transcript *t = all; t < all + all_n; t++)
		for (int way = 0; way < 8; way++) {
			struct segmenter segmenter = {.seed = 1,
						      .piece = 1,
						      .mid_turn = way & 1,
						      .fin_alone = way & 2,
						      .drain = way & 4 ? 1 : 0,
						      .space = way & 4 ? 1 : 0};

			serve(&world, t);
			run_once(&world, t, segmenter, "byte for byte");
		}
	world_close(&world);
}
END_TEST

/* Cut at random, sometimes with little space to write to, and with little that may be owed. */
static void random_runs(struct world *world, const struct transcript *t, unsigned long n,
			size_t scale)
{
	char how[80];

	for (unsigned long i = 0; i < n; i++) {
		uint64_t seed = i * 1000003 + 17;
		struct segmenter segmenter = {.mid_turn = sim_below(&seed, 2),
					      .fin_alone = sim_below(&seed, 2)};

		serve(world, t);
		if (sim_below(&seed, 4)) {
			segmenter.space = 1 + sim_below(&seed, scale);
			segmenter.drain = 1 + sim_below(&seed, segmenter.space);
		}
		if (sim_below(&seed, 2)) {
			world->table.limits.high_water = (uint32_t)sim_below(&seed, scale);
			world->table.limits.low_water =
			    (uint32_t)sim_below(&seed, world->table.limits.high_water + 1);
		}
		segmenter.seed = seed;
		(void)snprintf(how, sizeof how, "random cutting %lu", i);
		run_once(world, t, segmenter, how);
	}
}

START_TEST(ten_thousand_random_cuttings)
{
	unsigned long n = suite_volume(10000);
	struct world world;

	make_small();
	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	for (struct transcript *t = all; t < all + all_n; t++)
		random_runs(&world, t, n, 300);
	(void)printf("FIGURE random cuttings: %lu runs, backpressure %llu times\n", n * all_n,
		     (unsigned long long)world.stats.backpressure_on);
	(void)fflush(stdout);
	ck_assert_uint_gt(world.stats.backpressure_on, 0);
	ck_assert_uint_eq(world.stats.backpressure_on - world.stats.backpressure_off, 0);
	world_close(&world);
}
END_TEST

START_TEST(large_transcripts_cut_at_random)
{
	struct world world;

	make_large();
	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	for (struct transcript *t = all; t < all + all_n; t++)
		random_runs(&world, t, suite_volume(200), 60000);
	ck_assert_uint_gt(world.stats.budget_yields, 0);
	world_close(&world);
}
END_TEST

SUITE("sim_splits", {"every cut in two", every_cut_in_two, 120},
      {"a byte at a time", a_byte_at_a_time, 60},
      {"ten thousand random cuttings", ten_thousand_random_cuttings, 240},
      {"large transcripts cut at random", large_transcripts_cut_at_random, 120})
