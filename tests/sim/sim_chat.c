/*
 * A model of chat: workers on one bus, guests who come, talk, read and go in random steps, and
 * what each of them must have heard, worked out here.
 *
 * In each topic of each worker sits a witness, who reads everything and stays: what it heard is
 * the order in which that worker's lines came. Witnesses of a topic must agree about the lines
 * of each sender. Any other guest must have heard what its witness did, byte for byte, without
 * its own lines: all of it that was said after it came and before it went.
 *
 * What this can't see: workers that move at the same instant (check_bus), and a reader that is
 * left behind.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/sim_chat_workers.h"

#define GUESTS_MAX 400
#define LINES_MAX  6000
#define STEPS	   500
#define WITNESSES  (SIM_CHAT_WORKERS * SIM_CHAT_TOPICS)
#define TALKERS	   10 /* at a time */
#define NEVER	   UINT32_MAX

struct line {
	unsigned guest, number; /* the number of it among the lines of its guest */
	uint32_t sent;		/* the step in which its end was sent; NEVER: not yet */
	size_t end;		/* where it ends in what its guest has to send */
};

struct guest {
	unsigned worker, topic;
	struct peer *peer;
	uint32_t joined, finished;	       /* steps; NEVER: it did not */
	bool was_reset, half_line;	       /* its last line has no end */
	bool deaf;			       /* does not read now */
	size_t sip;			       /* what it reads at a time; 0: all */
	struct bytes says, heard;	       /* heard: all that came to it */
	size_t sent;			       /* of says */
	unsigned lines[LINES_MAX / 4], n;      /* in all_lines */
	size_t witnessed_at_end;	       /* lines that its witness had heard when it ended */
	enum { STAYS, ENDED, WAS_CLOSED } end; /* by itself; by the server, but for a drain */
	enum close_reason reason;
};

static struct sim_chat chat;
static struct guest guests[GUESTS_MAX];
static unsigned guests_n;
static struct line all_lines[LINES_MAX];
static unsigned lines_n;
/* What a witness heard: lines, and where each line stands in it. */
static struct witness {
	unsigned heard[LINES_MAX], n;
	size_t parsed; /* bytes */
} witnesses[WITNESSES];
static uint64_t seed, seed_at_first;
static uint32_t step;
static struct chunk *hoard[64];
static unsigned hoard_n;
static bool draining, hoarding, long_lines;
static uint32_t slow; /* slow_bytes */

