/*
 * A connection that moves to another process, between any two bytes and in whatever state, must
 * not show it: the peer gets the same bytes, and the connection ends for the same reason and at
 * the same moment.
 *
 * What is expected is what the same transcript gives without a move, which sim_splits and sim_conn
 * test. The channel that carries descriptions and descriptors is left out.
 */
#include <stdio.h>

#include "tests/support/clients/http_reader.h"
#include "tests/support/sim/sim_move.h"

#define MESSAGE_MAX 100
#define BYTES_MAX   (256u << 10)

struct script {
	const char *name, *protocol;
	bool endless; /* the server says as much as the peer reads */
	uint32_t message_max;
	unsigned char in[BYTES_MAX];
	size_t n;
	/* The results without a move: */
	unsigned char out[2 * BYTES_MAX];
	size_t out_n;
	enum close_reason reason;
};

static struct sim_move move;
static struct script scripts[20];
static size_t scripts_n;
static unsigned char got[2 * BYTES_MAX];

/* How many moves there were, and how many of them were in each of these states. */
static struct {
	unsigned long moves, thaws, refusals;
	unsigned long input, owed, held, both, open, paused, stalled, speaks, closing, linger;
} met;

/* ---- scripts ---- */

static struct script *script_new(const char *name, const char *protocol)
{
	struct script *script = &scripts[scripts_n++];

	ck_assert_uint_le(scripts_n, sizeof scripts / sizeof *scripts);
	*script = (struct script){.name = name, .protocol = protocol, .message_max = MESSAGE_MAX};
	return script;
}

static void add(struct script *script, const void *bytes, size_t n)
{
	EXPECT_MSG(script->n + n <= BYTES_MAX, "%s is too large", script->name);
	memcpy(script->in + script->n, bytes, n);
	script->n += n;
}

static void add_random(struct script *script, uint64_t *seed, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add(script, &(unsigned char){(unsigned char)sim_random(seed)}, 1);
}

static void add_line(struct script *script, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add(script, &(char){(char)('a' + (i + n) % 26)}, 1);
	add(script, "\n", 1);
}

static void add_frame(struct script *script, uint32_t n)
{
	add(script,
	    (unsigned char[]){(unsigned char)(n >> 24), (unsigned char)(n >> 16),
			      (unsigned char)(n >> 8), (unsigned char)n},
	    4);
	for (uint32_t i = 0; i < n; i++)
		add(script, &(unsigned char){(unsigned char)(i * 7 + n)}, 1);
}

static void add_text(struct script *script, const char *text)
{
	add(script, text, strlen(text));
}

static void make_small_http(void)
{
	struct script *script = script_new("requests", "http");

	add_text(script, "GET / HTTP/1.1\r\nHost:\r\n\r\nGET /bytes/700 HTTP/1.1\r\nHost:\r\n\r\n");
	add_text(script, "POST /echo HTTP/1.1\r\nHost:\r\nContent-Length: 5\r\n\r\nhello");
	add_text(script, "POST /echo HTTP/1.1\r\nHost:\r\nTransfer-Encoding: chunked\r\n\r\n");
	add_text(script, "3;x\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n");
	add_text(script, "GET / HTTP/1.0\r\n\r\n");
	script = script_new("a request that is refused", "http");
	add_text(script, "GET /bytes/600 HTTP/1.1\r\nHost:\r\n\r\nGET / HTTP/1.1\r\n\r\nwhatever");
	script = script_new("a body that breaks off", "http");
	add_text(script,
		 "POST /echo HTTP/1.1\r\nHost:\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na");
}

