#include "reactor/pubsub/topic_batch.h"

#include <string.h>

#include "reactor/base/check.h"

/* ---- bytes ---- */

/* Where the next byte goes, and how many there is room for. NULL: there are no buffers. */
static unsigned char *room_at_end(struct batch_maker *maker, size_t *room)
{
	struct chunk *chunk = maker->chunk;

	if (chunk && chunk->references == 1) /* no queue has bytes in it any more */
		chunk->used = 0;
	if (chunk && chunk->used == CHUNK_BYTES) {
		chunk_release(maker->buffers, chunk);
		maker->chunk = chunk = NULL;
	}
	if (!chunk)
		maker->chunk = chunk = chunk_new(maker->buffers);
	if (!chunk)
		return NULL;
	*room = CHUNK_BYTES - chunk->used;
	return chunk->bytes + chunk->used;
}

/* n bytes more at the end of the chunk are the batch's. It has a reference to each of its chunks.
 */
static void run_extend(struct batch_maker *maker, struct batch *batch, size_t n)
{
	struct chunk *chunk = maker->chunk;
	struct run *last = batch->runs_n ? &batch->runs[batch->runs_n - 1] : NULL;

	if (!last || last->chunk != chunk) {
		CHECK(batch->runs_n < BATCH_RUNS_MAX);
		batch->runs[batch->runs_n++] = (struct run){chunk, chunk->used, chunk->used};
		chunk->references++;
		last = &batch->runs[batch->runs_n - 1];
	}
	chunk->used += (uint32_t)n;
	last->end += (uint32_t)n;
	batch->bytes += (uint32_t)n;
}

/* A record that does not fit what is left of the chunk goes to the next one, unless it is longer
 * than that: then it is copied from chunk to chunk. */
static bool append_long(struct batch_maker *maker, struct batch *batch, const unsigned char *bytes,
			size_t n)
{
	while (n) {
		size_t room;
		unsigned char *to = room_at_end(maker, &room);

		if (!to)
			return false;
		if (room > n)
			room = n;
		memcpy(to, bytes, room);
		run_extend(maker, batch, room);
		bytes += room;
		n -= room;
	}
	return true;
}

enum appended { APPENDED, FULL, NO_BUFFERS, OVERWRITTEN };

static enum appended append_to_batch(struct batch_maker *maker, struct batch *batch,
				     const struct topic *topic, const struct journal_entry *entry)
{
	static unsigned char whole[FORMAT_BYTES_MAX];
	const struct journal *journal = maker->topics->journal;
	size_t n = topic->format->bytes(entry), room;
	unsigned char *to = room_at_end(maker, &room);

	CHECK(n <= FORMAT_BYTES_MAX);
	if (!to)
		return NO_BUFFERS;
	if (n > room && batch->runs_n)
		return FULL;
	if (n > room && n <= CHUNK_BYTES) { /* it begins the next chunk */
		chunk_release(maker->buffers, maker->chunk);
		maker->chunk = NULL;
		if (!(to = room_at_end(maker, &room)))
			return NO_BUFFERS;
	}
	if (n > room)
		to = whole;
	topic->format->encode(entry, to);
	if (!journal_holds(journal, entry->id))
		return OVERWRITTEN;
	if (to == whole)
		return append_long(maker, batch, whole, n) ? APPENDED : NO_BUFFERS;
	run_extend(maker, batch, n);
	return APPENDED;
}

/* ---- whose records they are ---- */

/* Chains the records of a sender in order: these pieces of the batch it does not get. */
static void note_own(struct batch *batch, struct sender *sender, uint32_t begin)
{
	uint16_t number = ++batch->own_n;

	batch->own[number].begin = begin;
	batch->own[number].end = batch->bytes;
	batch->own[number].next = 0;
	if (sender->batch == batch->number)
		batch->own[sender->own_last].next = number;
	else
		sender->own_first = number;
	sender->batch = batch->number;
	sender->own_last = number;
}

static struct sender *sender_here(const struct batch_maker *maker, const struct topic *topic,
				  const struct journal_entry *entry)
{
	const struct subscriptions *subscriptions = maker->subscriptions;
	struct sender *sender = entry->sender ? sender_find(subscriptions, entry->sender) : NULL;

	if (!sender || subscription_of(subscriptions, sender->subscription)->topic != topic)
		return NULL;
	return sender;
}

/* ---- the batch ---- */

static void batch_add(struct batch *batch, const struct topics *topics, const struct topic *topic,
		      const struct journal_entry *entry)
{
	if (!batch->records++) {
		uint64_t unread = topics->whole_from - 1;

		batch->first = entry->id;
		batch->said_us = entry->said_us;
		/* Of what this process has read, members had all of the topic before. Of what it
		 * has not read some may have been of it, from the record before this one down. */
		if (entry->previous && entry->previous < unread)
			unread = entry->previous;
		batch->before = unread > topic->gone ? unread : topic->gone;
	}
	batch->last = entry->id;
	batch->last_number = (uint32_t)entry->number;
}

