/*
 * change: turns the workers that there are into those that there should be, one change at a time.
 *
 *     reload     a generation is staged; when all of it is ready it serves, the other retires
 *     more       slots are added, and workers in them; then connections even out
 *     fewer      the last slots retire
 *     rebalance  connections move until all workers hold about the same
 *     upgrade    another master stages a generation; when it is ready ours retires, and we go
 *
 * A change that is asked for while another one goes on is made after it; one that was asked for
 * several times is made once. A change that can't be made leaves everything as it was. Connections
 * that can't be moved are drained by the worker that has them.
 */
#ifndef MASTER_CHANGE_CHANGE_H
#define MASTER_CHANGE_CHANGE_H

#include "master/change/generation.h"
#include "master/change/upgrade.h"

enum change { CHANGE_NONE, CHANGE_RELOAD, CHANGE_WORKERS, CHANGE_REBALANCE, CHANGE_UPGRADE };

#define CHANGE_TEXT_BYTES (CONFIG_ERROR_BYTES + 112)

struct change_owner {
	struct loop *loop;
	int predecessor; /* ends with the last process of the master before us; -1: none */
	/* Makes the shared memory that n seats and the configuration need. 0 or -errno. */
	int (*seats)(const struct config *config, unsigned n);
	/* Starts the next master. False: it can't, and why. */
	bool (*upgrade)(char error[CHANGE_TEXT_BYTES]);
	/* true: the next master has taken over all that was ours. false: it died, and all is ours
	 * again. */
	void (*handed_over)(bool handed_over);
	/* This master takes over from the one before: called before the workers serve, and
	 * after. */
	void (*takes_over)(void);
	void (*serves)(void);
	void (*begins)(enum change change);
	/* It was made; or not, and text says why. */
	void (*ended)(enum change change, bool made, const char *text);
	/* It was asked for, and the next master was told to do it. */
	void (*passed_on)(enum change change);
	/* The next master has made a doorbell for this seat. */
	void (*doorbell)(unsigned seat, int fd);
	/* The next master was told to end, which was meant for all of weir. */
	void (*stop)(const char *why);
};

/* serving: the generation that is there. All is borrowed. */
void change_init(const struct change_owner *owner, struct generation *serving);
struct generation *change_serving(void);

void change_reload(void);
/* So many more workers; fewer if `more` is below 0. */
void change_workers(int more);
void change_rebalance(void);
void change_upgrade(void);
/* Another master has taken over, and only our workers' last connections are left. */
bool change_is_handed_over(void);
enum change change_now(void);
/* What upgrade calls when the other master says something. */
const struct upgrade_owner *change_upgrade_owner(void);

/* ---- what happens meanwhile ---- */

void change_slot_up(struct slot *slot);
void change_slot_gone(struct slot *slot);
void change_slot_moved_out(struct slot *slot, const struct ipc_message *message);
/* A child was reaped that is no worker. */
void change_reaped(pid_t pid, int status);
/* weir stops: a change that goes on is given up. */
void change_stop(void);

#endif