static void make_small(void)
{
	uint64_t seed = 3;
	struct script *script = script_new("echo", "echo");

	add_random(script, &seed, 40);
	script = script_new("discard", "discard");
	add_random(script, &seed, 20);
	script = script_new("chargen", "chargen");
	script->endless = true;
	add_random(script, &seed, 20);
	script = script_new("increment", "increment");
	add(script, "out^in\377\0$out$^^$^no end", 24);
	script = script_new("lines", "line");
	for (size_t n = 0; n < 9; n++)
		add_line(script, n * n % 13);
	script = script_new("half a line", "line");
	add_line(script, 5);
	add(script, "without its end", 15);
	script = script_new("line too long", "line");
	add_line(script, 7);
	add_line(script, MESSAGE_MAX + 1);
	add_line(script, 3);
	script = script_new("frames", "frame");
	for (uint32_t n = 0; n < 7; n++)
		add_frame(script, n * n % 11);
	script = script_new("half a prefix", "frame");
	add_frame(script, 9);
	add(script, "\0\0\0", 3);
	script = script_new("frame too large", "frame");
	add_frame(script, 20);
	add_frame(script, MESSAGE_MAX + 1);
	make_small_http();
}

static void make_large(void)
{
	uint64_t seed = 4;
	struct script *script = script_new("large echo", "echo");

	add_random(script, &seed, 100000);
	script = script_new("large increment", "increment");
	add(script, "^", 1);
	add_random(script, &seed, 60000);
	script = script_new("large lines", "line");
	script->message_max = 64 << 10;
	add_line(script, 40000);
	add_line(script, CHUNK_BYTES);
	add_line(script, CHUNK_BYTES - 1);
	add_line(script, 20000);
	add(script, "and no end", 10);
	script = script_new("many lines", "line");
	for (size_t i = 0; i < 6000; i++)
		add_line(script, i % 5);
	script = script_new("large line too long", "line");
	script->message_max = 32 << 10;
	add_line(script, 30000);
	add_line(script, 40000);
	script = script_new("many frames", "frame");
	script->message_max = 64 << 10;
	add_frame(script, 50000);
	for (uint32_t i = 0; i < 5000; i++)
		add_frame(script, i % 3);
	add(script, "\0", 1);
	script = script_new("large answers and bodies", "http");
	script->message_max = 1 << 20;
	for (int i = 0; i < 3; i++) {
		add_text(script, "GET /bytes/50000 HTTP/1.1\r\nHost:\r\n\r\n");
		add_text(script, "POST /echo HTTP/1.1\r\nHost:\r\nContent-Length: 40000\r\n\r\n");
		add_random(script, &seed, 40000);
	}
}

/* ---- runs ---- */

enum kind {
	STAYS,
	MOVES,
	HEARS,	  /* bytes come while it is frozen */
	OVERLAPS, /* the other process serves it before it departs */
	THAWS,	  /* the other process does not take it; bytes come meanwhile */
	RETURNS,  /* it moves back before the other process has served it */
	ENDS,	  /* all the rest and FIN come while it is frozen */
	REFUSED,  /* the other process can't register it with epoll */
	KINDS
};

struct run {
	const struct script *script;
	struct peer *peer;
	size_t sent, got_n;
	size_t space, drain; /* of the peer; drain: how much it reads at a time, 0: all */
};

static void serve(const struct script *script, uint32_t high, uint32_t low)
{
	for (int i = 0; i < 2; i++) {
		struct world *world = &move.worlds[i];

		world->service.protocol = protocol_find(script->protocol);
		world->service.settings[0] = script->message_max;
		world->table.limits.high_water = high;
		world->table.limits.low_water = low;
		world->stats = (struct stats){0};
	}
	move.here = 0;
}

static void begin(struct run *run)
{
	run->peer = world_connect(sim_move_here(&move));
	run->peer->space = run->space;
}

static void send_some(struct run *run, size_t n)
{
	size_t left = run->script->n - run->sent;

	n = n < left ? n : left;
	peer_send(run->peer, run->script->in + run->sent, n);
	run->sent += n;
}

static void send_rest(struct run *run)
{
	send_some(run, SIZE_MAX);
	peer_finish(run->peer);
}

