#include "bench/weirload/sender.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/weirload/plan/plan_addresses.h"
#include "reactor/base/check.h"
#include "reactor/base/sys.h"

/* How many connects, or with --idle last messages, may be under way in one process. If both ends
 * are on this machine a few are enough to keep its CPUs busy, and more are worse: a process with
 * much to do at once uses up its turn on the CPU, and then waits for all others. In all processes
 * together no more may be under way than the machine's queue of packets holds
 * (net.core.netdev_max_backlog, 1000): a packet that finds it full is lost, and sent again after
 * 200 ms, 400 ms and so on. */
#define WINDOW		 128
#define WINDOW_LOCAL	 8
#define WINDOW_LOCAL_ALL 512
#define RAMP_BATCH	 64  /* connects in a turn */
#define PACER_BATCH	 512 /* messages in a turn */
#define END_BATCH	 64  /* callers that are ended in a turn */
#define UNSENT_LOOKS	 (1 << 22)

struct caller *sender_caller(const struct sender *sender, uint32_t i)
{
	return (struct caller *)(sender->callers + i * sender->caller_stride);
}

static uint32_t window(const struct sender *sender)
{
	uint32_t share = WINDOW_LOCAL_ALL / (uint32_t)sender->plan->processes;

	if (!plan_addresses_are_local(sender->plan))
		return WINDOW;
	return share < 1 ? 1 : share < WINDOW_LOCAL ? share : WINDOW_LOCAL;
}

/* Waits until half of the window is free, so that several go out at a time: each one that went out
 * alone would wake the server. */
static bool window_is_half_free(const struct sender *sender, uint32_t under_way)
{
	return under_way <= window(sender) / 2;
}

/* ---- RAMP ---- */

static void ramp_turn(struct loop *loop, struct source *source)
{
	struct sender *sender = CONTAINER_OF(source, struct sender, ramp);
	const struct plan *plan = sender->plan;
	uint64_t allowed = UINT64_MAX;

	source->ready = 0;
	if (plan->connect_rate)
		allowed = 1 + (uint64_t)(loop->now_ms - sender->ramp_begun_ms) *
				  plan->connect_rate / (1000 * plan->processes);
	for (int i = 0; i < RAMP_BATCH; i++) {
		if (sender->ramped == sender->callers_n || sender->connecting >= window(sender))
			return; /* sender_connected() goes on */
		if (sender->ramped >= allowed) {
			loop_deadline(loop, source, loop->now_ms + 1);
			return;
		}
		sender->connecting++;
		sender->kind->open(sender_caller(sender, sender->ramped++), sender);
	}
	loop_wake(loop, source);
}

void sender_connected(struct sender *sender)
{
	sender->connecting--;
	if (sender->ramped < sender->callers_n && window_is_half_free(sender, sender->connecting))
		loop_wake(&sender->loop, &sender->ramp);
}

void sender_settled(struct sender *sender)
{
	TALLY_ADD(sender->tally, settled, 1);
	if (sender->tally->settled == sender->callers_n)
		child_ring(&sender->doorbell, DOORBELL_READY);
}

void sender_count_open(struct sender *sender)
{
	struct tally *tally = sender->tally;

	TALLY_ADD(tally, connects, 1);
	TALLY_ADD(tally, open, 1);
	if (tally->open > tally->open_max)
		TALLY_ADD(tally, open_max, tally->open - tally->open_max);
}

/* ---- RUN: the timetable ---- */

/* When message k of this process is due. Its callers that send by the clock take turns. The
 * messages of a run are dealt out to all processes like cards, so that they are due evenly, one
 * after the other, however the callers are shared out. */
static uint64_t due_ns(const struct sender *sender, uint64_t k)
{
	const struct plan *plan = sender->plan;
	uint64_t message = k / sender->paced_n * sender->paced_all +
			   k % sender->paced_n * plan->processes + sender->number;

	return sender->schedule->start_ns + (uint64_t)((double)message * 1e9 / plan->rate);
}

uint64_t sender_due_ns(const struct sender *sender, uint32_t i, uint64_t turn)
{
	return due_ns(sender, i - sender->paced_first + turn * sender->paced_n);
}

/* Begins the messages that are due by now. */
static void pace(struct sender *sender, uint64_t now_ns)
{
	if (!sender->paced_n)
		return;
	for (int i = 0; i < PACER_BATCH; i++) {
		struct caller *caller;

		sender->next_due_ns = due_ns(sender, sender->paced);
		if (sender->next_due_ns > now_ns) {
			child_timer_arm(&sender->pacer, sender->next_due_ns);
			return;
		}
		caller = sender_caller(sender, sender->paced_first +
						   (uint32_t)(sender->paced % sender->paced_n));
		sender->paced++;
		caller->asked++;
		sender->kind->ask(caller, sender);
	}
	loop_wake(&sender->loop, &sender->pacer);
}

void sender_keep_pace(struct sender *sender, uint64_t now_ns)
{
	if (sender->phase != SENDER_RUN)
		return;
	pulse_seen(&sender->pulse, now_ns);
	if (now_ns >= sender->next_due_ns)
		pace(sender, now_ns);
}

