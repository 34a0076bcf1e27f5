#include "master/pulse.h"

#include <signal.h>
#include <stdio.h>

#include "master/notify.h"
#include "master/proc.h"
#include "master/stillness.h"
#include "reactor/base/log.h"

#define PULSE_MS 10000 /* where nobody wants to know more often */
#define LOOKS	 4     /* in the time of a watchdog */

static struct {
	struct loop *loop;
	const struct scoreboard *scoreboard;
	uint32_t (*watchdog_ms)(void);
	void (*status)(void);
	struct source timer;
	uint32_t counted_ms; /* when looks were counted last */
} pulse;

static uint64_t progress_of(const struct slot *slot)
{
	const struct stats *stats = &pulse.scoreboard->seats[slot_seat(slot)].stats;

	return STATS_READ(stats, turns) + STATS_READ(stats, harvests);
}

/* Only /proc knows. Where it can't be read, nobody is taken to hold it: one that hangs must not go
 * on for want of a look. */
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

static bool is_asleep(const struct slot *slot)
{
	return STATS_READ(&pulse.scoreboard->seats[slot_seat(slot)].stats, asleep) != 0;
}

/* A stopped process dies only when it goes on. */
static void slot_abort(struct slot *slot, uint32_t watchdog_ms)
{
	log_error("a worker does not move", LOG_NUMBER("worker", slot_index(slot)),
		  LOG_NUMBER("pid", slot->pid), LOG_NUMBER("watchdog_ms", watchdog_ms));
	(void)kill(slot->pid, slot->aborted ? SIGKILL : SIGABRT);
	(void)kill(slot->pid, SIGCONT);
	slot->aborted = true;
	slot->stuck = 0;
}

/* Looks are counted, not time: all of this machine may have stood still. Those in between, which
 * systemd wants, are not. False: it does not move. */
static bool slot_look(struct slot *slot, uint32_t watchdog_ms, bool counts, bool aborts)
{
	uint64_t progress = progress_of(slot);

	if (progress != slot->progress) {
		slot->progress = progress;
		slot->stuck = 0;
		return true;
	}
	(void)stillness_look(pulse.scoreboard, slot); /* those who ask later profit by it */
	/* One look says little: it may have been woken, or stopped, this moment. */
	if ((is_asleep(slot) && !proc_is_stopped(slot->pid)) || is_traced(slot->pid)) {
		slot->stuck = 0;
		return true;
	}
	slot->stuck += counts;
	if (slot->stuck <= LOOKS)
		return !slot->aborted;
	if (aborts && counts)
		slot_abort(slot, watchdog_ms);
	return false;
}

static void pulse_turn(struct loop *loop, struct source *source)
{
	uint32_t watchdog_ms = pulse.watchdog_ms(), systemd_ms = notify_watchdog_ms();
	uint32_t patience_ms = watchdog_ms ? watchdog_ms : 2 * systemd_ms;
	uint32_t next_ms = PULSE_MS, each_ms = patience_ms / LOOKS;
	bool all_move = true, counts = loop->now_ms - pulse.counted_ms >= each_ms;

	source->ready = 0;
	if (patience_ms) {
		EACH_GENERATION (generation)
			EACH_SLOT (slot, generation)
				if (slot->pid &&
				    !slot_look(slot, patience_ms, counts, watchdog_ms != 0))
					all_move = false;
		if (counts)
			pulse.counted_ms = loop->now_ms;
		if (pulse.counted_ms + each_ms - loop->now_ms < next_ms)
			next_ms = pulse.counted_ms + each_ms - loop->now_ms;
	}
	if (systemd_ms && systemd_ms < next_ms)
		next_ms = systemd_ms;
	if (all_move)
		notify_watchdog();
	pulse.status();
	if (patience_ms || systemd_ms || notify_is_open()) /* else nobody wants to know */
		loop_deadline(loop, source, loop->now_ms + (next_ms ? next_ms : 1));
}

void pulse_look(void)
{
	loop_wake(pulse.loop, &pulse.timer);
}

void pulse_open(struct loop *loop, const struct scoreboard *scoreboard,
		uint32_t (*watchdog_ms)(void), void (*status)(void))
{
	pulse.loop = loop;
	pulse.scoreboard = scoreboard;
	pulse.watchdog_ms = watchdog_ms;
	pulse.status = status;
	source_init(&pulse.timer, -1, pulse_turn);
	loop_wake(loop, &pulse.timer);
}
