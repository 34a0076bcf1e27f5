/*
 * Sockets of datagrams on a simulated kernel: which calls they make, what is answered and what
 * is not, full queues, trains, turns, and how they end. What leaves is held against a book.
 *
 * sim_datagram_faults fails the calls, sim_datagram_random mixes all of it. What a real kernel
 * makes of an answer is for check_answers and the tests against a running server.
 */
#include "tests/office.h"

static struct clerk clerk, other_clerk;
static struct book book, other_book;
static struct desk desk, other_desk;

static const char *const addresses[] = {"127.0.0.1:7878", "0.0.0.0:7878", "[::1]:7878", "[::]:7878",
					":7878"};
#define ADDRESSES ((int)(sizeof addresses / sizeof *addresses))

static void begin(const char *address, enum answer answer)
{
	office_begin();
	clerk_open(&clerk);
	book_open(&book, address, answer);
	EXPECT(desk_open(&desk, &clerk, &book, false) == 0);
	clerk_run(&clerk, 1);
}

static void end(void)
{
	clerk_expect(&clerk, &book);
	desk_close(&desk);
	desk_close(&desk); /* is done only once */
	book_close(&book);
	clerk_close(&clerk);
	office_end();
}

/* More than one have been seen to wait: from now on trains come. */
static void show_many(void)
{
	for (unsigned i = 0; !book.box->trains; i++) {
		EXPECT(i < 50);
		(void)book_post(&book, i, 100, 0);
		(void)book_post(&book, i + 8, 100, 0);
		loop_pass(&clerk.loop, 0);
	}
	clerk_run(&clerk, 1);
}

static unsigned long receiving_calls(void)
{
	return kernel.calls[KERNEL_recvmsg] + kernel.calls[KERNEL_recvmmsg] +
	       kernel.calls[KERNEL_recvfrom];
}

static unsigned long sending_calls(void)
{
	return kernel.calls[KERNEL_sendmsg] + kernel.calls[KERNEL_sendmmsg] +
	       kernel.calls[KERNEL_sendto];
}

START_TEST(one_at_a_time_is_three_calls)
{
	static const size_t sizes[] = {64, 0, 1, 1472, 65507};

	begin(addresses[_i], ANSWER_ECHO);
	for (unsigned i = 0; i < 200; i++) {
		kernel_count_anew();
		EXPECT(book_post(&book, i, sizes[i % 5], 0) == 1);
		loop_pass(&clerk.loop, -1);
		EXPECT(!book.owed_n);
		EXPECT(kernel.calls[KERNEL_epoll_wait] == 1);
		EXPECT(receiving_calls() == 1 && sending_calls() == 1);
		EXPECT_MSG(kernel_calls_all() == 3, "%lu calls", kernel_calls_all());
		/* And sleeps: nothing is there, nothing is armed. */
		loop_pass(&clerk.loop, -1);
		EXPECT(mailroom.wait_asked == -1 && kernel_calls_all() == 4);
	}
	end();
}
END_TEST

static void post_all_sizes(void)
{
	static const size_t sizes[] = {0,   1,	  2,	7,    8,    72,	  511,	512,
				       513, 1451, 1452, 1453, 1472, 9000, 65507};

	for (unsigned i = 0; i < 15; i++) {
		EXPECT(book_post(&book, i, sizes[i], 0) == 1);
		(void)book_post(&book, i + 100, 10 * sizes[i] < 30000 ? 10 * sizes[i] : 3000,
				sizes[i]);
		(void)book_post(&book, i + 50, 7 + 5 * sizes[i % 9], sizes[i % 9]);
		clerk_run(&clerk, 1);
		EXPECT(!book.owed_n);
	}
}

START_TEST(each_size_comes_back_from_the_address_asked)
{
	for (enum answer answer = ANSWER_ECHO; answer <= ANSWER_NONE; answer++) {
		begin(addresses[_i], answer);
		post_all_sizes();
		show_many();
		post_all_sizes();
		if (answer == ANSWER_NONE)
			EXPECT(!book.box->sent_n && !clerk.stats.datagrams_answered);
		end();
	}
}
END_TEST

START_TEST(many_are_few_calls)
{
	begin(addresses[_i], ANSWER_ECHO);
	show_many();
	kernel_count_anew();
	for (unsigned i = 0; i < 320; i++)
		EXPECT(book_post(&book, i, 64, 0) == 1);
	clerk_run(&clerk, 0);
	EXPECT(!book.owed_n && clerk.stats.datagrams_dropped == 0);
	/* Ten batches in three turns, and a look whether there is more. */
	EXPECT(receiving_calls() <= 11 && sending_calls() <= 10);
	EXPECT(kernel_calls_all() <= 11 + 10 + 5);
	end();
}
END_TEST

