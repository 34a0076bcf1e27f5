#include "master/liveness.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "master/notify.h"
#include "master/proc.h"
#include "reactor/base/log.h"

#define BAD_US	  2000000 /* one that is still for less has a long turn, or no CPU */
#define IDLE_MS	  10000	  /* between looks, if nobody wants to know more often */
#define LOOKS_MAX 4	  /* without progress: a watchdog's time is cut into so many */

/* ---- how a worker is ---- */

/* The last look at each seat, and since when the worker there has been still. */
static struct {
	struct liveness_look look;
	uint64_t since_us;
} seen[SEATS_MAX];

static uint64_t clock_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t progress_of(const struct scoreboard *scoreboard, const struct slot *slot)
{
	const struct stats *stats = &scoreboard->seats[slot_seat(slot)].stats;

	return STATS_READ(stats, turns) + STATS_READ(stats, harvests);
}

static bool is_asleep(const struct scoreboard *scoreboard, const struct slot *slot)
{
	return STATS_READ(&scoreboard->seats[slot_seat(slot)].stats, asleep) != 0;
}

struct liveness liveness_of_state(const struct scoreboard *scoreboard, const struct slot *slot,
				  char state)
{
	unsigned seat = slot_seat(slot);
	const struct liveness_look *before = &seen[seat].look;
	uint64_t now_us = clock_us();
	struct liveness_look now;

	if (!slot->pid)
		return (struct liveness){false, 0};
	now = (struct liveness_look){
	    .pid = slot->pid,
	    .progress = progress_of(scoreboard, slot),
	    .stopped = state ? state == 'T' || state == 't' : proc_is_stopped(slot->pid),
	    .asleep = is_asleep(scoreboard, slot),
	};
	if (!liveness_is_still(before, &now) || !liveness_should_move(before))
		seen[seat].since_us = now_us;
	seen[seat].look = now;
	return (struct liveness){now.stopped, now_us - seen[seat].since_us};
}

struct liveness liveness_of(const struct scoreboard *scoreboard, const struct slot *slot)
{
	struct proc proc;
	bool known = slot->pid && proc_read(slot->pid, &proc);

	return liveness_of_state(scoreboard, slot, known ? proc.state : '\0');
}

bool liveness_is_bad(struct liveness liveness)
{
	return liveness.stopped || liveness.still_us > BAD_US;
}

/* ---- the watch ---- */

static struct {
	struct loop *loop;
	const struct scoreboard *scoreboard;
	uint32_t (*watchdog_ms)(void);
	void (*status)(void);
	struct source timer;
	uint32_t counted_ms; /* when looks were counted last */
} watch;

/* Does a debugger hold it? Only /proc knows; if that can't be read, the answer is no: a worker that
 * hangs must not go on because nobody could look. */
static bool is_traced(pid_t pid)
{
	char path[64], line[256];
	int tracer = 0;
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (!tracer && fgets(line, sizeof line, file))
		(void)sscanf(line, "TracerPid: %d", &tracer);
	(void)fclose(file);
	return tracer != 0;
}

/* SIGCONT, because a stopped process dies only when it goes on. */
static void slot_abort(struct slot *slot, uint32_t watchdog_ms)
{
	log_error("a worker does not move", LOG_NUMBER("worker", slot_index(slot)),
		  LOG_NUMBER("pid", slot->pid), LOG_NUMBER("watchdog_ms", watchdog_ms));
	(void)kill(slot->pid, slot->aborted ? SIGKILL : SIGABRT);
	(void)kill(slot->pid, SIGCONT);
	slot->aborted = true;
	slot->stuck = 0;
}

/* Has it moved since the last look of the watch, or does it have an excuse? */
static bool is_well(struct slot *slot)
{
	struct liveness_look before = {.pid = slot->pid, .progress = slot->progress};
	struct liveness_look now = {.pid = slot->pid,
				    .progress = progress_of(watch.scoreboard, slot)};

	slot->progress = now.progress;
	if (now.progress != before.progress)
		return true;
	/* This look is also remembered for whoever asks later. */
	now.stopped = liveness_of(watch.scoreboard, slot).stopped;
	now.asleep = is_asleep(watch.scoreboard, slot);
	return !liveness_is_still(&before, &now) || is_traced(slot->pid);
}

/* Looks are counted, not time, because all of this machine may have stood still; only those that
 * are a quarter of the watchdog's time apart count, not those in between that systemd wants. False:
 * it does not move. */
static bool slot_moves(struct slot *slot, uint32_t watchdog_ms, bool counts, bool aborts)
{
	if (is_well(slot)) {
		slot->stuck = 0;
		return true;
	}
	slot->stuck += counts;
	if (slot->stuck <= LOOKS_MAX)
		return !slot->aborted;
	if (aborts && counts)
		slot_abort(slot, watchdog_ms);
	return false;
}

static void watch_turn(struct loop *loop, struct source *source)
{
	uint32_t watchdog_ms = watch.watchdog_ms(), systemd_ms = notify_watchdog_ms();
	uint32_t patience_ms = watchdog_ms ? watchdog_ms : 2 * systemd_ms;
	uint32_t next_ms = IDLE_MS, each_ms = patience_ms / LOOKS_MAX;
	bool all_move = true, counts = loop->now_ms - watch.counted_ms >= each_ms;

	source->ready = 0;
	if (patience_ms) {
		EACH_GENERATION (generation)
			EACH_SLOT (slot, generation)
				if (slot->pid &&
				    !slot_moves(slot, patience_ms, counts, watchdog_ms != 0))
					all_move = false;
		if (counts)
			watch.counted_ms = loop->now_ms;
		if (watch.counted_ms + each_ms - loop->now_ms < next_ms)
			next_ms = watch.counted_ms + each_ms - loop->now_ms;
	}
	if (systemd_ms && systemd_ms < next_ms)
		next_ms = systemd_ms;
	if (all_move)
		notify_watchdog();
	watch.status();
	if (patience_ms || systemd_ms || notify_is_open()) /* else nobody wants to know */
		loop_deadline(loop, source, loop->now_ms + (next_ms ? next_ms : 1));
}

void liveness_look_soon(void)
{
	loop_wake(watch.loop, &watch.timer);
}

void liveness_watch(struct loop *loop, const struct scoreboard *scoreboard,
		    uint32_t (*watchdog_ms)(void), void (*status)(void))
{
	watch.loop = loop;
	watch.scoreboard = scoreboard;
	watch.watchdog_ms = watchdog_ms;
	watch.status = status;
	source_init(&watch.timer, -1, watch_turn);
	loop_wake(loop, &watch.timer);
}
