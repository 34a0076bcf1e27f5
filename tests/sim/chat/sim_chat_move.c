/*
 * Chat whose clients move: workers on one bus, clients that talk all the time, and, in random
 * steps, batches of clients that are on their way between two workers for any time, and are then
 * taken, taken in part, refused, or lost with the worker that had just received them. Workers are
 * replaced by others in other seats, as in a reload. What a client must hear is in
 * chat_move_model.h.
 */
#include "tests/sim/chat/chat_move_model.h"

#define TWINS	    (SIM_CHAT_WORKERS / 2)
#define STEPS	    1500
#define BATCH_MAX   8
#define BATCHES_MAX 4

static bool alive[SIM_CHAT_WORKERS], leaving[SIM_CHAT_WORKERS];
static uint64_t sluggish_until_us;
static unsigned sluggish; /* the worker that gets no turn for now */

/* Clients that are under way together. */
static struct batch {
	bool used, answered;
	unsigned from, to, n, taken; /* taken: a bit for each client */
	struct client *clients[BATCH_MAX];
	struct conn *conns[BATCH_MAX];
	struct load loads[BATCH_MAX];
	uint64_t marks[BUS_SEATS_MAX];
	unsigned marks_n;
} batches[BATCHES_MAX];

/* ---- moves ---- */

static struct conn *conn_of_client(const struct client *client)
{
	struct pool *conns = &chat.workers[client->worker].table.conns;
	struct conn *conn;
	size_t cursor = 0;

	while ((conn = pool_next(conns, &cursor)))
		if (conn->source.fd == client->peer->fd)
			return conn;
	ck_abort_msg("the connection is gone");
}

static void batch_gather(struct batch *batch)
{
	for (unsigned i = 0; i < clients_n && batch->n < BATCH_MAX; i++) {
		struct client *client = &clients[i];
		struct conn *conn;

		if (client->worker != batch->from || client->peer->closed || client->moves ||
		    sim_below(&seed, 3) == 0)
			continue;
		conn = conn_of_client(client);
		if (!conn_freeze(conn))
			continue;
		batch->clients[batch->n] = client;
		batch->conns[batch->n++] = conn;
		client->moves = true;
	}
}

static void batch_end(struct batch *batch)
{
	for (unsigned i = 0; i < batch->n; i++) {
		struct client *client = batch->clients[i];

		client->moves = false;
		if (batch->taken >> i & 1) {
			conn_depart(batch->conns[i]);
			client->worker = batch->to;
			sums.moved++;
		} else {
			conn_thaw(batch->conns[i]);
		}
	}
	batch->used = false;
}

static void batch_send(unsigned from, unsigned to)
{
	struct batch *batch = NULL;

	for (int i = 0; i < BATCHES_MAX; i++)
		if (!batches[i].used)
			batch = &batches[i];
	if (!batch)
		return;
	batch->used = true;
	batch->answered = false;
	batch->from = from;
	batch->to = to;
	batch->n = batch->taken = 0;
	batch_gather(batch);
	if (batch->n && relay_mark(&chat.workers[from].relay, batch->marks, &batch->marks_n)) {
		for (unsigned i = 0; i < batch->n; i++)
			load_take(&batch->loads[i], batch->conns[i], batch->clients[i]->peer);
		return;
	}
	sums.not_marked += batch->n != 0;
	batch_end(batch);
}

static void batch_refuse(struct batch *batch, unsigned i)
{
	EXPECT(sys_close(batch->loads[i].fd) == 0);
	free(batch->loads[i].bytes);
}

/* The receiver takes all of the batch, some of it, or nothing. */
static void batch_take(struct batch *batch)
{
	struct worker *worker = &chat.workers[batch->to];
	bool lost = !sim_below(&seed, 10), caught_up = false;

	batch->answered = true;
	if (lost && sim_below(&seed, 2)) {
		sums.lost++;
	} else {
		caught_up = relay_catch_up(&worker->relay, batch->marks, batch->marks_n, batch->n);
		sums.refused += !caught_up;
		for (size_t i = 0; i < worker->relay.replay.n; i++)
			sums.replayed += worker->relay.replay.pieces[i].lines;
	}
	for (unsigned i = 0; i < batch->n; i++) {
		struct service *service = &worker->services[batch->clients[i]->topic];

		if (!caught_up || lost || !sim_below(&seed, 10))
			batch_refuse(batch, i);
		else if (load_leave(&batch->loads[i], service))
			batch->taken |= 1u << i;
	}
	if (caught_up)
		relay_end_catch_up(&worker->relay);
}

static void batch_answer(struct batch *batch)
{
	batch_end(batch);
	relay_unmark(&chat.workers[batch->from].relay);
}

static void batches_go_on(unsigned one_in)
{
	for (int i = 0; i < BATCHES_MAX; i++) {
		struct batch *batch = &batches[i];

		if (!batch->used || sim_below(&seed, one_in))
			continue;
		if (batch->answered)
			batch_answer(batch);
		else
			batch_take(batch);
	}
}

/* ---- workers ---- */

