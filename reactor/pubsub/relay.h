/*
 * relay: carries lines between the bus and the topics of a process. A source of the loop.
 *
 * What members say is published, and comes back like what others say: read from the rings,
 * gathered in batches, delivered. A batch is at most a chunk, and is delivered to
 * RELAY_TURN_MEMBERS in a turn of the relay, because each of these costs a turn and a write of its
 * own. Then they have their turns, like everybody else. After the last of them the relay rests
 * three times as long as all that took: at least a millisecond or not at all, RELAY_REST_MS at
 * most, and not if more is there than a batch takes. So many lines go out in one write, and a
 * line that comes alone is not held up.
 *
 * One for each process. The bus is borrowed, and so are the topics.
 */
#ifndef REACTOR_PUBSUB_RELAY_H
#define REACTOR_PUBSUB_RELAY_H

#include "reactor/pubsub/bus.h"
#include "reactor/loop/loop.h"
#include "reactor/pubsub/replay.h"
#include "reactor/pubsub/topic.h"

#define RELAY_TOPICS_MAX   256
#define RELAY_TURN_MEMBERS 128
#define RELAY_TURN_LINES   4096 /* read from the rings in one turn */
#define RELAY_REST_MS	   10
#define RELAY_HOLD_MS	   (BUS_PATIENCE_MS / 2)
#define RELAY_ORDER	   UINT16_MAX /* a topic: how far other rings are to be read first */

struct relay {
	struct loop *loop;
	struct source source; /* the doorbell, and a deadline */
	struct bus_port port;
	struct topic *topics[RELAY_TOPICS_MAX]; /* by number; NULL: not ours */
	size_t topics_n;
	size_t turn_members; /* RELAY_TURN_MEMBERS */
	size_t next_to_go;   /* the topic whose members go on first when there is space */
	bool asleep;	     /* a doorbell is asked for */
	bool waiting;	     /* our ring is full, and so we look for space */
	bool has_space;	     /* it is no longer full: members go on in the next turn */
	bool emptied;	     /* the last batch was all that there was */
	bool alone;	     /* only this process ends: it does not wait for what others say */
	bool closed;	     /* no more members come */
	enum { RELAY_SERVES, RELAY_DRAINS, RELAY_HAS_SAID_ALL, RELAY_IS_OVER } phase;
	uint64_t began_us; /* when (the last part of) a batch was delivered; 0: its cost is known */
	uint64_t cost_us;  /* of the batch's parts so far */
	uint64_t rest_until_us;
	uint64_t missed; /* how many missed lines were logged */
	/* Members that move: */
	unsigned marks_n;	/* relay_mark() without relay_unmark() yet */
	uint32_t held_since_ms; /* for these; the port knows whether it is still held */
	bool spares;		/* slow members: some were given more than a batch without a turn */
	struct replay replay;	/* for the members that arrive now */
	uint64_t order[BUS_SEATS_MAX]; /* how far rings are to be read before our next line */
	unsigned order_n;	       /* 0: that was published */
};

/* Takes the seat. 0 or -errno. */
int relay_open(struct relay *relay, struct loop *loop, struct bus *bus, unsigned seat);
/* Leaves the seat: nobody waits for us any more. */
void relay_close(struct relay *relay);
/* The topic's number must be below RELAY_TOPICS_MAX, and no other topic's here. */
void relay_add(struct relay *relay, struct topic *topic);
void relay_remove(struct relay *relay, const struct topic *topic);

/* Graceful: what members have sent by now is published, and members stay until all that any
 * process has published has reached them. alone: only this process ends. */
void relay_drain(struct relay *relay, bool alone);
/* While it drains: no more members come. */
void relay_close_doors(struct relay *relay);

/* False: not now. Members go on (topic_go_on) when there is space again. */
bool relay_publish(struct relay *relay, uint16_t topic, uint32_t member, struct iovec first,
		   struct iovec second);

/*
 * ---- members that move, from A to B ----
 *
 * They hear each line once, in the order of each sender, and none of their own: A says how far it
 * has delivered (marks), B delivers as far to its own members, and gives to those that come what
 * lies behind the marks. What B publishes from then on is to be read after all that A had read: a
 * record of B's says so (RELAY_ORDER).
 *
 * Each of these three is one stretch, without a turn of the loop or of any source in it:
 *
 *     A: conn_freeze() each, relay_mark(), conn_describe() each, send
 *     B: receive, relay_catch_up(), conn_adopt() each (which calls topic_replay() by way of the
 *        protocol's restore()), relay_end_catch_up(), say to A that they were taken
 *     A: taken: conn_depart() each; refused, or B is gone: conn_thaw() each; then relay_unmark()
 *
 * What is published meanwhile is queued at A too: it is freed with those that depart, and sent to
 * those that are thawed. A batch without members needs no marks. One batch at a time is best: the
 * rings are held from the first one on, for RELAY_HOLD_MS at most.
 */

/* Delivers here all that members here have said, and says how far this process has come by then:
 * all below these marks, one for each of *n rings, has been delivered here, and nothing else. What
 * lies behind them is kept until relay_unmark(). False: not now; nothing is held, but something may
 * have been delivered. */
bool relay_mark(struct relay *relay, uint64_t marks[BUS_SEATS_MAX], unsigned *n);
/* To be called once the members of a relay_mark() have departed, or were thawed. */
void relay_unmark(struct relay *relay);

/* Delivers all that is below the marks, and what members here have said; and keeps what is behind
 * the marks ready for so many newcomers. False: not now, or never: the batch is to be refused, and
 * nothing to be undone; something may have been delivered to members here. */
bool relay_catch_up(struct relay *relay, const uint64_t marks[], unsigned n, size_t newcomers);
/* To be called after relay_catch_up() was true, whether the newcomers have come or not. */
void relay_end_catch_up(struct relay *relay);

/* For the replay, too: a port has come to an order. True: *record is what is to be read instead, of
 * whichever ring. False: there is nothing, or the order was taken: peek again. */
bool relay_follow(struct bus_port *port, struct bus_record *record);

#endif
