#include "bench/weirload/chat/chat_line.h"

#include <endian.h>
#include <string.h>

#define ZEROS	  0x3030303030303030ull /* "00000000" */
#define NO_DIGITS 0xc0c0c0c0c0c0c0c0ull /* bits that are clear in each digit */
#define WORD_BITS 48
#define WORD_MASK ((1ull << WORD_BITS) - 1)
#define NAMES	  3 /* words before the pattern */

/* ---- 48 bits as 8 characters ---- */

static inline uint64_t load(const unsigned char *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof word);
	return le64toh(word);
}

static inline void store(unsigned char *bytes, uint64_t characters)
{
	characters = htole64(characters);
	memcpy(bytes, &characters, sizeof characters);
}

/* Halves 48 bits three times: 2 parts of 24, 4 of 12, 8 of 6, each in a byte of its own. */
static inline uint64_t spread(uint64_t word)
{
	word = (word & 0x0000000000ffffff) | (word & 0x0000ffffff000000) << 8;
	word = (word & 0x00000fff00000fff) | (word & 0x00fff00000fff000) << 4;
	word = (word & 0x003f003f003f003f) | (word & 0x0fc00fc00fc00fc0) << 2;
	return word + ZEROS;
}

/* Undoes spread(). digits: 8 characters, with ZEROS subtracted. */
static inline uint64_t gather(uint64_t digits)
{
	digits = (digits & 0x003f003f003f003f) | (digits & 0x3f003f003f003f00) >> 2;
	digits = (digits & 0x00000fff00000fff) | (digits & 0x0fff00000fff0000) >> 4;
	return (digits & 0x0000000000ffffff) | (digits & 0x00ffffff00000000) >> 8;
}

/* ---- the pattern ---- */

/* The factors are odd, so that changing one bit of one word always changes the seed. */
static inline uint64_t seed_of(const uint64_t names[NAMES])
{
	return names[0] * 0x9e3779b97f4a7c15 + names[1] * 0xc2b2ae3d27d4eb4f +
	       names[2] * 0xd6e8feb86659fd93;
}

static inline uint64_t pattern_at(uint64_t seed, size_t at)
{
	uint64_t word = seed + at * 0xa0761d6478bd642f;

	word = (word ^ word >> 32) * 0xe7037ed1a0b428db;
	word = (word ^ word >> 29) * 0x8ebc6af09c88c6e3;
	return spread(word >> (64 - WORD_BITS));
}

/* ---- lines ---- */

void chat_line_write(unsigned char *bytes, size_t n, const struct chat_line *line)
{
	uint64_t names[NAMES] = {(uint64_t)line->sender << CHAT_LINE_NUMBER_BITS | line->number,
				 line->sent_ns & WORD_MASK, line->due_ns & WORD_MASK};
	uint64_t seed = seed_of(names), last;
	size_t at;

	for (at = 0; at < NAMES; at++)
		store(bytes + 8 * at, spread(names[at]));
	for (at = 8 * NAMES; at + 8 <= n; at += 8)
		store(bytes + at, pattern_at(seed, at));
	if (at == n)
		return;
	last = htole64(pattern_at(seed, at));
	memcpy(bytes + at, &last, n - at);
}

static inline void name(struct chat_line *line, uint64_t word)
{
	line->sender = (uint32_t)(word >> CHAT_LINE_NUMBER_BITS);
	line->number = (uint32_t)(word & CHAT_NUMBER_MAX);
}

bool chat_line_read(struct chat_line *line, const unsigned char *bytes, size_t n)
{
	uint64_t names[NAMES], seed, last, wrong = 0;
	size_t at;

	for (at = 0; at < NAMES; at++) {
		uint64_t digits = load(bytes + 8 * at) - ZEROS;

		wrong |= digits & NO_DIGITS;
		names[at] = gather(digits);
	}
	seed = seed_of(names);
	for (at = 8 * NAMES; at + 8 <= n; at += 8)
		wrong |= load(bytes + at) ^ pattern_at(seed, at);
	if (at < n) {
		last = htole64(pattern_at(seed, at));
		wrong |= memcmp(bytes + at, &last, n - at) != 0;
	}
	name(line, names[0]);
	line->sent_ns = names[1];
	line->due_ns = names[2];
	return !wrong;
}

bool chat_line_read_name(struct chat_line *line, const unsigned char *bytes)
{
	uint64_t digits = load(bytes) - ZEROS;

	name(line, gather(digits));
	return !(digits & NO_DIGITS);
}
