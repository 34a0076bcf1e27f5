#include "reactor/pubsub/topic.h"

#include "reactor/base/check.h"
#include "reactor/pubsub/relay.h"

#define MEMBERS_SPARE_BYTES (16u << 10)
#define TOPICS_CHUNKS	    4 /* for batches, whatever is read */

struct member {
	struct conn *conn;
	uint16_t own_first, own_last; /* its lines in the batch; 0: none */
	bool waiting;
	bool said;		       /* something, since the members that waited went on */
	uint32_t given;		       /* bytes; it wraps, as the others do */
	uint32_t mark_given, mark_end; /* `given`, and the topic's `end`, at an earlier moment */
	uint32_t batch;		       /* the last that it was given, or joined too late for */
};

const struct shared_kind topic_kind = {"topic"};

int topic_open(struct topic *topic, struct relay *relay, struct service *service, uint16_t number,
	       uint32_t slow_bytes)
{
	*topic = (struct topic){.relay = relay,
				.services = service,
				.table = service->table,
				.number = number,
				.slow_bytes = slow_bytes};
	service->topic = topic;
	service->beside = NULL;
	service->table->chunks_kept = TOPICS_CHUNKS;
	relay_add(relay, topic);
	return pool_open(&topic->members, sizeof(struct member), service->table->conns.objects_max,
			 MEMBERS_SPARE_BYTES);
}

void topic_share(struct topic *topic, struct service *service)
{
	service->topic = topic;
	service->beside = topic->services;
	topic->services = service;
}

void topic_close(struct topic *topic)
{
	relay_remove(topic->relay, topic);
	if (topic->chunk)
		chunk_release(&topic->table->buffers, topic->chunk);
	pool_close(&topic->members);
}

/* ---- members ---- */

static struct member *member_of(const struct topic *topic, uint32_t handle)
{
	return (struct member *)(void *)topic->members.base + (handle - 1);
}

uint32_t topic_join(struct topic *topic, struct conn *conn)
{
	struct member *member = pool_take(&topic->members);

	CHECK(member); /* there are as many as connections */
	*member =
	    (struct member){.conn = conn, .mark_end = topic->end, .batch = topic->number_of_batch};
	STATS_ADD(topic->table->stats, members_joined, 1);
	return (uint32_t)(member - (struct member *)(void *)topic->members.base) + 1;
}

/* Its lines that come back from the bus after that go to all, but not to one that has joined under
 * the same handle by then: they were said before it came. One that comes from another process does
 * not miss them: all lines of ours were read before it joined (relay_catch_up). */
void topic_leave(struct topic *topic, uint32_t handle)
{
	struct member *member = member_of(topic, handle);

	if (member->waiting)
		topic->waiting--;
	*member = (struct member){0};
	pool_give(&topic->members, member);
	STATS_ADD(topic->table->stats, members_left, 1);
}

static void count_deliveries(const struct topic *topic, uint32_t lines)
{
	STATS_ADD(topic->table->stats, deliveries, lines);
	STATS_ADD(topic->table->stats, messages_sent, lines);
}

/* Instead of the batches that were delivered since its mark. */
void topic_replay(struct topic *topic, uint32_t handle)
{
	const struct replay *replay = &topic->relay->replay;
	struct member *member = member_of(topic, handle);

	for (size_t i = 0; i < replay->n; i++) {
		struct chunk *chunk = replay->pieces[i].chunk;

		if (replay->pieces[i].topic != topic)
			continue;
		member->given += chunk->used;
		if (!conn_share(member->conn, chunk, 0, chunk->used))
			return;
		count_deliveries(topic, replay->pieces[i].lines);
	}
}

unsigned topic_place(const struct topic *topic)
{
	return topic->relay->port.seat;
}

uint32_t topic_serial(const struct topic *topic)
{
	return bus_serial(&topic->relay->port);
}

bool topic_say(struct topic *topic, uint32_t handle, struct iovec first, struct iovec second)
{
	struct member *member = member_of(topic, handle);

	if (relay_publish(topic->relay, topic->number, handle, first, second)) {
		STATS_ADD(topic->table->stats, published, 1);
		member->said = true;
		return true;
	}
	if (!topic->waiting++) /* one that could say nothing is the first when there is space */
		topic->next_to_go = member->said ? handle : handle - 1;
	member->waiting = true;
	conn_pause_input(member->conn);
	return false;
}

/* They take turns at being the first: there may be space for the first ones only. */
void topic_go_on(struct topic *topic)
{
	size_t cursor = topic->next_to_go;

	while (topic->waiting) {
		struct member *member = pool_next(&topic->members, &cursor);

		if (!member) {
			cursor = 0;
			continue;
		}
		member->said = false;
		if (!member->waiting)
			continue;
		member->waiting = false;
		topic->waiting--;
		conn_resume_input(member->conn);
	}
}

/* ---- the batch ---- */

/* Each member needs a segment, and one more for each line of its own; so do those of other
 * topics. One for each free chunk is left for other output. */
static bool buffers_suffice(const struct topic *topic)
{
	const struct relay *relay = topic->relay;
	const struct buffers *buffers = &topic->table->buffers;
	size_t needed = topic->table->conns.used + TOPIC_OWN_LINES + pool_free(&buffers->chunks);

	for (size_t i = 0; i < relay->topics_n; i++)
		if (relay->topics[i] && topic_has_batch(relay->topics[i]))
			needed += TOPIC_OWN_LINES;
	return pool_free(&buffers->segments) > needed;
}

