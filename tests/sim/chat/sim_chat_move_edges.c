/*
 * Chat clients on their way between workers, when something is scarce, late or false: the ring
 * is full, the answer does not come, buffers are used up, marks or orders are garbage. Each test
 * shows one place where a line, or another client, could be lost, and is not.
 */
#include <stdio.h>

#include "tests/support/sim/sim_move.h"
#include "tests/support/sim/sim_chat_workers.h"

#define SENDER	  0
#define RECEIVER  1
#define OTHER	  2
#define LINE_N	  1000 /* bytes of a line */
#define LOOKED_AT 18   /* offset in the state of a chat: after an address and a port */

static struct sim_chat chat;
static struct sim_chat_setting setting = {SIM_CHAT_SETTING};

/* One client, on its way from the sender to the receiver. */
static struct {
	struct peer *peer;
	struct conn *conn;
	struct load load;
	uint64_t marks[BUS_SEATS_MAX];
	unsigned marks_n;
} way;

static void open_chat(void)
{
	log_open(LOG_ERROR, LOG_LOGFMT);
	setting.workers = 3;
	sim_chat_open(&chat, &setting);
}

static void end(struct peer *const *peers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		peers[i]->space = PEER_SPACE;
		(void)peer_receive(peers[i], NULL, SIZE_MAX);
		peer_finish(peers[i]);
	}
	for (int i = 0; i < 20; i++) {
		sim_chat_wait(&chat, 2);
		for (size_t p = 0; p < n; p++)
			(void)peer_receive(peers[p], NULL, SIZE_MAX);
	}
	sim_chat_close(&chat);
}

/* ---- the steps ---- */

static struct conn *conn_at(unsigned worker, int fd)
{
	struct conn *conn;
	size_t cursor = 0;

	while ((conn = pool_next(&chat.workers[worker].table.conns, &cursor)))
		if (conn->source.fd == fd)
			return conn;
	return NULL;
}

static bool mark(struct peer *peer)
{
	way.peer = peer;
	way.conn = conn_at(SENDER, peer->fd);
	EXPECT(way.conn && conn_freeze(way.conn));
	return relay_mark(&chat.workers[SENDER].relay, way.marks, &way.marks_n);
}

static void set_out(struct peer *peer)
{
	EXPECT(mark(peer));
	load_take(&way.load, way.conn, peer);
}

static bool catch_up(void)
{
	return relay_catch_up(&chat.workers[RECEIVER].relay, way.marks, way.marks_n, 1);
}

/* The receiver takes the client; the sender does not know it yet. */
static void arrive(void)
{
	EXPECT(load_leave(&way.load, &chat.workers[RECEIVER].services[0]));
	relay_end_catch_up(&chat.workers[RECEIVER].relay);
}

static void answer_taken(void)
{
	conn_depart(way.conn);
	relay_unmark(&chat.workers[SENDER].relay);
}

static void answer_refused(void)
{
	EXPECT(sys_close(way.load.fd) == 0);
	free(way.load.bytes);
	conn_thaw(way.conn);
	relay_unmark(&chat.workers[SENDER].relay);
}

static void move(struct peer *peer)
{
	set_out(peer);
	EXPECT(catch_up());
	arrive();
	answer_taken();
}

/* ---- lines ---- */

static void say_lines(struct peer *peer, unsigned first, unsigned n)
{
	char line[LINE_N + 1];

	for (unsigned i = first; i < first + n; i++) {
		(void)snprintf(line, sizeof line, "%-*u\n", LINE_N - 1, i);
		peer_send(peer, line, LINE_N);
	}
}

/* Receives the whole lines that have come, which have to be the next ones. Returns how many. */
static unsigned hear_lines(struct peer *peer, unsigned first)
{
	unsigned n = 0;
	char line[LINE_N + 1], expected[LINE_N + 1];

	for (; peer->out.n >= LINE_N; n++) {
		EXPECT(peer_receive(peer, line, LINE_N) == LINE_N);
		(void)snprintf(expected, sizeof expected, "%-*u\n", LINE_N - 1, first + n);
		EXPECT_MSG(memcmp(line, expected, LINE_N) == 0, "%.20s in place of %u", line,
			   first + n);
	}
	return n;
}

static unsigned hear_all_lines(struct peer *peer)
{
	unsigned n = 0, more;

	do {
		sim_chat_wait(&chat, 2 * RELAY_REST_MS);
		more = hear_lines(peer, n);
		n += more;
	} while (more);
	return n;
}

