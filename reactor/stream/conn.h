/*
 * conn: one stream connection, its state machine and its backpressure.
 *
 *     (CONNECTING ->) OPEN -> CLOSING -> LINGER -> (gone)       any -> DEAD -> (gone)
 *
 * CONNECTING waits for another server to take a connection that we open (conn_connect.h);
 * OPEN reads, offers the bytes to the protocol and writes; CLOSING only sends what is owed;
 * LINGER has shut its own side and throws input away until the kernel has delivered the
 * rest. A connection owns its descriptor, at most one chunk of input and its write queue;
 * an idle one owns no chunk. It dies only at the end of its own turn: everyone else calls
 * conn_abort(). The protocol's state is 24 plain bytes, without pointers.
 *
 * A conn_table holds all connections of a process, their buffers and their limits; a service is
 * what those of one listener that speak one protocol share. Both outlive their connections.
 */
#ifndef REACTOR_STREAM_CONN_H
#define REACTOR_STREAM_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "reactor/base/address.h"
#include "reactor/base/network.h"
#include "reactor/stream/per_ip.h"
#include "reactor/loop/loop.h"
#include "reactor/stream/protocol.h"
#include "reactor/stream/queue.h"
#include "reactor/base/stats.h"

#define CONN_TURN_BYTES	   (4 * CHUNK_BYTES) /* read, or generated, in one turn */
#define CONN_TURN_MESSAGES 1024
#define CONN_READ_COST	   1024 /* bytes of a turn: a read counts as at least so many */
#define CONN_SPANS	   64
#define OUTBOX_COPIES	   CHUNK_BYTES
#define CONN_RETRY_US	   50000 /* until newcomers are taken again, after epoll took no more */
#define CONN_DRAIN_SLICE   256

struct conn;
struct service;
struct conn_table;
struct delivery;

/* ---- the verbs of a protocol, to be called in its callbacks only ---- */

static inline void *conn_state(struct conn *conn);
/* What is set for its listener: row i of its protocol's settings. */
static inline uint64_t conn_setting(const struct conn *conn, unsigned i);
/* The networks of its listener, as many as its setting of that kind says. */
static inline const struct network *conn_networks(const struct conn *conn);
/* Sends n bytes, after all that were given before. They must stay where they are, unchanged,
 * until the turn ends, as input and static bytes do. */
void conn_send(struct conn *conn, const void *bytes, size_t n);
/* Like conn_send, but a copy, so that the bytes may go at once. */
void conn_copy(struct conn *conn, const void *bytes, size_t n);
/* Like conn_send, but the bytes wait for the next conn_send and go with it; if the
 * connection ends before that, they are dropped. */
void conn_hold(struct conn *conn, const void *bytes, size_t n);
/* A message has begun, but is not whole: --request-timeout runs from the first such call. */
void conn_message_begun(struct conn *conn);
/* The same of a request, which will be answered: a drain waits for its end, and a peer that is
 * refused in the middle of it is given time to read why. */
void conn_request_begun(struct conn *conn);
/* Enough of it has come since: --request-timeout begins anew. */
void conn_message_progress(struct conn *conn);
/* A message was whole, and is answered. False: the turn's budget is spent, return from input() now;
 * what is left is offered again in the next turn. */
bool conn_message_done(struct conn *conn);
/* The same of one that has no answer. */
bool conn_message_taken(struct conn *conn);
/* What input() leaves now is not offered again before conn_resume_input(), nor is more read. A
 * pause does not move along: restore() may begin it again. */
void conn_pause_input(struct conn *conn);
/* There is more to send than input() should: produce() sends it, and no input is offered, nor read,
 * until conn_produce(conn, false). What input() leaves is offered again then. */
void conn_produce(struct conn *conn, bool more);
/* From anywhere: there is more for produce() to send, and input goes on meanwhile; until
 * conn_feed(conn, false). It is asked when nothing is owed, so that the peer sets the pace. */
void conn_feed(struct conn *conn, bool more);
/* Is a message of n bytes, at the beginning of the `offered` bytes that are left, the last one that
 * is served, because the connection drains? Later ones must not be begun. */
