#include "reactor/pubsub/delivery.h"

#include "reactor/base/check.h"
#include "reactor/base/log.h"
#include "reactor/base/sys.h"
#include "reactor/pubsub/delivery_parts.h"

#define REST_SHARE    3	   /* times what a round cost */
#define REST_US_MIN   1000 /* the clock of deadlines is no finer; small topics never rest */
#define STARVED_MS    10   /* no buffers for a batch: look again */
#define DRAIN_LOOK_MS 2
#define SLICE	      2048 /* subscriptions that are looked at in one turn */
#define CHUNKS_KEPT   4	   /* for batches, whatever is read */

const struct shared_kind pubsub_kind = {"pubsub"};

static struct delivery *delivery_of_source(struct source *source)
{
	return CONTAINER_OF(source, struct delivery, source);
}

/* ---- a slice of a batch ---- */

/* Has it what was said before the batch, and nothing of it? */
static bool is_up_to_date(const struct batch *batch, const struct subscription *subscription)
{
	return subscription->position > batch->before && subscription->position <= batch->first;
}

static void deliver_to(struct delivery *delivery, const struct batch *batch,
		       struct subscription *subscription)
{
	uint32_t end = subscription->topic->end - batch->bytes;
	struct conn *conn = subscription->conn;

	/* It came later, or has read on by itself; or it can be sent nothing for now. */
	if (subscription->position > batch->first || conn_is_frozen(conn))
		subscription_skip(subscription, end, batch->bytes);
	if (subscription->position > batch->last)
		return;
	if (!conn_is_frozen(conn) &&
	    subscription_is_slow(&delivery->subscriptions, subscription, end)) {
		conn_abort(conn, CLOSE_slow_consumer);
		return;
	}
	if (subscription->behind)
		return;
	if (!is_up_to_date(batch, subscription)) {
		subscription_fall_behind(subscription);
		return;
	}
	if (conn_is_frozen(conn) || conn->queue.owed > delivery->give_max) {
		subscription->position = batch->first;
		subscription_fall_behind(subscription);
		return;
	}
	(void)topic_batch_give(&delivery->maker, batch, subscription);
}

/* True: all have it. */
static bool deliver_slice(struct delivery *delivery, struct topic *topic, size_t *members)
{
	struct batch *batch = topic->batch;

	if (!batch->given)
		topic->next_to_get = topic->first;
	batch->given = true;
	while (topic->next_to_get && *members) {
		struct subscription *subscription =
		    subscription_of(&delivery->subscriptions, topic->next_to_get);

		topic->next_to_get = subscription->next;
		__builtin_prefetch(subscription_of(&delivery->subscriptions, topic->next_to_get));
		deliver_to(delivery, batch, subscription);
		--*members;
	}
	return !topic->next_to_get;
}

/* ---- topics in turn ---- */

static struct batch *batch_new(struct delivery *delivery)
{
	unsigned i = 0;

	if (delivery->batches_taken == UINT64_MAX)
		return NULL;
	i = (unsigned)__builtin_ctzll(~delivery->batches_taken);
	delivery->batches_taken |= UINT64_C(1) << i;
	return &delivery->batches[i];
}

static void batch_free(struct delivery *delivery, struct topic *topic)
{
	delivery->batches_taken &= ~(UINT64_C(1) << (topic->batch - delivery->batches));
	topic->batch = NULL;
}

/* Counted once for all of a batch, by the record that was published first. */
static void count_lag(const struct delivery *delivery, const struct batch *batch)
{
	uint64_t now_us = delivery->loop->now_us;
	uint64_t lag_us = now_us > batch->said_us ? now_us - batch->said_us : 0;

	STATS_ADD(delivery->loop->stats, delivery_lag[lag_of(lag_us)], 1);
	STATS_ADD(delivery->loop->stats, delivery_us, lag_us);
}

