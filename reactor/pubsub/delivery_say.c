/* What members publish, and how they wait for readers. */
#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/pubsub/delivery_parts.h"
#include "reactor/pubsub/history_age.h"

static struct sender *sender_of(const struct delivery *delivery, uint32_t handle)
{
	return (struct sender *)(void *)delivery->subscriptions.senders.base + (handle - 1);
}

static void sender_wait(struct delivery *delivery, struct sender *sender, struct conn *conn)
{
	if (!delivery->waiting)
		STATS_ADD(delivery->loop->stats, publish_waits, 1);
	delivery->waiting = true;
	conn_pause_input(conn);
	loop_wake(delivery->loop, &delivery->source);
	if (sender->waiting)
		return;
	sender->waiting = true;
	if (sender->said)
		sender->waits_since = delivery->waits;
	sender->next_waiting = delivery->waiting_first;
	delivery->waiting_first = (uint32_t)(sender - sender_of(delivery, 1)) + 1;
}

/* In which order they have their turns is not ours to choose, and one that is always late would
 * never say anything: so others wait until the one that has waited the longest has said something,
 * if it has anything to say when they may all go on. */
static bool is_others_turn(const struct delivery *delivery, const struct sender *sender)
{
	const struct sender *longest;

	if (!delivery->longest)
		return delivery->waiting;
	longest = sender_of(delivery, delivery->longest);
	if (longest == sender)
		return false;
	return delivery->waiting || (longest->subscription && !longest->said && !longest->waiting);
}

static void all_go_on(struct delivery *delivery)
{
	uint32_t handle = delivery->waiting_first, most = 0;

	delivery->waiting = false;
	delivery->waiting_first = 0;
	delivery->waits++;
	while (handle) {
		struct sender *sender = sender_of(delivery, handle);
		uint32_t waited = delivery->waits - sender->waits_since;

		if (waited > most) {
			most = waited;
			delivery->longest = handle;
		}
		handle = sender->next_waiting;
		sender->waiting = sender->said = false;
		if (sender->subscription)
			conn_resume_input(
			    subscription_of(&delivery->subscriptions, sender->subscription)->conn);
		else
			sender_gone(&delivery->subscriptions, sender);
	}
}

static bool may_go_on(struct delivery *delivery, bool waits)
{
	unsigned left_behind = 0;
	bool may = journal_may_go_on(&delivery->port, waits, delivery->loop->now_ms, &left_behind);

	if (left_behind) {
		STATS_ADD(delivery->loop->stats, left_behind, left_behind);
		log_warn("a worker that does not read was left behind",
			 LOG_NUMBER("workers", left_behind));
	}
	return may;
}

void delivery_look_for_room(struct delivery *delivery)
{
	if (may_go_on(delivery, true))
		all_go_on(delivery);
	else
		loop_deadline(delivery->loop, &delivery->source,
			      delivery->loop->now_ms + LOOK_FOR_ROOM_MS);
}

bool delivery_say(struct delivery *delivery, uint32_t handle, struct iovec first,
		  struct iovec second)
{
	struct subscription *subscription = subscription_of(&delivery->subscriptions, handle);
	struct sender *sender = sender_get(&delivery->subscriptions, subscription);
	struct journal_message message = {
	    .topic = subscription->topic->node.hash,
	    .name = {subscription->topic->name, subscription->topic->name_n},
	    .payload = {first, second},
	    .sender = sender->node.hash,
	    .said_us = delivery->loop->now_us};
	uint64_t id;

	/* A short line does not overtake the long one that waits. */
	if (is_others_turn(delivery, sender) || !may_go_on(delivery, false) ||
	    topics_publish(&delivery->topics, &message, &id)) {
		sender_wait(delivery, sender, subscription->conn);
		return false;
	}
	if (delivery->history_begins && history_age_begins(delivery->port.journal, id))
		delivery->history_begins();
	sender->said = true;
	STATS_ADD(delivery->loop->stats, published, 1);
	loop_wake(delivery->loop, &delivery->source);
	return true;
}
