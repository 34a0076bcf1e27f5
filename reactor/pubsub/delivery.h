/*
 * delivery: what is published comes to the subscribers of this process. A source of the loop.
 *
 * It reads on in the journal, and topics with new records wait in a queue. The first one is given a
 * batch, which goes to a slice of its subscribers: DELIVERY_TURN_MEMBERS in a turn, because each of
 * these costs a turn and a write of its own. Then they have their turns, like everybody else, and
 * the topic goes to the end of the queue, so that a small topic does not wait for a large one. When
 * all that was there at the beginning has been delivered, that was a round, and delivery rests
 * three times as long as it took: at least a millisecond or not at all, DELIVERY_REST_MS at most.
 * So many records go out in one write, and one that comes alone is not held up.
 *
 * One for each process. It owns topics and subscriptions; the journal and the table are borrowed.
 */
#ifndef REACTOR_PUBSUB_DELIVERY_H
#define REACTOR_PUBSUB_DELIVERY_H

#include "reactor/base/check.h"
#include "reactor/loop/loop.h"
#include "reactor/pubsub/topic_batch.h"

#define DELIVERY_TURN_MEMBERS 128
#define DELIVERY_TURN_RECORDS 4096 /* read from the journal in one turn */
#define DELIVERY_REST_MS      10
#define DELIVERY_BATCHES      64 /* topics whose batch is given out slice by slice */

struct delivery_limits {
	uint32_t slow_bytes; /* a subscriber that lags more is closed */
	uint32_t topics_max, of_conn_max;
};

struct delivery {
	struct loop *loop;
	struct conn_table *table;
	struct source source; /* the doorbell, and a deadline */
	struct journal_port port;
	struct topics topics;
	struct subscriptions subscriptions;
	struct batch_maker maker;
	struct batch batches[DELIVERY_BATCHES];
	uint64_t batches_taken;	  /* a bit for each */
	struct service *services; /* whose connections subscribe, chained by `beside` */
	/* Called when something was published, and the journal held nothing: whoever lets go of old
	 * records has to look at it (history_age.h). NULL: nobody does. */
	void (*history_begins)(void);
	size_t turn_members; /* DELIVERY_TURN_MEMBERS */
	uint32_t turn;
	uint32_t give_max; /* one that owes more is not given a batch: it falls behind */
	bool asleep;	   /* a doorbell is asked for */
	uint64_t began_us; /* when (the last part of) a round was delivered; 0: its cost is known */
	uint64_t cost_us;  /* of the round's parts so far */
	uint64_t rest_until_us;
	uint64_t missed; /* how many missed records were counted */
	/* Members that wait until they may publish: */
	bool waiting;
	uint32_t waiting_first; /* a list of senders, by their handles */
	uint32_t waits;		/* how often they could go on; it wraps */
	uint32_t longest;	/* who has waited the longest, in the pass in which all may go on */
	/* Buffers are used up: */
	enum { ROOM_IS_THERE, ROOM_IS_MEASURED, ROOM_IS_MADE } room;
	size_t room_cursor, room_most;
	/* The end: */
	enum { DELIVERY_SERVES, DELIVERY_DRAINS, DELIVERY_HAS_SAID_ALL, DELIVERY_IS_OVER } phase;
	bool alone;  /* only this process ends: it does not wait for what others say */
	bool closed; /* no more members come */
	size_t drain_cursor;
};

/* Takes the seat. 0 or -errno. */
int delivery_open(struct delivery *delivery, struct loop *loop, struct conn_table *table,
		  struct journal *journal, unsigned seat, const struct delivery_limits *limits);
/* After all connections have gone. Leaves the seat: nobody waits for us any more. */
void delivery_close(struct delivery *delivery);
/* Connections of this service may subscribe from now on. */
void delivery_serve(struct delivery *delivery, struct service *service);

/* Graceful: what members have sent by now is published, and members stay until all that any
 * process has published has reached them. alone: only this process ends. */
void delivery_drain(struct delivery *delivery, bool alone);
/* While it drains: no more members come. */
void delivery_close_doors(struct delivery *delivery);

/* ---- for protocols ---- */

/* A protocol whose `shares` this is needs a journal. */
extern const struct shared_kind pubsub_kind;

static inline struct delivery *delivery_of(const struct conn *conn)
{
	CHECK(conn->service->delivery); /* else its protocol does not say that it `shares` this */
	return conn->service->delivery;
}

/* Publishes in the topic of this subscription, to all of its subscribers but this one. Two parts,
 * together at most JOURNAL_PAYLOAD_MAX bytes. False: not now, because a worker that runs has not
 * heard what was said long before; the connection's input is paused until it may try again. */
bool delivery_say(struct delivery *delivery, uint32_t handle, struct iovec first,
		  struct iovec second);

#endif
