#include "master/change.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "master/handoff.h"
#include "master/options.h"
#include "master/upgrade.h"
#include "reactor/check.h"
#include "reactor/log.h"
#include "worker/move.h"

#define READY_MS_MAX   30000 /* until a staged generation has to be up */
#define ROUNDS_MAX     4     /* of a rebalance: connections come and go meanwhile */
#define ROUTES_MAX     16    /* takers that are tried for a worker that retires */
#define LEAVE_GRACE_MS 2000  /* beyond drain-timeout */

static struct {
	const struct change_owner *owner;
	struct generation *serving;
	enum change now;
	struct source timer; /* of staging; and a poke to look what comes next */
	struct generation *staged;
	bool wants_reload, wants_rebalance, wants_upgrade, stopping;
	bool handed_over; /* to the next master */
	bool hung;	  /* it was not ready in time */
	bool beside;	  /* the master before us is still there */
	int wants_more;
	uint32_t next_order;
	unsigned rounds, under_way; /* orders */
	uint64_t began_us, moved, stay;
	unsigned routes[WORKERS_MAX]; /* tried for a slot that retires */
	bool told_to_leave[WORKERS_MAX];
} change;

struct generation *change_serving(void)
{
	return change.serving;
}

enum change change_now(void)
{
	return change.now;
}

static void end(bool made, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void end(bool made, const char *format, ...)
{
	enum change ended = change.now;
	char text[CHANGE_TEXT_BYTES];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	change.now = CHANGE_NONE;
	loop_no_deadline(change.owner->loop, &change.timer);
	loop_poke(change.owner->loop, &change.timer); /* what comes next? */
	change.owner->ended(ended, made, text);
}

static void begin(enum change now)
{
	change.now = now;
	change.began_us = change.owner->loop->now_us;
	change.moved = change.stay = 0;
	change.under_way = 0;
	memset(change.routes, 0, sizeof change.routes);
	memset(change.told_to_leave, 0, sizeof change.told_to_leave);
	change.owner->begins(now);
}

/* The end of a change that moved connections; who serves them, and how. */
static void end_moved(const char *what)
{
	unsigned long long ms = (change.owner->loop->now_us - change.began_us) / 1000;
	char stay[64] = "";

	if (change.stay)
		(void)snprintf(stay, sizeof stay, ", %llu stay and drain",
			       (unsigned long long)change.stay);
	end(true, "%s; %llu connections moved in %llu ms%s", what, (unsigned long long)change.moved,
	    ms, stay);
}

/* ---- orders to move ---- */

/* A lane from one worker to another. False: there is none, or one of them is not there. */
static bool order(struct slot *from, struct slot *to, uint32_t count)
{
	struct note out = {.kind = NOTE_MOVE_OUT, .count = count, .order = ++change.next_order};
	struct note in = {.kind = NOTE_MOVE_IN};
	int lane[2];
	bool sent;

	if (from->channel.fd < 0 || to->roster.state != SLOT_READY ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, lane) < 0)
		return false;
	sent = slot_pass(to, &in, lane[1]) && slot_pass(from, &out, lane[0]);
	(void)close(lane[0]);
	(void)close(lane[1]);
	if (!sent)
		return false;
	from->orders++;
	change.under_way++;
	return true;
}

/* ---- slots that retire ---- */

/* Whatever it still has, it drains, and then it ends. */
static void leave(struct slot *slot, uint64_t left)
{
	uint32_t drain_ms = config_ms(slot->generation->config.drain_timeout);

	change.told_to_leave[slot_index(slot)] = true;
	change.stay += left;
	(void)slot_tell(slot, &(struct note){.kind = NOTE_LEAVE});
	loop_deadline(change.owner->loop, &slot->timer,
		      change.owner->loop->now_ms + drain_ms + LEAVE_GRACE_MS);
}

/* All it has, to the next worker that there is. */
static void route(struct slot *slot, uint64_t left)
{
	unsigned index = slot_index(slot);
	size_t n = change.serving->slots_n;

	if (change.handed_over && change.routes[index] < ROUTES_MAX) {
		upgrade_want_lane(index, change.routes[index]++);
		slot->orders++; /* it will be one */
		return;
	}
	while (!change.handed_over && change.routes[index] < ROUTES_MAX) {
		size_t to = (index + change.routes[index]++) % n;
		struct slot *taker = &change.serving->slots[to];

		if (taker != slot && order(slot, taker, MOVE_ALL))
			return;
	}
	leave(slot, left);
}