unsigned char *topic_room(struct topic *topic, size_t n)
{
	struct buffers *buffers = &topic->table->buffers;
	struct chunk *chunk = topic->chunk;

	if (topic->own_n == TOPIC_OWN_LINES || topic->next_to_get)
		return NULL;
	if (!topic_has_batch(topic)) {
		if (!buffers_suffice(topic))
			return NULL;
		if (chunk && chunk->references == 1) /* no queue has bytes in it any more */
			topic->begin = chunk->used = 0;
	}
	if (chunk && chunk->used + n <= CHUNK_BYTES)
		return chunk->bytes + chunk->used;
	if (topic_has_batch(topic))
		return NULL;
	if (chunk)
		chunk_release(buffers, chunk);
	topic->chunk = chunk_new(buffers);
	topic->begin = 0;
	return topic->chunk ? topic->chunk->bytes : NULL;
}

/* Chains the lines of a member in order: these pieces of the batch it does not get. */
static void topic_note_own(struct topic *topic, struct member *member, size_t n)
{
	uint16_t number = ++topic->own_n;

	topic->own[number].begin = topic->chunk->used;
	topic->own[number].end = topic->chunk->used + (uint32_t)n;
	topic->own[number].next = 0;
	if (member->own_first)
		topic->own[member->own_last].next = number;
	else
		member->own_first = number;
	member->own_last = number;
}

void topic_add(struct topic *topic, size_t n, uint32_t handle)
{
	if (handle && handle <= topic->members.objects_max && member_of(topic, handle)->conn)
		topic_note_own(topic, member_of(topic, handle), n);
	topic->chunk->used += (uint32_t)n;
	if (!topic->lines++)
		topic->number_of_batch++;
}

/*
 * Does it owe, or lag, more than slow_bytes? A member that says much itself is given little of a
 * batch, and yet keeps all of its chunk: so its lag is measured in bytes of the topic, too. When
 * the mark moves, all that was given before it has been sent; so nobody keeps chunks from more
 * than twice slow_bytes ago.
 */
static bool member_is_slow(const struct topic *topic, struct member *member)
{
	uint32_t owed = member->conn->queue.owed;

	if ((int32_t)(member->given - owed - member->mark_given) >= 0) {
		member->mark_given = member->given;
		member->mark_end = topic->end;
	}
	return owed > topic->slow_bytes || topic->end - member->mark_end > topic->slow_bytes;
}

/* False: it is no member any more. */
static bool member_share(struct topic *topic, struct member *member, uint32_t begin, uint32_t end)
{
	if (begin == end)
		return true;
	member->given += end - begin;
	return conn_share(member->conn, topic->chunk, begin, end);
}

/* Gives it the batch, except for its own lines. */
static void member_give(struct topic *topic, struct member *member, bool judges)
{
	uint32_t at = topic->begin;
	uint32_t skipped = 0;

	if (judges && !conn_is_frozen(member->conn) && member_is_slow(topic, member)) {
		conn_abort(member->conn, CLOSE_slow_consumer);
		return;
	}
	for (uint16_t own = member->own_first; own; own = topic->own[own].next) {
		if (!member_share(topic, member, at, topic->own[own].begin))
			return;
		at = topic->own[own].end;
		skipped++;
	}
	if (!member_share(topic, member, at, topic->chunk->used))
		return;
	member->own_first = member->own_last = 0;
	count_deliveries(topic, topic->lines - skipped);
}

static void batch_end(struct topic *topic)
{
	topic->end += topic->chunk->used - topic->begin;
	topic->begin = topic->chunk->used;
	topic->lines = 0;
	topic->own_n = 0;
	topic->next_to_get = 0;
}

/* A member that joins meanwhile does not get the batch, wherever the cursor is. */
bool topic_deliver(struct topic *topic, bool judges, size_t *members)
{
	while (*members) {
		struct member *member = pool_next(&topic->members, &topic->next_to_get);

		if (!member) {
			batch_end(topic);
			return true;
		}
		--*members;
		if (member->batch == topic->number_of_batch)
			continue;
		member->batch = topic->number_of_batch;
		member_give(topic, member, judges);
	}
	return false;
}

void topic_idle(struct topic *topic)
{
	if (!topic->chunk || topic->chunk->references > 1 || topic_has_batch(topic))
		return;
	chunk_release(&topic->table->buffers, topic->chunk);
	topic->chunk = NULL;
}

void topic_make_room(struct topic *topic)
{
	struct member *member;
	size_t most = 0;

	for (size_t cursor = 0; (member = pool_next(&topic->members, &cursor));) {
		size_t weight = queue_weight(&member->conn->queue);

		if (weight > most)
			most = weight;
	}
	if (most <= CHUNK_BYTES)
		return;
	for (size_t cursor = 0; (member = pool_next(&topic->members, &cursor));)
		if (queue_weight(&member->conn->queue) > most / 2)
			conn_abort(member->conn, CLOSE_no_buffers);
}

/* ---- the end ---- */

void topic_last(struct topic *topic, bool lasts)
{
	struct member *member;
	size_t cursor = 0;

	for (struct service *service = topic->services; service; service = service->beside)
		service->lasts = lasts;
	while (!lasts && (member = pool_next(&topic->members, &cursor)))
		loop_wake(topic->table->loop, &member->conn->source);
}

bool topic_has_more(const struct topic *topic)
{
	const struct member *member;
	size_t cursor = 0;

	while ((member = pool_next(&topic->members, &cursor)))
		if (conn_has_more(member->conn))
			return true;
	return false;
}
