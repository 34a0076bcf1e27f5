#include "master/handoff.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reactor/base/check.h"
#include "reactor/base/list.h"
#include "reactor/loop/listener.h"
#include "reactor/base/log.h"
#include "reactor/base/pool.h"
#include "reactor/base/rights.h"
#include "worker/channel.h"

/* Parcels under way to one worker. A worker that is not scheduled for a while must not send its
 * share elsewhere: a thousand come in the time that others are given. */
#define LANE_MAX    1024
#define PARCELS_MAX (WORKERS_MAX * LANE_MAX)
/* Of the descriptors that the master may have: the rest is its own, for changes, for whoever steers
 * weir and for looks at how it is. A worker that takes nothing can't have more than its share. */
#define PARCELS_SHARE	 4
#define ORPHANS_RETRY_MS 20

struct parcel {
	struct list node;
	int fd;
	uint32_t listener; /* its number */
	uint32_t batch_n;  /* how many went with the first of a batch; 0: not the first */
	uint32_t batch;	   /* of the first: its number */
};

/* The way to one worker. */
struct lane {
	struct list staged;	   /* chosen for it, not sent yet */
	struct list under_way;	   /* sent, oldest first */
	size_t parcels;		   /* in both */
	struct seqpacket *channel; /* NULL: nobody is there */
	uint32_t batches;	   /* the number of the last one */
	bool leaving;		   /* whoever is there is given no more */
	bool full;		   /* as its channel says: they stay staged */
	uint64_t given;		   /* as the worker counts what it took from here: if it took all */
	bool resting;		   /* it could not take all: not before rested_ms */
	uint32_t rested_ms;
};

static struct {
	struct loop *loop;
	const struct board *board;
	uint64_t max_connections;
	struct listener listeners[LISTEN_NUMBERS_MAX]; /* fd -1, or no owner: there is none */
	bool borrowed[LISTEN_NUMBERS_MAX]; /* a service manager's: who waits is not ours to end */
	struct lane lanes[SEATS_MAX];
	size_t lanes_n;	     /* no seat from here on was ever taken */
	size_t next_lane;    /* who wins a tie */
	struct list orphans; /* parcels that nobody takes at the moment */
	struct source orphans_timer;
	struct pool parcels;
	size_t parcels_max; /* that strangers may have under way */
	size_t lane_max;    /* of those, to one worker */
	bool has_waiting;   /* somebody was left in a queue: there was no room */
	bool open;	    /* some listener was of this mode */
	void (*idle)(void); /* set while it stops */
	bool (*elsewhere)(uint32_t number, int fd); /* where orphans go; NULL: to workers */
} handoff;

static bool listens(const struct listener *listener)
{
	return listener->owner && listener->source.fd >= 0;
}

/* After handoff_stop(): no listener, and no parcel, is left. */
static void tell_if_idle(void)
{
	void (*idle)(void) = handoff.idle;

	if (!idle || (handoff.open && handoff.parcels.used))
		return;
	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++)
		if (listens(&handoff.listeners[i]))
			return;
	handoff.idle = NULL;
	idle();
}

/* ---- parcels ---- */

static void parcel_done(struct parcel *parcel)
{
	list_remove(&parcel->node);
	if (handoff.listeners[parcel->listener].local) {
		rights_leave(parcel->fd);
	} else { /* a worker that has fallen could make close() wait */
		rights_disarm(parcel->fd);
		(void)close(parcel->fd);
	}
	pool_give(&handoff.parcels, parcel);
}

static bool goes_elsewhere(struct parcel *parcel)
{
	if (!handoff.elsewhere || !handoff.elsewhere(parcel->listener, parcel->fd))
		return false;
	parcel_done(parcel);
	return true;
}

static void orphans_go_elsewhere(void)
{
	LIST_EACH_SAFE (&handoff.orphans, node)
		(void)goes_elsewhere(CONTAINER_OF(node, struct parcel, node));
}

static void orphan(struct parcel *parcel)
{
	if (goes_elsewhere(parcel))
		return;
	list_remove(&parcel->node);
	parcel->batch_n = 0;
	list_append(&handoff.orphans, &parcel->node);
	loop_deadline(handoff.loop, &handoff.orphans_timer,
		      handoff.loop->now_ms + ORPHANS_RETRY_MS);
}

static struct parcel *first_of(struct list *list)
{
	return list_linked(list) ? CONTAINER_OF(list->next, struct parcel, node) : NULL;
}

/* ---- which worker ---- */

