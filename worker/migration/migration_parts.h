/*
 * migration_parts: what the two sides of a move share, and nobody else may use.
 *
 *     move_reasons.c  reasons to close, as they travel
 *     migration.c     channels, and the migration of a process
 *     migrate_out.c   connections that go
 *     migrate_in.c    connections that come
 */
#ifndef WORKER_MIGRATION_MIGRATION_PARTS_H
#define WORKER_MIGRATION_MIGRATION_PARTS_H

#include "reactor/base/check.h"
#include "reactor/stream/conn_snapshot.h"
#include "worker/migration/migration.h"

enum { MOVE_OFFER = 1, MOVE_BATCH, MOVE_TAKEN, MOVE_PROMISE, MOVE_REASONS };

/* What a receiver reads beside batches (move_offer.reads); an older weir's does not. */
enum {
	MOVE_READS_PROMISES = 1,
	/* Reasons by name, services by the place of their offer, peers that a proxy gave, and
	   timers. */
	MOVE_READS_ALL = 2,
	MOVE_OFFERS_MORE = 4, /* another offer follows when the sender has said its reasons */
};

struct offer_message {
	uint32_t kind, version;
	uint64_t reasons; /* move_reasons_hash() */
	uint64_t bus;	  /* the journal; to an older weir, what it had before that */
	uint32_t offers_n;
	struct move_offer offers[MOVE_OFFERS_MAX]; /* MOVE_OFFERS_FIRST at most in the first one */
};

/* What is still to come, after all that was sent before this message. */
struct promise_message {
	uint32_t kind, connections;
	uint64_t chunks;
};

struct move_batch_message {
	uint32_t kind, count;
	uint32_t bytes;	 /* in the memfd, which is the last descriptor; 0: there is none */
	uint32_t unused; /* 0: to an older weir it says how much more follows */
	struct conn_snapshot snapshots[MOVE_BATCH_MAX];
};

struct taken_message {
	uint32_t kind, unused;
	uint64_t taken; /* a bit for each connection of the oldest batch */
};

_Static_assert(MOVE_BATCH_MAX <= 64, "a bit for each");

/* One buffer for all channels and both directions, because only one turn runs at a time. */
extern union move_message {
	uint32_t kind;
	struct move_batch_message batch;
	struct promise_message promise;
	struct reasons_message reasons;
} move_message;

static inline struct move_channel *move_channel_of(struct source *source)
{
	return CONTAINER_OF(source, struct move_channel, end.source);
}

/* A snapshot names its service by the place of its offer; for a receiver that does not read that,
 * by its listener's number, and means the first one that it offered. */
#define MOVE_BY_OFFER (UINT32_C(1) << 31)

/* One that is free; NULL: there is none. */
struct move_channel *move_channel_free(struct migration *migration);
/* Takes over fd if it returns 0; else -errno. patient: for the end that answers (seqpacket.h). */
int move_channel_open(struct migration *migration, struct move_channel *channel, int fd,
		      bool patient, source_turn *turn);
void move_channel_close(struct move_channel *channel);
/* Of a channel that takes: this is promised from now on, cut to what this process can hold. */
void move_channel_promise(struct move_channel *channel, struct conn_promise promise);
/* Its sender said something, or is not waited for any more. */
void move_channel_heard(struct move_channel *channel);

#endif