#define MODEL(condition)                                                                           \
	EXPECT_MSG(condition, "seed %llu, step %u: %s does not hold",                              \
		   (unsigned long long)seed_at_first, step, #condition)

/* ---- bytes and lines ---- */

static void add(struct bytes *to, const void *bytes, size_t n)
{
	if (!n)
		return;
	if (to->n + n > to->room) {
		to->room = 2 * (to->n + n);
		to->at = realloc(to->at, to->room);
		EXPECT(to->at);
	}
	memcpy(to->at + to->n, bytes, n);
	to->n += n;
}

static size_t line_text(unsigned guest, unsigned number, char text[16002])
{
	static const size_t spans[] = {1, 1, 20, 20, 60, 60, 300, 3000};
	uint64_t mix = (uint64_t)guest * 1000003 + number * 7919 + 1;
	size_t filler = sim_below(&mix, spans[sim_below(&mix, 8)]), n;

	if (!sim_below(&mix, long_lines ? 4 : 100))
		filler = sim_below(&mix, 15900);
	n = (size_t)sprintf(text, "%u %u ", guest, number);
	for (; filler; filler--, n++)
		text[n] = (char)('a' + (n + guest) % 26);
	text[n++] = '\n';
	return n;
}

static size_t line_length(unsigned line)
{
	char text[16002];

	return line_text(all_lines[line].guest, all_lines[line].number, text);
}

/* ---- what guests do ---- */

static uint64_t known[SIM_CHAT_WORKERS][CLOSE_REASONS];

/* A connection has gone: whose, and why? */
static void note_reason(struct conn_table *table)
{
	struct worker *worker = CONTAINER_OF(table, struct worker, table);
	ptrdiff_t w = worker - chat.workers;
	unsigned gone = guests_n;

	for (unsigned i = 0; i < guests_n; i++)
		if (guests[i].peer->closed && !guests[i].reason)
			gone = i;
	MODEL(gone < guests_n && guests[gone].worker == w);
	for (int reason = 1; reason < CLOSE_REASONS; reason++)
		if (worker->stats.closed[reason] != known[w][reason])
			guests[gone].reason = (enum close_reason)reason;
	memcpy(known[w], worker->stats.closed, sizeof known[w]);
}

static struct guest *guest_new(unsigned worker, unsigned topic)
{
	struct guest *guest = &guests[guests_n++];

	*guest = (struct guest){.worker = worker,
				.topic = topic,
				.joined = step,
				.finished = NEVER,
				.peer = sim_chat_connect(&chat, worker, topic)};
	return guest;
}

static void guest_prepare_line(struct guest *guest)
{
	struct line *line = &all_lines[lines_n];
	char text[16002];

	if (lines_n == LINES_MAX || guest->n == LINES_MAX / 4)
		return;
	*line = (struct line){(unsigned)(guest - guests), guest->n, NEVER, 0};
	add(&guest->says, text, line_text(line->guest, line->number, text));
	line->end = guest->says.n;
	guest->lines[guest->n++] = lines_n++;
}

static void guest_send(struct guest *guest, size_t n)
{
	peer_send(guest->peer, guest->says.at + guest->sent, n);
	guest->sent += n;
	for (unsigned i = guest->n; i > 0; i--) {
		struct line *line = &all_lines[guest->lines[i - 1]];

		if (line->end > guest->sent)
			continue;
		if (line->sent != NEVER)
			break;
		line->sent = step;
	}
}

static void guest_say(struct guest *guest)
{
	size_t left = guest->says.n - guest->sent;

	if (guest->peer->in.n > 60000) /* its socket is full */
		return;
	if (left < 2 || !sim_below(&seed, 3))
		for (size_t n = 1 + sim_below(&seed, sim_below(&seed, 8) ? 3 : 40); n; n--)
			guest_prepare_line(guest);
	left = guest->says.n - guest->sent;
	if (left)
		guest_send(guest, sim_below(&seed, 2) ? left : 1 + sim_below(&seed, left));
}

static void guest_hear(struct guest *guest, size_t n)
{
	static unsigned char bytes[PEER_SPACE + 1];

	n = peer_receive(guest->peer, bytes, n < PEER_SPACE ? n : PEER_SPACE);
	add(&guest->heard, bytes, n);
}

static unsigned witness_of(const struct guest *guest)
{
	return guest->worker * SIM_CHAT_TOPICS + guest->topic;
}

/* A batch is given to its members in several turns: whoever leaves in between may miss it, though
 * its witness has heard it. */
static void guest_ends(struct guest *guest, bool by_itself)
{
	size_t heard = witnesses[witness_of(guest)].n;
	size_t batch = by_itself ? chat.workers[guest->worker].topics[guest->topic].lines : 0;

	guest->end = by_itself ? ENDED : WAS_CLOSED;
	guest->finished = step;
	guest->witnessed_at_end = heard - (batch < heard ? batch : heard);
}

static void guest_leave(struct guest *guest)
{
	guest_ends(guest, true);
	guest->half_line = guest->n && all_lines[guest->lines[guest->n - 1]].end > guest->sent &&
			   (guest->sent && guest->says.at[guest->sent - 1] != '\n');
	if (sim_below(&seed, 3)) {
		peer_finish(guest->peer);
		return;
	}
	guest->was_reset = true;
	peer_reset(guest->peer);
}

/* ---- witnesses ---- */

static void witness_listen(unsigned w)
{
	struct guest *guest = &guests[w];
	struct witness *witness = &witnesses[w];
	unsigned char *end;

	guest_hear(guest, SIZE_MAX);
	while (witness->parsed < guest->heard.n &&
	       (end = memchr(guest->heard.at + witness->parsed, '\n',
			     guest->heard.n - witness->parsed))) {
		char text[16002], *from = (char *)guest->heard.at + witness->parsed;
		size_t n = (size_t)(end + 1 - guest->heard.at) - witness->parsed;
		unsigned speaker = 0, number = 0;

		MODEL(sscanf(from, "%u %u ", &speaker, &number) == 2 && speaker < guests_n);
		MODEL(guests[speaker].topic == guest->topic && number < guests[speaker].n);
		MODEL(line_text(speaker, number, text) == n && memcmp(text, from, n) == 0);
		witness->heard[witness->n++] = guests[speaker].lines[number];
		witness->parsed += n;
	}
}

/* ---- steps ---- */

static struct guest *somebody(void)
{
	unsigned open[GUESTS_MAX], n = 0;

	for (unsigned i = chat.n * SIM_CHAT_TOPICS; i < guests_n; i++)
		if (guests[i].end == STAYS && !guests[i].peer->closed)
			open[n++] = i;
	if (!n || (n < TALKERS && guests_n < GUESTS_MAX && !sim_below(&seed, 4)))
		return guests_n == GUESTS_MAX
			   ? NULL
			   : guest_new((unsigned)sim_below(&seed, chat.n),
				       (unsigned)sim_below(&seed, SIM_CHAT_TOPICS));
	return &guests[open[sim_below(&seed, n)]];
}

static void change_habits(struct guest *guest)
{
	guest->deaf = !sim_below(&seed, 3);
	guest->sip = sim_below(&seed, 2) ? 0 : 1 + sim_below(&seed, 500);
	guest->peer->space =
	    sim_below(&seed, 2) ? PEER_SPACE : 1 + sim_below(&seed, 1 + sim_below(&seed, 3000));
}

/* Somebody else uses the buffers of a worker, most or all of them. */
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
	for (unsigned i = 0; i < guests_n; i++) {
		struct guest *guest = &guests[i];

		if (i < chat.n * SIM_CHAT_TOPICS)
			witness_listen(i);
		else if (!guest->deaf || guest->peer->closed)
			guest_hear(guest,
				   guest->sip && !guest->peer->closed ? guest->sip : SIZE_MAX);
	}
	/* After the witnesses: they have heard what was given to those who are gone now. */
	for (unsigned i = chat.n * SIM_CHAT_TOPICS; i < guests_n; i++)
		if (guests[i].peer->closed && guests[i].end == STAYS && !draining)
			guest_ends(&guests[i], false);
}

