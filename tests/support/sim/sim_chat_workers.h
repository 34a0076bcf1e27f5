/*
 * sim_chat_workers: the workers of a chat on a simulated kernel, all in this process.
 *
 * Each has a loop, a table of connections and a delivery of its own; one journal joins them.
 * A worker runs only when the test tells it to, one pass at a time, in any order. The test owns the
 * struct; sim_chat_close() fails the test if a buffer, a member or a connection is left.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_CHAT_WORKERS_H
#define TESTS_SUPPORT_SIM_SIM_CHAT_WORKERS_H

#include "reactor/base/log.h"
#include "reactor/pubsub/delivery.h"
#include "tests/support/sim/kernel.h"

#ifndef SIM_CHAT_WORKERS
#define SIM_CHAT_WORKERS 3
#endif
#define SIM_CHAT_TOPICS 2

static const char *const sim_chat_topics[SIM_CHAT_TOPICS] = {"chat/one", "chat/the other"};

struct worker {
	struct stats stats;
	struct loop loop;
	struct conn_table table;
	struct delivery delivery;
	struct service services[SIM_CHAT_TOPICS];
	struct service echo; /* shares buffers with the chat */
};

struct sim_chat {
	struct journal journal;
	struct worker workers[SIM_CHAT_WORKERS];
	unsigned n; /* workers */
};

struct sim_chat_setting {
	unsigned workers;
	struct conn_limits limits;
	size_t buffers;
	uint64_t history;
	uint32_t slow, message_max;
	bool names;
	size_t turn_members; /* 0: the product's value */
};

#define SIM_CHAT_SETTING                                                                           \
	.workers = 2, .limits = {WORLD_LIMITS}, .buffers = BUFFERS_MIN,                            \
	.history = JOURNAL_HISTORY_MIN, .slow = 256 << 10, .message_max = 16000

static inline void worker_open(struct worker *worker, struct journal *journal, unsigned seat,
			       const struct sim_chat_setting *setting)
{
	const struct delivery_limits limits = {setting->slow, 1000, 10};

	*worker = (struct worker){.echo = {.protocol = protocol_find("echo")}};
	worker->echo.table = &worker->table;
	EXPECT(loop_open(&worker->loop, &worker->stats, 0) == 0);
	EXPECT(conn_table_open(&worker->table, &worker->loop, &setting->limits, setting->buffers) ==
	       0);
	EXPECT(delivery_open(&worker->delivery, &worker->loop, &worker->table, journal, seat,
			     &limits) == 0);
	if (setting->turn_members)
		worker->delivery.turn_members = setting->turn_members;
	for (uint16_t t = 0; t < SIM_CHAT_TOPICS; t++) {
		worker->services[t] =
		    (struct service){.protocol = protocol_find("chat"),
				     .table = &worker->table,
				     .topic = sim_chat_topics[t],
				     .settings = {setting->message_max, setting->names}};
		delivery_serve(&worker->delivery, &worker->services[t]);
	}
}

static inline void worker_pass(struct worker *worker)
{
	loop_pass(&worker->loop, 0);
}

/* Expects that no connection, member, chunk or segment is in use. */
static inline void worker_expect_free(struct worker *worker)
{
	kernel_advance(DELIVERY_REST_MS + 1);
	loop_wake(&worker->loop, &worker->delivery.source); /* it frees a chunk that was read */
	worker_pass(worker);
	EXPECT(worker->table.conns.used == 0 && worker->stats.connections == 0);
	EXPECT(worker->stats.members_joined == worker->stats.members_left);
	EXPECT(worker->delivery.subscriptions.pool.used == 0);
	EXPECT(worker->delivery.subscriptions.senders.used == 0);
	EXPECT(worker->stats.subscriptions == 0);
	EXPECT(!worker->delivery.topics.ready_first && !worker->delivery.batches_taken);
	EXPECT(worker->table.buffers.chunks.used == 0);
	EXPECT(worker->table.buffers.segments.used == 0);
	EXPECT(worker->table.awaiting_buffers == 0 && !worker->delivery.waiting);
}

static inline void worker_close(struct worker *worker)
{
	worker_expect_free(worker);
	conn_table_close(&worker->table);
	delivery_close(&worker->delivery);
	loop_close(&worker->loop);
}

static inline void sim_chat_open(struct sim_chat *chat, const struct sim_chat_setting *setting)
{
	kernel_begin();
	chat->n = setting->workers;
	EXPECT(journal_open(&chat->journal, chat->n, setting->history, 1) == 0);
	for (unsigned w = 0; w < chat->n; w++)
		worker_open(&chat->workers[w], &chat->journal, w, setting);
}

static inline void sim_chat_close(struct sim_chat *chat)
{
	for (unsigned w = 0; w < chat->n; w++)
		worker_close(&chat->workers[w]);
	journal_close(&chat->journal);
	kernel_end();
}

static inline struct peer *service_connect(struct service *service)
{
	int fd;
	struct peer *peer = peer_new(&fd);

	conn_open(service, fd, CONN_ACCEPTED, NULL);
	return peer;
}

static inline struct peer *sim_chat_connect(struct sim_chat *chat, unsigned worker, unsigned topic)
{
	return service_connect(&chat->workers[worker].services[topic]);
}

/* Runs all workers until there is nothing left to do now. */
static inline void sim_chat_run(struct sim_chat *chat)
{
	bool busy = true;

	for (int i = 0; busy; i++) {
		EXPECT_MSG(i < 100000, "the loops find no end");
		busy = kernel.ready_n;
		for (unsigned w = 0; w < chat->n; w++) {
			worker_pass(&chat->workers[w]);
			busy |= chat->workers[w].loop.first != NULL;
		}
	}
}

/* The same for ms milliseconds, after each of them. */
static inline void sim_chat_wait(struct sim_chat *chat, uint32_t ms)
{
	sim_chat_run(chat);
	for (; ms; ms--) {
		kernel_advance(1);
		sim_chat_run(chat);
	}
}

/* How many lines of a topic a worker has given to some of its clients, and not to all. */
static inline uint32_t sim_chat_under_way(struct sim_chat *chat, unsigned worker, unsigned topic)
{
	const struct topics *topics = &chat->workers[worker].delivery.topics;

	for (const struct topic *at = topics->ready_first; at; at = at->ready)
		if (at->batch && at->name_n == strlen(sim_chat_topics[topic]) &&
		    memcmp(at->name, sim_chat_topics[topic], at->name_n) == 0)
			return at->batch->records;
	return 0;
}

#define SIM_CHAT_SUM(chat, counter)                                                                \
	({                                                                                         \
		uint64_t sum_ = 0;                                                                 \
		for (unsigned w_ = 0; w_ < (chat)->n; w_++)                                        \
			sum_ += (chat)->workers[w_].stats.counter;                                 \
		sum_;                                                                              \
	})

#endif
