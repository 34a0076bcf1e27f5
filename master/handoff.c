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

/* Connections under way to one worker. They have to be many: a worker that is not scheduled for a
 * while must not lose its share to others, and in the time that others run a thousand may come. */
#define WORKER_QUEUE_MAX  1024
#define PENDING_CONNS_MAX (WORKERS_MAX * WORKER_QUEUE_MAX)
/* One in so many of the master's descriptors: the rest is for changes, for weirctl and for looks at
 * how weir is. A worker that takes nothing can't have more than its share. */
#define PENDING_CONNS_SHARE 4
#define UNASSIGNED_RETRY_MS 20

struct pending_conn {
	struct list node;
	int fd;
	uint32_t listener; /* its number */
	uint32_t batch_n;  /* how many went with the first of a batch; 0: not the first */
	uint32_t batch;	   /* of the first: its number */
};

/* The connections on their way to one worker. */
struct worker_queue {
	struct list staged;	   /* chosen for it, not sent yet */
	struct list under_way;	   /* sent, oldest first */
	size_t pending_conns;	   /* in both */
	struct seqpacket *channel; /* NULL: nobody is there */
	uint32_t batches;	   /* the number of the last one */
	bool leaving;		   /* its worker is given no more */
	bool full;		   /* its channel has no room: connections stay staged */
	uint64_t given; /* connections that it was given; it counts itself which it opened */
	bool resting;	/* it could not take all: no more before rested_ms */
	uint32_t rested_ms;
};

static struct {
	struct loop *loop;
	const struct scoreboard *scoreboard;
	uint64_t max_connections;
	struct listener listeners[LISTEN_NUMBERS_MAX]; /* fd -1, or no owner: there is none */
	bool borrowed[LISTEN_NUMBERS_MAX]; /* a service manager's: clients that wait are not ours to
					    * end */
	struct worker_queue queues[SEATS_MAX];
	size_t queues_n;	/* no seat from here on was ever taken */
	size_t next_queue;	/* the first one that is looked at, which wins a tie */
	struct list unassigned; /* pending_conns that nobody takes at the moment */
	struct source unassigned_timer;
	struct pool pending_conns;
	size_t pending_conns_max; /* that strangers may have under way */
	size_t queue_max;	  /* of those, to one worker */
	bool has_waiting;   /* a client was left in a listener's queue, because there was no room */
	bool open;	    /* some listener was of this mode */
	void (*idle)(void); /* set while it stops */
	/* Takes connections that no worker takes; NULL: they wait for a worker. */
	bool (*elsewhere)(uint32_t number, int fd);
} handoff;

static bool listens(const struct listener *listener)
{
	return listener->owner && listener->source.fd >= 0;
}

/* After handoff_stop(): tells when no listener, and no pending_conn, is left. */
static void tell_if_idle(void)
{
	void (*idle)(void) = handoff.idle;

	if (!idle || (handoff.open && handoff.pending_conns.used))
		return;
	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++)
		if (listens(&handoff.listeners[i]))
			return;
	handoff.idle = NULL;
	idle();
}

/* ---- pending_conns ---- */

static void pending_conn_done(struct pending_conn *pending)
{
	list_remove(&pending->node);
	if (handoff.listeners[pending->listener].local) {
		rights_leave(pending->fd);
	} else { /* a worker that was taken over by an attacker could make close() wait */
		rights_disarm(pending->fd);
		(void)close(pending->fd);
	}
	pool_give(&handoff.pending_conns, pending);
}

static bool goes_elsewhere(struct pending_conn *pending)
{
	if (!handoff.elsewhere || !handoff.elsewhere(pending->listener, pending->fd))
		return false;
	pending_conn_done(pending);
	return true;
}

static void unassigned_go_elsewhere(void)
{
	LIST_EACH_SAFE (&handoff.unassigned, node)
		(void)goes_elsewhere(CONTAINER_OF(node, struct pending_conn, node));
}

static void leave_unassigned(struct pending_conn *pending)
{
	if (goes_elsewhere(pending))
		return;
	list_remove(&pending->node);
	pending->batch_n = 0;
	list_append(&handoff.unassigned, &pending->node);
	loop_deadline(handoff.loop, &handoff.unassigned_timer,
		      handoff.loop->now_ms + UNASSIGNED_RETRY_MS);
}

static struct pending_conn *first_of(struct list *list)
{
	return list_linked(list) ? CONTAINER_OF(list->next, struct pending_conn, node) : NULL;
}

