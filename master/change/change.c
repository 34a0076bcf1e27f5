/*
 * What follows from what happens. A change is in one phase at a time:
 *
 *     reload     READING -> STAGED -> MOVING ----.
 *     more       GROWING ------------------------+
 *     fewer      SHRINKING ----------------------+--> IDLE
 *     rebalance  EVENING ------------------------+
 *     upgrade    AWAITING -----------------------'
 *                AWAITING -> LEAVING -> LEFT            the next master serves
 *     BESIDE -> IDLE                                    this is a next master, and the old one goes
 *
 * From IDLE each begins with change_begin(), and in any phase it ends with change_end(). Between
 * those, the table below says what is done: first the next phase is entered, then the action is
 * done, which may end the change. If the next master dies after it has taken over, its upgrade is
 * in AWAITING again for as long as it takes to end it.
 */
#include "master/change/change_parts.h"

#include "master/handoff.h"
#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "worker/migration/migration.h"

enum event_kind {
	EVENT_NEXT,   /* what comes next? */
	EVENT_DUE,    /* the time is over */
	EVENT_READ,   /* the child that reads the configuration has ended */
	EVENT_UP,     /* all workers of the staged generation are up */
	EVENT_DOWN,   /* one of them did not come up */
	EVENT_LOOK,   /* a worker came, or went, or has moved connections */
	EVENT_READY,  /* the next master is ready */
	EVENT_FAILED, /* it can't be started, or died before it was ready */
	EVENT_LOST,   /* it died, or was stopped, after it had taken over */
	EVENT_ALONE,  /* the master before us has gone, and all its workers */
	EVENT_STOP,   /* weir stops */
	CHANGE_EVENTS
};

struct event {
	enum event_kind kind;
	const char *why;   /* of READ, if nothing was found; of FAILED */
	const void *found; /* of READ */
	bool stopped;	   /* of LOST: it was told to end, and so was weir */
};

typedef void action(const struct event *event);

struct step {
	enum change_phase next;
	action *action; /* NULL: the event does not matter in this phase */
};

static action begin_next, pass_on, wish_again, stage, switch_over, fail_late, fail_down, fail_stop;
static action look_reload, look_more, look_fewer, look_rebalance, look_upgrade;
static action end_late, end_failed, end_stop, give_up, hand_over, take_back, go_on_alone;

/* clang-format off */
static const struct step steps[CHANGE_PHASES][CHANGE_EVENTS] = {
	[PHASE_IDLE] = {
		[EVENT_NEXT]   = {PHASE_IDLE, begin_next},
		[EVENT_DUE]    = {PHASE_IDLE, wish_again},
	},
	[PHASE_BESIDE] = {
		[EVENT_ALONE]  = {PHASE_IDLE, go_on_alone},
	},
	[PHASE_READING] = {
		[EVENT_READ]   = {PHASE_STAGED, stage},
		[EVENT_DUE]    = {PHASE_READING, wish_again},
		[EVENT_STOP]   = {PHASE_READING, end_stop},
	},
	[PHASE_STAGED] = {
		[EVENT_UP]     = {PHASE_MOVING, switch_over},
		[EVENT_DOWN]   = {PHASE_STAGED, fail_down},
		[EVENT_DUE]    = {PHASE_STAGED, fail_late},
		[EVENT_STOP]   = {PHASE_STAGED, fail_stop},
	},
	[PHASE_MOVING] = {
		[EVENT_LOOK]   = {PHASE_MOVING, look_reload},
		[EVENT_DUE]    = {PHASE_MOVING, wish_again},
		[EVENT_STOP]   = {PHASE_MOVING, end_stop},
	},
	[PHASE_GROWING] = {
		[EVENT_LOOK]   = {PHASE_GROWING, look_more},
		[EVENT_DUE]    = {PHASE_GROWING, end_late},
		[EVENT_STOP]   = {PHASE_GROWING, end_stop},
	},
	[PHASE_SHRINKING] = {
		[EVENT_LOOK]   = {PHASE_SHRINKING, look_fewer},
		[EVENT_DUE]    = {PHASE_SHRINKING, end_late},
		[EVENT_STOP]   = {PHASE_SHRINKING, end_stop},
	},
	[PHASE_EVENING] = {
		[EVENT_LOOK]   = {PHASE_EVENING, look_rebalance},
		[EVENT_DUE]    = {PHASE_EVENING, wish_again},
		[EVENT_STOP]   = {PHASE_EVENING, end_stop},
	},
	[PHASE_AWAITING] = {
		[EVENT_READY]  = {PHASE_LEAVING, hand_over},
		[EVENT_FAILED] = {PHASE_AWAITING, end_failed},
		[EVENT_DUE]    = {PHASE_AWAITING, give_up},
		[EVENT_STOP]   = {PHASE_AWAITING, end_stop},
	},
	[PHASE_LEAVING] = {
		[EVENT_NEXT]   = {PHASE_LEAVING, pass_on},
		[EVENT_LOOK]   = {PHASE_LEAVING, look_upgrade},
		[EVENT_LOST]   = {PHASE_AWAITING, take_back},
		[EVENT_FAILED] = {PHASE_LEAVING, end_failed},
		[EVENT_DUE]    = {PHASE_LEAVING, give_up},
		[EVENT_STOP]   = {PHASE_LEAVING, end_stop},
	},
	[PHASE_LEFT] = {
		[EVENT_NEXT]   = {PHASE_LEFT, pass_on},
		[EVENT_LOST]   = {PHASE_IDLE, take_back},
		[EVENT_DUE]    = {PHASE_LEFT, wish_again},
	},
};
/* clang-format on */