void sender_wake_callers(struct sender *sender)
{
	for (uint32_t i = 0; i < sender->callers_n; i++)
		if (!plan_is_open(sender->plan) || sender_caller(sender, i)->slow)
			loop_wake(&sender->loop, &sender_caller(sender, i)->source);
}

/* RUN begins: start_ns has come. */
static void sender_start(struct sender *sender)
{
	sender->phase = SENDER_RUN;
	if (!sender->plan->idle)
		pulse_start(&sender->pulse, &sender->loop, sender->schedule, sender->tally);
	sender->kind->start(sender);
}

static void pacer_turn(struct loop *loop, struct source *source)
{
	struct sender *sender = CONTAINER_OF(loop, struct sender, loop);

	source->ready = 0;
	if (sender->phase == SENDER_RAMP)
		sender_start(sender);
	if (plan_is_open(sender->plan) && sender->phase == SENDER_RUN)
		pace(sender, clock_ns());
}

/* ---- messages ---- */

static uint64_t slip_ns(const struct caller *caller, const struct flight *flight)
{
	uint64_t could_ns = caller->free_ns > flight->due_ns ? caller->free_ns : flight->due_ns;

	return flight->sent_ns > could_ns ? flight->sent_ns - could_ns : 0;
}

void sender_begin(struct sender *sender, struct caller *caller, struct flight *flight,
		  uint64_t opened_ns)
{
	const struct schedule *schedule = sender->schedule;
	bool paced = sender->plan->rate > 0;

	flight->due_ns =
	    paced ? sender_due_ns(sender, caller->number, caller->begun) : schedule->start_ns;
	/* A connection that was open before the message was due is no part of the message. */
	if (opened_ns > flight->due_ns)
		flight->sent_ns = opened_ns;
	if (!paced)
		flight->due_ns = flight->sent_ns;
	else if (flight->due_ns >= schedule->measure_ns)
		histogram_add(&sender->tally->slip, slip_ns(caller, flight));
	caller->begun++;
}

void sender_measure(struct sender *sender, const struct flight *flight, uint64_t now_ns)
{
	struct tally *tally = sender->tally;

	if (flight->due_ns < sender->schedule->measure_ns && !sender->plan->idle)
		return;
	histogram_add(&tally->service, now_ns - flight->sent_ns);
	if (plan_is_open(sender->plan))
		histogram_add(&tally->response, now_ns - flight->due_ns);
}

void sender_wrong(struct sender *sender, enum tally_error kind, uint64_t n, const char *format, ...)
{
	struct tally *tally = sender->tally;
	va_list arguments;

	if (!tally->errors[kind]) {
		va_start(arguments, format);
		(void)vsnprintf(tally->details[kind], TALLY_DETAIL_BYTES, format, arguments);
		va_end(arguments);
	}
	TALLY_ADD(tally, errors[kind], n);
}

uint64_t sender_key(const struct sender *sender)
{
	return sender_nth(sender) % (1u << PATTERN_KEY_BITS);
}

uint64_t sender_keys(const struct sender *sender)
{
	uint64_t keys = (sender->opened + sender->callers_n + 1) * 2 * sender->plan->processes;

	return keys < 1u << PATTERN_KEY_BITS ? keys : 1u << PATTERN_KEY_BITS;
}

/* ---- RUN with --idle: a last message for each, a window at a time ---- */

static void idle_ask(struct sender *sender)
{
	while (sender->idle_busy < window(sender) && sender->idle_next < sender->callers_n) {
		struct caller *caller = sender_caller(sender, sender->idle_next++);

		if (!sender->kind->is_open(caller))
			continue;
		caller->busy = true;
		caller->asked++;
		sender->idle_busy++;
		sender->kind->ask(caller, sender);
	}
	if (!sender->idle_busy && !sender->idle_done) {
		sender->idle_done = true;
		child_ring(&sender->doorbell, DOORBELL_READY);
	}
}

/* There is no time limit for all last messages together: each has its own, from when it is sent. */
static void idle_begin(struct sender *sender)
{
	sender->phase = SENDER_RUN;
	idle_ask(sender);
}

void sender_answered(struct sender *sender, struct caller *caller)
{
	if (!caller->busy)
		return;
	caller->busy = false;
	sender->idle_busy--;
	if (window_is_half_free(sender, sender->idle_busy))
		loop_wake(&sender->loop,
			  &sender->ramp); /* unused after the ramp, so it sends these in RUN */
}

/* ---- END ---- */

/* Messages that were due and have not left are counted with the time that they have waited so far,
 * once for each receiver. If there are very many, only every nth is looked at. */
