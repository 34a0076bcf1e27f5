/*
 * topic: the connections of a process that hear what any of them, in any process, says.
 *
 * Lines that have come by the bus are gathered at the end of one chunk, the batch. Delivered,
 * the batch stands in the queue of each member as one segment, whatever the number of lines
 * and of members, but for those who said some of it: they get the pieces between their own
 * lines. No member waits for another: one that owes, or lags, more than slow_bytes when the next
 * batch comes is closed.
 *
 * A topic belongs to one listener, or to all that one LISTENER stands for, and outlives its
 * members. It owns its share of the chunk.
 */
#ifndef REACTOR_PUBSUB_TOPIC_H
#define REACTOR_PUBSUB_TOPIC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "reactor/stream/conn.h"

#define TOPIC_OWN_LINES 512 /* of this process' members, in a batch */

struct relay;

struct topic {
	struct relay *relay;
	struct service *services; /* those whose topic it is, chained by `beside` */
	struct conn_table *table;
	uint16_t number; /* on the bus */
	uint32_t slow_bytes;
	struct pool members;
	struct chunk *chunk;
	uint32_t begin;		  /* of the batch, which goes to the end of what is used */
	uint32_t lines;		  /* of it */
	uint32_t number_of_batch; /* the one that is there, or was the last; it wraps */
	size_t next_to_get;	  /* who gets it next: a cursor in members; 0: nobody has it yet */
	uint32_t end;		  /* bytes of all batches that were delivered; it wraps */
	uint32_t waiting;	  /* members that wait to say something */
	size_t next_to_go;	  /* whose turn it is then: a cursor in members */
	/* Lines of the batch that were said here, numbered from 1 on. */
	struct {
		uint32_t begin, end;
		uint16_t next; /* of the same member; 0: none */
	} own[TOPIC_OWN_LINES + 1];
	uint16_t own_n;
};

/* Opens the topic of a service, and makes it that service's; relay and service are borrowed. 0 or
 * -errno. */
int topic_open(struct topic *topic, struct relay *relay, struct service *service, uint16_t number,
	       uint32_t slow_bytes);
/* Makes it this service's, too: that of another listener whose clients hear the same, on the same
 * table. */
void topic_share(struct topic *topic, struct service *service);
/* Its members must have gone, but not yet its table. A process that ends need not call it. */
void topic_close(struct topic *topic);

/* ---- for protocols ---- */

/* A protocol whose `shares` this is has a topic for each of its listeners. */
extern const struct shared_kind topic_kind;

static inline struct topic *topic_of(const struct conn *conn)
{
	return conn->service->topic;
}

/* A handle, above 0. */
uint32_t topic_join(struct topic *topic, struct conn *conn);
void topic_leave(struct topic *topic, uint32_t member);
/* A member that was one in another process, and has just joined here, gets all that was said
 * since it was marked there (see relay.h). It may have ended for want of buffers then. */
void topic_replay(struct topic *topic, uint32_t member);
/* Which of the processes that share it is this? */
unsigned topic_place(const struct topic *topic);
/* A number that, with that place, never names anybody else, whoever moves or comes. */
uint32_t topic_serial(const struct topic *topic);
/* Two parts, at most BUS_RECORD_MAX bytes together, to all other members. False: not now; the
 * connection's input is paused until it may try again. */
bool topic_say(struct topic *topic, uint32_t member, struct iovec first, struct iovec second);

/* ---- for the relay ---- */

/* Where the n bytes of the next line go. NULL: not before the batch is delivered; or, if
 * there is none, there are no buffers now. */
unsigned char *topic_room(struct topic *topic, size_t n);
/* The bytes are there. member: who said the line, if that was a member here, else 0. */
void topic_add(struct topic *topic, size_t n, uint32_t member);
/* Gives the batch to so many members more, which are counted down. True: all have it now. judges:
 * closes those that are slow. */
bool topic_deliver(struct topic *topic, bool judges, size_t *members);
/* Nothing comes for now: gives up its chunk, unless queues have bytes in it. */
void topic_idle(struct topic *topic);
/* Buffers are used up: closes the members whose queues weigh the most, if that is more than a
 * chunk. */
void topic_make_room(struct topic *topic);
/* Members that wait to say something may go on. */
void topic_go_on(struct topic *topic);
/* lasts: drained members stay, until this is called with false. */
void topic_last(struct topic *topic, bool lasts);
/* May a member still say something that has come by now? */
bool topic_has_more(const struct topic *topic);

static inline bool topic_has_batch(const struct topic *topic)
{
	return topic->lines != 0;
}

#endif
