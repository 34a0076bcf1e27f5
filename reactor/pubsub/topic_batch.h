/*
 * topic_batch: new records of one topic, as bytes that all of its subscribers share.
 *
 * It holds at most as many bytes as a chunk, or one longer record, and is given to the subscribers
 * a slice at a time. One that said some of it gets the pieces between its own. Its bytes lie at the
 * end of the chunk that all batches of a process fill, one after the other.
 */
#ifndef REACTOR_PUBSUB_TOPIC_BATCH_H
#define REACTOR_PUBSUB_TOPIC_BATCH_H

#include "reactor/pubsub/subscription.h"

#define BATCH_RUNS_MAX	  16
#define BATCH_OWN_MAX	  512  /* records of senders that are here */
#define BATCH_RECORDS_MAX 8192 /* some may have no bytes */

_Static_assert(FORMAT_BYTES_MAX / CHUNK_BYTES + 2 <= BATCH_RUNS_MAX, "the longest record fits");

struct batch {
	uint32_t number; /* of all batches of the process, from 1 on; it wraps past 0 */
	uint64_t
	    before; /* whoever has a position above it has all of the topic before the first one */
	uint64_t first, last;
	uint32_t last_number; /* of that in the topic: its lower bits */
	uint32_t records, bytes;
	uint64_t said_us; /* the first one */
	bool given;	  /* to some already */
	unsigned runs_n;
	struct run {
		struct chunk *chunk;
		uint32_t begin, end;
	} runs[BATCH_RUNS_MAX];
	uint16_t own_n;
	struct {
		uint32_t begin, end; /* bytes of the batch */
		uint16_t next;	     /* of the same sender; 0: none */
	} own[BATCH_OWN_MAX + 1];
};

/* The chunk that batches fill, and what they are made of. */
struct batch_maker {
	struct topics *topics;
	struct subscriptions *subscriptions;
	struct buffers *buffers;
	struct chunk *chunk; /* NULL: none */
	uint32_t number;
};

enum batch_made {
	BATCH_MADE,
	BATCH_EMPTY,	  /* what was pending is gone, or is nobody's */
	BATCH_NO_BUFFERS, /* nothing was done */
};
/* Makes a batch of what is pending of the topic, and moves the topic on. */
enum batch_made topic_batch_make(struct batch_maker *maker, struct batch *batch,
				 struct topic *topic);
/* Gives it to a subscription that is up to date. False: its connection ends. */
bool topic_batch_give(const struct batch_maker *maker, const struct batch *batch,
		      struct subscription *subscription);
/* All have it. */
void topic_batch_end(struct batch_maker *maker, struct batch *batch);
/* Nothing comes for now: gives up the chunk, unless queues have bytes in it. */
void topic_batch_rest(struct batch_maker *maker);

#endif
