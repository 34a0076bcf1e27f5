/* siphash: SipHash-2-4 of Aumasson and Bernstein (2012): a hash of bytes by a secret key, so that
 * nobody who does not know the key can choose bytes whose hashes meet. */
#ifndef REACTOR_BASE_SIPHASH_H
#define REACTOR_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint64_t key[2], const void *bytes, size_t n);

#endif