static void sender_count_unsent(struct sender *sender)
{
	const struct plan *plan = sender->plan;
	const struct schedule *schedule = sender->schedule;
	double seconds = (double)(schedule->end_ns - schedule->start_ns) / 1e9;
	double due_n = seconds * plan->rate / (double)plan->processes;
	uint64_t stride = 1 + (uint64_t)(due_n / UNSENT_LOOKS);

	for (uint32_t i = 0; i < sender->paced_n; i++) {
		const struct caller *caller = sender_caller(sender, sender->paced_first + i);
		uint64_t at_ns, turn = caller->begun;

		if (caller->gone)
			continue;
		for (; (at_ns = sender_due_ns(sender, caller->number, turn)) < schedule->end_ns;
		     turn += stride) {
			if (at_ns < schedule->measure_ns)
				continue;
			histogram_add_n(&sender->tally->response, schedule->end_ns - at_ns,
					stride * sender->receivers);
			TALLY_ADD(sender->tally, unsent, stride);
		}
	}
}

void sender_finished(struct sender *sender)
{
	sender->finished++;
	if (sender->finished == sender->callers_n)
		sender->loop.stopped = true;
}

static void sender_end(struct sender *sender)
{
	sender->phase = SENDER_END;
	sender->pulse.stopped = true;
	if (plan_is_open(sender->plan) && sender->schedule->end_ns > sender->schedule->start_ns)
		sender_count_unsent(sender);
	if (sender->kind->stop)
		sender->kind->stop(sender);
	if (!sender->plan->idle) /* with --idle everything has been answered: nothing to wait for */
		loop_deadline(&sender->loop, &sender->ending,
			      sender->loop.now_ms + plan_timeout_ms(sender->plan));
	loop_wake(&sender->loop, &sender->ending);
}

/* Ends callers a few at a time, so that replies to other callers do not wait for it. A caller that
 * has not ended at the deadline is late. */
static void ending_turn(struct loop *loop, struct source *source)
{
	struct sender *sender = CONTAINER_OF(loop, struct sender, loop);
	bool due = source->ready & SOURCE_DUE;

	source->ready = 0;
	if (!due) {
		for (int i = 0; i < END_BATCH && sender->ended < sender->callers_n; i++)
			sender->kind->end(sender_caller(sender, sender->ended++), sender);
		if (sender->ended < sender->callers_n)
			loop_wake(loop, source);
		return;
	}
	sender->phase = SENDER_END;
	for (uint32_t i = 0; i < sender->callers_n; i++)
		sender->kind->give_up(sender_caller(sender, i), sender);
}

/* ---- the doorbell ---- */

static void doorbell_turn(struct loop *loop, struct source *source)
{
	struct sender *sender = CONTAINER_OF(loop, struct sender, loop);
	char what;
	ssize_t n = sys_read(source->fd, &what, 1);

	source->ready = 0;
	if (n == 0) { /* the conductor has gone */
		loop->stopped = true;
		return;
	}
	if (n != 1 || sender->phase == SENDER_END)
		return;
	if (what == DOORBELL_END)
		sender_end(sender);
	else if (sender->plan->idle)
		idle_begin(sender);
	else
		child_timer_arm(&sender->pacer, sender->schedule->start_ns);
}

static void ramp_or_idle_turn(struct loop *loop, struct source *source)
{
	struct sender *sender = CONTAINER_OF(loop, struct sender, loop);

	if (sender->phase == SENDER_RAMP) {
		ramp_turn(loop, source);
		return;
	}
	source->ready = 0;
	if (sender->phase == SENDER_RUN)
		idle_ask(sender);
}

/* ---- the process ---- */

static void sender_make(struct sender *sender)
{
	const struct plan *plan = sender->plan;
	uint32_t size = (uint32_t)plan->size;

	sender->message_bytes = client_protocol_message_bytes(plan->protocol, size);
	sender->reply_bytes = client_protocol_reply_bytes(plan->protocol, size);
	sender->callers_n = plan_share(plan, sender->number);
	sender->paced_all = plan->connections - plan->slow;
	sender->paced_n = plan_deal(plan, sender->paced_all, sender->number);
	sender->paced_first = sender->callers_n - sender->paced_n; /* slow callers come first */
	sender->receivers = 1;
	sender->next_due_ns = UINT64_MAX;
	sender->kind->prepare(sender);
	sender->caller_stride = sender->kind->bytes(sender);
	sender->callers = calloc(sender->callers_n, sender->caller_stride);
	if (!sender->callers)
		die("no memory for %u %s", sender->callers_n, plan_noun(plan));
	for (uint32_t i = 0; i < sender->callers_n; i++) {
		struct caller *caller = sender_caller(sender, i);

		caller->number = i;
		caller->slow = i < sender->paced_first;
		sender->kind->init(caller, sender);
	}
}

_Noreturn void sender_run(struct sender *sender, int doorbell)
{
	child_begin(&sender->loop, doorbell);
	sender_make(sender);
	source_init(&sender->doorbell, doorbell, doorbell_turn);
	source_init(&sender->pacer, -1, pacer_turn);
	source_init(&sender->ramp, -1, ramp_or_idle_turn);
	source_init(&sender->ending, -1, ending_turn);
	child_watch(&sender->loop, &sender->doorbell, &sender->pacer);
	sender->ramp_begun_ms = sender->loop.now_ms;
	loop_wake(&sender->loop, &sender->ramp);
	while (!sender->loop.stopped)
		loop_pass(&sender->loop, -1);
	_exit(0);
}
