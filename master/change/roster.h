/*
 * roster: which workers there should be. Policy only: no process, no descriptor, no clock.
 *
 * A slot is a worker's place: it outlives the workers that fill it, and its listening sockets
 * belong to it. What happens to a slot is an event; the table in roster.c answers with what is to
 * be done, and moves the slot to its next state.
 */
#ifndef MASTER_CHANGE_ROSTER_H
#define MASTER_CHANGE_ROSTER_H

#include <stdint.h>

enum slot_state {
	SLOT_VACANT,   /* nobody, and nobody is wanted */
	SLOT_STARTING, /* forked, not heard of yet */
	SLOT_READY,    /* up: it serves, or is staged */
	SLOT_RETIRING, /* told to move its connections, and to end then */
	SLOT_DRAINING, /* told to end */
	SLOT_RESTING,  /* died; the next one comes when its delay is over */
	SLOT_STATES
};

enum slot_event {
	SLOT_OPEN,    /* a worker is wanted */
	SLOT_UP,      /* it says that it serves */
	SLOT_DIED,    /* it was reaped, or could not be forked */
	SLOT_RESTED,  /* the delay is over */
	SLOT_RETIRE,  /* others take over from it */
	SLOT_CLOSE,   /* no worker is wanted any more */
	SLOT_OVERDUE, /* it was told to end and had its time */
	SLOT_EVENTS
};

enum slot_action {
	DO_NOTHING,
	DO_SPAWN,
	DO_ANNOUNCE, /* it is up */
	DO_REST,     /* wait delay_ms, then SLOT_RESTED */
	DO_RETIRE,   /* tell it to let nobody in */
	DO_DRAIN,    /* tell it to end */
	DO_KILL,
	DO_FORGET, /* it is gone, as it should be */
};

struct roster_slot {
	enum slot_state state;
	uint32_t born_ms;
	uint32_t failures; /* deaths, less one for each second that a worker lived */
	uint32_t delay_ms; /* after DO_REST */
};

#define ROSTER_DELAY_MS_MIN 100
#define ROSTER_DELAY_MS_MAX 30000

enum slot_action roster_event(struct roster_slot *slot, enum slot_event event, uint32_t now_ms);

#endif
