/*
 * relay: carries lines between the bus and the topics of a process. A source of the loop.
 *
 * What members say is published, and comes back like what others say: read from the rings,
 * gathered in batches, delivered. A batch is at most a chunk; then the members have their
 * turns, and write. After it the relay rests three times as long as that took, if that is a
 * millisecond, at most RELAY_REST_MS, and not where more is there than a batch takes: many lines
 * go out in one write then, and a line that comes alone is not held up.
 *
 * One for each process. The bus is borrowed, and so are the topics.
 */
#ifndef REACTOR_RELAY_H
#define REACTOR_RELAY_H

#include "reactor/bus.h"
#include "reactor/loop.h"
#include "reactor/topic.h"

#define RELAY_TOPICS_MAX 64
#define RELAY_REST_MS	 10

struct relay {
	struct loop *loop;
	struct source source; /* the bell, and a deadline */
	struct bus_port port;
	struct topic *topics[RELAY_TOPICS_MAX]; /* by number; NULL: not ours */
	size_t topics_n;
	size_t next_to_go; /* the topic whose members go on first when there is space */
	bool asleep;	   /* a bell is asked for */
	bool waiting;	   /* our ring is full, and so we look for space */
	bool has_space;	   /* it is not full any more: members go on in the next turn */
	bool emptied;	   /* the last batch was all that there was */
	bool alone;	   /* others go on: nobody waits for what they say */
	bool closed;	   /* no more members come */
	enum { RELAY_SERVES, RELAY_DRAINS, RELAY_HAS_SAID_ALL, RELAY_IS_OVER } phase;
	uint64_t began_us; /* when it was delivered; 0: its cost is known */
	uint64_t rest_until_us;
	uint64_t missed; /* that were logged */
};

/* Takes the seat. 0 or -errno. */
int relay_open(struct relay *relay, struct loop *loop, struct bus *bus, unsigned seat);
/* Leaves it: nobody waits for us any more. */
void relay_close(struct relay *relay);
/* Its number has to be below RELAY_TOPICS_MAX. */
void relay_add(struct relay *relay, struct topic *topic);

/* Graceful: what members have sent by now is said, and members stay until all that any
 * process has said has reached them. alone: only this process ends. */
void relay_drain(struct relay *relay, bool alone);
/* While it drains: no more members come. */
void relay_close_doors(struct relay *relay);

/* False: not now. Members go on (topic_go_on) when there is space again. */
bool relay_publish(struct relay *relay, uint16_t topic, uint32_t member, struct iovec first,
		   struct iovec second);

#endif