/* ---- the ring ---- */

/* Meanwhile others publish as much as the ring has room for, and the rest when there is room again.
 */
START_TEST(what_comes_on_the_way_is_kept)
{
	struct peer *peers[2];

	open_chat();
	peers[0] = sim_chat_connect(&chat, SENDER, 0);
	peers[1] = sim_chat_connect(&chat, OTHER, 0);
	say_lines(peers[1], 0, 3);
	sim_chat_run(&chat);
	set_out(peers[0]);
	say_lines(peers[1], 3, 197);
	sim_chat_wait(&chat, RELAY_HOLD_MS / 2);
	ck_assert(chat.workers[OTHER].relay.waiting);
	ck_assert(catch_up());
	arrive();
	sim_chat_run(&chat);
	ck_assert_uint_ge(hear_lines(peers[0], 0), 3 + SIM_CHAT_RING_MIN / LINE_N * 9 / 10);
	answer_taken();
	sim_chat_wait(&chat, 100);
	ck_assert(!chat.workers[OTHER].relay.waiting);
	ck_assert_uint_eq(peers[0]->received / LINE_N +
			      hear_lines(peers[0], (unsigned)(peers[0]->received / LINE_N)),
			  200);
	ck_assert_uint_eq(SIM_CHAT_SUM(&chat, left_behind) + SIM_CHAT_SUM(&chat, missed), 0);
	end(peers, 2);
}
END_TEST

/* If the answer to a move does not come, no client waits for long and no worker is left behind. */
START_TEST(an_answer_that_is_late_holds_nobody_up)
{
	struct peer *peers[2];

	open_chat();
	peers[0] = sim_chat_connect(&chat, SENDER, 0);
	peers[1] = sim_chat_connect(&chat, OTHER, 0);
	sim_chat_run(&chat);
	set_out(peers[0]);
	say_lines(peers[1], 0, 200);
	sim_chat_wait(&chat, RELAY_HOLD_MS - 1);
	ck_assert(chat.workers[OTHER].relay.waiting);
	sim_chat_wait(&chat, 100);
	ck_assert(!chat.workers[OTHER].relay.waiting);
	ck_assert(!catch_up()); /* the first lines were overwritten */
	ck_assert_uint_eq(chat.workers[RECEIVER].relay.replay.n, 0);
	answer_refused();
	ck_assert_uint_eq(hear_all_lines(peers[0]), 200);
	/* The next move succeeds. */
	move(peers[0]);
	say_lines(peers[1], 200, 1);
	sim_chat_wait(&chat, 20);
	ck_assert_uint_eq(hear_lines(peers[0], 200), 1);
	ck_assert_uint_eq(SIM_CHAT_SUM(&chat, left_behind) + SIM_CHAT_SUM(&chat, missed), 0);
	end(peers, 2);
}
END_TEST

/* ---- slow clients ---- */

static void pass_but_receiver(void)
{
	for (int i = 0; i < 40; i++) {
		worker_pass(&chat.workers[OTHER]);
		worker_pass(&chat.workers[SENDER]);
		kernel_advance(1);
	}
}

/* While a client is on its way it can't read, so it is no slow consumer, whether it moves or stays.
 */
START_TEST(a_client_on_its_way_is_not_slow)
{
	struct peer *peers[3];

	setting.slow = 4 * LINE_N;
	open_chat();
	peers[0] = sim_chat_connect(&chat, SENDER, 0);
	peers[1] = sim_chat_connect(&chat, OTHER, 0);
	peers[2] = sim_chat_connect(&chat, RECEIVER, 0);
	sim_chat_run(&chat);
	for (unsigned round = 0; round < 4; round++) {
		set_out(peers[0]);
		say_lines(peers[1], 40 * round, 20);
		pass_but_receiver();
		say_lines(peers[1], 40 * round + 20, 20);
		worker_pass(&chat.workers[OTHER]); /* the sender has this to read first */
		loop_wake(&chat.workers[SENDER].loop, &chat.workers[SENDER].relay.source);
		if (round < 3) {
			answer_refused();
		} else {
			ck_assert(catch_up());
			arrive();
			answer_taken();
		}
		sim_chat_wait(&chat, 50);
		ck_assert(!peers[0]->closed && !peers[2]->closed);
		ck_assert_uint_eq(hear_lines(peers[0], 40 * round), 40);
		ck_assert_uint_eq(hear_lines(peers[2], 40 * round), 40);
	}
	end(peers, 3);
}
END_TEST