static void topic_end_batch(struct delivery *delivery, struct topic *topic)
{
	count_lag(delivery, topic->batch);
	topic->turn = delivery->turn;
	topic_batch_end(&delivery->maker, topic->batch);
	batch_free(delivery, topic);
	topic->next_to_get = 0;
}

static enum batch_made topic_begin_batch(struct delivery *delivery, struct topic *topic)
{
	enum batch_made made;

	topic->batch = batch_new(delivery);
	if (!topic->batch)
		return BATCH_EMPTY; /* its turn comes again */
	made = topic_batch_make(&delivery->maker, topic->batch, topic);
	topic->turn = delivery->turn;
	topic->batch_first = topic->batch->first;
	topic->batch_last = topic->batch->last;
	if (made == BATCH_MADE)
		topic->end += topic->batch->bytes;
	else
		batch_free(delivery, topic);
	return made;
}

/* The first topic of the queue has its turn. False: buffers are used up. */
static bool deliver_topic(struct delivery *delivery, size_t *members)
{
	struct topics *topics = &delivery->topics;
	struct topic *topic = topics->ready_first;

	if (topic->subscribers && !topic->batch && topic->pending &&
	    topic_begin_batch(delivery, topic) == BATCH_NO_BUFFERS)
		return false;
	(void)topics_unqueue(topics);
	if (topic->batch && deliver_slice(delivery, topic, members))
		topic_end_batch(delivery, topic);
	if (topic->batch) {
		topics_queue(topics, topic);
	} else if (topic->pending && topic->subscribers) {
		topics_progress(topics, topic);
		topics_queue(topics, topic);
	} else {
		topics_done(topics, topic);
	}
	return true;
}

/* A topic has one batch in a turn: its subscribers have to have theirs before the next one. */
static bool first_may_have_turn(const struct delivery *delivery)
{
	const struct topic *topic = delivery->topics.ready_first;

	return topic && (topic->batch || topic->turn != delivery->turn);
}

/* False: buffers are used up, and not by what was delivered just now. */
static bool deliver(struct delivery *delivery)
{
	size_t members = delivery->turn_members;

	delivery->turn++;
	while (members && first_may_have_turn(delivery)) {
		size_t before = members;

		if (!deliver_topic(delivery, &members))
			return before < delivery->turn_members;
		if (members == before) /* one without a batch costs something, too */
			members--;
	}
	return true;
}

/* ---- buffers are used up ---- */

/* Looks at a slice of all subscriptions: how much do their connections hold? Then closes those that
 * hold the most, if that is more than a chunk. */
static void make_room(struct delivery *delivery)
{
	const struct pool *pool = &delivery->subscriptions.pool;

	if (delivery->room == ROOM_IS_THERE) {
		delivery->room = ROOM_IS_MEASURED;
		delivery->room_cursor = delivery->room_most = 0;
	}
	for (unsigned left = SLICE; left; left--) {
		struct subscription *subscription = pool_next(pool, &delivery->room_cursor);
		size_t weight;

		if (!subscription) {
			bool more =
			    delivery->room == ROOM_IS_MEASURED && delivery->room_most > CHUNK_BYTES;

			delivery->room = more ? ROOM_IS_MADE : ROOM_IS_THERE;
			delivery->room_cursor = 0;
			if (more)
				continue;
			break;
		}
		weight = queue_weight(&subscription->conn->queue);
		if (delivery->room == ROOM_IS_MADE && weight > delivery->room_most / 2)
			conn_abort(subscription->conn, CLOSE_no_buffers);
		else if (delivery->room == ROOM_IS_MEASURED && weight > delivery->room_most)
			delivery->room_most = weight;
	}
	if (delivery->room == ROOM_IS_THERE)
		loop_deadline(delivery->loop, &delivery->source,
			      delivery->loop->now_ms + STARVED_MS);
	else
		loop_wake(delivery->loop, &delivery->source);
}

/* ---- reading on ---- */

