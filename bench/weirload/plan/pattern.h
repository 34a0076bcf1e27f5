/*
 * pattern: the bytes that messages are made of. A few bytes are enough to tell where they belong.
 *
 * A stream is words of 8 bytes; word number i of connection `key` is a one-to-one mixture of
 * (key, i). No two words of a run are equal. So a byte that was lost, doubled, moved or altered is
 * noticed at its place, and the words after it say which connection they belong to, and at which
 * position (pattern_locate). Nothing is kept: what was sent is computed again to check it.
 *
 * A rule changes the bytes to what a protocol can carry, and to what its server makes of them.
 */
#ifndef BENCH_WEIRLOAD_PLAN_PATTERN_H
#define BENCH_WEIRLOAD_PLAN_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_KEY_BITS   24
#define PATTERN_INDEX_BITS 40

struct pattern_rule {
	int forbidden; /* this byte never occurs in the stream; -1: all bytes may */
	bool plus_one; /* each byte comes back plus one */
};

/* Writes n bytes of the stream, from byte `position` on. */
void pattern_fill(struct pattern_rule rule, uint64_t key, uint64_t position, void *bytes, size_t n);
/* How many of the n bytes, up to the first wrong one, are those of the stream at `position`. */
size_t pattern_match(struct pattern_rule rule, uint64_t key, uint64_t position, const void *bytes,
		     size_t n);
/* Which connection's word these 8 bytes would be, and its number in that stream. Any 8 bytes make
 * some word, but random ones hardly ever make one that was sent. A word that a rule has changed is
 * not recognised. */
void pattern_word(struct pattern_rule rule, const void *bytes, uint64_t *key, uint64_t *index);
/* Looks in these bytes for a word whose key is below keys. Gives its key, and the position in its
 * stream at which the bytes begin. False if there is no such word. */
bool pattern_locate(struct pattern_rule rule, uint64_t keys, const void *bytes, size_t n,
		    uint64_t *key, uint64_t *position);

#endif
