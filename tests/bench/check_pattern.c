/*
 * pattern and client_protocol: the bytes of weirload's messages, in pieces and whole, and that
 * every changed byte of a reply is noticed.
 */
#include <string.h>

#include "bench/weirload/plan/client_protocol.h"
#include "tests/support/harness.h"

#define STREAM_BYTES 4096

static const struct pattern_rule rules[] = {
    {.forbidden = -1},	{.forbidden = '\n'},
    {.forbidden = '$'}, {.forbidden = '$', .plus_one = true},
    {.forbidden = 0},	{.forbidden = 255, .plus_one = true},
};
#define RULES (sizeof rules / sizeof *rules)

static unsigned char whole[STREAM_BYTES], other[STREAM_BYTES];
static uint64_t seed = 7;

START_TEST(is_the_same_in_pieces)
{
	for (size_t rule = 0; rule < RULES; rule++) {
		pattern_fill(rules[rule], 77, 0, whole, sizeof whole);
		for (size_t at = 0; at < sizeof whole;) {
			size_t n = next_random(&seed) % 50;

			if (n > sizeof whole - at)
				n = sizeof whole - at;
			pattern_fill(rules[rule], 77, at, other + at, n);
			ck_assert_uint_eq(pattern_match(rules[rule], 77, at, whole + at, n), n);
			at += n;
		}
		ck_assert_mem_eq(whole, other, sizeof whole);
	}
}
END_TEST

START_TEST(bends_to_its_rule)
{
	struct pattern_rule plain = {.forbidden = '$'};
	struct pattern_rule plus = {.forbidden = '$', .plus_one = true};

	for (int forbidden = 0; forbidden < 256; forbidden++) {
		struct pattern_rule rule = {.forbidden = forbidden};

		pattern_fill(rule, 3, 0, whole, sizeof whole);
		ck_assert_ptr_null(memchr(whole, forbidden, sizeof whole));
	}
	pattern_fill(plain, 5, 0, whole, sizeof whole);
	pattern_fill(plus, 5, 0, other, sizeof other);
	for (size_t i = 0; i < sizeof whole; i++)
		ck_assert_uint_eq((unsigned char)(whole[i] + 1), other[i]);
}
END_TEST

START_TEST(sees_every_byte_that_is_another)
{
	for (size_t rule = 0; rule < RULES; rule++) {
		pattern_fill(rules[rule], 9, 3, whole, 200);
		for (size_t at = 0; at < 200; at++) {
			unsigned char right = whole[at];

			whole[at] = (unsigned char)(right + 1 + next_random(&seed) % 255);
			ck_assert_uint_eq(pattern_match(rules[rule], 9, 3, whole, 200), at);
			whole[at] = right;
		}
	}
}
END_TEST

/* Any 64 bytes say which connection they belong to, and at which position. Words that a rule has
 * changed are not recognised, but the words beside them are. */
START_TEST(tells_whose_bytes_they_are)
{
	for (size_t rule = 0; rule < RULES; rule++) {
		for (int i = 0; i < 1000; i++) {
			uint64_t key = next_random(&seed) % 100000, found_key, found_position;
			uint64_t position = next_random(&seed) % (1ull << 33);

			pattern_fill(rules[rule], key, position, whole, 64);
			ck_assert(pattern_locate(rules[rule], 100000, whole, 64, &found_key,
						 &found_position));
			ck_assert_uint_eq(found_key, key);
			ck_assert_uint_eq(found_position, position);
		}
	}
}
END_TEST

START_TEST(knows_no_one_in_bytes_that_are_nobodys)
{
	unsigned known = 0;

	for (int i = 0; i < 1000; i++) {
		uint64_t key, position;

		fill_random(whole, 64, (uint64_t)i + 1);
		known += pattern_locate(rules[0], 1000, whole, 64, &key, &position);
	}
	ck_assert_uint_le(known, 1); /* by chance: 57 words, keys / 2^24, and a small index */
}
END_TEST

/* Messages and replies of every protocol and many sizes, cut anywhere. */
START_TEST(messages_and_replies_are_the_same_in_pieces)
{
	static const char *const names[] = {"echo", "increment", "line", "frame"};
	static const uint32_t sizes[] = {1, 2, 7, 8, 9, 64, 333, 4000};

	for (size_t d = 0; d < sizeof names / sizeof *names; d++) {
		const struct client_protocol *dialect = client_protocol_find(names[d], false);

		for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
			uint32_t sent = client_protocol_message_bytes(dialect, sizes[s]);
			uint32_t back = client_protocol_reply_bytes(dialect, sizes[s]);

			client_protocol_fill(dialect, sizes[s], 4, 11, 0, whole, sent);
			for (uint32_t at = 0; at < sent; at++)
				client_protocol_fill(dialect, sizes[s], 4, 11, at, other + at, 1);
			ck_assert_mem_eq(whole, other, sent);

			client_protocol_expect(dialect, sizes[s], 4, 11, 0, whole, back);
			for (uint32_t cut = 0; cut <= back; cut++) {
				ck_assert_uint_eq(
				    client_protocol_match(dialect, sizes[s], 4, 11, 0, whole, cut),
				    cut);
				ck_assert_uint_eq(client_protocol_match(dialect, sizes[s], 4, 11,
									cut, whole + cut,
									back - cut),
						  back - cut);
			}
			for (uint32_t at = 0; at < back; at++) {
				whole[at] ^= 4;
				ck_assert_uint_eq(
				    client_protocol_match(dialect, sizes[s], 4, 11, 0, whole, back),
				    at);
				whole[at] ^= 4;
			}
		}
	}
}
END_TEST

START_TEST(chargen_is_rfc_864s)
{
	const struct client_protocol *dialect = client_protocol_find("chargen", false);

	client_protocol_expect(dialect, 1000, 0, 0, 0, whole, 1000);
	ck_assert_int_eq(memcmp(whole, " !\"#$%&'()*+,-./0123", 20), 0);
	ck_assert_int_eq(memcmp(whole + 72, "\r\n!\"#", 5), 0);
	for (uint32_t at = 0; at < 1000; at++) {
		whole[at] ^= 1;
		ck_assert_uint_eq(client_protocol_match(dialect, 1000, 0, 0, 0, whole, 1000), at);
		whole[at] ^= 1;
	}
	ck_assert_uint_eq(client_protocol_match(dialect, 1000, 0, 0, 0, whole, 1000), 1000);
}
END_TEST

SUITE("pattern", {"is the same in pieces", is_the_same_in_pieces, 10},
      {"bends to its rule", bends_to_its_rule, 10},
      {"sees every byte that is another", sees_every_byte_that_is_another, 10},
      {"tells whose bytes they are", tells_whose_bytes_they_are, 10},
      {"knows no one in bytes that are nobody's", knows_no_one_in_bytes_that_are_nobodys, 10},
      {"messages and replies are the same in pieces", messages_and_replies_are_the_same_in_pieces,
       10},
      {"chargen is RFC 864's", chargen_is_rfc_864s, 10})
