#include "master/change/generation.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/metrics/lifetime_counters.h"
#include "master/handoff.h"
#include "master/spawn.h"
#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/base/rights.h"

static struct generation generations[2];
static const struct generation_owner *owner;

struct generation *generation_at(unsigned number)
{
	return &generations[number & 1];
}

unsigned slot_index(const struct slot *slot)
{
	return (unsigned)(slot - slot->generation->slots);
}

unsigned slot_seat(const struct slot *slot)
{
	return scoreboard_seat_of(slot_index(slot), slot->generation->number);
}

static struct scoreboard_seat *seat_of(const struct slot *slot)
{
	return &owner->scoreboard->seats[slot_seat(slot)];
}

uint64_t slot_connections(const struct slot *slot)
{
	return STATS_READ(&seat_of(slot)->stats, connections);
}

struct ipc_message slot_move_in(unsigned index, unsigned generation, uint32_t count)
{
	const struct stats *stats =
	    &owner->scoreboard->seats[scoreboard_seat_of(index, generation)].stats;
	uint64_t held = STATS_READ(stats, connections), chunks = STATS_READ(stats, chunks);

	return (struct ipc_message){.kind = IPC_MOVE_IN,
				    .count = held < count ? (uint32_t)held : count,
				    .left = chunks < UINT32_MAX ? (uint32_t)chunks : UINT32_MAX};
}

/* ---- the channel of a worker ---- */

/* A worker is not trusted: a message that no worker should send is dropped. It is no reason to end
 * the worker, because the fault may be our own. Logged once for each worker. */
static void channel_warn(struct slot *slot, const char *what, uint32_t kind)
{
	if (slot->warned)
		return;
	slot->warned = true;
	log_warn(what, LOG_NUMBER("worker", slot_index(slot)), LOG_NUMBER("pid", slot->pid),
		 LOG_NUMBER("kind", kind));
}

bool slot_pass(struct slot *slot, const struct ipc_message *message, const int *fds, size_t fds_n)
{
	int error = seqpacket_send(&slot->channel, message, sizeof *message, fds, fds_n);

	if (error && error != -EPIPE)
		channel_warn(slot, "a worker does not take an order", message->kind);
	return !error;
}

bool slot_tell(struct slot *slot, const struct ipc_message *message)
{
	return slot_pass(slot, message, NULL, 0);
}

/* False: a worker should not say this now. */
static bool take_message(struct slot *slot, const struct ipc_message *message)
{
	switch (message->kind) {
	case IPC_READY:
		slot_event(slot, SLOT_UP);
		return true;
	case IPC_LEAVING:
		owner->leaving(slot);
		return true;
	case IPC_HISTORY_BEGINS:
		owner->history_begins();
		return true;
	case IPC_SERVING:
		if (slot->roster.state != SLOT_RETIRING && !slot->leaving)
			handoff_worker_up(slot_seat(slot), &slot->channel);
		return true;
	case IPC_TAKEN:
		return handoff_taken(slot_seat(slot), message->order, message->count);
	case IPC_MOVED_OUT:
		if (!slot->orders)
			return false;
		slot->orders--;
		owner->moved_out(slot, message);
		return true;
	default:
		return false;
	}
}

static struct slot *slot_of(struct seqpacket *channel)
{
	return CONTAINER_OF(channel, struct slot, channel);
}

static void channel_took(struct seqpacket *channel, const void *bytes, size_t n, int *fds,
			 size_t fds_n)
{
	struct slot *slot = slot_of(channel);
	struct ipc_message message = {0};

	(void)fds;
	if (n == sizeof message)
		memcpy(&message, bytes, sizeof message);
	if (fds_n || !take_message(slot, &message))
		channel_warn(slot, "a worker says what it should not", message.kind);
}

/* The worker has ended: SIGCHLD follows. */
static void channel_ended(struct seqpacket *channel)
{
	handoff_worker_gone(slot_seat(slot_of(channel)));
}

static void channel_has_room(struct seqpacket *channel)
{
	handoff_worker_has_room(slot_seat(slot_of(channel)));
}

static const struct seqpacket_owner channel_owner = {channel_took, channel_ended, channel_has_room,
						     true};

/* ---- what the roster wants done ---- */

/* Watched before there is a worker, so that an epoll that takes no more (fs.epoll.max_user_watches
 * limits each user's) is like a fork that fails. 0 or -errno. */
static int slot_open_channel(struct slot *slot, int *workers)
{
	int ends[2], error = spawn_channel(ends);

	if (error)
		return error;
	error = seqpacket_open(&slot->channel, owner->loop, ends[0], false, &channel_owner);
	if (error) {
		(void)close(ends[0]);
		(void)close(ends[1]);
	}
	*workers = ends[1];
	return error;
}