static inline bool conn_is_last(const struct conn *conn, size_t offered, uint64_t n);
/* From now on it speaks another protocol, which its listener must have too (service.next). What
 * input() leaves is offered to that one, in its next turn; what was sent goes first; what is held
 * is dropped. The old protocol's close() is called, the state becomes zero bytes, and the new one's
 * open() is called: after that the caller may fill in the new state. Nothing happens if the
 * connection ends already. */
void conn_switch(struct conn *conn, const struct protocol *protocol);
/* A prefix has done its work: the protocol behind it goes on. */
void conn_end_prefix(struct conn *conn);
/* timer() is called once, so many ms from now, less than WHEEL_MS_MAX; a timer that was set before
 * is replaced. It costs no call, and moves along. */
void conn_set_timer(struct conn *conn, uint32_t ms);
void conn_stop_timer(struct conn *conn);
/* No more input; what is owed is sent, then the connection ends, for a reason of close.def. */
void conn_finish(struct conn *conn, enum close_reason reason);
/* The same, for reason i of its protocol's. */
void conn_fail(struct conn *conn, unsigned i);
/* How many bytes input() left the last time; in input(), these are the first that are offered. */
static inline size_t conn_offered_before(const struct conn *conn);
/* The time of this pass of the loop, on the monotonic clock. */
static inline uint64_t conn_now_us(const struct conn *conn);
/* Counts one more: counter i of its protocol's. */
static inline void conn_count(struct conn *conn, unsigned i);
/* The peer's address; false if the kernel no longer knows it. */
bool conn_peer(const struct conn *conn, struct address *peer);
/* conn_peer() has this IP address from now on, which a proxy before us gave. */
void conn_set_peer(struct conn *conn, const struct address *peer);
/* Counts it against the limit of connections of its peer's address, which was not done when it was
 * opened. False: there are too many. */
bool conn_count_peer(struct conn *conn);

/* ---- for owners of connections ---- */

struct conn_limits {
	uint32_t high_water, low_water;		      /* bytes owed */
	uint32_t idle_ms, write_ms, request_ms;	      /* 0: off */
	uint32_t connections_max, connections_per_ip; /* per ip: 0: off */
	/* How many there may be with those that another process moves here; newcomers keep to
	 * connections_max. 0: no more than that. */
	uint32_t connections_capacity;
};

/* What another process is about to move here. */
struct conn_promise {
	size_t connections, chunks;
};

/* Of a service whose connections we open: conn_connect.h. */
#define SERVICE_NO_LISTENER UINT32_MAX

struct service {
	const struct protocol *protocol;
	struct conn_table *table;
	uint32_t listener;    /* its number, or SERVICE_NO_LISTENER */
	struct service *next; /* another protocol of the same listener, the first behind the last;
			       * NULL: there is only this one */
	uint64_t settings[PROTOCOL_SETTINGS_MAX]; /* the values of its protocol's */
	const struct network *networks;
	struct delivery *delivery; /* NULL: its protocol has nothing to do with topics */
	struct service *beside;	   /* one more of the same delivery; NULL: none */
	const char *topic;	   /* the name of the listener's own; NULL: it has none */
	bool lasts; /* a drained connection stays: others may have something for it */
	bool local; /* of unix sockets: peers may pass descriptors there */
};

/* The write of one turn, before it is made: spans of memory that others own. */
struct outbox {
	struct iovec spans[CONN_SPANS];
	int n;
	size_t bytes;
	struct iovec held;
	unsigned char *copies; /* OUTBOX_COPIES: what was copied; some of the spans lie there */
	size_t copies_n;       /* if there are no spans, all of it is free again */
};

/* What is done for connections that wait for buffers: sweeps over all, slice by slice. */
struct starvation {
	struct source source;
	size_t cursor;	      /* of the sweep */
	size_t chunks_wanted; /* with so many free, one that waits could go on */
	size_t goal;	      /* bytes that this sweep still has to free */
	bool presses;	      /* one that owes nothing waits */
	bool closed;	      /* this sweep closed some */
	bool has_mark, has_longest;
	uint32_t mark_ms;    /* one of which no byte has moved since then may be closed */
	uint32_t longest_ms; /* the earliest such time that this sweep has found */
	uint32_t swept_ms;   /* when a sweep last ended */
	uint32_t quiet_ms;   /* since when no byte of any connection has moved */
	uint64_t moved;	     /* how many bytes had moved by then, either way */
};

