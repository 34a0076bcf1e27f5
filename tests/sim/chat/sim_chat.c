/*
 * A model of chat: workers on one journal, and clients that join, talk, read and leave in random
 * steps, and must hear what chat_model.h works out.
 *
 * What this can't see: workers that run at the same instant (check_journal), and a reader that is
 * left behind.
 */
#include "tests/sim/chat/chat_model.h"

#define STEPS	500
#define TALKERS 10 /* at a time */
static struct chunk *hoard[64];
static unsigned hoard_n;
static bool hoarding;

/* ---- steps ---- */

static struct client *somebody(void)
{
	unsigned open[CLIENTS_MAX], n = 0;

	for (unsigned i = chat.n * SIM_CHAT_TOPICS; i < clients_n; i++)
		if (clients[i].end == STAYS && !clients[i].peer->closed)
			open[n++] = i;
	if (!n || (n < TALKERS && clients_n < CLIENTS_MAX && !sim_below(&seed, 4)))
		return clients_n == CLIENTS_MAX
			   ? NULL
			   : client_new((unsigned)sim_below(&seed, chat.n),
					(unsigned)sim_below(&seed, SIM_CHAT_TOPICS));
	return &clients[open[sim_below(&seed, n)]];
}

static void change_habits(struct client *client)
{
	client->deaf = !sim_below(&seed, 3);
	client->sip = sim_below(&seed, 2) ? 0 : 1 + sim_below(&seed, 500);
	client->peer->space =
	    sim_below(&seed, 2) ? PEER_SPACE : 1 + sim_below(&seed, 1 + sim_below(&seed, 3000));
}

/* Takes most or all of the buffers of a worker, as if other connections used them. */
static void take_buffers(void)
{
	struct buffers *buffers = &chat.workers[0].table.buffers;

	while (hoard_n)
		chunk_release(buffers, hoard[--hoard_n]);
	if (sim_below(&seed, 3))
		return;
	for (size_t left = sim_below(&seed, 4); pool_free(&buffers->chunks) > left;)
		hoard[hoard_n++] = chunk_new(buffers);
}

static void all_listen(void)
{
	for (unsigned i = 0; i < clients_n; i++) {
		struct client *client = &clients[i];

		if (i < chat.n * SIM_CHAT_TOPICS)
			witness_listen(i);
		else if (!client->deaf || client->peer->closed)
			client_hear(client,
				    client->sip && !client->peer->closed ? client->sip : SIZE_MAX);
	}
	/* After the witnesses, which then have heard all that clients that are gone were given. */
	for (unsigned i = chat.n * SIM_CHAT_TOPICS; i < clients_n; i++)
		if (clients[i].peer->closed && clients[i].end == STAYS && !draining)
			client_ends(&clients[i], false);
}

static void random_step(void)
{
	struct client *client;

	switch (sim_below(&seed, 24)) {
	case 0:
		if ((client = somebody()))
			change_habits(client);
		break;
	case 1:
		if (!sim_below(&seed, 4) && (client = somebody()))
			client_leave(client);
		break;
	case 2:
		if (hoarding && !sim_below(&seed, 4))
			take_buffers();
		break;
	case 3:
		kernel_advance((uint32_t)sim_below(&seed, 6));
		break;
	case 4:
	case 5:
	case 6:
	case 7:
	case 8:
	case 9:
		if ((client = somebody()))
			client_say(client);
		break;
	default:
		worker_pass(&chat.workers[sim_below(&seed, chat.n)]);
		all_listen();
	}
	step++;
}

/* ---- the end ---- */

/* Whether all is read. A delivery that rests has nothing queued, but may have lines to read: only
 * when it has read all is it asleep. */
static bool all_said(void)
{
	for (unsigned w = 0; w < chat.n; w++)
		if (chat.workers[w].loop.first || !chat.workers[w].delivery.asleep)
			return false;
	for (unsigned i = 0; i < clients_n; i++)
		if ((clients[i].peer->in.n && !clients[i].peer->closed) || clients[i].peer->out.n)
			return false;
	return !kernel.ready_n;
}

static void pass_all(void)
{
	for (unsigned w = 0; w < chat.n; w++)
		worker_pass(&chat.workers[w]);
	all_listen();
	kernel_advance(1);
	step++;
}

static void all_read(void)
{
	while (hoard_n)
		chunk_release(&chat.workers[0].table.buffers, hoard[--hoard_n]);
	for (unsigned i = 0; i < clients_n; i++) {
		clients[i].deaf = false;
		clients[i].sip = 0;
		clients[i].peer->space = PEER_SPACE;
		(void)peer_receive(clients[i].peer, NULL, 0); /* announces the space, by an edge */
	}
}

/* Lets all clients say the rest of their lines, which have to be heard in bounded time. */
static void finish_talk(void)
{
	all_read();
	for (unsigned i = 0; i < clients_n; i++)
		if (clients[i].end == STAYS && clients[i].says.n > clients[i].sent)
			client_send(&clients[i], clients[i].says.n - clients[i].sent);
	for (int i = 0; !all_said(); i++) {
		MODEL(i < 20000); /* no client waits for ever */
		pass_all();
	}
}

static void all_finish(void)
{
	for (unsigned i = 0; i < clients_n; i++) {
		if (clients[i].end == STAYS)
			client_ends(&clients[i], true);
		peer_finish(clients[i].peer);
	}
}