static const struct sim_chat_setting *setting_now;

static unsigned some_worker(bool that_stays)
{
	unsigned worker;

	do
		worker = (unsigned)sim_below(&seed, SIM_CHAT_WORKERS);
	while (!alive[worker] || (that_stays && leaving[worker]));
	return worker;
}

static void worker_replace(unsigned worker)
{
	unsigned twin = (worker + TWINS) % SIM_CHAT_WORKERS;

	if (alive[twin])
		return;
	EXPECT(bus_use_seats(&chat.bus, twin + 1) == 0);
	worker_open(&chat.workers[twin], &chat.bus, twin, setting_now);
	alive[twin] = leaving[worker] = true;
}

static void count_worker(const struct worker *worker)
{
	const struct stats *stats = &worker->stats;

	MODEL(stats->missed == 0 && stats->left_behind == 0);
	for (int reason = 0; reason < CLOSE_REASONS_MAX; reason++)
		MODEL(stats->closed[reason] == 0 || reason == CLOSE_eof);
	sums.waits += stats->publish_waits;
}

static void worker_end_if_empty(unsigned worker)
{
	if (chat.workers[worker].table.conns.used || chat.workers[worker].relay.waiting)
		return;
	for (int i = 0; i < BATCHES_MAX; i++)
		if (batches[i].used && (batches[i].from == worker || batches[i].to == worker))
			return;
	for (int i = 0; i < 3 || !chat.workers[worker].relay.asleep; i++) {
		kernel_advance(RELAY_REST_MS + 1);
		loop_wake(&chat.workers[worker].loop, &chat.workers[worker].relay.source);
		worker_pass(&chat.workers[worker]);
	}
	count_worker(&chat.workers[worker]);
	worker_close(&chat.workers[worker]);
	alive[worker] = leaving[worker] = false;
	sums.reloads++;
}

static void move_some(void)
{
	unsigned from = some_worker(false), to = some_worker(true);

	for (unsigned w = 0; w < SIM_CHAT_WORKERS; w++)
		if (leaving[w] && sim_below(&seed, 2))
			from = w;
	if (from != to)
		batch_send(from, to);
}

static void workers_pass(void)
{
	for (unsigned w = 0; w < SIM_CHAT_WORKERS; w++) {
		if (!alive[w] || w == sluggish)
			continue;
		worker_pass(&chat.workers[w]);
		if (leaving[w])
			worker_end_if_empty(w);
	}
}

/* ---- a run ---- */

static void be_sluggish(unsigned worker)
{
	sluggish = worker;
	sluggish_until_us = kernel.now_us + 200000;
}

static struct client *somebody(void)
{
	struct client *client = &clients[sim_below(&seed, clients_n)];

	return client->peer->closed ? NULL : client;
}

/* Chooses another worker to get no turn for now, or none; now and then lets all holds time out. */
static void someone_is_sluggish(void)
{
	be_sluggish(SIM_CHAT_WORKERS);
	if (sim_below(&seed, 3)) {
		be_sluggish((unsigned)sim_below(&seed, SIM_CHAT_WORKERS));
	} else if (!sim_below(&seed, 6)) {
		kernel_advance(RELAY_HOLD_MS + 1);
		for (int i = 0; i < 3 * RELAY_REST_MS; i++) { /* so that all read again */
			workers_pass();
			kernel_advance(1);
		}
	}
}

static void random_step(void)
{
	struct client *client = somebody();
	unsigned worker;

	switch (sim_below(&seed, 32)) {
	case 0:
		if (clients_n < CLIENTS_MAX)
			client_new(some_worker(true), (unsigned)sim_below(&seed, SIM_CHAT_TOPICS));
		break;
	case 1:
		if (client && !client->says.n && !sim_below(&seed, 4) && !client->leaves) {
			client->leaves = true;
			peer_finish(client->peer);
		}
		break;
	case 2:
		if (client)
			client->peer->space =
			    sim_below(&seed, 2) ? PEER_SPACE : 1 + sim_below(&seed, 9000);
		break;
	case 3:
		kernel_advance((uint32_t)sim_below(&seed, 6));
		break;
	case 4:
		someone_is_sluggish();
		break;
	case 5:
		if (!sim_below(&seed, 6))
			worker_replace(some_worker(true));
		break;
	case 6:
	case 7:
	case 8:
		move_some();
		break;
	case 9:
	case 10:
	case 11:
	case 12:
		batches_go_on(2);
		break;
	case 13:
	case 14:
		all_hear();
		break;
	case 15:
		workers_pass();
		break;
	case 16:
	case 17:
	case 18:
	case 19:
	case 20:
	case 21:
	case 22:
		if (client)
			client_say(client);
		break;
	default:
		if ((worker = some_worker(false)) != sluggish)
			worker_pass(&chat.workers[worker]);
	}
	if (kernel.now_us > sluggish_until_us) /* any longer, and it would be left behind */
		sluggish = SIM_CHAT_WORKERS;
	step++;
}

