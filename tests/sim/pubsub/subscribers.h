/*
 * subscribers: workers on one simulated journal, and clients that hear what topics_model.h says.
 *
 * One world at a time: all_open() to all_close(), which fails the test if a connection, a
 * subscription or a buffer is left.
 */
#ifndef TESTS_SIM_PUBSUB_SUBSCRIBERS_H
#define TESTS_SIM_PUBSUB_SUBSCRIBERS_H

#include "tests/sim/pubsub/topics_model.h"

/* ---- workers ---- */

struct world_setting {
	uint64_t history;
	size_t buffers, turn_members;
	struct conn_limits limits;
	struct delivery_limits delivery;
};

#define SETTING_USUAL                                                                              \
	{                                                                                          \
		.history = JOURNAL_HISTORY_MIN, .buffers = 16 * BUFFERS_MIN,                       \
		.limits = {.high_water = 256 << 10,                                                \
			   .low_water = 64 << 10,                                                  \
			   .connections_max = CLIENTS_MAX},                                        \
		.delivery = {                                                                      \
			1 << 30,                                                                   \
			1000,                                                                      \
			20                                                                         \
		}                                                                                  \
	}

static uint64_t known_reasons[WORKERS][CLOSE_REASONS_MAX];

/* A connection has gone; perhaps to another worker. */
static void keep_reason(struct conn_table *table)
{
	struct worker *worker = CONTAINER_OF(table, struct worker, table);
	uint64_t *known = known_reasons[worker - workers];

	for (unsigned i = 0; i < clients_n; i++) {
		if (!clients[i].peer->closed || clients[i].reason ||
		    clients[i].worker != (unsigned)(worker - workers))
			continue;
		for (int reason = 1; reason < CLOSE_REASONS_MAX; reason++)
			if (worker->stats.closed[reason] != known[reason])
				clients[i].reason = (enum close_reason)reason;
		memset(subscribed[i], 0, sizeof subscribed[i]);
	}
	memcpy(known, worker->stats.closed, sizeof worker->stats.closed);
}

static inline void worker_open(struct worker *worker, const struct world_setting *setting)
{
	*worker = (struct worker){0};
	EXPECT(loop_open(&worker->loop, &worker->stats, 0) == 0);
	EXPECT(conn_table_open(&worker->table, &worker->loop, &setting->limits, setting->buffers) ==
	       0);
	EXPECT(delivery_open(&worker->delivery, &worker->loop, &worker->table, &journal,
			     (unsigned)(worker - workers), &setting->delivery) == 0);
	if (setting->turn_members)
		worker->delivery.turn_members = setting->turn_members;
	worker->table.on_room = keep_reason;
	for (unsigned i = 0; i < 2; i++) {
		worker->services[i] =
		    (struct service){.protocol = &sub_protocols[i], .table = &worker->table};
		delivery_serve(&worker->delivery, &worker->services[i]);
	}
}

/* The key of the hash is always the same. */
static inline void all_open(const struct world_setting *setting)
{
	log_open(LOG_ERROR, LOG_LOGFMT);
	kernel_begin();
	EXPECT(journal_open(&journal, WORKERS, setting->history, 1) == 0);
	header_of(&journal)->key[0] = header_of(&journal)->key[1] = 1;
	for (unsigned w = 0; w < WORKERS; w++)
		worker_open(&workers[w], setting);
	topics_name();
	memset(clients, 0, sizeof clients);
	memset(epochs_of, 0, sizeof epochs_of);
	memset(subscribed, 0, sizeof subscribed);
	memset(known_reasons, 0, sizeof known_reasons);
	clients_n = epochs = step = 0;
}

static inline void worker_pass(unsigned w)
{
	loop_pass(&workers[w].loop, 0);
}

static inline void worker_expect_free(struct worker *worker)
{
	kernel_advance(DELIVERY_REST_MS + 1);
	loop_wake(&worker->loop, &worker->delivery.source); /* it frees a chunk that was read */
	loop_pass(&worker->loop, 0);
	EXPECT(worker->table.conns.used == 0 && worker->stats.connections == 0);
	EXPECT(worker->stats.members_joined == worker->stats.members_left);
	EXPECT(worker->stats.subscriptions == 0);
	EXPECT(worker->delivery.subscriptions.pool.used == 0);
	EXPECT(worker->delivery.subscriptions.senders.used == 0);
	EXPECT(!worker->delivery.topics.ready_first && !worker->delivery.batches_taken);
	EXPECT(!worker->delivery.topics.round_left && !worker->delivery.topics.round_next);
	EXPECT(worker->table.buffers.chunks.used == 0);
	EXPECT(worker->table.buffers.segments.used == 0);
	EXPECT(worker->table.awaiting_buffers == 0 && !worker->delivery.waiting);
}

static inline void all_close(void)
{
	for (unsigned w = 0; w < WORKERS; w++) {
		worker_expect_free(&workers[w]);
		for (int kind = 0; kind < TOPIC_LABELS; kind++) /* those that are left have none */
			EXPECT(workers[w].delivery.topics.labels[kind].used == 0);
		sums.left_behind += workers[w].stats.left_behind;
		sums.waits += workers[w].stats.publish_waits;
		sums.replayed += workers[w].stats.replayed;
		conn_table_close(&workers[w].table);
		delivery_close(&workers[w].delivery);
		loop_close(&workers[w].loop);
	}
	for (unsigned i = 0; i < clients_n; i++) {
		free(clients[i].says.at);
		free(clients[i].heard.at);
	}
	free(hearings);
	hearings = NULL;
	journal_close(&journal);
	kernel_end();
}