static void happens(const struct event *event)
{
	const struct step *step;

	CHECK(change.phase < CHANGE_PHASES && event->kind < CHANGE_EVENTS);
	step = &steps[change.phase][event->kind];
	if (!step->action)
		return;
	change.phase = step->next;
	step->action(event);
}

static void look(void)
{
	happens(&(struct event){.kind = EVENT_LOOK});
}

/* ---- what comes next ---- */

static void begin_workers(void)
{
	long n = (long)change.serving->slots_n, wanted = n + change.wants_more;

	change.wants_more = 0;
	wanted = wanted < 1 ? 1 : wanted > WORKERS_MAX ? WORKERS_MAX : wanted;
	if (wanted > n) {
		change_begin_more((size_t)wanted);
	} else if (wanted < n) {
		change_begin_fewer((size_t)wanted);
	} else {
		log_info("as many workers as before", LOG_NUMBER("workers", n));
		loop_wake(change.owner->loop, &change.timer);
	}
}

static void has_read(struct offload *offload, const void *found, const char *why)
{
	(void)offload;
	happens(&(struct event){.kind = EVENT_READ, .found = found, .why = why});
}

static void begin_next(const struct event *event)
{
	(void)event;
	if (change.stopping)
		return;
	/* The old generation may still drain connections, and there is never a third one. */
	if (generation_at(change.serving->number + 1)->phase != GENERATION_NONE)
		return;
	if (change.wants_upgrade) {
		change.wants_upgrade = false;
		change_begin_upgrade();
	} else if (change.wants_reload) {
		change.wants_reload = false;
		change_begin_reload(has_read);
	} else if (change.wants_more) {
		begin_workers();
	} else if (change.wants_rebalance) {
		change.wants_rebalance = false;
		change_begin_rebalance();
	}
}

static void pass_on(const struct event *event)
{
	(void)event;
	if (!change.stopping)
		change_pass_on();
}

/* If nobody serves, the reload that is to mend that is tried again. */
static void wish_again(const struct event *event)
{
	(void)event;
	if (change.successor_lost)
		change.wants_reload = true;
}

/* ---- actions ---- */

static void stage(const struct event *event)
{
	change_stage(event->found, event->why);
}

static void switch_over(const struct event *event)
{
	(void)event;
	change_switch_over();
}

static void fail_late(const struct event *event)
{
	(void)event;
	change_reload_fail("the new workers were not ready in time");
}

static void fail_down(const struct event *event)
{
	(void)event;
	change_reload_fail("a new worker did not come up");
}

static void fail_stop(const struct event *event)
{
	(void)event;
	change_reload_fail("weir stops");
}

static void look_reload(const struct event *event)
{
	(void)event;
	change_reload_look();
}

static void look_more(const struct event *event)
{
	(void)event;
	change_more_look();
}

static void look_fewer(const struct event *event)
{
	(void)event;
	change_fewer_look();
}

static void look_rebalance(const struct event *event)
{
	(void)event;
	change_rebalance_look();
}

static void look_upgrade(const struct event *event)
{
	(void)event;
	change_upgrade_look();
}

