/*
 * Chat when something runs out: segments, chunks, the patience with a slow worker. Each test shows
 * one place where a client that takes too much could harm another one, and does not.
 */
#include <stdio.h>

#include "tests/support/sim/sim_chat_workers.h"

static struct sim_chat chat;
static unsigned char got[1 << 20];

static struct sim_chat_setting setting = {SIM_CHAT_SETTING};

static void open_chat(void)
{
	log_open(LOG_ERROR, LOG_LOGFMT);
	sim_chat_open(&chat, &setting);
}

static size_t take_all(struct peer *peer)
{
	size_t n = 0;

	while (peer->out.n) {
		EXPECT(n + peer->out.n <= sizeof got);
		n += peer_receive(peer, got + n, peer->out.n);
		sim_chat_run(&chat);
	}
	return n;
}

static void end(struct peer *const *peers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		peers[i]->space = PEER_SPACE;
		peer_finish(peers[i]);
	}
	sim_chat_wait(&chat, 20);
	for (int round = 0; round < 100; round++)
		for (size_t i = 0; i < n; i++)
			(void)take_all(peers[i]);
	sim_chat_close(&chat);
}

/* ---- segments ---- */

/* The subscription of a client of the first worker. */
static struct subscription *subscription_of_peer(const struct peer *peer)
{
	struct worker *worker = &chat.workers[0];
	struct conn *conn;
	size_t cursor = 0;
	uint32_t handle;

	while ((conn = pool_next(&worker->table.conns, &cursor)))
		if (conn->source.fd == peer->fd)
			break;
	EXPECT(conn);
	memcpy(&handle, conn->state + protocol_find("chat")->carries_at, sizeof handle);
	return subscription_of(&worker->delivery.subscriptions, handle);
}

/* Two clients of a topic say lines of one byte in turn, to be read at once: each piece between
 * lines of its own has only two bytes. */
static void publish_in_turns(struct peer *const *two, int lines)
{
	struct delivery *delivery = &chat.workers[0].delivery;

	for (int i = 0; i < lines; i++) {
		struct subscription *subscription = subscription_of_peer(two[i % 2]);
		struct journal_message message = {
		    .name = {subscription->topic->name, subscription->topic->name_n},
		    .payload = {{(void *)(uintptr_t) "x\n", 2}},
		    .sender = sender_get(&delivery->subscriptions, subscription)->node.hash};
		uint64_t id;

		EXPECT(topics_publish(&delivery->topics, &message, &id) == 0);
	}
	loop_wake(&chat.workers[0].loop, &delivery->source);
}

/* A client that talks and does not read is owed many short pieces: what lies between its own lines.
 */
START_TEST(talkers_who_do_not_read_hold_nobody_up)
{
	struct peer *peers[4];

	open_chat();
	for (unsigned i = 0; i < 4; i++)
		peers[i] = sim_chat_connect(&chat, i / 3, 0);
	peers[0]->space = peers[1]->space = 1;
	for (int i = 0; i < 2000; i++) {
		peer_text(peers[i % 2], "x\n");
		sim_chat_run(&chat);
		(void)take_all(peers[2]);
		(void)take_all(peers[3]);
	}
	sim_chat_wait(&chat, 20);
	(void)take_all(peers[2]);
	peer_text(peers[3], "hello\n");
	sim_chat_wait(&chat, 100);
	ck_assert(!peers[2]->closed);
	ck_assert(!peers[3]->closed);
	peer_expect(peers[2], "hello\n", 6);
	ck_assert_uint_eq(SIM_CHAT_SUM(&chat, missed), 0);
	end(peers, 4);
}
END_TEST

/* When echo finds that its peer does not read, it owes bytes, for which it needs a segment. */
START_TEST(talkers_who_do_not_read_leave_segments_to_others)
{
	struct buffers *buffers = &chat.workers[0].table.buffers;
	struct peer *peers[2 + 8];

	setting.workers = 1;
	open_chat();
	for (unsigned i = 0; i < 2; i++) {
		peers[i] = sim_chat_connect(&chat, 0, 0);
		peers[i]->space = 1;
	}
	for (unsigned i = 2; i < 10; i++) {
		peers[i] = service_connect(&chat.workers[0].echo);
		peers[i]->space = 1;
	}
	/* Until there is only what a batch has to find, and then one that takes all it may. */
	for (int i = 0; i < 2000 && pool_free(&buffers->segments) >
					BATCH_OWN_MAX + 10 + pool_free(&buffers->chunks) + 4;
	     i++) {
		publish_in_turns(peers, 2);
		sim_chat_run(&chat);
	}
	publish_in_turns(peers, BATCH_OWN_MAX);
	sim_chat_run(&chat);
	ck_assert_uint_lt(pool_free(&buffers->segments), 10 + pool_free(&buffers->chunks) + 4);
	for (unsigned i = 2; i < 10; i++)
		peer_text(peers[i], "echo\n");
	sim_chat_run(&chat);
	for (unsigned i = 2; i < 10; i++)
		ck_assert(!peers[i]->closed);
	end(peers, 10);
}
END_TEST

