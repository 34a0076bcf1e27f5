#include "reactor/loop/loop.h"

#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/base/sys.h"

#define LOOP_EVENTS 256

int loop_open(struct loop *loop, struct stats *stats, uint64_t spin_us)
{
	*loop = (struct loop){.stats = stats, .spin_us = spin_us};
	loop->now_us = sys_clock_us();
	loop->now_ms = (uint32_t)(loop->now_us / 1000);
	loop->busy_us = loop->idle_us = loop->now_us;
	wheel_init(&loop->wheel, loop->now_ms);
	loop->epfd = sys_epoll_create1(EPOLL_CLOEXEC);
	return loop->epfd < 0 ? loop->epfd : 0;
}

void loop_close(struct loop *loop)
{
	if (loop->epfd >= 0)
		(void)sys_close(loop->epfd);
	loop->epfd = -1;
}

void source_init(struct source *source, int fd, source_turn *turn)
{
	*source = (struct source){.fd = fd, .turn = turn};
	deadline_init(&source->deadline);
}

/* ---- the queue of turns ---- */

static void loop_queue(struct loop *loop, struct source *source)
{
	if (source->queued)
		return;
	source->queued = true;
	source->next_turn = NULL;
	if (loop->last)
		loop->last->next_turn = source;
	else
		loop->first = source;
	loop->last = source;
}

void loop_wake(struct loop *loop, struct source *source)
{
	source->ready |= SOURCE_WOKEN;
	loop_queue(loop, source);
}

void loop_requeue(struct loop *loop, struct source *source)
{
	if (source->ready & (source->want | SOURCE_ALWAYS))
		loop_queue(loop, source);
}

/* A pass without turns counts as no time, so that a loop that spins reads the clock once a pass. */
static void loop_count_time(struct loop *loop, bool turns)
{
	struct stats *stats = loop->stats;
	uint64_t took_us;

	STATS_ADD(stats, loop_wait_us, loop->now_us - loop->idle_us);
	loop->idle_us = turns ? sys_clock_us() : loop->now_us;
	took_us = loop->idle_us - loop->now_us;
	STATS_ADD(stats, loop_busy_us, took_us);
	STATS_ADD(stats, lag[lag_of(took_us)], 1);
}

/* For each source queued now; what these wake gets a turn in the next pass, after a poll. */
static void loop_turns(struct loop *loop)
{
	struct source *source = loop->first;

	loop->first = loop->last = NULL;
	while (source) {
		struct source *next = source->next_turn;

		source->queued = false;
		STATS_ADD(loop->stats, turns, 1); /* one by one: it is a heartbeat too */
		source->turn(loop, source);	  /* source may be gone now */
		source = next;
	}
}

/* ---- poll ---- */

static uint8_t ready_of(uint32_t events)
{
	uint8_t ready = 0;

	if (events & EPOLLIN)
		ready |= SOURCE_IN;
	if (events & EPOLLOUT)
		ready |= SOURCE_OUT;
	if (events & EPOLLPRI) /* a read stops at urgent data: a short one proves nothing */
		ready |= SOURCE_IN | SOURCE_ENDED;
	if (events & EPOLLRDHUP)
		ready |= SOURCE_IN | SOURCE_ENDED;
	if (events & EPOLLHUP) /* both ways ended: a write will fail, reads come to 0 */
		ready |= SOURCE_IN | SOURCE_OUT | SOURCE_ENDED | SOURCE_HUNG_UP;
	if (events & EPOLLERR)
		ready |= SOURCE_BROKEN;
	return ready;
}

static void loop_clock(struct loop *loop)
{
	loop->now_us = sys_clock_us();
	loop->now_ms = (uint32_t)(loop->now_us / 1000);
}

static void collect_due_deadlines(struct loop *loop)
{
	struct list due;

	list_init(&due);
	wheel_advance(&loop->wheel, loop->now_ms, &due);
	LIST_EACH_SAFE (&due, node) {
		struct deadline *deadline = CONTAINER_OF(node, struct deadline, node);
		struct source *source = CONTAINER_OF(deadline, struct source, deadline);

		list_remove(node);
		source->ready |= SOURCE_DUE;
		loop_queue(loop, source);
	}
}

static int earlier_ms(int a_ms, int b_ms)
{
	return a_ms < 0 || (b_ms >= 0 && b_ms < a_ms) ? b_ms : a_ms;
}

static int loop_wait_ms(const struct loop *loop, int wait_ms)
{
	if (loop->first || loop->stopped)
		return 0;
	if (loop->spin_us && loop->now_us - loop->busy_us < loop->spin_us)
		return 0;
	return earlier_ms(wait_ms, wheel_wait_ms(&loop->wheel));
}

/* Writes those that are due. Returns how long the loop may sleep, because of the others. */
static int tell_repeats(const struct loop *loop, int wait_ms)
{
	log_tell_repeats(loop->now_us);
	return log_holds_repeats ? earlier_ms(wait_ms, log_repeats_wait_ms(loop->now_us)) : wait_ms;
}

void loop_pass(struct loop *loop, int wait_ms)
{
	struct epoll_event events[LOOP_EVENTS];
	bool turns;
	int n;

	if (log_holds_repeats)
		wait_ms = tell_repeats(loop, wait_ms);
	STATS_SET(loop->stats, asleep, 1);
	n = sys_epoll_wait(loop->epfd, events, LOOP_EVENTS, loop_wait_ms(loop, wait_ms));
	STATS_SET(loop->stats, asleep, 0);
	CHECK(n >= 0 || n == -EINTR);
	loop_clock(loop);
	STATS_ADD(loop->stats, harvests, 1);
	if (n > 0) {
		loop->busy_us = loop->now_us;
		STATS_ADD(loop->stats, events, n);
	}
	for (int i = 0; i < n; i++) {
		struct source *source = events[i].data.ptr;

		source->ready |= ready_of(events[i].events);
		loop_requeue(loop, source);
	}
	collect_due_deadlines(loop);
	turns = loop->first != NULL;
	loop_turns(loop);
	loop_count_time(loop, turns);
}

void loop_run(struct loop *loop)
{
	while (!loop->stopped)
		loop_pass(loop, -1);
	log_tell_repeats(UINT64_MAX);
}

/* ---- registration ---- */

int loop_watch(struct loop *loop, struct source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return sys_epoll_ctl(loop->epfd, EPOLL_CTL_ADD, source->fd, &event);
}

int loop_rewatch(struct loop *loop, struct source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return sys_epoll_ctl(loop->epfd, EPOLL_CTL_MOD, source->fd, &event);
}

int loop_watch_out(struct loop *loop, struct source *source)
{
	if (source->watches_out)
		return 0;
	source->watches_out = true;
	return loop_rewatch(loop, source, CONN_EVENTS | EPOLLOUT);
}

void loop_unwatch(struct loop *loop, struct source *source)
{
	struct epoll_event unused = {0};

	(void)sys_epoll_ctl(loop->epfd, EPOLL_CTL_DEL, source->fd, &unused);
}

void loop_deadline(struct loop *loop, struct source *source, uint32_t due_ms)
{
	if (deadline_armed(&source->deadline) && time_reached(due_ms, source->deadline.due_ms))
		return;
	wheel_arm(&loop->wheel, &source->deadline, due_ms);
}

void loop_no_deadline(struct loop *loop, struct source *source)
{
	wheel_disarm(&loop->wheel, &source->deadline);
}
