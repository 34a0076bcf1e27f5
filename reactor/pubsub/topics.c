#include "reactor/pubsub/topics.h"

#include <errno.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/list.h"
#include "reactor/base/sys.h"

#define SPARE_BYTES    (16u << 10)
#define SWEEP_TOPICS   4	   /* looked at for each one that is made */
#define SWEEP_FULL     1024	   /* and if there are too many */
#define SEEK_SLOTS     (64u << 10) /* looked at in one turn */
#define SEEK_STRANGERS 256	   /* and records, if they are of topics whose hashes look alike */

static const size_t label_bytes[TOPIC_LABELS] = {32, 72, JOURNAL_TOPIC_MAX};

static struct topic *topic_of_node(struct hash_node *node)
{
	return CONTAINER_OF(node, struct topic, node);
}

/* ---- names ---- */

static struct pool *label_pool(struct topics *topics, size_t n)
{
	unsigned kind = 0;

	while (label_bytes[kind] < n)
		kind++;
	return &topics->labels[kind];
}

bool topic_has(const struct topic *topic, const struct journal_entry *entry)
{
	return entry->topic == topic->node.hash && entry->name_n == topic->name_n &&
	       memcmp(entry->bytes, topic->name, topic->name_n) == 0;
}

/* ---- the life of a topic ---- */

static void topic_free(struct topics *topics, struct topic *topic)
{
	hash_table_remove(&topics->names, &topic->node);
	if (topic->name)
		pool_give(label_pool(topics, topic->name_n), topic->name);
	pool_give(&topics->pool, topic);
	STATS_ADD(topics->stats, topics, -1);
}

static bool topic_is_over(const struct topics *topics, const struct topic *topic)
{
	return !topic->subscribers && !topic->queued &&
	       topic->last < journal_floor(topics->journal);
}

/* Nobody is told when the last record of a topic goes. */
static void topics_sweep(struct topics *topics, unsigned n)
{
	while (n--) {
		struct topic *topic = pool_next(&topics->pool, &topics->swept);

		if (!topic)
			topics->swept = 0;
		else if (topic_is_over(topics, topic))
			topic_free(topics, topic);
	}
}

static struct topic *topic_new(struct topics *topics, uint64_t hash)
{
	struct topic *topic;

	topics_sweep(topics, pool_free(&topics->pool) ? SWEEP_TOPICS : SWEEP_FULL);
	topic = pool_take(&topics->pool);
	if (!topic)
		return NULL;
	*topic = (struct topic){.node.hash = hash};
	hash_table_add(&topics->names, &topic->node);
	STATS_ADD(topics->stats, topics, 1);
	return topic;
}

static bool topic_is(const struct topic *topic, const char *name, size_t n,
		     const struct format *format)
{
	return topic->format == format && topic->name_n == n && memcmp(topic->name, name, n) == 0;
}

/* Records of it may have come while there was no place for it. */
static void topic_recall(const struct topics *topics, struct topic *topic)
{
	uint64_t floor = journal_floor(topics->journal), end = topics->unplaced_last + 1;
	uint64_t id = topics->unplaced_first > floor ? topics->unplaced_first : floor;
	struct journal_entry entry;

	while (id < end &&
	       (id = journal_scan(topics->journal, id, topic->node.hash, end - id)) < end) {
		if (journal_find(topics->journal, id, &entry) == JOURNAL_FOUND &&
		    entry.topic == topic->node.hash) {
			topic->last = id;
			topic->number = entry.number;
		}
		id++;
	}
}

struct topic *topics_get(struct topics *topics, const char *name, size_t n,
			 const struct format *format)
{
	uint64_t hash = journal_hash(topics->journal, name, n);
	struct hash_node *node = hash_table_find(&topics->names, hash);
	struct topic *topic = NULL, *other = node ? topic_of_node(node) : NULL;

	CHECK(n && n <= JOURNAL_TOPIC_MAX);
	for (; node; node = hash_table_next(node)) {
		if (topic_is(topic_of_node(node), name, n, format))
			return topic_of_node(node);
		if (!topic_of_node(node)->format)
			topic = topic_of_node(node);
	}
	if (!topic) {
		topic = topic_new(topics, hash);
		if (!topic)
			return NULL;
		if (!other)
			topic_recall(topics, topic);
	}
	if (other && other != topic) {
		topic->last = other->last;
		topic->number = other->number;
	}
	topic->name = pool_take(label_pool(topics, n));
	CHECK(topic->name); /* there are as many as topics */
	memcpy(topic->name, name, n);
	topic->name_n = (uint8_t)n;
	topic->format = format;
	return topic;
}

void topics_release(struct topics *topics, struct topic *topic)
{
	CHECK(!topic->subscribers);
	topic->pending = 0;
	if (topic_is_over(topics, topic)) {
		topic_free(topics, topic);
		return;
	}
	pool_give(label_pool(topics, topic->name_n), topic->name);
	topic->name = NULL;
	topic->name_n = 0;
	topic->format = NULL;
}

