#include "master/state_words.h"

const char *const state_words_of_server[] = {"starting",    "serving",	 "reloading", "resizing",
					     "rebalancing", "upgrading", "stopping",  NULL};
const char *const state_words_of_workers[] = {"vacant",	 "starting", "staged",	 "ready",
					      "stopped", "stuck",    "retiring", "draining",
					      "resting", NULL};

const char *state_words_of_slot(const struct slot *slot, struct liveness liveness)
{
	static const char *const states[] = {
	    [SLOT_VACANT] = "vacant",	  [SLOT_STARTING] = "starting", [SLOT_READY] = "ready",
	    [SLOT_RETIRING] = "retiring", [SLOT_DRAINING] = "draining", [SLOT_RESTING] = "resting",
	};

	if (slot->roster.state == SLOT_READY && slot->generation->phase == GENERATION_STAGED)
		return "staged";
	if (slot->roster.state == SLOT_READY && slot->leaving)
		return "draining";
	if (slot->roster.state == SLOT_READY && liveness_is_bad(liveness))
		return liveness.stopped ? "stopped" : "stuck";
	return states[slot->roster.state];
}
