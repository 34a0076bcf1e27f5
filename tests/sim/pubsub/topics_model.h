/*
 * topics_model: a protocol of topics, and a model of what was published and who has to hear it.
 *
 * Its clients speak a protocol of this test, in lines:
 *
 *     N TOPIC            hear what is said from now on     answered by +TOPIC EPOCH, or -TOPIC
 *     L N TOPIC          and the last N records, too
 *     I ID NUMBER TOPIC  from this id on; NUMBER: of the record before that, 0: not known
 *     U TOPIC            hear it no more                   answered by ~TOPIC
 *     P TOPIC SIZE       publish so many bytes there
 *
 * A record comes as =TOPIC ID SIZE and its payload; one of no bytes has no bytes at all. What
 * is missing is told as !TOPIC FROM TO RECORDS. There are two such protocols, with two formats: in
 * the wide one each byte comes twice, so that one record may be longer than any chunk.
 *
 * An epoch is a number for each subscription that there ever was. The server's side of the protocol
 * tells the model when it subscribes, and what it publishes.
 */
#ifndef TESTS_SIM_PUBSUB_TOPICS_MODEL_H
#define TESTS_SIM_PUBSUB_TOPICS_MODEL_H

#include <stdio.h>
#include <stdlib.h>

#include "reactor/base/log.h"
#include "reactor/pubsub/delivery.h"
#include "reactor/pubsub/journal_parts.h"
#include "tests/support/sim/sim_move.h"

#define WORKERS	    3
#define CLIENTS_MAX 120
#define TOPICS	    400
#define ALIKE	    6	   /* topics whose hashes have the same 16 bits: the first ones */
#define SIZE_MOST   65000u /* of a payload */

struct worker {
	struct stats stats;
	struct loop loop;
	struct conn_table table;
	struct delivery delivery;
	struct service services[2]; /* plain, wide */
};

struct record {
	uint64_t id, previous, number;
	unsigned epoch;
	uint32_t size;
};

struct topic_model {
	char name[JOURNAL_TOPIC_MAX + 1];
	struct record *records;
	unsigned n, room;
};

struct hearing { /* by epoch */
	unsigned topic, client;
	unsigned next;	/* record of the topic that it hears next */
	bool uncertain; /* it came with an id of before the history, or without a number */
	bool moved;	/* to a worker that does not know what was there before */
	bool hears;	/* by what its client has heard */
};

struct client {
	struct peer *peer;
	unsigned worker, wide;
	bool deaf, leaves, moves, was_reset;
	size_t sip; /* bytes that it reads at a time; 0: all */
	struct bytes says, heard;
	enum close_reason reason;
	unsigned said_topics[8]; /* that it may be subscribed to, as it believes */
};

static struct journal journal;
static struct worker workers[WORKERS];
static struct topic_model topic_models[TOPICS];
static struct client clients[CLIENTS_MAX];
static unsigned clients_n;
static struct hearing *hearings;
static unsigned epochs;
static unsigned epochs_of[CLIENTS_MAX][TOPICS];	 /* what it hears, as it was told; 0: nothing */
static unsigned subscribed[CLIENTS_MAX][TOPICS]; /* likewise, by the server */
static uint64_t seed_at_first;
static unsigned step;

static struct {
	uint64_t records, heard, gaps, lost, moved, refused, slow, no_buffers, left_behind, waits,
	    replayed;
} sums;

