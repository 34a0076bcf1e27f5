/*
 * subscription: a connection that hears a topic, and how far it has come: a cursor in the journal.
 *
 * The subscribers of a topic that are up to date are given what is new together, as batches
 * (delivery.h). One that is not, because it came with a position of long ago, or from another
 * process, or does not read as fast as others speak, is behind: it is given the records of its
 * topic from the journal, at the pace at which it reads, with nothing copied for it ahead of that,
 * until it is up to date again. All of these are the same code, and moving a subscription is moving
 * its position.
 *
 * A connection has a list of subscriptions, whose head its protocol keeps in its state: a handle, 0
 * if there is none. All of a process live in one struct subscriptions, which borrows the rest.
 */
#ifndef REACTOR_PUBSUB_SUBSCRIPTION_H
#define REACTOR_PUBSUB_SUBSCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reactor/pubsub/topics.h"
#include "reactor/stream/conn.h"

/* Whoever publishes does not hear itself: known by a number that is its own on this machine. */
struct sender {
	struct hash_node node; /* the number is the hash */
	uint32_t subscription;
	/* What it said in the batch of this number, by places in the batch; 0: nothing. */
	uint32_t batch;
	uint16_t own_first, own_last;
	/* It waits to say something: */
	uint32_t next_waiting;
	uint32_t waits_since; /* as delivery counts */
	bool waiting, said;   /* said: something, since it was last told to go on */
};

struct subscription {
	struct conn *conn;
	struct topic *topic;
	uint64_t position;     /* all records of its topic below this id were given to it */
	struct sender *sender; /* NULL: it has not said anything */
	uint32_t next, prev;   /* of its topic */
	uint32_t of_conn;      /* the next of its connection */
	uint32_t number;       /* of the last record that was given: its lower bits */
	uint32_t mark_end;     /* topic->end at an earlier moment: all from before has been sent;
				  fed: see goal */
	bool numbered;	       /* number is known */
	bool behind, fed;      /* fed: since it is behind, it was given some from the journal */
	union {
		struct { /* bytes of batches, at the end and at the mark; they wrap */
			uint32_t given, mark_given;
		};
		uint64_t goal; /* fed: mark_end is where this id is in the topic, or where it is
				  itself if it has passed that */
	};
};

_Static_assert(sizeof(struct subscription) <= 72, "a subscription is at most 72 bytes");

struct subscriptions {
	struct topics *topics;
	struct conn_table *table;
	struct pool pool, senders;
	struct hash_table by_number; /* senders */
	uint32_t slow_bytes;	     /* one that lags more is closed */
	uint32_t of_conn_max;
};

/* From where on it hears its topic. */
struct since {
	enum {
		SINCE_NOW,
		SINCE_LAST, /* of the records that there are, the last `n` too */
		SINCE_ID,   /* from id `n` on; number: of the record before that in its topic, 0:
			       not known */
	} kind;
	uint64_t n, number;
};

int subscriptions_open(struct subscriptions *subscriptions, struct topics *topics,
		       struct conn_table *table, uint32_t slow_bytes, uint32_t of_conn_max);
void subscriptions_close(struct subscriptions *subscriptions);

/* ---- for protocols ---- */

/* Adds one to the connection's list. False: the name has no 1 to JOURNAL_TOPIC_MAX bytes, the
 * connection has too many, or there are too many topics.
 *
 * Names are one space for all protocols: those with a slash are weir's own (chat/ADDRESS), so a
 * protocol puts something of its own before a name that a client gave, and takes none with a slash.
 */
bool subscribe(struct subscriptions *subscriptions, struct conn *conn, uint32_t *list,
	       const char *name, size_t n, const struct format *format, struct since since);
void unsubscribe(struct subscriptions *subscriptions, uint32_t *list, uint32_t handle);
void unsubscribe_all(struct subscriptions *subscriptions, uint32_t *list);
/* The one of this topic; 0: there is none. */
uint32_t subscription_find(const struct subscriptions *subscriptions, uint32_t list,
			   const char *name, size_t n);
/* For the protocol's produce(): sends what those that are behind have not heard. */
void subscriptions_produce(struct subscriptions *subscriptions, uint32_t list, struct conn *conn);

/* A list on its way to another process, as plain bytes: how many, and these. */
size_t subscriptions_bytes(const struct subscriptions *subscriptions, uint32_t list);
void subscriptions_describe(const struct subscriptions *subscriptions, uint32_t list,
			    unsigned char *bytes);
/* Can these bytes, from another process, be a list? */
bool subscriptions_are_valid(const unsigned char *bytes, size_t n);
/* All have the same format. False: there was no place for all of them; *list is what there was. */
bool subscriptions_restore(struct subscriptions *subscriptions, struct conn *conn, uint32_t *list,
			   const unsigned char *bytes, size_t n, const struct format *format);

/* ---- for delivery ---- */

struct subscription *subscription_of(const struct subscriptions *subscriptions, uint32_t handle);
uint32_t subscription_handle(const struct subscriptions *subscriptions,
			     const struct subscription *subscription);
/* The sender of this number, if it is here. */
struct sender *sender_find(const struct subscriptions *subscriptions, uint64_t number);
/* Its own, which is made when it says something for the first time. */
struct sender *sender_get(struct subscriptions *subscriptions, struct subscription *subscription);
/* It has left the list of those that wait, and its subscription had gone before. */
void sender_gone(struct subscriptions *subscriptions, struct sender *sender);
/* It is behind from now on. */
void subscription_fall_behind(struct subscription *subscription);
/* Does it owe, or lag, more than slow_bytes, when its topic has had so many bytes? */
bool subscription_is_slow(const struct subscriptions *subscriptions,
			  struct subscription *subscription, uint32_t end);
/* It has some of the next bytes of its topic already, or came after them. */
void subscription_skip(struct subscription *subscription, uint32_t end, uint32_t bytes);
void subscription_count(const struct subscriptions *subscriptions, uint64_t records);

#endif