/* Does a worker that retires still have something to move? */
static bool all_have_left(void)
{
	EACH_GENERATION (generation)
		EACH_SLOT (slot, generation)
			if (slot->roster.state == SLOT_RETIRING && slot->pid &&
			    !change.told_to_leave[slot_index(slot)])
				return false;
	return true;
}

/* ---- reload ---- */

/* Of those who came late to a socket that goes: it is one of ours that serves them now, or there
 * is no such listener any more. */
static void give(uint32_t number, int fd)
{
	if (listen_has(&change.serving->set, number))
		handoff_give(number, fd);
	else
		(void)close(fd);
}

static void generation_end(struct generation *generation)
{
	generation_cut(generation, 0);
	listen_take(&generation->set, 0, give);
	listen_drop(&generation->set);
	options_free(&generation->config);
	generation->phase = GENERATION_NONE;
}

/* What was staged goes; nobody was ever let in there. */
static void reload_fail(const char *why)
{
	struct generation *staged = change.staged;

	change.staged = NULL;
	if (staged->phase == GENERATION_STAGED) {
		staged->phase = GENERATION_RETIRING;
		EACH_SLOT (slot, staged) {
			slot_event(slot, SLOT_CLOSE);
			if (slot->pid)
				(void)kill(slot->pid, SIGKILL);
		}
	}
	if (!generation_has_workers(staged))
		generation_end(staged);
	end(false, "%s", why);
}

/* These are settled for as long as the server runs. */
static void keep_what_is_settled(struct config *config, const struct config *old)
{
	config->no_master = old->no_master;
	config->pid_file = old->pid_file;
}

static void begin_reload(void)
{
	struct generation *old = change.serving, *next = generation_at(old->number + 1);
	char error[CHANGE_TEXT_BYTES];
	size_t slots;

	CHECK(next->phase == GENERATION_NONE);
	begin(CHANGE_RELOAD);
	if (!options_reread(&next->config, error)) {
		end(false, "%s", error);
		return;
	}
	keep_what_is_settled(&next->config, &old->config);
	/* More or fewer by signals stays so, until the configuration says another number. */
	slots = old->slots_n;
	next->workers_asked = next->config.workers;
	if (next->workers_asked != old->workers_asked)
		slots = next->workers_asked;
	next->config.workers = slots;
	next->number = old->number + 1;
	if (!listen_open(&next->set, &next->config, &old->set, error)) {
		options_free(&next->config);
		end(false, "%s", error);
		return;
	}
	change.staged = next;
	next->phase = GENERATION_STAGED;
	if (change.owner->seats(&next->config, board_seat_of((unsigned)slots, 0)) ||
	    !generation_fill(next, slots)) {
		if (change.staged)
			reload_fail("a worker can't be forked, or has no shared memory");
		return;
	}
	loop_deadline(change.owner->loop, &change.timer, change.owner->loop->now_ms + READY_MS_MAX);
}

/* Who waits at a socket that is not served any more is let in, by those who did. One of the same
 * address that speaks something else now is not theirs to touch. */
static void empty_removed(struct generation *old, struct generation *next)
{
	uint32_t numbers[LISTENERS_MAX];

	listen_numbers(&old->set, numbers);
	EACH_SLOT (slot, old)
		for (size_t i = 0; slot->pid && i < old->config.listeners_n; i++)
			if (!listen_keeps(&next->set, &old->set, i, slot_index(slot)))
				(void)slot_tell(slot, &(struct note){.kind = NOTE_EMPTY,
								     .listener = numbers[i]});
}

static void switch_over(void)
{
	struct generation *old = change.serving, *next = change.staged;

	change.staged = NULL;
	change.serving = next;
	loop_no_deadline(change.owner->loop, &change.timer);
	old->phase = GENERATION_RETIRING;
	next->phase = GENERATION_SERVING;
	change.began_us = change.owner->loop->now_us;
	listen_serve(&next->set);
	handoff_serve(&next->set);
	EACH_SLOT (slot, next) {
		(void)slot_tell(slot, &(struct note){.kind = NOTE_SERVE});
		handoff_worker_up(slot_seat(slot), slot->channel.fd);
	}
	empty_removed(old, next);
	EACH_SLOT (slot, old) {
		slot_event(slot, SLOT_RETIRE);
		if (slot->roster.state == SLOT_RETIRING)
			route(slot, slot_connections(slot));
	}
}