/*
 * What the board says is the worker's own claim: it is believed up to its limits. A connection
 * counts from when it is staged: as a parcel, and as one that the worker has said to take and
 * has not opened yet. The worker counts it as held before it counts it as handed over.
 */
static uint64_t lane_load(size_t seat)
{
	const struct stats *stats = &handoff.board->seats[seat].stats;
	uint64_t opened = STATS_READ(stats, handed_over);
	uint64_t connections = STATS_READ(stats, connections);
	uint64_t promised = STATS_READ(stats, connections_promised);
	uint64_t under_way = handoff.lanes[seat].given - opened;

	if (under_way > 2 * LANE_MAX)
		under_way = handoff.lanes[seat].parcels;
	return (connections < handoff.max_connections ? connections : handoff.max_connections) +
	       (promised < handoff.max_connections ? promised : handoff.max_connections) +
	       under_way;
}

static struct lane *lane_of_fewest(void)
{
	uint64_t fewest = handoff.max_connections;
	struct lane *found = NULL;

	for (size_t i = 0; i < handoff.lanes_n; i++) {
		size_t seat = (handoff.next_lane + i) % handoff.lanes_n;
		struct lane *lane = &handoff.lanes[seat];

		if (!lane->channel || lane->leaving || lane->parcels >= handoff.lane_max)
			continue;
		if (lane->resting && !time_reached(handoff.loop->now_ms, lane->rested_ms))
			continue;
		if (lane_load(seat) < fewest) {
			fewest = lane_load(seat);
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
	lane->given++;
	handoff.next_lane = (size_t)(lane - handoff.lanes) + 1;
}

/* ---- sending ---- */

static void lane_fail(struct lane *lane, struct list *list)
{
	struct parcel *parcel;

	while ((parcel = first_of(list))) {
		lane->parcels--;
		lane->given--;
		orphan(parcel);
	}
}

/* One message: the staged parcels of one listener, from the first on. False: there is no room in
 * the channel, or it has ended; either will be told. */
static bool lane_send(struct lane *lane)
{
	struct parcel *first = first_of(&lane->staged);
	struct note note = {
	    .kind = NOTE_CONNECTIONS, .listener = first->listener, .order = lane->batches + 1};
	int fds[DESCRIPTORS_MAX];

	LIST_EACH (&lane->staged, node) {
		struct parcel *parcel = CONTAINER_OF(node, struct parcel, node);

		if (note.count == DESCRIPTORS_MAX || parcel->listener != note.listener)
			break;
		fds[note.count++] = parcel->fd;
	}
	lane->full = seqpacket_try(lane->channel, &note, sizeof note, fds, note.count) != 0;
	if (lane->full)
		return false;
	first->batch_n = note.count;
	first->batch = ++lane->batches;
	for (uint32_t i = 0; i < note.count; i++) {
		struct parcel *parcel = first_of(&lane->staged);

		list_remove(&parcel->node);
		list_append(&lane->under_way, &parcel->node);
	}
	return true;
}

static void send_staged(void)
{
	for (size_t seat = 0; seat < handoff.lanes_n; seat++) {
		struct lane *lane = &handoff.lanes[seat];

		while (list_linked(&lane->staged) && !lane->full && lane_send(lane))
			;
	}
}

static void retry_orphans(struct loop *loop, struct source *source)
{
	struct parcel *parcel;
	struct lane *lane;

	source->ready = 0;
	orphans_go_elsewhere();
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
	if (handoff.parcels.used < handoff.parcels_max && lane_of_fewest())
		return true;
	handoff.has_waiting = true;
	return false;
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

/* While a worker has not answered, or rests, or others move to it, it may have room yet; and so
 * may one that comes, where there is none. */
static bool undecided(struct listener *listener)
{
	size_t lanes = 0;

	(void)listener;
	for (size_t seat = 0; seat < handoff.lanes_n; seat++) {
		const struct lane *lane = &handoff.lanes[seat];
		const struct stats *stats = &handoff.board->seats[seat].stats;

		if (!lane->channel || lane->leaving)
			continue;
		lanes++;
		if (STATS_READ(stats, connections) < handoff.max_connections &&
		    (lane->parcels || STATS_READ(stats, connections_promised) ||
		     (lane->resting && !time_reached(handoff.loop->now_ms, lane->rested_ms))))
			return true;
	}
	return !lanes;
}

static const struct listener_owner owner = {has_room, accepted, batch_done, stopped, undecided};

/* ---- workers ---- */

static size_t parcels_allowed(void)
{
	struct rlimit limit;
	size_t n = PARCELS_MAX;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		n = LANE_MAX;
	else if (limit.rlim_cur / PARCELS_SHARE < n)
		n = limit.rlim_cur / PARCELS_SHARE;
	return n ? n : 1;
}

/* Whoever is given connections has an equal share of what may be under way. */
static void share_anew(void)
{
	size_t n = 0;

	handoff.parcels_max = parcels_allowed();
	for (size_t seat = 0; seat < handoff.lanes_n; seat++)
		n += handoff.lanes[seat].channel && !handoff.lanes[seat].leaving;
	handoff.lane_max = handoff.parcels_max / (n ? n : 1);
	if (handoff.lane_max > LANE_MAX)
		handoff.lane_max = LANE_MAX;
	if (!handoff.lane_max)
		handoff.lane_max = 1;
}

static void listeners_go_on(void)
{
	handoff.has_waiting = false;
	loop_poke(handoff.loop, &handoff.orphans_timer);
	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++)
		if (listens(&handoff.listeners[i]))
			listener_has_room(handoff.loop, &handoff.listeners[i]);
}

void handoff_worker_up(unsigned seat, struct seqpacket *channel)
{
	struct lane *lane = &handoff.lanes[seat];

	if (lane->channel == channel && !lane->leaving)
		return;
	if (seat >= handoff.lanes_n)
		handoff.lanes_n = seat + 1;
	lane->channel = channel;
	lane->resting = lane->leaving = lane->full = false;
	lane->given = STATS_READ(&handoff.board->seats[seat].stats, handed_over);
	share_anew();
	listeners_go_on();
}

void handoff_worker_has_room(unsigned seat)
{
	if (!handoff.lanes[seat].full)
		return;
	handoff.lanes[seat].full = false;
	send_staged();
}

void handoff_worker_leaves(unsigned seat)
{
	struct lane *lane = &handoff.lanes[seat];

	lane->leaving = true;
	share_anew();
	lane_fail(lane, &lane->staged);
	loop_poke(handoff.loop, &handoff.orphans_timer);
}

void handoff_worker_gone(unsigned seat)
{
	struct lane *lane = &handoff.lanes[seat];

	lane->channel = NULL;
	share_anew();
	lane_fail(lane, &lane->under_way);
	lane_fail(lane, &lane->staged);
	loop_poke(handoff.loop, &handoff.orphans_timer);
}

uint64_t handoff_lost(unsigned seat)
{
	uint64_t opened = STATS_READ(&handoff.board->seats[seat].stats, handed_over);
	uint64_t lost = handoff.lanes[seat].given - opened;

	return lost <= LANE_MAX ? lost : 0; /* else it wrote nonsense there */
}

/* Answers come in the order of the batches: it is the first one that is looked at. */
static struct parcel *first_of_batch(const struct lane *lane, uint32_t batch)
{
	LIST_EACH (&lane->under_way, node) {
		struct parcel *parcel = CONTAINER_OF(node, struct parcel, node);

		if (parcel->batch_n && parcel->batch == batch)
			return parcel;
	}
	return NULL;
}

bool handoff_taken(unsigned seat, uint32_t batch, uint32_t count)
{
	struct lane *lane = &handoff.lanes[seat];
	struct parcel *parcel = first_of_batch(lane, batch), *next;
	uint32_t n;

	if (!parcel || count > parcel->batch_n)
		return false;
	n = parcel->batch_n;
	lane->resting = count < n;
	lane->rested_ms = handoff.loop->now_ms + LISTENER_RETRY_MS;
	if (lane->resting) /* somebody else may have room */
		loop_poke(handoff.loop, &handoff.orphans_timer);
	for (uint32_t i = 0; i < n; i++, parcel = next) {
		next = CONTAINER_OF(parcel->node.next, struct parcel, node);
		lane->parcels--;
		if (i < count) {
			parcel_done(parcel);
		} else {
			lane->given--;
			orphan(parcel);
		}
	}
	if (handoff.has_waiting && !lane->resting)
		listeners_go_on();
	tell_if_idle();
	return true;
}

/* ---- open and close ---- */

void handoff_open(struct loop *loop, const struct board *board)
{
	handoff.loop = loop;
	handoff.board = board;
	list_init(&handoff.orphans);
	source_init(&handoff.orphans_timer, -1, retry_orphans);
	for (size_t seat = 0; seat < SEATS_MAX; seat++) {
		list_init(&handoff.lanes[seat].staged);
		list_init(&handoff.lanes[seat].under_way);
	}
}

static bool have_parcels(void)
{
	share_anew();
	if (!handoff.open)
		handoff.open =
		    !pool_open(&handoff.parcels, sizeof(struct parcel), PARCELS_MAX, 1 << 16);
	return handoff.open;
}

void handoff_give(uint32_t number, int fd)
{
	/* It can't wait elsewhere; what is the master's own it does not get, either. */
	if (have_parcels() && pool_free(&handoff.parcels) &&
	    handoff.parcels.used < 2 * handoff.parcels_max) {
		accepted(&handoff.listeners[number], fd, NULL);
		send_staged();
	} else {
		rights_close(fd);
	}
}

static int begin_listening(struct listener *listener, int socket, bool reject)
{
	int fd = fcntl(socket, F_DUPFD_CLOEXEC, 0); /* a listener closes its own */

	if (fd < 0)
		return -errno;
	if (!have_parcels()) {
		(void)close(fd);
		return -ENOMEM;
	}
	if (listener->owner) /* never again: its source may be queued */
		listener->source.fd = fd;
	else
		listener_init(listener, fd, &owner, handoff.loop->stats);
	listener->reject = reject;
	/* Nobody has room before the first worker is up. */
	loop_deadline(handoff.loop, &listener->source, handoff.loop->now_ms + LISTENER_RETRY_MS);
	return 0;
}

/* Is it a copy of this socket? One whose file somebody removed is followed by another. */
static bool is_of(const struct listener *listener, int socket)
{
	struct stat copy, there;

	return fstat(listener->source.fd, &copy) == 0 && fstat(socket, &there) == 0 &&
	       copy.st_dev == there.st_dev && copy.st_ino == there.st_ino;
}

/* Nobody listens there after us: who waits is for the workers that still serve it, at once or not
 * at all. So no share of what may be under way is kept for others. */
static void empty_listener(struct listener *listener)
{
	int fd;

	handoff.lane_max = LANE_MAX;
	while (pool_free(&handoff.parcels) && lane_of_fewest() &&
	       (fd = accept4(listener->source.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		accepted(listener, fd, NULL);
	share_anew();
	send_staged();
	listener_close(handoff.loop, listener);
}

void handoff_serve(const struct listen_set *set)
{
	const struct config *config = set->config;
	bool wanted[LISTEN_NUMBERS_MAX] = {false};
	uint32_t numbers[LISTENERS_MAX];

	handoff.elsewhere = NULL;
	handoff.max_connections = config->max_connections;
	listen_numbers(set, numbers);
	for (size_t i = 0; i < config->listeners_n; i++)
		wanted[numbers[i]] =
		    !config->listeners[i].datagrams &&
		    config_accept_mode(config, &config->listeners[i]) == ACCEPT_HANDOFF;
	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++)
		if (!wanted[i] && listens(&handoff.listeners[i]))
			empty_listener(&handoff.listeners[i]);
	for (size_t i = 0; i < config->listeners_n; i++) {
		struct listener *listener = &handoff.listeners[numbers[i]];
		int socket = listen_master_socket(set, i), error = 0;

		handoff.borrowed[numbers[i]] = listen_borrowed(set, i);
		if (listens(listener) && !is_of(listener, socket))
			empty_listener(listener);
		if (wanted[numbers[i]] && !listens(listener))
			error =
			    begin_listening(listener, socket, config->overload == OVERLOAD_REJECT);
		listener->reject = config->overload == OVERLOAD_REJECT;
		listener->local = address_is_unix(&config->listeners[i].address);
		if (error)
			log_error("a listener can't be handed over from",
				  LOG_TEXT("error", strerror(-error)));
	}
}

void handoff_stop(void (*idle)(void))
{
	handoff.idle = idle;
	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++) {
		if (!listens(&handoff.listeners[i]))
			continue;
		if (handoff.borrowed[i])
			listener_close(handoff.loop, &handoff.listeners[i]);
		else
			listener_stop(handoff.loop, &handoff.listeners[i], false);
	}
	tell_if_idle();
}

void handoff_leave(bool (*elsewhere)(uint32_t number, int fd))
{
	handoff.elsewhere = elsewhere;
	orphans_go_elsewhere();
	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++)
		if (listens(&handoff.listeners[i]))
			listener_close(handoff.loop, &handoff.listeners[i]);
}

void handoff_close(void)
{
	struct parcel *parcel;

	if (!handoff.open)
		return;
	while ((parcel = first_of(&handoff.orphans)))
		parcel_done(parcel);
	pool_close(&handoff.parcels);
	handoff.open = false;
}