/* The topic goes on at the first record that is still there; members may miss what is below. */
static void skip_to_floor(struct topics *topics, struct topic *topic)
{
	struct journal_entry entry;
	enum sought sought;

	do
		sought = topics_seek(topics, topic, &topic->pending, &entry);
	while (sought == SOUGHT_LATER);
	topic->gone = sought == SOUGHT_NONE ? topic->last : topic->pending - 1;
	if (sought == SOUGHT_NONE)
		topic->pending = 0;
}

/* Each member needs a segment for each run, and one more for each record of its own; so do those of
 * other topics. One for each free chunk is left for other output. */
static bool segments_suffice(const struct batch_maker *maker)
{
	const struct buffers *buffers = maker->buffers;
	size_t needed =
	    maker->subscriptions->table->conns.used + BATCH_OWN_MAX + pool_free(&buffers->chunks);

	return pool_free(&buffers->segments) > needed;
}

static void batch_begin(struct batch_maker *maker, struct batch *batch)
{
	if (!++maker->number)
		maker->number = 1;
	batch->number = maker->number;
	batch->records = batch->bytes = 0;
	batch->runs_n = batch->own_n = 0;
	batch->given = false;
}

enum batch_made topic_batch_make(struct batch_maker *maker, struct batch *batch,
				 struct topic *topic)
{
	struct topics *topics = maker->topics;
	enum appended appended = APPENDED;

	batch_begin(maker, batch);
	if (!segments_suffice(maker))
		return BATCH_NO_BUFFERS;
	while (topic->pending && batch->own_n < BATCH_OWN_MAX && batch->bytes < CHUNK_BYTES &&
	       batch->records < BATCH_RECORDS_MAX) {
		uint64_t id = topic->pending;
		uint32_t begin = batch->bytes;
		struct journal_entry entry;
		struct sender *sender;

		if (journal_find(topics->journal, id, &entry) != JOURNAL_FOUND) {
			if (!batch->records)
				skip_to_floor(topics, topic);
			if (batch->records)
				break;
			continue;
		}
		if (topic_has(topic, &entry)) {
			appended = append_to_batch(maker, batch, topic, &entry);
			if (appended == OVERWRITTEN)
				continue;
			if (appended != APPENDED)
				break;
			batch_add(batch, topics, topic, &entry);
			sender = sender_here(maker, topic, &entry);
			if (sender)
				note_own(batch, sender, begin);
		}
		topic->pending = topics_next(topics, id);
	}
	if (batch->records)
		return BATCH_MADE;
	topic_batch_end(maker, batch);
	return appended == NO_BUFFERS ? BATCH_NO_BUFFERS : BATCH_EMPTY;
}

/* Gives bytes begin to end of the batch. */
static bool give_bytes(const struct batch *batch, struct subscription *subscription, uint32_t begin,
		       uint32_t end)
{
	uint32_t at = 0;

	for (unsigned i = 0; i < batch->runs_n && begin < end; i++) {
		const struct run *run = &batch->runs[i];
		uint32_t n = run->end - run->begin, from, to;

		if (begin < at + n) {
			from = run->begin + (begin - at);
			to = end < at + n ? run->begin + (end - at) : run->end;
			if (!conn_share(subscription->conn, run->chunk, from, to))
				return false;
			subscription->given += to - from;
			begin += to - from;
		}
		at += n;
	}
	return true;
}

bool topic_batch_give(const struct batch_maker *maker, const struct batch *batch,
		      struct subscription *subscription)
{
	const struct sender *sender = subscription->sender;
	uint16_t own = sender && sender->batch == batch->number ? sender->own_first : 0;
	uint32_t at = 0, skipped = 0;

	for (; own; own = batch->own[own].next) {
		if (!give_bytes(batch, subscription, at, batch->own[own].begin))
			return false;
		at = batch->own[own].end;
		skipped++;
	}
	if (!give_bytes(batch, subscription, at, batch->bytes))
		return false;
	subscription->position = batch->last + 1;
	subscription->number = batch->last_number;
	subscription->numbered = true;
	subscription_count(maker->subscriptions, batch->records - skipped);
	return true;
}

void topic_batch_end(struct batch_maker *maker, struct batch *batch)
{
	while (batch->runs_n)
		chunk_release(maker->buffers, batch->runs[--batch->runs_n].chunk);
}

void topic_batch_rest(struct batch_maker *maker)
{
	if (!maker->chunk || maker->chunk->references > 1)
		return;
	chunk_release(maker->buffers, maker->chunk);
	maker->chunk = NULL;
}
