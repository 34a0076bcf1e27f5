/*
 * queue: bytes on their way out, as segments of reference-counted chunks.
 *
 * A chunk is alive while somebody has bytes in it; one chunk may stand in any number of
 * queues. A queue holds two kinds of bytes, in this order: those owed to the peer, and
 * those held, which are not to be sent before more is known (half a line). An empty queue
 * owns nothing.
 *
 * Bytes that are copied go to a chunk of their size, which is replaced by a larger one as more
 * come: so a queue has one segment for each full chunk of them, and one more.
 *
 * All chunks and segments of a process come from one struct buffers. Running out is an answer
 * (false), never an abort.
 */
#ifndef REACTOR_STREAM_QUEUE_H
#define REACTOR_STREAM_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "reactor/stream/buffers.h"

struct segment;

struct queue {
	struct segment *last; /* circular: last->next is the first */
	uint32_t owed, held;  /* bytes */
};

/* Copies n bytes to the end, as held ones if anything is held, else as owed ones. more: how
 * many bytes will follow them at once; there is room for these then. False, and nothing taken, if
 * buffers do not suffice for all. */
bool queue_append_of(struct queue *queue, struct buffers *buffers, const void *bytes, size_t n,
		     size_t more);
static inline bool queue_append(struct queue *queue, struct buffers *buffers, const void *bytes,
				size_t n)
{
	return queue_append_of(queue, buffers, bytes, n, 0);
}
/* The same without a copy: bytes begin to end of chunk, which gains a reference; if the queue
 * ends with the bytes before these, they become one segment. */
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

/* What it takes of the buffers, in bytes: its bytes, and its segments, which are as scarce. */
size_t queue_weight(const struct queue *queue);

static inline size_t queue_bytes(const struct queue *queue)
{
	return (size_t)queue->owed + queue->held;
}

#endif
