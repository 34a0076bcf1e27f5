/*
 * A model of topics: workers on one journal, and clients that subscribe to many topics, leave them,
 * come back with an id, publish, move to other workers and do not read, in random steps. Workers
 * stand still until the journal has gone on without them. What each client must hear is in
 * topics_model.h.
 *
 * What this can't see: workers that run at the same instant (check_journal).
 */
#include "tests/sim/pubsub/subscribers.h"

#define STEPS	 1000
#define WAYS_MAX 6

static uint64_t seed;
static struct {
	unsigned topics; /* that are used */
	uint32_t sizes;	 /* most payloads are smaller */
	bool stalls, moves, hoards, ages, one_format, few_topics;
	uint32_t slow;
} habits;

static unsigned stalled; /* this worker gets no pass; WORKERS: all do */
static struct chunk *hoard[4096];
static unsigned hoard_n;

/* Clients on their way. */
static struct way {
	struct client *client; /* NULL: none */
	struct conn *conn;
	struct load load;
	unsigned to;
	bool answered, taken;
} ways[WAYS_MAX];

/* ---- clients ---- */

static unsigned some_worker(void)
{
	return (unsigned)sim_below(&seed, WORKERS);
}

static struct client *somebody(void)
{
	unsigned open[CLIENTS_MAX], n = 0;

	for (unsigned i = 0; i < clients_n; i++)
		if (!clients[i].leaves && !clients[i].peer->closed)
			open[n++] = i;
	if (n < 4 || (n < 24 && clients_n < CLIENTS_MAX && !sim_below(&seed, 12)))
		return clients_n == CLIENTS_MAX
			   ? NULL
			   : client_new(some_worker(), !habits.one_format && !sim_below(&seed, 3));
	return &clients[open[sim_below(&seed, n)]];
}

/* Some topics are talked about more than others. */
static const char *some_topic(void)
{
	return topic_models[sim_below(&seed, 1 + sim_below(&seed, habits.topics))].name;
}

static const char *topic_of_client(const struct client *client)
{
	unsigned heard[TOPICS], n = 0;

	for (unsigned t = 0; t < habits.topics; t++)
		if (subscribed[client - clients][t])
			heard[n++] = t;
	return n ? topic_models[heard[sim_below(&seed, n)]].name : some_topic();
}

static uint32_t some_size(void)
{
	if (!sim_below(&seed, 8))
		return 0;
	if (!sim_below(&seed, 60))
		return 1 + (uint32_t)sim_below(&seed, SIZE_MOST);
	return 1 + (uint32_t)sim_below(&seed, 1 + sim_below(&seed, habits.sizes));
}

static void say_since(struct client *client)
{
	const char *name = some_topic();
	uint64_t end = journal_end(&journal), id = end - sim_below(&seed, end < 300 ? end : 300);
	const struct topic_model *model = &topic_models[topic_named(name)];
	unsigned at = topic_at(topic_named(name), id);
	uint64_t number = at && sim_below(&seed, 2) ? model->records[at - 1].number : 0;
	char line[300];
	int n;

	switch (sim_below(&seed, 4)) {
	case 0:
		n = snprintf(line, sizeof line, "L %zu %s\n", sim_below(&seed, 50), name);
		break;
	case 1: /* as it came with the last record that it heard */
		id = at ? model->records[at - 1].id + 1 : id;
		__attribute__((fallthrough));
	case 2:
		n = snprintf(line, sizeof line, "I %llu %llu %s\n", (unsigned long long)id,
			     (unsigned long long)number, name);
		break;
	default:
		n = snprintf(line, sizeof line, "N %s\n", name);
	}
	bytes_add(&client->says, line, (size_t)n);
}

static void client_say(struct client *client)
{
	char line[300];

	if (client->peer->in.n > 3000)
		return;
	for (size_t left = 1 + sim_below(&seed, 8); left; left--) {
		int n = 0;

		switch (sim_below(&seed, 10)) {
		case 0:
		case 1:
			say_since(client);
			break;
		case 2:
			if (sim_below(&seed, 2))
				n = snprintf(line, sizeof line, "U %s\n", topic_of_client(client));
			break;
		default:
			n = snprintf(line, sizeof line, "P %s %u\n", topic_of_client(client),
				     some_size());
		}
		bytes_add(&client->says, line, (size_t)n);
	}
	if (client->says.n) {
		size_t n =
		    sim_below(&seed, 3) ? client->says.n : 1 + sim_below(&seed, client->says.n);

		peer_send(client->peer, client->says.at + client->says.start, n);
		(void)bytes_take(&client->says, NULL, n);
	}
}

