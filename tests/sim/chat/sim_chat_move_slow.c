/*
 * Which chat clients are slow consumers beside a move: not one that is on its way, or has just
 * arrived, or stayed after all; and one that does not read, after its move as before.
 */
#include "tests/sim/chat/chat_move_steps.h"

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

SUITE("sim_chat_move_slow",
      {"a client on its way is not slow", a_client_on_its_way_is_not_slow, 30},
      {"a client that stays is not slow for what came meanwhile",
       a_client_that_stays_is_not_slow_for_what_came_meanwhile, 30},
      {"a client that has arrived is not slow", a_client_that_has_arrived_is_not_slow, 30},
      {"a client that does not read is slow after its move",
       a_client_that_does_not_read_is_slow_after_its_move, 30})