static struct client *client_new(unsigned worker, unsigned wide)
{
	struct client *client = &clients[clients_n];
	int fd;

	*client = (struct client){.worker = worker, .wide = wide, .peer = peer_new(&fd)};
	clients_n++;
	conn_open(&workers[worker].services[wide], fd, CONN_ACCEPTED, NULL);
	return client;
}

/* ---- what clients hear ---- */

/* A record of its own, or without bytes: it does not come. */
static bool is_silent(const struct hearing *hearing, const struct record *record)
{
	return !record->size || &hearings[record->epoch] == hearing;
}

static void hear_record(struct hearing *hearing, uint64_t id)
{
	const struct topic_model *model = &topic_models[hearing->topic];

	while (hearing->next < model->n && is_silent(hearing, &model->records[hearing->next]))
		hearing->next++;
	EXPECT_MSG(
	    hearing->next < model->n && model->records[hearing->next].id == id,
	    "seed %llu, step %u: client %u hears %llu of %s (%u), not %llu",
	    (unsigned long long)seed_at_first, step, hearing->client, (unsigned long long)id,
	    model->name, hearing->topic,
	    (unsigned long long)(hearing->next < model->n ? model->records[hearing->next].id : 0));
	hearing->next++;
	hearing->uncertain = false;
	sums.heard++;
}

/* What is told to be missing is gone, and is counted if that can be known. */
static void hear_gap(struct hearing *hearing, uint64_t from, uint64_t to, uint64_t records)
{
	const struct topic_model *model = &topic_models[hearing->topic];
	unsigned first = topic_at(hearing->topic, from), end = topic_at(hearing->topic, to);
	bool uncertain = hearing->uncertain || hearing->moved;

	for (unsigned i = first; i <= end && i < model->n; i++) /* its writer did not know it */
		uncertain |= !model->records[i].previous;
	for (; hearing->next < first; hearing->next++)
		MODEL(is_silent(hearing, &model->records[hearing->next]));
	MODEL(hearing->next <= end);
	for (unsigned i = first; i < end; i++)
		MODEL(model->records[i].id < journal_floor(&journal));
	EXPECT_MSG(records == end - first || (!records && uncertain),
		   "seed %llu, step %u: client %u misses %llu records of %s (%u) from %llu to "
		   "%llu, not %u",
		   (unsigned long long)seed_at_first, step, hearing->client,
		   (unsigned long long)records, model->name, hearing->topic,
		   (unsigned long long)from, (unsigned long long)to, end - first);
	MODEL(records || uncertain);
	sums.gaps++;
	sums.lost += end - first;
	hearing->next = end;
	hearing->uncertain = !records;
}

/* The n bytes of a line have come, and its end. Returns how many bytes follow it. */
static size_t hear_line(struct client *client, const char *line)
{
	unsigned c = (unsigned)(client - clients), size = 0, epoch = 0, t;
	unsigned long long id = 0, to = 0, records = 0;
	char name[JOURNAL_TOPIC_MAX + 1] = "";

	(void)sscanf(line + 1, "%200s", name);
	t = topic_named(name);
	switch (*line) {
	case '+':
		MODEL(sscanf(line + 1, "%200s %u", name, &epoch) == 2 && !epochs_of[c][t]);
		epochs_of[c][t] = epoch;
		hearings[epoch].hears = true;
		return 0;
	case '~':
		MODEL(epochs_of[c][t]);
		hearings[epochs_of[c][t]].hears = false;
		epochs_of[c][t] = 0;
		return 0;
	case '-':
		MODEL(!epochs_of[c][t]);
		return 0;
	case '!':
		MODEL(sscanf(line + 1, "%200s %llu %llu %llu", name, &id, &to, &records) == 4);
		MODEL(epochs_of[c][t]);
		hear_gap(&hearings[epochs_of[c][t]], id, to, records);
		return 0;
	default:
		MODEL(*line == '=' && sscanf(line + 1, "%200s %llu %u", name, &id, &size) == 3);
		return (size_t)size << client->wide;
	}
}

static void hear_payload(struct client *client, const char *line, const unsigned char *payload)
{
	unsigned c = (unsigned)(client - clients), size = 0, epoch, t;
	char name[JOURNAL_TOPIC_MAX + 1] = "";
	unsigned long long id = 0;

	(void)sscanf(line + 1, "%200s %llu %u", name, &id, &size);
	t = topic_named(name);
	MODEL(epochs_of[c][t]);
	hear_record(&hearings[epochs_of[c][t]], id);
	epoch = topic_models[t].records[hearings[epochs_of[c][t]].next - 1].epoch;
	for (uint32_t i = 0; i < size << client->wide; i++)
		MODEL(payload[i] == (unsigned char)payload_at(epoch, size, i >> client->wide));
}

static void client_hear(struct client *client, size_t most)
{
	static unsigned char bytes[PEER_SPACE];
	unsigned char *end;

	bytes_add(&client->heard, bytes,
		  peer_receive(client->peer, bytes, most < sizeof bytes ? most : sizeof bytes));
	while (client->heard.n &&
	       (end = memchr(client->heard.at + client->heard.start, '\n', client->heard.n))) {
		unsigned char *at = client->heard.at + client->heard.start;
		size_t n = (size_t)(end - at), more;
		char line[300];

		MODEL(n < sizeof line);
		memcpy(line, at, n);
		line[n] = 0;
		if (*line == '=') {
			more = hear_line(client, line);
			if (client->heard.n < n + 1 + more)
				return;
			hear_payload(client, line, end + 1);
		} else {
			more = hear_line(client, line);
		}
		(void)bytes_take(&client->heard, NULL, n + 1 + more);
	}
}

#endif
