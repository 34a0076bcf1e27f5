#include "master/handoff.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "reactor/check.h"
#include "reactor/descriptor.h"
#include "reactor/list.h"
#include "reactor/listener.h"
#include "reactor/log.h"
#include "reactor/pool.h"
#include "worker/channel.h"

#define LANE_MAX	 256 /* parcels under way to one worker */
#define PARCELS_MAX	 (WORKERS_MAX * LANE_MAX)
#define ORPHANS_RETRY_MS 20

struct parcel {
	struct list node;
	int fd;
	uint32_t listener;
	uint32_t batch; /* how many went with the first of a batch; 0: not the first */
};

/* The way to one worker. */
struct lane {
	struct list staged;    /* chosen for it in this turn, not sent yet */
	struct list under_way; /* sent, oldest first */
	size_t parcels;	       /* in both */
	int channel;	       /* -1: nobody is there */
	bool resting;	       /* it could not take all: not before rested_ms */
	uint32_t rested_ms;
};

static struct {
	struct loop *loop;
	const struct listen_set *set;
	const struct board *board;
	struct listener listeners[LISTENERS_MAX];
	struct lane lanes[WORKERS_MAX];
	size_t next_slot;    /* who wins a tie */
	struct list orphans; /* parcels that nobody takes at the moment */
	struct source orphans_timer;
	struct pool parcels;
	bool open;
	void (*idle)(void); /* set while it stops */
} handoff;

/* After handoff_stop(): no listener, and no parcel, is left. */
static void tell_if_idle(void)
{
	void (*idle)(void) = handoff.idle;

	if (!idle || handoff.parcels.used)
		return;
	for (size_t i = 0; handoff.open && i < handoff.set->config->listeners_n; i++)
		if (handoff.listeners[i].owner && handoff.listeners[i].source.fd >= 0)
			return;
	handoff.idle = NULL;
	idle();
}

/* ---- parcels ---- */

static void parcel_done(struct parcel *parcel)
{
	list_remove(&parcel->node);
	(void)close(parcel->fd);
	pool_give(&handoff.parcels, parcel);
}

static void orphan(struct parcel *parcel)
{
	list_remove(&parcel->node);
	parcel->batch = 0;
	list_append(&handoff.orphans, &parcel->node);
	loop_deadline(handoff.loop, &handoff.orphans_timer,
		      handoff.loop->now_ms + ORPHANS_RETRY_MS);
}

static struct parcel *first_of(struct list *list)
{
	return list_linked(list) ? CONTAINER_OF(list->next, struct parcel, node) : NULL;
}

/* ---- which worker ---- */

/* What the board says is the worker's own claim: it is believed up to its limit. */
static uint64_t lane_load(size_t slot)
{
	uint64_t max = handoff.set->config->max_connections;
	uint64_t connections = STATS_READ(&handoff.board->slot[slot].stats, connections);

	return (connections < max ? connections : max) + handoff.lanes[slot].parcels;
}

static struct lane *lane_of_fewest(void)
{
	uint64_t fewest = handoff.set->config->max_connections;
	struct lane *found = NULL;

	for (size_t i = 0; i < handoff.set->slots; i++) {
		size_t slot = (handoff.next_slot + i) % handoff.set->slots;
		struct lane *lane = &handoff.lanes[slot];

		if (lane->resting && !time_reached(handoff.loop->now_ms, lane->rested_ms))
			continue;
		if (lane->channel >= 0 && lane->parcels < LANE_MAX && lane_load(slot) < fewest) {
			fewest = lane_load(slot);
			found = lane;
		}
	}
	return found;
}

static void stage(struct lane *lane, struct parcel *parcel)
{
	list_remove(&parcel->node);
	list_append(&lane->staged, &parcel->node);
	lane->parcels++;
	handoff.next_slot = (size_t)(lane - handoff.lanes) + 1;
}

/* ---- sending ---- */

static void lane_fail(struct lane *lane, struct list *list)
{
	struct parcel *parcel;

	while ((parcel = first_of(list))) {
		lane->parcels--;
		orphan(parcel);
	}
}

/* One message: the staged parcels of one listener, from the first on. False: not now. */
static bool lane_send(struct lane *lane)
{
	struct parcel *first = first_of(&lane->staged);
	struct note note = {.kind = NOTE_CONNECTIONS, .listener = first->listener};
	int fds[DESCRIPTORS_MAX];

	LIST_EACH (&lane->staged, node) {
		struct parcel *parcel = CONTAINER_OF(node, struct parcel, node);

		if (note.count == DESCRIPTORS_MAX || parcel->listener != note.listener)
			break;
		fds[note.count++] = parcel->fd;
	}
	if (descriptors_send(lane->channel, &note, sizeof note, fds, note.count) < 0)
		return false;
	first->batch = note.count;
	for (uint32_t i = 0; i < note.count; i++) {
		struct parcel *parcel = first_of(&lane->staged);

		list_remove(&parcel->node);
		list_append(&lane->under_way, &parcel->node);
	}
	return true;
}

static void send_staged(void)
{
	for (size_t slot = 0; slot < handoff.set->slots; slot++) {
		struct lane *lane = &handoff.lanes[slot];

		while (list_linked(&lane->staged))
			if (!lane_send(lane))
				lane_fail(lane, &lane->staged);
	}
}