static void all_drain(void)
{
	all_read();
	draining = true;
	for (unsigned w = 0; w < chat.n; w++) {
		delivery_drain(&chat.workers[w].delivery, false);
		conn_table_drain(&chat.workers[w].table);
		delivery_close_doors(&chat.workers[w].delivery);
		worker_pass(&chat.workers[sim_below(&seed, chat.n)]);
	}
}

static void wait_for_closes(void)
{
	bool all = false;

	for (int i = 0; !all; i++) {
		MODEL(i < 20000);
		pass_all();
		all = true;
		for (unsigned g = 0; g < clients_n; g++)
			all = all && clients[g].peer->closed && !clients[g].peer->out.n;
	}
	for (unsigned i = 0; i < clients_n; i++)
		client_hear(&clients[i], SIZE_MAX);
}

/* ---- a run ---- */

static struct {
	uint64_t lines, heard, waits, slow, no_buffers, paused;
} sums;

static void run(uint64_t number, bool drains)
{
	struct sim_chat_setting setting = {SIM_CHAT_SETTING};

	seed = seed_at_first = number * 2654435761u + 11;
	draining = false;
	long_lines = !sim_below(&seed, 3);
	hoarding = !drains && !sim_below(&seed, 3);
	setting.workers = 1 + (unsigned)sim_below(&seed, SIM_CHAT_WORKERS);
	setting.slow =
	    !drains && sim_below(&seed, 3) ? 3000 + (uint32_t)sim_below(&seed, 60000) : 1 << 20;
	if (sim_below(&seed, 2)) /* clients are not read from before they are slow consumers */
		setting.limits.high_water = setting.limits.low_water = setting.slow / 2;
	if (drains) /* never stops reading from a client that does not read */
		setting.limits.high_water = setting.limits.low_water = 1 << 30;
	setting.turn_members = number % 2 ? 3 : 0;
	sim_chat_open(&chat, &setting);
	slow = setting.slow;
	step = clients_n = lines_n = 0;
	memset(witnesses, 0, sizeof witnesses);
	memset(known, 0, sizeof known);
	for (unsigned w = 0; w < setting.workers; w++) {
		chat.workers[w].table.on_room = keep_reason;
		for (unsigned t = 0; t < SIM_CHAT_TOPICS; t++)
			(void)client_new(w, t);
	}
	while (step < STEPS)
		random_step();
	if (drains) {
		all_drain();
	} else {
		finish_talk();
		all_finish();
	}
	wait_for_closes();
	check_all();
	sums.lines += SIM_CHAT_SUM(&chat, published);
	sums.heard += SIM_CHAT_SUM(&chat, deliveries);
	sums.waits += SIM_CHAT_SUM(&chat, publish_waits);
	sums.slow += SIM_CHAT_SUM(&chat, closed[CLOSE_slow_consumer]);
	sums.no_buffers += SIM_CHAT_SUM(&chat, closed[CLOSE_no_buffers]);
	sums.paused += SIM_CHAT_SUM(&chat, backpressure_on);
	for (unsigned i = 0; i < clients_n; i++) {
		free(clients[i].says.at);
		free(clients[i].heard.at);
	}
	sim_chat_close(&chat);
}

static void run_many(unsigned long n, bool drains)
{
	const char *only = getenv("SIM_SEED"); /* runs only the run with this number */

	log_open(LOG_ERROR, LOG_LOGFMT);
	for (unsigned long i = 0; i < n; i++)
		if (!only || strtoul(only, NULL, 10) == i)
			run(i, drains);
	(void)printf("FIGURE %lu runs of %d steps: %llu lines said, %llu heard; waited for space "
		     "%llu times, paused %llu times; closed: slow_consumer %llu, no_buffers %llu\n",
		     n, STEPS, (unsigned long long)sums.lines, (unsigned long long)sums.heard,
		     (unsigned long long)sums.waits, (unsigned long long)sums.paused,
		     (unsigned long long)sums.slow, (unsigned long long)sums.no_buffers);
	(void)fflush(stdout);
}

static void all_hear(unsigned long n)
{
	run_many(n, false);
	if (n < 50) /* a sanitized build: few runs need not meet all of these */
		return;
	ck_assert_uint_gt(sums.waits, 0);
	ck_assert_uint_gt(sums.slow, 0);
	ck_assert(sums.no_buffers || suite_sanitized());
	ck_assert_uint_gt(sums.paused, 0);
}

START_TEST(all_hear_what_their_witness_heard)
{
	all_hear(suite_volume(80));
	run(3651, false); /* in this run a client leaves in the middle of a batch */
	run(378, false);  /* and in these one that is behind comes close to being slow */
	run(754, false);
}
END_TEST

START_TEST(all_that_had_been_sent_is_heard_before_a_graceful_end)
{
	run_many(suite_volume(80), true);
}
END_TEST

START_TEST(all_hear_in_many_runs)
{
	all_hear(suite_volume(1000));
}
END_TEST

START_TEST(graceful_ends_in_many_runs)
{
	run_many(suite_volume(1000), true);
}
END_TEST

SUITE("sim_chat", {"all hear what their witness heard", all_hear_what_their_witness_heard, 60},
      {"all that had been sent is heard before a graceful end",
       all_that_had_been_sent_is_heard_before_a_graceful_end, 60},
      {"all hear, in many runs", all_hear_in_many_runs, 120, .kind = SUITE_LONG},
      {"graceful ends in many runs", graceful_ends_in_many_runs, 120, .kind = SUITE_LONG})