static void change_habits(struct client *client)
{
	client->deaf = !sim_below(&seed, 3);
	client->sip = sim_below(&seed, 2) ? 0 : 1 + sim_below(&seed, 5000);
	client->peer->space =
	    sim_below(&seed, 2) ? PEER_SPACE : 1 + sim_below(&seed, 1 + sim_below(&seed, 30000));
}

static void client_leave(struct client *client)
{
	client->leaves = true;
	if (sim_below(&seed, 2)) {
		peer_finish(client->peer);
		return;
	}
	client->was_reset = true;
	peer_reset(client->peer);
}

static void all_hear(void)
{
	for (unsigned i = 0; i < clients_n; i++)
		if (!clients[i].was_reset && (!clients[i].deaf || clients[i].peer->closed))
			client_hear(&clients[i], clients[i].sip && !clients[i].peer->closed
						     ? clients[i].sip
						     : SIZE_MAX);
}

/* ---- moves ---- */

static struct conn *conn_of_client(const struct client *client)
{
	struct pool *conns = &workers[client->worker].table.conns;
	struct conn *conn;
	size_t cursor = 0;

	while ((conn = pool_next(conns, &cursor)))
		if (conn->source.fd == client->peer->fd)
			return conn;
	ck_abort_msg("the connection is gone");
}

static void way_begin(void)
{
	struct client *client = somebody();
	struct way *way = NULL;

	for (unsigned i = 0; i < WAYS_MAX; i++)
		if (!ways[i].client)
			way = &ways[i];
	if (!way || !client || client->moves)
		return;
	*way = (struct way){.conn = conn_of_client(client), .to = some_worker()};
	if (way->to == client->worker || !conn_freeze(way->conn))
		return;
	way->client = client;
	client->moves = true;
	load_take(&way->load, way->conn, client->peer);
}

static void way_go_on(struct way *way, bool may_fail)
{
	struct client *client = way->client;

	if (!way->answered) {
		way->answered = true;
		if (may_fail && !sim_below(&seed, 5)) {
			EXPECT(sys_close(way->load.fd) == 0);
			free(way->load.bytes);
		} else {
			/* What was there before is not known there. */
			for (unsigned e = 1; e <= epochs; e++)
				hearings[e].moved |= hearings[e].client == client - clients;
			way->taken =
			    load_leave(&way->load, &workers[way->to].services[client->wide]);
		}
		return;
	}
	if (way->taken) {
		conn_depart(way->conn);
		client->worker = way->to;
		sums.moved++;
		if (client->peer->closed) { /* it had ended there by then */
			MODEL(habits.hoards || habits.slow || habits.few_topics);
			client->leaves = true;
			client->reason = CLOSE_error;
		}
	} else {
		conn_thaw(way->conn);
	}
	client->moves = false;
	way->client = NULL;
}

static void ways_go_on(bool may_fail)
{
	for (unsigned i = 0; i < WAYS_MAX; i++)
		if (ways[i].client && (!may_fail || sim_below(&seed, 2)))
			way_go_on(&ways[i], may_fail);
}

/* ---- steps ---- */

static void take_buffers(void)
{
	struct buffers *buffers = &workers[0].table.buffers;

	while (hoard_n)
		chunk_release(buffers, hoard[--hoard_n]);
	if (sim_below(&seed, 3))
		return;
	for (size_t left = sim_below(&seed, 20); pool_free(&buffers->chunks) > left;)
		hoard[hoard_n++] = chunk_new(buffers);
}

/* For so long that others no longer wait for it, now and then. */
static void stall(void)
{
	stalled = sim_below(&seed, 2) ? some_worker() : WORKERS;
	if (stalled < WORKERS && sim_below(&seed, 2))
		for (int i = 0; i < 12; i++) {
			for (unsigned w = 0; w < WORKERS; w++)
				if (w != stalled)
					worker_pass(w);
			kernel_advance(100);
		}
}

static void age(void)
{
	uint64_t floor = journal_floor(&journal), end = journal_end(&journal);

	journal_raise_floor(&journal, floor + sim_below(&seed, end - floor + 1));
}

