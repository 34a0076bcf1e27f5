#include "reactor/pubsub/subscription_parts.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/list.h"

#define SPARE_BYTES	  (16u << 10)
#define SUBSCRIPTIONS_MAX (UINT32_C(1) << 28)

/* ---- handles ---- */

struct subscription *subscription_of(const struct subscriptions *subscriptions, uint32_t handle)
{
	return (struct subscription *)(void *)subscriptions->pool.base + (handle - 1);
}

uint32_t subscription_handle(const struct subscriptions *subscriptions,
			     const struct subscription *subscription)
{
	return (uint32_t)(subscription - (struct subscription *)(void *)subscriptions->pool.base) +
	       1;
}

void subscription_count(const struct subscriptions *subscriptions, uint64_t records)
{
	STATS_ADD(subscriptions->table->stats, deliveries, records);
	STATS_ADD(subscriptions->table->stats, messages_sent, records);
}

/* ---- senders ---- */

struct sender *sender_find(const struct subscriptions *subscriptions, uint64_t number)
{
	struct hash_node *node = hash_table_find(&subscriptions->by_number, number);

	return node ? CONTAINER_OF(node, struct sender, node) : NULL;
}

struct sender *sender_new(struct subscriptions *subscriptions, struct subscription *subscription,
			  uint64_t number)
{
	struct sender *sender = pool_take(&subscriptions->senders);

	CHECK(sender); /* there are as many as subscriptions */
	*sender = (struct sender){.node.hash = number,
				  .subscription = subscription_handle(subscriptions, subscription)};
	hash_table_add(&subscriptions->by_number, &sender->node);
	subscription->sender = sender;
	return sender;
}

struct sender *sender_get(struct subscriptions *subscriptions, struct subscription *subscription)
{
	if (subscription->sender)
		return subscription->sender;
	return sender_new(subscriptions, subscription,
			  journal_serial(subscriptions->topics->journal));
}

bool subscription_said(const struct subscription *subscription, const struct journal_entry *entry)
{
	return subscription->sender && subscription->sender->node.hash == entry->sender;
}

/* ---- one comes, and goes ---- */

void subscription_fall_behind(struct subscription *subscription)
{
	if (subscription->behind)
		return;
	subscription->behind = true;
	subscription->fed = false;
	conn_feed(subscription->conn, true);
}

static void topic_add(struct subscriptions *subscriptions, struct topic *topic,
		      struct subscription *subscription)
{
	uint32_t handle = subscription_handle(subscriptions, subscription);

	subscription->prev = 0;
	subscription->next = topic->first;
	if (topic->first)
		subscription_of(subscriptions, topic->first)->prev = handle;
	topic->first = handle;
	topic->subscribers++;
}

static void topic_remove(struct subscriptions *subscriptions, struct subscription *subscription)
{
	struct topic *topic = subscription->topic;

	if (subscription->next)
		subscription_of(subscriptions, subscription->next)->prev = subscription->prev;
	if (subscription->prev)
		subscription_of(subscriptions, subscription->prev)->next = subscription->next;
	else
		topic->first = subscription->next;
	topic->subscribers--;
}

void subscription_number(struct subscription *subscription, uint64_t number)
{
	subscription->number = (uint32_t)number;
	subscription->numbered = true;
}

/* It has what was given before this id; do we know how many records of its topic these were? */
static void subscription_place(struct subscriptions *subscriptions,
			       struct subscription *subscription, struct since since)
{
	const struct topics *topics = subscriptions->topics;
	struct journal_entry entry;

	subscription->position = since.n;
	if (since.number)
		subscription_number(subscription, since.number);
	else if (since.n && journal_find(topics->journal, since.n - 1, &entry) == JOURNAL_FOUND &&
		 topic_has(subscription->topic, &entry))
		subscription_number(subscription, entry.number);
	else if (journal_find(topics->journal, since.n, &entry) == JOURNAL_FOUND &&
		 topic_has(subscription->topic, &entry))
		subscription_number(subscription, entry.number - 1);
	else if (subscription->topic->last >= topics->whole_from &&
		 subscription->topic->last < since.n)
		subscription_number(subscription, subscription->topic->number);
}

void subscription_begin(struct subscriptions *subscriptions, struct subscription *subscription,
			struct since since)
{
	struct topics *topics = subscriptions->topics;
	uint64_t end;

	/* What has been said by now is in the index, so that where it begins is known. */
	while (topics_scan(topics, UINT64_MAX))
		continue;
	end = topics->at;
	if (since.kind == SINCE_LAST)
		since.n = topics_back(topics, subscription->topic, since.n);
	if (since.kind == SINCE_NOW || since.n > end || (since.kind == SINCE_LAST && !since.n))
		since = (struct since){SINCE_ID, end, 0};
	subscription_place(subscriptions, subscription, since);
	if (subscription->position < end)
		subscription_fall_behind(subscription);
}