static void take(struct run *run)
{
	size_t n = run->drain && run->drain < run->peer->out.n ? run->drain : run->peer->out.n;

	EXPECT_MSG(run->got_n + n <= sizeof got, "%s: too much came", run->script->name);
	run->got_n += peer_receive(run->peer, got + run->got_n, n);
}

static void count_snapshot(const struct conn_snapshot *snapshot)
{
	met.moves++;
	met.input += snapshot->input != 0;
	met.owed += snapshot->owed != 0;
	met.held += snapshot->held != 0;
	met.both += snapshot->held && snapshot->owed;
	met.open += snapshot->flags & SNAPSHOT_MESSAGE_OPEN ? 1 : 0;
	met.paused += snapshot->flags & SNAPSHOT_OVER_HIGH_WATER ? 1 : 0;
	met.stalled += snapshot->flags & SNAPSHOT_INPUT_PENDING ? 1 : 0;
	met.speaks += snapshot->flags & SNAPSHOT_PRODUCING ? 1 : 0;
	met.closing += snapshot->phase == 1;
	met.linger += snapshot->phase == 2;
}

static void move_once(struct run *run, enum kind kind)
{
	struct conn *conn;
	struct load load;
	bool taken;

	if (kind == STAYS || run->peer->closed)
		return;
	conn = world_conn(sim_move_here(&move), run->peer);
	if (!conn_freeze(conn))
		return;
	load_take(&load, conn, run->peer);
	count_snapshot(&load.snapshot);
	if (kind == HEARS || kind == THAWS)
		send_some(run, 3);
	if (kind == ENDS)
		send_rest(run);
	if (kind != MOVES && kind != RETURNS)
		sim_move_run(&move);
	if (kind == THAWS) {
		(void)sys_close(load.fd);
		free(load.bytes);
		conn_thaw(conn);
		met.thaws++;
		return;
	}
	if (kind == REFUSED)
		kernel_fail(KERNEL_epoll_ctl, 1, ENOSPC);
	taken = load_leave(&load, &sim_move_there(&move)->service);
	EXPECT(taken == (kind != REFUSED));
	kernel_fail(KERNEL_epoll_ctl, 0, 0);
	if (!taken) {
		conn_thaw(conn);
		met.refusals++;
		return;
	}
	if (kind == OVERLAPS)
		sim_move_run(&move);
	conn_depart(conn);
	move.here = !move.here;
	if (kind == RETURNS)
		EXPECT(sim_move_move(&move, run->peer));
}

static void finish(struct run *run, const char *how)
{
	const struct script *script = run->script;
	size_t n = script->endless && run->got_n < script->out_n ? run->got_n : script->out_n;

	send_rest(run);
	for (int i = 0; !run->peer->closed; i++) {
		EXPECT_MSG(i < 100000, "%s, %s: does not end", script->name, how);
		sim_move_pass(&move);
		take(run);
		if (!kernel.ready_n && !move.worlds[0].loop.first && !move.worlds[1].loop.first)
			kernel_advance(1);
	}
	while (run->peer->out.n)
		take(run);
	answer_mask_dates(got, run->got_n);
	if (!script->endless)
		n = run->got_n;
	EXPECT_MSG(script->endless || run->got_n == script->out_n, "%s, %s: %zu bytes, not %zu",
		   script->name, how, run->got_n, script->out_n);
	EXPECT_MSG(memcmp(got, script->out, n) == 0, "%s, %s: other bytes", script->name, how);
	EXPECT_MSG(sim_move_reason(&move) == script->reason, "%s, %s: closed for %s, not %s",
		   script->name, how, close_reason_name(sim_move_reason(&move)),
		   close_reason_name(script->reason));
	EXPECT(!run->peer->got_reset);
	peer_free(run->peer);
	sim_move_run(&move); /* frees those that departed while they were queued */
	world_expect_free(&move.worlds[0]);
	world_expect_free(&move.worlds[1]);
}