START_TEST(trains_come_and_leave_as_trains)
{
	unsigned long steps;

	begin(addresses[_i], ANSWER_ECHO);
	show_many();
	steps = mailroom.steps[MAIL_SEND];
	EXPECT(book_post(&book, 3, 10 * 100 + 7, 100) == 11);
	loop_pass(&clerk.loop, 0);
	EXPECT(mailroom.steps[MAIL_SEND] == steps + 1);
	/* Longer than 64 may be: 128 are what newer kernels put together. */
	EXPECT(book_post(&book, 3, 128 * 500, 500) == 128);
	EXPECT(book_post(&book, 3, 100 * 1, 1) == 100);
	loop_pass(&clerk.loop, 0);
	EXPECT(mailroom.steps[MAIL_SEND] == steps + 5);
	/* Single ones of one peer are put together, whatever lies between their bytes. */
	for (int i = 0; i < 20; i++)
		EXPECT(book_post(&book, 3, i < 19 ? 300 : 200, 0) == 1);
	loop_pass(&clerk.loop, 0);
	EXPECT(mailroom.steps[MAIL_SEND] == steps + 6);
	/* Those that fit no packet leave alone. */
	EXPECT(book_post(&book, 3, 5 * 1453, 1453) == 5);
	loop_pass(&clerk.loop, 0);
	EXPECT(mailroom.steps[MAIL_SEND] == steps + 11);
	EXPECT(!book.owed_n);
	end();
}
END_TEST

/* The other port of an address; the same peer, who asks another address of ours. */
START_TEST(who_differs_in_one_thing_has_a_train_of_his_own)
{
	static const unsigned others[] = {1, BOOK_ASKS_ANOTHER, 2 * BOOK_ASKS_ANOTHER};

	begin(addresses[_i], ANSWER_ECHO);
	show_many();
	for (unsigned peer = 0; peer < 4; peer += 2) {
		for (size_t k = 0; k < 3; k++) {
			for (int i = 0; i < 9; i++) {
				(void)book_post(&book, peer, 100, 0);
				(void)book_post(&book, peer + others[k], 100, 0);
				(void)book_post(&book, peer + others[k], 100, 0);
			}
			clerk_run(&clerk, 1);
			EXPECT(!book.owed_n);
		}
	}
	end();
}
END_TEST

START_TEST(a_train_that_is_refused_leaves_in_pieces)
{
	static const int errors[] = {EINVAL, EIO, EMSGSIZE, EOPNOTSUPP, EPERM};

	for (size_t k = 0; k < 6; k++) {
		begin(addresses[_i], ANSWER_ECHO);
		show_many();
		if (k < 5)
			book.box->train_error = errors[k];
		else
			book.box->segment_max = 999; /* of the route of some */
		for (unsigned i = 0; i < 8; i++) {
			(void)book_post(&book, i, 5000 + i, i % 2 ? 1000 : 400);
			(void)book_post(&book, i, 700 * i, 1 + 100 * i);
			(void)book_post(&book, i, i, 0);
		}
		/* A full queue between two of the pieces. */
		book.box->send_max = 9000;
		for (int i = 0; i < 300 && book.owed_n; i++) {
			clerk_run(&clerk, 0);
			mailbox_drain(book.box, 1 + (size_t)i * 37 % 3000);
		}
		EXPECT(!book.owed_n);
		EXPECT(!clerk.stats.datagram_send_errors);
		end();
	}
}
END_TEST

