/*
 * buffers: the memory for all bytes that a process has in hand, and its bound.
 *
 * A chunk is reference-counted bytes: whole, or small, one of the equal pieces that a whole one is
 * cut into (256 bytes, 1 KiB or 4 KiB, with its header). Bytes that are kept take the smallest one
 * that holds them, so that what is taken is in proportion to what came: 256 bytes, or 4.3 times
 * them, at most. A cut chunk counts as a whole one until its last piece comes back; one more is
 * cut only when every other of its kind is full.
 *
 * Segments, which queues are made of, come from here too. Running out is an answer (NULL), never
 * an abort. One process, one owner; what is taken dies with it.
 */
#ifndef REACTOR_STREAM_BUFFERS_H
#define REACTOR_STREAM_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reactor/base/list.h"
#include "reactor/base/pool.h"
#include "reactor/base/stats.h"

#define CHUNK_SIZE  16384 /* with its header */
#define CHUNK_BYTES (CHUNK_SIZE - 8)
#define CHUNK_KINDS 3 /* of small ones */

/* Chunks that many receivers share need a segment in each queue. */
#define SEGMENT_BYTES	   24
#define SEGMENTS_PER_CHUNK 16

struct chunk {
	uint32_t references;
	uint32_t used; /* bytes written; only the sole owner of the end may write more */
	unsigned char bytes[];
};

struct buffers {
	struct pool chunks, segments;
	struct list cut[CHUNK_KINDS]; /* chunks with a piece left, by kind */
	struct stats *stats;
};

/* size: bytes of chunks at most, at least BUFFERS_MIN; queues: how many may share one chunk at a
 * time. 0 or -ENOMEM. stats is borrowed. */
#define BUFFERS_MIN (64 * CHUNK_SIZE)
int buffers_open(struct buffers *buffers, size_t size, size_t queues, struct stats *stats);
void buffers_close(struct buffers *buffers);

static inline size_t buffers_chunks(const struct buffers *buffers)
{
	return buffers->chunks.objects_max;
}

static inline size_t buffers_free_chunks(const struct buffers *buffers)
{
	return pool_free(&buffers->chunks);
}

/* How many of the free chunks does one for n bytes cost: 1, or 0 if a piece is left. */
size_t buffers_cost(const struct buffers *buffers, size_t n);

/* A chunk with one reference; NULL at the cap. The first is a whole one, the second the smallest
 * that holds n bytes, 1 to CHUNK_BYTES. */
struct chunk *chunk_new(struct buffers *buffers);
struct chunk *chunk_new_for(struct buffers *buffers, size_t n);
void chunk_release(struct buffers *buffers, struct chunk *chunk);

/* How many bytes fit in one of this kind, 0 being the smallest, and CHUNK_KINDS a whole one. */
size_t chunk_kind_room(unsigned kind);
/* How many bytes it holds at most, and what it takes of the buffers. */
size_t chunk_room(const struct buffers *buffers, const struct chunk *chunk);
size_t chunk_weight(const struct buffers *buffers, const struct chunk *chunk);
/* Would chunk_new_for(n) be one of this kind? */
bool chunk_fits(const struct buffers *buffers, const struct chunk *chunk, size_t n);

#endif
