#include "bench/weirload/plan/pattern.h"

#include <string.h>

#define EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (unsigned char)(byte))
#define SURE_BYTES	16 /* a word and the next one: no coincidence */
#define LOW_BITS	EACH_BYTE(0x7f)

/* Multiplying by an odd number and folding the upper half onto the lower can both be undone. */
#define FACTOR_1  0xff51afd7ed558ccdull
#define FACTOR_2  0xc4ceb9fe1a85ec53ull
#define INVERSE_1 0x4f74430c22a54005ull
#define INVERSE_2 0x9cb4b2f8129337dbull

_Static_assert(FACTOR_1 *INVERSE_1 == 1 && FACTOR_2 * INVERSE_2 == 1, "each undoes the other");

static uint64_t mix(uint64_t x)
{
	x *= FACTOR_1;
	x ^= x >> 32;
	x *= FACTOR_2;
	return x ^ x >> 32;
}

static uint64_t unmix(uint64_t x)
{
	x ^= x >> 32;
	x *= INVERSE_2;
	x ^= x >> 32;
	return x * INVERSE_1;
}

static uint64_t word_at(struct pattern_rule rule, uint64_t key, uint64_t index)
{
	uint64_t word =
	    mix(key << PATTERN_INDEX_BITS | (index & ((1ull << PATTERN_INDEX_BITS) - 1)));

	if (rule.forbidden >= 0) { /* a forbidden byte gets its lowest bit flipped */
		uint64_t other = word ^ EACH_BYTE(rule.forbidden);

		word ^= ~(((other & LOW_BITS) + LOW_BITS) | other | LOW_BITS) >> 7;
	}
	if (rule.plus_one) /* adds 1 to each of the eight bytes, without a carry */
		word = ((word & LOW_BITS) + EACH_BYTE(1)) ^ (word & ~LOW_BITS);
	return word;
}

void pattern_fill(struct pattern_rule rule, uint64_t key, uint64_t position, void *bytes, size_t n)
{
	unsigned char *out = bytes;
	size_t skip = position % 8;

	for (uint64_t index = position / 8; n; index++, skip = 0) {
		uint64_t word = word_at(rule, key, index);
		size_t part = 8 - skip < n ? 8 - skip : n;

		if (part == 8)
			memcpy(out, &word, 8);
		else
			memcpy(out, (char *)&word + skip, part);
		out += part;
		n -= part;
	}
}

size_t pattern_match(struct pattern_rule rule, uint64_t key, uint64_t position, const void *bytes,
		     size_t n)
{
	const unsigned char *in = bytes;
	size_t skip = position % 8, matched = 0;

	for (uint64_t index = position / 8; matched < n; index++, skip = 0) {
		uint64_t word = word_at(rule, key, index), found;
		size_t part = 8 - skip < n - matched ? 8 - skip : n - matched;

		if (part == 8) {
			memcpy(&found, in + matched, 8);
			if (found == word) {
				matched += 8;
				continue;
			}
		}
		for (size_t i = 0; i < part; i++, matched++)
			if (in[matched] != ((unsigned char *)&word)[skip + i])
				return matched;
	}
	return n;
}

/* The word as it was sent, before each byte came back plus one. A flipped bit is not undone: such a
 * word is not recognised, but the next one is. */
static uint64_t word_sent(struct pattern_rule rule, uint64_t word)
{
	if (!rule.plus_one)
		return word;
	return ((word | ~LOW_BITS) - EACH_BYTE(1)) ^ (~word & ~LOW_BITS);
}

void pattern_word(struct pattern_rule rule, const void *bytes, uint64_t *key, uint64_t *index)
{
	uint64_t word, plain;

	memcpy(&word, bytes, 8);
	plain = unmix(word_sent(rule, word));
	*key = plain >> PATTERN_INDEX_BITS;
	*index = plain & ((1ull << PATTERN_INDEX_BITS) - 1);
}

bool pattern_locate(struct pattern_rule rule, uint64_t keys, const void *bytes, size_t n,
		    uint64_t *key, uint64_t *position)
{
	for (size_t i = 0; i + 8 <= n; i++) {
		size_t more = n - i < SURE_BYTES ? n - i : SURE_BYTES;
		uint64_t at;

		pattern_word(rule, (const char *)bytes + i, key, &at);
		at *= 8;
		*position = at - i;
		/* A share of keys / 2^24 of all words has such a key by chance, so what follows has
		 * to fit, too. */
		if (*key < keys && at >= i &&
		    pattern_match(rule, *key, at, (const char *)bytes + i, more) == more)
			return true;
	}
	return false;
}
