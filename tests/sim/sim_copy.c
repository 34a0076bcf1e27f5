/*
 * What conn_copy() was given may go at once, on a simulated kernel: any number of pieces in one
 * turn, of any length, between bytes that are sent and held, to a peer that takes all, a little or
 * nothing, until buffers are used up. The protocol is the test's: three numbers of 4 bytes say how
 * many pieces of how many bytes, and what else is sent between them.
 */
#include "tests/support/sim/kernel.h"

#define PIECE_MAX (2 * OUTBOX_COPIES)

enum { SENDS = 1, HOLDS = 2, ENDS = 4 };

struct order {
	uint32_t pieces, bytes, also;
};

static struct world world;
static unsigned char expected[4 << 20];
static size_t expected_n;

/* Piece i has this length, and its bytes are these; no two neighbours are alike. */
static size_t piece(const struct order *order, uint32_t i, unsigned char *at)
{
	size_t n = order->bytes > 40 ? order->bytes : 1 + (order->bytes + i) % 40;

	for (size_t k = 0; k < n; k++)
		at[k] = (unsigned char)(i * 31 + k);
	return n;
}

static size_t copier_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	static unsigned char text[PIECE_MAX];
	struct order order;

	if (n < sizeof order)
		return 0;
	memcpy(&order, bytes, sizeof order);
	for (uint32_t i = 0; i < order.pieces; i++) {
		size_t text_n = piece(&order, i, text);

		if (order.also & HOLDS)
			conn_hold(conn, "held", 4);
		conn_copy(conn, text, text_n);
		memset(text, 0xee, text_n); /* it is free again */
		if (order.also & SENDS)
			conn_send(conn, "sent", 4);
	}
	if (order.also & ENDS) {
		conn_finish(conn, CLOSE_finished);
		conn_copy(conn, "never", 5);
	}
	return sizeof order;
}

static const struct protocol copier = {.name = "copier", .input = copier_input};

static void expect_also(uint32_t also, uint32_t bit, const char *text)
{
	if (!(also & bit))
		return;
	memcpy(expected + expected_n, text, 4);
	expected_n += 4;
}

static void expect_order(const struct order *order)
{
	expected_n = 0;
	for (uint32_t i = 0; i < order->pieces; i++) {
		EXPECT(expected_n + PIECE_MAX + 8 <= sizeof expected);
		expect_also(order->also, HOLDS, "held");
		expected_n += piece(order, i, expected + expected_n);
		expect_also(order->also, SENDS, "sent");
	}
}

static struct peer *begin(size_t buffers)
{
	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS, .write_ms = 1000}, buffers);
	world.service.protocol = &copier;
	return world_connect(&world);
}

static void end_with(struct peer *peer, enum close_reason reason)
{
	world_run(&world);
	EXPECT(peer->closed);
	EXPECT(world.stats.closed[reason] == 1 && world_closed(&world) == 1);
	world_close(&world);
}

/* All that was ordered comes, `most` bytes at a time. */
static void expect_all(struct peer *peer, size_t most)
{
	static unsigned char got[PEER_SPACE];
	size_t at = 0;

	world_run(&world);
	while (peer->out.n) {
		size_t n = peer_receive(peer, got, most);

		EXPECT(at + n <= expected_n);
		EXPECT(memcmp(got, expected + at, n) == 0);
		at += n;
		world_run(&world);
	}
	EXPECT_MSG(at == expected_n, "%zu bytes came, not %zu", at, expected_n);
	EXPECT(!world.table.outbox.copies[OUTBOX_COPIES]); /* its page goes on there, empty */
}

static const uint32_t counts[] = {0, 1, 2, 63, 64, 65, 127, 128, 129, 800, 1000, 10000};

START_TEST(any_number_of_pieces_in_one_turn)
{
	static const size_t spaces[] = {PEER_SPACE, 5000, 100};

	for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
		for (uint32_t also = 0; also < 8; also++)
			for (size_t s = 0; s < 3; s++) {
				struct order order = {counts[c], 7, also};
				struct peer *peer = begin(BUFFERS_MIN);

				peer->space = spaces[s];
				expect_order(&order);
				peer_send(peer, &order, sizeof order);
				expect_all(peer, spaces[s]);
				if (also & ENDS) {
					end_with(peer, CLOSE_finished);
					continue;
				}
				peer_finish(peer);
				end_with(peer, CLOSE_eof);
			}
}
END_TEST

