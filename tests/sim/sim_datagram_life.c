/*
 * How the service of UDP sockets ends on a simulated kernel, what a successor finds, and several
 * workers at one socket.
 *
 * It assumes that of several sleepers the kernel wakes the first one.
 */
#include "tests/sim/sim_datagram_world.h"

static struct sim_udp_worker other_worker;
static struct udp_server other_server;

static const unsigned waiting[] = {0, 1, 2, 15, 16, 17, 31, 32, 33, 64, 96, 97, 127, 128, 129, 300};
#define WAITING ((int)(sizeof waiting / sizeof *waiting))

static void stops(bool many, unsigned n, size_t bytes)
{
	uint32_t drops;

	begin("[::]:7878", ANSWER_ECHO);
	if (many)
		sim_udp_worker_show_many(&worker, &book);
	book.sock->queue_max = 1; /* room for one: two are dropped, and none comes after them */
	for (unsigned i = 0; i < 3; i++)
		(void)book_post(&book, i, bytes, 0);
	sim_udp_worker_run(&worker, 1);
	book.sock->queue_max = SIZE_MAX;
	for (unsigned i = 0; i < n; i++)
		(void)book_post(&book, i, bytes, 0);
	udp_server_stop(&server);
	drops = book.sock->drops;
	/* Requests that come now are not let in, however long the end takes. */
	for (unsigned i = 0; udp_server_is_open(&server); i++) {
		EXPECT_MSG(i < 100, "it does not end");
		EXPECT(book_post(&book, i, 10, 0) == 0);
		loop_pass(&worker.loop, 0);
	}
	EXPECT(server.gone_n == 1 && !book.owed_n);
	EXPECT(worker.stats.datagrams_dropped == drops);
	kernel_count_anew();
	sim_udp_worker_run(&worker, 50);
	EXPECT(kernel_calls_all() == kernel.calls[KERNEL_epoll_wait] && server.gone_n == 1);
	udp_server_stop(&server); /* does nothing to a server that has gone */
	udp_server_leave(&server);
	sim_udp_worker_run(&worker, 1);
	EXPECT(server.gone_n == 1);
	end();
}

/* The kernel's count of drops wraps; a new worker has counted none of them, and must not count
 * those again that its predecessor counted. */
START_TEST(a_successor_counts_what_was_dropped_since)
{
	static const uint32_t counted[] = {0, 1000, 0x7fffffff, 0x90000000, 0xffffffff};

	sim_udp_servers_begin();
	sim_udp_worker_open(&worker);
	book_open(&book, "127.0.0.1:7878", ANSWER_ECHO);
	book.dropped = counted[_i];
	book.sock->drops = counted[_i] + 7; /* 7 were dropped while no worker served the socket */
	EXPECT(udp_server_open(&server, &worker, &book, false) == 0);
	EXPECT(worker.stats.datagrams_dropped == 7);
	(void)book_post(&book, 1, 10, 0);
	sim_udp_worker_run(&worker, 1);
	EXPECT(worker.stats.datagrams_dropped == 7 && book.dropped == counted[_i] + 7);
	udp_server_close(&server);
	book_close(&book);
	sim_udp_worker_close(&worker);
	sim_udp_servers_end();
}
END_TEST

START_TEST(stop_answers_what_has_come)
{
	for (int many = 0; many < 2; many++) {
		stops(many, waiting[_i], 10);
		stops(many, waiting[_i], 9000);
	}
}
END_TEST

/* The queue is too short for two. */
START_TEST(drops_are_counted_if_never_two_wait)
{
	begin(addresses[_i], ANSWER_ECHO);
	book.sock->queue_max = 1;
	for (unsigned i = 0; i < 2 * UDP_RX_LOOK; i++) {
		(void)book_post(&book, 1, 100, 0);
		(void)book_post(&book, 2, 100, 0);
		sim_udp_worker_run(&worker, 0);
	}
	EXPECT(book.sock->drops == 2 * UDP_RX_LOOK);
	EXPECT(worker.stats.datagrams_dropped >= UDP_RX_LOOK);
	end();
}
END_TEST

