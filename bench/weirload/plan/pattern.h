/*
 * pattern: the bytes that messages are made of, such that any of them tells where it belongs.
 *
 * A stream is words of 8 bytes; word number i of connection `key` is a one-to-one mixture of
 * (key, i). No two words of a run are alike, so that a byte that was lost, doubled, moved or
 * altered does not fit where it stands, and the words behind it say whose they are and from
 * where (pattern_locate). Nothing is kept: what was sent is computed again to check it.
 *
 * A rule bends the bytes to what a protocol can carry, and to what it makes of them.
 */
#ifndef BENCH_WEIRLOAD_PLAN_PATTERN_H
#define BENCH_WEIRLOAD_PLAN_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_KEY_BITS   24
#define PATTERN_INDEX_BITS 40

struct pattern_rule {
	int forbidden; /* this byte never stands in the stream; -1: all may */
	bool plus_one; /* each byte comes back plus one */
};

/* n bytes of the stream, from byte `position` on. */
void pattern_fill(struct pattern_rule rule, uint64_t key, uint64_t position, void *bytes, size_t n);
/* How many of the n bytes are what the stream has at `position`, before the first that is not. */
size_t pattern_match(struct pattern_rule rule, uint64_t key, uint64_t position, const void *bytes,
		     size_t n);
/* Whose word these 8 bytes would be, and its number in its stream: any 8 bytes are somebody's,
 * hardly ever of one that was sent. A word that a rule has bent is not recognised. */
void pattern_word(struct pattern_rule rule, const void *bytes, uint64_t *key, uint64_t *index);
/* Whose word stands somewhere in these bytes, and from which position of its stream? False
 * where none does that has a key below keys. */
bool pattern_locate(struct pattern_rule rule, uint64_t keys, const void *bytes, size_t n,
		    uint64_t *key, uint64_t *position);

#endif
