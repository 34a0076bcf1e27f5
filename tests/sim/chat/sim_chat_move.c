/*
 * Chat whose clients move: workers on one journal, clients that talk all the time, and, in random
 * steps, convoys of clients that are on their way between two workers for any time, and are then
 * taken, taken in part, refused, or lost with the worker that had just received them. Workers are
 * replaced by others in other seats, as in a reload. What a client must hear is in
 * chat_move_model.h.
 */
#include "tests/sim/chat/chat_move_model.h"

#define TWINS	    (SIM_CHAT_WORKERS / 2)
#define STEPS	    1500
#define CONVOY_MAX  8
#define CONVOYS_MAX 4

static bool alive[SIM_CHAT_WORKERS], leaving[SIM_CHAT_WORKERS];
static uint64_t sluggish_until_us;
static unsigned sluggish; /* the worker that gets no turn for now */

/* Clients that are under way together. */
static struct convoy {
	bool used, answered;
	unsigned from, to, n, taken; /* taken: a bit for each client */
	struct client *clients[CONVOY_MAX];
	struct conn *conns[CONVOY_MAX];
	struct load loads[CONVOY_MAX];
} convoys[CONVOYS_MAX];

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

static void convoy_gather(struct convoy *convoy)
{
	for (unsigned i = 0; i < clients_n && convoy->n < CONVOY_MAX; i++) {
		struct client *client = &clients[i];
		struct conn *conn;

		if (client->worker != convoy->from || client->peer->closed || client->moves ||
		    sim_below(&seed, 3) == 0)
			continue;
		conn = conn_of_client(client);
		if (!conn_freeze(conn))
			continue;
		convoy->clients[convoy->n] = client;
		convoy->conns[convoy->n++] = conn;
		client->moves = true;
	}
}

static void convoy_end(struct convoy *convoy)
{
	for (unsigned i = 0; i < convoy->n; i++) {
		struct client *client = convoy->clients[i];

		client->moves = false;
		if (convoy->taken >> i & 1) {
			conn_depart(convoy->conns[i]);
			client->worker = convoy->to;
			sums.moved++;
		} else {
			conn_thaw(convoy->conns[i]);
		}
	}
	convoy->used = false;
}

static void convoy_send(unsigned from, unsigned to)
{
	struct convoy *convoy = NULL;

	for (int i = 0; i < CONVOYS_MAX; i++)
		if (!convoys[i].used)
			convoy = &convoys[i];
	if (!convoy)
		return;
	convoy->used = true;
	convoy->answered = false;
	convoy->from = from;
	convoy->to = to;
	convoy->n = convoy->taken = 0;
	convoy_gather(convoy);
	for (unsigned i = 0; i < convoy->n; i++)
		load_take(&convoy->loads[i], convoy->conns[i], convoy->clients[i]->peer);
	convoy->used = convoy->n;
}

static void convoy_refuse(struct convoy *convoy, unsigned i)
{
	EXPECT(sys_close(convoy->loads[i].fd) == 0);
	free(convoy->loads[i].bytes);
}

/* The receiver takes all of the convoy, some of it, or nothing. */
static void convoy_take(struct convoy *convoy)
{
	struct worker *worker = &chat.workers[convoy->to];
	bool lost = !sim_below(&seed, 10);

	convoy->answered = true;
	sums.lost += lost;
	for (unsigned i = 0; i < convoy->n; i++) {
		struct service *service = &worker->services[convoy->clients[i]->topic];

		if (lost || !sim_below(&seed, 10)) {
			convoy_refuse(convoy, i);
			sums.refused++;
		} else if (load_leave(&convoy->loads[i], service)) {
			convoy->taken |= 1u << i;
		}
	}
}

static void convoys_go_on(unsigned one_in)
{
	for (int i = 0; i < CONVOYS_MAX; i++) {
		struct convoy *convoy = &convoys[i];

		if (!convoy->used || sim_below(&seed, one_in))
			continue;
		if (convoy->answered)
			convoy_end(convoy);
		else
			convoy_take(convoy);
	}
}

/* ---- workers ---- */

static const struct sim_chat_setting *setting_now;
/* The history is so small that those who talk wait for readers. Then no workers are replaced, each
 * of which uses up a part of it, and what is said while a client is on its way has to fit. */
static bool tiny;

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

	if (alive[twin] || tiny)
		return;
	EXPECT(journal_use_seats(&chat.journal, twin + 1) == 0);
	worker_open(&chat.workers[twin], &chat.journal, twin, setting_now);
	alive[twin] = leaving[worker] = true;
}

static void count_worker(const struct worker *worker)
{
	const struct stats *stats = &worker->stats;

	MODEL(stats->missed == 0 && stats->left_behind == 0 && stats->gaps == 0);
	for (int reason = 0; reason < CLOSE_REASONS_MAX; reason++)
		MODEL(stats->closed[reason] == 0 || reason == CLOSE_eof);
	sums.waits += stats->publish_waits;
	sums.replayed += stats->replayed;
}

static void worker_end_if_empty(unsigned worker)
{
	if (chat.workers[worker].table.conns.used || chat.workers[worker].delivery.waiting)
		return;
	for (int i = 0; i < CONVOYS_MAX; i++)
		if (convoys[i].used && (convoys[i].from == worker || convoys[i].to == worker))
			return;
	for (int i = 0; i < 3 || !chat.workers[worker].delivery.asleep; i++) {
		kernel_advance(DELIVERY_REST_MS + 1);
		loop_wake(&chat.workers[worker].loop, &chat.workers[worker].delivery.source);
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
		convoy_send(from, to);
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

/* Chooses another worker to get no turn for now, or none. */
static void someone_is_sluggish(void)
{
	be_sluggish(SIM_CHAT_WORKERS);
	if (sim_below(&seed, 3))
		be_sluggish((unsigned)sim_below(&seed, SIM_CHAT_WORKERS));
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
		convoys_go_on(2);
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
	order_lines();
	step++;
}

static bool all_quiet(void)
{
	for (unsigned i = 0; i < clients_n; i++)
		if ((clients[i].peer->in.n && !clients[i].peer->closed) || clients[i].peer->out.n)
			return false;
	for (unsigned w = 0; w < SIM_CHAT_WORKERS; w++)
		if (alive[w] && (chat.workers[w].loop.first || chat.workers[w].delivery.waiting))
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
	while (convoys[0].used || convoys[1].used || convoys[2].used || convoys[3].used)
		convoys_go_on(1);
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
	tiny = !busy && !sim_below(&seed, 3);
	if (!tiny)
		setting.history = 16 * JOURNAL_HISTORY_MIN;
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
	memset(places, 0, sizeof places);
	ordered = chat.journal.first;
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
	journal_close(&chat.journal);
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
	    "%llu refused, %llu convoys lost, %llu lines replayed, %llu workers replaced; "
	    "waited for readers %llu times\n",
	    n, STEPS, (unsigned long long)sums.lines, (unsigned long long)sums.heard,
	    (unsigned long long)sums.moved, (unsigned long long)sums.refused,
	    (unsigned long long)sums.lost, (unsigned long long)sums.replayed,
	    (unsigned long long)sums.reloads, (unsigned long long)sums.waits);
	(void)fflush(stdout);
	if (only)
		return;
	ck_assert_uint_gt(sums.moved, 0);
	ck_assert_uint_gt(sums.replayed, 0);
	ck_assert_uint_gt(sums.refused, 0);
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