START_TEST(a_full_send_queue_is_waited_for)
{
	unsigned long before;

	begin(addresses[_i], ANSWER_ECHO);
	show_many();
	before = clerk.stats.datagram_send_waits;
	book.box->send_max = 8000;
	for (unsigned i = 0; i < 100; i++)
		(void)book_post(&book, i, 1000, 0);
	clerk_run(&clerk, 0);
	EXPECT(clerk.stats.datagram_send_waits == before + 1);
	EXPECT(book_in_hand(&book) > 0 && book_in_hand(&book) < QUESTIONS_BATCH);
	/* While there is no room it sleeps, and what comes waits where it is, or is dropped. */
	for (int i = 0; i < 2000; i++)
		(void)book_post(&book, (unsigned)i, 1000, 0);
	EXPECT(book.box->drops > 0);
	kernel_count_anew();
	for (int i = 0; i < 100; i++)
		loop_pass(&clerk.loop, -1);
	EXPECT(mailroom.wait_asked == -1 && kernel_calls_all() == 100);
	for (int i = 0; i < 3000 && book.owed_n; i++) {
		mailbox_drain(book.box, 900);
		clerk_run(&clerk, 0);
	}
	EXPECT(!book.owed_n);
	/* It listens for questions again, and not for room. */
	mailbox_drain(book.box, SIZE_MAX);
	clerk_run(&clerk, 0);
	kernel_count_anew();
	(void)book_post(&book, 1, 10, 0);
	loop_pass(&clerk.loop, 0);
	EXPECT(!book.owed_n && kernel_calls_all() == 3);
	EXPECT(clerk.stats.datagrams_dropped == book.box->drops);
	end();
}
END_TEST

START_TEST(one_that_is_blocked_holds_up_no_other)
{
	begin(addresses[_i], ANSWER_ECHO);
	book_open(&other_book, addresses[(_i + 1) % ADDRESSES], ANSWER_ECHO);
	EXPECT(desk_open(&other_desk, &clerk, &other_book, false) == 0);
	show_many();
	book.box->send_max = 3000;
	for (unsigned i = 0; i < 50; i++) {
		(void)book_post(&book, i, 1000, 0);
		(void)book_post(&other_book, i, 1000, 0);
		loop_pass(&clerk.loop, 0);
		EXPECT(!other_book.owed_n);
	}
	EXPECT(book.owed_n > 40);
	/* Want of memory, too. */
	mailbox_drain(book.box, SIZE_MAX);
	book.box->send_max = SIZE_MAX;
	clerk_run(&clerk, 1);
	EXPECT(!book.owed_n);
	clerks_expect((struct clerk *[]){&clerk}, 1, (struct book *[]){&book, &other_book}, 2);
	desk_close(&other_desk);
	desk_close(&desk);
	book_close(&book);
	book_close(&other_book);
	clerk_close(&clerk);
	office_end();
}
END_TEST

static size_t refill_n;

static void refill(struct book *at)
{
	EXPECT(book_post(at, (unsigned)at->serial, refill_n, 0) == 1);
}

START_TEST(one_that_never_runs_dry_gives_way)
{
	static const size_t sizes[] = {10, 1472, 9000, 65507};

	begin("[::]:7878", ANSWER_ECHO);
	book_open(&other_book, "[::1]:7878", ANSWER_ECHO);
	EXPECT(desk_open(&other_desk, &clerk, &other_book, false) == 0);
	show_many();
	refill_n = sizes[_i];
	book.box->queue_max = SIZE_MAX;
	for (int i = 0; i < 40; i++)
		(void)book_post(&book, (unsigned)i, refill_n, 0);
	book.read = refill;
	for (unsigned i = 0; i < 20; i++) {
		uint64_t datagrams = clerk.stats.datagrams_received;
		uint64_t bytes = clerk.stats.received_bytes, yields = clerk.stats.budget_yields;

		(void)book_post(&other_book, i, 0, 0);
		loop_pass(&clerk.loop, -1);
		EXPECT(!other_book.owed_n);
		EXPECT(clerk.stats.datagrams_received - datagrams <=
		       DATAGRAM_TURN_BATCHES * QUESTIONS_BATCH + 1);
		EXPECT(clerk.stats.datagrams_received - datagrams >= QUESTIONS_BATCH);
		EXPECT(clerk.stats.received_bytes - bytes <=
		       DATAGRAM_TURN_BYTES + QUESTIONS_BATCH * refill_n);
		EXPECT(clerk.stats.budget_yields == yields + 1);
	}
	book.read = NULL;
	clerk_run(&clerk, 1);
	EXPECT(!book.owed_n);
	clerks_expect((struct clerk *[]){&clerk}, 1, (struct book *[]){&book, &other_book}, 2);
	desk_close(&other_desk);
	desk_close(&desk);
	book_close(&book);
	book_close(&other_book);
	clerk_close(&clerk);
	office_end();
}
END_TEST