/* ---- the queue of those that are ready ---- */

void topics_queue(struct topics *topics, struct topic *topic)
{
	if (!topic->queued) {
		topic->round = topics->round + 1;
		topics->round_next++;
	}
	topic->queued = true;
	topic->ready = NULL;
	if (topics->ready_last)
		topics->ready_last->ready = topic;
	else
		topics->ready_first = topic;
	topics->ready_last = topic;
}

struct topic *topics_unqueue(struct topics *topics)
{
	struct topic *topic = topics->ready_first;

	topics->ready_first = topic->ready;
	if (!topics->ready_first)
		topics->ready_last = NULL;
	return topic;
}

void topics_begin_round(struct topics *topics)
{
	if (topics->round_left)
		return;
	topics->round++;
	topics->round_left = topics->round_next;
	topics->round_next = 0;
	topics->round_end = topics->at;
	if (!topics->round_left)
		topics->delivered = topics->at;
}

static void round_leave(struct topics *topics, const struct topic *topic)
{
	if (topic->round != topics->round) {
		topics->round_next--;
		return;
	}
	if (--topics->round_left)
		return;
	topics->delivered = topics->round_end;
	topics->round_is_over = true;
}

void topics_done(struct topics *topics, struct topic *topic)
{
	round_leave(topics, topic);
	topic->queued = false;
	if (!topic->subscribers && topic_is_over(topics, topic))
		topic_free(topics, topic);
}

void topics_progress(struct topics *topics, struct topic *topic)
{
	if (topic->round != topics->round || topic->pending < topics->round_end)
		return;
	round_leave(topics, topic);
	topic->round = topics->round + 1;
	topics->round_next++;
}

/* ---- the index ---- */

static size_t slot_index(const struct topics *topics, uint64_t id)
{
	return (id - topics->journal->first) & ((UINT64_C(1) << topics->journal->slots_shift) - 1);
}

static void topic_note(struct topics *topics, struct topic *topic,
		       const struct journal_entry *entry)
{
	topic->last = entry->id;
	topic->number = entry->number;
	if (!topic->subscribers || topic->pending)
		return;
	topic->pending = entry->id;
	if (!topic->queued)
		topics_queue(topics, topic);
}

/* The record follows the last one of its topic that we know. What its writer says of that is no
 * help: it may not have read all, or be none of ours. */
static void topics_link(struct topics *topics, uint64_t last, uint64_t id)
{
	uint64_t back = id - last;

	if (last && !(back >> topics->journal->slots_shift))
		topics->next[slot_index(topics, last)] = (uint32_t)back;
}

/* There are too many topics: it is read past. */
static void topics_note_unplaced(struct topics *topics, uint64_t id)
{
	if (topics->unplaced_last < journal_floor(topics->journal))
		topics->unplaced_first = id;
	topics->unplaced_last = id;
}

static void topics_note(struct topics *topics, const struct journal_entry *entry)
{
	struct hash_node *node = hash_table_find(&topics->names, entry->topic);

	topics->next[slot_index(topics, entry->id)] = 0;
	if (!node) {
		struct topic *topic = topic_new(topics, entry->topic);

		if (topic)
			topic_note(topics, topic, entry);
		else
			topics_note_unplaced(topics, entry->id);
		return;
	}
	topics_link(topics, topic_of_node(node)->last, entry->id);
	for (; node; node = hash_table_next(node))
		topic_note(topics, topic_of_node(node), entry);
}

/* What this process should have read has gone. */
static void topics_skip(struct topics *topics)
{
	uint64_t floor = journal_floor(topics->journal);

	if (floor <= topics->at) /* a record that no writer of ours wrote */
		floor = topics->at + 1;
	topics->missed += floor - topics->at;
	topics->at = topics->whole_from = floor;
}

bool topics_scan(struct topics *topics, uint64_t most)
{
	struct journal_entry entry;

	for (; most; most--) {
		switch (journal_find(topics->journal, topics->at, &entry)) {
		case JOURNAL_NOT_YET:
			return false;
		case JOURNAL_GONE:
			topics_skip(topics);
			break;
		default:
			topics_note(topics, &entry);
			topics->at++;
		}
	}
	return true;
}

uint64_t topics_next(const struct topics *topics, uint64_t id)
{
	uint32_t next = topics->next[slot_index(topics, id)];

	return next ? id + next : 0;
}

/* The record before *from is often one of the topic: then its successor is known. */
static uint64_t successor(const struct topics *topics, const struct topic *topic, uint64_t from)
{
	struct journal_entry entry;

	if (from <= topics->whole_from ||
	    journal_find(topics->journal, from - 1, &entry) != JOURNAL_FOUND ||
	    !topic_has(topic, &entry))
		return 0;
	return topics_next(topics, from - 1);
}