static void count_missed(struct delivery *delivery)
{
	uint64_t missed = delivery->topics.missed - delivery->missed;

	if (!missed)
		return;
	delivery->missed = delivery->topics.missed;
	STATS_ADD(delivery->loop->stats, missed, missed);
	log_warn("this worker was too slow: its subscribers miss records",
		 LOG_NUMBER("records", missed));
}

/* Members have written by now what was delivered before: how long did it take? */
static void learn_cost(struct delivery *delivery)
{
	uint64_t now_us, rest_us;

	if (!delivery->began_us)
		return;
	now_us = sys_clock_us();
	delivery->cost_us += now_us - delivery->began_us;
	delivery->began_us = 0;
	if (!delivery->topics.round_is_over)
		return;
	delivery->topics.round_is_over = false;
	rest_us = delivery->cost_us * REST_SHARE;
	delivery->cost_us = 0;
	if (rest_us > DELIVERY_REST_MS * 1000)
		rest_us = DELIVERY_REST_MS * 1000;
	if (rest_us >= REST_US_MIN)
		delivery->rest_until_us = now_us + rest_us;
}

static bool rests(struct delivery *delivery)
{
	struct loop *loop = delivery->loop;

	if (loop->now_us >= delivery->rest_until_us)
		return false;
	loop_deadline(loop, &delivery->source,
		      loop->now_ms + 1 +
			  (uint32_t)((delivery->rest_until_us - loop->now_us) / 1000));
	return true;
}

static void fall_asleep(struct delivery *delivery)
{
	delivery->asleep = journal_sleep(&delivery->port, delivery->topics.at);
	if (delivery->asleep)
		topic_batch_rest(&delivery->maker);
	else
		loop_wake(delivery->loop, &delivery->source);
}

static void read_on(struct delivery *delivery)
{
	bool more = topics_scan(&delivery->topics, DELIVERY_TURN_RECORDS);
	bool delivers = delivery->topics.ready_first;

	if (!more)
		topics_begin_round(&delivery->topics);
	count_missed(delivery);
	if (delivers && !deliver(delivery)) {
		make_room(delivery);
		delivers = false;
	} else if (delivers || more) {
		loop_wake(delivery->loop, &delivery->source); /* behind the members' turns */
	} else {
		fall_asleep(delivery);
	}
	if (delivers)
		delivery->began_us = sys_clock_us();
	journal_tell_cursor(&delivery->port, delivery->topics.delivered);
}

/* ---- the end ---- */

/* May a client still subscribe, and say something that has come by now? One that says no more never
 * will again, so none is looked at twice. */
static bool clients_have_more(struct delivery *delivery)
{
	const struct pool *pool = &delivery->table->conns;

	for (unsigned left = SLICE; left; left--) {
		size_t at = delivery->drain_cursor;
		struct conn *conn = pool_next(pool, &at);

		if (!conn)
			return false;
		if (conn->service->delivery == delivery && conn_has_more(conn))
			return true;
		delivery->drain_cursor = at;
	}
	return true;
}

static bool has_more(struct delivery *delivery)
{
	return delivery->waiting || !delivery->closed || clients_have_more(delivery);
}

/* While we drain: is all that will ever be said in the journal by now? */
static bool all_said(struct delivery *delivery)
{
	bool others;

	if (delivery->phase == DELIVERY_DRAINS && !has_more(delivery)) {
		delivery->phase = DELIVERY_HAS_SAID_ALL;
		journal_say_last(&delivery->port);
	}
	if (delivery->phase != DELIVERY_DRAINS && delivery->phase != DELIVERY_HAS_SAID_ALL)
		return false;
	others = journal_all_said(&delivery->port, delivery->loop->now_ms);
	/* Members' turns do not wake us; nor does a process that died with nobody to reap it. */
	loop_deadline(delivery->loop, &delivery->source,
		      delivery->loop->now_ms +
			  (delivery->phase == DELIVERY_DRAINS ? DRAIN_LOOK_MS : JOURNAL_LOOK_MS));
	return delivery->phase == DELIVERY_HAS_SAID_ALL && (delivery->alone || others);
}