/* ---- which worker ---- */

/*
 * What the scoreboard says is the worker's own claim, and believed only up to its limits. A
 * connection counts from when it is staged: first as pending, then as one that the worker has said
 * that it took and has not opened yet. The worker counts it as held before it counts it as handed
 * over.
 */
static uint64_t worker_queue_load(size_t seat)
{
	const struct stats *stats = &handoff.scoreboard->seats[seat].stats;
	uint64_t opened = STATS_READ(stats, handed_over);
	uint64_t connections = STATS_READ(stats, connections);
	uint64_t promised = STATS_READ(stats, connections_promised);
	uint64_t under_way = handoff.queues[seat].given - opened;

	if (under_way > 2 * WORKER_QUEUE_MAX)
		under_way = handoff.queues[seat].pending_conns;
	return (connections < handoff.max_connections ? connections : handoff.max_connections) +
	       (promised < handoff.max_connections ? promised : handoff.max_connections) +
	       under_way;
}

static struct worker_queue *queue_of_fewest(void)
{
	uint64_t fewest = handoff.max_connections;
	struct worker_queue *found = NULL;

	for (size_t i = 0; i < handoff.queues_n; i++) {
		size_t seat = (handoff.next_queue + i) % handoff.queues_n;
		struct worker_queue *queue = &handoff.queues[seat];

		if (!queue->channel || queue->leaving || queue->pending_conns >= handoff.queue_max)
			continue;
		if (queue->resting && !time_reached(handoff.loop->now_ms, queue->rested_ms))
			continue;
		if (worker_queue_load(seat) < fewest) {
			fewest = worker_queue_load(seat);
			found = queue;
		}
	}
	return found;
}

static void stage(struct worker_queue *queue, struct pending_conn *pending)
{
	list_remove(&pending->node);
	list_append(&queue->staged, &pending->node);
	queue->pending_conns++;
	queue->given++;
	handoff.next_queue = (size_t)(queue - handoff.queues) + 1;
}

/* ---- sending ---- */

static void worker_queue_fail(struct worker_queue *queue, struct list *list)
{
	struct pending_conn *pending;

	while ((pending = first_of(list))) {
		queue->pending_conns--;
		queue->given--;
		leave_unassigned(pending);
	}
}

/* Sends one message: the first staged pending_conns, as far as they are of one listener. False:
 * there is no room in the channel, or it has ended; either will be told. */
static bool worker_queue_send(struct worker_queue *queue)
{
	struct pending_conn *first = first_of(&queue->staged);
	struct ipc_message message = {
	    .kind = IPC_CONNECTIONS, .listener = first->listener, .order = queue->batches + 1};
	int fds[DESCRIPTORS_MAX];

	LIST_EACH (&queue->staged, node) {
		struct pending_conn *pending = CONTAINER_OF(node, struct pending_conn, node);

		if (message.count == DESCRIPTORS_MAX || pending->listener != message.listener)
			break;
		fds[message.count++] = pending->fd;
	}
	queue->full =
	    seqpacket_try(queue->channel, &message, sizeof message, fds, message.count) != 0;
	if (queue->full)
		return false;
	first->batch_n = message.count;
	first->batch = ++queue->batches;
	for (uint32_t i = 0; i < message.count; i++) {
		struct pending_conn *pending = first_of(&queue->staged);

		list_remove(&pending->node);
		list_append(&queue->under_way, &pending->node);
	}
	return true;
}

static void send_staged(void)
{
	for (size_t seat = 0; seat < handoff.queues_n; seat++) {
		struct worker_queue *queue = &handoff.queues[seat];

		while (list_linked(&queue->staged) && !queue->full && worker_queue_send(queue))
			;
	}
}

static void retry_unassigned(struct loop *loop, struct source *source)
{
	struct pending_conn *pending;
	struct worker_queue *queue;

	source->ready = 0;
	unassigned_go_elsewhere();
	while ((pending = first_of(&handoff.unassigned)) && (queue = queue_of_fewest()))
		stage(queue, pending);
	send_staged();
	if (list_linked(&handoff.unassigned))
		loop_deadline(loop, source, loop->now_ms + UNASSIGNED_RETRY_MS);
}

/* ---- accepting ---- */

static bool has_room(struct listener *listener)
{
	(void)listener;
	if (handoff.pending_conns.used < handoff.pending_conns_max && queue_of_fewest())
		return true;
	handoff.has_waiting = true;
	return false;
}