/* Two topics in one pass: there are enough segments for the pieces of either, but not of both. */
START_TEST(two_topics_do_not_promise_the_same_segments)
{
	struct peer *peers[6];

	setting.workers = 1;
	open_chat();
	for (unsigned i = 0; i < 6; i++) {
		peers[i] = sim_chat_connect(&chat, 0, i < 4 ? i / 2 : i % 2);
		peers[i]->space = i < 4 ? 1 : PEER_SPACE;
	}
	for (int i = 0; i < 50; i++) {
		publish_in_turns(peers, 2);
		publish_in_turns(peers + 2, 2);
		sim_chat_run(&chat);
	}
	publish_in_turns(peers, BATCH_OWN_MAX);
	publish_in_turns(peers + 2, BATCH_OWN_MAX);
	sim_chat_wait(&chat, 100);
	for (unsigned i = 4; i < 6; i++) {
		ck_assert(!peers[i]->closed);
		ck_assert_uint_eq(take_all(peers[i]), 200 + 2 * BATCH_OWN_MAX);
	}
	end(peers, 6);
}
END_TEST

/* ---- a worker that is slow to read ---- */

static size_t count_lines(const struct peer *peer, size_t seen[3])
{
	size_t n = peer->out.n, lines = 0;
	const unsigned char *at = peer->out.at + peer->out.start;

	for (size_t i = 0; i < n; i++) {
		if (at[i] != '\n')
			continue;
		seen[at[i - 1] - 'a']++;
		lines++;
	}
	return lines;
}

/* Even if they have to wait all the time, each client that has something to say gets to say it. */
START_TEST(those_that_wait_for_a_slow_worker_take_turns)
{
	static char line[1000];
	struct peer *peers[4];
	size_t seen[3] = {0};

	open_chat();
	for (unsigned i = 0; i < 3; i++)
		peers[i] = sim_chat_connect(&chat, 0, 0);
	peers[3] = sim_chat_connect(&chat, 1, 0);
	for (int round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 3; i++) {
			memset(line, 'a' + (int)i, sizeof line);
			line[sizeof line - 1] = '\n';
			while (peers[i]->in.n < 128u << 10)
				peer_send(peers[i], line, sizeof line);
		}
		for (int pass = 0; pass < 4; pass++)
			worker_pass(&chat.workers[0]);
		kernel_advance(1);
		for (int pass = 0; pass < 40; pass++)
			worker_pass(&chat.workers[1]);
		(void)count_lines(peers[3], seen);
		for (unsigned i = 0; i < 4; i++)
			(void)peer_receive(peers[i], NULL, SIZE_MAX);
	}
	ck_assert_uint_gt(SIM_CHAT_SUM(&chat, publish_waits), 4);
	(void)printf("FIGURE lines to a slow worker: %zu %zu %zu\n", seen[0], seen[1], seen[2]);
	(void)fflush(stdout);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_msg(seen[i] * 6 > seen[0] + seen[1] + seen[2],
			      "member %u said %zu lines of %zu", i, seen[i],
			      seen[0] + seen[1] + seen[2]);
	end(peers, 4);
}
END_TEST

static bool has_come(const struct peer *peer, const char *text, size_t n)
{
	return peer->out.n >= n && memmem(peer->out.at + peer->out.start, peer->out.n, text, n);
}

/* If short lines could always take the space first, there would never be enough for a long one. */
START_TEST(short_lines_do_not_overtake_a_long_one_for_ever)
{
	static char line[16001];
	struct peer *peers[4];
	int rounds = 0;

	open_chat();
	for (unsigned i = 0; i < 3; i++)
		peers[i] = sim_chat_connect(&chat, 0, 0);
	peers[3] = sim_chat_connect(&chat, 1, 0);
	memset(line, 'l', sizeof line);
	line[sizeof line - 1] = '\n';
	while (!has_come(peers[3], line, sizeof line)) {
		ck_assert_int_lt(rounds++, 50);
		(void)peer_receive(peers[3], NULL, SIZE_MAX);
		for (unsigned i = 0; i < 2; i++)
			while (peers[i]->in.n < 128u << 10)
				peer_text(peers[i], "a short line\n");
		if (rounds == 10)
			peer_send(peers[2], line, sizeof line);
		for (int pass = 0; pass < 4; pass++)
			worker_pass(&chat.workers[0]);
		kernel_advance(1);
		worker_pass(&chat.workers[1]); /* it reads: that lets a few lines more be said */
		for (unsigned i = 0; i < 3; i++)
			(void)peer_receive(peers[i], NULL, SIZE_MAX);
	}
	(void)printf("FIGURE rounds until a long line came, beside short ones: %d\n", rounds - 10);
	(void)fflush(stdout);
	end(peers, 4);
}
END_TEST

/* ---- a graceful stop ---- */