static void reload_look(void)
{
	char what[64];

	if (change.now != CHANGE_RELOAD || change.staged || !all_have_left())
		return;
	(void)snprintf(what, sizeof what, "generation %u serves", change.serving->number);
	end_moved(what);
}

/* ---- more or fewer workers ---- */

static void begin_more(size_t n)
{
	struct generation *serving = change.serving;
	char error[CHANGE_TEXT_BYTES];

	begin(CHANGE_WORKERS);
	if (!listen_add_slots(&serving->set, n, error)) {
		end(false, "%s", error);
		return;
	}
	serving->config.workers = n;
	if (change.owner->seats(&serving->config, board_seat_of((unsigned)n, 0))) {
		end(false, "no shared memory for another worker");
		return;
	}
	loop_deadline(change.owner->loop, &change.timer, change.owner->loop->now_ms + READY_MS_MAX);
	(void)generation_fill(serving, n); /* where it can't be forked now it is later */
}

static void workers_look(void)
{
	struct generation *serving = change.serving;
	size_t n = (size_t)serving->config.workers;
	char what[64];

	if (change.now != CHANGE_WORKERS)
		return;
	if (n == serving->slots_n) {
		if (!generation_is_ready(serving))
			return;
		change.wants_rebalance = true;
		end(true, "workers: %zu", n);
		return;
	}
	for (size_t i = n; i < serving->slots_n; i++)
		if (serving->slots[i].pid || serving->slots[i].roster.state != SLOT_VACANT)
			return;
	listen_take(&serving->set, n, give);
	listen_close_slots(&serving->set, n);
	generation_cut(serving, n);
	change.wants_rebalance = true;
	(void)snprintf(what, sizeof what, "workers: %zu", n);
	end_moved(what);
}

static void begin_fewer(size_t n)
{
	struct generation *serving = change.serving;
	uint32_t numbers[LISTENERS_MAX];

	begin(CHANGE_WORKERS);
	serving->config.workers = n;
	listen_steer_away(&serving->set, n);
	listen_numbers(&serving->set, numbers);
	for (size_t i = n; i < serving->slots_n; i++) {
		struct slot *slot = &serving->slots[i];
		uint64_t share = slot_connections(slot) / n;

		for (size_t l = 0; slot->pid && l < serving->config.listeners_n; l++)
			if (listen_is_slots_own(&serving->set, l))
				(void)slot_tell(slot, &(struct note){.kind = NOTE_EMPTY,
								     .listener = numbers[l]});
		slot_event(slot, SLOT_RETIRE);
		if (slot->roster.state != SLOT_RETIRING)
			continue;
		for (size_t to = 1; share && to < n && to < MOVE_LANES_MAX; to++)
			(void)order(slot, &serving->slots[to], (uint32_t)share);
		route(slot, slot_connections(slot));
	}
	workers_look();
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

/* Each is to hold this many; some one more. */
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
		if (surplus[i] > 0 && more) { /* who has more keeps one more */
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
			if (order(&change.serving->slots[from], &change.serving->slots[to],
				  (uint32_t)count))
				orders++;
			surplus[from] -= count;
			surplus[to] += count;
		}
	}
	return orders;
}

static void rebalance_look(void)
{
	struct balance balance;
	char what[64];

	if (change.now != CHANGE_REBALANCE || change.under_way)
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
	end_moved(what);
}

static void begin_rebalance(void)
{
	begin(CHANGE_REBALANCE);
	change.rounds = 0;
	rebalance_look();
}

/* ---- upgrade: the old master ---- */

static void begin_upgrade(void)
{
	char error[CHANGE_TEXT_BYTES];

	begin(CHANGE_UPGRADE);
	change.hung = false;
	if (!change.owner->upgrade(error)) {
		end(false, "%s", error);
		return;
	}
	loop_deadline(change.owner->loop, &change.timer, change.owner->loop->now_ms + READY_MS_MAX);
}

