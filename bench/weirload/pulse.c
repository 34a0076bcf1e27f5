#include "bench/weirload/pulse.h"

#include "bench/weirload/clock.h"
#include "reactor/base/list.h"

#define PULSE_MS      10
#define PULSE_LATE_NS 5000000 /* later than this, the process did not run */

void pulse_seen(struct pulse *pulse, uint64_t now_ns)
{
	const struct schedule *schedule = pulse->schedule;
	uint64_t from_ns = pulse->seen_ns + PULSE_MS * 1000000ull, to_ns = now_ns;
	bool late = now_ns > from_ns + PULSE_LATE_NS;

	pulse->seen_ns = now_ns;
	if (!late)
		return;
	if (from_ns < schedule->measure_ns) /* the time before the measurement is left out */
		from_ns = schedule->measure_ns;
	if (pulse->stopped && to_ns > schedule->end_ns)
		to_ns = schedule->end_ns;
	if (to_ns > from_ns)
		TALLY_ADD(pulse->tally, frozen_ns, to_ns - from_ns);
}

static void pulse_turn(struct loop *loop, struct source *source)
{
	struct pulse *pulse = CONTAINER_OF(source, struct pulse, source);

	source->ready = 0;
	pulse_seen(pulse, clock_ns());
	if (!pulse->stopped)
		loop_deadline(loop, source, loop->now_ms + PULSE_MS);
}

void pulse_start(struct pulse *pulse, struct loop *loop, const struct schedule *schedule,
		 struct tally *tally)
{
	*pulse = (struct pulse){.schedule = schedule, .tally = tally, .seen_ns = clock_ns()};
	source_init(&pulse->source, -1, pulse_turn);
	loop_deadline(loop, &pulse->source, loop->now_ms + PULSE_MS);
}
