#include "reactor/stream/queue.h"

#include <string.h>

#include "reactor/base/check.h"

struct segment {
	struct segment *next;
	struct chunk *chunk;
	uint32_t begin, end; /* of the bytes in the chunk */
};

_Static_assert(sizeof(struct segment) == SEGMENT_BYTES, "as many as buffers say");

static struct segment *queue_first(const struct queue *queue)
{
	return queue->last ? queue->last->next : NULL;
}

/* The queue takes over one reference to the chunk. */
static bool queue_push(struct queue *queue, struct buffers *buffers, struct chunk *chunk,
		       uint32_t begin, uint32_t end)
{
	struct segment *segment = pool_take(&buffers->segments);

	if (!segment)
		return false;
	segment->chunk = chunk;
	segment->begin = begin;
	segment->end = end;
	if (queue->last) {
		segment->next = queue->last->next;
		queue->last->next = segment;
	} else {
		segment->next = segment;
	}
	queue->last = segment;
	return true;
}

static void queue_shift(struct queue *queue, struct buffers *buffers)
{
	struct segment *first = queue_first(queue);

	if (first == queue->last)
		queue->last = NULL;
	else
		queue->last->next = first->next;
	chunk_release(buffers, first->chunk);
	pool_give(&buffers->segments, first);
}

static void queue_count(struct queue *queue, struct buffers *buffers, size_t n)
{
	if (queue->held)
		queue->held += (uint32_t)n;
	else
		queue->owed += (uint32_t)n;
	STATS_ADD(buffers->stats, queued_bytes, n);
	STATS_MAX(buffers->stats, queued_bytes_max, queue_bytes(queue));
}

/* May only this queue write to the end of the last segment's chunk? */
static bool queue_owns_tail(const struct queue *queue)
{
	return queue->last && queue->last->chunk->references == 1;
}

static size_t queue_tail_room(const struct queue *queue, const struct buffers *buffers)
{
	const struct segment *last = queue->last;

	if (!queue_owns_tail(queue) || last->end != last->chunk->used)
		return 0;
	return chunk_room(buffers, last->chunk) - last->chunk->used;
}

/* How many bytes the last segment has, if it may move to a larger chunk; else 0. */
static size_t queue_tail_small(const struct queue *queue, const struct buffers *buffers)
{
	const struct segment *last = queue->last;

	if (!queue_owns_tail(queue) || chunk_room(buffers, last->chunk) == CHUNK_BYTES)
		return 0;
	return last->end - last->begin;
}

/* Are there chunks for n bytes, of their size, and so many segments more? */
static bool buffers_suffice(const struct buffers *buffers, size_t n, size_t segments)
{
	size_t rest = n % CHUNK_BYTES;
	size_t chunks = n / CHUNK_BYTES + (rest ? buffers_cost(buffers, rest) : 0);

	return pool_free(&buffers->chunks) >= chunks && pool_free(&buffers->segments) >= segments;
}

/* Moves the last segment to a chunk for n bytes, which is known to be there. */
static void queue_tail_grow(struct queue *queue, struct buffers *buffers, size_t n)
{
	struct segment *last = queue->last;
	struct chunk *chunk = chunk_new_for(buffers, n);

	CHECK(chunk);
	chunk->used = last->end - last->begin;
	memcpy(chunk->bytes, last->chunk->bytes + last->begin, chunk->used);
	chunk_release(buffers, last->chunk);
	last->chunk = chunk;
	last->begin = 0;
	last->end = chunk->used;
}

/* Sees to it that n bytes more fit; a small chunk at the end is replaced by a larger one. */
static bool queue_make_room(struct queue *queue, struct buffers *buffers, size_t n)
{
	size_t room = queue_tail_room(queue, buffers), small, all;

	if (n <= room)
		return true;
	small = queue_tail_small(queue, buffers);
	all = small ? small + n : n - room;
	if (!buffers_suffice(buffers, all, (all + CHUNK_BYTES - 1) / CHUNK_BYTES - (small != 0)))
		return false;
	if (small)
		queue_tail_grow(queue, buffers, all < CHUNK_BYTES ? all : CHUNK_BYTES);
	return true;
}