static void random_step(void)
{
	struct guest *guest;

	switch (sim_below(&seed, 24)) {
	case 0:
		if ((guest = somebody()))
			change_habits(guest);
		break;
	case 1:
		if (!sim_below(&seed, 4) && (guest = somebody()))
			guest_leave(guest);
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
		if ((guest = somebody()))
			guest_say(guest);
		break;
	default:
		worker_pass(&chat.workers[sim_below(&seed, chat.n)]);
		all_listen();
	}
	step++;
}

/* ---- the end ---- */

/* A relay that rests has nothing queued, and may have lines to read: it is asleep when it has read
 * all. */
static bool all_said(void)
{
	for (unsigned w = 0; w < chat.n; w++)
		if (chat.workers[w].loop.first || !chat.workers[w].relay.asleep)
			return false;
	for (unsigned i = 0; i < guests_n; i++)
		if ((guests[i].peer->in.n && !guests[i].peer->closed) || guests[i].peer->out.n)
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
	for (unsigned i = 0; i < guests_n; i++) {
		guests[i].deaf = false;
		guests[i].sip = 0;
		guests[i].peer->space = PEER_SPACE;
		(void)peer_receive(guests[i].peer, NULL, 0); /* there is more space: an edge */
	}
}

/* All say the rest of their lines, and all are heard, in bounded time. */
static void finish_talk(void)
{
	all_read();
	for (unsigned i = 0; i < guests_n; i++)
		if (guests[i].end == STAYS && guests[i].says.n > guests[i].sent)
			guest_send(&guests[i], guests[i].says.n - guests[i].sent);
	for (int i = 0; !all_said(); i++) {
		MODEL(i < 20000); /* nobody waits for ever */
		pass_all();
	}
}