static void accepted(struct listener *listener, int fd, const struct sockaddr *peer)
{
	struct pending_conn *pending = pool_take(&handoff.pending_conns);
	struct worker_queue *queue;

	(void)peer;
	CHECK(pending);
	*pending =
	    (struct pending_conn){.fd = fd, .listener = (uint32_t)(listener - handoff.listeners)};
	list_init(&pending->node);
	/* If the scoreboard has changed since has_room() looked, it waits for a worker with
	 * room. */
	queue = queue_of_fewest();
	if (queue)
		stage(queue, pending);
	else
		leave_unassigned(pending);
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

/* While a worker has not answered, or rests, or connections move to it, it may still get room; and
 * if there is no worker, one that comes may have room. */
static bool undecided(struct listener *listener)
{
	size_t queues = 0;

	(void)listener;
	for (size_t seat = 0; seat < handoff.queues_n; seat++) {
		const struct worker_queue *queue = &handoff.queues[seat];
		const struct stats *stats = &handoff.scoreboard->seats[seat].stats;

		if (!queue->channel || queue->leaving)
			continue;
		queues++;
		if (STATS_READ(stats, connections) < handoff.max_connections &&
		    (queue->pending_conns || STATS_READ(stats, connections_promised) ||
		     (queue->resting && !time_reached(handoff.loop->now_ms, queue->rested_ms))))
			return true;
	}
	return !queues;
}

static const struct listener_owner owner = {has_room, accepted, batch_done, stopped, undecided};

/* ---- workers ---- */

static size_t pending_conns_allowed(void)
{
	struct rlimit limit;
	size_t n = PENDING_CONNS_MAX;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		n = WORKER_QUEUE_MAX;
	else if (limit.rlim_cur / PENDING_CONNS_SHARE < n)
		n = limit.rlim_cur / PENDING_CONNS_SHARE;
	return n ? n : 1;
}

/* Each worker has an equal share of what may be under way. */
static void share_anew(void)
{
	size_t n = 0;

	handoff.pending_conns_max = pending_conns_allowed();
	for (size_t seat = 0; seat < handoff.queues_n; seat++)
		n += handoff.queues[seat].channel && !handoff.queues[seat].leaving;
	handoff.queue_max = handoff.pending_conns_max / (n ? n : 1);
	if (handoff.queue_max > WORKER_QUEUE_MAX)
		handoff.queue_max = WORKER_QUEUE_MAX;
	if (!handoff.queue_max)
		handoff.queue_max = 1;
}

static void listeners_go_on(void)
{
	handoff.has_waiting = false;
	loop_wake(handoff.loop, &handoff.unassigned_timer);
	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++)
		if (listens(&handoff.listeners[i]))
			listener_has_room(handoff.loop, &handoff.listeners[i]);
}

void handoff_worker_up(unsigned seat, struct seqpacket *channel)
{
	struct worker_queue *queue = &handoff.queues[seat];

	if (queue->channel == channel && !queue->leaving)
		return;
	if (seat >= handoff.queues_n)
		handoff.queues_n = seat + 1;
	queue->channel = channel;
	queue->resting = queue->leaving = queue->full = false;
	queue->given = STATS_READ(&handoff.scoreboard->seats[seat].stats, handed_over);
	share_anew();
	listeners_go_on();
}

void handoff_worker_has_room(unsigned seat)
{
	if (!handoff.queues[seat].full)
		return;
	handoff.queues[seat].full = false;
	send_staged();
}

void handoff_worker_leaves(unsigned seat)
{
	struct worker_queue *queue = &handoff.queues[seat];

	queue->leaving = true;
	share_anew();
	worker_queue_fail(queue, &queue->staged);
	loop_wake(handoff.loop, &handoff.unassigned_timer);
}

void handoff_worker_gone(unsigned seat)
{
	struct worker_queue *queue = &handoff.queues[seat];

	queue->channel = NULL;
	share_anew();
	worker_queue_fail(queue, &queue->under_way);
	worker_queue_fail(queue, &queue->staged);
	loop_wake(handoff.loop, &handoff.unassigned_timer);
}

uint64_t handoff_lost(unsigned seat)
{
	uint64_t opened = STATS_READ(&handoff.scoreboard->seats[seat].stats, handed_over);
	uint64_t lost = handoff.queues[seat].given - opened;

	return lost <= WORKER_QUEUE_MAX ? lost : 0; /* else it wrote nonsense there */
}

