#include "reactor/base/pool.h"

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

#define GROUP_FULL UINT64_MAX

static size_t round_down(size_t n, size_t unit)
{
	return n / unit * unit;
}

static size_t round_up(size_t n, size_t unit)
{
	return round_down(n + unit - 1, unit);
}

int pool_open(struct pool *pool, size_t object_bytes, size_t objects_max, size_t spare_bytes)
{
	size_t groups = (objects_max + POOL_GROUP - 1) / POOL_GROUP;
	size_t group_bytes = object_bytes * POOL_GROUP;
	size_t spare_words = (groups + 63) / 64;
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	size_t bitmap_bytes = round_up((groups + spare_words) * sizeof(uint64_t), page_bytes);

	CHECK(object_bytes && object_bytes % 8 == 0 && objects_max);
	*pool = (struct pool){.page_bytes = page_bytes,
			      .object_bytes = object_bytes,
			      .objects_max = objects_max,
			      .groups = groups,
			      .groups_spare_max = spare_bytes / group_bytes};
	/* The bitmap comes first, so that groups whose bytes are a multiple of a page's
	 * begin on a page. */
	pool->mapped_bytes = bitmap_bytes + groups * group_bytes;
	pool->taken = sys_map(pool->mapped_bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (!pool->taken)
		return -ENOMEM;
	pool->spare = pool->taken + groups;
	pool->base = (char *)pool->taken + bitmap_bytes;
	/* The last group may be incomplete: its bits without an object count as taken for ever. */
	if (objects_max % POOL_GROUP)
		pool->taken[groups - 1] = GROUP_FULL << (objects_max % POOL_GROUP);
	return 0;
}

void pool_close(struct pool *pool)
{
	if (pool->taken)
		(void)sys_munmap(pool->taken, pool->mapped_bytes);
	*pool = (struct pool){0};
}

static uint64_t group_empty(const struct pool *pool, size_t group)
{
	if (group == pool->groups - 1 && pool->objects_max % POOL_GROUP)
		return GROUP_FULL << (pool->objects_max % POOL_GROUP);
	return 0;
}

void *pool_take(struct pool *pool)
{
	if (pool->used == pool->objects_max)
		return NULL;
	while (pool->taken[pool->group_lowest] == GROUP_FULL)
		pool->group_lowest++;

	size_t group = pool->group_lowest;
	unsigned bit = (unsigned)__builtin_ctzll(~pool->taken[group]);

	uint64_t *spare = &pool->spare[group / 64], spare_bit = 1ULL << (group % 64);

	if (*spare & spare_bit) {
		*spare &= ~spare_bit;
		pool->groups_spare--;
	}
	pool->taken[group] |= 1ULL << bit;
	pool->used++;
	if (group >= pool->groups_used)
		pool->groups_used = group + 1;
	return pool->base + (group * POOL_GROUP + bit) * pool->object_bytes;
}

static bool groups_empty(const struct pool *pool, size_t first, size_t end)
{
	for (; first < end && first < pool->groups; first++)
		if (pool->taken[first] != group_empty(pool, first))
			return false;
	return true;
}

/* A page that neighbouring groups share is given back when the last of them is free. */
static void group_release(struct pool *pool, size_t group)
{
	size_t bytes = pool->object_bytes * POOL_GROUP;
	size_t first = group * bytes, end = first + bytes;
	size_t first_page = round_down(first, pool->page_bytes);
	size_t end_page = round_up(end, pool->page_bytes);

	if (!groups_empty(pool, first_page / bytes, group))
		first_page = round_up(first, pool->page_bytes);
	if (!groups_empty(pool, group + 1, (end_page + bytes - 1) / bytes))
		end_page = round_down(end, pool->page_bytes);
	if (first_page < end_page)
		(void)sys_madvise(pool->base + first_page, end_page - first_page, MADV_DONTNEED);
}

void pool_give(struct pool *pool, void *object)
{
	size_t offset = (size_t)((char *)object - pool->base);
	size_t index = offset / pool->object_bytes;
	size_t group = index / POOL_GROUP;
	uint64_t bit = 1ULL << (index % POOL_GROUP);

	CHECK(offset % pool->object_bytes == 0 && index < pool->objects_max);
	CHECK(pool->taken[group] & bit);
	pool->taken[group] &= ~bit;
	pool->used--;
	if (group < pool->group_lowest)
		pool->group_lowest = group;
	if (pool->taken[group] != group_empty(pool, group))
		return;
	if (pool->groups_spare < pool->groups_spare_max) {
		pool->groups_spare++;
		pool->spare[group / 64] |= 1ULL << (group % 64);
	} else {
		group_release(pool, group);
	}
}

void *pool_next(const struct pool *pool, size_t *cursor)
{
	while (*cursor < pool->groups_used * POOL_GROUP) {
		size_t group = *cursor / POOL_GROUP;
		uint64_t rest = pool->taken[group] >> (*cursor % POOL_GROUP);

		if (!rest) {
			*cursor = (group + 1) * POOL_GROUP;
			continue;
		}
		size_t index = *cursor + (unsigned)__builtin_ctzll(rest);
		if (index >= pool->objects_max)
			break;
		*cursor = index + 1;
		return pool->base + index * pool->object_bytes;
	}
	return NULL;
}
