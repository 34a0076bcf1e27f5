/*
 * topics: the topics that a process knows, and its index of the journal.
 *
 * A topic is there as long as it has subscribers here, or a record in the journal. It is found by
 * the hash of its name; those who want its records in different formats have a topic each, of the
 * same name. Each record's successor in its topic is known, so that whoever reads on in a topic
 * touches no record of another one.
 *
 * The index follows the journal: a process reads the head of each record once, in order. Records
 * that are new to a topic with subscribers make it ready: delivery.h.
 */
#ifndef REACTOR_PUBSUB_TOPICS_H
#define REACTOR_PUBSUB_TOPICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reactor/base/hash_table.h"
#include "reactor/base/pool.h"
#include "reactor/base/stats.h"
#include "reactor/pubsub/journal.h"

struct batch;
struct conn;

/* What subscribers missed, because the journal no longer has it. */
struct gap {
	const char *topic;
	size_t topic_n;
	uint64_t from, to; /* ids: what is missing is among these */
	uint64_t records;  /* so many of the topic; 0: how many is not known */
};

/* What a record is to its subscribers, as bytes. */
struct format {
	const char *name;
	size_t (*bytes)(const struct journal_entry *entry); /* at most FORMAT_BYTES_MAX */
	/* Writes as many. entry->bytes is shared memory that may change under it. */
	void (*encode)(const struct journal_entry *entry, unsigned char *to);
	/* In the connection's turn, which may send something; NULL: nothing is said. */
	void (*gap)(struct conn *conn, const struct gap *gap);
};

#define FORMAT_BYTES_MAX (128u << 10)

struct topic {
	struct hash_node node;
	struct topic *ready;	     /* the next in the queue */
	const struct format *format; /* NULL: it has no subscribers */
	char *name;		     /* likewise */
	struct batch *batch;	     /* of it, that is being delivered */
	uint64_t last;		     /* the id of its last record; 0: none is known */
	uint64_t number;	     /* of that */
	uint64_t pending;	     /* the first one that is in no batch yet; 0: none */
	uint64_t gone;		     /* what was pending up to here has gone before it was in one */
	uint64_t batch_first, batch_last; /* records of its batch, if there is one */
	uint32_t first;			  /* of its subscriptions; 0: none */
	uint32_t next_to_get;		  /* the subscription that gets the batch next */
	uint32_t subscribers;
	uint32_t end;	/* bytes that it had for its subscribers so far; it wraps */
	uint32_t round; /* of deliveries, in which it is ready */
	uint32_t turn;	/* of the delivery, in which its last batch began or ended */
	uint8_t name_n;
	bool queued;
};

#define TOPIC_LABELS 3

struct topics {
	const struct journal *journal;
	struct journal_port *port;
	struct stats *stats;
	struct hash_table names;
	struct pool pool;
	struct pool labels[TOPIC_LABELS]; /* for names, by length */
	uint32_t *next; /* by slot: how far it is to the next record of the same topic; 0: none */
	size_t next_bytes;
	uint64_t at;	     /* all records below are in the index, */
	uint64_t whole_from; /* from there on */
	uint64_t unplaced_first,
	    unplaced_last; /* among these are some of topics that had no place */
	uint64_t missed;   /* records that were gone before they were read */
	size_t swept;	   /* a cursor in pool: topics that are over are looked for */
	struct topic *ready_first, *ready_last;
	/* A round ends when all that was there when it began has been delivered. */
	uint32_t round, round_left, round_next; /* left, next: topics of this round, and the next */
	bool round_is_over;			/* since somebody looked */
	uint64_t round_end, delivered;		/* ids */
};

/* Reads all of the journal, so it takes about 60 ns for each record. max: topics. 0 or -errno. */
int topics_open(struct topics *topics, struct journal_port *port, struct stats *stats,
		uint32_t max);
void topics_close(struct topics *topics);

/* Reads on, `most` records at most. True: there may be more. */
bool topics_scan(struct topics *topics, uint64_t most);

/* The topic of this name and format, which is made if there is none. NULL: there are too many. The
 * caller adds a subscription. */
struct topic *topics_get(struct topics *topics, const char *name, size_t n,
			 const struct format *format);
/* After its last subscription has gone. */
void topics_release(struct topics *topics, struct topic *topic);
/* Is that a record of this topic? */
bool topic_has(const struct topic *topic, const struct journal_entry *entry);

/* The first id that may be one of its records, and is in no batch yet. */
static inline uint64_t topics_reached(const struct topics *topics, const struct topic *topic)
{
	return topic->pending ? topic->pending : topics->at;
}

/* The record after this one in its topic; 0: none is known yet. */
uint64_t topics_next(const struct topics *topics, uint64_t id);
enum sought { SOUGHT_FOUND, SOUGHT_NONE, SOUGHT_LATER };
/* The first record of the topic at or after *from, which moves there, or to the end of the index.
 * LATER: enough was looked at for one turn; it has moved there. */
enum sought topics_seek(const struct topics *topics, const struct topic *topic, uint64_t *from,
			struct journal_entry *entry);
/* The n-th last record of the topic, or the first that there is; 0: it has none. */
uint64_t topics_back(const struct topics *topics, const struct topic *topic, uint64_t n);

/* Publishes it under the next id; message->topic is filled in if it is 0. 0, or -ENOSPC: there are
 * too many topics, or writers. */
int topics_publish(struct topics *topics, struct journal_message *message, uint64_t *id);

/* ---- topics that are ready: delivery's ---- */

void topics_queue(struct topics *topics, struct topic *topic);
/* The first one leaves the queue; it may be put at its end again. */
struct topic *topics_unqueue(struct topics *topics);
/* If none is under way: those that are ready now are its topics. */
void topics_begin_round(struct topics *topics);
/* It is not ready any more. */
void topics_done(struct topics *topics, struct topic *topic);
/* A batch of it was delivered: what is left is of the next round, perhaps. */
void topics_progress(struct topics *topics, struct topic *topic);

#endif
