/*
 * Chat whose clients move: workers on one bus, clients who talk all the time, and batches of
 * them on their way between any two workers in random steps, for as long as it takes, taken,
 * taken in part, refused, or lost with the worker that had them in hand. Workers are replaced by
 * others in other seats, as a reload does.
 *
 * However that goes, a client hears each line of the others of its topic once, from the first one
 * that was said once it was there, in the order of each sender, and none of its own.
 */
#define SIM_CHAT_WORKERS 6 /* two for each of the first three: only one of them stays */

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/sim_move.h"
#include "tests/support/sim/sim_chat_workers.h"

#define TWINS	    (SIM_CHAT_WORKERS / 2)
#define GUESTS_MAX  120
#define STEPS	    1500
#define BATCH_MAX   8
#define LETTERS_MAX 4
#define UNKNOWN	    UINT32_MAX

struct guest {
	unsigned worker, topic;
	struct peer *peer;
	bool moves, leaves;
	uint32_t said;		    /* whole lines */
	struct bytes says;	    /* lines that it has not sent yet */
	struct bytes heard;	    /* a line that has come in part */
	size_t sip;		    /* what it reads at a time; 0: all */
	uint32_t since[GUESTS_MAX]; /* what others had said when it came */
	uint32_t next[GUESTS_MAX];  /* the next line of others; UNKNOWN: it heard none */
	uint32_t begun;		    /* lines in says, and said */
};

static struct sim_chat chat;
static bool alive[SIM_CHAT_WORKERS], leaving[SIM_CHAT_WORKERS];
static bool busy; /* long lines, many of them */
static uint64_t sluggish_until_us;
static unsigned sluggish; /* a worker that has no turn for now */
static struct guest guests[GUESTS_MAX];
static unsigned guests_n;
static uint64_t seed, seed_at_first;
static unsigned step;

/* Clients on their way. */
static struct sim_datagram {
	bool used, answered;
	unsigned from, to, n, taken; /* taken: a bit for each */
	struct guest *guests[BATCH_MAX];
	struct conn *conns[BATCH_MAX];
	struct load loads[BATCH_MAX];
	uint64_t marks[BUS_SEATS_MAX];
	unsigned marks_n;
} sim_datagrams[LETTERS_MAX];

static struct {
	uint64_t lines, heard, moved, replayed, refused, not_marked, lost, waits, reloads, orders;
} sums;

