/*
 * UDP sockets on a simulated kernel: which calls they make, what is answered and what is not, full
 * queues, trains and turns. What leaves is compared with a book.
 *
 * sim_datagram_life has their ends, sim_datagram_faults makes their calls fail, and
 * sim_datagram_random mixes all of it. What a real kernel makes of an answer is tested by
 * check_udp_tx and the tests against a running server.
 */
#include "tests/sim/sim_datagram_world.h"

static struct book other_book;
static struct udp_server other_server;

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
		loop_pass(&worker.loop, -1);
		EXPECT(!book.owed_n);
		EXPECT(kernel.calls[KERNEL_epoll_wait] == 1);
		EXPECT(receiving_calls() == 1 && sending_calls() == 1);
		EXPECT_MSG(kernel_calls_all() == 3, "%lu calls", kernel_calls_all());
		/* Then it sleeps, without a timer. */
		loop_pass(&worker.loop, -1);
		EXPECT(sim_udp.wait_asked == -1 && kernel_calls_all() == 4);
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
		sim_udp_worker_run(&worker, 1);
		EXPECT(!book.owed_n);
	}
}

START_TEST(each_size_comes_back_from_the_address_asked)
{
	for (enum answer answer = ANSWER_ECHO; answer <= ANSWER_NONE; answer++) {
		begin(addresses[_i], answer);
		post_all_sizes();
		sim_udp_worker_show_many(&worker, &book);
		post_all_sizes();
		if (answer == ANSWER_NONE)
			EXPECT(!book.sock->sent_n && !worker.stats.datagrams_answered);
		end();
	}
}
END_TEST

START_TEST(many_are_few_calls)
{
	begin(addresses[_i], ANSWER_ECHO);
	sim_udp_worker_show_many(&worker, &book);
	kernel_count_anew();
	for (unsigned i = 0; i < 320; i++)
		EXPECT(book_post(&book, i, 64, 0) == 1);
	sim_udp_worker_run(&worker, 0);
	EXPECT(!book.owed_n && worker.stats.datagrams_dropped == 0);
	/* Ten batches in three turns, and one more read that finds nothing. */
	EXPECT(receiving_calls() <= 11 && sending_calls() <= 10);
	EXPECT(kernel_calls_all() <= 11 + 10 + 5);
	end();
}
END_TEST

START_TEST(trains_come_and_leave_as_trains)
{
	unsigned long steps;

	begin(addresses[_i], ANSWER_ECHO);
	sim_udp_worker_show_many(&worker, &book);
	steps = sim_udp.steps[SIM_UDP_SEND];
	EXPECT(book_post(&book, 3, 10 * 100 + 7, 100) == 11);
	loop_pass(&worker.loop, 0);
	EXPECT(sim_udp.steps[SIM_UDP_SEND] == steps + 1);
	/* Longer than the 64 segments that may leave: newer kernels join up to 128. */
	EXPECT(book_post(&book, 3, 128 * 500, 500) == 128);
	EXPECT(book_post(&book, 3, 100 * 1, 1) == 100);
	loop_pass(&worker.loop, 0);
	EXPECT(sim_udp.steps[SIM_UDP_SEND] == steps + 5);
	/* Single answers to one peer are joined, wherever in memory their bytes lie. */
	for (int i = 0; i < 20; i++)
		EXPECT(book_post(&book, 3, i < 19 ? 300 : 200, 0) == 1);
	loop_pass(&worker.loop, 0);
	EXPECT(sim_udp.steps[SIM_UDP_SEND] == steps + 6);
	/* Answers that do not fit in one packet leave alone. */
	EXPECT(book_post(&book, 3, 5 * 1453, 1453) == 5);
	loop_pass(&worker.loop, 0);
	EXPECT(sim_udp.steps[SIM_UDP_SEND] == steps + 11);
	EXPECT(!book.owed_n);
	end();
}
END_TEST