/* Nor are the receiver's clients, to which lines that the newcomer has heard already come all at
 * once. */
START_TEST(a_client_that_has_arrived_is_not_slow)
{
	struct relay *relay = &chat.workers[RECEIVER].relay;
	struct peer *peers[3];

	setting.slow = 4 * LINE_N;
	open_chat();
	for (unsigned i = 0; i < 3; i++)
		peers[i] = sim_chat_connect(&chat, i, 0);
	sim_chat_run(&chat);
	say_lines(peers[OTHER], 0, 40);
	pass_but_receiver();
	ck_assert_uint_eq(hear_lines(peers[SENDER], 0), 40);
	set_out(peers[SENDER]);
	loop_wake(relay->loop, &relay->source); /* it gets its turn before the clients' */
	ck_assert(catch_up());
	arrive();
	answer_taken();
	say_lines(peers[OTHER], 40, 3);
	worker_pass(&chat.workers[OTHER]);
	sim_chat_wait(&chat, 50);
	ck_assert(!peers[RECEIVER]->closed);
	ck_assert_uint_eq(hear_lines(peers[RECEIVER], 0), 43);
	ck_assert_uint_eq(hear_lines(peers[SENDER], 40), 3);
	end(peers, 3);
}
END_TEST

/* One that does not read before its move is as slow after it. */
START_TEST(a_client_that_does_not_read_is_slow_after_its_move)
{
	struct peer *peers[3];

	setting.slow = 4 * LINE_N;
	open_chat();
	for (unsigned i = 0; i < 3; i++)
		peers[i] = sim_chat_connect(&chat, i ? OTHER : SENDER, 0);
	peers[0]->space = 10;
	say_lines(peers[1], 0, 3);
	sim_chat_run(&chat);
	move(peers[0]);
	sim_chat_wait(&chat, 50);
	ck_assert(!peers[0]->closed);
	for (unsigned i = 3; i < 8; i++) {
		say_lines(peers[1], i, 1);
		sim_chat_wait(&chat, 50);
	}
	ck_assert(peers[0]->closed);
	ck_assert_uint_eq(chat.workers[RECEIVER].stats.closed[CLOSE_slow_consumer], 1);
	ck_assert(!peers[2]->closed);
	ck_assert_uint_eq(hear_lines(peers[2], 0), 8);
	end(peers, 3);
}
END_TEST

/* ---- buffers ---- */

static struct chunk *hoard[4096];

static size_t take_buffers(unsigned worker, size_t left)
{
	struct buffers *buffers = &chat.workers[worker].table.buffers;
	size_t n = 0;

	while (pool_free(&buffers->chunks) > left)
		hoard[n++] = chunk_new(buffers);
	return n;
}

static void give_buffers(unsigned worker, size_t n)
{
	while (n)
		chunk_release(&chat.workers[worker].table.buffers, hoard[--n]);
}

START_TEST(without_buffers_nobody_moves)
{
	struct peer *peers[3];
	size_t n;

	open_chat();
	for (unsigned i = 0; i < 3; i++)
		peers[i] = sim_chat_connect(&chat, i ? OTHER : SENDER, 0);
	sim_chat_run(&chat);
	peer_text(peers[0], "own\n");
	worker_pass(&chat.workers[SENDER]); /* the line is published, but not delivered yet */
	n = take_buffers(SENDER, 0);
	ck_assert(!mark(peers[0]));
	ck_assert_uint_eq(chat.workers[SENDER].relay.marks_n, 0);
	give_buffers(SENDER, n);
	ck_assert(relay_mark(&chat.workers[SENDER].relay, way.marks, &way.marks_n));
	load_take(&way.load, way.conn, way.peer);
	say_lines(peers[1], 0, 60);
	sim_chat_run(&chat);
	n = take_buffers(RECEIVER, BUFFERS_MIN / CHUNK_SIZE / 4); /* a reserve for others */
	ck_assert(!catch_up());
	ck_assert_uint_eq(chat.workers[RECEIVER].relay.replay.n, 0);
	ck_assert_uint_eq(pool_free(&chat.workers[RECEIVER].table.buffers.chunks),
			  BUFFERS_MIN / CHUNK_SIZE / 4);
	give_buffers(RECEIVER, n);
	ck_assert(catch_up());
	arrive();
	answer_taken();
	ck_assert_uint_eq(hear_all_lines(peers[0]), 60);
	end(peers, 3);
}
END_TEST

