#include "bench/weirload/chat/chat.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/weirload/chat/chat_client.h"
#include "reactor/base/check.h"
#include "reactor/base/list.h"
#include "reactor/base/sys.h"

#define RAMP_WINDOW    128 /* clients that may be coming up */
#define RAMP_BATCH     64  /* in a turn */
#define RAMP_TICK_MS   20
#define PROBE_MS_FIRST 20 /* from one pair of probe lines to the next; doubled each time */
#define PROBE_MS_MAX   1000
#define PACER_BATCH    512 /* lines in a turn */
#define END_TICK_MS    10
#define UNSENT_LOOKS   (1 << 22)

struct chat_client *chat_client_at(const struct chat *chat, uint32_t i)
{
	return (struct chat_client *)(chat->clients + i * chat->chat_client_stride);
}

void chat_wrong(struct chat *chat, enum tally_error kind, uint64_t n, const char *format, ...)
{
	struct tally *tally = chat->tally;
	va_list arguments;

	if (!tally->errors[kind]) {
		va_start(arguments, format);
		(void)vsnprintf(tally->details[kind], TALLY_DETAIL_BYTES, format, arguments);
		va_end(arguments);
	}
	TALLY_ADD(tally, errors[kind], n);
}

/* ---- RAMP ---- */

static void ramp_turn(struct loop *loop, struct source *source)
{
	struct chat *chat = CONTAINER_OF(source, struct chat, ramp);
	const struct plan *plan = chat->plan;
	uint64_t allowed = UINT64_MAX;

	source->ready = 0;
	if (plan->connect_rate)
		allowed = 1 + (uint64_t)(loop->now_ms - chat->ramp_begun_ms) * plan->connect_rate /
				  (1000 * plan->processes);
	for (int i = 0; i < RAMP_BATCH; i++) {
		if (chat->ramped == chat->chatters_n || chat->connecting >= RAMP_WINDOW)
			return; /* chat_come() goes on */
		if (chat->ramped >= allowed) {
			loop_deadline(loop, source, loop->now_ms + 1);
			return;
		}
		chat->connecting++;
		chat_client_open(chat_client_at(chat, chat->ramped++), chat);
	}
	loop_wake(loop, source);
}

void chat_come(struct chat *chat)
{
	uint32_t *come = &chat->table->come[chat->number];

	chat->connecting--;
	CHAT_TABLE_SET(*come, *come + 1);
	loop_wake(&chat->loop, &chat->ramp);
}

void chat_settled(struct chat *chat)
{
	TALLY_ADD(chat->tally, settled, 1);
	if (chat->tally->settled == chat->chatters_n)
		child_ring(&chat->doorbell, DOORBELL_READY);
}

/* The first two readers of the first process that are there: either settles the other. */
static void send_probes(struct chat *chat)
{
	uint32_t now_ms = chat->loop.now_ms;

	if (chat->number != 0 || !time_reached(now_ms, chat->probe_ms))
		return;
	for (uint32_t i = 0, sent = 0; i < chat->readers_n && sent < 2; i++) {
		struct chat_client *client = chat_client_at(chat, i);

		if (client->phase != CHAT_CLIENT_OPEN)
			continue;
		chat_client_probe(client, chat);
		sent++;
	}
	chat->probe_ms = now_ms + chat->probe_every_ms;
	if (chat->probe_every_ms < PROBE_MS_MAX)
		chat->probe_every_ms *= 2;
}

/* A probe reaches those who are there by then: none leaves before all have come. */
static void ramp_tick(struct chat *chat)
{
	uint32_t now_ms = chat->loop.now_ms;

	if (!chat->all_come) {
		chat->all_come = chat_table_all_come(chat->table, chat->plan);
		chat->probe_ms = now_ms;
		chat->give_up_ms = now_ms + plan_timeout_ms(chat->plan);
	}
	if (!chat->all_come)
		return;
	send_probes(chat);
	if (!time_reached(now_ms, chat->give_up_ms))
		return;
	for (uint32_t i = 0; i < chat->chatters_n; i++)
		if (!chat_client_at(chat, i)->settled)
			chat_client_fail(chat_client_at(chat, i), chat, TALLY_timeout,
					 "no line of another client reached it");
}

/* ---- RUN ---- */

/* The next client that reads and is still there: it sees the lines of sender i come in. */
static void elect_witness(struct chat *chat, uint32_t i)
{
	uint32_t *witness = &chat->witnesses[chat_client_at(chat, i)->number];

	*witness = CHAT_NO_WITNESS;
	for (uint32_t step = 1; step < chat->readers_n; step++) {
		uint32_t k = (i + step) % chat->readers_n;

		if (chat_client_at(chat, k)->phase != CHAT_CLIENT_OPEN)
			continue;
		*witness = k;
		loop_wake(&chat->loop, &chat_client_at(chat, i)->source);
		return;
	}
}