/* Forks a worker with its channel. -errno: there is neither. */
static pid_t slot_fork(struct slot *slot, struct worker_setup *worker)
{
	pid_t pid = slot_open_channel(slot, &worker->channel);

	if (pid < 0)
		return pid;
	pid = spawn_worker(worker);
	(void)close(worker->channel);
	if (pid < 0)
		seqpacket_close(&slot->channel);
	return pid;
}

static int slot_spawn(struct slot *slot)
{
	struct generation *generation = slot->generation;
	struct worker_setup worker = {
	    .config = &generation->config,
	    .identity = generation->config.user ? &generation->config.identity : NULL,
	    .scoreboard = seat_of(slot),
	    .journal = owner->journal,
	    .journal_id = owner->journal_id,
	    .lifeline = owner->lifeline,
	    .index = slot_index(slot),
	    .seat = slot_seat(slot),
	    .staged = generation->phase == GENERATION_STAGED,
	    .ledgers = generation->set.ledgers,
	};
	pid_t pid;

	listen_for_slot(&generation->set, slot_index(slot), worker.listeners);
	listen_numbers(&generation->set, worker.numbers);
	listen_topics(&generation->set, worker.topics);
	for (size_t i = 0; i < generation->config.listeners_n; i++)
		worker.borrowed[i] = listen_borrowed(&generation->set, i);
	pid = slot_fork(slot, &worker);
	if (pid < 0)
		return pid;
	slot->pid = pid;
	slot->restarts += slot->born_us != 0;
	if (slot->born_us)
		lifetime_counters_count_restart(slot_index(slot));
	lifetime_counters_process_began(slot_seat(slot), pid);
	slot->born_us = owner->loop->now_us;
	slot->before = seat_of(slot)->stats;
	slot->leaving = slot->aborted = slot->unfinished = slot->warned = false;
	slot->orders = 0;
	slot->stuck = 0;
	log_info("worker started", LOG_NUMBER("worker", slot_index(slot)), LOG_NUMBER("pid", pid),
		 LOG_NUMBER("generation", generation->number));
	return 0;
}

static void slot_kill(const struct slot *slot)
{
	log_warn("a worker did not end in its time", LOG_NUMBER("worker", slot_index(slot)),
		 LOG_NUMBER("pid", slot->pid));
	if (slot->pid)
		(void)kill(slot->pid, SIGKILL);
}

/* It may be up, and not have heard yet that another generation serves: so it is told. */
static void slot_retire(struct slot *slot)
{
	handoff_worker_leaves(slot_seat(slot));
	(void)slot_tell(slot, &(struct ipc_message){.kind = IPC_RETIRE});
}

void slot_event(struct slot *slot, enum slot_event event)
{
	enum slot_action action = roster_event(&slot->roster, event, owner->loop->now_ms);
	int error;

	switch (action) {
	case DO_NOTHING:
		break;
	case DO_SPAWN:
		error = slot_spawn(slot);
		if (error) {
			log_error("a worker can't be forked",
				  LOG_NUMBER("worker", slot_index(slot)),
				  LOG_TEXT("error", strerror(-error)));
			slot_event(slot, SLOT_DIED);
			owner->gone(slot);
		}
		break;
	case DO_ANNOUNCE:
		owner->up(slot);
		break;
	case DO_REST:
		loop_no_deadline(owner->loop, &slot->timer);
		loop_deadline(owner->loop, &slot->timer,
			      owner->loop->now_ms + slot->roster.delay_ms);
		break;
	case DO_RETIRE:
		slot_retire(slot);
		break;
	case DO_DRAIN:
		(void)slot_tell(slot, &(struct ipc_message){.kind = IPC_DRAIN});
		break;
	case DO_KILL:
		slot_kill(slot);
		break;
	case DO_FORGET:
		loop_no_deadline(owner->loop, &slot->timer);
		break;
	}
}

static void slot_timer_turn(struct loop *loop, struct source *source)
{
	struct slot *slot = CONTAINER_OF(source, struct slot, timer);

	(void)loop;
	source->ready = 0;
	slot_event(slot, slot->roster.state == SLOT_RESTING ? SLOT_RESTED : SLOT_OVERDUE);
}

/* ---- deaths ---- */

