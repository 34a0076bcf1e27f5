/*
 * journal: one log of everything that is published on a machine, in memory that all processes
 * share.
 *
 * A record has an id, a topic, a type and a payload. Ids are dense and only grow, so all readers
 * agree on one order. Old records go first, when there are more bytes or slots than the history
 * has, or when they are too old; a reader that comes too late finds the floor above its place, and
 * so knows exactly how many it missed.
 *
 * Nobody holds a lock, and nobody waits for a writer: a record is written where only its writer
 * writes, and becomes part of the order by one compare-and-swap. A writer that is killed or stopped
 * before that has published nothing; after it, everything. See journal_write.c.
 *
 * Made by the process that outlives the others, which passes it on by fork, or by exec with
 * journal_attach(). Each process has a seat: what it writes itself is there, and its doorbell.
 */
#ifndef REACTOR_PUBSUB_JOURNAL_H
#define REACTOR_PUBSUB_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define JOURNAL_SEATS_MAX    512
#define JOURNAL_TOPIC_MAX    200 /* bytes of a topic's name, at least 1 */
#define JOURNAL_TYPE_MAX     64
#define JOURNAL_PAYLOAD_MAX  (64u << 10)
#define JOURNAL_HISTORY_MIN  (1u << 20)
#define JOURNAL_HISTORY_MAX  (UINT64_C(16) << 30)
#define JOURNAL_SEGMENT	     (256u << 10) /* beyond the history: at most two for each seat in use */
#define JOURNAL_RECORD_BYTES 128  /* of history, for each slot: more small records do not fit */
#define JOURNAL_PATIENCE_MS  1000 /* one that drains, and does not say so for so long, has ended */
#define JOURNAL_READER_MS    200  /* one that has no turn for so long is not waited for */
#define JOURNAL_LOOK_MS	     100  /* how often those who wait for others look */

struct journal {
	char *memory; /* sparse: there is address space for all seats */
	size_t mapped_bytes;
	uint64_t first;	       /* the first id that was ever given */
	unsigned slots_shift;  /* 2^slots_shift slots: one for each record of the history */
	uint32_t segments;     /* with those beyond the history */
	uint32_t segments_max; /* of the history */
	int fd;		       /* of that memory, closed on exec */
	int doorbells[JOURNAL_SEATS_MAX]; /* eventfds that wake whoever sits there; -1: not here */
};

/* seats: how many are in use to begin with. history: bytes. first: the first id; 0: the time in
 * microseconds, so that ids go on growing if a journal is followed by a new one. 0 or -errno. */
int journal_open(struct journal *journal, unsigned seats, uint64_t history, uint64_t first);
/* Opens one that another process made; fd is its memory, which the journal owns if this returns 0.
 * Its doorbells come by journal_add_doorbell(). Or -errno; -EPROTO: none of this version's layout.
 */
int journal_attach(struct journal *journal, int fd);
void journal_close(struct journal *journal);

/* How many seats are in use, from 0 on; it only grows. */
unsigned journal_seats(const struct journal *journal);
/* For the master only: from now on at least n are in use, and have doorbells here. 0 or -errno.
 * Other processes need the doorbells of new seats (journal_add_doorbell). */
int journal_use_seats(struct journal *journal, unsigned n);
/* Takes over fd, a doorbell that another process made, and rings it once, for what was published
 * here while it was missing. If there already is one here, that stays, and fd is closed. */
void journal_add_doorbell(struct journal *journal, unsigned seat, int fd);
/* Nobody sits there any more. For its process at its end, or for whoever reaped that: a record that
 * it had begun and not published is void, and counted. */
void journal_vacate(struct journal *journal, unsigned seat);
/* Wakes the processes in all seats. For whoever reaped processes, because these may have published
 * and woken nobody. It costs a system call for each seat: once for all that were reaped. */
void journal_ring_all_doorbells(const struct journal *journal);
/* After a seat was left: wakes whoever waits for all to have said all. */
void journal_ring_waiters(const struct journal *journal);
/* The hash of a topic's name, by a key of this journal's that no client knows. */
uint64_t journal_hash(const struct journal *journal, const void *name, size_t n);

/* ---- reading ---- */

/* The oldest id that is held, and the first that is not given yet; the floor is at most the end. */
uint64_t journal_floor(const struct journal *journal);
uint64_t journal_end(const struct journal *journal);

/* The head of a record, copied and checked. */
struct journal_entry {
	uint64_t id;
	uint64_t topic;	   /* journal_hash() of its name */
	uint64_t previous; /* the id of the record before in its topic; 0: there was none */
	uint64_t number;   /* in its topic, one by one; it begins anew, somewhere else, when
			    * nothing is left of it that its writer knows */
	uint64_t sender;   /* as its writer said */
	uint64_t said_us;  /* on the monotonic clock; it never falls along the order */
	uint32_t payload_n;
	uint8_t name_n, type_n;
	const unsigned char *bytes; /* name, type and payload, in shared memory */
};

enum journal_found { JOURNAL_FOUND, JOURNAL_GONE, JOURNAL_NOT_YET };
/* The record of this id. */
enum journal_found journal_find(const struct journal *journal, uint64_t id,
				struct journal_entry *entry);