struct conn_table {
	struct loop *loop;
	struct stats *stats;
	struct conn_limits limits;
	struct pool conns;
	struct buffers buffers;
	struct per_ip per_ip;
	struct pool peers;  /* of struct conn_peer */
	size_t chunks_kept; /* that no read takes: topics need them, to deliver what was read */
	struct conn_promise promised; /* the sum of all promises; others take what is left */
	/* Used by one turn at a time: */
	struct outbox outbox;
	unsigned messages_left;
	bool switched; /* in this input(), to another protocol, which has not seen its input */
	size_t awaiting_buffers; /* connections that wait for buffers */
	struct starvation starvation;
	bool draining;
	uint64_t refused_until_us; /* epoll took no more: newcomers wait until then */
	struct source drain;	   /* tells the rest to drain, slice by slice */
	size_t drain_cursor;
	/* A connection has gone: whoever waits for room may go on. */
	void (*on_room)(struct conn_table *table);
	unsigned char *scratch; /* CONN_TURN_BYTES: where input is read to, before any is kept */
};

/* The service of the same listener that has this protocol; NULL: there is none. */
static inline struct service *service_find(struct service *service, const struct protocol *protocol)
{
	struct service *at = service;

	do {
		if (at->protocol == protocol)
			return at;
		at = at->next;
	} while (at && at != service);
	return NULL;
}

/* loop and stats are borrowed. 0 or -errno. */
int conn_table_open(struct conn_table *table, struct loop *loop, const struct conn_limits *limits,
		    size_t buffers_size);
/* The same with counters that are not the loop's; they are borrowed. */
int conn_table_open_counting(struct conn_table *table, struct loop *loop, struct stats *stats,
			     const struct conn_limits *limits, size_t buffers_size);
/* Ends every connection at once. The loop must have no pass after it: some may be queued. */
void conn_table_close(struct conn_table *table);

/* How many newcomers there are places for. If addresses are counted, none until all promised
 * connections are here: nobody knows yet which addresses these have. */
static inline size_t conn_table_places(const struct conn_table *table)
{
	size_t taken = table->conns.used + table->promised.connections;

	if (table->promised.connections && per_ip_counts(&table->per_ip))
		return 0;
	return taken < table->limits.connections_max ? table->limits.connections_max - taken : 0;
}

/* How many newcomers there is room for now. */
static inline size_t conn_table_room(const struct conn_table *table)
{
	return table->loop->now_us < table->refused_until_us ? 0 : conn_table_places(table);
}

static inline bool conn_table_full(const struct conn_table *table)
{
	return !conn_table_room(table);
}

/* Sets one of several promises, each zero at first, to `now`. */
void conn_table_promise(struct conn_table *table, struct conn_promise *promise,
			struct conn_promise now);

enum conn_origin {
	CONN_ACCEPTED, /* the descriptor is ours alone */
	CONN_PASSED,   /* another process handed it over, and may still have a copy */
};

/* Takes over fd, a connected non-blocking stream socket, also if it fails: then fd is
 * closed and counted. peer may be NULL (it is needed for connections_per_ip only). */
void conn_open(struct service *service, int fd, enum conn_origin origin,
	       const struct sockaddr *peer);

/* From anywhere: ends the connection in its next turn, without sending what is owed. */
void conn_abort(struct conn *conn, enum close_reason reason);

/* From anywhere: ends what conn_pause_input() began. */
void conn_resume_input(struct conn *conn);
/* From anywhere: there is something for produce() to send. */
void conn_wake(struct conn *conn);
/* From anywhere: sends bytes begin to end of a chunk, after all that is owed. The chunk gains a
 * reference, and may be in any number of queues. The connection must not hold bytes (conn_hold).
 * False: it has ended, perhaps just now, for want of buffers. */
bool conn_share(struct conn *conn, struct chunk *chunk, uint32_t begin, uint32_t end);

/* Is it on its way to another process (conn_snapshot.h)? */
static inline bool conn_is_frozen(const struct conn *conn);