/* Runs the script without a move, and keeps the results. */
static void learn(struct script *script)
{
	struct run run = {.script = script, .space = PEER_SPACE};

	serve(script, 256 << 10, 64 << 10);
	begin(&run);
	if (script->endless)
		while (run.got_n < BYTES_MAX) {
			sim_move_run(&move);
			run.got_n += peer_receive(run.peer, script->out + run.got_n,
						  sizeof script->out - run.got_n);
		}
	send_rest(&run);
	for (int i = 0; !run.peer->closed; i++) {
		EXPECT(i < 100000);
		sim_move_wait(&move, 1);
		run.got_n +=
		    peer_receive(run.peer, script->out + run.got_n, sizeof script->out - run.got_n);
	}
	answer_mask_dates(script->out, run.got_n);
	script->out_n = run.got_n;
	script->reason = sim_move_reason(&move);
	peer_free(run.peer);
}

static void learn_all(struct conn_limits limits)
{
	sim_move_open(&move, "echo", limits, BUFFERS_MIN);
	for (size_t i = 0; i < scripts_n; i++)
		learn(&scripts[i]);
	ck_assert_uint_gt(scripts[0].out_n, 0);
}

/* ---- at every byte ---- */

struct way {
	enum kind kind;
	int before; /* passes between the bytes and the move; -1: until nothing is left to do */
	int narrow; /* 0: the peer reads; 1: not before the move; 2: and little may be owed */
};

static void run_at(const struct script *script, size_t cut, struct way way)
{
	struct run run = {.script = script, .space = PEER_SPACE};
	char how[100];

	(void)snprintf(how, sizeof how, "after %zu, kind %d, %d passes, narrow %d", cut, way.kind,
		       way.before, way.narrow);
	serve(script, way.narrow == 2 ? 10 : 256 << 10, way.narrow == 2 ? 4 : 64 << 10);
	if (script->endless)
		run.space = 2000;
	if (way.narrow) {
		run.space = 7;
		run.drain = 5;
	}
	begin(&run);
	send_some(&run, cut);
	for (int i = 0; i < way.before; i++)
		sim_move_pass(&move);
	if (way.before < 0)
		sim_move_run(&move);
	if (!way.narrow)
		take(&run);
	move_once(&run, way.kind);
	finish(&run, how);
}

static void every_way(const struct script *script, size_t cut)
{
	for (int kind = STAYS; kind < KINDS; kind++)
		for (int before = -1; before < 2; before++)
			for (int narrow = 0; narrow < 3; narrow++)
				run_at(script, cut, (struct way){(enum kind)kind, before, narrow});
}

START_TEST(a_move_between_any_two_bytes)
{
	size_t step = suite_sanitized() ? 3 : 1;

	make_small();
	learn_all((struct conn_limits){WORLD_LIMITS});
	for (size_t i = 0; i < scripts_n; i++)
		for (size_t cut = 0; cut <= scripts[i].n; cut += step)
			every_way(&scripts[i], cut);
	(void)printf("FIGURE moves between any two bytes: %lu, thawed %lu, refused %lu\n",
		     met.moves, met.thaws, met.refusals);
	(void)fflush(stdout);
	ck_assert_uint_gt(met.moves, 1000);
	ck_assert_uint_gt(met.input, 0);
	ck_assert_uint_gt(met.owed, 0);
	ck_assert_uint_gt(met.held, 0);
	ck_assert_uint_gt(met.paused, 0);
	ck_assert_uint_gt(met.closing, 0);
	sim_move_close(&move);
}
END_TEST

/* ---- many moves ---- */

