/* Another master: the one that comes after this one, and the one that was before it. */
#include "master/change/change_parts.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master/metrics/carried_counters.h"
#include "master/handoff.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"
#include "worker/migration/migration.h"

/* ---- upgrade: the old master ---- */

void change_begin_upgrade(void)
{
	char error[CHANGE_TEXT_BYTES];

	change_begin(PHASE_AWAITING);
	change.hung = false;
	memset(change.left, 0, sizeof change.left);
	if (!change.owner->upgrade(error)) {
		change_end(false, "%s", error);
		return;
	}
	loop_deadline(change.owner->loop, &change.timer,
		      change.owner->loop->now_ms + CHANGE_READY_MS_MAX);
}

void change_pass_on(void)
{
	if (change.wants_reload) {
		change.wants_reload = false;
		upgrade_pass_on(CHANGE_RELOAD, 1);
		change.owner->passed_on(CHANGE_RELOAD);
	}
	if (change.wants_more) {
		upgrade_pass_on(CHANGE_WORKERS, change.wants_more);
		change.wants_more = 0;
	}
	if (change.wants_rebalance) {
		change.wants_rebalance = false;
		upgrade_pass_on(CHANGE_REBALANCE, 1);
		change.owner->passed_on(CHANGE_REBALANCE);
	}
}

void change_successor_leaves(uint32_t number)
{
	if (number < LISTEN_NUMBERS_MAX)
		change.left[number] = true;
}

/* Clients that wait at listeners that the next master does not have are let in by our workers, the
 * last that can. */
static void empty_left(void)
{
	EACH_SLOT (slot, change.serving)
		for (uint32_t i = 0; slot->pid && i < LISTEN_NUMBERS_MAX; i++)
			if (change.left[i])
				(void)slot_tell(
				    slot, &(struct ipc_message){.kind = IPC_EMPTY, .listener = i});
}

void change_hand_over(void)
{
	struct generation *old = change.serving;

	change.began_us = change.owner->loop->now_us;
	loop_no_deadline(change.owner->loop, &change.timer);
	old->phase = GENERATION_RETIRING;
	handoff_leave(upgrade_give_late);
	change.owner->handed_over(true);
	empty_left();
	EACH_SLOT (slot, old) {
		slot_event(slot, SLOT_RETIRE);
		if (slot->roster.state == SLOT_RETIRING)
			change_route(slot, slot_connections(slot));
	}
	/* Last, because its workers have to hear what moves to them before they serve. */
	upgrade_hand_over();
	change_pass_on();
	change_upgrade_look();
	if (!generations_have_workers()) /* no death will tell: they had died before */
		change.owner->loop->stopped = true;
}

void change_successor_gives_channel(unsigned index, int move_channel)
{
	struct slot *slot = &change.serving->slots[index];
	struct ipc_message message = {.kind = IPC_MOVE_OUT, .count = MOVE_ALL};

	if (index >= change.serving->slots_n || !change.asked[index])
		return;
	change.asked[index] = false;
	message.order = ++change.next_order;
	if (move_channel >= 0 && slot_pass(slot, &message, &move_channel, 1)) {
		change.under_way++;
		return;
	}
	slot->orders--;
	change_route_later();
}

/* All is ours again: a reload makes workers that take over from those that retire. */
void change_take_back(bool stopped)
{
	change.owner->handed_over(false);
	if (change.stopping) /* what is in the file system is ours to remove, then */
		return;
	if (stopped) {
		change.owner->stop("the new master was stopped");
		return;
	}
	log_error("the new master died after it had taken over, this one goes on");
	EACH_SLOT (slot, change.serving) /* channels don't come; orders will be answered */
		slot->orders -= change.asked[slot_index(slot)];
	memset(change.asked, 0, sizeof change.asked);
	change.successor_lost = true;
	if (change.phase == PHASE_AWAITING)
		change_end(false, "the new master died after it had taken over");
	change_reload();
}

void change_successor_tells_doorbell(unsigned seat, int doorbell)
{
	change.owner->doorbell(seat, doorbell);
}

void change_upgrade_look(void)
{
	char what[64];

	if (!change_all_have_left())
		return;
	(void)snprintf(what, sizeof what, "pid %d serves", (int)upgrade_pid());
	change_end_moved(what);
}

/* ---- upgrade: the new master ---- */

static void give_move_channel(unsigned index, int fd)
{
	upgrade_give_move_channel(index, fd);
	if (fd >= 0)
		(void)close(fd);
}

void change_take_over(void)
{
	struct generation *serving = change.serving;

	if (serving->phase != GENERATION_STAGED)
		return;
	change.owner->takes_over();
	serving->phase = GENERATION_SERVING;
	EACH_SLOT (slot, serving)
		if (slot->roster.state == SLOT_READY)
			(void)slot_tell(slot, &(struct ipc_message){.kind = IPC_SERVE});
	change.owner->serves();
	while (change.held_n) {
		change.held_n--;
		give_move_channel(change.held[change.held_n].index, change.held[change.held_n].fd);
	}
}

void change_tell_ready(void)
{
	uint32_t numbers[LISTENERS_MAX];
	size_t n = listen_left(numbers);

	for (size_t i = 0; i < n; i++)
		upgrade_tell_left(numbers[i]);
	upgrade_tell_ready();
}

/* The old master asks for all channels before it hands over, so that our workers hear which
 * connections move to them before they serve. No connection moves before that. */
void change_predecessor_wants_channel(unsigned index, unsigned attempt)
{
	struct slot *to = &change.serving->slots[(index + attempt) % change.serving->slots_n];
	struct ipc_message message;
	int move_channel[2];

	if (index >= WORKERS_MAX || to->roster.state != SLOT_READY ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, move_channel) <
		0) {
		upgrade_give_move_channel(index, -1);
		return;
	}
	(void)rights_refuse(move_channel[0]); /* the receiving worker sends no descriptors */
	message = slot_move_in(index, change.serving->number - 1, MOVE_ALL);
	if (!slot_pass(to, &message, &move_channel[1], 1)) {
		(void)close(move_channel[0]);
		move_channel[0] = -1;
	}
	(void)close(move_channel[1]);
	if (change.serving->phase == GENERATION_STAGED && change.held_n < WORKERS_MAX)
		change.held[change.held_n++] = (struct held_channel){index, move_channel[0]};
	else
		give_move_channel(index, move_channel[0]);
}

void change_predecessor_passes_on(unsigned what, int n)
{
	if (what == CHANGE_RELOAD)
		change_reload();
	else if (what == CHANGE_WORKERS)
		change_workers(n);
	else if (what == CHANGE_REBALANCE)
		change_rebalance();
}

void change_predecessor_gone(void)
{
	carried_counters_close();
	listen_end_sharing(change_give_late);
	change_tidy_later();
	log_info("the master before this one has gone");
	loop_wake(change.owner->loop, &change.timer);
}
