/*
 * siphash, beside the authors' table for SipHash-2-4: key 00..0f, bytes 00, 01, ... of each length
 * from 0 to 63. Of that table stand here some values, and the hash of all 64 values, which was
 * computed from it once.
 */
#include "reactor/base/siphash.h"

#include <string.h>

#include "tests/support/harness.h"

static const uint64_t key[2] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};

static uint64_t hash_of_length(size_t n)
{
	unsigned char bytes[64] = {0};

	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)i;
	return siphash(key, bytes, n);
}

START_TEST(hashes_are_those_of_the_authors)
{
	uint64_t all[64];

	for (size_t n = 0; n < 64; n++)
		all[n] = hash_of_length(n);
	ck_assert_uint_eq(all[0], 0x726fdb47dd0e0e31);
	ck_assert_uint_eq(all[1], 0x74f839c593dc67fd);
	ck_assert_uint_eq(all[7], 0xab0200f58b01d137);
	ck_assert_uint_eq(all[8], 0x93f5f5799a932462);
	ck_assert_uint_eq(all[15], 0xa129ca6149be45e5);
	ck_assert_uint_eq(all[63], 0x958a324ceb064572);
	ck_assert_uint_eq(siphash(key, all, sizeof all), 0x505c706bd37f0119);
}
END_TEST

START_TEST(bytes_may_lie_anywhere)
{
	static _Alignas(8) unsigned char bytes[80];

	for (size_t shift = 0; shift < 8; shift++)
		for (size_t n = 0; n < 64; n++) {
			for (size_t i = 0; i < n; i++)
				bytes[shift + i] = (unsigned char)i;
			ck_assert_uint_eq(siphash(key, bytes + shift, n), hash_of_length(n));
		}
}
END_TEST

START_TEST(another_key_gives_another_hash)
{
	for (unsigned bit = 0; bit < 128; bit++) {
		uint64_t other[2] = {key[0], key[1]};

		other[bit / 64] ^= UINT64_C(1) << bit % 64;
		ck_assert_uint_ne(siphash(other, "", 0), siphash(key, "", 0));
	}
}
END_TEST

SUITE("siphash", {"hashes are those of the authors", hashes_are_those_of_the_authors, 5},
      {"bytes may lie anywhere", bytes_may_lie_anywhere, 5},
      {"another key gives another hash", another_key_gives_another_hash, 5})