enum sought topics_seek(const struct topics *topics, const struct topic *topic, uint64_t *from,
			struct journal_entry *entry)
{
	const struct journal *journal = topics->journal;
	uint64_t floor = journal_floor(journal), id, end;
	unsigned strangers = SEEK_STRANGERS;

	if (*from < floor)
		*from = floor;
	if (topic->last < *from) {
		if (*from < topics->at)
			*from = topics->at;
		return SOUGHT_NONE;
	}
	id = successor(topics, topic, *from);
	if (id && journal_find(journal, id, entry) == JOURNAL_FOUND && topic_has(topic, entry)) {
		*from = id;
		return SOUGHT_FOUND;
	}
	end = *from + SEEK_SLOTS < topics->at ? *from + SEEK_SLOTS : topics->at;
	while (*from < end && strangers--) {
		id = journal_scan(journal, *from, topic->node.hash, end - *from);
		if (id < end && journal_find(journal, id, entry) == JOURNAL_FOUND &&
		    topic_has(topic, entry)) {
			*from = id;
			return SOUGHT_FOUND;
		}
		*from = id < end ? id + 1 : end;
	}
	return *from < topics->at ? SOUGHT_LATER : SOUGHT_NONE;
}

uint64_t topics_back(const struct topics *topics, const struct topic *topic, uint64_t n)
{
	uint64_t at = topic->last, id = 0;
	struct journal_entry entry;

	while (n-- && at && journal_find(topics->journal, at, &entry) == JOURNAL_FOUND) {
		id = at;
		if (entry.previous >= at)
			break;
		at = entry.previous;
	}
	return id;
}

/* ---- publishing ---- */

/* The first number of a topic that was not there, or of which we do not know how far it had come:
 * one that no number from before leads to, so that nobody takes the difference for a count. */
static uint64_t number_anew(uint64_t id)
{
	return (id * UINT64_C(0x9e3779b97f4a7c15) >> 32) + 1;
}

/* The record before it in its topic, and its number: anew if we do not know all that there was
 * after the last one that we know. False: there is no place for a new topic. */
static bool place_in_topic(struct topics *topics, uint64_t hash, uint64_t *previous,
			   uint64_t *number)
{
	struct hash_node *node = hash_table_find(&topics->names, hash);
	struct topic *topic = node ? topic_of_node(node) : NULL;

	if (!topic && !pool_free(&topics->pool)) {
		topics_sweep(topics, SWEEP_FULL);
		if (!pool_free(&topics->pool))
			return false;
	}
	if (topic && topic->last < topics->whole_from)
		topic = NULL;
	*previous = topic ? topic->last : 0;
	*number = topic ? topic->number + 1 : number_anew(topics->at);
	return true;
}

/* What was published here need not be read again. */
static void note_own(struct topics *topics, const struct journal_message *message,
		     uint64_t previous, uint64_t number)
{
	topics_note(topics, &(struct journal_entry){.id = topics->at,
						    .topic = message->topic,
						    .previous = previous,
						    .number = number});
	topics->at++;
}

int topics_publish(struct topics *topics, struct journal_message *message, uint64_t *id)
{
	uint64_t previous, number;
	int error;

	if (!message->topic)
		message->topic =
		    journal_hash(topics->journal, message->name.iov_base, message->name.iov_len);
	error = journal_draft(topics->port, message);
	if (error)
		return error;
	do {
		while (topics_scan(topics, UINT64_MAX))
			continue;
		if (!place_in_topic(topics, message->topic, &previous, &number))
			return -ENOSPC;
	} while (!journal_commit(topics->port, topics->at, previous, number));
	*id = topics->at;
	note_own(topics, message, previous, number);
	return 0;
}

/* ---- the whole ---- */

int topics_open(struct topics *topics, struct journal_port *port, struct stats *stats, uint32_t max)
{
	const struct journal *journal = port->journal;
	int error;

	*topics = (struct topics){
	    .journal = journal, .port = port, .stats = stats, .at = journal_floor(journal)};
	topics->whole_from = topics->at;
	topics->next_bytes = sizeof *topics->next << journal->slots_shift;
	topics->next = sys_map(topics->next_bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	error = topics->next ? hash_table_open(&topics->names, max) : -ENOMEM;
	if (!error)
		error = pool_open(&topics->pool, sizeof(struct topic), max, SPARE_BYTES);
	for (unsigned kind = 0; !error && kind < TOPIC_LABELS; kind++)
		error = pool_open(&topics->labels[kind], label_bytes[kind], max, SPARE_BYTES);
	if (error) {
		topics_close(topics);
		return error;
	}
	while (topics_scan(topics, UINT64_MAX))
		continue;
	topics->missed = 0;
	return 0;
}

void topics_close(struct topics *topics)
{
	for (unsigned kind = 0; kind < TOPIC_LABELS; kind++)
		pool_close(&topics->labels[kind]);
	pool_close(&topics->pool);
	hash_table_close(&topics->names);
	if (topics->next)
		(void)sys_munmap(topics->next, topics->next_bytes);
	topics->next = NULL;
}