static void chat_start(struct chat *chat)
{
	chat->phase = CHAT_RUN;
	pulse_start(&chat->pulse, &chat->loop, chat->schedule, chat->tally);
	for (uint32_t i = 0; i < chat->senders_n && !chat->plan->rate; i++)
		elect_witness(chat, i);
}

/* Line k of this process is due, in turn, on its senders. Over all processes these are dealt
 * out like cards, so that the lines of a run are due evenly, one after the other. */
uint64_t chat_due_ns(const struct chat *chat, uint32_t i, uint64_t turn)
{
	const struct plan *plan = chat->plan;
	uint64_t line = turn * plan->senders + i * plan->processes + chat->number;

	return chat->schedule->start_ns + (uint64_t)((double)line * 1e9 / (double)plan->rate);
}

/* Begins the lines that are due by now. */
static void pace(struct chat *chat, uint64_t now_ns)
{
	if (!chat->senders_n)
		return;
	for (int i = 0; i < PACER_BATCH; i++) {
		uint32_t k = (uint32_t)(chat->paced % chat->senders_n);
		struct chat_client *client = chat_client_at(chat, k);
		uint64_t at_ns = chat_due_ns(chat, k, chat->paced / chat->senders_n);

		chat->due_ns = at_ns;
		if (at_ns > now_ns) {
			child_timer_arm(&chat->timer, at_ns);
			return;
		}
		chat->paced++;
		client->asked++;
		chat_client_pump(client, chat);
	}
	loop_wake(&chat->loop, &chat->timer);
}

static void timer_turn(struct loop *loop, struct source *source)
{
	struct chat *chat = CONTAINER_OF(loop, struct chat, loop);

	source->ready = 0;
	if (chat->phase == CHAT_RAMP)
		chat_start(chat);
	if (chat->plan->rate && chat->phase == CHAT_RUN)
		pace(chat, clock_ns());
}

void chat_keep_pace(struct chat *chat, uint64_t now_ns)
{
	if (chat->phase != CHAT_RUN)
		return;
	pulse_seen(&chat->pulse, now_ns);
	if (now_ns >= chat->due_ns)
		pace(chat, now_ns);
}

/* ---- END ---- */

/* Lines that were due and have not left count with what they have waited by now, once for
 * each client that should have had them; of very many, only each n-th is looked at. */
static void count_unsent(struct chat *chat)
{
	const struct plan *plan = chat->plan;
	const struct schedule *schedule = chat->schedule;
	double seconds = (double)(schedule->end_ns - schedule->start_ns) / 1e9;
	double due_n = seconds * (double)plan->rate / (double)plan->processes;
	uint64_t stride = 1 + (uint64_t)(due_n / UNSENT_LOOKS);
	uint64_t receivers = plan->connections - plan->slow - !chat->wire.own_lines;

	for (uint32_t i = 0; i < chat->senders_n; i++) {
		uint64_t at_ns, turn = chat_client_at(chat, i)->begun;

		if (chat_client_at(chat, i)->phase ==
		    CHAT_CLIENT_GONE) /* an error of another kind */
			continue;
		for (; (at_ns = chat_due_ns(chat, i, turn)) < schedule->end_ns; turn += stride) {
			if (at_ns < schedule->measure_ns)
				continue;
			histogram_add_n(&chat->tally->response, schedule->end_ns - at_ns,
					stride * receivers);
			TALLY_ADD(chat->tally, unsent, stride);
		}
	}
}

/* From now on everybody may know what is missing. */
static void publish_sent(struct chat *chat)
{
	for (uint32_t i = 0; i < chat->senders_n; i++) {
		struct chat_client *client = chat_client_at(chat, i);
		uint64_t *sent = &chat->table->sent[client->number];

		if (*sent == CHAT_SENT_OPEN)
			CHAT_TABLE_SET(*sent, client->begun + 1ull);
	}
}

/* First the readers, which slow ones may hold up; then it is seen what became of those. */
static void chat_further(struct chat *chat)
{
	if (chat->phase == CHAT_END && !chat->readers_left) {
		chat->phase = CHAT_SLOW;
		chat->give_up_ms = chat->loop.now_ms + plan_timeout_ms(chat->plan);
		for (uint32_t i = chat->readers_n; i < chat->chatters_n; i++)
			chat_client_wake(chat_client_at(chat, i), chat);
	}
	if (chat->phase == CHAT_SLOW && !chat->slow_left)
		chat->loop.stopped = true;
}

static void chat_end(struct chat *chat)
{
	chat->phase = CHAT_END;
	chat->pulse.stopped = true;
	chat->give_up_ms = chat->loop.now_ms + plan_timeout_ms(chat->plan);
	if (chat->plan->rate && chat->schedule->end_ns > chat->schedule->start_ns)
		count_unsent(chat);
	publish_sent(chat);
	loop_wake(&chat->loop, &chat->tick);
	chat_further(chat);
}