/* Has it not ended, on our side either? */
bool conn_is_open(const struct conn *conn);

/* Will input() be called for what has come by now, unless the peer prevents it? */
bool conn_has_more(const struct conn *conn);

/* What it waits for, so that an owner can choose which one to end. */
enum conn_standing {
	CONN_GONE,    /* its turn, to end */
	CONN_LINGERS, /* the kernel, which has all of its answers */
	CONN_ASKS,    /* the peer, to finish a message */
	CONN_IDLE,    /* the peer, to begin one */
	CONN_OWES,    /* the peer, to take what it is owed */
	CONN_SERVED,  /* us */
};
enum conn_standing conn_standing(const struct conn *conn);

/* Graceful: every connection serves what has come by now, sends what it owes and ends. They are
 * told so in slices, one now, and one in each pass that follows. */
void conn_table_drain(struct conn_table *table);
/* Outside of turns, before the end: sends what all connections owe and what their protocols have to
 * send, as far as the kernel takes it at once. */
void conn_table_flush(struct conn_table *table);
/* Aborts all that are left. */
void conn_table_abort(struct conn_table *table, enum close_reason reason);

/* Why a connection does not read, a bit for each reason. */
enum conn_paused {
	PAUSED_OWES = 1,      /* it was above high-water, and is not below low-water yet */
	PAUSED_BUFFERS = 2,   /* it waits for buffers */
	PAUSED_INPUT = 4,     /* conn_pause_input() */
	PAUSED_PRODUCING = 8, /* conn_produce(): it has not sent all that it began */
};

struct conn {
	struct source source;
	struct service *service;
	_Alignas(8) unsigned char state[CONN_STATE_BYTES];
	struct chunk *input; /* what the protocol left; NULL if nothing is */
	struct queue queue;
	uint32_t active_ms;   /* when a byte last moved, either way */
	uint32_t progress_ms; /* when owed bytes last moved, or began to be owed */
	uint32_t message_ms;  /* when the message under way began */
	uint32_t peer;	      /* its place in per_ip, 0: none; or that of its peer_given */
	uint32_t drain_left;  /* bytes that came before the drain began, not read yet */
	uint8_t reason;
	uint8_t phase : 4;
	uint8_t paused : 4; /* why it does not read: enum conn_paused */
	bool fd_shared : 1, message_open : 1, input_pending : 1, draining : 1;
	bool frozen : 1;	  /* another process may have it: it has no turn */
	bool feeding : 1;	  /* conn_feed() */
	bool half_closed : 1;	  /* its peer has ended its side, and is fed on until it has all */
	bool producer_idle : 1;	  /* its protocol had nothing to send when it was last asked */
	bool read_past_drain : 1; /* it has read bytes that came after the drain began */
	bool has_timer : 1;	  /* its state has when that is due */
	bool requests : 1;	  /* its messages are requests: they are answered */
	bool peer_given : 1;	  /* peer is the place of an object of the table's peers */
	bool guarded : 1; /* its peer may have passed descriptors: see reactor/base/rights.h */
};

_Static_assert(sizeof(struct conn) <= 128, "a connection is at most 128 bytes");

static inline void *conn_state(struct conn *conn)
{
	return conn->state;
}

static inline bool conn_is_frozen(const struct conn *conn)
{
	return conn->frozen;
}

static inline uint64_t conn_setting(const struct conn *conn, unsigned i)
{
	return conn->service->settings[i];
}

static inline const struct network *conn_networks(const struct conn *conn)
{
	return conn->service->networks;
}

static inline void conn_count(struct conn *conn, unsigned i)
{
	const struct service *service = conn->service;

	STATS_ADD(service->table->stats, added[service->protocol->counters[i].number], 1);
}

static inline uint64_t conn_now_us(const struct conn *conn)
{
	return conn->service->table->loop->now_us;
}

static inline size_t conn_offered_before(const struct conn *conn)
{
	return conn->input ? conn->input->used : 0;
}

static inline bool conn_is_last(const struct conn *conn, size_t offered, uint64_t n)
{
	return conn->draining &&
	       (conn->read_past_drain || n >= (uint64_t)offered + conn->drain_left);
}

#endif
