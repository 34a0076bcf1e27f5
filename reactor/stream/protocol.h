/*
 * protocol: what the bytes of a connection mean, as a constant table of callbacks.
 *
 * It never sees a descriptor, EAGAIN, a partial read or write, or the clock. What it may do in its
 * callbacks are the verbs of conn.h. Callbacks may be NULL. What it keeps of a connection is plain
 * bytes, without pointers.
 *
 * What an operator may set of it, its reasons to close a connection, and its counters are tables,
 * too, which end with a row without a name: they appear by themselves wherever such things are
 * read or shown. Protocols that have rows of the same name share what is set, or counted, there.
 * protocol_register() gives each row its number, once in a process, before anything is served, and
 * checks the names.
 */
#ifndef REACTOR_STREAM_PROTOCOL_H
#define REACTOR_STREAM_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reactor/base/stats.h"

#define CONN_STATE_BYTES 24

struct conn;
struct datagram;
struct framing;
struct message;

/* Something that the connections of a listener may share; it is known by its address. */
struct shared_kind {
	const char *name;
};

/* What an operator may set for one listener (?NAME=VALUE), and for all (--NAME VALUE). */
struct setting {
	enum setting_kind {
		SETTING_NUMBER,
		SETTING_TIME,	  /* us ms s m h, kept in microseconds */
		SETTING_SIZE,	  /* bytes, K M G */
		SETTING_CHOICE,	  /* a word of the argument, kept as its place there */
		SETTING_SWITCH,	  /* on or off, kept as 1 or 0 */
		SETTING_NETWORKS, /* kept as their number; for one listener only */
	} kind;
	const char *name;
	const char *value;    /* if nothing is set; NULL: 0 */
	const char *argument; /* "SIZE", "on|off"; NULL: for one listener only */
	const char *meaning;
	uint64_t min, max; /* not of a CHOICE or a SWITCH */
	uint8_t number;
};

/* A reason to close a connection. */
struct reason {
	const char *name, *text;
	uint8_t number;
};

struct counter {
	const char *name, *metric, *text; /* as in stats.def */
	uint8_t number;
};

/* Rows, as a protocol writes them; {0} ends a table. */
#define SETTING(kind, name, value, argument, min, max, meaning)                                    \
	{                                                                                          \
		SETTING_##kind, name, value, argument, meaning, min, max, 0                        \
	}
#define REASON(name, text)                                                                         \
	{                                                                                          \
		name, text, 0                                                                      \
	}
#define COUNTER(name, metric, text)                                                                \
	{                                                                                          \
		name, metric, text, 0                                                              \
	}

#define SETTINGS_MAX	      32 /* of all protocols */
#define PROTOCOL_SETTINGS_MAX 8
#define PROTOCOL_NAME_MAX     22 /* of it, and in its tables: lower case, digits, _ or (settings) - */
#define PROTOCOL_METRIC_MAX   64
#define PROTOCOL_REACHED_MAX  4

