#include "bench/weirload/chat/chat_kind.h"

#include <stdlib.h>

#include "bench/weirload/chat/chat_client.h"
#include "reactor/base/check.h"
#include "reactor/base/list.h"
#include "worker/config/endpoint_keys.h"

#define RAMP_TICK_MS 20
/* From one probe line to the next; doubled each time. A line to very many takes longer than that:
 * some microseconds for each on either side. */
#define PROBE_MS_FIRST 20
#define PROBE_NS_EACH  10000
#define PROBE_MS_MAX   1000
#define END_TICK_MS    10
#define END_LOOKS      64 /* clients in a turn: each of them may end */

static struct chat_client *client_of(struct caller *caller)
{
	return CONTAINER_OF(caller, struct chat_client, caller);
}

/* ---- RAMP ---- */

/* The first open reader, or the one after it, if there are two. */
static struct chat_client *prober(struct chat *chat, bool second)
{
	struct chat_client *found = NULL;

	for (uint32_t i = 0; i < chat->readers_n; i++) {
		struct chat_client *client = chat_client_at(chat, i);

		if (client->phase != CHAT_CLIENT_OPEN)
			continue;
		if (found || !second)
			return client;
		found = client;
	}
	return found;
}

/* The first two open readers of the first process send probe lines in turn. A client that gets one
 * knows that the server has made it a member; these two get each other's. */
static void send_probes(struct chat *chat)
{
	uint32_t now_ms = chat->sender->loop.now_ms;
	struct chat_client *client;

	if (chat->sender->number != 0 || !time_reached(now_ms, chat->probe_ms) ||
	    chat_table_all_settled(chat->table, chat->sender->plan))
		return;
	client = prober(chat, chat->probes++ % 2);
	if (client)
		chat_client_probe(client, chat);
	chat->probe_ms = now_ms + chat->probe_every_ms;
	if (chat->probe_every_ms < PROBE_MS_MAX)
		chat->probe_every_ms *= 2;
}

/* A probe line reaches only the clients that are connected by then, so none is sent before all
 * have connected. */
static void ramp_tick(struct chat *chat)
{
	const struct sender *sender = chat->sender;
	uint32_t now_ms = sender->loop.now_ms;

	if (!chat->all_come) {
		chat->all_come = chat_table_all_come(chat->table, sender->plan);
		chat->probe_ms = now_ms;
		chat->ramp_until_ms = now_ms + plan_timeout_ms(sender->plan);
	}
	if (!chat->all_come)
		return;
	send_probes(chat);
	if (!time_reached(now_ms, chat->ramp_until_ms))
		return;
	for (uint32_t i = 0; i < sender->callers_n; i++)
		if (!chat_client_at(chat, i)->settled)
			chat_client_fail(chat_client_at(chat, i), chat, TALLY_timeout,
					 "no line of another client reached it");
}

/* ---- END ---- */

/* Looks at some more clients. Returns whether it has come to the last one. */
static bool end_look(struct chat *chat)
{
	uint32_t from = chat->slow_read ? chat->readers_n : 0;
	uint32_t to = chat->slow_read ? chat->sender->callers_n : chat->readers_n;

	for (int i = 0; i < END_LOOKS && from + chat->looked < to; i++)
		chat_client_look(chat_client_at(chat, from + chat->looked++), chat);
	if (from + chat->looked < to)
		return false;
	chat->looked = 0;
	return true;
}

static void tick_turn(struct loop *loop, struct source *source)
{
	struct chat *chat = CONTAINER_OF(source, struct chat, tick);

	source->ready = 0;
	if (chat->sender->phase == SENDER_RAMP) {
		ramp_tick(chat);
		loop_deadline(loop, source, loop->now_ms + RAMP_TICK_MS);
	} else if (chat->sender->phase == SENDER_END) {
		/* It looks again and again, because nothing announces that another process has
		 * published what it sent. */
		if (end_look(chat))
			loop_deadline(loop, source, loop->now_ms + END_TICK_MS);
		else
			loop_wake(loop, source);
	}
}

/* From now on every process can tell which lines its clients lack. */
static void publish_sent(struct chat *chat)
{
	for (uint32_t i = 0; i < chat->senders_n; i++) {
		struct chat_client *client = chat_client_at(chat, i);
		uint64_t *sent = &chat->table->sent[client->number];

		if (*sent == CHAT_SENT_OPEN)
			CHAT_TABLE_SET(*sent, client->caller.begun + 1);
	}
}