static void random_step(void)
{
	struct client *client;
	unsigned w;

	switch (sim_below(&seed, 30)) {
	case 0:
		if ((client = somebody()))
			change_habits(client);
		break;
	case 1:
		if (!sim_below(&seed, 4) && (client = somebody()) && !client->moves)
			client_leave(client);
		break;
	case 2:
		if (habits.hoards && !sim_below(&seed, 4))
			take_buffers();
		break;
	case 3:
		kernel_advance((uint32_t)sim_below(&seed, 6));
		break;
	case 4:
		if (habits.stalls && !sim_below(&seed, 3))
			stall();
		break;
	case 5:
		if (habits.ages && !sim_below(&seed, 6))
			age();
		break;
	case 6:
		if (habits.moves)
			way_begin();
		break;
	case 7:
		ways_go_on(true);
		break;
	case 8:
	case 9:
	case 10:
	case 11:
	case 12:
	case 13:
	case 14:
		if ((client = somebody()))
			client_say(client);
		break;
	default:
		w = some_worker();
		if (w != stalled)
			worker_pass(w);
		all_hear();
	}
	step++;
}

/* ---- the end ---- */

static bool all_quiet(void)
{
	for (unsigned w = 0; w < WORKERS; w++)
		if (workers[w].loop.first || !workers[w].delivery.asleep ||
		    workers[w].delivery.waiting || workers[w].table.awaiting_buffers)
			return false;
	for (unsigned i = 0; i < clients_n; i++)
		if (!clients[i].was_reset &&
		    ((clients[i].peer->in.n && !clients[i].peer->closed) || clients[i].peer->out.n))
			return false;
	return !kernel.ready_n;
}

static void pass_until_quiet(void)
{
	for (int i = 0, quiet = 0; quiet < 30; i++) {
		MODEL(i < 30000);
		for (unsigned w = 0; w < WORKERS; w++)
			worker_pass(w);
		all_hear();
		kernel_advance(1);
		quiet = all_quiet() ? quiet + 1 : 0;
		step++;
	}
}

/* It has heard all; or the rest is gone, and nothing came after it that could have told so. */
static void check_hearing(const struct hearing *hearing)
{
	const struct topic_model *model = &topic_models[hearing->topic];
	unsigned next = hearing->next;

	while (next < model->n && (is_silent(hearing, &model->records[next]) ||
				   model->records[next].id < journal_floor(&journal)))
		next++;
	EXPECT_MSG(next == model->n,
		   "seed %llu: client %u on worker %u has not heard %llu of %s (%u), the last is "
		   "%llu",
		   (unsigned long long)seed_at_first, hearing->client,
		   clients[hearing->client].worker, (unsigned long long)model->records[next].id,
		   model->name, hearing->topic,
		   (unsigned long long)model->records[model->n - 1].id);
}

static void check_all(void)
{
	for (unsigned e = 1; e <= epochs; e++)
		if (hearings[e].hears && !clients[hearings[e].client].leaves &&
		    !clients[hearings[e].client].peer->closed)
			check_hearing(&hearings[e]);
	for (unsigned i = 0; i < clients_n; i++) {
		const struct client *client = &clients[i];

		if (client->leaves)
			continue;
		if (client->peer->closed)
			MODEL((habits.slow && client->reason == CLOSE_slow_consumer) ||
			      (habits.hoards && client->reason == CLOSE_no_buffers) ||
			      (habits.few_topics && client->reason == CLOSE_error));
		else
			MODEL(client->heard.n == 0);
		sums.slow += client->reason == CLOSE_slow_consumer;
		sums.no_buffers += client->reason == CLOSE_no_buffers;
	}
}

static void all_read(bool and_say)
{
	while (hoard_n)
		chunk_release(&workers[0].table.buffers, hoard[--hoard_n]);
	for (unsigned i = 0; i < clients_n; i++) {
		struct client *client = &clients[i];

		client->deaf = false;
		client->sip = 0;
		client->peer->space = PEER_SPACE;
		(void)peer_receive(client->peer, NULL, 0); /* announces the space, by an edge */
		if (and_say && client->says.n && !client->leaves && !client->peer->closed)
			peer_send(client->peer, client->says.at + client->says.start,
				  client->says.n);
		client->says.n = 0;
	}
}

