/*
 * hash_table: objects by a number that is already a good hash, such as siphash()'s.
 *
 * It links nodes that its owner embeds in the objects, and owns only the buckets. It grows one
 * bucket at a time (linear hashing, Litwin 1980), so that no call takes longer because there are
 * many objects. Several nodes may have the same hash.
 */
#ifndef REACTOR_BASE_HASH_TABLE_H
#define REACTOR_BASE_HASH_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct hash_node {
	struct hash_node *next;
	uint64_t hash;
};

struct hash_table {
	struct hash_node **buckets; /* address space for all that there may be */
	size_t mapped_bytes;
	uint32_t n, buckets_n, buckets_max;
	uint32_t level; /* buckets_n is in [level, 2 * level) */
};

/* max: how many nodes it is made for; more make it slower. 0 or -ENOMEM. */
int hash_table_open(struct hash_table *table, uint32_t max);
void hash_table_close(struct hash_table *table);

void hash_table_add(struct hash_table *table, struct hash_node *node);
void hash_table_remove(struct hash_table *table, struct hash_node *node);

/* The first node with this hash, and the next one; NULL: there is none. */
struct hash_node *hash_table_find(const struct hash_table *table, uint64_t hash);
static inline struct hash_node *hash_table_next(const struct hash_node *node)
{
	uint64_t hash = node->hash;
	struct hash_node *next = node->next;

	while (next && next->hash != hash)
		next = next->next;
	return next;
}

#endif