START_TEST(pieces_of_any_length)
{
	static const uint32_t lengths[] = {
	    41,	      4096, OUTBOX_COPIES / 2, OUTBOX_COPIES - 1, OUTBOX_COPIES, OUTBOX_COPIES + 1,
	    PIECE_MAX};

	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		for (uint32_t pieces = 1; pieces < 20; pieces++)
			for (uint32_t also = 0; also < 4; also++) {
				struct order order = {pieces, lengths[i], also};
				struct peer *peer = begin(BUFFERS_MIN);

				expect_order(&order);
				peer_send(peer, &order, sizeof order);
				expect_all(peer, PEER_SPACE);
				peer_finish(peer);
				end_with(peer, CLOSE_eof);
			}
}
END_TEST

/* Each turn has all of the room again: nothing goes by way of a chunk. */
START_TEST(few_pieces_cost_one_write_and_no_chunk)
{
	struct order order = {300, 7, 0};
	struct peer *peer = begin(BUFFERS_MIN);

	expect_order(&order);
	ck_assert_uint_lt(expected_n, OUTBOX_COPIES);
	ck_assert_uint_gt(2 * expected_n, OUTBOX_COPIES / 2);
	for (int i = 0; i < 50; i++) {
		kernel_count_anew();
		peer_send(peer, &order, sizeof order);
		world_run(&world);
		ck_assert_uint_eq(kernel.calls[KERNEL_write], 1);
		ck_assert_uint_eq(kernel.calls[KERNEL_writev], 0);
		ck_assert_uint_eq(world.stats.queued_bytes_max, 0);
		expect_all(peer, PEER_SPACE);
	}
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* A peer that takes nothing has it in its queue, and loses nothing; or is closed in the end. */
START_TEST(a_peer_that_takes_nothing)
{
	for (size_t c = 1; c < sizeof counts / sizeof *counts; c++)
		for (int late = 0; late < 2; late++) {
			struct order order = {counts[c], 7, SENDS};
			struct peer *peer = begin(BUFFERS_MIN);

			peer->space = 0;
			expect_order(&order);
			peer_send(peer, &order, sizeof order);
			world_run(&world);
			ck_assert_uint_eq(world.stats.queued_bytes, expected_n);
			world_wait(&world, late ? 1100 : 900);
			if (late) {
				end_with(peer, CLOSE_write_timeout);
				continue;
			}
			peer->space = PEER_SPACE;
			world_wait(&world, 200); /* the write at the deadline */
			expect_all(peer, PEER_SPACE);
			peer_finish(peer);
			end_with(peer, CLOSE_eof);
		}
}
END_TEST

/* More than all buffers hold: the connection ends for that, wherever they ran out, and what it had
 * is free again for the next. */
START_TEST(buffers_run_out)
{
	for (uint32_t also = 0; also < 4; also++) {
		struct order small = {100, 7, also}, large = {10000, 400, also};
		struct peer *peer = begin(BUFFERS_MIN), *next;

		peer->space = 1000;
		peer_send(peer, &large, sizeof large);
		world_run(&world);
		ck_assert(peer->closed);
		ck_assert_uint_eq(world.stats.closed[CLOSE_no_buffers], 1);
		world_expect_free(&world);
		next = world_connect(&world);
		expect_order(&small);
		peer_send(next, &small, sizeof small);
		expect_all(next, PEER_SPACE);
		peer_finish(next);
		world_run(&world);
		ck_assert_uint_eq(world.stats.closed[CLOSE_eof], 1);
		world_close(&world);
	}
}
END_TEST

SUITE("sim_copy", {"any number of pieces in one turn", any_number_of_pieces_in_one_turn, 60},
      {"pieces of any length", pieces_of_any_length, 60},
      {"few pieces cost one write, and no chunk", few_pieces_cost_one_write_and_no_chunk, 10},
      {"a peer that takes nothing", a_peer_that_takes_nothing, 20},
      {"buffers run out", buffers_run_out, 20})