/* Answers come in the order of the batches, so it is the first batch in the list. */
static struct pending_conn *first_of_batch(const struct worker_queue *queue, uint32_t batch)
{
	LIST_EACH (&queue->under_way, node) {
		struct pending_conn *pending = CONTAINER_OF(node, struct pending_conn, node);

		if (pending->batch_n && pending->batch == batch)
			return pending;
	}
	return NULL;
}

bool handoff_taken(unsigned seat, uint32_t batch, uint32_t count)
{
	struct worker_queue *queue = &handoff.queues[seat];
	struct pending_conn *pending = first_of_batch(queue, batch), *next;
	uint32_t n;

	if (!pending || count > pending->batch_n)
		return false;
	n = pending->batch_n;
	queue->resting = count < n;
	queue->rested_ms = handoff.loop->now_ms + LISTENER_RETRY_MS;
	if (queue->resting) /* another worker may have room */
		loop_wake(handoff.loop, &handoff.unassigned_timer);
	for (uint32_t i = 0; i < n; i++, pending = next) {
		next = CONTAINER_OF(pending->node.next, struct pending_conn, node);
		queue->pending_conns--;
		if (i < count) {
			pending_conn_done(pending);
		} else {
			queue->given--;
			leave_unassigned(pending);
		}
	}
	if (handoff.has_waiting && !queue->resting)
		listeners_go_on();
	tell_if_idle();
	return true;
}

/* ---- open and close ---- */

void handoff_open(struct loop *loop, const struct scoreboard *scoreboard)
{
	handoff.loop = loop;
	handoff.scoreboard = scoreboard;
	list_init(&handoff.unassigned);
	source_init(&handoff.unassigned_timer, -1, retry_unassigned);
	for (size_t seat = 0; seat < SEATS_MAX; seat++) {
		list_init(&handoff.queues[seat].staged);
		list_init(&handoff.queues[seat].under_way);
	}
}

static bool have_pending_conns(void)
{
	share_anew();
	if (!handoff.open)
		handoff.open = !pool_open(&handoff.pending_conns, sizeof(struct pending_conn),
					  PENDING_CONNS_MAX, 1 << 16);
	return handoff.open;
}

void handoff_give(uint32_t number, int fd)
{
	/* It can't wait elsewhere; but it must not use up the descriptors that the master needs
	 * itself. */
	if (have_pending_conns() && pool_free(&handoff.pending_conns) &&
	    handoff.pending_conns.used < 2 * handoff.pending_conns_max) {
		accepted(&handoff.listeners[number], fd, NULL);
		send_staged();
	} else {
		rights_close(fd);
	}
}

static int begin_listening(struct listener *listener, int socket, bool reject)
{
	int fd = fcntl(socket, F_DUPFD_CLOEXEC, 0); /* a copy: a listener closes its own */

	if (fd < 0)
		return -errno;
	if (!have_pending_conns()) {
		(void)close(fd);
		return -ENOMEM;
	}
	if (listener->owner) /* only initialised once: its source may be queued */
		listener->source.fd = fd;
	else
		listener_init(listener, fd, &owner, handoff.loop->stats);
	listener->reject = reject;
	/* No worker has room before the first one is up. */
	loop_deadline(handoff.loop, &listener->source, handoff.loop->now_ms + LISTENER_RETRY_MS);
	return 0;
}

/* Is it a copy of this socket? A socket whose file somebody removed was replaced by another one. */
static bool is_of(const struct listener *listener, int socket)
{
	struct stat copy, there;

	return fstat(listener->source.fd, &copy) == 0 && fstat(socket, &there) == 0 &&
	       copy.st_dev == there.st_dev && copy.st_ino == there.st_ino;
}

/* Nobody listens there after us: clients that wait are for the workers that still serve it, at once
 * or never. So the limit on what is under way does not hold for them. */
static void empty_listener(struct listener *listener)
{
	int fd;

	handoff.queue_max = WORKER_QUEUE_MAX;
	while (pool_free(&handoff.pending_conns) && queue_of_fewest() &&
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
	unassigned_go_elsewhere();
	for (size_t i = 0; i < LISTEN_NUMBERS_MAX; i++)
		if (listens(&handoff.listeners[i]))
			listener_close(handoff.loop, &handoff.listeners[i]);
}

void handoff_close(void)
{
	struct pending_conn *pending;

	if (!handoff.open)
		return;
	while ((pending = first_of(&handoff.unassigned)))
		pending_conn_done(pending);
	pool_close(&handoff.pending_conns);
	handoff.open = false;
}