static void all_finish(void)
{
	for (unsigned i = 0; i < guests_n; i++) {
		if (guests[i].end == STAYS)
			guest_ends(&guests[i], true);
		peer_finish(guests[i].peer);
	}
}

static void all_drain(void)
{
	all_read();
	draining = true;
	for (unsigned w = 0; w < chat.n; w++) {
		relay_drain(&chat.workers[w].relay, false);
		conn_table_drain(&chat.workers[w].table);
		relay_close_doors(&chat.workers[w].relay);
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
		for (unsigned g = 0; g < guests_n; g++)
			all = all && guests[g].peer->closed && !guests[g].peer->out.n;
	}
	for (unsigned i = 0; i < guests_n; i++)
		guest_hear(&guests[i], SIZE_MAX);
}

/* ---- what must have been heard ---- */

/* Cut off, by itself or by the server: it may miss what it was owed, or have had more to say. */
static bool is_broken(const struct guest *guest)
{
	return guest->was_reset || guest->reason == CLOSE_slow_consumer ||
	       guest->reason == CLOSE_no_buffers;
}

static void check_reason(const struct guest *guest)
{
	if (is_broken(guest))
		return;
	if (draining && guest->reason == CLOSE_drained)
		return;
	MODEL(guest->end == ENDED);
	MODEL(guest->reason == (guest->half_line ? CLOSE_truncated : CLOSE_eof));
}

/* Each witness heard each sender's lines in order, from the first one on; all whole lines that
 * were sent, unless the connection was broken; and as many as its topic's other witnesses. */
static unsigned check_witnesses(void)
{
	unsigned published = 0;

	for (unsigned w = 0; w < chat.n * SIM_CHAT_TOPICS; w++) {
		static unsigned next[GUESTS_MAX], first[SIM_CHAT_TOPICS][GUESTS_MAX];

		memset(next, 0, sizeof next);
		MODEL(witnesses[w].parsed == guests[w].heard.n);
		for (unsigned i = 0; i < witnesses[w].n; i++) {
			struct line *line = &all_lines[witnesses[w].heard[i]];

			MODEL(line->number == next[line->guest]++);
			MODEL(line->sent != NEVER);
		}
		for (unsigned g = 0; g < guests_n; g++) {
			unsigned whole = 0;

			if (guests[g].topic != guests[w].topic)
				continue;
			while (whole < guests[g].n &&
			       all_lines[guests[g].lines[whole]].sent != NEVER)
				whole++;
			MODEL(next[g] <= whole);
			MODEL(is_broken(&guests[g]) || next[g] == whole);
			MODEL(w < SIM_CHAT_TOPICS || next[g] == first[guests[w].topic][g]);
			first[guests[w].topic][g] = next[g];
			published += w < SIM_CHAT_TOPICS ? next[g] : 0;
		}
	}
	return published;
}

struct reading {
	size_t at;	/* bytes compared */
	uint64_t lines; /* whole ones */
	size_t lag;	/* bytes of the topic since what it heard last, until its end was seen */
};