/* Another port of the same address; or the same peer, asking another address of ours. */
START_TEST(an_answer_that_differs_in_one_thing_has_a_train_of_its_own)
{
	static const unsigned others[] = {1, BOOK_ASKS_ANOTHER, 2 * BOOK_ASKS_ANOTHER};

	begin(addresses[_i], ANSWER_ECHO);
	sim_udp_worker_show_many(&worker, &book);
	for (unsigned peer = 0; peer < 4; peer += 2) {
		for (size_t k = 0; k < 3; k++) {
			for (int i = 0; i < 9; i++) {
				(void)book_post(&book, peer, 100, 0);
				(void)book_post(&book, peer + others[k], 100, 0);
				(void)book_post(&book, peer + others[k], 100, 0);
			}
			sim_udp_worker_run(&worker, 1);
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
		sim_udp_worker_show_many(&worker, &book);
		if (k < 5)
			book.sock->train_error = errors[k];
		else
			book.sock->segment_max = 999; /* as if some peers had a smaller path MTU */
		for (unsigned i = 0; i < 8; i++) {
			(void)book_post(&book, i, 5000 + i, i % 2 ? 1000 : 400);
			(void)book_post(&book, i, 700 * i, 1 + 100 * i);
			(void)book_post(&book, i, i, 0);
		}
		/* The send queue may be full between two pieces. */
		book.sock->send_max = 9000;
		for (int i = 0; i < 300 && book.owed_n; i++) {
			sim_udp_worker_run(&worker, 0);
			sim_socket_drain(book.sock, 1 + (size_t)i * 37 % 3000);
		}
		EXPECT(!book.owed_n);
		EXPECT(!worker.stats.datagram_send_errors);
		end();
	}
}
END_TEST

START_TEST(a_full_send_queue_is_waited_for)
{
	unsigned long before;

	begin(addresses[_i], ANSWER_ECHO);
	sim_udp_worker_show_many(&worker, &book);
	before = worker.stats.datagram_send_waits;
	book.sock->send_max = 8000;
	for (unsigned i = 0; i < 100; i++)
		(void)book_post(&book, i, 1000, 0);
	sim_udp_worker_run(&worker, 0);
	EXPECT(worker.stats.datagram_send_waits == before + 1);
	EXPECT(book_in_hand(&book) > 0 && book_in_hand(&book) < UDP_RX_BATCH);
	/* While there is no room to send it sleeps; requests wait in the socket, or are dropped. */
	for (int i = 0; i < 2000; i++)
		(void)book_post(&book, (unsigned)i, 1000, 0);
	EXPECT(book.sock->drops > 0);
	kernel_count_anew();
	for (int i = 0; i < 100; i++)
		loop_pass(&worker.loop, -1);
	EXPECT(sim_udp.wait_asked == -1 && kernel_calls_all() == 100);
	for (int i = 0; i < 3000 && book.owed_n; i++) {
		sim_socket_drain(book.sock, 900);
		sim_udp_worker_run(&worker, 0);
	}
	EXPECT(!book.owed_n);
	/* It waits for requests again, and no longer for room. */
	sim_socket_drain(book.sock, SIZE_MAX);
	sim_udp_worker_run(&worker, 0);
	kernel_count_anew();
	(void)book_post(&book, 1, 10, 0);
	loop_pass(&worker.loop, 0);
	EXPECT(!book.owed_n && kernel_calls_all() == 3);
	EXPECT(worker.stats.datagrams_dropped == book.sock->drops);
	end();
}
END_TEST

START_TEST(one_that_is_blocked_holds_up_no_other)
{
	begin(addresses[_i], ANSWER_ECHO);
	book_open(&other_book, addresses[(_i + 1) % ADDRESSES], ANSWER_ECHO);
	EXPECT(udp_server_open(&other_server, &worker, &other_book, false) == 0);
	sim_udp_worker_show_many(&worker, &book);
	book.sock->send_max = 3000;
	for (unsigned i = 0; i < 50; i++) {
		(void)book_post(&book, i, 1000, 0);
		(void)book_post(&other_book, i, 1000, 0);
		loop_pass(&worker.loop, 0);
		EXPECT(!other_book.owed_n);
	}
	EXPECT(book.owed_n > 40);
	/* Then it goes on, and nothing is lost. */
	sim_socket_drain(book.sock, SIZE_MAX);
	book.sock->send_max = SIZE_MAX;
	sim_udp_worker_run(&worker, 1);
	EXPECT(!book.owed_n);
	sim_udp_workers_expect((struct sim_udp_worker *[]){&worker}, 1,
			       (struct book *[]){&book, &other_book}, 2);
	udp_server_close(&other_server);
	udp_server_close(&server);
	book_close(&book);
	book_close(&other_book);
	sim_udp_worker_close(&worker);
	sim_udp_servers_end();
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
	EXPECT(udp_server_open(&other_server, &worker, &other_book, false) == 0);
	sim_udp_worker_show_many(&worker, &book);
	refill_n = sizes[_i];
	book.sock->queue_max = SIZE_MAX;
	for (int i = 0; i < 40; i++)
		(void)book_post(&book, (unsigned)i, refill_n, 0);
	book.read = refill;
	for (unsigned i = 0; i < 20; i++) {
		uint64_t datagrams = worker.stats.datagrams_received;
		uint64_t bytes = worker.stats.received_bytes, yields = worker.stats.budget_yields;

		(void)book_post(&other_book, i, 0, 0);
		loop_pass(&worker.loop, -1);
		EXPECT(!other_book.owed_n);
		EXPECT(worker.stats.datagrams_received - datagrams <=
		       DATAGRAM_TURN_BATCHES * UDP_RX_BATCH + 1);
		EXPECT(worker.stats.datagrams_received - datagrams >= UDP_RX_BATCH);
		EXPECT(worker.stats.received_bytes - bytes <=
		       DATAGRAM_TURN_BYTES + UDP_RX_BATCH * refill_n);
		EXPECT(worker.stats.budget_yields == yields + 1);
	}
	book.read = NULL;
	sim_udp_worker_run(&worker, 1);
	EXPECT(!book.owed_n);
	sim_udp_workers_expect((struct sim_udp_worker *[]){&worker}, 1,
			       (struct book *[]){&book, &other_book}, 2);
	udp_server_close(&other_server);
	udp_server_close(&server);
	book_close(&book);
	book_close(&other_book);
	sim_udp_worker_close(&worker);
	sim_udp_servers_end();
}
END_TEST

/* A batch of trains holds far more datagrams than a batch of single ones. */
START_TEST(trains_give_way_within_a_batch)
{
	begin("[::]:7878", ANSWER_ECHO);
	sim_udp_worker_show_many(&worker, &book);
	EXPECT(book.sock->trains);
	book.sock->queue_max = SIZE_MAX;
	for (unsigned i = 0; i < UDP_RX_BATCH; i++)
		EXPECT(book_post(&book, i, 100, 1) == 100);
	while (book.owed_n) {
		uint64_t datagrams = worker.stats.datagrams_received;
		size_t owed_n = book.owed_n;

		loop_pass(&worker.loop, 0);
		EXPECT(book.owed_n < owed_n); /* it goes on although no event announces the rest */
		EXPECT(worker.stats.datagrams_received - datagrams <= DATAGRAM_TURN_MAX);
	}
	EXPECT(worker.stats.budget_yields >= 100 * UDP_RX_BATCH / DATAGRAM_TURN_MAX);
	end();
}
END_TEST

START_TEST(a_datagram_that_is_not_answered_is_counted)
{
	begin(addresses[_i], ANSWER_ECHO);
	for (int many = 0; many < 2; many++) {
		for (int tag = SIM_UDP_LOW_PORT; tag < SIM_UDP_TAGS; tag++) {
			bool every = book.sock->pktinfo4 || book.sock->pktinfo6;

			if (tag == SIM_UDP_TO_MANY && !every)
				continue; /* such a datagram does not reach this socket */
			for (int i = 0; i < 3; i++) {
				EXPECT(book_post_tagged(&book, tag, 100) == 1);
				EXPECT(book_post(&book, 2, 100, 0) == 1);
				if (!many)
					sim_udp_worker_run(&worker, 1);
			}
		}
		sim_udp_worker_run(&worker, 1);
		EXPECT(!book.owed_n);
		EXPECT(worker.stats.datagrams_truncated == 3 + 3u * (unsigned)many);
		sim_udp_worker_show_many(&worker, &book);
	}
	end();
}
END_TEST

/* A socket bound to such an address gets no other datagrams. */
START_TEST(an_address_of_many_answers_nobody)
{
	static const char *const many[] = {"224.0.0.1:7878", "192.0.2.255:7878", "[ff02::1]:7878"};

	begin(many[_i], ANSWER_ECHO);
	for (int i = 0; i < 5; i++)
		EXPECT(book_post_tagged(&book, SIM_UDP_TO_MANY, 100) == 1);
	sim_udp_worker_run(&worker, 1);
	EXPECT(worker.stats.datagrams_to_many == 5 && !book.sock->sent_n);
	end();
}
END_TEST

START_TEST(over_the_rate_is_not_answered)
{
	struct limiter limiter;

	begin(addresses[_i], ANSWER_ECHO);
	EXPECT(limiter_open(&limiter, 5) == 0);
	server.service.limiter = &limiter;
	for (unsigned i = 0; i < 60; i++)
		(void)book_post(&book, 8 * (i / 20), 50, 0); /* three addresses */
	sim_udp_worker_run(&worker, 1);
	EXPECT(book.sock->sent_n == 15);
	for (unsigned i = 0; i < 60; i++)
		(void)book_post(&book, 8 * (i / 20), 50, 0);
	sim_udp_worker_run(&worker, 0);
	EXPECT(book.sock->sent_n == 15 && worker.stats.datagrams_over_rate == 105);
	kernel_advance(1000);
	EXPECT(book_forget(&book) == 105);
	for (unsigned i = 0; i < 60; i++)
		(void)book_post(&book, 8 * (i / 20), 50, 0);
	sim_udp_worker_run(&worker, 0);
	EXPECT(book.sock->sent_n == 30 && worker.stats.datagrams_over_rate == 150);
	EXPECT(book_forget(&book) == 45);
	limiter_close(&limiter);
	end();
}
END_TEST

SUITE("sim_datagram", {"one at a time is three calls", one_at_a_time_is_three_calls, 10, ADDRESSES},
      {"each size comes back from the address asked", each_size_comes_back_from_the_address_asked,
       10, ADDRESSES},
      {"many are few calls", many_are_few_calls, 10, ADDRESSES},
      {"trains come and leave as trains", trains_come_and_leave_as_trains, 10, ADDRESSES},
      {"an answer that differs in one thing has a train of its own",
       an_answer_that_differs_in_one_thing_has_a_train_of_its_own, 10, ADDRESSES},
      {"a train that is refused leaves in pieces", a_train_that_is_refused_leaves_in_pieces, 10,
       ADDRESSES},
      {"a full send queue is waited for", a_full_send_queue_is_waited_for, 10, ADDRESSES},
      {"one that is blocked holds up no other", one_that_is_blocked_holds_up_no_other, 10,
       ADDRESSES},
      {"one that never runs dry gives way", one_that_never_runs_dry_gives_way, 10, 4},
      {"trains give way within a batch", trains_give_way_within_a_batch, 10},
      {"a datagram that is not answered is counted", a_datagram_that_is_not_answered_is_counted, 10,
       ADDRESSES},
      {"an address of many answers nobody", an_address_of_many_answers_nobody, 10, 3},
      {"over the rate is not answered", over_the_rate_is_not_answered, 10, ADDRESSES})
