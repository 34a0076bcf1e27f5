/* A reload: another generation is staged, serves, and the one before retires. */
#include "master/change/change_parts.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "master/handoff.h"
#include "master/metrics/metrics.h"
#include "master/options.h"
#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "worker/title.h"

/* How long names are looked up again before the reload fails and says which of them was not found;
 * and after how long it is given up if even that does not end. */
#define READ_AGAIN_MS 15000
#define READ_MS_MAX   20000

void change_generation_end(struct generation *generation)
{
	generation_cut(generation, 0);
	listen_take(&generation->set, 0, change_give_late);
	listen_drop(&generation->set);
	change_tidy_later();
	options_free(&generation->config);
	generation->phase = GENERATION_NONE;
}

/* What was staged goes; no client was ever let in there. */
void change_reload_fail(const char *why)
{
	struct generation *staged = change.staged;

	change.staged = NULL;
	metrics_conclude(false);
	if (staged->phase == GENERATION_STAGED) {
		staged->phase = GENERATION_RETIRING;
		EACH_SLOT (slot, staged) {
			slot_event(slot, SLOT_CLOSE);
			if (slot->pid)
				(void)kill(slot->pid, SIGKILL);
		}
	}
	if (!generation_has_workers(staged))
		change_generation_end(staged);
	change_end(false, "%s", why);
}

static bool is_same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* A reload can't change these: they stay for as long as the master runs. */
static void keep_what_is_settled(struct config *config, const struct config *old)
{
	if (config->no_master != old->no_master || !is_same(config->pid_file, old->pid_file) ||
	    !is_same(config->control, old->control))
		log_warn("no-master, pid-file and control stay as they were until an upgrade");
	config->no_master = old->no_master;
}

/* ---- reading ---- */

/* A child reads, because looking up names and users, and reading files, may take as long as others
 * like. The serving generation goes on meanwhile. */
struct reading {
	struct config config;
	bool good;
	char error[OPTIONS_ERROR_BYTES];
};

static char *room; /* for the file's text */

static void read_again(struct offload *offload, void *found)
{
	struct reading *reading = found;

	(void)offload;
	title_set("weir-lookup", "weir: looks up names");
	address_patience(READ_AGAIN_MS);
	reading->good =
	    options_reread(&reading->config, &change.serving->config, room, reading->error);
}

static void stage(const struct config *config)
{
	struct generation *old = change.serving, *next = generation_at(old->number + 1);
	char error[CHANGE_TEXT_BYTES];
	size_t slots;

	CHECK(next->phase == GENERATION_NONE);
	next->config = *config;
	keep_what_is_settled(&next->config, &old->config);
	/* If signals changed the number of workers, that stays until the configuration says another
	 * one. */
	slots = old->slots_n;
	next->workers_asked = next->config.workers;
	if (next->workers_asked != old->workers_asked)
		slots = next->workers_asked;
	next->config.workers = slots;
	next->number = old->number + 1;
	if (!listen_open(&next->set, &next->config, &old->set, error)) {
		options_free(&next->config);
		change_end(false, "%s", error);
		return;
	}
	if (!metrics_stage(&next->config, error)) {
		listen_drop(&next->set);
		options_free(&next->config);
		change_end(false, "%s", error);
		return;
	}
	change.staged = next;
	next->phase = GENERATION_STAGED;
	if (change.owner->seats(&next->config, scoreboard_seat_of((unsigned)slots, 0)) ||
	    !generation_fill(next, slots)) {
		if (change.staged)
			change_reload_fail("a worker can't be forked, or has no shared memory");
		return;
	}
	loop_deadline(change.owner->loop, &change.timer,
		      change.owner->loop->now_ms + CHANGE_READY_MS_MAX);
}

void change_stage(const void *found, const char *why)
{
	const struct reading *reading = found;
	bool good = reading && reading->good;

	if (!good || !reading->config.file_text)
		config_file_forget(room);
	room = NULL;
	if (good)
		stage(&reading->config);
	else if (reading)
		change_end(false, "%s", reading->error);
	else
		change_end(false, "reading the configuration, and looking up its names: %s", why);
}

void change_begin_reload(void (*read)(struct offload *offload, const void *found, const char *why))
{
	int error;

	change_begin(PHASE_READING);
	room = config_file_room();
	error = room ? offload_begin(&change.reading, sizeof(struct reading), READ_MS_MAX,
				     read_again, read)
		     : -ENOMEM;
	if (!error)
		return;
	config_file_forget(room);
	change_end(false, "reading the configuration: %s",
		   error == -EBUSY ? "the process that did it last has not ended yet"
				   : strerror(-error));
}

void change_stop_reading(void)
{
	offload_cancel(&change.reading);
	config_file_forget(room);
	room = NULL;
}

/* ---- staged ---- */

/* Clients that wait at a socket that is not served any more are let in by the workers that served
 * it. Those must leave alone a socket of the same address that now speaks another protocol. */
static void empty_removed(struct generation *old, struct generation *next)
{
	uint32_t numbers[LISTENERS_MAX];

	listen_numbers(&old->set, numbers);
	EACH_SLOT (slot, old)
		for (size_t i = 0; slot->pid && i < old->config.listeners_n; i++)
			if (!listen_keeps(&next->set, &old->set, i, slot_index(slot)))
				(void)slot_tell(slot,
						&(struct ipc_message){
						    .kind = IPC_EMPTY,
						    .listener = numbers[i],
						    .count = listen_has(&next->set, numbers[i])});
}

void change_switch_over(void)
{
	struct generation *old = change.serving, *next = change.staged;

	change.staged = NULL;
	change.serving = next;
	change.successor_lost = false;
	metrics_conclude(true);
	loop_no_deadline(change.owner->loop, &change.timer);
	change.wants_rebalance |= next->slots_n != old->slots_n;
	old->phase = GENERATION_RETIRING;
	next->phase = GENERATION_SERVING;
	change.began_us = change.owner->loop->now_us;
	log_open((enum log_level)next->config.log_level, (enum log_format)next->config.log_format);
	listen_serve(&next->set);
	handoff_serve(&next->set);
	empty_removed(old, next);
	EACH_SLOT (slot, old) {
		slot_event(slot, SLOT_RETIRE);
		if (slot->roster.state == SLOT_RETIRING)
			change_route(slot, slot_connections(slot));
	}
	/* Only after they were told which connections move to them, so that new ones take only the
	 * room that is left. */
	EACH_SLOT (slot, next)
		(void)slot_tell(slot, &(struct ipc_message){.kind = IPC_SERVE});
	if (!generation_has_workers(old)) /* no death will tell: they had died before */
		change_generation_end(old);
}

void change_reload_look(void)
{
	struct generation *old = generation_at(change.serving->number + 1);
	char what[64];

	if (!change_all_have_left())
		return;
	if (old->phase == GENERATION_RETIRING)
		listen_retire(&old->set, change_give_late);
	(void)snprintf(what, sizeof what, "generation %u serves", change.serving->number);
	change_end_moved(what);
}
