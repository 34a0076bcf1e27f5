#include "master/pulse.h"

#include <signal.h>

#include "master/notify.h"
#include "reactor/log.h"

#define PULSE_MS 10000 /* where nobody wants to know more often */
#define LOOKS	 4     /* in the time of a watchdog */

static struct {
	struct loop *loop;
	const struct board *board;
	uint32_t (*watchdog_ms)(void);
	void (*status)(void);
	struct source timer;
} pulse;

static uint64_t progress_of(const struct slot *slot)
{
	const struct stats *stats = &pulse.board->seats[slot_seat(slot)].stats;

	return STATS_READ(stats, turns) + STATS_READ(stats, harvests);
}

/* A stopped process dies only when it goes on. */
static void slot_abort(struct slot *slot, uint32_t silent_ms)
{
	log_error("a worker does not move", LOG_NUMBER("worker", slot_index(slot)),
		  LOG_NUMBER("pid", slot->pid), LOG_NUMBER("silent_ms", silent_ms));
	(void)kill(slot->pid, slot->aborted ? SIGKILL : SIGABRT);
	(void)kill(slot->pid, SIGCONT);
	slot->aborted = true;
	slot->pinged_ms = pulse.loop->now_ms;
}

/* It is aborted when it did not answer a ping, not when time was not ours either: all of this
 * machine may have stood still. False: it does not move. */
static bool slot_look(struct slot *slot, uint32_t watchdog_ms, bool aborts)
{
	uint32_t now_ms = pulse.loop->now_ms;
	uint64_t progress = progress_of(slot);

	if (progress != slot->progress) {
		slot->progress = progress;
		slot->progress_ms = now_ms;
		slot->pinged = false;
		return true;
	}
	if (now_ms - slot->progress_ms < watchdog_ms / 2)
		return true;
	if (!slot->pinged) {
		slot->pinged = true;
		slot->pinged_ms = now_ms;
		(void)slot_pass(slot, &(struct note){.kind = NOTE_PING}, -1);
		return true;
	}
	if (now_ms - slot->pinged_ms < watchdog_ms / 2)
		return !slot->aborted;
	if (aborts)
		slot_abort(slot, now_ms - slot->progress_ms);
	return false;
}

static void pulse_turn(struct loop *loop, struct source *source)
{
	uint32_t watchdog_ms = pulse.watchdog_ms(), systemd_ms = notify_watchdog_ms();
	uint32_t patience_ms = watchdog_ms ? watchdog_ms : 2 * systemd_ms;
	uint32_t next_ms = PULSE_MS;
	bool all_move = true;

	source->ready = 0;
	if (patience_ms) {
		EACH_GENERATION(generation)
		EACH_SLOT(slot, generation)
		if (slot->pid && !slot_look(slot, patience_ms, watchdog_ms != 0))
			all_move = false;
		if (patience_ms / LOOKS < next_ms)
			next_ms = patience_ms / LOOKS;
	}
	if (systemd_ms && systemd_ms < next_ms)
		next_ms = systemd_ms;
	if (all_move)
		notify_watchdog();
	pulse.status();
	loop_deadline(loop, source, loop->now_ms + (next_ms ? next_ms : 1));
}

void pulse_open(struct loop *loop, const struct board *board, uint32_t (*watchdog_ms)(void),
		void (*status)(void))
{
	pulse.loop = loop;
	pulse.board = board;
	pulse.watchdog_ms = watchdog_ms;
	pulse.status = status;
	source_init(&pulse.timer, -1, pulse_turn);
	loop_poke(loop, &pulse.timer);
}