static void successor_ready(void)
{
	struct generation *old = change.serving;

	if (change.now != CHANGE_UPGRADE || change.handed_over)
		return;
	change.handed_over = true;
	change.began_us = change.owner->loop->now_us;
	loop_no_deadline(change.owner->loop, &change.timer);
	old->phase = GENERATION_RETIRING;
	handoff_leave();
	change.owner->handed_over(true);
	upgrade_hand_over();
	EACH_SLOT (slot, old) {
		slot_event(slot, SLOT_RETIRE);
		if (slot->roster.state == SLOT_RETIRING)
			route(slot, slot_connections(slot));
	}
}

static void successor_failed(const char *why)
{
	if (change.now == CHANGE_UPGRADE)
		end(false, "%s", change.hung ? "the new master was not ready in time" : why);
}

static void successor_gives_lane(unsigned index, int lane)
{
	struct slot *slot = &change.serving->slots[index];
	struct note note = {.kind = NOTE_MOVE_OUT, .count = MOVE_ALL};

	if (index >= change.serving->slots_n || !slot->orders)
		return;
	note.order = ++change.next_order;
	if (lane >= 0 && slot_pass(slot, &note, lane)) {
		change.under_way++;
		return;
	}
	slot->orders--;
	route(slot, slot_connections(slot));
}

/* What was its is ours again: workers of ours take over from those that retire. */
static void successor_lost(void)
{
	if (!change.handed_over || change.stopping)
		return;
	log_error("the new master died after it had taken over, this one goes on");
	change.handed_over = false;
	change.owner->handed_over(false);
	EACH_SLOT (slot, change.serving)
		slot->orders = 0;
	if (change.now == CHANGE_UPGRADE)
		end(false, "the new master died after it had taken over");
	change_reload();
}

static void successor_tells_bell(unsigned seat, int bell)
{
	EACH_SLOT (slot, change.serving)
		if (slot->pid)
			(void)slot_pass(slot, &(struct note){.kind = NOTE_BELL, .count = seat},
					bell);
}

static void upgrade_look(void)
{
	char what[64];

	if (change.now != CHANGE_UPGRADE || !change.handed_over || !all_have_left())
		return;
	(void)snprintf(what, sizeof what, "pid %d serves", (int)upgrade_pid());
	end_moved(what);
}

/* ---- upgrade: the new master ---- */

static void take_over(void)
{
	struct generation *serving = change.serving;

	if (serving->phase != GENERATION_STAGED)
		return;
	change.owner->takes_over();
	serving->phase = GENERATION_SERVING;
	EACH_SLOT (slot, serving) {
		if (slot->roster.state != SLOT_READY)
			continue;
		(void)slot_tell(slot, &(struct note){.kind = NOTE_SERVE});
		handoff_worker_up(slot_seat(slot), slot->channel.fd);
	}
	change.owner->serves();
}

static void predecessor_wants_lane(unsigned index, unsigned attempt)
{
	struct slot *taker = &change.serving->slots[(index + attempt) % change.serving->slots_n];
	struct note note = {.kind = NOTE_MOVE_IN};
	int lane[2];

	if (taker->roster.state != SLOT_READY ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, lane) < 0) {
		upgrade_give_lane(index, -1);
		return;
	}
	upgrade_give_lane(index, slot_pass(taker, &note, lane[1]) ? lane[0] : -1);
	(void)close(lane[0]);
	(void)close(lane[1]);
}

static void predecessor_gone(void)
{
	take_over(); /* where it died before it could say so */
	change.beside = false;
	listen_settle(NULL);
	log_info("the master before this one has gone");
	loop_poke(change.owner->loop, &change.timer);
}

static const struct upgrade_owner upgrade_owner = {
    .ready = successor_ready,
    .failed = successor_failed,
    .lane = successor_gives_lane,
    .bell = successor_tells_bell,
    .lost = successor_lost,
    .take_over = take_over,
    .wants_lane = predecessor_wants_lane,
    .alone = predecessor_gone,
};

/* ---- what comes next ---- */