#define MODEL(condition)                                                                           \
	EXPECT_MSG(condition, "seed %llu, step %u: %s does not hold",                              \
		   (unsigned long long)seed_at_first, step, #condition)

/* ---- topics ---- */

static unsigned topic_named(const char *name)
{
	for (unsigned t = 0; t < TOPICS; t++)
		if (strcmp(topic_models[t].name, name) == 0)
			return t;
	ck_abort_msg("no topic is called %s", name);
}

/* Names of many lengths; the first ones have hashes that look alike. */
static void topics_name(void)
{
	static char alike[ALIKE][24];
	uint64_t looks = 0;

	for (unsigned t = 0, i = 0; t < ALIKE && !alike[ALIKE - 1][0]; i++) {
		char name[24];
		uint64_t hash;

		(void)snprintf(name, sizeof name, "alike/%u", i);
		hash = journal_hash(&journal, name, strlen(name)) & 0xffff;
		if (!i)
			looks = hash;
		if (hash == looks)
			memcpy(alike[t++], name, sizeof name);
	}
	for (unsigned t = 0; t < TOPICS; t++) {
		struct topic_model *model = &topic_models[t];
		int n;

		model->n = 0;
		if (t < ALIKE) {
			memcpy(model->name, alike[t], sizeof alike[t]);
			continue;
		}
		n = snprintf(model->name, sizeof model->name, "%u/", t);
		for (unsigned more = t % 5 ? t % 9 : t * 37 % 190; more; more--)
			model->name[n++] = (char)('a' + more % 26);
		model->name[n] = 0;
	}
	MODEL(!looks || (journal_hash(&journal, alike[ALIKE - 1], strlen(alike[ALIKE - 1])) &
			 0xffff) == looks);
}

static void topic_add(unsigned t, struct record record)
{
	struct topic_model *model = &topic_models[t];

	if (model->n == model->room) {
		model->room = 2 * model->room + 64;
		model->records = realloc(model->records, model->room * sizeof *model->records);
		EXPECT(model->records);
	}
	model->records[model->n++] = record;
	sums.records++;
}

/* The first record of a topic at or after this id. */
static unsigned topic_at(unsigned t, uint64_t id)
{
	const struct topic_model *model = &topic_models[t];
	unsigned low = 0, high = model->n;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (model->records[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- the protocol ---- */

static char payload_at(unsigned epoch, uint32_t size, uint32_t i)
{
	return (char)('a' + (i + epoch + size) % 26);
}

static int frame_header(const struct journal_entry *entry, char header[300])
{
	return snprintf(header, 300, "=%.*s %llu %u\n", entry->name_n, entry->bytes,
			(unsigned long long)entry->id, entry->payload_n);
}

static size_t plain_bytes(const struct journal_entry *entry)
{
	char header[300];

	return entry->payload_n ? (size_t)frame_header(entry, header) + entry->payload_n : 0;
}

static void plain_encode(const struct journal_entry *entry, unsigned char *to)
{
	char header[300];
	size_t n = entry->payload_n ? (size_t)frame_header(entry, header) : 0;

	memcpy(to, header, n);
	memcpy(to + n, journal_payload(entry), entry->payload_n);
}

static size_t wide_bytes(const struct journal_entry *entry)
{
	return plain_bytes(entry) + entry->payload_n;
}

static void wide_encode(const struct journal_entry *entry, unsigned char *to)
{
	char header[300];
	size_t n = entry->payload_n ? (size_t)frame_header(entry, header) : 0;

	memcpy(to, header, n);
	for (uint32_t i = 0; i < entry->payload_n; i++)
		to[n + 2 * i] = to[n + 2 * i + 1] = journal_payload(entry)[i];
}

static void tell_missing(struct conn *conn, const struct gap *gap)
{
	char line[300];
	int n = snprintf(line, sizeof line, "!%.*s %llu %llu %llu\n", (int)gap->topic_n, gap->topic,
			 (unsigned long long)gap->from, (unsigned long long)gap->to,
			 (unsigned long long)gap->records);

	conn_copy(conn, line, (size_t)n);
}

static const struct protocol sub_protocols[2]; /* plain, wide */
static const struct format plain_format = {"plain", plain_bytes, plain_encode, tell_missing};
static const struct format wide_format = {"wide", wide_bytes, wide_encode, tell_missing};

static struct client *client_of(const struct conn *conn)
{
	for (unsigned i = 0; i < clients_n; i++)
		if (clients[i].peer->fd == conn->source.fd ||
		    clients[i].peer->copy == conn->source.fd)
			return &clients[i];
	ck_abort_msg("whose connection is that?");
}

static uint32_t *list_of(struct conn *conn)
{
	return conn_state(conn);
}

static const struct format *format_of(const struct conn *conn)
{
	return conn->service->protocol == &sub_protocols[1] ? &wide_format : &plain_format;
}

/* Where a new subscription begins, as the model has it. */
static struct hearing hearing_from(unsigned client, unsigned t, struct since since)
{
	const struct topic_model *model = &topic_models[t];
	uint64_t floor = journal_floor(&journal);
	unsigned held = topic_at(t, floor);
	struct hearing hearing = {
	    .topic = t, .client = client, .next = model->n, .uncertain = held == model->n};

	if (since.kind == SINCE_LAST && since.n)
		hearing.next = model->n - held < since.n ? held : model->n - (unsigned)since.n;
	if (since.kind == SINCE_ID && since.n <= journal_end(&journal)) {
		hearing.next = topic_at(t, since.n);
		hearing.uncertain |= !since.number || since.n < floor;
	}
	return hearing;
}

/* Are there as many topics on this worker as there may be? */
static void expect_full(struct conn *conn)
{
	const struct delivery *delivery = delivery_of(conn);
	uint64_t floor = journal_floor(&journal);
	struct client *client = client_of(conn);
	unsigned n = 0, own = 0;

	for (unsigned i = 0; i < TOPICS; i++) {
		const struct topic_model *model = &topic_models[i];
		bool formats[2] = {false, false};

		own += subscribed[client - clients][i] != 0;
		for (unsigned c = 0; c < clients_n; c++)
			if (subscribed[c][i] && workers + clients[c].worker ==
						    CONTAINER_OF(delivery, struct worker, delivery))
				formats[clients[c].wide] = true;
		n += formats[0] + formats[1];
		n += !formats[0] && !formats[1] && model->n &&
		     model->records[model->n - 1].id >= floor;
	}
	/* Clients on their way count on both workers. */
	MODEL(own >= delivery->subscriptions.of_conn_max ||
	      n + 20 >= delivery->topics.pool.objects_max);
	sums.refused++;
}

static void do_subscribe(struct conn *conn, struct since since, const char *name)
{
	unsigned t = topic_named(name), c = (unsigned)(client_of(conn) - clients);
	struct hearing hearing;
	char answer[300];
	int n;

	if (subscribed[c][t])
		return;
	hearing = hearing_from(c, t, since);
	if (!subscribe(&delivery_of(conn)->subscriptions, conn, list_of(conn), name, strlen(name),
		       format_of(conn), since)) {
		expect_full(conn);
		n = snprintf(answer, sizeof answer, "-%s\n", name);
	} else {
		hearings = realloc(hearings, (++epochs + 1) * sizeof *hearings);
		EXPECT(hearings);
		hearings[epochs] = hearing;
		subscribed[c][t] = epochs;
		n = snprintf(answer, sizeof answer, "+%s %u\n", name, epochs);
	}
	conn_copy(conn, answer, (size_t)n);
}

static void do_unsubscribe(struct conn *conn, const char *name)
{
	unsigned t = topic_named(name), c = (unsigned)(client_of(conn) - clients);
	struct subscriptions *subscriptions = &delivery_of(conn)->subscriptions;
	uint32_t handle = subscription_find(subscriptions, *list_of(conn), name, strlen(name));
	char answer[300];
	int n;

	MODEL(!handle == !subscribed[c][t]);
	if (!handle)
		return;
	unsubscribe(subscriptions, list_of(conn), handle);
	subscribed[c][t] = 0;
	n = snprintf(answer, sizeof answer, "~%s\n", name);
	conn_copy(conn, answer, (size_t)n);
}

/* False: it has to wait. */
static bool do_publish(struct conn *conn, const char *name, uint32_t size)
{
	static char payload[SIZE_MOST];
	unsigned t = topic_named(name), c = (unsigned)(client_of(conn) - clients);
	struct delivery *delivery = delivery_of(conn);
	uint32_t handle =
	    subscription_find(&delivery->subscriptions, *list_of(conn), name, strlen(name));
	unsigned epoch = subscribed[c][t];
	struct journal_entry entry;

	if (!handle)
		return true;
	for (uint32_t i = 0; i < size; i++)
		payload[i] = payload_at(epoch, size, i);
	if (!delivery_say(delivery, handle, (struct iovec){payload, size / 2},
			  (struct iovec){payload + size / 2, size - size / 2}))
		return false;
	EXPECT(journal_find(&journal, journal_end(&journal) - 1, &entry) == JOURNAL_FOUND);
	MODEL(entry.payload_n == size && entry.name_n == strlen(name));
	topic_add(t, (struct record){entry.id, entry.previous, entry.number, epoch, size});
	return true;
}

/* False: it has to be said again. */
static bool do_command(struct conn *conn, char *line)
{
	char name[JOURNAL_TOPIC_MAX + 1];
	unsigned long long id, number;
	uint32_t size;

	if (sscanf(line, "N %200s", name) == 1)
		do_subscribe(conn, (struct since){.kind = SINCE_NOW}, name);
	else if (sscanf(line, "L %llu %200s", &id, name) == 2)
		do_subscribe(conn, (struct since){SINCE_LAST, id, 0}, name);
	else if (sscanf(line, "I %llu %llu %200s", &id, &number, name) == 3)
		do_subscribe(conn, (struct since){SINCE_ID, id, number}, name);
	else if (sscanf(line, "U %200s", name) == 1)
		do_unsubscribe(conn, name);
	else if (sscanf(line, "P %200s %u", name, &size) == 2)
		return do_publish(conn, name, size);
	return true;
}

static size_t sub_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	size_t used = 0;
	unsigned char *end;

	while (conn_is_open(conn) && used < n && (end = memchr(bytes + used, '\n', n - used))) {
		char line[300];
		size_t length = (size_t)(end - bytes) - used;

		EXPECT(length < sizeof line);
		memcpy(line, bytes + used, length);
		line[length] = 0;
		if (!do_command(conn, line))
			return used;
		used += length + 1;
		if (!conn_message_taken(conn))
			return used;
	}
	return conn_is_open(conn) ? used : n;
}

static void sub_produce(struct conn *conn)
{
	subscriptions_produce(&delivery_of(conn)->subscriptions, *list_of(conn), conn);
}

static void sub_close(struct conn *conn)
{
	unsubscribe_all(&delivery_of(conn)->subscriptions, list_of(conn));
}

static size_t sub_carried_bytes(const struct conn *conn)
{
	uint32_t list;

	memcpy(&list, conn->state, sizeof list);
	return subscriptions_bytes(&delivery_of(conn)->subscriptions, list);
}

static void sub_carry(const struct conn *conn, unsigned char *bytes)
{
	uint32_t list;

	memcpy(&list, conn->state, sizeof list);
	subscriptions_describe(&delivery_of(conn)->subscriptions, list, bytes);
}

static void sub_carried(struct conn *conn, const unsigned char *bytes, size_t n)
{
	if (!subscriptions_restore(&delivery_of(conn)->subscriptions, conn, list_of(conn), bytes, n,
				   format_of(conn)))
		conn_abort(conn, CLOSE_error);
}

#define SUB_PROTOCOL(its_name)                                                                     \
	{                                                                                          \
		.name = its_name, .state_bytes = sizeof(uint32_t), .state_version = 1,             \
		.input = sub_input, .produce = sub_produce, .close = sub_close,                    \
		.shares = &pubsub_kind, .carried_bytes = sub_carried_bytes, .carry = sub_carry,    \
		.carried_valid = subscriptions_are_valid, .carried = sub_carried                   \
	}

static const struct protocol sub_protocols[2] = {SUB_PROTOCOL("sub"), SUB_PROTOCOL("wide")};

#endif
