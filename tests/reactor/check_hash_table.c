/* A table against a list of the same nodes, in random steps, with hashes that often are the same.
 */
#include "reactor/base/hash_table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/suite.h"

#define NODES 3000

static struct hash_table table;
static struct hash_node nodes[NODES];
static bool there[NODES];
static uint64_t seed;

static uint64_t below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

/* Finds all nodes of the hash of this one, each once, and no others. */
static void look_for(unsigned i)
{
	static unsigned seen[NODES], round;
	unsigned expected = 0, found = 0;
	struct hash_node *node;

	round++;
	for (unsigned k = 0; k < NODES; k++)
		expected += there[k] && nodes[k].hash == nodes[i].hash;
	for (node = hash_table_find(&table, nodes[i].hash); node; node = hash_table_next(node)) {
		unsigned k = (unsigned)(node - nodes);

		ck_assert(there[k] && node->hash == nodes[i].hash && seen[k] != round);
		seen[k] = round;
		found++;
	}
	ck_assert_uint_eq(found, expected);
}

/* hashes: from how many they are taken; 0: from all. */
static void steps(uint64_t hashes, uint32_t max, unsigned long n)
{
	uint32_t count = 0;

	memset(there, 0, sizeof there);
	ck_assert_int_eq(hash_table_open(&table, max), 0);
	for (unsigned long step = 0; step < n; step++) {
		/* It grows for a while, and then shrinks. */
		unsigned i = (unsigned)below(NODES);
		bool adds = below(10) < (step / (NODES) % 2 ? 2u : 8u);

		if (adds && !there[i]) {
			nodes[i].hash = hashes ? below(hashes) << below(60) : below(UINT64_MAX);
			hash_table_add(&table, &nodes[i]);
			there[i] = true;
			count++;
		} else if (!adds && there[i]) {
			hash_table_remove(&table, &nodes[i]);
			there[i] = false;
			count--;
		}
		ck_assert_uint_eq(table.n, count);
		if (step % 16 == 0)
			look_for(i);
	}
	for (unsigned i = 0; i < NODES; i++)
		if (there[i])
			hash_table_remove(&table, &nodes[i]);
	for (unsigned i = 0; i < NODES; i++)
		ck_assert_ptr_null(hash_table_find(&table, nodes[i].hash));
	hash_table_close(&table);
}

START_TEST(it_finds_what_a_list_finds)
{
	static const uint64_t hashes[] = {0, 1, 7, 500};
	static const uint32_t max[] = {1, 100, NODES, 1000000};

	seed = 88172645463325252u;
	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < 4; k++)
			steps(hashes[i], max[k], suite_volume(8000));
}
END_TEST

START_TEST(one_that_is_empty_finds_nothing)
{
	struct hash_node node = {.hash = 0};

	ck_assert_int_eq(hash_table_open(&table, 1), 0);
	ck_assert_ptr_null(hash_table_find(&table, 0));
	ck_assert_ptr_null(hash_table_find(&table, UINT64_MAX));
	hash_table_add(&table, &node);
	ck_assert_ptr_eq(hash_table_find(&table, 0), &node);
	ck_assert_ptr_null(hash_table_next(&node));
	hash_table_remove(&table, &node);
	ck_assert_ptr_null(hash_table_find(&table, 0));
	hash_table_close(&table);
}
END_TEST

SUITE("check_hash_table", {"it finds what a list finds", it_finds_what_a_list_finds, 20},
      {"one that is empty finds nothing", one_that_is_empty_finds_nothing, 5})