/* ---- garbage ---- */

START_TEST(false_marks_are_refused)
{
	static uint64_t marks[BUS_SEATS_MAX];
	struct relay *relay;
	struct peer *peers[2];
	uint64_t seed = 3;
	unsigned long kept = 0;

	open_chat();
	relay = &chat.workers[RECEIVER].relay;
	peers[0] = sim_chat_connect(&chat, RECEIVER, 0);
	peers[1] = sim_chat_connect(&chat, OTHER, 0);
	for (unsigned round = 0; round < 20; round++) {
		say_lines(peers[1], round * 20, 20);
		sim_chat_wait(&chat, 50);
		ck_assert_uint_eq(hear_lines(peers[0], round * 20), 20);
	}
	for (unsigned i = 0; i < 3; i++)
		marks[i] = relay->port.at[i];
	ck_assert(!relay_catch_up(relay, marks, 4, 1)); /* there are only 3 */
	marks[OTHER]++;
	ck_assert(!relay_catch_up(relay, marks, 3, 1)); /* beyond what was published */
	/* Marks in the middle of a record may be accepted, if that does no harm. */
	for (unsigned long i = 0; i < suite_volume(20000); i++) {
		marks[OTHER] = relay->port.at[OTHER] - sim_below(&seed, SIM_CHAT_RING_MIN);
		if (!relay_catch_up(relay, marks, 3, 1))
			continue;
		kept++;
		relay_end_catch_up(relay);
	}
	ck_assert_uint_gt(kept, 0);
	say_lines(peers[1], 400, 20);
	sim_chat_wait(&chat, 50);
	ck_assert_uint_eq(hear_lines(peers[0], 400), 20);
	peer_text(peers[0], "still here\n");
	sim_chat_wait(&chat, 50);
	peer_expect(peers[1], "still here\n", 11);
	end(peers, 2);
}
END_TEST

static void publish_order(unsigned worker, const void *order, size_t n)
{
	EXPECT(bus_publish(&chat.workers[worker].relay.port, RELAY_ORDER, 0,
			   (struct iovec){(void *)(uintptr_t)order, n}, (struct iovec){0}));
}

/* Orders that no process of ours would write do not stop the reader: what follows is read. */
START_TEST(false_orders_are_read_over)
{
	static uint64_t order[BUS_RECORD_MAX / sizeof(uint64_t)];
	struct peer *peers[3];

	open_chat();
	for (unsigned i = 0; i < 3; i++)
		peers[i] = sim_chat_connect(&chat, i, 0);
	sim_chat_run(&chat);
	/* Each of the two demands that the other one be read first; later ones name all seats. */
	order[RECEIVER] = 1000000;
	publish_order(OTHER, order, 3 * sizeof *order);
	order[OTHER] = 1000000;
	publish_order(RECEIVER, order, 3 * sizeof *order);
	publish_order(RECEIVER, order, 7);
	publish_order(RECEIVER, order, 0);
	for (size_t i = 0; i < sizeof order / sizeof *order; i++)
		order[i] = UINT64_MAX;
	publish_order(OTHER, order, BUS_SEATS_MAX * sizeof *order);
	publish_order(RECEIVER, order, BUS_RECORD_MAX);
	peer_text(peers[OTHER], "from other\n");
	sim_chat_wait(&chat, 100);
	peer_expect(peers[SENDER], "from other\n", 11);
	peer_text(peers[RECEIVER], "from receiver\n");
	sim_chat_wait(&chat, 100);
	peer_expect(peers[SENDER], "from receiver\n", 14);
	move(peers[SENDER]);
	peer_text(peers[SENDER], "from sender\n");
	sim_chat_wait(&chat, 100);
	peer_expect(peers[OTHER], "from receiver\nfrom sender\n", 26);
	end(peers, 3);
}
END_TEST

/* ---- names ---- */

/* If there is no address (a unix socket, or the kernel does not tell), a client has a unique name.
 */
