#include "reactor/base/hash_table.h"

#include <errno.h>

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

#define BUCKETS_MIN 64

int hash_table_open(struct hash_table *table, uint32_t max)
{
	uint32_t buckets_max = max < BUCKETS_MIN ? BUCKETS_MIN : max;
	size_t bytes = buckets_max * sizeof *table->buckets;

	*table = (struct hash_table){
	    .buckets_n = BUCKETS_MIN, .level = BUCKETS_MIN, .buckets_max = buckets_max};
	table->buckets = sys_map(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (!table->buckets)
		return -ENOMEM;
	table->mapped_bytes = bytes;
	return 0;
}

void hash_table_close(struct hash_table *table)
{
	if (table->buckets)
		(void)sys_munmap(table->buckets, table->mapped_bytes);
	*table = (struct hash_table){0};
}

static struct hash_node **bucket_of(const struct hash_table *table, uint64_t hash)
{
	uint64_t bucket = hash & (2 * (uint64_t)table->level - 1);

	if (bucket >= table->buckets_n)
		bucket &= table->level - 1;
	return &table->buckets[bucket];
}

/* One bucket more: some of the nodes of the one that it is split from belong there. */
static void split(struct hash_table *table)
{
	uint32_t anew = table->buckets_n;
	struct hash_node **from = &table->buckets[anew - table->level];
	struct hash_node **to = &table->buckets[anew];

	table->buckets_n++;
	while (*from) {
		struct hash_node *node = *from;

		if ((node->hash & (2 * (uint64_t)table->level - 1)) != anew) {
			from = &node->next;
			continue;
		}
		*from = node->next;
		node->next = *to;
		*to = node;
	}
	if (table->buckets_n == 2 * table->level)
		table->level *= 2;
}

void hash_table_add(struct hash_table *table, struct hash_node *node)
{
	struct hash_node **bucket;

	if (table->n++ >= table->buckets_n && table->buckets_n < table->buckets_max)
		split(table);
	bucket = bucket_of(table, node->hash);
	node->next = *bucket;
	*bucket = node;
}

void hash_table_remove(struct hash_table *table, struct hash_node *node)
{
	struct hash_node **at = bucket_of(table, node->hash);

	while (*at && *at != node)
		at = &(*at)->next;
	CHECK(*at);
	*at = node->next;
	table->n--;
}

struct hash_node *hash_table_find(const struct hash_table *table, uint64_t hash)
{
	struct hash_node *node = *bucket_of(table, hash);

	while (node && node->hash != hash)
		node = node->next;
	return node;
}