START_TEST(there_and_back_a_hundred_times)
{
	make_small();
	learn_all((struct conn_limits){WORLD_LIMITS});
	for (size_t i = 0; i < scripts_n; i++)
		for (int narrow = 0; narrow < 3; narrow++) {
			struct run run = {.script = &scripts[i],
					  .space = narrow ? 7 : 2000,
					  .drain = narrow ? 1 : 0};
			unsigned long moved = met.moves;

			serve(&scripts[i], narrow == 2 ? 10 : 256 << 10,
			      narrow == 2 ? 4 : 64 << 10);
			begin(&run);
			for (int k = 0; k < 200; k++) {
				if (k % 2)
					send_some(&run, 1);
				if (k % 3)
					sim_move_pass(&move);
				if (k % 5 == 0)
					take(&run);
				move_once(&run, MOVES);
			}
			ck_assert(met.moves - moved == 200 || run.peer->closed);
			finish(&run, "there and back");
		}
	sim_move_close(&move);
}
END_TEST

/* ---- at random ---- */

static void random_step(struct run *run, uint64_t *seed)
{
	static const size_t spans[] = {3, 20, 120, 1000, 40000};

	switch (sim_below(seed, 8)) {
	case 0:
	case 1:
		send_some(run, 1 + sim_below(seed, spans[sim_below(seed, 5)]));
		break;
	case 2:
		move_once(run, (enum kind)(1 + sim_below(seed, KINDS - 1)));
		break;
	case 3:
		take(run);
		break;
	case 4:
		kernel_advance((uint32_t)sim_below(seed, 3));
		break;
	case 5:
		sim_move_run(&move);
		break;
	default:
		world_pass(&move.worlds[sim_below(seed, 2)]);
	}
}

static void random_run(const struct script *script, uint64_t seed)
{
	struct run run = {.script = script, .space = script->endless ? 2000 : PEER_SPACE};
	size_t scale = script->n > 1000 ? 60000 : 300;
	char how[40];

	(void)snprintf(how, sizeof how, "seed %llu", (unsigned long long)seed);
	serve(script, 256 << 10, 64 << 10);
	seed = seed * 1000003 + 17;
	if (sim_below(&seed, 4)) {
		run.space = 1 + sim_below(&seed, scale);
		run.drain = 1 + sim_below(&seed, run.space);
	}
	for (int i = 0; i < 2 && sim_below(&seed, 2); i++) { /* sometimes with different limits */
		struct conn_limits *limits = &move.worlds[i].table.limits;

		limits->high_water = (uint32_t)sim_below(&seed, scale);
		limits->low_water = (uint32_t)sim_below(&seed, limits->high_water + 1);
	}
	begin(&run);
	for (size_t steps = 10 + sim_below(&seed, 200); steps && !run.peer->closed; steps--)
		random_step(&run, &seed);
	finish(&run, how);
}

START_TEST(random_moves)
{
	unsigned long n = suite_volume(1000);

	make_small();
	make_large();
	learn_all((struct conn_limits){WORLD_LIMITS});
	for (unsigned long seed = 0; seed < n; seed++)
		for (size_t i = 0; i < scripts_n; i++)
			random_run(&scripts[i], seed);
	(void)printf("FIGURE random runs: %lu, %lu moves, %lu thawed, %lu refused; with input %lu, "
		     "owed %lu, held %lu, both %lu, half a message %lu, paused %lu, stalled %lu, "
		     "speaking %lu, closing %lu, lingering %lu\n",
		     n * scripts_n, met.moves, met.thaws, met.refusals, met.input, met.owed,
		     met.held, met.both, met.open, met.paused, met.stalled, met.speaks, met.closing,
		     met.linger);
	(void)fflush(stdout);
	ck_assert(met.input && met.owed && met.held && met.both && met.open && met.paused &&
		  met.stalled && met.speaks && met.closing && met.linger);
	sim_move_close(&move);
}
END_TEST

SUITE("sim_snapshot", {"a move between any two bytes", a_move_between_any_two_bytes, 60},
      {"there and back a hundred times", there_and_back_a_hundred_times, 30},
      {"random moves", random_moves, 120})
