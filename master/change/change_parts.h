/*
 * change_parts: what the files of change share, and nobody else may use.
 *
 *     change.c          what is wanted, and what comes next
 *     change_moves.c    orders to workers to move their connections
 *     change_reload.c   another generation
 *     change_workers.c  more of them, or fewer, and each its share
 *     change_upgrade.c  another master: before this one, and after it
 */
#ifndef MASTER_CHANGE_CHANGE_PARTS_H
#define MASTER_CHANGE_CHANGE_PARTS_H

#include "master/change/change.h"
#include "master/offload.h"

#define CHANGE_READY_MS_MAX 30000 /* until a staged generation has to be up */

struct change_state {
	const struct change_owner *owner;
	struct generation *serving;
	enum change now;
	struct source timer;	/* of staging; and a poke to look what comes next */
	struct offload reading; /* of the configuration, for a reload */
	struct generation *staged;
	bool wants_reload, wants_rebalance, wants_upgrade, stopping;
	bool handed_over;	       /* to the next master */
	bool bereft;		       /* it died, and our workers had been told to leave */
	bool hung;		       /* it was not ready in time */
	bool left[LISTEN_NUMBERS_MAX]; /* listeners that the next master does not have */
	bool beside;		       /* the master before us is still there */
	struct held_channel {
		unsigned index;
		int fd;
	} held[WORKERS_MAX]; /* for the master before us, once we have taken over */
	unsigned held_n;
	int wants_more;
	uint32_t next_order;
	unsigned rounds, under_way; /* orders */
	uint64_t began_us, moved, stay;
	struct source routing; /* looks again for takers */
	struct source tidying; /* looks for who comes late to sockets that go */
	unsigned tidy_rounds;
	unsigned routes[WORKERS_MAX]; /* tried for a slot that retires */
	unsigned full[WORKERS_MAX];   /* of those, how many had no room */
	bool told_to_leave[WORKERS_MAX];
	bool asked[WORKERS_MAX]; /* the next master for a move_channel, which is no order yet */
};

extern struct change_state change;

/* change.c */
void change_begin(enum change now);
void change_end(bool made, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The end of a change that moved connections; what it came to beside that. */
void change_end_moved(const char *what);

/* change_moves.c */
/* A move_channel from one worker to another, for so many. False: one of them is not there. */
bool change_order(struct slot *from, struct slot *to, uint32_t count);
/* Whatever a worker that retires still has, it drains, and then it ends. */
void change_leave(struct slot *slot, uint64_t left);
/* All it has, to the next worker that there is; where there is none now, later. */
void change_route(struct slot *slot, uint64_t left);
void change_route_later(void);
source_turn change_routing_turn;
/* Has no worker that retires anything to move any more? */
bool change_all_have_left(void);
/* Somebody who came late to a socket that goes: for whom serves that listener now, if any. */
void change_give_late(uint32_t number, int fd);
/* Some sockets go: a while later, for handshakes with them may be under way. */
void change_tidy_later(void);
source_turn change_tidying_turn;

/* change_reload.c */
void change_begin_reload(void);
void change_stop_reading(void);
void change_switch_over(void);
void change_reload_fail(const char *why);
void change_reload_look(void);
/* Its last worker has gone. */
void change_generation_end(struct generation *generation);

/* change_workers.c */
void change_begin_more(size_t n);
void change_begin_fewer(size_t n);
void change_workers_look(void);
void change_begin_rebalance(void);
void change_rebalance_look(void);

/* change_upgrade.c */
void change_begin_upgrade(void);
void change_upgrade_look(void);
void change_pass_on(void);
/* The new master is, and which listeners it leaves to the old one's workers. */
void change_tell_ready(void);

#endif