START_TEST(stop_waits_for_room_to_send)
{
	begin("127.0.0.1:7878", ANSWER_ECHO);
	book.sock->send_max = 2000;
	for (unsigned i = 0; i < 300; i++)
		(void)book_post(&book, i, 500, 0);
	sim_udp_worker_run(&worker, 1);
	udp_server_stop(&server);
	for (int i = 0; i < 1000 && udp_server_is_open(&server); i++) {
		sim_udp_worker_run(&worker, DATAGRAM_RETRY_MS);
		EXPECT(udp_server_is_open(&server) == (book.owed_n > 0));
		sim_socket_drain(book.sock, 700);
	}
	EXPECT(server.gone_n == 1 && !book.owed_n);
	end();
}
END_TEST

/* The server answers the batch that it has received, and leaves the rest to its successor. */
START_TEST(leave_leaves_the_rest_to_its_successor)
{
	size_t hand;

	begin(addresses[_i], ANSWER_ECHO);
	sim_udp_worker_show_many(&worker, &book);
	book.sock->send_max = 2000;
	for (unsigned i = 0; i < 200; i++)
		(void)book_post(&book, i, 500 + i, 0);
	sim_udp_worker_run(&worker, 1);
	hand = book_in_hand(&book);
	EXPECT(hand > 0 && hand < UDP_RX_BATCH);
	udp_server_leave(&server);
	for (int i = 0; i < 100 && udp_server_is_open(&server); i++) {
		EXPECT(book_in_hand(&book) > 0);
		sim_udp_worker_run(&worker, 1);
		sim_socket_drain(book.sock, 700);
	}
	EXPECT(server.gone_n == 1 && !book_in_hand(&book) && book.owed_n > 100);
	EXPECT(udp_server_open(&server, &worker, &book, false) == 0);
	for (int i = 0; i < 1000 && book.owed_n; i++) {
		sim_udp_worker_run(&worker, 0);
		sim_socket_drain(book.sock, 700);
	}
	EXPECT(!book.owed_n);
	end();
}
END_TEST

/* Like a worker that is killed: the batch that it had received is lost, and no more. */
START_TEST(close_loses_what_is_in_hand_only)
{
	begin(addresses[_i], ANSWER_ECHO);
	sim_udp_worker_show_many(&worker, &book);
	book.sock->send_max = 2000;
	for (unsigned i = 0; i < 200; i++)
		(void)book_post(&book, i, 500 + i, 0);
	sim_udp_worker_run(&worker, 1);
	udp_server_close(&server);
	EXPECT(book_forget(&book) < UDP_RX_BATCH);
	sim_socket_drain(book.sock, SIZE_MAX);
	book.sock->send_max = SIZE_MAX;
	EXPECT(udp_server_open(&server, &worker, &book, false) == 0);
	sim_udp_worker_run(&worker, 1);
	EXPECT(!book.owed_n && server.gone_n == 0);
	end();
}
END_TEST

/* ---- several workers at one socket ---- */

static struct sim_udp_worker *const both[] = {&worker, &other_worker};

static void begin_both(const char *address)
{
	sim_udp_servers_begin();
	sim_udp_worker_open(&worker);
	sim_udp_worker_open(&other_worker);
	book_open(&book, address, ANSWER_ECHO);
	EXPECT(udp_server_open(&server, &worker, &book, true) == 0);
	EXPECT(udp_server_open(&other_server, &other_worker, &book, true) == 0);
	sim_udp_workers_run(both, 2, 1);
}

static void end_both(void)
{
	sim_udp_workers_expect(both, 2, (struct book *[]){&book}, 1);
	udp_server_close(&server);
	udp_server_close(&other_server);
	book_close(&book);
	sim_udp_worker_close(&worker);
	sim_udp_worker_close(&other_worker);
	sim_udp_servers_end();
}

/* When one worker asks the kernel for trains, the other one, which has seen only one datagram at a
 * time, gets trains, too. */
