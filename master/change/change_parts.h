/*
 * change_parts: what the files of change share, and nobody else may use.
 *
 *     change.c          what follows from what happens: the table of phases and events
 *     change_reload.c   another generation
 *     change_workers.c  more of them, or fewer, and each its share
 *     change_upgrade.c  another master: before this one, and after it
 *     change_moves.c    orders to workers to move their connections
 *     change_state.c    what is wanted, which change goes on, and how far it is
 *
 * Each calls only those that stand below it.
 */
#ifndef MASTER_CHANGE_CHANGE_PARTS_H
#define MASTER_CHANGE_CHANGE_PARTS_H

#include "master/change/change.h"
#include "reactor/loop/offload.h"

#define CHANGE_READY_MS_MAX 30000 /* until a staged generation has to be up */

/* How far the current change has come. change.c draws how phases follow each other. */
enum change_phase {
	PHASE_IDLE,	 /* none goes on */
	PHASE_BESIDE,	 /* none may begin: the master before us is still there */
	PHASE_READING,	 /* reload: a child reads the configuration */
	PHASE_STAGED,	 /* reload: the new workers come up */
	PHASE_MOVING,	 /* reload: the old workers' connections move */
	PHASE_GROWING,	 /* more workers come up */
	PHASE_SHRINKING, /* connections of the workers that go move */
	PHASE_EVENING,	 /* rebalance: connections move */
	PHASE_AWAITING,	 /* upgrade: the next master comes up */
	PHASE_LEAVING,	 /* upgrade: it has taken over, and our connections move to it */
	PHASE_LEFT,	 /* it has taken over, and what could be moved has */
	CHANGE_PHASES
};

struct change_state {
	const struct change_owner *owner;
	struct generation *serving;
	enum change_phase phase;
	struct source timer;	   /* when a phase has taken too long; and to see what comes next */
	struct offload reading;	   /* of the configuration, for a reload */
	struct generation *staged; /* by a reload, until all of its workers are up */
	bool wants_reload, wants_rebalance, wants_upgrade, stopping;
	bool successor_lost;	       /* it died after it had taken over, and our workers retire */
	bool hung;		       /* the next master was not ready in time */
	bool left[LISTEN_NUMBERS_MAX]; /* listeners that the next master does not have */
	struct held_channel {
		unsigned index;
		int fd;
	} held[WORKERS_MAX]; /* move channels for the master before us, once we have taken over */
	unsigned held_n;
	int wants_more;
	uint32_t next_order;
	unsigned rounds, under_way; /* of a rebalance; orders that are not answered yet */
	uint64_t began_us, moved, stay;
	struct source routing; /* looks again for workers that have room */
	struct source tidying; /* looks for clients that come late to sockets that go */
	unsigned tidy_rounds;
	unsigned routes[WORKERS_MAX]; /* workers that were tried for a slot that retires */
	unsigned full[WORKERS_MAX];   /* of those, how many had no room */
	bool told_to_leave[WORKERS_MAX];
	bool asked[WORKERS_MAX]; /* for a move channel: that counts as an order */
};

extern struct change_state change;

/* ---- change_state.c ---- */

/* Every change begins and ends here, and its owner hears of it. */
void change_begin(enum change_phase phase);
void change_end(bool made, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Ends a change that moved connections. what: its result beside that. */
void change_end_moved(const char *what);

/* ---- change_moves.c ---- */

/* Has one worker move so many connections to another one. False: one of them is not there. */
bool change_order(struct slot *from, struct slot *to, uint32_t count);
/* Whatever a worker that retires still has, it drains, and then it ends. */
void change_leave(struct slot *slot, uint64_t left);
/* All connections of a slot go to the next worker that there is; if there is none now, later. */
void change_route(struct slot *slot, uint64_t left);
void change_route_later(void);
source_turn change_routing_turn;
/* Has every worker that retires moved all that it could? */
bool change_all_have_left(void);
/* A client came late to a socket that goes: whoever serves that listener now gets it. */
void change_give_late(uint32_t number, int fd);
/* Some sockets go a while later, because handshakes with them may be under way. */
void change_tidy_later(void);
source_turn change_tidying_turn;

/* ---- change_reload.c ---- */

/* A child reads the configuration; read() gets what it found, or NULL and why there is nothing. */
void change_begin_reload(void (*read)(struct offload *offload, const void *found, const char *why));
void change_stage(const void *found, const char *why);
void change_stop_reading(void);
void change_switch_over(void);
void change_reload_fail(const char *why);
void change_reload_look(void);
/* Its last worker has gone. */
void change_generation_end(struct generation *generation);

/* ---- change_workers.c ---- */

void change_begin_more(size_t n);
void change_more_look(void);
void change_begin_fewer(size_t n);
void change_fewer_look(void);
void change_begin_rebalance(void);
void change_rebalance_look(void);

/* ---- change_upgrade.c, in the old master ---- */

void change_begin_upgrade(void);
void change_upgrade_look(void);
/* Tells the next master what was asked of this one after it had handed over. */
void change_pass_on(void);
/* The next master is ready, and has everything from now on. */
void change_hand_over(void);
/* The next master died, or was stopped, after that: all is ours again. */
void change_take_back(bool stopped);
void change_successor_leaves(uint32_t number);
void change_successor_gives_channel(unsigned index, int move_channel);
void change_successor_tells_doorbell(unsigned seat, int doorbell);

/* ---- change_upgrade.c, in the new master ---- */

/* Tells the old master that we are ready, and which listeners we leave to its workers. */
void change_tell_ready(void);
void change_take_over(void);
/* The old master, and all of its workers, have gone. */
void change_predecessor_gone(void);
void change_predecessor_wants_channel(unsigned index, unsigned attempt);
void change_predecessor_passes_on(unsigned what, int n);

#endif
