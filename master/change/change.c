#include "master/change/change_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "master/handoff.h"
#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "worker/migration/migration.h"

/* How soon one without workers tries again to have some. */
#define BEREFT_MS 1000

struct change_state change;

struct generation *change_serving(void)
{
	return change.serving;
}

enum change change_now(void)
{
	return change.now;
}

void change_end(bool made, const char *format, ...)
{
	enum change ended = change.now;
	char text[CHANGE_TEXT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	change.now = CHANGE_NONE;
	loop_no_deadline(change.owner->loop, &change.timer);
	if (change.bereft) /* nobody serves, and no death of a worker will tell */
		loop_deadline(change.owner->loop, &change.timer,
			      change.owner->loop->now_ms + BEREFT_MS);
	loop_wake(change.owner->loop, &change.timer); /* what comes next? */
	change.owner->ended(ended, made, text);
}

void change_begin(enum change now)
{
	change.now = now;
	change.began_us = change.owner->loop->now_us;
	change.moved = change.stay = 0;
	change.under_way = 0;
	memset(change.routes, 0, sizeof change.routes);
	memset(change.full, 0, sizeof change.full);
	memset(change.told_to_leave, 0, sizeof change.told_to_leave);
	memset(change.asked, 0, sizeof change.asked);
	change.owner->begins(now);
}

/* The end of a change that moved connections; who serves them, and how. */
void change_end_moved(const char *what)
{
	unsigned long long ms = (change.owner->loop->now_us - change.began_us) / 1000;
	char stay[64] = "";

	if (change.stay)
		(void)snprintf(stay, sizeof stay, ", %llu stay and drain",
			       (unsigned long long)change.stay);
	change_end(true, "%s; %llu connections moved in %llu ms%s", what,
		   (unsigned long long)change.moved, ms, stay);
}

/* ---- what comes next ---- */

static void next_change(void)
{
	struct generation *other = generation_at(change.serving->number + 1);
	long n = (long)change.serving->slots_n;

	if (change.handed_over && !change.stopping)
		change_pass_on();
	if (change.now != CHANGE_NONE || change.stopping || change.handed_over || change.beside)
		return;
	if (other->phase != GENERATION_NONE) /* its last ones drain: never a third one */
		return;
	if (change.wants_upgrade) {
		change.wants_upgrade = false;
		change_begin_upgrade();
	} else if (change.wants_reload) {
		change.wants_reload = false;
		change_begin_reload();
	} else if (change.wants_more) {
		long wanted = n + change.wants_more;

		change.wants_more = 0;
		wanted = wanted < 1 ? 1 : wanted > WORKERS_MAX ? WORKERS_MAX : wanted;
		if (wanted > n)
			change_begin_more((size_t)wanted);
		else if (wanted < n)
			change_begin_fewer((size_t)wanted);
		else {
			log_info("as many workers as before", LOG_NUMBER("workers", n));
			loop_wake(change.owner->loop, &change.timer);
		}
	} else if (change.wants_rebalance) {
		change.wants_rebalance = false;
		change_begin_rebalance();
	}
}

static void timer_turn(struct loop *loop, struct source *source)
{
	bool due = source->ready & SOURCE_DUE;

	(void)loop;
	source->ready = 0;
	if (due && change.staged) {
		change_reload_fail("the new workers were not ready in time");
	} else if (due && change.now == CHANGE_UPGRADE) {
		change.hung = true;
		upgrade_give_up();
	} else if (due && change.now == CHANGE_WORKERS) {
		change_end(false, "the new workers were not ready in time; they are tried again");
	} else if (due && change.bereft) {
		change.wants_reload = true;
	}
	next_change();
}

void change_reload(void)
{
	change.wants_reload = true;
	loop_wake(change.owner->loop, &change.timer);
}

void change_workers(int more)
{
	change.wants_more += more;
	loop_wake(change.owner->loop, &change.timer);
}

void change_rebalance(void)
{
	change.wants_rebalance = true;
	loop_wake(change.owner->loop, &change.timer);
}

void change_upgrade(void)
{
	change.wants_upgrade = true;
	loop_wake(change.owner->loop, &change.timer);
}

bool change_is_handed_over(void)
{
	return change.handed_over;
}

/* ---- what happens meanwhile ---- */

static void look(void)
{
	change_upgrade_look();
	change_reload_look();
	change_workers_look();
	change_rebalance_look();
}

void change_slot_up(struct slot *slot)
{
	struct generation *generation = slot->generation;

	if (generation->phase == GENERATION_STAGED) {
		if (!generation_is_ready(generation))
			return;
		if (generation == change.staged)
			change_switch_over();
		else
			change_tell_ready();
	} else {
		/* It may have been staged when it was forked: the old master died meanwhile. */
		if (generation->phase == GENERATION_SERVING)
			(void)slot_tell(slot, &(struct ipc_message){.kind = IPC_SERVE});
		handoff_worker_up(slot_seat(slot), &slot->channel);
		if (slot->generation == change.serving && change.now != CHANGE_UPGRADE &&
		    generation_is_ready(change.serving))
			listen_serve(&change.serving->set); /* new slots, too, from now on */
	}
	look();
}

void change_slot_gone(struct slot *slot)
{
	struct generation *generation = slot->generation;

	change.asked[slot_index(slot)] = false;
	if (generation == change.staged) {
		change_reload_fail("a new worker did not come up");
	} else if (generation->phase == GENERATION_STAGED && !change.stopping) {
		die("upgrade: worker %u did not come up", slot_index(slot));
	} else if (generation->phase == GENERATION_RETIRING && generation != change.serving &&
		   !generation_has_workers(generation)) {
		change_generation_end(generation);
		loop_wake(change.owner->loop, &change.timer);
	}
	change.under_way = 0;
	EACH_GENERATION (each)
		EACH_SLOT (other, each)
			change.under_way += other->orders;
	look();
}

void change_slot_gave(struct slot *slot, const struct ipc_message *message)
{
	if (change.under_way)
		change.under_way--;
	change.moved += message->count;
	change.full[slot_index(slot)] += message->end == MOVE_FULL;
	slot->unfinished |= message->end != MOVE_DONE;
	if (slot->roster.state == SLOT_RETIRING && !slot->orders) {
		bool again = slot->unfinished && message->left;

		slot->unfinished = false;
		if (again && message->end == MOVE_BROKEN) /* one that refuses would do so at once */
			change_route_later();
		else if (again)
			change_route(slot, message->left);
		else
			change_leave(slot, message->left);
	}
	look();
}

void change_reaped(pid_t pid, int status)
{
	if (!offload_reaped(&change.reading, pid, status))
		(void)upgrade_reaped(pid, status);
}

void change_stop(void)
{
	change.stopping = true;
	upgrade_give_up();
	change_stop_reading();
	if (change.staged)
		change_reload_fail("weir stops");
	else if (change.now != CHANGE_NONE)
		change_end(false, "weir stops");
}

void change_init(const struct change_owner *owner, struct generation *serving)
{
	change.owner = owner;
	change.serving = serving;
	change.beside = upgrade_is_successor();
	offload_init(&change.reading, owner->loop);
	source_init(&change.timer, -1, timer_turn);
	source_init(&change.routing, -1, change_routing_turn);
	source_init(&change.tidying, -1, change_tidying_turn);
	if (change.beside)
		upgrade_listen(owner->loop, change_upgrade_owner(), owner->predecessor);
}