/* Is it still held? What was copied from entry.bytes before is whole only if this is true then. */
bool journal_holds(const struct journal *journal, uint64_t id);
static inline const unsigned char *journal_payload(const struct journal_entry *entry)
{
	return entry->bytes + entry->name_n + entry->type_n;
}
/* The first id at or after `from` whose topic may have this hash, of at most `most` that are looked
 * at; else the first that was not looked at. About a nanosecond for each: 16 bits are compared. */
uint64_t journal_scan(const struct journal *journal, uint64_t from, uint64_t hash, uint64_t most);
/* The first id that was said at or after this time, or the end. */
uint64_t journal_since(const struct journal *journal, uint64_t since_us);
/* What was said before this time is gone from now on. Anybody may call it, as often as there is
 * need. */
void journal_forget(const struct journal *journal, uint64_t before_us);
/* All records below this id are gone from now on. Ids that are not given yet stay. */
void journal_raise_floor(const struct journal *journal, uint64_t id);
/* Bytes of segments that are in use; records that are void. */
uint64_t journal_bytes(const struct journal *journal);
uint64_t journal_voids(const struct journal *journal);

/* ---- a process' seat, as that process sees it ---- */

#define JOURNAL_AHEAD_PARTS 16 /* of what a writer may be ahead of others */

struct journal_port {
	struct journal *journal;
	unsigned seat;
	/* as a writer: */
	uint32_t segment;     /* ours; JOURNAL_NO_SEGMENT: none */
	uint32_t used;	      /* bytes of it */
	uint32_t draft_bytes; /* behind these: a record that is not published yet; 0: none */
	uint64_t last,
	    last_us;	  /* the last record that was published: its id, and when it was said */
	bool unannounced; /* published, and not woken anybody since */
	uint64_t slowest; /* cursor of the slowest other reader, as far as is known */
	bool looks;	  /* at the others, the next time */
	uint64_t ahead[JOURNAL_AHEAD_PARTS]; /* ids at which as many equal parts of what it wrote
						began */
	unsigned ahead_at;
	uint32_t ahead_bytes; /* of the part that is being written */
	struct {
		uint32_t turns;
		uint32_t since_ms; /* it has had none since then */
		bool left_behind;  /* for too long */
	} seen[JOURNAL_SEATS_MAX];
	/* for journal_all_said(): */
	bool looked; /* it was called before */
	struct {
		uint32_t looks, since_ms;
	} alive[JOURNAL_SEATS_MAX];
};

/* Takes a seat: whoever sat there before has ended. */
void journal_take_seat(struct journal_port *port, struct journal *journal, unsigned seat);
/* Leaves it. */
void journal_leave_seat(struct journal_port *port);
/* A number above 0 that was never given before in this journal. */
uint64_t journal_serial(const struct journal *journal);

/* ---- writing ---- */

struct journal_message {
	uint64_t topic; /* journal_hash(name) */
	struct iovec name, type;
	struct iovec payload[2]; /* one behind the other; together at most JOURNAL_PAYLOAD_MAX */
	uint64_t sender, said_us;
};

/* Writes a record where nobody sees it yet; one that was not published is dropped. 0, or -ENOSPC:
 * all memory is held by other writers, which an own journal's size excludes. */
int journal_draft(struct journal_port *port, const struct journal_message *message);
/* Publishes the draft as the record with this id, which must be at most journal_end(): else readers
 * wait at the hole. previous and number: see journal_entry. False: the id is another record's, or
 * gone; the draft is still there. */
bool journal_commit(struct journal_port *port, uint64_t id, uint64_t previous, uint64_t number);
/* The same with the next free id, for a writer that keeps no index. Returns the id; 0: something
 * wrote over the journal's memory that is none of its writers. */
uint64_t journal_append(struct journal_port *port);
/* Wakes the readers that sleep, if anything was published since the last call. Returns how many. */
unsigned journal_announce(struct journal_port *port);

/* For a writer that waits for readers, so that they miss nothing: is it ahead of none by too much?
 * Of what is delivered here, by a 64th of the history, or two; of others, by as much as keeps all
 * writers together to half of it. One that has had no turn for JOURNAL_READER_MS is not waited for:
 * *left_behind grows by how many are in the way like that for the first time. waits: it was not,
 * and asks whether that is over: so that whoever goes on can write a part at least. */
bool journal_may_go_on(struct journal_port *port, bool waits, uint32_t now_ms,
		       unsigned *left_behind);

/* This seat publishes nothing more. Wakes those who wait for that. */
void journal_say_last(struct journal_port *port);
/* Nor does any other seat? Those that have not asked this for JOURNAL_PATIENCE_MS do not count: all
 * ask it every JOURNAL_LOOK_MS at least, from when they begin to drain. */
bool journal_all_said(struct journal_port *port, uint32_t now_ms);

/* ---- sleeping ---- */

/* All below this id has been delivered here. To be told in each turn, as a sign of life, too. */
void journal_tell_cursor(struct journal_port *port, uint64_t id);
/* True: there is no record with this id yet, and whoever publishes one rings our doorbell. False:
 * there is. */
bool journal_sleep(struct journal_port *port, uint64_t id);
/* Asks for no doorbell any more. */
void journal_wake_up(struct journal_port *port);

#endif