static void end_late(const struct event *event)
{
	(void)event;
	change_end(false, "the new workers were not ready in time; they are tried again");
}

static void end_failed(const struct event *event)
{
	change_end(false, "%s", change.hung ? "the new master was not ready in time" : event->why);
}

static void end_stop(const struct event *event)
{
	(void)event;
	change_end(false, "weir stops");
}

/* The end of the next master is told as EVENT_FAILED. */
static void give_up(const struct event *event)
{
	(void)event;
	change.hung = true;
	upgrade_give_up();
}

static void hand_over(const struct event *event)
{
	(void)event;
	change_hand_over();
}

static void take_back(const struct event *event)
{
	change_take_back(event->stopped);
}

static void go_on_alone(const struct event *event)
{
	(void)event;
	change_predecessor_gone();
}

/* ---- what happens: time, workers, children ---- */

static void timer_turn(struct loop *loop, struct source *source)
{
	bool due = source->ready & SOURCE_DUE;

	(void)loop;
	source->ready = 0;
	if (due)
		happens(&(struct event){.kind = EVENT_DUE});
	happens(&(struct event){.kind = EVENT_NEXT});
}

void change_slot_up(struct slot *slot)
{
	struct generation *generation = slot->generation;

	if (generation->phase == GENERATION_STAGED) {
		if (!generation_is_ready(generation))
			return;
		if (generation == change.staged)
			happens(&(struct event){.kind = EVENT_UP});
		else
			change_tell_ready();
	} else {
		/* It may have been forked as staged, and the old master may have died since. */
		if (generation->phase == GENERATION_SERVING)
			(void)slot_tell(slot, &(struct ipc_message){.kind = IPC_SERVE});
		handoff_worker_up(slot_seat(slot), &slot->channel);
		if (slot->generation == change.serving && change_now() != CHANGE_UPGRADE &&
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
		happens(&(struct event){.kind = EVENT_DOWN});
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

void change_slot_moved_out(struct slot *slot, const struct ipc_message *message)
{
	if (change.under_way)
		change.under_way--;
	change.moved += message->count;
	change.full[slot_index(slot)] += message->end == MOVE_FULL;
	slot->unfinished |= message->end != MOVE_DONE;
	if (slot->roster.state == SLOT_RETIRING && !slot->orders) {
		bool again = slot->unfinished && message->left;

		slot->unfinished = false;
		if (again && message->end == MOVE_BROKEN) /* it would only break off again */
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
	(void)upgrade_reaped(pid, status);
}

void change_stop(void)
{
	change.stopping = true;
	upgrade_give_up();
	change_stop_reading();
	happens(&(struct event){.kind = EVENT_STOP});
}

/* ---- what happens: another master ---- */

static void successor_ready(void)
{
	happens(&(struct event){.kind = EVENT_READY});
}

static void successor_failed(const char *why)
{
	happens(&(struct event){.kind = EVENT_FAILED, .why = why});
}

static void successor_lost(bool stopped)
{
	happens(&(struct event){.kind = EVENT_LOST, .stopped = stopped});
}

static void predecessor_gone(void)
{
	happens(&(struct event){.kind = EVENT_ALONE});
}

static const struct upgrade_owner upgrade_owner = {
    .ready = successor_ready,
    .failed = successor_failed,
    .move_channel = change_successor_gives_channel,
    .doorbell = change_successor_tells_doorbell,
    .left = change_successor_leaves,
    .lost = successor_lost,
    .take_over = change_take_over,
    .wants_move_channel = change_predecessor_wants_channel,
    .late = change_give_late,
    .passed_on = change_predecessor_passes_on,
    .alone = predecessor_gone,
};

const struct upgrade_owner *change_upgrade_owner(void)
{
	return &upgrade_owner;
}

/* ---- its life ---- */

void change_init(const struct change_owner *owner, struct generation *serving)
{
	change.owner = owner;
	change.serving = serving;
	change.phase = upgrade_is_successor() ? PHASE_BESIDE : PHASE_IDLE;
	offload_init(&change.reading, owner->loop);
	source_init(&change.timer, -1, timer_turn);
	source_init(&change.routing, -1, change_routing_turn);
	source_init(&change.tidying, -1, change_tidying_turn);
	if (change.phase == PHASE_BESIDE)
		upgrade_listen(owner->loop, &upgrade_owner, owner->predecessor);
}
