/*
 * migration: live connections on their way from this process to another, and from others to here.
 *
 * They go over a channel, one SOCK_SEQPACKET pair; README.md draws what is said there. Exactly one
 * of the two processes serves a connection at any time: the sender does nothing with those that it
 * described until it is answered, and the receiver touches no socket before it has answered. So if
 * a channel ends without an answer, because either one died, its last batches were not taken: the
 * sender goes on with them.
 *
 * The receiver keeps room for connections that are promised, and newcomers get what is left over.
 * Before the sender's first word, the master's guess and some more is promised; from then on what
 * the sender says, less what has come. A promise ends with its channel, kept or not, and when a
 * sender has said nothing for too long.
 *
 * A migration is one process' side of all of its channels. It borrows all but their descriptors.
 */
#ifndef WORKER_MIGRATION_MIGRATION_H
#define WORKER_MIGRATION_MIGRATION_H

#include <stdbool.h>
#include <stdint.h>

#include "reactor/stream/conn.h"
#include "reactor/loop/seqpacket.h"
#include "worker/migration/move_reasons.h"

#define MOVE_CHANNELS_MAX 64
#define MOVE_BATCH_MAX	  (DESCRIPTORS_MAX - 1) /* connections; and the memfd of their bytes */
#define MOVE_OFFERS_FIRST 64  /* in the first message: an older weir reads no more */
#define MOVE_OFFERS_MAX	  512 /* with the second one: for each service of each listener */
#define MOVE_ALL	  UINT32_MAX

/* Why a channel has ended, as its sender sees it. */
enum move_end {
	MOVE_DONE = 1, /* as many went as were asked for, or nothing is left that could go */
	MOVE_FULL,     /* the receiver has no room */
	MOVE_BROKEN,   /* the receiver has gone, or says what no receiver says */
};

struct migration;

struct move_owner {
	/* Might more connections come here that have to go? */
	bool (*expects_more)(void);
	/* That order is over: so many went. */
	void (*moved_out)(uint32_t order, uint32_t count, enum move_end end);
};

struct move_batch {
	struct conn *conns[MOVE_BATCH_MAX];
	uint32_t services[MOVE_BATCH_MAX]; /* as their receiver knows them */
	uint32_t n;
};

/* How many batches of a channel may wait for their answers. In a busy worker a channel has its turn
 * after all connections have had theirs: the more is sent, or taken, in one turn, the less it
 * waits. */
#define MOVE_UNDER_WAY_MAX 16

struct move_channel {
	struct seqpacket end; /* not open: this channel is free */
	struct migration *migration;
	uint32_t order;
	uint32_t wanted;     /* how many still have to go */
	uint32_t moved;	     /* so many have gone */
	uint32_t refusals;   /* in a row */
	uint32_t offers_n;   /* 0: no offer has come; at the receiver, how many it made */
	uint32_t services_n; /* at the receiver: how many it will have made */
	size_t cursor;	     /* in the table */
	bool sends, same_bus;
	bool waits; /* for the end of another channel's batch, or of this channel */
	uint32_t first, under_way;
	struct move_batch batches[MOVE_UNDER_WAY_MAX];
	struct conn_promise promise; /* what is to come, without what is under way */
	bool heard;		     /* what is to come has been said */
	uint32_t patience_ms;	     /* at the receiver: until then the promise stands, */
	uint32_t latest_ms;	     /* and never beyond this time */
	struct move_offer {
		uint32_t listener;
		uint16_t state_bytes, state_version;
		char protocol[23];
		uint8_t reads; /* what else the receiver reads */
	} offers[MOVE_OFFERS_MAX];
	struct service *services[MOVE_OFFERS_MAX]; /* at the receiver: what it offered */
	struct move_reasons reasons;		   /* at the receiver: those of its sender */
	/* At the sender: */
	bool reads_all;	    /* the receiver takes what an older weir would misread */
	bool awaits_offers; /* it has more to offer */
	bool knows_reasons; /* those that have a reason to close may go */
};

struct migration {
	struct loop *loop;
	struct conn_table *table;
	uint64_t journal; /* which one it is: subscribers go between processes of one journal */
	const struct move_owner *owner;
	bool closed;	  /* no more connections are taken */
	unsigned unheard; /* channels whose sender has said nothing yet */
	struct move_channel *channels[MOVE_CHANNELS_MAX]; /* made when one is needed, and kept */
};

void migration_open(struct migration *migration, struct conn_table *table, uint64_t journal,
		    const struct move_owner *owner);

/* Takes over fd, an end of a channel. Moves count connections, or MOVE_ALL, and tells moved_out()
 * with this order when it is over; if no channel is free, at once, with MOVE_FULL. */
void migrate_out(struct migration *migration, int fd, uint32_t order, uint32_t count);
/* Takes over fd, and what comes over it until its sender ends it. services: those that it offers;
 * of several of one listener, an older weir sees the first.
 * expected: what will come, as far as the master knows. */
void migrate_in(struct migration *migration, int fd, struct service *const services[], size_t n,
		struct conn_promise expected);
/* Is it still unknown how many are to come, or from which addresses? */
bool migration_is_undecided(const struct migration *migration);
/* A connection has come, or none will any more: channels that give everything look again. */
void migrate_out_look(struct migration *migration);
/* This process ends: it takes nothing from now on. */
void migration_close(struct migration *migration);

#endif