START_TEST(who_is_not_answered_is_counted)
{
	begin(addresses[_i], ANSWER_ECHO);
	for (int many = 0; many < 2; many++) {
		for (int tag = MAIL_LOW_PORT; tag < MAIL_TAGS; tag++) {
			bool every = book.box->pktinfo4 || book.box->pktinfo6;

			if (tag == MAIL_TO_MANY && !every)
				continue; /* it can't be sent there */
			for (int i = 0; i < 3; i++) {
				EXPECT(book_post_tagged(&book, tag, 100) == 1);
				EXPECT(book_post(&book, 2, 100, 0) == 1);
				if (!many)
					clerk_run(&clerk, 1);
			}
		}
		clerk_run(&clerk, 1);
		EXPECT(!book.owed_n);
		EXPECT(clerk.stats.datagrams_truncated == 3 + 3u * (unsigned)many);
		show_many();
	}
	end();
}
END_TEST

START_TEST(over_the_rate_is_not_answered)
{
	struct limiter limiter;

	begin(addresses[_i], ANSWER_ECHO);
	EXPECT(limiter_open(&limiter, 5) == 0);
	desk.service.limiter = &limiter;
	for (unsigned i = 0; i < 60; i++)
		(void)book_post(&book, 8 * (i / 20), 50, 0); /* three addresses */
	clerk_run(&clerk, 1);
	EXPECT(book.box->sent_n == 15);
	for (unsigned i = 0; i < 60; i++)
		(void)book_post(&book, 8 * (i / 20), 50, 0);
	clerk_run(&clerk, 0);
	EXPECT(book.box->sent_n == 15 && clerk.stats.datagrams_over_rate == 105);
	kernel_advance(1000);
	EXPECT(book_forget(&book) == 105);
	for (unsigned i = 0; i < 60; i++)
		(void)book_post(&book, 8 * (i / 20), 50, 0);
	clerk_run(&clerk, 0);
	EXPECT(book.box->sent_n == 30 && clerk.stats.datagrams_over_rate == 150);
	EXPECT(book_forget(&book) == 45);
	limiter_close(&limiter);
	end();
}
END_TEST

/* ---- the end ---- */

static const unsigned waiting[] = {0, 1, 2, 15, 16, 17, 31, 32, 33, 64, 96, 97, 127, 128, 129, 300};
#define WAITING ((int)(sizeof waiting / sizeof *waiting))

static void stops(bool many, unsigned n, size_t bytes)
{
	uint32_t drops;

	begin("[::]:7878", ANSWER_ECHO);
	if (many)
		show_many();
	book.box->queue_max = 1; /* room for one: two are dropped, and nothing behind them */
	for (unsigned i = 0; i < 3; i++)
		(void)book_post(&book, i, bytes, 0);
	clerk_run(&clerk, 1);
	book.box->queue_max = SIZE_MAX;
	for (unsigned i = 0; i < n; i++)
		(void)book_post(&book, i, bytes, 0);
	desk_stop(&desk);
	drops = book.box->drops;
	/* Who asks now is not let in, however long it takes. */
	for (unsigned i = 0; desk_is_open(&desk); i++) {
		EXPECT_MSG(i < 100, "it does not end");
		EXPECT(book_post(&book, i, 10, 0) == 0);
		loop_pass(&clerk.loop, 0);
	}
	EXPECT(desk.gone_n == 1 && !book.owed_n);
	EXPECT(clerk.stats.datagrams_dropped == drops);
	kernel_count_anew();
	clerk_run(&clerk, 50);
	EXPECT(kernel_calls_all() == kernel.calls[KERNEL_epoll_wait] && desk.gone_n == 1);
	desk_stop(&desk); /* is nothing to one that has gone */
	desk_leave(&desk);
	clerk_run(&clerk, 1);
	EXPECT(desk.gone_n == 1);
	end();
}

START_TEST(stop_answers_what_has_come)
{
	for (int many = 0; many < 2; many++) {
		stops(many, waiting[_i], 10);
		stops(many, waiting[_i], 9000);
	}
}
END_TEST

/* In a queue that is too short for two. */
START_TEST(drops_are_counted_where_never_two_wait)
{
	begin(addresses[_i], ANSWER_ECHO);
	book.box->queue_max = 1;
	for (unsigned i = 0; i < 2 * QUESTIONS_LOOK; i++) {
		(void)book_post(&book, 1, 100, 0);
		(void)book_post(&book, 2, 100, 0);
		clerk_run(&clerk, 0);
	}
	EXPECT(book.box->drops == 2 * QUESTIONS_LOOK);
	EXPECT(clerk.stats.datagrams_dropped >= QUESTIONS_LOOK);
	end();
}
END_TEST