struct protocol {
	const char *name;
	/* The connection is there; conn_state() is 24 zero bytes. */
	void (*open)(struct conn *conn);
	/* A connection that conn_connect() began never came up, because of this: called once,
	 * instead of open(), also from outside a turn. There is no state. */
	void (*unconnected)(struct conn *conn, enum close_reason why);
	/* There are n bytes: those that it left the last time, and what has come since. Returns
	 * how many it used; the rest, at most a chunk, is offered again with more behind it. The
	 * bytes may be changed in place, and stay where they are until the turn ends. */
	size_t (*input)(struct conn *conn, unsigned char *bytes, size_t n);
	/* Instead of input(), if it always uses all: then more may be read at a time. Neither: all
	 * input is thrown away. */
	void (*stream)(struct conn *conn, unsigned char *bytes, size_t n);
	/* It speaks in messages: its input() is framing_input(), which calls this for each. False:
	 * it takes this one later; it has paused its input, and gets it again then. See framing.h.
	 */
	const struct framing *framing;
	bool (*message)(struct conn *conn, struct message message);
	/* Nothing is owed and there is space to write: it may send more. If it sends nothing, it
	 * is called again in the connection's next turn, whatever causes that. */
	void (*writable)(struct conn *conn);
	/* Nothing is owed and there is space to write: it sends more of what conn_produce() began,
	 * also in a drain. If it sends nothing, it is asked again in the next turn, which
	 * conn_wake() causes; if its peer hangs up before that, the connection ends. */
	void (*produce)(struct conn *conn);
	/* The connection ends now, by request-timeout or idle-timeout: it may send a last word. */
	void (*timeout)(struct conn *conn);
	/* The peer has ended its side, perhaps in the middle of a message, of which
	 * conn_offered_before() bytes are kept: it may send a last word. */
	void (*ended)(struct conn *conn);
	/* The time of conn_set_timer() has passed. timer_at: where in the state a uint32_t is kept
	 * for that, a multiple of 4. */
	void (*timer)(struct conn *conn);
	uint16_t timer_at;
	/* From now on there is no more input, and nothing can be sent. Called once after open(),
	 * also from outside a turn; the state is there for the last time. */
	void (*close)(struct conn *conn);
	/* Those that conn_switch() may turn it into; NULL ends the list. */
	const struct protocol *const *turns_into;
	/* It stands before another protocol, which begins at conn_end_prefix(); until then the
	 * connection does not count as one of its peer's address. */
	bool is_prefix;
	/* Its connections do not move to another process: they are drained where they are. */
	bool stays;
	/* Its connections of a listener, on all workers, share something of this kind, such as a
	 * journal (reactor/pubsub/delivery.h). */
	const struct shared_kind *shares;
	struct setting *settings; /* conn_setting() */
	struct reason *reasons;	  /* conn_fail() */
	struct counter *counters; /* conn_count() */
	/* How its state travels to another process, which may be another version of weir: if these
	 * differ there, the connection stays here. Count the version up if the bytes change their
	 * meaning. */
	uint16_t state_bytes, state_version;
	/* Instead of open(), if the connection comes from another process, with its state. It must
	 * not send: what is owed comes along. */
	void (*restore)(struct conn *conn);
	/* What it takes along to another process beside its state: how many bytes that is, and
	 * these, called in one stretch; there, before restore(), carried() gets them, if
	 * carried_valid() says that they can be that. carries_at: where in the state there are 4
	 * bytes that mean nothing elsewhere, such as a handle; on the way they say how many bytes
	 * are carried, and carried() finds 0 there. */
	size_t (*carried_bytes)(const struct conn *conn);
	void (*carry)(const struct conn *conn, unsigned char *bytes);
	bool (*carried_valid)(const unsigned char *bytes, size_t n);
	void (*carried)(struct conn *conn, const unsigned char *bytes, size_t n);
	uint16_t carries_at;
	/* Can state, from another process, be that of a connection? If not, it is not taken, so
	 * that a process that was taken over cannot steer the next one. NULL: any can. */
	bool (*state_valid)(const void *state, bool producing);
	/* Turns a datagram into its answer, which has no more bytes; false: there is no answer.
	 * NULL: it does not serve datagrams. See reactor/udp/datagram.h. */
	bool (*datagram)(struct datagram *datagram);
};

/* Gives the rows of its tables, and of those that it may turn into, their numbers, before there are
 * any stats; once is enough. Dies if one breaks a rule. */
void protocol_register(const struct protocol *protocol);

/* How its state and its framing's travel, as numbers that differ if either does. */
uint16_t protocol_state_bytes(const struct protocol *protocol);
uint16_t protocol_state_version(const struct protocol *protocol);

/* Fills in the protocol, and all that it may turn into, and these. Returns how many. */
size_t protocol_reached(const struct protocol *protocol,
			const struct protocol *list[PROTOCOL_REACHED_MAX]);

/* Is that within its limits? */
bool setting_allows(const struct setting *setting, uint64_t value);

/* NULL: neither it nor its framing has a setting of that name. */
const struct setting *protocol_setting(const struct protocol *protocol, const char *name);

/* The settings of all protocols that are registered, the first of each name, by number; NULL: there
 * are no more. */
const struct setting *setting_at(size_t number);

#endif