START_TEST(a_train_that_somebody_else_asked_for_is_no_datagram)
{
	begin_both(addresses[_i]);
	udp_server_close(&other_server);
	sim_udp_worker_show_many(&worker, &book);
	udp_server_leave(&server);
	sim_udp_worker_run(&worker, 1);
	EXPECT(udp_server_open(&server, &worker, &book, true) == 0);
	EXPECT(book_post(&book, 3, 1000, 100) == 10);
	sim_udp_workers_run(both, 2, 1);
	EXPECT(!book.owed_n);
	udp_server_close(&server);
	book.sock->trains = false;
	EXPECT(udp_server_open(&server, &worker, &book, true) == 0);
	EXPECT(udp_server_open(&other_server, &other_worker, &book, true) == 0);
	sim_udp_workers_run(both, 2, 1);
	/* The first worker is awake and busy, and sees many. After that the second one is woken. */
	while (!book.sock->trains) {
		(void)book_post(&book, 1, 100, 0);
		(void)book_post(&book, 2, 100, 0);
		loop_pass(&worker.loop, 0);
	}
	while (book.owed_n)
		loop_pass(&worker.loop, 0);
	udp_server_leave(&server);
	sim_udp_worker_run(&worker, 1);
	EXPECT(book_post(&book, 3, 1000, 100) == 10);
	sim_udp_workers_run(both, 2, 1);
	EXPECT(!book.owed_n);
	end_both();
}
END_TEST

/* Of the workers that share a socket, one is woken for a datagram. If it leaves just then, another
 * one has to be woken. */
START_TEST(a_wake_up_is_not_lost_with_the_worker_that_leaves)
{
	for (unsigned n = 1; n < 300; n = 3 * n) {
		begin_both(addresses[_i]);
		for (unsigned i = 0; i < n; i++)
			(void)book_post(&book, i, 100, 0);
		udp_server_leave(&server);
		loop_pass(&worker.loop, 0);
		sim_udp_workers_run(both, 2, 1);
		EXPECT(!udp_server_is_open(&server) && !book.owed_n);
		end_both();
	}
}
END_TEST

START_TEST(drops_are_counted_once_by_all)
{
	begin_both(addresses[_i]);
	for (int round = 0; round < 20; round++) {
		book.sock->queue_max = 10000;
		for (unsigned i = 0; i < 100; i++)
			(void)book_post(&book, i, 200, 0);
		sim_udp_workers_run(both, 2, 1);
		book.sock->queue_max = SIZE_MAX;
		for (unsigned i = 0; i < 40; i++)
			(void)book_post(&book, i, 200, 0);
		if (round % 2)
			loop_pass(&other_worker.loop, 0);
		sim_udp_workers_run(both, 2, 1);
		EXPECT(worker.stats.datagrams_dropped + other_worker.stats.datagrams_dropped ==
		       book.sock->drops);
	}
	EXPECT(book.sock->drops > 500);
	/* Both stop. What comes after the first has stopped is not a drop because of a full queue.
	 */
	book.expected.datagrams_dropped = book.sock->drops;
	udp_server_stop(&server);
	EXPECT(book_post(&book, 1, 10, 0) == 0);
	udp_server_stop(&other_server);
	sim_udp_workers_run(both, 2, 1);
	EXPECT(!udp_server_is_open(&server) && !udp_server_is_open(&other_server));
	EXPECT(worker.stats.datagrams_dropped + other_worker.stats.datagrams_dropped ==
	       book.expected.datagrams_dropped);
	end_both();
}
END_TEST

SUITE("sim_datagram_life",
      {"a successor counts what was dropped since", a_successor_counts_what_was_dropped_since, 10,
       5},
      {"stop answers what has come", stop_answers_what_has_come, 10, WAITING},
      {"drops are counted if never two wait", drops_are_counted_if_never_two_wait, 10, ADDRESSES},
      {"stop waits for room to send", stop_waits_for_room_to_send, 10},
      {"leave leaves the rest to its successor", leave_leaves_the_rest_to_its_successor, 10,
       ADDRESSES},
      {"close loses what is in hand only", close_loses_what_is_in_hand_only, 10, ADDRESSES},
      {"a train that somebody else asked for is no datagram",
       a_train_that_somebody_else_asked_for_is_no_datagram, 10, ADDRESSES},
      {"a wake-up is not lost with the worker that leaves",
       a_wake_up_is_not_lost_with_the_worker_that_leaves, 10, ADDRESSES},
      {"drops are counted once by all", drops_are_counted_once_by_all, 10, ADDRESSES})
