/*
 * Chat clients on their way between workers, when something is scarce, late or false: the answer
 * does not come, the journal goes on without them, buffers are used up, what another process says
 * is garbage. Each test shows one place where a line, or another client, could be lost, and is not.
 */
#include "tests/sim/chat/chat_move_steps.h"

#define LOOKED_AT 18 /* offset in the state of a chat: after an address and a port */

/* ---- the journal ---- */

/* Meanwhile others talk, and wait for nobody who is on the way. */
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
	sim_chat_wait(&chat, 500);
	ck_assert_uint_eq(chat.workers[OTHER].stats.published, 200);
	arrive();
	sim_chat_run(&chat);
	ck_assert_uint_eq(hear_lines(peers[0], 0), 200);
	answer_taken();
	say_lines(peers[1], 200, 1);
	sim_chat_wait(&chat, 100);
	ck_assert_uint_eq(hear_lines(peers[0], 200), 1);
	ck_assert_uint_eq(SIM_CHAT_SUM(&chat, left_behind) + SIM_CHAT_SUM(&chat, missed), 0);
	ck_assert_uint_eq(SIM_CHAT_SUM(&chat, gaps), 0);
	end(peers, 2);
}
END_TEST

/* If more is said meanwhile than the journal holds, nobody can give the client what it missed: it
 * is closed, and has not heard a line behind a hole. */
