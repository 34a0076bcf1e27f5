#include "reactor/pubsub/subscription_parts.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/list.h"
#include "reactor/base/log.h"

#define SPARE_BYTES	  (16u << 10)
#define SUBSCRIPTIONS_MAX (UINT32_C(1) << 28)
#define RECORD_COST	  64 /* bytes of what is sent in a turn; also if it is not sent */

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

static bool is_own(const struct subscription *subscription, const struct journal_entry *entry)
{
	return subscription->sender && subscription->sender->node.hash == entry->sender;
}

/* ---- one comes, and goes ---- */

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

static void remember_number(struct subscription *subscription, uint64_t number)
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
		remember_number(subscription, since.number);
	else if (since.n && journal_find(topics->journal, since.n - 1, &entry) == JOURNAL_FOUND &&
		 topic_has(subscription->topic, &entry))
		remember_number(subscription, entry.number);
	else if (journal_find(topics->journal, since.n, &entry) == JOURNAL_FOUND &&
		 topic_has(subscription->topic, &entry))
		remember_number(subscription, entry.number - 1);
	else if (subscription->topic->last >= topics->whole_from &&
		 subscription->topic->last < since.n)
		remember_number(subscription, subscription->topic->number);
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
static void sender_leave(struct subscriptions *subscriptions, struct sender *sender)
{
	hash_table_remove(&subscriptions->by_number, &sender->node);
	sender->subscription = 0;
	if (!sender->waiting)
		sender_gone(subscriptions, sender);
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
		sender_leave(subscriptions, subscription->sender);
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

/* ---- behind ---- */

void subscription_fall_behind(struct subscription *subscription)
{
	if (subscription->behind)
		return;
	subscription->behind = true;
	subscription->fed = false;
	conn_feed(subscription->conn, true);
}

/* Of one that is behind, when all that it was given before has been sent; or after a gap. */
static void mark_set(const struct subscriptions *subscriptions, struct subscription *subscription)
{
	subscription->fed = true;
	subscription->mark_end = subscription->topic->end;
	subscription->goal = topic_reached(subscriptions, subscription->topic);
}

static void subscription_is_up_to_date(struct subscription *subscription)
{
	subscription->behind = subscription->fed = false;
	subscription->given = subscription->mark_given = 0;
	subscription->mark_end = subscription->topic->end;
}

/* Its topic has had a record that the journal no longer has, or may have had one. records: how
 * many; 0: nobody knows. False: its connection has ended, and it with that. */
static bool tell_gap(struct subscriptions *subscriptions, struct subscription *subscription,
		     uint64_t to, uint64_t records)
{
	const struct topic *topic = subscription->topic;
	struct conn *conn = subscription->conn;
	const struct gap gap = {topic->name, topic->name_n, subscription->position, to, records};

	STATS_ADD(subscriptions->table->stats, gaps, 1);
	if (topic->format->gap)
		topic->format->gap(conn, &gap);
	return conn_is_open(conn);
}

/* How many records of its topic are missing from its position to this id, if the last of these had
 * this number? More than there are ids: somebody began to count anew. 0: nobody knows. */
static uint64_t count_missing(const struct subscription *subscription, uint64_t number, uint64_t to)
{
	uint32_t missing = (uint32_t)number - subscription->number;

	return subscription->numbered && missing <= to - subscription->position ? missing : 0;
}

/* entry is the first record of its topic that is there from its position on, in a journal that
 * begins at this floor. Were there others before it? False: its connection has ended. */
static bool look_for_gap(struct subscriptions *subscriptions, struct subscription *subscription,
			 const struct journal_entry *entry, uint64_t floor)
{
	if (subscription->position >= floor ||
	    (entry->previous && entry->previous < subscription->position))
		return true;
	if (!tell_gap(subscriptions, subscription, entry->id,
		      count_missing(subscription, entry->number - 1, entry->id)))
		return false;
	remember_number(subscription, entry->number - 1); /* these have been told */
	mark_set(subscriptions, subscription);		  /* what is gone is not owed */
	return true;
}

/* Sends the record. False: it was overwritten meanwhile, or its connection has ended. */
static bool send_record(struct subscriptions *subscriptions, struct subscription *subscription,
			const struct journal_entry *entry, size_t *budget)
{
	static unsigned char bytes[FORMAT_BYTES_MAX];
	const struct format *format = subscription->topic->format;
	struct conn *conn = subscription->conn;
	size_t n = format->bytes(entry), cost = n > RECORD_COST ? n : RECORD_COST;

	CHECK(n <= FORMAT_BYTES_MAX);
	*budget -= cost < *budget ? cost : *budget;
	if (!is_own(subscription, entry)) {
		format->encode(entry, bytes);
		if (!journal_holds(subscriptions->topics->journal, entry->id))
			return false;
		conn_copy(conn, bytes, n);
		if (!conn_is_open(conn))
			return false;
		subscription_count(subscriptions, 1);
		STATS_ADD(subscriptions->table->stats, replayed, 1);
	}
	if (entry->id >= subscription->goal)
		subscription->mark_end += (uint32_t)n;
	subscription->position = entry->id + 1;
	remember_number(subscription, entry->number);
	return true;
}

/* Goes on from record to record of the topic, as long as the budget lasts. True: there may be more.
 */
static bool send_from(struct subscriptions *subscriptions, struct subscription *subscription,
		      struct journal_entry *entry, size_t *budget)
{
	const struct topics *topics = subscriptions->topics;
	uint64_t next;

	for (;;) { /* its connection may have ended when send_record() has failed */
		if (topic_has(subscription->topic, entry) &&
		    !send_record(subscriptions, subscription, entry, budget))
			return true;
		next = topics_next(topics, entry->id);
		if (!next || !*budget)
			return next;
		if (journal_find(topics->journal, next, entry) != JOURNAL_FOUND)
			return true;
	}
}

/* There is nothing more of its topic in the index. One whose position is below the history has
 * missed what the topic had from there on; nobody knows whether it had something if nothing is
 * known of the topic. What this process has not read may have been of it, too: then its position
 * stays, so that the next record tells. */
static void end_of_index(struct subscriptions *subscriptions, struct subscription *subscription,
			 uint64_t at, uint64_t floor)
{
	const struct topics *topics = subscriptions->topics;
	const struct topic *topic = subscription->topic;
	uint64_t known = topic->last + 1;

	if (subscription->position < floor && !topic->last) {
		if (!tell_gap(subscriptions, subscription, floor, 0))
			return;
		subscription->position = floor;
		subscription->numbered = false;
	} else if (subscription->position < floor && subscription->position < known) {
		if (!tell_gap(subscriptions, subscription, known,
			      count_missing(subscription, topic->number, known)))
			return;
		remember_number(subscription, topic->number);
		subscription->position = known;
	}
	if (at > topics->at) /* what is between has gone, and was not read */
		at = topics->at;
	if (subscription->position < at && subscription->position >= topics->whole_from)
		subscription->position = at;
	subscription_is_up_to_date(subscription);
}

/* Nothing is owed. True: it is not up to date yet, and has more to look at now. */
static bool catch_up(struct subscriptions *subscriptions, struct subscription *subscription,
		     size_t *budget)
{
	const struct topics *topics = subscriptions->topics;
	const struct conn *conn = subscription->conn;
	uint64_t at = subscription->position;

	if (!subscription->fed)
		mark_set(subscriptions, subscription);
	while (*budget && conn_is_open(conn)) {
		uint64_t floor = journal_floor(topics->journal);
		struct journal_entry entry;

		switch (topics_seek(topics, subscription->topic, &at, &entry)) {
		case SOUGHT_NONE:
			end_of_index(subscriptions, subscription, at, floor);
			return false;
		case SOUGHT_LATER:
			/* What it has passed is not of its topic. If some has gone, only the next
			 * record tells whether that was: its position stays, and all of the index
			 * is looked at in this turn. */
			if (subscription->position < floor)
				continue;
			subscription->position = at;
			return true;
		default:
			if (!look_for_gap(subscriptions, subscription, &entry, floor))
				return false;
			subscription->position = entry.id;
		}
		if (send_from(subscriptions, subscription, &entry, budget))
			return conn_is_open(conn);
		at = subscription->position;
	}
	return conn_is_open(conn);
}

void subscriptions_produce(struct subscriptions *subscriptions, uint32_t list, struct conn *conn)
{
	size_t budget = CHUNK_BYTES;
	bool more = false;

	for (uint32_t at = list; at && budget && conn_is_open(conn);) {
		struct subscription *subscription = subscription_of(subscriptions, at);

		at = subscription->of_conn;
		if (subscription->behind)
			more |= catch_up(subscriptions, subscription, &budget);
	}
	if (!conn_is_open(conn))
		return;
	if (!more && budget)
		conn_feed(conn, false);
	else if (!conn->queue.owed && !subscriptions->table->outbox.bytes)
		conn_wake(conn); /* nothing was sent, so nothing else does */
}

/* ---- slow ---- */

/*
 * One that says much itself is given little of a batch, and yet keeps all of its chunk: so lag is
 * measured in bytes of the topic, too. When the mark moves, all that was given before it has been
 * sent; so nobody keeps chunks from more than twice slow_bytes ago.
 *
 * One that is fed keeps none. Its mark is where topic->end was when its goal was the next record of
 * the topic: it lags at least that much until it comes there, and then the mark goes on with it.
 */
bool subscription_is_slow(const struct subscriptions *subscriptions,
			  struct subscription *subscription, uint32_t end)
{
	uint32_t owed = subscription->conn->queue.owed;
	int32_t lag; /* below 0 if the mark was set when its topic had had more */

	if (!subscription->fed &&
	    (int32_t)(subscription->given - owed - subscription->mark_given) >= 0) {
		subscription->mark_given = subscription->given;
		subscription->mark_end = end;
	}
	lag = (int32_t)(end - subscription->mark_end);
	return owed > subscriptions->slow_bytes || lag > (int64_t)subscriptions->slow_bytes;
}

/* What it skips does not count as lag, unless its mark is behind that already. */
void subscription_skip(struct subscription *subscription, uint32_t end, uint32_t bytes)
{
	if ((int32_t)(end - subscription->mark_end) >= 0)
		subscription->mark_end += bytes;
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