/* Does the next of what it heard begin with this line, as far as that goes? */
static bool heard_line(const struct guest *guest, struct reading *reading, unsigned line)
{
	char text[16002];
	size_t n = line_text(all_lines[line].guest, all_lines[line].number, text);
	size_t left = guest->heard.n - reading->at, compared = n < left ? n : left;

	if (!left || memcmp(guest->heard.at + reading->at, text, compared) != 0)
		return false;
	/* Whoever was broken off may have the beginning of a line. */
	MODEL(compared == n || is_broken(guest));
	reading->at += compared;
	reading->lines += compared == n;
	reading->lag = n - compared;
	return true;
}

static uint64_t check_guest(const struct guest *guest)
{
	const struct witness *witness = &witnesses[witness_of(guest)];
	struct reading reading = {0};
	size_t must = guest->end == STAYS ? witness->n : guest->witnessed_at_end;

	for (size_t i = 0; i < witness->n; i++) {
		struct line *line = &all_lines[witness->heard[i]];
		bool own = line->guest == guest - guests;
		bool before = line->sent < guest->joined;

		if (!own && heard_line(guest, &reading, witness->heard[i]))
			continue;
		reading.lag += i < must ? line_length(witness->heard[i]) : 0;
		/* It heard no more; or this was said before it came, or by one whose place it took.
		 */
		MODEL(own || before || reading.at == guest->heard.n);
		MODEL(own || before || is_broken(guest) || i >= must);
	}
	MODEL(reading.at == guest->heard.n);
	if (guest->reason == CLOSE_slow_consumer && guest->end == WAS_CLOSED)
		MODEL(reading.lag > slow);
	return reading.lines;
}

static void check_all(void)
{
	unsigned published = check_witnesses();
	uint64_t delivered = 0, broken = 0;

	for (unsigned i = 0; i < guests_n; i++) {
		delivered += check_guest(&guests[i]);
		check_reason(&guests[i]);
		broken += is_broken(&guests[i]);
	}
	MODEL(SIM_CHAT_SUM(&chat, published) == published);
	MODEL(SIM_CHAT_SUM(&chat, messages) == published);
	MODEL(SIM_CHAT_SUM(&chat, members_joined) == guests_n);
	MODEL(SIM_CHAT_SUM(&chat, members_left) == guests_n);
	MODEL(SIM_CHAT_SUM(&chat, missed) == 0 && SIM_CHAT_SUM(&chat, left_behind) == 0);
	MODEL(broken ? SIM_CHAT_SUM(&chat, deliveries) >= delivered
		     : SIM_CHAT_SUM(&chat, deliveries) == delivered);
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
	if (sim_below(&seed, 2)) /* beneath what makes a slow consumer: it is not read from */
		setting.limits.high_water = setting.limits.low_water = setting.slow / 2;
	if (drains) /* who does not read is not waited for */
		setting.limits.high_water = setting.limits.low_water = 1 << 30;
	setting.turn_members = number % 2 ? 3 : 0;
	sim_chat_open(&chat, &setting);
	slow = setting.slow;
	step = guests_n = lines_n = 0;
	memset(witnesses, 0, sizeof witnesses);
	memset(known, 0, sizeof known);
	for (unsigned w = 0; w < setting.workers; w++) {
		chat.workers[w].table.on_room = note_reason;
		for (unsigned t = 0; t < SIM_CHAT_TOPICS; t++)
			(void)guest_new(w, t);
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
	for (unsigned i = 0; i < guests_n; i++) {
		free(guests[i].says.at);
		free(guests[i].heard.at);
	}
	sim_chat_close(&chat);
}

static void run_many(unsigned long n, bool drains)
{
	const char *only = getenv("SIM_SEED"); /* the number of a run, to see it alone */

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
	ck_assert_uint_gt(sums.waits, 0);
	ck_assert_uint_gt(sums.slow, 0);
	ck_assert_uint_gt(sums.no_buffers, 0);
	ck_assert_uint_gt(sums.paused, 0);
}

START_TEST(all_hear_what_their_witness_heard)
{
	all_hear(suite_volume(80));
	run(3651, false); /* one leaves in the middle of a batch */
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