static bool all_quiet(void)
{
	for (unsigned i = 0; i < clients_n; i++)
		if ((clients[i].peer->in.n && !clients[i].peer->closed) || clients[i].peer->out.n)
			return false;
	for (unsigned w = 0; w < SIM_CHAT_WORKERS; w++)
		if (alive[w] && (chat.workers[w].loop.first || chat.workers[w].relay.waiting))
			return false;
	return !kernel.ready_n;
}

static void pass_until_quiet(void)
{
	for (int i = 0, quiet = 0; quiet < 30; i++) {
		MODEL(i < 30000);
		workers_pass();
		all_hear();
		kernel_advance(1);
		quiet = all_quiet() ? quiet + 1 : 0;
		step++;
	}
}

static void finish(void)
{
	sluggish = SIM_CHAT_WORKERS;
	while (batches[0].used || batches[1].used || batches[2].used || batches[3].used)
		batches_go_on(1);
	for (unsigned i = 0; i < clients_n; i++) {
		clients[i].sip = 0;
		clients[i].peer->space = PEER_SPACE;
		(void)peer_receive(clients[i].peer, NULL, 0);
		if (!clients[i].leaves && clients[i].says.n)
			client_send(&clients[i], clients[i].says.n);
	}
	pass_until_quiet();
	for (unsigned i = 0; i < clients_n; i++)
		if (!clients[i].leaves)
			check_client(&clients[i]);
	for (unsigned i = 0; i < clients_n; i++)
		if (!clients[i].leaves)
			peer_finish(clients[i].peer);
	pass_until_quiet();
	for (unsigned i = 0; i < clients_n; i++) {
		MODEL(clients[i].peer->closed);
		sums.lines += clients[i].said;
		free(clients[i].says.at);
		free(clients[i].heard.at);
	}
}

static void run(uint64_t number)
{
	struct sim_chat_setting setting = {SIM_CHAT_SETTING};

	seed = seed_at_first = number * 2654435761u + 17;
	setting.workers = TWINS;
	setting.slow = 8 << 20;
	setting.limits.connections_max = CLIENTS_MAX;
	busy = !sim_below(&seed, 3);
	if (busy ||
	    sim_below(&seed, 2)) /* so much memory that no client is closed for lack of it */
		setting.buffers = 64 * BUFFERS_MIN;
	sluggish = SIM_CHAT_WORKERS;
	setting_now = &setting;
	setting.turn_members = number % 2 ? 3 : 0;
	sim_chat_open(&chat, &setting);
	for (unsigned w = 0; w < SIM_CHAT_WORKERS; w++) {
		alive[w] = w < TWINS;
		leaving[w] = false;
	}
	step = clients_n = 0;
	memset(clients, 0, sizeof clients);
	for (unsigned i = 0; i < 12; i++)
		client_new(i % TWINS, i % SIM_CHAT_TOPICS);
	while (step < STEPS)
		random_step();
	finish();
	for (unsigned w = 0; w < SIM_CHAT_WORKERS; w++) {
		if (!alive[w])
			continue;
		count_worker(&chat.workers[w]);
		worker_close(&chat.workers[w]);
	}
	bus_close(&chat.bus);
	kernel_end();
}

static void run_many(unsigned long n)
{
	const char *only = getenv("SIM_SEED"); /* runs only the run with this number */

	log_open(LOG_ERROR, LOG_LOGFMT);
	for (unsigned long i = 0; i < n; i++)
		if (!only || strtoul(only, NULL, 10) == i)
			run(i);
	(void)printf(
	    "FIGURE %lu runs of %d steps: %llu lines said, %llu heard, %llu clients moved, "
	    "%llu lines replayed, %llu batches refused, %llu lost, %llu not marked, "
	    "%llu workers replaced; waited for space %llu times\n",
	    n, STEPS, (unsigned long long)sums.lines, (unsigned long long)sums.heard,
	    (unsigned long long)sums.moved, (unsigned long long)sums.replayed,
	    (unsigned long long)sums.refused, (unsigned long long)sums.lost,
	    (unsigned long long)sums.not_marked, (unsigned long long)sums.reloads,
	    (unsigned long long)sums.waits);
	(void)fflush(stdout);
	if (only)
		return;
	ck_assert_uint_gt(sums.moved, 0);
	ck_assert_uint_gt(sums.replayed, 0);
	ck_assert(sums.refused || suite_sanitized());
	ck_assert_uint_gt(sums.lost, 0);
	ck_assert_uint_gt(sums.waits, 0);
	ck_assert_uint_gt(sums.reloads, 0);
}

START_TEST(each_line_reaches_each_client_once)
{
	run_many(24);
}
END_TEST

START_TEST(each_line_reaches_each_client_once_in_many_runs)
{
	run_many(suite_sanitized() ? 24 : 80);
}
END_TEST

SUITE("sim_chat_move",
      {"each line reaches each client once", each_line_reaches_each_client_once, 60},
      {"each line reaches each client once, in many runs",
       each_line_reaches_each_client_once_in_many_runs, 120, .kind = SUITE_LONG})