static void log_death(const struct slot *slot, pid_t pid, int status, uint64_t lost)
{
	bool wanted =
	    slot->roster.state == SLOT_DRAINING || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
	char words[LAST_WORDS_BYTES], how[64];

	scoreboard_take_last_words(seat_of(slot), words);
	if (WIFSIGNALED(status))
		(void)snprintf(how, sizeof how, "signal %d (%s)%s", WTERMSIG(status),
			       strsignal(WTERMSIG(status)),
			       WCOREDUMP(status) ? ", core dumped" : "");
	else
		(void)snprintf(how, sizeof how, "exit %d", WEXITSTATUS(status));
	struct log_field fields[] = {
	    LOG_NUMBER("worker", slot_index(slot)),
	    LOG_NUMBER("pid", pid),
	    LOG_TEXT("how", how),
	    LOG_NUMBER("lost_connections", lost),
	    LOG_TEXT("last_words", words),
	};
	size_t n = sizeof fields / sizeof *fields;

	log_write(wanted ? LOG_INFO : LOG_WARN, wanted ? "worker ended" : "worker died", fields,
		  *words ? n : n - 1);
}

static void slot_died(struct slot *slot, int status, const struct rusage *used)
{
	struct stats *stats = &seat_of(slot)->stats;
	uint64_t held = STATS_READ(stats, connections), lost;
	pid_t pid = slot->pid;

	slot->pid = 0; /* reaped: the number may be anybody's now */
	lifetime_counters_process_ended(slot_seat(slot), used);
	while (seqpacket_read(&slot->channel))
		;				 /* what it said that it took is its own */
	if (seqpacket_is_open(&slot->channel)) { /* its child has a copy */
		seqpacket_close(&slot->channel);
		handoff_worker_gone(slot_seat(slot));
	}
	/* Nobody else writes there now, so the master counts how its connections ended. */
	lost = handoff_lost(slot_seat(slot));
	STATS_ADD(stats, accepted, lost);
	STATS_ADD(stats, handed_over, lost);
	lost += held;
	STATS_ADD(stats, closed[CLOSE_worker_died], lost);
	stats_clear_gauges(stats);
	if (owner->journal)
		journal_vacate(owner->journal, slot_seat(slot));
	log_death(slot, pid, status, lost);
	slot->orders = 0;
	slot_event(slot, SLOT_DIED);
	owner->gone(slot);
	if (slot->roster.state == SLOT_RESTING)
		log_info("worker comes again", LOG_NUMBER("worker", slot_index(slot)),
			 LOG_NUMBER("after_ms", slot->roster.delay_ms));
}

pid_t generations_reap(int *status)
{
	bool reaped = false;
	struct rusage used;
	pid_t pid;

	while ((pid = wait4(-1, status, WNOHANG, &used)) > 0) {
		bool ours = false;

		EACH_GENERATION (generation)
			EACH_SLOT (slot, generation)
				if (slot->pid == pid && !ours) {
					ours = true;
					slot_died(slot, *status, &used);
				}
		reaped = reaped || ours;
		if (!ours)
			break;
	}
	/* Those that died may have published without waking anybody, or us. */
	if (reaped && owner->journal) {
		journal_ring_all_doorbells(owner->journal);
		owner->history_begins();
	}
	return pid > 0 ? pid : 0;
}

/* ---- the whole ---- */

bool generation_fill(struct generation *generation, size_t n)
{
	int phase = (int)generation->phase;
	bool all = true;

	while (generation->slots_n < n) {
		struct slot *slot = &generation->slots[generation->slots_n++];

		if (!slot->generation) { /* only once: its sources may be queued */
			seqpacket_init(&slot->channel);
			source_init(&slot->timer, -1, slot_timer_turn);
		}
		slot->generation = generation;
		slot->born_us = slot->restarts = 0;
		slot->roster = (struct roster_slot){0};
		slot_event(slot, SLOT_OPEN);
		all = all && slot->pid;
		if ((int)generation->phase != phase) /* the generation has ended */
			return false;
	}
	return all;
}

bool generation_is_ready(const struct generation *generation)
{
	for (size_t i = 0; i < generation->slots_n; i++)
		if (generation->slots[i].roster.state != SLOT_READY)
			return false;
	return true;
}

bool generation_has_workers(const struct generation *generation)
{
	for (size_t i = 0; i < generation->slots_n; i++)
		if (generation->slots[i].pid)
			return true;
	return false;
}

bool generations_have_workers(void)
{
	return generation_has_workers(&generations[0]) || generation_has_workers(&generations[1]);
}

void generation_cut(struct generation *generation, size_t n)
{
	for (size_t i = n; i < generation->slots_n; i++) {
		CHECK(!generation->slots[i].pid);
		loop_no_deadline(owner->loop, &generation->slots[i].timer);
	}
	if (n < generation->slots_n)
		generation->slots_n = n;
}

void generation_init(const struct generation_owner *given)
{
	owner = given;
}
