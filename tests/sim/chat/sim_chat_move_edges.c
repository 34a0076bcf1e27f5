/*
 * Chat clients on their way between workers, when something is scarce, late or false: the answer
 * does not come, the journal goes on without them, buffers are used up. Each test shows one place
 * where a line, or another client, could be lost, and is not.
 */
#include "tests/sim/chat/chat_move_steps.h"

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

/* If more is said meanwhile than the journal holds, then what it no longer holds is counted as one
 * gap, and the client hears all of the rest. The next time it misses nothing. */
START_TEST(one_that_is_on_the_way_for_too_long_has_a_gap)
{
	struct peer *peers[2];
	unsigned first;
	char number[8] = "";

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
	memcpy(number, peers[0]->out.at + peers[0]->out.start, sizeof number - 1);
	first = (unsigned)strtoul(number, NULL, 10);
	ck_assert_uint_gt(first, 100);
	ck_assert_uint_lt(first, 2000 - JOURNAL_HISTORY_MIN / LINE_N / 2);
	for (unsigned n = first; n < 2000;) {
		unsigned more = hear_lines(peers[0], n);

		ck_assert_uint_gt(more, 0);
		n += more;
		sim_chat_wait(&chat, 2 * DELIVERY_REST_MS);
	}
	ck_assert_uint_eq(SIM_CHAT_SUM(&chat, gaps), 1);
	say_lines(peers[1], 2000, 1);
	sim_chat_wait(&chat, 20);
	ck_assert_uint_eq(hear_lines(peers[0], 2000), 1);
	ck_assert_uint_eq(SIM_CHAT_SUM(&chat, gaps), 1);
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
		loop_wake(&chat.workers[SENDER].loop, &chat.workers[SENDER].delivery.source);
		if (round < 3) {
			answer_refused();
		} else {
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

/* Nor if it was owed something when it was frozen, which the peer could not be sent since. */
START_TEST(a_client_that_stays_is_not_slow_for_what_came_meanwhile)
{
	struct peer *peers[2];

	setting.slow = 8 * LINE_N;
	open_chat();
	peers[0] = sim_chat_connect(&chat, SENDER, 0);
	peers[1] = sim_chat_connect(&chat, OTHER, 0);
	peers[0]->space = 10;
	for (unsigned i = 0; i < 43; i++) {
		if (i == 3)
			set_out(peers[0]);
		say_lines(peers[1], i, 1);
		sim_chat_wait(&chat, 20);
	}
	answer_refused();
	say_lines(peers[1], 43, 1); /* which comes before it has a turn */
	worker_pass(&chat.workers[OTHER]);
	loop_wake(&chat.workers[SENDER].loop, &chat.workers[SENDER].delivery.source);
	sim_chat_wait(&chat, 20);
	ck_assert(!peers[0]->closed);
	peers[0]->space = PEER_SPACE;
	(void)peer_receive(peers[0], NULL, 0);
	sim_chat_wait(&chat, 20);
	ck_assert_uint_eq(hear_lines(peers[0], 0), 44);
	end(peers, 2);
}
END_TEST

/* Nor are the receiver's clients, to which lines that the newcomer has heard already come all at
 * once. */
START_TEST(a_client_that_has_arrived_is_not_slow)
{
	struct delivery *delivery = &chat.workers[RECEIVER].delivery;
	struct peer *peers[3];

	setting.slow = 4 * LINE_N;
	setting.history = 64 * JOURNAL_HISTORY_MIN; /* nobody waits for the receiver */
	open_chat();
	for (unsigned i = 0; i < 3; i++)
		peers[i] = sim_chat_connect(&chat, i, 0);
	sim_chat_run(&chat);
	say_lines(peers[OTHER], 0, 40);
	pass_but_receiver();
	ck_assert_uint_eq(hear_lines(peers[SENDER], 0), 40);
	set_out(peers[SENDER]);
	loop_wake(delivery->loop, &delivery->source); /* it gets its turn before the clients' */
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

SUITE("sim_chat_move_edges", {"what comes on the way is kept", what_comes_on_the_way_is_kept, 30},
      {"one that is on the way for too long has a gap",
       one_that_is_on_the_way_for_too_long_has_a_gap, 30},
      {"a client on its way is not slow", a_client_on_its_way_is_not_slow, 30},
      {"a client that stays is not slow for what came meanwhile",
       a_client_that_stays_is_not_slow_for_what_came_meanwhile, 30},
      {"a client that has arrived is not slow", a_client_that_has_arrived_is_not_slow, 30},
      {"a client that does not read is slow after its move",
       a_client_that_does_not_read_is_slow_after_its_move, 30},
      {"without buffers nothing is lost", without_buffers_nothing_is_lost, 30},
      {"a name goes along with its client", a_name_goes_along_with_its_client, 30},
      {"a client that can not move is drained beside those that did",
       a_client_that_can_not_move_is_drained_beside_those_that_did, 30})
