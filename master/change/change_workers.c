/* More workers or fewer, and connections that even out. */
#include "master/change/change_parts.h"

#include <stdio.h>

#include "master/handoff.h"
#include "worker/migration/migration.h"

#define ROUNDS_MAX 4 /* of a rebalance: connections come and go meanwhile */

/* ---- more or fewer workers ---- */

void change_begin_more(size_t n)
{
	struct generation *serving = change.serving;
	char error[CHANGE_TEXT_BYTES];

	change_begin(PHASE_GROWING);
	if (!listen_add_slots(&serving->set, n, error)) {
		change_end(false, "%s", error);
		return;
	}
	serving->config.workers = n;
	if (change.owner->seats(&serving->config, scoreboard_seat_of((unsigned)n, 0))) {
		/* No client may come to sockets at which no worker will be. */
		listen_close_slots(&serving->set, serving->slots_n);
		serving->config.workers = serving->slots_n;
		change_end(false, "no shared memory for another worker");
		return;
	}
	loop_deadline(change.owner->loop, &change.timer,
		      change.owner->loop->now_ms + CHANGE_READY_MS_MAX);
	(void)generation_fill(serving, n); /* one that can't be forked now is forked later */
}

void change_more_look(void)
{
	struct generation *serving = change.serving;
	size_t n = (size_t)serving->config.workers;

	if (n != serving->slots_n || !generation_is_ready(serving))
		return;
	change.wants_rebalance = true;
	change_end(true, "workers: %zu", n);
}

void change_fewer_look(void)
{
	struct generation *serving = change.serving;
	size_t n = (size_t)serving->config.workers;
	char what[64];

	for (size_t i = n; i < serving->slots_n; i++)
		if (serving->slots[i].pid || serving->slots[i].roster.state != SLOT_VACANT)
			return;
	listen_take(&serving->set, n, change_give_late);
	listen_close_slots(&serving->set, n);
	change_tidy_later();
	generation_cut(serving, n);
	change.wants_rebalance = true;
	(void)snprintf(what, sizeof what, "workers: %zu", n);
	change_end_moved(what);
}

void change_begin_fewer(size_t n)
{
	struct generation *serving = change.serving;
	uint32_t numbers[LISTENERS_MAX];

	change_begin(PHASE_SHRINKING);
	serving->config.workers = n;
	listen_steer_away(&serving->set, n);
	listen_numbers(&serving->set, numbers);
	for (size_t i = n; i < serving->slots_n; i++) {
		struct slot *slot = &serving->slots[i];
		uint64_t share = slot_connections(slot) / n;

		for (size_t l = 0; slot->pid && l < serving->config.listeners_n; l++)
			if (listen_is_slots_own(&serving->set, l))
				(void)slot_tell(slot, &(struct ipc_message){.kind = IPC_EMPTY,
									    .listener = numbers[l],
									    .count = true});
		slot_event(slot, SLOT_RETIRE);
		if (slot->roster.state != SLOT_RETIRING)
			continue;
		for (size_t to = 1; share && to < n && to < MOVE_CHANNELS_MAX; to++)
			(void)change_order(slot, &serving->slots[to], (uint32_t)share);
		change_route(slot, slot_connections(slot));
	}
	change_fewer_look();
}

/* ---- rebalance ---- */

struct balance {
	uint64_t total, most;
	size_t workers;
};

static struct balance balance_now(void)
{
	struct balance balance = {0};

	EACH_SLOT (slot, change.serving) {
		uint64_t held = slot_connections(slot);

		if (slot->roster.state != SLOT_READY)
			continue;
		balance.total += held;
		balance.workers++;
		if (held > balance.most)
			balance.most = held;
	}
	return balance;
}

/* Each is to hold an equal share, and if that leaves a remainder, some hold one more. */
static unsigned balance_order(const struct balance *balance)
{
	uint64_t fair = balance->total / balance->workers, more = balance->total % balance->workers;
	int64_t surplus[WORKERS_MAX] = {0};
	unsigned orders = 0;
	size_t to = 0, n = change.serving->slots_n;

	for (size_t i = 0; i < n; i++) {
		struct slot *slot = &change.serving->slots[i];
		uint64_t held = slot_connections(slot);

		if (slot->roster.state != SLOT_READY)
			continue;
		surplus[i] = (int64_t)(held - fair);
		if (surplus[i] > 0 && more) { /* workers that have too many keep one more */
			surplus[i]--;
			more--;
		}
	}
	for (size_t from = 0; from < n; from++) {
		while (surplus[from] > 0 && to < n) {
			int64_t count = surplus[from] < -surplus[to] ? surplus[from] : -surplus[to];

			if (surplus[to] >= 0) {
				to++;
				continue;
			}
			if (change_order(&change.serving->slots[from], &change.serving->slots[to],
					 (uint32_t)count))
				orders++;
			surplus[from] -= count;
			surplus[to] += count;
		}
	}
	return orders;
}

void change_rebalance_look(void)
{
	struct balance balance;
	char what[64];

	if (change.under_way)
		return;
	balance = balance_now();
	if (balance.workers && change.rounds < ROUNDS_MAX &&
	    balance.most > balance.total / balance.workers + 1) {
		change.rounds++;
		if (balance_order(&balance))
			return;
	}
	(void)snprintf(what, sizeof what, "the busiest worker holds %llu of %llu",
		       (unsigned long long)balance.most, (unsigned long long)balance.total);
	change_end_moved(what);
}

void change_begin_rebalance(void)
{
	change_begin(PHASE_EVENING);
	change.rounds = 0;
	change_rebalance_look();
}
