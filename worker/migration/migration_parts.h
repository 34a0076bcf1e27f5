/*
 * move_parts: what the two sides of a move share, and nobody else may use.
 *
 *     migration.c       lanes, and the mover of a process
 *     migrate_out.c  connections that go
 *     migrate_in.c  connections that come
 */
#ifndef WORKER_MIGRATION_MIGRATION_PARTS_H
#define WORKER_MIGRATION_MIGRATION_PARTS_H

#include "reactor/base/check.h"
#include "reactor/stream/conn_snapshot.h"
#include "worker/migration/migration.h"

enum { MOVE_OFFER = 1, MOVE_BATCH, MOVE_TAKEN, MOVE_PROMISE };

struct offer_note {
	uint32_t kind, version;
	uint64_t reasons; /* the table of reasons to close, as a hash */
	uint64_t bus;
	uint32_t offers_n;
	struct move_offer offers[MOVE_OFFERS_MAX];
};

/* What comes after all that was sent before it. */
struct promise_note {
	uint32_t kind, connections;
	uint64_t chunks;
};

struct batch_note {
	uint32_t kind, count;
	uint32_t bytes; /* in the memfd, which is the last descriptor; 0: there is none */
	uint32_t marks_n;
	struct transit transits[MOVE_BATCH_MAX];
	uint64_t marks[BUS_SEATS_MAX]; /* what the members of topics have heard */
};

struct taken_note {
	uint32_t kind, unused;
	uint64_t taken; /* a bit for each of the oldest batch */
};

_Static_assert(MOVE_BATCH_MAX <= 64, "a bit for each");

/* Of all lanes, for both sides: one turn at a time. */
extern struct batch_note move_note;

static inline struct move_lane *lane_of(struct source *source)
{
	return CONTAINER_OF(source, struct move_lane, end.source);
}

/* All reasons to close a connection, as one number: they travel as places in their table. */
uint64_t move_reasons(void);

/* One that is free; NULL: there is none. */
struct move_lane *lane_free(struct mover *mover);
/* Takes over fd where it answers 0; else -errno. A lane that answers is patient. */
int lane_open(struct mover *mover, struct move_lane *lane, int fd, bool patient, source_turn *turn);
void lane_close(struct move_lane *lane);
/* Of one that takes: this is promised from now on, of which no more than there can be is kept. */
void lane_promise(struct move_lane *lane, struct conn_promise promise);
/* Its giver said something, or is not waited for. */
void lane_hear(struct move_lane *lane);

#endif