static void next_change(void)
{
	struct generation *other = generation_at(change.serving->number + 1);
	long n = (long)change.serving->slots_n;

	if (change.now != CHANGE_NONE || change.stopping || change.handed_over || change.beside)
		return;
	if (other->phase != GENERATION_NONE) /* its last ones drain: never a third one */
		return;
	if (change.wants_upgrade) {
		change.wants_upgrade = false;
		begin_upgrade();
	} else if (change.wants_reload) {
		change.wants_reload = false;
		begin_reload();
	} else if (change.wants_more) {
		long wanted = n + change.wants_more;

		change.wants_more = 0;
		wanted = wanted < 1 ? 1 : wanted > WORKERS_MAX ? WORKERS_MAX : wanted;
		if (wanted > n)
			begin_more((size_t)wanted);
		else if (wanted < n)
			begin_fewer((size_t)wanted);
		else
			loop_poke(change.owner->loop, &change.timer);
	} else if (change.wants_rebalance) {
		change.wants_rebalance = false;
		begin_rebalance();
	}
}

static void timer_turn(struct loop *loop, struct source *source)
{
	bool due = source->ready & SOURCE_DUE;

	(void)loop;
	source->ready = 0;
	if (due && change.staged) {
		reload_fail("the new workers were not ready in time");
	} else if (due && change.now == CHANGE_UPGRADE) {
		change.hung = true;
		upgrade_give_up();
	} else if (due && change.now == CHANGE_WORKERS) {
		end(false, "the new workers were not ready in time; they are tried again");
	}
	next_change();
}

void change_reload(void)
{
	change.wants_reload = true;
	loop_poke(change.owner->loop, &change.timer);
}

void change_workers(int more)
{
	change.wants_more += more;
	loop_poke(change.owner->loop, &change.timer);
}

void change_rebalance(void)
{
	change.wants_rebalance = true;
	loop_poke(change.owner->loop, &change.timer);
}

void change_upgrade(void)
{
	change.wants_upgrade = true;
	loop_poke(change.owner->loop, &change.timer);
}

bool change_is_handed_over(void)
{
	return change.handed_over;
}

const struct upgrade_owner *change_upgrade_owner(void)
{
	return &upgrade_owner;
}

/* ---- what happens meanwhile ---- */

static void look(void)
{
	upgrade_look();
	reload_look();
	workers_look();
	rebalance_look();
}

void change_slot_up(struct slot *slot)
{
	struct generation *generation = slot->generation;

	if (generation->phase == GENERATION_STAGED) {
		if (!generation_is_ready(generation))
			return;
		if (generation == change.staged)
			switch_over();
		else
			upgrade_tell_ready();
	} else {
		handoff_worker_up(slot_seat(slot), slot->channel.fd);
		if (slot->generation == change.serving && generation_is_ready(change.serving))
			listen_serve(&change.serving->set); /* new slots, too, from now on */
	}
	look();
}

void change_slot_gone(struct slot *slot)
{
	struct generation *generation = slot->generation;

	if (generation == change.staged) {
		reload_fail("a new worker did not come up");
	} else if (generation->phase == GENERATION_STAGED && !change.stopping) {
		die("upgrade: worker %u did not come up", slot_index(slot));
	} else if (generation->phase == GENERATION_RETIRING && generation != change.serving &&
		   !generation_has_workers(generation)) {
		generation_end(generation);
		loop_poke(change.owner->loop, &change.timer);
	}
	change.under_way = 0;
	EACH_GENERATION (each)
		EACH_SLOT (other, each)
			change.under_way += other->orders;
	look();
}

void change_slot_gave(struct slot *slot, const struct note *note)
{
	if (change.under_way)
		change.under_way--;
	change.moved += note->count;
	if (slot->roster.state == SLOT_RETIRING && !slot->orders) {
		if (!note->left || note->end == MOVE_DONE)
			leave(slot, note->left);
		else
			route(slot, note->left);
	}
	look();
}

void change_reaped(pid_t pid, int status)
{
	(void)upgrade_reaped(pid, status);
}

void change_stop(void)
{
	change.stopping = true;
	upgrade_give_up();
	if (change.staged)
		reload_fail("weir stops");
	else if (change.now != CHANGE_NONE)
		end(false, "weir stops");
}

void change_init(const struct change_owner *owner, struct generation *serving)
{
	change.owner = owner;
	change.serving = serving;
	change.beside = upgrade_is_heir();
	source_init(&change.timer, -1, timer_turn);
	if (change.beside)
		upgrade_listen(owner->loop, &upgrade_owner);
}
