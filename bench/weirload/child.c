#include "bench/weirload/child.h"

#include <string.h>
#include <sys/timerfd.h>

#include "reactor/base/check.h"
#include "reactor/base/descriptor.h"
#include "reactor/base/list.h"
#include "reactor/base/sys.h"

#define PULSE_MS      10
#define PULSE_LATE_NS 5000000 /* later than this, the process did not run */

void child_begin(struct loop *loop, int doorbell)
{
	static struct stats stats;
	int error;

	descriptors_keep_only(&doorbell, 1);
	(void)signal(SIGINT, SIG_IGN); /* the conductor ends it */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sys_prctl(PR_SET_PDEATHSIG, SIGKILL);
	error = loop_open(loop, &stats, 0);
	if (error)
		die("epoll_create1: %s", strerror(-error));
}

void child_watch(struct loop *loop, struct source *doorbell, struct source *timer)
{
	int error;

	timer->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer->fd < 0)
		die("timerfd_create: %s", strerror(errno));
	doorbell->want = timer->want = SOURCE_IN;
	error = loop_watch(loop, doorbell, EPOLLIN);
	/* Edge-triggered, a timer need not be read: setting it anew clears it. */
	if (!error)
		error = loop_watch(loop, timer, EPOLLIN | EPOLLET);
	if (error)
		die("epoll_ctl: %s", strerror(-error));
}

void child_timer_arm(struct source *timer, uint64_t at_ns)
{
	struct itimerspec at = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000),
					     .tv_nsec = (long)(at_ns % 1000000000)}};

	CHECK(timerfd_settime(timer->fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
}

void child_ring(struct source *doorbell, char what)
{
	(void)sys_write(doorbell->fd, &what, 1);
}

/* ---- the pulse ---- */

void pulse_seen(struct pulse *pulse, uint64_t now_ns)
{
	const struct schedule *schedule = pulse->schedule;
	uint64_t from_ns = pulse->seen_ns + PULSE_MS * 1000000ull, to_ns = now_ns;
	bool late = now_ns > from_ns + PULSE_LATE_NS;

	pulse->seen_ns = now_ns;
	if (!late)
		return;
	if (from_ns < schedule->measure_ns) /* what was before is left out */
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
