/* What members publish, and how they wait for readers. */
#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/pubsub/delivery_parts.h"
#include "reactor/pubsub/history_age.h"

static struct sender *sender_of(const struct delivery *delivery, uint32_t handle)
{
	return (struct sender *)(void *)delivery->subscriptions.senders.base + (handle - 1);
}

static void waiting_append(const struct delivery *delivery, uint32_t *first, uint32_t *last,
			   struct sender *sender)
{
	uint32_t handle = (uint32_t)(sender - sender_of(delivery, 1)) + 1;

	sender->next_waiting = 0;
	if (*last)
		sender_of(delivery, *last)->next_waiting = handle;
	else
		*first = handle;
	*last = handle;
}

/* Those that have said nothing since they were last told to go on are the first the next time. */
static void sender_wait(struct delivery *delivery, struct sender *sender, struct conn *conn)
{
	if (!delivery->waiting)
		STATS_ADD(delivery->loop->stats, publish_waits, 1);
	delivery->waiting = true;
	conn_pause_input(conn);
	if (!sender->waiting && sender->said)
		waiting_append(delivery, &delivery->waiting_first, &delivery->waiting_last, sender);
	else if (!sender->waiting)
		waiting_append(delivery, &delivery->hungry_first, &delivery->hungry_last, sender);
	sender->waiting = true;
	loop_wake(delivery->loop, &delivery->source);
}

static void all_go_on(struct delivery *delivery, uint32_t list)
{
	while (list) {
		struct sender *sender = sender_of(delivery, list);

		list = sender->next_waiting;
		sender->waiting = sender->said = false;
		if (sender->subscription)
			conn_resume_input(
			    subscription_of(&delivery->subscriptions, sender->subscription)->conn);
		else
			sender_gone(&delivery->subscriptions, sender);
	}
}

static bool may_go_on(struct delivery *delivery)
{
	unsigned left_behind = 0;
	bool may = journal_may_go_on(&delivery->port, delivery->loop->now_ms, &left_behind);

	if (left_behind) {
		STATS_ADD(delivery->loop->stats, left_behind, left_behind);
		log_warn("a worker that does not read was left behind",
			 LOG_NUMBER("workers", left_behind));
	}
	return may;
}

void delivery_look_for_room(struct delivery *delivery)
{
	uint32_t hungry = delivery->hungry_first, others = delivery->waiting_first;

	if (!may_go_on(delivery)) {
		loop_deadline(delivery->loop, &delivery->source,
			      delivery->loop->now_ms + LOOK_FOR_ROOM_MS);
		return;
	}
	delivery->waiting = false;
	delivery->hungry_first = delivery->hungry_last = 0;
	delivery->waiting_first = delivery->waiting_last = 0;
	all_go_on(delivery, hungry);
	all_go_on(delivery, others);
}

bool delivery_say(struct delivery *delivery, uint32_t handle, struct iovec first,
		  struct iovec second)
{
	struct subscription *subscription = subscription_of(&delivery->subscriptions, handle);
	struct sender *sender = sender_get(&delivery->subscriptions, subscription);
	struct journal_message message = {
	    .name = {subscription->topic->name, subscription->topic->name_n},
	    .payload = {first, second},
	    .sender = sender->node.hash,
	    .said_ms = delivery->loop->now_us / 1000};
	uint64_t id;

	/* A short line does not overtake the long one that waits. */
	if (delivery->waiting || !may_go_on(delivery) ||
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
