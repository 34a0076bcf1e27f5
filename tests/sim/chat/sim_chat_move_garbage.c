/*
 * Chat clients that come from another process which says what is not true: of their subscriptions,
 * of their state, and in the journal. What can't be is refused; the rest does no harm to others.
 */
#include "tests/sim/chat/chat_move_steps.h"

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

SUITE("sim_chat_move_garbage",
      {"false subscriptions are refused, or do no harm",
       false_subscriptions_are_refused_or_do_no_harm, 30},
      {"a client without subscriptions gets one", a_client_without_subscriptions_gets_one, 30},
      {"false records are passed on", false_records_are_passed_on, 30},
      {"a false state reads no other memory", a_false_state_reads_no_other_memory, 10})