static void set_lasts(struct delivery *delivery, bool lasts)
{
	for (struct service *service = delivery->services; service; service = service->beside)
		service->lasts = lasts;
}

static void delivery_end(struct delivery *delivery)
{
	struct conn *conn;
	size_t cursor = 0;

	delivery->phase = DELIVERY_IS_OVER;
	set_lasts(delivery, false);
	/* Those that subscribe to nothing have waited, too. */
	while ((conn = pool_next(&delivery->table->conns, &cursor)))
		if (conn->service->delivery == delivery)
			loop_wake(delivery->loop, &conn->source);
}

/* ---- the turn ---- */

static void delivery_turn(struct loop *loop, struct source *source)
{
	struct delivery *delivery = delivery_of_source(source);
	bool over;

	source->ready = 0;
	if (delivery->asleep)
		journal_wake_up(&delivery->port);
	delivery->asleep = false;
	over = all_said(delivery);
	STATS_ADD(loop->stats, bells, journal_announce(&delivery->port));
	learn_cost(delivery);
	if (!rests(delivery))
		read_on(delivery);
	if (delivery->waiting)
		delivery_look_for_room(delivery);
	if (over && delivery->asleep)
		delivery_end(delivery);
}

void delivery_drain(struct delivery *delivery, bool alone)
{
	if (delivery->phase != DELIVERY_SERVES)
		return;
	delivery->phase = DELIVERY_DRAINS;
	delivery->alone = alone;
	set_lasts(delivery, true);
	loop_wake(delivery->loop, &delivery->source);
}

void delivery_close_doors(struct delivery *delivery)
{
	delivery->closed = true;
	loop_wake(delivery->loop, &delivery->source);
}

/* ---- the whole ---- */

void delivery_serve(struct delivery *delivery, struct service *service)
{
	service->delivery = delivery;
	service->beside = delivery->services;
	delivery->services = service;
}

int delivery_open(struct delivery *delivery, struct loop *loop, struct conn_table *table,
		  struct journal *journal, unsigned seat, const struct delivery_limits *limits)
{
	uint32_t high_water = table->limits.high_water;
	int error;

	*delivery =
	    (struct delivery){.loop = loop, .table = table, .turn_members = DELIVERY_TURN_MEMBERS};
	CHECK(journal->doorbells[seat] >= 0);
	delivery->give_max = high_water < limits->slow_bytes ? high_water : limits->slow_bytes;
	table->chunks_kept = CHUNKS_KEPT;
	journal_take_seat(&delivery->port, journal, seat);
	error = topics_open(&delivery->topics, &delivery->port, loop->stats, limits->topics_max);
	if (!error)
		error = subscriptions_open(&delivery->subscriptions, &delivery->topics, table,
					   limits->slow_bytes, limits->of_conn_max);
	if (error)
		return error;
	delivery->maker = (struct batch_maker){.topics = &delivery->topics,
					       .subscriptions = &delivery->subscriptions,
					       .buffers = &table->buffers};
	source_init(&delivery->source, journal->doorbells[seat], delivery_turn);
	delivery->source.want = SOURCE_IN;
	loop_wake(loop, &delivery->source);
	/* Edge-triggered, a doorbell need not be read: each one is an edge. */
	return loop_watch(loop, &delivery->source, EPOLLIN | EPOLLET);
}

void delivery_close(struct delivery *delivery)
{
	struct journal *journal = delivery->port.journal;

	loop_unwatch(delivery->loop, &delivery->source); /* others have the doorbell too */
	STATS_ADD(delivery->loop->stats, bells, journal_announce(&delivery->port));
	topic_batch_rest(&delivery->maker);
	subscriptions_close(&delivery->subscriptions);
	topics_close(&delivery->topics);
	journal_leave_seat(&delivery->port);
	journal_ring_waiters(journal);
}
