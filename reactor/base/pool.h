/*
 * pool: objects of one size, up to a hard cap, in one stretch of address space.
 *
 * Only addresses are reserved: a page gets memory when an object on it is first taken. Objects
 * stand in groups of 64 with a bitmap each; the lowest free one is taken, so that the pool stays
 * dense, and a group that is wholly free gives its pages back to the kernel, except for
 * spare_bytes that are kept for the next objects. Taken memory is not cleared.
 * One process, one owner; objects die with the pool.
 */
#ifndef REACTOR_BASE_POOL_H
#define REACTOR_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_GROUP 64

struct pool {
	char *base;
	uint64_t *taken; /* a bit for each object */
	uint64_t *spare; /* a bit for each group: free, and its pages were kept */
	size_t page_bytes, mapped_bytes;
	size_t object_bytes, objects_max;
	size_t groups, group_lowest; /* no group below group_lowest has room */
	size_t groups_used;	     /* no group from here on was ever taken from */
	size_t groups_spare, groups_spare_max;
	size_t used;
};

/* object_bytes: a multiple of 8. 0, or -ENOMEM. */
int pool_open(struct pool *pool, size_t object_bytes, size_t objects_max, size_t spare_bytes);
void pool_close(struct pool *pool);

void *pool_take(struct pool *pool); /* NULL at the cap */
void pool_give(struct pool *pool, void *object);

static inline size_t pool_free(const struct pool *pool)
{
	return pool->objects_max - pool->used;
}

/* The first taken object at or after *cursor, which moves past it; NULL at the end. Objects
 * may be taken and given meanwhile: those taken behind the cursor are not seen. */
void *pool_next(const struct pool *pool, size_t *cursor);

#endif