START_TEST(one_that_is_on_the_way_for_too_long_is_closed)
{
	struct peer *peers[2];

	open_chat();
	peers[0] = sim_chat_connect(&chat, SENDER, 0);
	peers[1] = sim_chat_connect(&chat, OTHER, 0);
	sim_chat_run(&chat);
	set_out(peers[0]);
	for (unsigned round = 0; round < 20; round++) {
		say_lines(peers[1], 100 * round, 100);
		sim_chat_wait(&chat, 100);
	}
	ck_assert_uint_eq(chat.workers[OTHER].stats.published, 2000);
	arrive();
	answer_taken();
	sim_chat_run(&chat);
	ck_assert(peers[0]->closed);
	ck_assert_uint_eq(peers[0]->out.n, 0);
	ck_assert_uint_eq(SIM_CHAT_SUM(&chat, gaps), 1);
	ck_assert_uint_eq(chat.workers[RECEIVER].stats.closed[CLOSE_slow_consumer], 1);
	ck_assert_uint_eq(SIM_CHAT_SUM(&chat, left_behind) + SIM_CHAT_SUM(&chat, missed), 0);
	end(peers, 2);
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

/* A client that owes nothing needs none to move, and hears what came meanwhile when there are some
 * again. One that is owed something stays where it is. */
START_TEST(without_buffers_nothing_is_lost)
{
	struct peer *peers[3];
	size_t n;

	open_chat();
	for (unsigned i = 0; i < 3; i++)
		peers[i] = sim_chat_connect(&chat, i == 2 ? OTHER : SENDER, 0);
	peers[1]->space = 10;
	sim_chat_run(&chat);
	set_out(peers[0]);
	say_lines(peers[2], 0, 60);
	sim_chat_wait(&chat, 50);
	n = take_buffers(RECEIVER, 0);
	arrive();
	answer_taken();
	sim_chat_wait(&chat, 50);
	ck_assert_uint_eq(hear_lines(peers[0], 0), 0);
	ck_assert(!peers[0]->closed);
	set_out(peers[1]);
	ck_assert_uint_gt(way.load.snapshot.owed, 0);
	ck_assert(!load_leave(&way.load, &chat.workers[RECEIVER].services[0]));
	conn_thaw(way.conn);
	give_buffers(RECEIVER, n);
	sim_chat_wait(&chat, 2000);
	ck_assert_uint_eq(hear_all_lines(peers[0]), 60);
	peers[1]->space = PEER_SPACE;
	(void)peer_receive(peers[1], NULL, 0);
	ck_assert_uint_eq(hear_all_lines(peers[1]), 60);
	end(peers, 3);
}
END_TEST

/* ---- garbage ---- */

struct packed { /* as a subscription travels; the name follows */
	uint64_t position, sender;
	uint32_t number;
	uint8_t numbered, unused[2], name_n;
};

/* Takes a client whose description says this of its subscriptions. The receiver's clients notice
 * nothing, and neither does the memory behind these n bytes. False: it was refused. */
static bool adopt_carrying(const unsigned char *carried, size_t n)
{
	const struct protocol *protocol = protocol_find("chat");
	struct conn_snapshot snapshot = {.flags = SNAPSHOT_CARRIES};
	unsigned char *bytes = malloc(n ? n : 1);
	uint32_t n32 = (uint32_t)n;
	struct peer *peer;
	bool taken;
	int fd;

	peer = peer_new(&fd);
	memcpy(snapshot.state + protocol->carries_at, &n32, sizeof n32);
	if (n)
		memcpy(bytes, carried, n);
	taken = conn_adopt(&chat.workers[RECEIVER].services[0], fd, &snapshot, bytes);
	free(bytes);
	if (taken) {
		sim_chat_run(&chat);
		peer_reset(peer);
		sim_chat_run(&chat);
	} else {
		EXPECT(sys_close(fd) == 0);
	}
	EXPECT(peer->closed);
	peer_free(peer);
	return taken;
}

static bool adopt_subscribed(struct packed packed, const char *name)
{
	unsigned char bytes[sizeof packed + 256] = {0};
	size_t n = strlen(name);

	if (!packed.name_n)
		packed.name_n = (uint8_t)n;
	memcpy(bytes, &packed, sizeof packed);
	memcpy(bytes + sizeof packed, name, n);
	return adopt_carrying(bytes, sizeof packed + n);
}

START_TEST(false_subscriptions_are_refused_or_do_no_harm)
{
	static unsigned char bytes[400];
	struct peer *peers[2];
	uint64_t seed = 3, end_id;
	unsigned long taken = 0, n = suite_volume(20000);

	open_chat();
	peers[0] = sim_chat_connect(&chat, RECEIVER, 0);
	peers[1] = sim_chat_connect(&chat, OTHER, 0);
	say_lines(peers[1], 0, 20);
	sim_chat_wait(&chat, 50);
	ck_assert_uint_eq(hear_lines(peers[0], 0), 20);
	end_id = journal_end(&chat.journal);
	ck_assert(!adopt_carrying((const unsigned char *)"x", 1));
	ck_assert(!adopt_subscribed((struct packed){.position = 1}, "")); /* no name */
	ck_assert(!adopt_subscribed((struct packed){.name_n = 9}, "chat/one"));
	ck_assert(!adopt_subscribed((struct packed){.name_n = 7}, "chat/one"));
	ck_assert(adopt_subscribed((struct packed){.position = end_id + 1000}, "chat/one"));
	ck_assert(adopt_subscribed((struct packed){.position = UINT64_MAX}, "chat/one"));
	ck_assert(adopt_subscribed((struct packed){.position = 0}, "chat/one"));
	ck_assert(adopt_subscribed((struct packed){.sender = UINT64_MAX}, "chat/one"));
	/* The number of somebody who is here does not make that one deaf or dumb. */
	for (uint64_t sender = 0; sender < 8; sender++)
		ck_assert(adopt_subscribed((struct packed){.sender = sender}, "chat/one"));
	for (unsigned long i = 0; i < n; i++) {
		struct packed packed = {
		    .position =
			sim_below(&seed, 2) ? end_id - sim_below(&seed, 30) : sim_random(&seed),
		    .sender = sim_below(&seed, 4),
		    .number = (uint32_t)sim_random(&seed),
		    .numbered = sim_below(&seed, 2) != 0,
		    .name_n = (uint8_t)(sim_below(&seed, 30) ? 8 : sim_below(&seed, 256))};
		size_t at = 0;

		for (size_t left = 1 + sim_below(&seed, 11); left; left--) {
			memcpy(bytes + at, &packed, sizeof packed);
			memcpy(bytes + at + sizeof packed, "chat/one", 8);
			at += sizeof packed + 8;
		}
		taken += adopt_carrying(bytes, at);
	}
	ck_assert_uint_gt(taken, n / 2);
	ck_assert_uint_lt(taken, n);
	say_lines(peers[1], 20, 20);
	sim_chat_wait(&chat, 50);
	ck_assert_uint_eq(hear_lines(peers[0], 20), 20);
	peer_text(peers[0], "still here\n");
	sim_chat_wait(&chat, 50);
	peer_expect(peers[1], "still here\n", 11);
	end(peers, 2);
}
END_TEST

/* As from a version that carried nothing: it hears what is said from now on, and speaks. */
START_TEST(a_client_without_subscriptions_gets_one)
{
	struct conn_snapshot snapshot = {.flags = 0};
	struct peer *peers[2];
	int fd;

	open_chat();
	peers[1] = sim_chat_connect(&chat, OTHER, 0);
	say_lines(peers[1], 0, 3);
	sim_chat_wait(&chat, 20);
	peers[0] = peer_new(&fd);
	ck_assert(conn_adopt(&chat.workers[RECEIVER].services[0], fd, &snapshot, NULL));
	snapshot.flags = SNAPSHOT_CARRIES; /* of one that has ended, there are none */
	snapshot.phase = 1;
	snapshot.reason = CLOSE_eof;
	ck_assert(!conn_adopt(&chat.workers[RECEIVER].services[0], fd, &snapshot, NULL));
	sim_chat_run(&chat);
	say_lines(peers[1], 3, 3);
	sim_chat_wait(&chat, 20);
	ck_assert_uint_eq(hear_lines(peers[0], 3), 3);
	peer_text(peers[0], "here I am\n");
	sim_chat_wait(&chat, 20);
	peer_expect(peers[1], "here I am\n", 10);
	end(peers, 2);
}
END_TEST

/* Another process may write into the journal what no client could say: no clean text, and more than
 * fits a chunk. It reaches everybody, and what follows does, too. */
START_TEST(false_records_are_passed_on)
{
	static unsigned char long_one[JOURNAL_PAYLOAD_MAX];
	struct delivery *other;
	struct peer *peers[2];

	open_chat();
	other = &chat.workers[OTHER].delivery;
	peers[0] = sim_chat_connect(&chat, RECEIVER, 0);
	peers[1] = sim_chat_connect(&chat, OTHER, 0);
	sim_chat_run(&chat);
	memset(long_one, 'l', sizeof long_one);
	for (int i = 0; i < 3; i++) {
		struct journal_message message = {
		    .name = {(void *)(uintptr_t) "chat/one", 8},
		    .payload = {{long_one, i < 2 ? (size_t)i * sizeof long_one : 0}}};
		uint64_t id;

		message.sender = UINT64_MAX;
		EXPECT(topics_publish(&other->topics, &message, &id) == 0);
	}
	loop_wake(other->loop, &other->source);
	sim_chat_wait(&chat, 50);
	peer_text(peers[1], "a line\n");
	sim_chat_wait(&chat, 50);
	ck_assert_uint_eq(peers[0]->out.n, sizeof long_one + 7);
	(void)peer_receive(peers[0], NULL, sizeof long_one);
	peer_expect(peers[0], "a line\n", 7);
	end(peers, 2);
}
END_TEST

/* ---- names ---- */

/* If there is no address (a unix socket, or the kernel does not tell), a client has a unique name;
 * its number is of those by which clients that speak are known, too. */
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
	peer_expect(peers[1], "unix:0.1: two\nunix:0.4: three\n", 30);
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
	delivery_drain(&chat.workers[SENDER].delivery, true);
	conn_table_drain(&chat.workers[SENDER].table);
	delivery_close_doors(&chat.workers[SENDER].delivery);
	peer_text(peers[2], "to all who are there\n");
	sim_chat_wait(&chat, 100);
	peer_expect(peers[0], "last words\nto all who are there\n", 32);
	peer_expect(peers[1], "to all who are there\n", 21);
	ck_assert(peers[1]->closed && !peers[0]->closed && !peers[2]->closed);
	ck_assert_uint_eq(chat.workers[SENDER].stats.closed[CLOSE_drained], 1);
	peer_text(peers[0], "goes on\n");
	sim_chat_wait(&chat, 100);
	peer_expect(peers[2], "last words\ngoes on\n", 19);
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
	arrive();
	answer_taken();
	peer_send(peers[0], rest, strlen(rest));
	sim_chat_wait(&chat, 2 * DELIVERY_REST_MS);
	ck_assert(!peers[0]->closed);
	ck_assert_uint_eq(peer_receive(peers[1], heard, sizeof heard), strlen(whole));
	ck_assert_mem_eq(heard, whole, strlen(whole));
	end(peers, 2);
}
END_TEST

SUITE("sim_chat_move_edges", {"what comes on the way is kept", what_comes_on_the_way_is_kept, 30},
      {"one that is on the way for too long is closed",
       one_that_is_on_the_way_for_too_long_is_closed, 30},
      {"without buffers nothing is lost", without_buffers_nothing_is_lost, 30},
      {"false subscriptions are refused, or do no harm",
       false_subscriptions_are_refused_or_do_no_harm, 30},
      {"a client without subscriptions gets one", a_client_without_subscriptions_gets_one, 30},
      {"false records are passed on", false_records_are_passed_on, 30},
      {"a name goes along with its client", a_name_goes_along_with_its_client, 30},
      {"a client that can not move is drained beside those that did",
       a_client_that_can_not_move_is_drained_beside_those_that_did, 30},
      {"a false state reads no other memory", a_false_state_reads_no_other_memory, 10})