/* A client that goes on talking does not keep the process from ending. */
START_TEST(a_stop_does_not_wait_for_clients_that_go_on_talking)
{
	struct peer *peers[3];
	int passes = 0;

	setting.workers = 1;
	open_chat();
	for (unsigned i = 0; i < 3; i++)
		peers[i] = sim_chat_connect(&chat, 0, 0);
	sim_chat_run(&chat);
	peer_text(peers[0], "said before\n");
	delivery_drain(&chat.workers[0].delivery, false);
	delivery_close_doors(&chat.workers[0].delivery);
	conn_table_drain(&chat.workers[0].table);
	while (!peers[1]->closed) {
		ck_assert_int_lt(passes++, 1000);
		peer_text(peers[0], "on and on\n");
		kernel_advance(1);
		worker_pass(&chat.workers[0]);
		(void)peer_receive(peers[2], NULL, SIZE_MAX);
	}
	ck_assert_int_eq(memcmp(peers[1]->out.at + peers[1]->out.start, "said before\n", 12), 0);
	(void)printf("FIGURE passes until the end, beside one who goes on talking: %d\n", passes);
	(void)fflush(stdout);
	end(peers, 3);
}
END_TEST

/* ---- many members ---- */

#define MEMBERS 1000

static struct peer *members[MEMBERS];

static struct peer *open_for_many(void)
{
	setting.workers = 1;
	setting.limits.connections_max = MEMBERS + 10;
	open_chat();
	for (unsigned i = 0; i < MEMBERS; i++)
		members[i] = sim_chat_connect(&chat, 0, 0);
	return service_connect(&chat.workers[0].echo);
}

/* In each pass a line goes to DELIVERY_TURN_MEMBERS members at most, and other connections get
 * their turns, too. */
START_TEST(a_line_to_many_goes_out_between_the_turns_of_others)
{
	struct stats *stats = &chat.workers[0].stats;
	struct peer *other = open_for_many();
	int passes = 0;

	for (unsigned i = 0; i < 512; i++) /* empty lines, as many as a batch can have */
		peer_text(members[0], "\n");
	do {
		uint64_t writes = kernel.calls[KERNEL_write] + kernel.calls[KERNEL_writev];

		peer_text(other, "ping");
		worker_pass(&chat.workers[0]);
		peer_expect(other, "ping", 4);
		writes = kernel.calls[KERNEL_write] + kernel.calls[KERNEL_writev] - writes;
		ck_assert_uint_le(writes, DELIVERY_TURN_MEMBERS + 1);
		ck_assert_int_lt(passes++, 100);
	} while (stats->deliveries < 512 * (MEMBERS - 1) || chat.workers[0].loop.first);
	ck_assert_int_ge(passes, MEMBERS / DELIVERY_TURN_MEMBERS);
	for (unsigned i = 1; i < MEMBERS; i++)
		ck_assert_uint_eq(members[i]->out.n, 512);
	ck_assert_uint_eq(members[0]->out.n, 0);
	peer_finish(other);
	end(members, MEMBERS);
}
END_TEST

/* A client that joins meanwhile hears what is said later; one that leaves does no harm. */
START_TEST(members_come_and_go_while_a_line_goes_out)
{
	struct stats *stats = &chat.workers[0].stats;
	struct peer *other = open_for_many(), *late[3];

	peer_text(members[0], "one\n");
	while (!stats->deliveries)
		worker_pass(&chat.workers[0]);
	ck_assert_uint_lt(stats->deliveries, MEMBERS / 2);
	for (unsigned i = 0; i < 3;
	     i++) { /* some are before the cursor, some after; replaces them */
		unsigned gone = i ? MEMBERS - i : 1;

		peer_reset(members[gone]);
		worker_pass(&chat.workers[0]);
		members[gone] = late[i] = sim_chat_connect(&chat, 0, 0);
	}
	sim_chat_wait(&chat, 20);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(late[i]->out.n, 0);
	peer_text(late[1], "two\n");
	sim_chat_wait(&chat, 20);
	peer_expect(late[0], "two\n", 4);
	peer_expect(late[2], "two\n", 4);
	for (unsigned i = 1; i < MEMBERS; i++)
		if (members[i] != late[0] && members[i] != late[1] && members[i] != late[2])
			peer_expect(members[i], "one\ntwo\n", 8);
	peer_finish(other);
	end(members, MEMBERS);
}
END_TEST

SUITE("sim_chat_edges",
      {"talkers who do not read hold nobody up", talkers_who_do_not_read_hold_nobody_up, 30},
      {"talkers who do not read leave segments to others",
       talkers_who_do_not_read_leave_segments_to_others, 30},
      {"two topics do not promise the same segments", two_topics_do_not_promise_the_same_segments,
       30},
      {"those that wait for a slow worker take turns", those_that_wait_for_a_slow_worker_take_turns,
       30},
      {"short lines do not overtake a long one for ever",
       short_lines_do_not_overtake_a_long_one_for_ever, 30},
      {"a stop does not wait for clients that go on talking",
       a_stop_does_not_wait_for_clients_that_go_on_talking, 30},
      {"a line to many goes out between the turns of others",
       a_line_to_many_goes_out_between_the_turns_of_others, 30},
      {"members come and go while a line goes out", members_come_and_go_while_a_line_goes_out, 30})