static void end_tick(struct chat *chat)
{
	bool over = time_reached(chat->loop.now_ms, chat->give_up_ms);
	uint32_t from = chat->phase == CHAT_END ? 0 : chat->readers_n;
	uint32_t to = chat->phase == CHAT_END ? chat->readers_n : chat->chatters_n;

	for (uint32_t i = from; i < to; i++) {
		struct chat_client *client = chat_client_at(chat, i);

		chat_client_look(client, chat);
		if (over && client->phase != CHAT_CLIENT_GONE)
			chat_client_give_up(client, chat);
	}
}

void chat_left(struct chat *chat, struct chat_client *client, bool failed)
{
	if (client->slow)
		chat->slow_left--;
	else
		chat->readers_left--;
	if (failed && client->sends)
		CHAT_TABLE_SET(chat->table->sent[client->number], CHAT_SENT_UNKNOWN);
	if (chat->phase == CHAT_RUN && !chat->plan->rate)
		for (uint32_t i = 0; i < chat->senders_n; i++)
			if (chat->witnesses[chat_client_at(chat, i)->number] == client->local)
				elect_witness(chat, i);
	chat_further(chat);
}

/* ---- the process ---- */

static void tick_turn(struct loop *loop, struct source *source)
{
	struct chat *chat = CONTAINER_OF(source, struct chat, tick);

	source->ready = 0;
	if (chat->phase == CHAT_RAMP) {
		ramp_tick(chat);
		loop_deadline(loop, source, loop->now_ms + RAMP_TICK_MS);
	} else if (chat->phase >= CHAT_END) {
		end_tick(chat);
		loop_deadline(loop, source, loop->now_ms + END_TICK_MS);
	}
}

static void doorbell_turn(struct loop *loop, struct source *source)
{
	struct chat *chat = CONTAINER_OF(loop, struct chat, loop);
	char what;
	ssize_t n = sys_read(source->fd, &what, 1);

	source->ready = 0;
	if (n == 0) /* the conductor has gone */
		loop->stopped = true;
	if (n != 1 || chat->phase >= CHAT_END)
		return;
	if (what == DOORBELL_END)
		chat_end(chat);
	else
		child_timer_arm(&chat->timer, chat->schedule->start_ns);
}

static void chat_make(struct chat *chat)
{
	const struct plan *plan = chat->plan;
	uint64_t readers = plan->connections - plan->slow;

	chat_wire_make(&chat->wire, plan->size, plan->redis);
	chat->wire.names = plan->endpoint.names;
	chat->chatters_n = plan_share(plan, chat->number);
	chat->readers_n = plan_deal(plan, readers, chat->number);
	chat->senders_n = plan_deal(plan, plan->senders, chat->number);
	chat->readers_left = chat->readers_n;
	chat->slow_left = chat->chatters_n - chat->readers_n;
	chat->probe_every_ms = PROBE_MS_FIRST;
	chat->chat_client_stride = chat_client_bytes(&chat->wire);
	chat->clients = calloc(chat->chatters_n, chat->chat_client_stride);
	chat->next = calloc(chat->chatters_n * plan->senders, sizeof *chat->next);
	chat->witnesses = calloc(plan->senders, sizeof *chat->witnesses);
	chat->in = malloc(CHAT_IN_BYTES + chat_client_kept_room(&chat->wire));
	/* What is left of a line goes before whole ones, of which the last may begin at the end. */
	chat->out = malloc(CHAT_OUT_BYTES + 2 * chat->wire.sent_bytes);
	if (!chat->clients || !chat->next || !chat->witnesses || !chat->in || !chat->out)
		die("no memory for %u clients of %llu senders", chat->chatters_n,
		    (unsigned long long)plan->senders);
	for (uint64_t i = 0; i < plan->senders; i++)
		chat->witnesses[i] = CHAT_NO_WITNESS;
	for (uint32_t i = 0; i < chat->chatters_n; i++)
		chat_client_init(chat_client_at(chat, i), chat, i);
}

_Noreturn void chat_run(const struct plan *plan, const struct schedule *schedule,
			struct chat_table *table, struct tally *tally, unsigned number,
			int doorbell)
{
	static struct chat chat;

	chat = (struct chat){.plan = plan,
			     .schedule = schedule,
			     .table = table,
			     .tally = tally,
			     .number = number,
			     .due_ns = UINT64_MAX};
	child_begin(&chat.loop, doorbell);
	chat_make(&chat);
	source_init(&chat.doorbell, doorbell, doorbell_turn);
	source_init(&chat.timer, -1, timer_turn);
	source_init(&chat.ramp, -1, ramp_turn);
	source_init(&chat.tick, -1, tick_turn);
	child_watch(&chat.loop, &chat.doorbell, &chat.timer);
	chat.ramp_begun_ms = chat.loop.now_ms;
	loop_wake(&chat.loop, &chat.ramp);
	loop_wake(&chat.loop, &chat.tick);
	while (!chat.loop.stopped)
		loop_pass(&chat.loop, -1);
	_exit(0);
}