static uint32_t list_length(const struct subscriptions *subscriptions, uint32_t list)
{
	uint32_t n = 0;

	for (; list; list = subscription_of(subscriptions, list)->of_conn)
		n++;
	return n;
}

struct subscription *subscription_new(struct subscriptions *subscriptions, struct conn *conn,
				      uint32_t *list, const char *name, size_t n,
				      const struct format *format)
{
	struct subscription *subscription;
	struct topic *topic;

	if (!n || n > JOURNAL_TOPIC_MAX)
		return NULL;
	if (*list && list_length(subscriptions, *list) >= subscriptions->of_conn_max)
		return NULL;
	topic = topics_get(subscriptions->topics, name, n, format);
	if (!topic)
		return NULL;
	subscription = pool_take(&subscriptions->pool);
	if (!subscription) {
		if (!topic->subscribers)
			topics_release(subscriptions->topics, topic);
		return NULL;
	}
	*subscription = (struct subscription){
	    .conn = conn, .topic = topic, .of_conn = *list, .mark_end = topic->end};
	*list = subscription_handle(subscriptions, subscription);
	topic_add(subscriptions, topic, subscription);
	STATS_ADD(subscriptions->table->stats, members_joined, 1);
	STATS_ADD(subscriptions->table->stats, subscriptions, 1);
	return subscription;
}

bool subscribe(struct subscriptions *subscriptions, struct conn *conn, uint32_t *list,
	       const char *name, size_t n, const struct format *format, struct since since)
{
	struct subscription *subscription =
	    subscription_new(subscriptions, conn, list, name, n, format);

	if (!subscription)
		return false;
	subscription_begin(subscriptions, subscription, since);
	return true;
}

/* One that waits to say something is in a list: whoever takes it out frees it (delivery_say.c). */
static void sender_leave(struct subscriptions *subscriptions, struct sender *sender,
			 struct conn *conn)
{
	hash_table_remove(&subscriptions->by_number, &sender->node);
	sender->subscription = 0;
	if (!sender->waiting)
		sender_gone(subscriptions, sender);
	else
		conn_resume_input(conn); /* it may have other things to say */
}

void sender_gone(struct subscriptions *subscriptions, struct sender *sender)
{
	CHECK(!sender->subscription);
	pool_give(&subscriptions->senders, sender);
}

static void subscription_end(struct subscriptions *subscriptions, struct subscription *subscription)
{
	struct topic *topic = subscription->topic;

	if (topic->next_to_get == subscription_handle(subscriptions, subscription))
		topic->next_to_get = subscription->next;
	topic_remove(subscriptions, subscription);
	if (subscription->sender)
		sender_leave(subscriptions, subscription->sender, subscription->conn);
	if (!topic->subscribers)
		topics_release(subscriptions->topics, topic);
	*subscription = (struct subscription){0};
	pool_give(&subscriptions->pool, subscription);
	STATS_ADD(subscriptions->table->stats, members_left, 1);
	STATS_ADD(subscriptions->table->stats, subscriptions, -1);
}

void unsubscribe(struct subscriptions *subscriptions, uint32_t *list, uint32_t handle)
{
	while (*list && *list != handle)
		list = &subscription_of(subscriptions, *list)->of_conn;
	CHECK(*list);
	*list = subscription_of(subscriptions, handle)->of_conn;
	subscription_end(subscriptions, subscription_of(subscriptions, handle));
}

void unsubscribe_all(struct subscriptions *subscriptions, uint32_t *list)
{
	while (*list)
		unsubscribe(subscriptions, list, *list);
}

uint32_t subscription_find(const struct subscriptions *subscriptions, uint32_t list,
			   const char *name, size_t n)
{
	for (; list; list = subscription_of(subscriptions, list)->of_conn) {
		const struct topic *topic = subscription_of(subscriptions, list)->topic;

		if (topic->name_n == n && memcmp(topic->name, name, n) == 0)
			break;
	}
	return list;
}

/* ---- the whole ---- */

int subscriptions_open(struct subscriptions *subscriptions, struct topics *topics,
		       struct conn_table *table, uint32_t slow_bytes, uint32_t of_conn_max)
{
	uint64_t max = (uint64_t)table->conns.objects_max * of_conn_max;
	int error;

	if (max > SUBSCRIPTIONS_MAX)
		max = SUBSCRIPTIONS_MAX;
	*subscriptions = (struct subscriptions){
	    .topics = topics, .table = table, .slow_bytes = slow_bytes, .of_conn_max = of_conn_max};
	error = pool_open(&subscriptions->pool, sizeof(struct subscription), max, SPARE_BYTES);
	if (!error)
		error = pool_open(&subscriptions->senders, sizeof(struct sender), max, SPARE_BYTES);
	if (!error)
		error = hash_table_open(&subscriptions->by_number, (uint32_t)max);
	if (error)
		subscriptions_close(subscriptions);
	return error;
}

void subscriptions_close(struct subscriptions *subscriptions)
{
	hash_table_close(&subscriptions->by_number);
	pool_close(&subscriptions->senders);
	pool_close(&subscriptions->pool);
}
