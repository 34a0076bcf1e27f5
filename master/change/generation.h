/*
 * generation: the workers that came up with one configuration, a slot for each.
 *
 *     NONE -> STAGED (they come up, nobody is let in) -> SERVING -> RETIRING -> NONE
 *
 * There are two at most: a reload stages one while the other one serves; then the old one retires
 * and moves its connections over. A slot is a worker's place: its listening sockets belong to it,
 * and the roster says what is to be done there. A worker that dies while its generation serves is
 * replaced. A generation owns its configuration and its share of the sockets.
 */
#ifndef MASTER_CHANGE_GENERATION_H
#define MASTER_CHANGE_GENERATION_H

#include <sys/types.h>

#include "master/listen/listen.h"
#include "master/change/roster.h"
#include "reactor/loop/loop.h"
#include "reactor/loop/seqpacket.h"
#include "worker/scoreboard.h"
#include "worker/channel.h"

struct generation;

struct slot {
	struct roster_slot roster;
	struct generation *generation;
	pid_t pid;		  /* 0: nobody */
	struct seqpacket channel; /* not open: none */
	struct source timer;
	bool leaving;	     /* it alone was asked to end, and takes no more connections */
	uint64_t born_us;    /* 0: nobody was here yet */
	struct stats before; /* what its seat had counted when it came */
	unsigned restarts;   /* how often its worker was replaced because it died */
	uint32_t orders;     /* to move connections; those that it has not answered yet */
	bool unfinished;     /* a worker that it moved to had no room, or died */
	uint64_t progress;   /* what the scoreboard said of it at the last look */
	unsigned
	    stuck; /* at how many looks in a row it had made no progress, though it should have */
	bool aborted;
	bool warned; /* the log has warned of what it says, or does not take */
};

struct generation {
	enum { GENERATION_NONE, GENERATION_STAGED, GENERATION_SERVING, GENERATION_RETIRING } phase;
	unsigned number;
	struct config config;
	struct listen_set set;
	struct slot slots[WORKERS_MAX];
	size_t slots_n;
	uint64_t workers_asked; /* by the configuration, whatever TTIN and TTOU made of it */
};

/* What generations share, and what is called when something happens to them. Borrowed. */
struct generation_owner {
	struct loop *loop;
	struct scoreboard *scoreboard;
	struct journal *journal; /* NULL: no listener has a topic */
	uint64_t journal_id;
	int lifeline; /* workers keep a copy: its other end tells when the last one has gone */
	/* It is up: staged, or serving. */
	void (*up)(struct slot *slot);
	/* It was reaped, or could not be forked; the roster knows. */
	void (*gone)(struct slot *slot);
	/* An order to move is over. */
	void (*moved_out)(struct slot *slot, const struct ipc_message *message);
	/* A signal told it to end. */
	void (*leaving)(struct slot *slot);
	/* There may be records in the journal, which held none. */
	void (*history_begins)(void);
};

void generation_init(const struct generation_owner *owner);
/* The place of the generation with that number: odd and even ones take turns in two places. */
struct generation *generation_at(unsigned number);

/* Adds slots until there are n, and forks their workers. False: one could not be forked. */
bool generation_fill(struct generation *generation, size_t n);
/* Are all of its slots ready? */
bool generation_is_ready(const struct generation *generation);
/* Does either generation have a process? */
bool generations_have_workers(void);
bool generation_has_workers(const struct generation *generation);
/* Drops the slots from n on, where nobody is any more. */
void generation_cut(struct generation *generation, size_t n);

unsigned slot_index(const struct slot *slot);
unsigned slot_seat(const struct slot *slot);
/* Tells the roster of an event, and does what it answers. */
void slot_event(struct slot *slot, enum slot_event event);
/* Sends it a message, which it reads as soon as it can, after all those before. False: it has
 * gone. */
bool slot_tell(struct slot *slot, const struct ipc_message *message);
/* The same with descriptors beside it, which stay the caller's. */
bool slot_pass(struct slot *slot, const struct ipc_message *message, const int *fds, size_t fds_n);
/* Connections that it holds, by its own word. */
uint64_t slot_connections(const struct slot *slot);
/* The IPC_MOVE_IN that tells a worker what to expect from that slot of that generation: count
 * connections, but no more than that one holds by its own word. */
struct ipc_message slot_move_in(unsigned index, unsigned generation, uint32_t count);

/* At SIGCHLD: reaps our workers, and returns the pid and *status of a child that is no worker; 0:
 * there is no more. */
pid_t generations_reap(int *status);

#define EACH_SLOT(each, of)                                                                        \
	for (struct slot *each = (of)->slots; each < (of)->slots + (of)->slots_n; each++)
/* Both generations, in no particular order; one may be empty. */
#define EACH_GENERATION(each)                                                                      \
	for (struct generation *each = generation_at(0); each;                                     \
	     each = each == generation_at(0) ? generation_at(1) : NULL)

#endif