START_TEST(stop_waits_for_room_to_send)
{
	begin("127.0.0.1:7878", ANSWER_ECHO);
	book.box->send_max = 2000;
	for (unsigned i = 0; i < 300; i++)
		(void)book_post(&book, i, 500, 0);
	clerk_run(&clerk, 1);
	desk_stop(&desk);
	for (int i = 0; i < 1000 && desk_is_open(&desk); i++) {
		clerk_run(&clerk, DATAGRAM_RETRY_MS);
		EXPECT(desk_is_open(&desk) == (book.owed_n > 0));
		mailbox_drain(book.box, 700);
	}
	EXPECT(desk.gone_n == 1 && !book.owed_n);
	end();
}
END_TEST

/* What it has in hand is answered, the rest is for who comes after it. */
START_TEST(leave_leaves_the_rest_to_its_successor)
{
	size_t hand;

	begin(addresses[_i], ANSWER_ECHO);
	show_many();
	book.box->send_max = 2000;
	for (unsigned i = 0; i < 200; i++)
		(void)book_post(&book, i, 500 + i, 0);
	clerk_run(&clerk, 1);
	hand = book_in_hand(&book);
	EXPECT(hand > 0 && hand < QUESTIONS_BATCH);
	desk_leave(&desk);
	for (int i = 0; i < 100 && desk_is_open(&desk); i++) {
		EXPECT(book_in_hand(&book) > 0);
		clerk_run(&clerk, 1);
		mailbox_drain(book.box, 700);
	}
	EXPECT(desk.gone_n == 1 && !book_in_hand(&book) && book.owed_n > 100);
	EXPECT(desk_open(&desk, &clerk, &book, false) == 0);
	for (int i = 0; i < 1000 && book.owed_n; i++) {
		clerk_run(&clerk, 0);
		mailbox_drain(book.box, 700);
	}
	EXPECT(!book.owed_n);
	end();
}
END_TEST

/* One that is killed: what it had in hand is lost, and no more. */
START_TEST(close_loses_what_is_in_hand_only)
{
	begin(addresses[_i], ANSWER_ECHO);
	show_many();
	book.box->send_max = 2000;
	for (unsigned i = 0; i < 200; i++)
		(void)book_post(&book, i, 500 + i, 0);
	clerk_run(&clerk, 1);
	desk_close(&desk);
	EXPECT(book_forget(&book) < QUESTIONS_BATCH);
	mailbox_drain(book.box, SIZE_MAX);
	book.box->send_max = SIZE_MAX;
	EXPECT(desk_open(&desk, &clerk, &book, false) == 0);
	clerk_run(&clerk, 1);
	EXPECT(!book.owed_n && desk.gone_n == 0);
	end();
}
END_TEST

/* ---- several clerks at one mailbox ---- */

static struct clerk *const both[] = {&clerk, &other_clerk};

static void begin_both(const char *address)
{
	office_begin();
	clerk_open(&clerk);
	clerk_open(&other_clerk);
	book_open(&book, address, ANSWER_ECHO);
	EXPECT(desk_open(&desk, &clerk, &book, true) == 0);
	EXPECT(desk_open(&other_desk, &other_clerk, &book, true) == 0);
	clerks_run(both, 2, 1);
}

static void end_both(void)
{
	clerks_expect(both, 2, (struct book *[]){&book}, 1);
	desk_close(&desk);
	desk_close(&other_desk);
	book_close(&book);
	clerk_close(&clerk);
	clerk_close(&other_clerk);
	office_end();
}

/* One asks the kernel for trains; the other, which has seen no more than one at a time, gets
 * them, too. */
START_TEST(a_train_that_somebody_else_asked_for_is_no_datagram)
{
	begin_both(addresses[_i]);
	desk_close(&other_desk);
	show_many();
	desk_leave(&desk);
	clerk_run(&clerk, 1);
	EXPECT(desk_open(&desk, &clerk, &book, true) == 0);
	EXPECT(book_post(&book, 3, 1000, 100) == 10);
	clerks_run(both, 2, 1);
	EXPECT(!book.owed_n);
	desk_close(&desk);
	book.box->trains = false;
	EXPECT(desk_open(&desk, &clerk, &book, true) == 0);
	EXPECT(desk_open(&other_desk, &other_clerk, &book, true) == 0);
	clerks_run(both, 2, 1);
	/* The first one is awake and busy: it sees many. Then the second one is woken. */
	while (!book.box->trains) {
		(void)book_post(&book, 1, 100, 0);
		(void)book_post(&book, 2, 100, 0);
		loop_pass(&clerk.loop, 0);
	}
	while (book.owed_n)
		loop_pass(&clerk.loop, 0);
	desk_leave(&desk);
	clerk_run(&clerk, 1);
	EXPECT(book_post(&book, 3, 1000, 100) == 10);
	clerks_run(both, 2, 1);
	EXPECT(!book.owed_n);
	end_both();
}
END_TEST