/* With a drain at once, in which all that is in the journal has to reach everybody, too. */
static void finish(bool drains)
{
	stalled = WORKERS;
	ways_go_on(false);
	ways_go_on(false);
	if (!drains) {
		all_read(true);
		pass_until_quiet();
		check_all();
	}
	for (unsigned w = 0; drains && w < WORKERS; w++) {
		delivery_drain(&workers[w].delivery, false);
		conn_table_drain(&workers[w].table);
		delivery_close_doors(&workers[w].delivery);
		worker_pass(some_worker());
	}
	if (drains) {
		all_read(false);
		pass_until_quiet();
	}
	for (unsigned i = 0; i < clients_n; i++)
		if (!clients[i].leaves && !clients[i].peer->closed)
			peer_finish(clients[i].peer);
	pass_until_quiet();
	for (unsigned i = 0; i < clients_n; i++)
		MODEL(clients[i].peer->closed);
	for (unsigned e = 1; drains && e <= epochs; e++)
		if (hearings[e].hears && clients[hearings[e].client].reason == CLOSE_drained)
			check_hearing(&hearings[e]);
}

/* ---- a run ---- */

static void run(uint64_t number)
{
	static const uint32_t sizes[] = {30, 300, 3000, 20000};
	struct world_setting setting = SETTING_USUAL;

	bool drains;

	seed = seed_at_first = number * 2654435761u + 23;
	drains = !sim_below(&seed, 4);
	habits.topics = sim_below(&seed, 3) ? 2 + (unsigned)sim_below(&seed, 20) : TOPICS;
	habits.sizes = sizes[sim_below(&seed, 4)];
	habits.stalls = sim_below(&seed, 2);
	habits.moves = sim_below(&seed, 3);
	habits.hoards = !sim_below(&seed, 5);
	habits.ages = !sim_below(&seed, 3);
	habits.one_format = sim_below(&seed, 2);
	setting.turn_members = number % 2 ? 3 : 0;
	if (drains) /* never stops reading from a client that does not read: it may speak too late
		     */
		setting.limits.high_water = setting.limits.low_water = 1 << 30;
	if (habits.hoards)
		setting.buffers = BUFFERS_MIN;
	habits.slow = sim_below(&seed, 4) ? 0 : 20000 + (uint32_t)sim_below(&seed, 300000);
	if (habits.slow)
		setting.delivery.slow_bytes = habits.slow;
	habits.few_topics = !sim_below(&seed, 4);
	if (habits.few_topics)
		setting.delivery.topics_max = 40 + (uint32_t)sim_below(&seed, 60);
	if (!sim_below(&seed, 4))
		setting.delivery.of_conn_max = 1 + (uint32_t)sim_below(&seed, 5);
	all_open(&setting);
	stalled = WORKERS;
	while (step < STEPS)
		random_step();
	finish(drains);
	all_close();
}

static void run_many(unsigned long n)
{
	const char *only = getenv("SIM_SEED"); /* runs only the run with this number */

	for (unsigned long i = 0; i < n; i++)
		if (!only || strtoul(only, NULL, 10) == i)
			run(i);
	(void)printf(
	    "FIGURE %lu runs of %d steps: %llu records published, %llu heard, %llu of them "
	    "replayed; %llu gaps of %llu records; %llu clients moved; %llu refused; "
	    "left behind %llu times, waited %llu times; closed: slow_consumer %llu, "
	    "no_buffers %llu\n",
	    n, STEPS, (unsigned long long)sums.records, (unsigned long long)sums.heard,
	    (unsigned long long)sums.replayed, (unsigned long long)sums.gaps,
	    (unsigned long long)sums.lost, (unsigned long long)sums.moved,
	    (unsigned long long)sums.refused, (unsigned long long)sums.left_behind,
	    (unsigned long long)sums.waits, (unsigned long long)sums.slow,
	    (unsigned long long)sums.no_buffers);
	(void)fflush(stdout);
	if (only || n < 50) /* a sanitized build: few runs need not meet all of these */
		return;
	ck_assert_uint_gt(sums.gaps, 0);
	ck_assert_uint_gt(sums.moved, 0);
	ck_assert_uint_gt(sums.refused, 0);
	ck_assert_uint_gt(sums.left_behind, 0);
	ck_assert_uint_gt(sums.slow, 0);
}

START_TEST(each_hears_its_topics_once_and_in_order)
{
	run_many(60);
}
END_TEST

START_TEST(each_hears_its_topics_in_many_runs)
{
	run_many(suite_volume(2000));
}
END_TEST

SUITE("sim_topics",
      {"each hears its topics, once and in order", each_hears_its_topics_once_and_in_order, 60},
      {"each hears its topics, in many runs", each_hears_its_topics_in_many_runs, 200,
       .kind = SUITE_LONG})
