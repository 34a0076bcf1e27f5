/* hash: mixes a number so that each bit of the result depends on all bits (the finalizer of
 * MurmurHash3). */
#ifndef REACTOR_BASE_HASH_H
#define REACTOR_BASE_HASH_H

#include <stdint.h>

static inline uint64_t hash_mix(uint64_t hash)
{
	hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdULL;
	hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return hash ^ hash >> 33;
}

#endif