#define MODEL(condition)                                                                           \
	EXPECT_MSG(condition, "seed %llu, step %u: %s does not hold",                              \
		   (unsigned long long)seed_at_first, step, #condition)

/* ---- guests ---- */

static size_t line_text(unsigned guest, unsigned number, char text[4000])
{
	static const size_t spans[] = {1, 1, 20, 20, 60, 300, 3000};
	uint64_t mix = (uint64_t)guest * 1000003 + number * 7919 + 1;
	size_t filler = sim_below(&mix, spans[busy ? 6 : sim_below(&mix, 7)]), n;

	n = (size_t)sprintf(text, "%u %u ", guest, number);
	for (; filler; filler--, n++)
		text[n] = (char)('a' + (n + guest) % 26);
	text[n++] = '\n';
	return n;
}

static void guest_new(unsigned worker, unsigned topic)
{
	struct guest *guest = &guests[guests_n++];

	*guest = (struct guest){
	    .worker = worker, .topic = topic, .peer = sim_chat_connect(&chat, worker, topic)};
	for (unsigned i = 0; i < GUESTS_MAX; i++) {
		guest->since[i] = guests[i].said;
		guest->next[i] = UNKNOWN;
	}
	guest->sip = sim_below(&seed, 2) ? 0 : 1 + sim_below(&seed, 3000);
}

static void guest_prepare(struct guest *guest)
{
	char text[4000];

	bytes_add(&guest->says, text, line_text((unsigned)(guest - guests), guest->begun++, text));
}

static void guest_send(struct guest *guest, size_t n)
{
	for (size_t i = 0; i < n; i++)
		guest->said += guest->says.at[guest->says.start + i] == '\n';
	peer_send(guest->peer, guest->says.at + guest->says.start, n);
	(void)bytes_take(&guest->says, NULL, n);
}

static void guest_say(struct guest *guest)
{
	if (guest->leaves || guest->peer->in.n > 30000)
		return;
	for (size_t n = sim_below(&seed, !busy && sim_below(&seed, 8) ? 3 : 30); n; n--)
		guest_prepare(guest);
	if (guest->says.n)
		guest_send(guest, sim_below(&seed, 2) ? guest->says.n
						      : 1 + sim_below(&seed, guest->says.n));
}

static void guest_hear_line(struct guest *guest, const char *line, size_t n)
{
	unsigned sender = 0, number = 0;
	char text[4000];

	MODEL(sscanf(line, "%u %u ", &sender, &number) == 2 && sender < guests_n);
	MODEL(line_text(sender, number, text) == n && memcmp(text, line, n) == 0);
	MODEL(&guests[sender] != guest && guests[sender].topic == guest->topic);
	MODEL(number < guests[sender].said);
	if (guest->next[sender] == UNKNOWN) {
		MODEL(number <= guest->since[sender]);
		guest->next[sender] = number;
	}
	EXPECT_MSG(guest->next[sender] == number,
		   "seed %llu, step %u: guest %td hears line %u of %u in place of %u",
		   (unsigned long long)seed_at_first, step, guest - guests, number, sender,
		   guest->next[sender]);
	guest->next[sender]++;
	sums.heard++;
}

static void guest_hear(struct guest *guest)
{
	static unsigned char bytes[PEER_SPACE];
	size_t n = guest->sip && !guest->peer->closed ? guest->sip : sizeof bytes;
	unsigned char *end;

	n = peer_receive(guest->peer, bytes, n);
	bytes_add(&guest->heard, bytes, n);
	while (guest->heard.n &&
	       (end = memchr(guest->heard.at + guest->heard.start, '\n', guest->heard.n))) {
		const unsigned char *line = guest->heard.at + guest->heard.start;

		n = (size_t)(end + 1 - line);
		guest_hear_line(guest, (const char *)line, n);
		(void)bytes_take(&guest->heard, NULL, n);
	}
}

static void all_hear(void)
{
	for (unsigned i = 0; i < guests_n; i++)
		guest_hear(&guests[i]);
}

/* ---- moves ---- */

static struct conn *conn_of_guest(const struct guest *guest)
{
	struct pool *conns = &chat.workers[guest->worker].table.conns;
	struct conn *conn;
	size_t cursor = 0;

	while ((conn = pool_next(conns, &cursor)))
		if (conn->source.fd == guest->peer->fd)
			return conn;
	ck_abort_msg("the connection is gone");
}

static void letter_gather(struct sim_datagram *sim_datagram)
{
	for (unsigned i = 0; i < guests_n && sim_datagram->n < BATCH_MAX; i++) {
		struct guest *guest = &guests[i];
		struct conn *conn;

		if (guest->worker != sim_datagram->from || guest->peer->closed || guest->moves ||
		    sim_below(&seed, 3) == 0)
			continue;
		conn = conn_of_guest(guest);
		if (!conn_freeze(conn))
			continue;
		sim_datagram->guests[sim_datagram->n] = guest;
		sim_datagram->conns[sim_datagram->n++] = conn;
		guest->moves = true;
	}
}

static void letter_end(struct sim_datagram *sim_datagram)
{
	for (unsigned i = 0; i < sim_datagram->n; i++) {
		struct guest *guest = sim_datagram->guests[i];

		guest->moves = false;
		if (sim_datagram->taken >> i & 1) {
			conn_depart(sim_datagram->conns[i]);
			guest->worker = sim_datagram->to;
			sums.moved++;
		} else {
			conn_thaw(sim_datagram->conns[i]);
		}
	}
	sim_datagram->used = false;
}

static void letter_send(unsigned from, unsigned to)
{
	struct sim_datagram *sim_datagram = NULL;

	for (int i = 0; i < LETTERS_MAX; i++)
		if (!sim_datagrams[i].used)
			sim_datagram = &sim_datagrams[i];
	if (!sim_datagram)
		return;
	sim_datagram->used = true;
	sim_datagram->answered = false;
	sim_datagram->from = from;
	sim_datagram->to = to;
	sim_datagram->n = sim_datagram->taken = 0;
	letter_gather(sim_datagram);
	if (sim_datagram->n &&
	    relay_mark(&chat.workers[from].relay, sim_datagram->marks, &sim_datagram->marks_n)) {
		for (unsigned i = 0; i < sim_datagram->n; i++)
			load_take(&sim_datagram->loads[i], sim_datagram->conns[i],
				  sim_datagram->guests[i]->peer);
		return;
	}
	sums.not_marked += sim_datagram->n != 0;
	letter_end(sim_datagram);
}

static void letter_refuse(struct sim_datagram *sim_datagram, unsigned i)
{
	EXPECT(sys_close(sim_datagram->loads[i].fd) == 0);
	free(sim_datagram->loads[i].bytes);
}

/* What the taker does with it: all of it, some, or nothing. */
static void letter_take(struct sim_datagram *sim_datagram)
{
	struct worker *worker = &chat.workers[sim_datagram->to];
	bool lost = !sim_below(&seed, 10), caught_up = false;

	sim_datagram->answered = true;
	if (lost && sim_below(&seed, 2)) {
		sums.lost++;
	} else {
		caught_up = relay_catch_up(&worker->relay, sim_datagram->marks,
					   sim_datagram->marks_n, sim_datagram->n);
		sums.refused += !caught_up;
		for (size_t i = 0; i < worker->relay.replay.n; i++)
			sums.replayed += worker->relay.replay.pieces[i].lines;
	}
	for (unsigned i = 0; i < sim_datagram->n; i++) {
		struct service *service = &worker->services[sim_datagram->guests[i]->topic];

		if (!caught_up || lost || !sim_below(&seed, 10))
			letter_refuse(sim_datagram, i);
		else if (load_leave(&sim_datagram->loads[i], service))
			sim_datagram->taken |= 1u << i;
	}
	if (caught_up)
		relay_settle(&worker->relay);
}

static void letter_answer(struct sim_datagram *sim_datagram)
{
	letter_end(sim_datagram);
	relay_unmark(&chat.workers[sim_datagram->from].relay);
}

static void letters_go_on(unsigned one_in)
{
	for (int i = 0; i < LETTERS_MAX; i++) {
		struct sim_datagram *sim_datagram = &sim_datagrams[i];

		if (!sim_datagram->used || sim_below(&seed, one_in))
			continue;
		if (sim_datagram->answered)
			letter_answer(sim_datagram);
		else
			letter_take(sim_datagram);
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
	for (int reason = 0; reason < CLOSE_REASONS; reason++)
		MODEL(stats->closed[reason] == 0 || reason == CLOSE_eof);
	sums.waits += stats->publish_waits;
}

static void worker_end_if_empty(unsigned worker)
{
	if (chat.workers[worker].table.conns.used || chat.workers[worker].relay.waiting)
		return;
	for (int i = 0; i < LETTERS_MAX; i++)
		if (sim_datagrams[i].used &&
		    (sim_datagrams[i].from == worker || sim_datagrams[i].to == worker))
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
		letter_send(from, to);
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

static struct guest *somebody(void)
{
	struct guest *guest = &guests[sim_below(&seed, guests_n)];

	return guest->peer->closed ? NULL : guest;
}

static void random_step(void)
{
	struct guest *guest = somebody();
	unsigned worker;

	switch (sim_below(&seed, 32)) {
	case 0:
		if (guests_n < GUESTS_MAX)
			guest_new(some_worker(true), (unsigned)sim_below(&seed, SIM_CHAT_TOPICS));
		break;
	case 1:
		if (guest && !guest->says.n && !sim_below(&seed, 4) && !guest->leaves) {
			guest->leaves = true;
			peer_finish(guest->peer);
		}
		break;
	case 2:
		if (guest)
			guest->peer->space =
			    sim_below(&seed, 2) ? PEER_SPACE : 1 + sim_below(&seed, 9000);
		break;
	case 3:
		kernel_advance((uint32_t)sim_below(&seed, 6));
		break;
	case 4:
		be_sluggish(SIM_CHAT_WORKERS);
		if (sim_below(&seed, 3)) {
			be_sluggish((unsigned)sim_below(&seed, SIM_CHAT_WORKERS));
		} else if (!sim_below(&seed, 6)) { /* a hold ends by itself */
			kernel_advance(RELAY_HOLD_MS + 1);
			for (int i = 0; i < 3 * RELAY_REST_MS; i++) { /* all read again */
				workers_pass();
				kernel_advance(1);
			}
		}
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
		letters_go_on(2);
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
		if (guest)
			guest_say(guest);
		break;
	default:
		if ((worker = some_worker(false)) != sluggish)
			worker_pass(&chat.workers[worker]);
	}
	if (kernel.now_us > sluggish_until_us) /* it is not to be left behind */
		sluggish = SIM_CHAT_WORKERS;
	step++;
}

static bool all_quiet(void)
{
	for (unsigned i = 0; i < guests_n; i++)
		if ((guests[i].peer->in.n && !guests[i].peer->closed) || guests[i].peer->out.n)
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

static void check_guest(const struct guest *guest)
{
	MODEL(guest->heard.n == 0 && !guest->peer->closed);
	for (unsigned i = 0; i < guests_n; i++) {
		const struct guest *sender = &guests[i];

		if (sender == guest || sender->topic != guest->topic)
			continue;
		EXPECT_MSG(guest->next[i] == sender->said ||
			       (guest->next[i] == UNKNOWN && sender->said == guest->since[i]),
			   "seed %llu: guest %td has heard %u of %u lines of %u, who had said %u",
			   (unsigned long long)seed_at_first, guest - guests, guest->next[i],
			   sender->said, i, guest->since[i]);
	}
}

static void finish(void)
{
	sluggish = SIM_CHAT_WORKERS;
	while (sim_datagrams[0].used || sim_datagrams[1].used || sim_datagrams[2].used ||
	       sim_datagrams[3].used)
		letters_go_on(1);
	for (unsigned i = 0; i < guests_n; i++) {
		guests[i].sip = 0;
		guests[i].peer->space = PEER_SPACE;
		(void)peer_receive(guests[i].peer, NULL, 0);
		if (!guests[i].leaves && guests[i].says.n)
			guest_send(&guests[i], guests[i].says.n);
	}
	pass_until_quiet();
	for (unsigned i = 0; i < guests_n; i++)
		if (!guests[i].leaves)
			check_guest(&guests[i]);
	for (unsigned i = 0; i < guests_n; i++)
		if (!guests[i].leaves)
			peer_finish(guests[i].peer);
	pass_until_quiet();
	for (unsigned i = 0; i < guests_n; i++) {
		MODEL(guests[i].peer->closed);
		sums.lines += guests[i].said;
		free(guests[i].says.at);
		free(guests[i].heard.at);
	}
}

static void run(uint64_t number)
{
	struct sim_chat_setting setting = {SIM_CHAT_SETTING};

	seed = seed_at_first = number * 2654435761u + 17;
	setting.workers = TWINS;
	setting.slow = 8 << 20;
	setting.limits.connections_max = GUESTS_MAX;
	busy = !sim_below(&seed, 3);
	if (busy || sim_below(&seed, 2)) /* where it is not scarce nobody is closed for it */
		setting.buffers = 64 * BUFFERS_MIN;
	sluggish = SIM_CHAT_WORKERS;
	setting_now = &setting;
	setting.turn_members = number % 2 ? 3 : 0;
	sim_chat_open(&chat, &setting);
	for (unsigned w = 0; w < SIM_CHAT_WORKERS; w++) {
		alive[w] = w < TWINS;
		leaving[w] = false;
	}
	step = guests_n = 0;
	memset(guests, 0, sizeof guests);
	for (unsigned i = 0; i < 12; i++)
		guest_new(i % TWINS, i % SIM_CHAT_TOPICS);
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
	const char *only = getenv("SIM_SEED"); /* the number of a run, to see it alone */

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
