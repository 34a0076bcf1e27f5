#include "master/change/roster.h"

#include "reactor/base/check.h"

struct step {
	enum slot_state next;
	enum slot_action action;
};

/* The event changes nothing in this state. */
#define STAY(state)                                                                                \
	{                                                                                          \
		SLOT_##state, DO_NOTHING                                                           \
	}

/* clang-format off */
static const struct step steps[SLOT_STATES][SLOT_EVENTS] = {
	[SLOT_VACANT] = {
		[SLOT_OPEN]    = {SLOT_STARTING, DO_SPAWN},
		[SLOT_UP]      = STAY(VACANT),
		[SLOT_DIED]    = STAY(VACANT),
		[SLOT_RESTED]  = STAY(VACANT),
		[SLOT_RETIRE]  = STAY(VACANT),
		[SLOT_CLOSE]   = STAY(VACANT),
		[SLOT_OVERDUE] = STAY(VACANT),
	},
	[SLOT_STARTING] = {
		[SLOT_OPEN]    = STAY(STARTING),
		[SLOT_UP]      = {SLOT_READY, DO_ANNOUNCE},
		[SLOT_DIED]    = {SLOT_RESTING, DO_REST},
		[SLOT_RESTED]  = STAY(STARTING),
		[SLOT_RETIRE]  = {SLOT_RETIRING, DO_RETIRE},
		[SLOT_CLOSE]   = {SLOT_DRAINING, DO_DRAIN},
		[SLOT_OVERDUE] = STAY(STARTING),
	},
	[SLOT_READY] = {
		[SLOT_OPEN]    = STAY(READY),
		[SLOT_UP]      = STAY(READY),
		[SLOT_DIED]    = {SLOT_RESTING, DO_REST},
		[SLOT_RESTED]  = STAY(READY),
		[SLOT_RETIRE]  = {SLOT_RETIRING, DO_RETIRE},
		[SLOT_CLOSE]   = {SLOT_DRAINING, DO_DRAIN},
		[SLOT_OVERDUE] = STAY(READY),
	},
	[SLOT_RETIRING] = {
		[SLOT_OPEN]    = STAY(RETIRING),
		[SLOT_UP]      = STAY(RETIRING),
		[SLOT_DIED]    = {SLOT_VACANT, DO_FORGET},
		[SLOT_RESTED]  = STAY(RETIRING),
		[SLOT_RETIRE]  = STAY(RETIRING),
		[SLOT_CLOSE]   = {SLOT_DRAINING, DO_DRAIN},
		[SLOT_OVERDUE] = {SLOT_RETIRING, DO_KILL},
	},
	[SLOT_DRAINING] = {
		[SLOT_OPEN]    = STAY(DRAINING),
		[SLOT_UP]      = {SLOT_DRAINING, DO_ANNOUNCE},
		[SLOT_DIED]    = {SLOT_VACANT, DO_FORGET},
		[SLOT_RESTED]  = STAY(DRAINING),
		[SLOT_RETIRE]  = STAY(DRAINING),
		[SLOT_CLOSE]   = STAY(DRAINING),
		[SLOT_OVERDUE] = {SLOT_DRAINING, DO_KILL},
	},
	[SLOT_RESTING] = {
		[SLOT_OPEN]    = STAY(RESTING),
		[SLOT_UP]      = STAY(RESTING),
		[SLOT_DIED]    = STAY(RESTING),
		[SLOT_RESTED]  = {SLOT_STARTING, DO_SPAWN},
		[SLOT_RETIRE]  = {SLOT_VACANT, DO_FORGET},
		[SLOT_CLOSE]   = {SLOT_VACANT, DO_FORGET},
		[SLOT_OVERDUE] = STAY(RESTING),
	},
};
/* clang-format on */

/* No delay the first time; if a worker keeps dying, twice as long each time. */
static uint32_t delay_after(uint32_t failures)
{
	uint32_t delay_ms = ROSTER_DELAY_MS_MIN;

	if (failures <= 1)
		return 0;
	while (failures-- > 2 && delay_ms < ROSTER_DELAY_MS_MAX)
		delay_ms *= 2;
	return delay_ms < ROSTER_DELAY_MS_MAX ? delay_ms : ROSTER_DELAY_MS_MAX;
}

static void count_failure(struct roster_slot *slot, enum slot_state before, uint32_t now_ms)
{
	uint32_t lived_s = before == SLOT_READY ? (now_ms - slot->born_ms) / 1000 : 0;

	slot->failures++;
	slot->failures = slot->failures > lived_s ? slot->failures - lived_s : 0;
	slot->delay_ms = delay_after(slot->failures);
}

enum slot_action roster_event(struct roster_slot *slot, enum slot_event event, uint32_t now_ms)
{
	enum slot_state before = slot->state;
	const struct step *step;

	CHECK(before < SLOT_STATES && event < SLOT_EVENTS);
	step = &steps[before][event];
	slot->state = step->next;
	if (step->action == DO_SPAWN)
		slot->born_ms = now_ms;
	else if (step->action == DO_REST)
		count_failure(slot, before, now_ms);
	return step->action;
}