START_TEST(a_name_goes_along_with_its_client)
{
	struct peer *peers[3];

	setting.names = true;
	open_chat();
	kernel_fail(KERNEL_getpeername, 0, ENOTCONN);
	peers[0] = sim_chat_connect(&chat, SENDER, 0);
	peers[1] = sim_chat_connect(&chat, OTHER, 0);
	peer_text(peers[0], "one\n");
	sim_chat_wait(&chat, 20);
	peer_expect(peers[1], "unix:0.1: one\n", 14);
	move(peers[0]);
	peers[2] = sim_chat_connect(&chat, SENDER, 0); /* takes the place of the one that left */
	peer_text(peers[0], "two\n");
	sim_chat_wait(&chat, 20);
	peer_text(peers[2], "three\n");
	sim_chat_wait(&chat, 20);
	peer_expect(peers[1], "unix:0.1: two\nunix:0.2: three\n", 30);
	kernel_fail(KERNEL_getpeername, 0, 0);
	end(peers, 3);
}
END_TEST

/* ---- the end of a worker ---- */

START_TEST(a_client_that_can_not_move_is_drained_beside_those_that_did)
{
	struct peer *peers[3];

	open_chat();
	for (unsigned i = 0; i < 3; i++)
		peers[i] = sim_chat_connect(&chat, i < 2 ? SENDER : OTHER, 0);
	sim_chat_run(&chat);
	move(peers[0]);
	peer_text(peers[1], "last words\n");
	relay_drain(&chat.workers[SENDER].relay, true);
	conn_table_drain(&chat.workers[SENDER].table);
	relay_close_doors(&chat.workers[SENDER].relay);
	peer_text(peers[2], "to all who are there\n");
	sim_chat_wait(&chat, 100);
	peer_expect(peers[0], "last words\nto all who are there\n", 32);
	peer_expect(peers[1], "to all who are there\n", 21);
	ck_assert(peers[1]->closed && !peers[0]->closed && !peers[2]->closed);
	ck_assert_uint_eq(chat.workers[SENDER].stats.closed[CLOSE_drained], 1);
	peer_text(peers[0], "goes on\n");
	sim_chat_wait(&chat, 100);
	peer_expect(peers[2], "last words\ngoes on\n", 19);
	/* And a relay whose doors are closed takes no clients. */
	way.marks_n = 3;
	memcpy(way.marks, chat.workers[RECEIVER].relay.port.at, 3 * sizeof *way.marks);
	ck_assert(!relay_catch_up(&chat.workers[SENDER].relay, way.marks, 3, 1));
	end(peers, 3);
}
END_TEST

/* What the sender claims about input that has come is checked again. */
START_TEST(a_false_state_reads_no_other_memory)
{
	static const char half[] = "half", rest[] = " a line\n", whole[] = "half a line\n";
	struct peer *peers[2];
	char heard[sizeof whole];

	open_chat();
	peers[0] = sim_chat_connect(&chat, SENDER, 0);
	peers[1] = sim_chat_connect(&chat, OTHER, 0);
	peer_send(peers[0], half, strlen(half));
	sim_chat_run(&chat);
	set_out(peers[0]);
	ck_assert_uint_eq(way.load.snapshot.input, strlen(half));
	memset(way.load.snapshot.state + LOOKED_AT, 0xff, sizeof(uint16_t));
	ck_assert(catch_up());
	arrive();
	answer_taken();
	peer_send(peers[0], rest, strlen(rest));
	sim_chat_wait(&chat, 2 * RELAY_REST_MS);
	ck_assert(!peers[0]->closed);
	ck_assert_uint_eq(peer_receive(peers[1], heard, sizeof heard), strlen(whole));
	ck_assert_mem_eq(heard, whole, strlen(whole));
	end(peers, 2);
}
END_TEST

SUITE("sim_chat_move_edges", {"what comes on the way is kept", what_comes_on_the_way_is_kept, 30},
      {"an answer that is late holds nobody up", an_answer_that_is_late_holds_nobody_up, 30},
      {"a client on its way is not slow", a_client_on_its_way_is_not_slow, 30},
      {"a client that has arrived is not slow", a_client_that_has_arrived_is_not_slow, 30},
      {"a client that does not read is slow after its move",
       a_client_that_does_not_read_is_slow_after_its_move, 30},
      {"without buffers nobody moves", without_buffers_nobody_moves, 30},
      {"false marks are refused", false_marks_are_refused, 30},
      {"false orders are read over", false_orders_are_read_over, 30},
      {"a name goes along with its client", a_name_goes_along_with_its_client, 30},
      {"a client that can not move is drained beside those that did",
       a_client_that_can_not_move_is_drained_beside_those_that_did, 30},
      {"a false state reads no other memory", a_false_state_reads_no_other_memory, 10})
