#include "master/stillness.h"

#include <time.h>

#include "master/proc.h"

#define BAD_US 2000000 /* less than that is a long turn, or no CPU */

/* At the last look at this seat. */
static struct {
	pid_t pid;
	bool suspect;
	uint64_t progress, since_us;
} seen[SEATS_MAX];

static uint64_t clock_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct stillness stillness_of(const struct scoreboard *scoreboard, const struct slot *slot,
			      char state)
{
	unsigned seat = slot_seat(slot);
	const struct stats *stats = &scoreboard->seats[seat].stats;
	uint64_t progress = STATS_READ(stats, turns) + STATS_READ(stats, harvests);
	struct stillness stillness = {false, 0};
	uint64_t now_us = clock_us();
	bool suspect;

	if (!slot->pid)
		return stillness;
	stillness.stopped = state ? state == 'T' || state == 't' : proc_is_stopped(slot->pid);
	suspect = stillness.stopped || !STATS_READ(stats, asleep);
	if (seen[seat].pid != slot->pid || seen[seat].progress != progress || !suspect ||
	    !seen[seat].suspect)
		seen[seat].since_us = now_us;
	seen[seat].pid = slot->pid;
	seen[seat].suspect = suspect;
	seen[seat].progress = progress;
	stillness.still_us = now_us - seen[seat].since_us;
	return stillness;
}

struct stillness stillness_look(const struct scoreboard *scoreboard, const struct slot *slot)
{
	struct proc proc;
	bool known = slot->pid && proc_read(slot->pid, &proc);

	return stillness_of(scoreboard, slot, known ? proc.state : '\0');
}

bool stillness_is_bad(struct stillness stillness)
{
	return stillness.stopped || stillness.still_us > BAD_US;
}