static void retry_orphans(struct loop *loop, struct source *source)
{
	struct parcel *parcel;
	struct lane *lane;

	source->ready = 0;
	while ((parcel = first_of(&handoff.orphans)) && (lane = lane_of_fewest()))
		stage(lane, parcel);
	send_staged();
	if (list_linked(&handoff.orphans))
		loop_deadline(loop, source, loop->now_ms + ORPHANS_RETRY_MS);
}

/* ---- accepting ---- */

static bool has_room(struct listener *listener)
{
	(void)listener;
	return pool_free(&handoff.parcels) && lane_of_fewest();
}

static void accepted(struct listener *listener, int fd, const struct sockaddr *peer)
{
	struct parcel *parcel = pool_take(&handoff.parcels);
	struct lane *lane;

	(void)peer;
	CHECK(parcel);
	*parcel = (struct parcel){.fd = fd, .listener = (uint32_t)(listener - handoff.listeners)};
	list_init(&parcel->node);
	/* The board may have changed since has_room() looked: then it waits for a place. */
	lane = lane_of_fewest();
	if (lane)
		stage(lane, parcel);
	else
		orphan(parcel);
}

static void batch_done(struct listener *listener)
{
	(void)listener;
	send_staged();
}

static void stopped(struct listener *listener)
{
	(void)listener;
	tell_if_idle();
}

static const struct listener_owner owner = {has_room, accepted, batch_done, stopped};

/* ---- workers ---- */

void handoff_worker_up(size_t slot, int channel)
{
	if (!handoff.open)
		return;
	handoff.lanes[slot].channel = channel;
	handoff.lanes[slot].resting = false;
	loop_poke(handoff.loop, &handoff.orphans_timer);
	for (size_t i = 0; i < handoff.set->config->listeners_n; i++)
		if (handoff.listeners[i].owner)
			listener_has_room(handoff.loop, &handoff.listeners[i]);
}

void handoff_worker_gone(size_t slot)
{
	struct lane *lane = &handoff.lanes[slot];

	if (!handoff.open)
		return;
	lane->channel = -1;
	lane_fail(lane, &lane->under_way);
	loop_poke(handoff.loop, &handoff.orphans_timer);
}

bool handoff_taken(size_t slot, uint32_t count)
{
	struct lane *lane = &handoff.lanes[slot];
	struct parcel *parcel;
	uint32_t batch;

	if (!handoff.open || !(parcel = first_of(&lane->under_way)) || count > parcel->batch)
		return false;
	batch = parcel->batch;
	lane->resting = count < batch;
	lane->rested_ms = handoff.loop->now_ms + LISTENER_RETRY_MS;
	if (lane->resting) /* somebody else may have room */
		loop_poke(handoff.loop, &handoff.orphans_timer);
	for (uint32_t i = 0; i < batch; i++) {
		parcel = first_of(&lane->under_way);
		lane->parcels--;
		if (i < count)
			parcel_done(parcel);
		else
			orphan(parcel);
	}
	tell_if_idle();
	return true;
}

/* ---- open and close ---- */

void handoff_open(struct loop *loop, const struct listen_set *set, const struct board *board)
{
	const struct config *config = set->config;

	handoff.loop = loop;
	handoff.set = set;
	handoff.board = board;
	list_init(&handoff.orphans);
	source_init(&handoff.orphans_timer, -1, retry_orphans);
	for (size_t slot = 0; slot < WORKERS_MAX; slot++) {
		list_init(&handoff.lanes[slot].staged);
		list_init(&handoff.lanes[slot].under_way);
		handoff.lanes[slot].channel = -1;
	}
	for (size_t i = 0; i < config->listeners_n; i++) {
		struct listener *listener = &handoff.listeners[i];

		if (config_accept_mode(config, &config->listeners[i]) != ACCEPT_HANDOFF)
			continue;
		if (!handoff.open &&
		    pool_open(&handoff.parcels, sizeof(struct parcel), PARCELS_MAX, 1 << 16))
			die("handoff: out of memory");
		handoff.open = true;
		int fd = fcntl(set->fds[i][0], F_DUPFD_CLOEXEC, 0); /* a listener closes its own */
		if (fd < 0)
			die("handoff: duplicating a listener: %s", strerror(errno));
		listener_init(listener, fd, &owner, loop->stats);
		listener->reject = config->overload == OVERLOAD_REJECT;
		/* Nobody has room before the first worker is up. */
		loop_deadline(loop, &listener->source, loop->now_ms + LISTENER_RETRY_MS);
	}
}

void handoff_stop(void (*idle)(void))
{
	handoff.idle = idle;
	if (handoff.open)
		for (size_t i = 0; i < handoff.set->config->listeners_n; i++)
			if (handoff.listeners[i].owner)
				listener_stop(handoff.loop, &handoff.listeners[i]);
	tell_if_idle();
}

void handoff_close(void)
{
	struct parcel *parcel;

	if (!handoff.open)
		return;
	while ((parcel = first_of(&handoff.orphans)))
		parcel_done(parcel);
	pool_close(&handoff.parcels);
}