/* ---- what a sender asks of its callers ---- */

/* Memory, and the timetable: only senders send by the clock, and each line is for all readers. */
static void kind_prepare(struct sender *sender)
{
	static struct chat chat;
	const struct plan *plan = sender->plan;
	uint64_t readers = plan->connections - plan->slow;

	chat = (struct chat){.sender = sender, .table = sender->chat_table};
	sender->chat = &chat;
	chat_wire_make(&chat.wire, plan->size, plan->redis,
		       endpoint_setting(&plan->endpoint, "names") != 0);
	chat.readers_n = plan_deal(plan, readers, sender->number);
	chat.senders_n = plan_deal(plan, plan->senders, sender->number);
	chat.readers_left = chat.readers_n;
	chat.slow_left = sender->callers_n - chat.readers_n;
	chat.probe_every_ms = (uint32_t)(readers * PROBE_NS_EACH / 1000000);
	if (chat.probe_every_ms < PROBE_MS_FIRST)
		chat.probe_every_ms = PROBE_MS_FIRST;
	sender->paced_first = 0;
	sender->paced_n = chat.senders_n;
	sender->paced_all = plan->senders;
	sender->receivers = readers - !chat.wire.own_lines;
	chat.next = calloc(sender->callers_n * plan->senders, sizeof *chat.next);
	chat.witnesses = malloc(plan->senders * sizeof *chat.witnesses);
	chat.in = malloc(CHAT_IN_BYTES + chat.wire.kept_max);
	/* The rest of a line goes before whole lines, the last of which may begin at the very end.
	 */
	chat.out = malloc(CHAT_OUT_BYTES + 2 * chat.wire.sent_bytes);
	if (!chat.next || !chat.witnesses || !chat.in || !chat.out)
		die("no memory for %u clients of %llu senders", sender->callers_n,
		    (unsigned long long)plan->senders);
	for (uint64_t i = 0; i < plan->senders; i++)
		chat.witnesses[i] = CHAT_NO_WITNESS;
	source_init(&chat.tick, -1, tick_turn);
	loop_wake(&sender->loop, &chat.tick);
}

static size_t kind_bytes(const struct sender *sender)
{
	return chat_client_bytes(&sender->chat->wire);
}

static void kind_init(struct caller *caller, struct sender *sender)
{
	chat_client_init(client_of(caller), sender->chat);
}

static void kind_open(struct caller *caller, struct sender *sender)
{
	chat_client_open(client_of(caller), sender->chat);
}

static bool kind_is_open(const struct caller *caller)
{
	return CONTAINER_OF(caller, const struct chat_client, caller)->phase == CHAT_CLIENT_OPEN;
}

static void kind_start(struct sender *sender)
{
	for (uint32_t i = 0; i < sender->chat->senders_n && !plan_is_open(sender->plan); i++)
		chat_elect_witness(sender->chat, i);
}

static void kind_ask(struct caller *caller, struct sender *sender)
{
	chat_client_pump(client_of(caller), sender->chat);
}

static void kind_stop(struct sender *sender)
{
	publish_sent(sender->chat);
	loop_wake(&sender->loop, &sender->chat->tick);
	chat_read_slow(sender->chat);
}

/* The client ends when it has all lines, which the tick notices; it may also be gone already. */
static void kind_end(struct caller *caller, struct sender *sender)
{
	if (caller->gone)
		chat_finished(sender->chat, client_of(caller));
}

static void kind_give_up(struct caller *caller, struct sender *sender)
{
	struct chat *chat = sender->chat;

	if (caller->gone)
		return;
	/* Slow clients have a time of their own, which begins when all others have gone. */
	if (caller->slow && !time_reached(sender->loop.now_ms, chat->slow_until_ms))
		loop_deadline(&sender->loop, &sender->ending, chat->slow_until_ms);
	else
		chat_client_give_up(client_of(caller), chat);
}

const struct caller_kind chat_kind = {.prepare = kind_prepare,
				      .bytes = kind_bytes,
				      .init = kind_init,
				      .open = kind_open,
				      .is_open = kind_is_open,
				      .start = kind_start,
				      .ask = kind_ask,
				      .stop = kind_stop,
				      .end = kind_end,
				      .give_up = kind_give_up};
