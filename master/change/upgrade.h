/*
 * upgrade: two masters and what they say to each other, from the exec to the end of the old one.
 *
 *     old                                       new
 *      | exec, with sockets and shared memory -->|
 *      |<----- READY, after each DOORBELL, LEFT -|   all of its workers are staged
 *      | TAKE_OVER ----------------------------->|   they serve; the old ones retire
 *      | WANT_MOVE_CHANNEL of a slot ----------->|
 *      |<---------------- MOVE_CHANNEL of a slot |   over it a worker moves its connections
 *      | LATE, a connection -------------------->|   that none of the old one's workers took
 *      | PASS_ON ------------------------------->|   what is asked of the old one is the new one's
 *      | (its workers have gone, and so it goes) |
 *
 * What the new one needs to know is in a manifest (manifest.h). Until READY it has changed nothing
 * that the old one has, and can be killed at any moment; the old one does that if it has waited too
 * long.
 */
#ifndef MASTER_CHANGE_UPGRADE_H
#define MASTER_CHANGE_UPGRADE_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "master/control/control_file.h"
#include "master/listen/listen.h"
#include "master/metrics/metrics.h"
#include "master/pid_file.h"
#include "reactor/pubsub/journal.h"
#include "reactor/loop/loop.h"

#define UPGRADE_TEXT_BYTES 256

/* What the next master gets, beside listeners and the service manager's sockets. */
struct handover_state {
	unsigned generation; /* the one that serves */
	size_t slots, workers_asked;
	bool default_listeners; /* none was configured */
	size_t file_settings;	/* how many its config file has */
	int scoreboard;
	int lifeline;	       /* ends when the old master and all of its workers have gone */
	int journal;	       /* -1: none */
	bool older_bus;	       /* the old one is of a time before journals, and has chats */
	int lifetime_counters; /* -1: none */
	struct control_inherited control;
	struct metrics_inherited metrics;
	struct pid_file_inherited pid_file;
	unsigned doorbells_n;
	int doorbells[JOURNAL_SEATS_MAX];
};

struct upgrade_owner {
	/* In the old master: */
	void (*ready)(void);
	void (*failed)(const char *why); /* it ended before it was ready */
	void (*move_channel)(unsigned slot, int fd);
	void (*doorbell)(unsigned seat, int fd);
	void (*left)(uint32_t number); /* a listener that the new one does not have */
	void (*lost)(bool stopped);    /* it was ready, and has died since; or was told to end */
	/* In the new master: */
	void (*take_over)(void); /* said by the old one, or the old one died before it could */
	void (*wants_move_channel)(unsigned slot, unsigned attempt);
	void (*late)(uint32_t number, int fd);	 /* a connection of that listener, to be served */
	void (*passed_on)(unsigned what, int n); /* asked of the old one, which left it to us */
	void (*alone)(void);			 /* the old one, and all its workers, have gone */
};

/* First thing in main(): how this process was started, which is how the next one will be. */
void upgrade_remember(char **argv);
const char *upgrade_program(void);

/* ---- in the old master ---- */

/* Starts the new one. False: it can't be started, and why. Borrows loop and owner. */
bool upgrade_begin(struct loop *loop, const struct upgrade_owner *owner,
		   const struct handover_state *handover, const struct listen_set *set,
		   char error[UPGRADE_TEXT_BYTES]);
/* Kills it, unless it was ready. */
void upgrade_give_up(void);
/* A child was reaped: true if it was the new master; then its end is told. */
bool upgrade_reaped(pid_t pid, int status);
pid_t upgrade_pid(void);
void upgrade_hand_over(void);
void upgrade_want_move_channel(unsigned slot, unsigned attempt);
void upgrade_pass_on(unsigned what, int n);
/* Are there messages that the new one has not taken yet? */
bool upgrade_is_telling(void);
/* A connection that was accepted and not served. fd stays the caller's. False: it can't be told. */
bool upgrade_give_late(uint32_t number, int fd);

/* ---- in the new master ---- */

/* Is this process a new master? Then the handover is filled in, and listeners are ready for
 * listen_open(). Dies of a manifest that it can't read. */
bool upgrade_inherit(struct handover_state *handover);
bool upgrade_is_successor(void);
/* From now on messages of the old one are read. Takes over the lifeline of the handover. */
void upgrade_listen(struct loop *loop, const struct upgrade_owner *owner, int lifeline);
void upgrade_tell_left(uint32_t number);
void upgrade_tell_doorbell(unsigned seat, int fd);
void upgrade_tell_ready(void);
void upgrade_give_move_channel(unsigned slot, int fd);

#endif