bool queue_append_of(struct queue *queue, struct buffers *buffers, const void *bytes, size_t n,
		     size_t more)
{
	const unsigned char *from = bytes;
	size_t left = n;

	if (!queue_make_room(queue, buffers, n + more))
		return false;
	while (left) {
		size_t room = queue_tail_room(queue, buffers), part;
		struct chunk *chunk;

		if (!room) {
			room = left + more < CHUNK_BYTES ? left + more : CHUNK_BYTES;
			chunk = chunk_new_for(buffers, room);
			bool pushed = queue_push(queue, buffers, chunk, 0, 0);
			CHECK(chunk && pushed);
		}
		chunk = queue->last->chunk;
		part = room < left ? room : left;
		memcpy(chunk->bytes + chunk->used, from, part);
		chunk->used += (uint32_t)part;
		queue->last->end = chunk->used;
		from += part;
		left -= part;
	}
	queue_count(queue, buffers, n);
	return true;
}

bool queue_share(struct queue *queue, struct buffers *buffers, struct chunk *chunk, uint32_t begin,
		 uint32_t end)
{
	CHECK(begin < end && end <= chunk->used);
	if (queue->last && queue->last->chunk == chunk && queue->last->end == begin) {
		queue->last->end = end;
	} else {
		if (!queue_push(queue, buffers, chunk, begin, end))
			return false;
		chunk->references++;
	}
	queue_count(queue, buffers, end - begin);
	return true;
}

bool queue_hold(struct queue *queue, struct buffers *buffers, const void *bytes, size_t n)
{
	uint32_t held = queue->held;

	if (!queue_append(queue, buffers, bytes, n))
		return false;
	if (!held) { /* they were counted as owed */
		queue->owed -= (uint32_t)n;
		queue->held = (uint32_t)n;
	}
	return true;
}

size_t queue_weight(const struct queue *queue)
{
	const struct segment *segment = queue_first(queue);
	size_t segments = 0;

	if (segment)
		do {
			segments++;
			segment = segment->next;
		} while (segment != queue_first(queue));
	return queue_bytes(queue) + segments * (CHUNK_SIZE / SEGMENTS_PER_CHUNK);
}

int queue_spans(const struct queue *queue, struct iovec *spans, int max)
{
	const struct segment *segment = queue_first(queue);
	size_t left = queue->owed;
	int n = 0;

	for (; left && n < max; segment = segment->next) {
		size_t bytes = segment->end - segment->begin;

		if (bytes > left) /* the rest of it is held */
			bytes = left;
		spans[n++] = (struct iovec){segment->chunk->bytes + segment->begin, bytes};
		left -= bytes;
	}
	return n;
}

void queue_copy(const struct queue *queue, void *bytes)
{
	const struct segment *segment = queue_first(queue);
	unsigned char *to = bytes;

	for (size_t left = queue_bytes(queue); left; segment = segment->next) {
		size_t n = segment->end - segment->begin;

		memcpy(to, segment->chunk->bytes + segment->begin, n);
		to += n;
		left -= n;
	}
}

void queue_sent(struct queue *queue, struct buffers *buffers, size_t n)
{
	CHECK(n <= queue->owed);
	if (!n)
		return;
	queue->owed -= (uint32_t)n;
	STATS_ADD(buffers->stats, queued_bytes, -n);
	while (n) {
		struct segment *first = queue_first(queue);
		size_t bytes = first->end - first->begin;

		if (bytes > n) {
			first->begin += (uint32_t)n;
			return;
		}
		n -= bytes;
		queue_shift(queue, buffers);
	}
}

void queue_drop_held(struct queue *queue, struct buffers *buffers)
{
	struct segment *segment = queue_first(queue);
	size_t keep = queue->owed;

	if (!queue->held)
		return;
	STATS_ADD(buffers->stats, queued_bytes, -(uint64_t)queue->held);
	queue->held = 0;
	if (!keep) {
		while (queue->last)
			queue_shift(queue, buffers);
		return;
	}
	/* The segment in which the owed bytes end becomes the last. */
	while (keep > segment->end - segment->begin) {
		keep -= segment->end - segment->begin;
		segment = segment->next;
	}
	segment->end = segment->begin + (uint32_t)keep;
	while (queue->last != segment) {
		struct segment *victim = segment->next;

		segment->next = victim->next;
		if (victim == queue->last)
			queue->last = segment;
		chunk_release(buffers, victim->chunk);
		pool_give(&buffers->segments, victim);
	}
}

void queue_clear(struct queue *queue, struct buffers *buffers)
{
	if (!queue->last)
		return;
	STATS_ADD(buffers->stats, queued_bytes, -queue_bytes(queue));
	while (queue->last)
		queue_shift(queue, buffers);
	queue->owed = queue->held = 0;
}
