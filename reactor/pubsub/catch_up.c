/*
 * Those that are behind: they get the next records of their topics from the journal, and learn what
 * is missing there. And who is slow.
 */
#include "reactor/base/check.h"
#include "reactor/pubsub/subscription_parts.h"

#define RECORD_COST 64 /* bytes of what is sent in a turn; also if it is not sent */

/* ---- up to date, or behind ---- */

/* Of one that is behind, when all that it was given before has been sent; or after a gap. */
static void mark_set(const struct subscriptions *subscriptions, struct subscription *subscription)
{
	subscription->fed = true;
	subscription->mark_end = subscription->topic->end;
	subscription->goal = topics_reached(subscriptions->topics, subscription->topic);
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
	subscription_number(subscription, entry->number - 1); /* these have been told */
	mark_set(subscriptions, subscription);		      /* what is gone is not owed */
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
	if (!subscription_said(subscription, entry)) {
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
	subscription_number(subscription, entry->number);
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
		subscription_number(subscription, topic->number);
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