/* Of those who share, one is woken for a datagram. Should it leave just then, another has to. */
START_TEST(nobody_sleeps_on_what_one_who_leaves_was_woken_for)
{
	for (unsigned n = 1; n < 300; n = 3 * n) {
		begin_both(addresses[_i]);
		for (unsigned i = 0; i < n; i++)
			(void)book_post(&book, i, 100, 0);
		desk_leave(&desk);
		loop_pass(&clerk.loop, 0);
		clerks_run(both, 2, 1);
		EXPECT(!desk_is_open(&desk) && !book.owed_n);
		end_both();
	}
}
END_TEST

START_TEST(drops_are_counted_once_by_all)
{
	begin_both(addresses[_i]);
	for (int round = 0; round < 20; round++) {
		book.box->queue_max = 10000;
		for (unsigned i = 0; i < 100; i++)
			(void)book_post(&book, i, 200, 0);
		clerks_run(both, 2, 1);
		book.box->queue_max = SIZE_MAX;
		for (unsigned i = 0; i < 40; i++)
			(void)book_post(&book, i, 200, 0);
		if (round % 2)
			loop_pass(&other_clerk.loop, 0);
		clerks_run(both, 2, 1);
		EXPECT(clerk.stats.datagrams_dropped + other_clerk.stats.datagrams_dropped ==
		       book.box->drops);
	}
	EXPECT(book.box->drops > 500);
	/* Both stop. What came after the first did was not dropped as the queue was full. */
	book.expected.datagrams_dropped = book.box->drops;
	desk_stop(&desk);
	EXPECT(book_post(&book, 1, 10, 0) == 0);
	desk_stop(&other_desk);
	clerks_run(both, 2, 1);
	EXPECT(!desk_is_open(&desk) && !desk_is_open(&other_desk));
	EXPECT(clerk.stats.datagrams_dropped + other_clerk.stats.datagrams_dropped ==
	       book.expected.datagrams_dropped);
	end_both();
}
END_TEST

SUITE("sim_datagram", {"one at a time is three calls", one_at_a_time_is_three_calls, 10, ADDRESSES},
      {"each size comes back from the address asked", each_size_comes_back_from_the_address_asked,
       10, ADDRESSES},
      {"many are few calls", many_are_few_calls, 10, ADDRESSES},
      {"trains come and leave as trains", trains_come_and_leave_as_trains, 10, ADDRESSES},
      {"who differs in one thing has a train of his own",
       who_differs_in_one_thing_has_a_train_of_his_own, 10, ADDRESSES},
      {"a train that is refused leaves in pieces", a_train_that_is_refused_leaves_in_pieces, 10,
       ADDRESSES},
      {"a full send queue is waited for", a_full_send_queue_is_waited_for, 10, ADDRESSES},
      {"one that is blocked holds up no other", one_that_is_blocked_holds_up_no_other, 10,
       ADDRESSES},
      {"one that never runs dry gives way", one_that_never_runs_dry_gives_way, 10, 4},
      {"who is not answered is counted", who_is_not_answered_is_counted, 10, ADDRESSES},
      {"over the rate is not answered", over_the_rate_is_not_answered, 10, ADDRESSES},
      {"stop answers what has come", stop_answers_what_has_come, 10, WAITING},
      {"drops are counted where never two wait", drops_are_counted_where_never_two_wait, 10,
       ADDRESSES},
      {"stop waits for room to send", stop_waits_for_room_to_send, 10},
      {"leave leaves the rest to its successor", leave_leaves_the_rest_to_its_successor, 10,
       ADDRESSES},
      {"close loses what is in hand only", close_loses_what_is_in_hand_only, 10, ADDRESSES},
      {"a train that somebody else asked for is no datagram",
       a_train_that_somebody_else_asked_for_is_no_datagram, 10, ADDRESSES},
      {"nobody sleeps on what one who leaves was woken for",
       nobody_sleeps_on_what_one_who_leaves_was_woken_for, 10, ADDRESSES},
      {"drops are counted once by all", drops_are_counted_once_by_all, 10, ADDRESSES})
