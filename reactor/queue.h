/*
 * queue: bytes on their way out, as segments of reference-counted chunks.
 *
 * A chunk is alive while somebody has bytes in it; one chunk may stand in any number of
 * queues. A queue holds two kinds of bytes, in this order: those owed to the peer, and
 * those held, which are not to be sent before more is known (half a line). An empty queue
 * owns nothing.
 *
 * All chunks and segments of a process come from one struct buffers, whose cap is the bound
 * on all bytes in hand. Running out is an answer (0, false), never an abort.
 */
#ifndef REACTOR_QUEUE_H
#define REACTOR_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "reactor/pool.h"
#include "reactor/stats.h"

#define CHUNK_SIZE  16384 /* with its header */
#define CHUNK_BYTES (CHUNK_SIZE - 8)

struct chunk {
	uint32_t references;
	uint32_t used; /* bytes written; only the sole owner of the end may write more */
	unsigned char bytes[CHUNK_BYTES];
};

struct segment;

struct queue {
	struct segment *last; /* circular: last->next is the first */
	uint32_t owed, held;  /* bytes */
};

struct buffers {
	struct pool chunks, segments;
	struct stats *stats;
};

/* size: bytes of chunks at most, at least BUFFERS_MIN; queues: how many may stand in one chunk
 * at a time. 0 or -ENOMEM. stats is borrowed. */
#define BUFFERS_MIN (64 * CHUNK_SIZE)
int buffers_open(struct buffers *buffers, size_t size, size_t queues, struct stats *stats);
void buffers_close(struct buffers *buffers);

static inline size_t buffers_free_chunks(const struct buffers *buffers)
{
	return pool_free(&buffers->chunks);
}

struct chunk *chunk_new(struct buffers *buffers); /* one reference; NULL at the cap */
void chunk_release(struct buffers *buffers, struct chunk *chunk);

/* Copies n bytes to the end, as held ones if anything is held, else as owed ones. False,
 * and nothing taken, where buffers do not suffice. */
bool queue_append(struct queue *queue, struct buffers *buffers, const void *bytes, size_t n);
/* The same without a copy: bytes begin to end of chunk, which gains a reference; where the
 * queue ends with those before them, they become one segment. */
bool queue_share(struct queue *queue, struct buffers *buffers, struct chunk *chunk, uint32_t begin,
		 uint32_t end);
/* As queue_append, and the bytes are held. */
bool queue_hold(struct queue *queue, struct buffers *buffers, const void *bytes, size_t n);
/* What was held is owed now. */
static inline void queue_commit(struct queue *queue)
{
	queue->owed += queue->held;
	queue->held = 0;
}
/* Forgets what is held. */
void queue_drop_held(struct queue *queue, struct buffers *buffers);
void queue_clear(struct queue *queue, struct buffers *buffers);

/* The owed bytes, first ones first, as at most max spans. Returns how many spans. */
int queue_spans(const struct queue *queue, struct iovec *spans, int max);
/* All of its bytes, held ones last. */
void queue_copy(const struct queue *queue, void *bytes);
/* n owed bytes have gone. */
void queue_sent(struct queue *queue, struct buffers *buffers, size_t n);

/* What it takes of the buffers, in bytes: what it owes, and its segments, which are as scarce. */
size_t queue_weight(const struct queue *queue);

static inline size_t queue_bytes(const struct queue *queue)
{
	return (size_t)queue->owed + queue->held;
}

#endif
