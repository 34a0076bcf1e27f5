/*
 * generation: the workers that came up with one configuration, a slot for each.
 *
 *     NONE -> STAGED (they come up, nobody is let in) -> SERVING -> RETIRING -> NONE
 *
 * There are two at most: a reload stages one while the other one serves, and that one retires
 * then, moving its connections over. A slot is a worker's place: its listening sockets belong to
 * it, and the roster says what is to be done there. A worker that dies while its generation
 * serves is replaced. A generation owns its configuration and its share of the sockets.
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
	bool leaving;	     /* it was asked to end by itself, and takes no more connections */
	uint64_t born_us;    /* 0: nobody was here yet */
	struct stats before; /* what its seat had counted when it came */
	unsigned restarts;   /* because it died */
	uint32_t orders;     /* to move connections; those that it has not answered yet */
	bool unfinished;     /* a worker that it moved to had no room, or died */
	uint64_t progress;   /* what the scoreboard said of it when it was looked at */
	unsigned
	    stuck; /* at how many looks in a row it had made no progress, though it should have */
	bool aborted;
	bool warned; /* of what it says, or does not take */
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
	struct bus *bus; /* NULL: no listener has a topic */
	uint64_t bus_id;
	int lifeline; /* workers keep a copy: its other end tells when the last one has gone */
	/* It is up: staged, or serving. */
	void (*up)(struct slot *slot);
	/* It was reaped, or could not be forked; the roster knows. */
	void (*gone)(struct slot *slot);
	/* An order to move is over. */
	void (*gave)(struct slot *slot, const struct ipc_message *message);
	/* A signal told it to end. */
	void (*leaving)(struct slot *slot);
};

void generation_init(const struct generation_owner *owner);
/* 0 or 1: where the generation of that number has its place. */
struct generation *generation_at(unsigned number);

/* Forks workers for slots from what there are to n. False: one could not be forked. */
bool generation_fill(struct generation *generation, size_t n);
/* Are all of its slots ready? */
bool generation_is_ready(const struct generation *generation);
/* Of both: is there a process? */
bool generations_have_workers(void);
bool generation_has_workers(const struct generation *generation);
/* Nobody is in the slots from n on. */
void generation_cut(struct generation *generation, size_t n);

unsigned slot_index(const struct slot *slot);
unsigned slot_seat(const struct slot *slot);
/* An event of the roster; what the roster answers is done. */
void slot_event(struct slot *slot, enum slot_event event);
/* Sends it a message, which it reads as soon as it can, after all those before. False: it has
 * gone. */
bool slot_tell(struct slot *slot, const struct ipc_message *message);
/* The same with descriptors beside it, which stay the caller's. */
bool slot_pass(struct slot *slot, const struct ipc_message *message, const int *fds, size_t fds_n);
/* Connections that it holds, by its own word. */
uint64_t slot_connections(const struct slot *slot);
/* What the worker of that slot, of that generation, may move to another one: as many, at most, of
 * the connections that it holds, by its own word. Goes with IPC_MOVE_IN. */
struct ipc_message slot_move_in(unsigned index, unsigned generation, uint32_t count);

/* At SIGCHLD: reaps our workers, and returns the pid and *status of a child that is none; 0: no
 * more. */
pid_t generations_reap(int *status);

#define EACH_SLOT(each, of)                                                                        \
	for (struct slot *each = (of)->slots; each < (of)->slots + (of)->slots_n; each++)
/* Of both generations: the older one first, or not; all that there are. */
#define EACH_GENERATION(each)                                                                      \
	for (struct generation *each = generation_at(0); each;                                     \
	     each = each == generation_at(0) ? generation_at(1) : NULL)

#endif
