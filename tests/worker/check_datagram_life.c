/*
 * Datagrams while workers die and weir ends: a datagram that reached a slot's socket is answered,
 * by the worker or its successor. It is lost only if the kernel's queue was full, which is counted,
 * or if the worker that had just received it was killed: a batch at most.
 *
 * The tests count what they sent, what came back, and what /proc/net/udp says was dropped. They
 * can't kill a worker at one chosen instruction.
 */
#include <netinet/tcp.h>
#include <sys/resource.h>

#include "tests/support/clients/udp_client.h"

#define QUEUED	  50
#define BATCH_MAX 32	      /* that a worker receives at once (reactor/udp/udp_rx.h) */
#define OWED	  (384 << 10) /* to a client that does not read; the kernel takes some 230 KiB */

static const char *const modes[] = {"reuseport", "shared"};

/* ---- numbered requests ---- */

static void udp_client_numbers(int fd, const struct address *to, uint32_t begin, uint32_t end)
{
	for (uint32_t number = begin; number < end; number++)
		udp_client_send(fd, to, &number, sizeof number);
}

/* Expects one answer to each of these, in any order. */
static void expect_numbers(int fd, const struct address *to, uint32_t begin, uint32_t end)
{
	bool came[1024] = {0};

	ck_assert_uint_le(end - begin, 1024);
	for (uint32_t i = begin; i < end; i++) {
		struct address from;
		uint32_t number;

		ck_assert_int_eq(udp_client_receive(fd, &number, sizeof number, &from, 0),
				 sizeof number);
		ck_assert(udp_client_same(&from, to));
		ck_assert_msg(number >= begin && number < end && !came[number - begin],
			      "%u came, twice or uncalled for", number);
		came[number - begin] = true;
	}
	udp_client_nothing(fd);
}

/* ---- a worker dies ---- */

/* On a busy machine the kernel delivers later, in a thread of its own (ksoftirqd). */
static void wait_for_some(unsigned port)
{
	struct wait wait = wait_begin();

	while (!udp_queue(port).waiting)
		wait_more(&wait, "a datagram in the queue");
}

START_TEST(a_successor_answers_what_is_queued)
{
	for (size_t mode = 0; mode < 2; mode++) {
		struct server *server =
		    SERVER("-w", "1", "-a", modes[mode], "echo+udp://127.0.0.1:0");
		struct address to = udp_client_address("127.0.0.1", server->ports[0]);
		int fd = udp_client_open("127.0.0.1", 0);

		udp_client_echo(fd, &to, "here", 4);
		for (uint32_t round = 0; round < 3; round++) {
			pid_t pid = server_wait_worker(server, 0, 0);

			udp_client_wait_quiet(server, 1, server->ports[0]);
			process_stop(pid);
			udp_client_numbers(fd, &to, round * QUEUED, (round + 1) * QUEUED);
			wait_for_some(server->ports[0]);
			ck_assert_int_eq(kill(pid, SIGKILL), 0);
			expect_numbers(fd, &to, round * QUEUED, (round + 1) * QUEUED);
			ck_assert_int_ne(server_wait_worker(server, 0, pid), pid);
		}
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}
END_TEST

/* All four workers are dead at once: each request waits for its slot's next worker. */
START_TEST(each_slot_keeps_its_own)
{
	enum { CLIENTS = 32 };

	for (size_t mode = 0; mode < 2; mode++) {
		struct server *server =
		    SERVER("-w", "4", "-a", modes[mode], "echo+udp://127.0.0.1:0");
		struct address to = udp_client_address("127.0.0.1", server->ports[0]);
		int fds[CLIENTS];
		pid_t pids[4];

		for (unsigned i = 0; i < 4; i++)
			process_stop(pids[i] = server_wait_worker(server, i, 0));
		for (int i = 0; i < CLIENTS; i++) {
			fds[i] = udp_client_open("127.0.0.1", 0);
			udp_client_numbers(fds[i], &to, 0, 6);
		}
		for (unsigned i = 0; i < 4; i++)
			ck_assert_int_eq(kill(pids[i], SIGKILL), 0);
		for (int i = 0; i < CLIENTS; i++)
			expect_numbers(fds[i], &to, 0, 6);
		ck_assert_uint_eq(udp_queue(server->ports[0]).dropped, 0);
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}
END_TEST

#define CLIENTS 16
#define A_BURST 50
#define KILLS	20
#define NUMBERS (KILLS * A_BURST)

struct tally {
	uint64_t asked, answered, kills;
	bool came[CLIENTS][NUMBERS];
};

/* Takes the answers that are there: each may come once, and only to the client that asked. */
static void tally_collect(struct tally *tally, const int fds[CLIENTS])
{
	for (uint32_t i = 0; i < CLIENTS; i++) {
		uint32_t request[2];

		while (udp_client_receive(fds[i], request, sizeof request, NULL, MSG_DONTWAIT) >=
		       0) {
			bool *came;

			ck_assert_uint_eq(request[0], i);
			ck_assert_uint_lt(request[1], NUMBERS);
			came = &tally->came[i][request[1]];
			ck_assert_msg(!*came, "%u of client %u was answered twice", request[1], i);
			*came = true;
			tally->answered++;
		}
	}
}

/* A burst from all clients, in the middle of which a worker is killed. */
static void tally_burst(struct tally *tally, const int fds[CLIENTS], const struct address *to,
			pid_t victim, uint64_t *seed)
{
	uint32_t first = (uint32_t)tally->kills * A_BURST;
	uint64_t at = next_random(seed) % (CLIENTS * A_BURST);

	for (uint32_t i = 0; i < CLIENTS * A_BURST; i++) {
		uint32_t request[2] = {i % CLIENTS, first + i / CLIENTS};

		udp_client_send(fds[request[0]], to, request, sizeof request);
		tally->asked++;
		if (i == at)
			ck_assert_int_eq(kill(victim, SIGKILL), 0);
	}
	tally->kills++;
}

static void killed_under_load(const char *mode, uint64_t seed, unsigned kills)
{
	struct server *server = SERVER("-w", "4", "-a", mode, "echo+udp://127.0.0.1:0?queue=208K");
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	struct tally tally = {0};
	uint64_t dropped, received;
	int fds[CLIENTS];

	for (int i = 0; i < CLIENTS; i++)
		fds[i] = udp_client_open("127.0.0.1", 0);
	for (unsigned i = 0; i < kills; i++) {
		pid_t victim = server_wait_worker(server, i % 4, 0);

		tally_burst(&tally, fds, &to, victim, &seed);
		(void)server_wait_worker(server, i % 4, victim);
		udp_client_wait_quiet(server, 4, server->ports[0]);
		tally_collect(&tally, fds);
	}
	dropped = udp_queue(server->ports[0]).dropped;
	received = server_stat(server, "datagrams_received");
	(void)printf("FIGURE %s, %d kills: %llu asked, %llu answered, %llu dropped\n", mode, kills,
		     (unsigned long long)tally.asked, (unsigned long long)tally.answered,
		     (unsigned long long)dropped);
	(void)fflush(stdout);
	ck_assert_uint_le(tally.answered + dropped, tally.asked);
	ck_assert_uint_le(tally.asked - tally.answered - dropped, BATCH_MAX * kills);
	/* A worker that is killed may not have counted the batch it had just received. */
	ck_assert_uint_le(received + dropped, tally.asked);
	ck_assert_uint_le(tally.asked - received - dropped, BATCH_MAX * kills);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(kills_lose_what_was_in_hand_at_most)
{
	killed_under_load("reuseport", 1, KILLS / 4);
	killed_under_load("shared", 2, KILLS / 4);
}
END_TEST

START_TEST(twenty_kills_lose_what_was_in_hand_at_most)
{
	killed_under_load("reuseport", 1, KILLS);
	killed_under_load("shared", 2, KILLS);
}
END_TEST

/* ---- a worker is drained ---- */

/* Connects a client that is owed more than the kernel takes, and does not read. */
static int connect_who_does_not_read(struct server *server, unsigned port)
{
	struct address to = udp_client_address("127.0.0.1", port);
	static unsigned char bytes[OWED];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), mss = 1400;

	ck_assert_int_ge(fd, 0);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof mss);
	udp_client_patience(fd);
	set_buffers(fd, 0, 16384);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to.socket, to.bytes), 0);
	send_all(fd, bytes, OWED);
	server_wait_stat(server, "received_bytes", OWED);
	return fd;
}

static void read_all_owed(int fd)
{
	static unsigned char bytes[OWED];

	ck_assert_uint_eq(receive_to_end(fd, bytes, sizeof bytes), OWED);
	(void)close(fd);
}

/* It answers as long as it has connections to serve; then its successor does. */
START_TEST(a_drained_worker_goes_on_answering)
{
	struct server *server =
	    SERVER("-w", "1", "--drain-timeout", "1m", "--write-timeout", "0", "--high-water", "1M",
		   "echo://127.0.0.1:0", "echo+udp://127.0.0.1:0");
	struct address to = udp_client_address("127.0.0.1", server->ports[1]);
	int stream = connect_who_does_not_read(server, server->ports[0]);
	int fd = udp_client_open("127.0.0.1", 0);
	pid_t pid = server_worker(server, 0);

	process_stop(pid);
	udp_client_numbers(fd, &to, 0, QUEUED);
	ck_assert_int_eq(kill(pid, SIGTERM), 0);
	udp_client_go_on(pid);
	server_wait_log(server, "msg=draining");
	expect_numbers(fd, &to, 0, QUEUED);
	for (int i = 0; i < QUEUED; i++)
		udp_client_echo(fd, &to, "while it drains", 15);
	ck_assert_int_eq(server_worker(server, 0), pid);
	ck_assert_uint_eq(server_stat(server, "connections"), 1);

	/* The successor answers what comes between the two. */
	process_stop(pid);
	udp_client_numbers(fd, &to, 0, QUEUED);
	udp_client_go_on(pid);
	read_all_owed(stream);
	udp_client_numbers(fd, &to, QUEUED, 2 * QUEUED);
	expect_numbers(fd, &to, 0, 2 * QUEUED);
	(void)server_wait_worker(server, 0, pid);
	udp_client_echo(fd, &to, "the next one", 12);
	server_wait_stat_is(server, "datagrams_answered", 4 * QUEUED + 1);
	ck_assert(!server_log_has(server, "worker died"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Clients of chat stay until all listeners are closed. Datagram sockets don't count as
 * listeners. */
START_TEST(clients_of_chat_do_not_keep_a_drained_worker)
{
	struct server *server = SERVER("-w", "1", "--drain-timeout", "10m", "chat://127.0.0.1:0",
				       "echo+udp://127.0.0.1:0");
	struct address to = udp_client_address("127.0.0.1", server->ports[1]);
	int member = connect_to(server->ports[0]), fd = udp_client_open("127.0.0.1", 0);
	pid_t pid = server_worker(server, 0);
	char byte;

	server_wait_stat_is(server, "connections", 1);
	udp_client_echo(fd, &to, "before", 6);
	ck_assert_int_eq(kill(pid, SIGTERM), 0);
	ck_assert_uint_eq(receive_to_end(member, &byte, 1), 0);
	(void)server_wait_worker(server, 0, pid);
	udp_client_echo(fd, &to, "behind", 6);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	(void)close(member);
}
END_TEST

/* A TERM to a worker costs no datagram at all. */
START_TEST(drains_under_load_lose_nothing)
{
	for (size_t mode = 0; mode < 2; mode++) {
		struct server *server = SERVER("-w", "2", "-a", modes[mode], "echo://127.0.0.1:0",
					       "echo+udp://127.0.0.1:0?queue=208K");
		struct address to = udp_client_address("127.0.0.1", server->ports[1]);
		uint64_t seed = mode + 1;
		int fds[4];

		for (int i = 0; i < 4; i++)
			fds[i] = udp_client_open("127.0.0.1", 0);
		for (unsigned round = 0; round < 8; round++) {
			pid_t pid = server_wait_worker(server, round % 2, 0);
			uint64_t at = next_random(&seed) % 400;

			for (uint32_t i = 0; i < 400; i++) {
				uint32_t number = i / 4;

				udp_client_send(fds[i % 4], &to, &number, sizeof number);
				if (i == at)
					ck_assert_int_eq(kill(pid, SIGTERM), 0);
			}
			for (int i = 0; i < 4; i++)
				expect_numbers(fds[i], &to, 0, 100);
			(void)server_wait_worker(server, round % 2, pid);
		}
		server_wait_stat_is(server, "datagrams_answered", 8 * 400);
		ck_assert_uint_eq(server_stat(server, "datagrams_received"), 8 * 400);
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}
END_TEST

/* ---- weir ends ---- */

static void expect_nobody(unsigned port)
{
	struct address to = udp_client_address("127.0.0.1", port);
	int fd = udp_client_open("127.0.0.1", 0);
	char byte;

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to.socket, to.bytes), 0);
	ck_assert_int_eq(send(fd, "x", 1, 0), 1);
	ck_assert_int_eq(recv(fd, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, ECONNREFUSED);
	ck_assert_uint_eq(udp_queue(port).sockets, 0);
	(void)close(fd);
}

static void ends_after_answering(const char *mode, int signal)
{
	struct server *server = SERVER("-w", "2", "-a", mode, "echo+udp://127.0.0.1:0");
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	pid_t pids[2] = {server_worker(server, 0), server_worker(server, 1)};
	int fds[8];

	for (int i = 0; i < 2; i++)
		process_stop(pids[i]);
	for (int i = 0; i < 8; i++) {
		fds[i] = udp_client_open("127.0.0.1", 0);
		udp_client_numbers(fds[i], &to, 0, 25);
	}
	ck_assert_int_eq(kill(server->pid, signal), 0);
	server_wait_log(server, "msg=stopping");
	for (int i = 0; i < 2; i++)
		udp_client_go_on(pids[i]);
	for (int i = 0; i < 8; i++)
		expect_numbers(fds[i], &to, 0, 25);
	ck_assert_int_eq(server_wait_exit(server), 0);
	ck_assert_uint_eq(server_stat(server, "datagrams_answered"), 200);
	expect_nobody(server->ports[0]);
}

START_TEST(a_stop_answers_what_has_come)
{
	ends_after_answering("reuseport", SIGTERM);
	ends_after_answering("reuseport", SIGINT);
	ends_after_answering("shared", SIGTERM);
}
END_TEST

/* For any number of datagrams: nothing tells the worker which one is the last, so it has to look
 * again. The last one may also be the last of a batch (of 32), or of a turn (four batches). */
START_TEST(a_stop_ends_whatever_was_queued)
{
	static const uint32_t counts[] = {0,  1,  31,  32,  33,	 63,  64,  65,	96,  97,
					  98, 99, 127, 128, 129, 130, 131, 132, 200, 250};
	enum { COUNTS = sizeof counts / sizeof *counts, SOCKETS = 7 };

	for (size_t i = 0; i < COUNTS * 2; i++) {
		struct server *server = SERVER("-w", "1", "--drain-timeout", "1h", "-a",
					       modes[i % 2], "echo+udp://127.0.0.1:0");
		struct address to = udp_client_address("127.0.0.1", server->ports[0]);
		pid_t pid = server_worker(server, 0);
		int fds[SOCKETS];

		for (int j = 0; j < SOCKETS; j++)
			fds[j] = udp_client_open("127.0.0.1", 0);
		process_stop(pid);
		for (uint32_t number = 0; number < counts[i / 2]; number++)
			udp_client_numbers(fds[number % SOCKETS], &to, number, number + 1);
		ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
		server_wait_log(server, "msg=stopping");
		udp_client_go_on(pid);
		ck_assert_int_eq(server_wait_exit(server), 0);
		ck_assert_uint_eq(server_stat(server, "datagrams_answered"), counts[i / 2]);
		for (int j = 0; j < SOCKETS; j++)
			(void)close(fds[j]);
	}
}
END_TEST

START_TEST(without_a_master_it_answers_and_ends_too)
{
	struct server *server = SERVER("--no-master", "-w", "1", "echo+udp://127.0.0.1:0");
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	int fd = udp_client_open("127.0.0.1", 0);

	udp_client_echo(fd, &to, "one process", 11);
	process_stop(server->pid);
	udp_client_numbers(fd, &to, 0, QUEUED);
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	udp_client_go_on(server->pid);
	expect_numbers(fd, &to, 0, QUEUED);
	ck_assert_int_eq(server_wait_exit(server), 0);
	expect_nobody(server->ports[0]);
}
END_TEST

#define FLOODS 4

static void flood_start(const struct address *to, pid_t pids[FLOODS])
{
	for (int i = 0; i < FLOODS; i++) {
		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (pids[i])
			continue;
		for (int fd = udp_client_open("127.0.0.1", 0);;)
			(void)sendto(fd, "flood", 5, 0, (const struct sockaddr *)&to->socket,
				     to->bytes);
	}
}

/* Clients that never stop asking do not delay the end until drain-timeout. The workers here have a
 * low priority, and deep queues if the kernel allows it, so they never find them empty. */
START_TEST(a_flood_does_not_hold_the_end_up)
{
	for (size_t mode = 0; mode < 2; mode++) {
		struct server *server = SERVER("-w", "2", "--drain-timeout", "1h", "-a",
					       modes[mode], "echo+udp://127.0.0.1:0?queue=4M");
		struct address to = udp_client_address("127.0.0.1", server->ports[0]);
		pid_t pids[FLOODS];

		for (unsigned i = 0; i < 2; i++)
			ck_assert_int_eq(
			    setpriority(PRIO_PROCESS, (id_t)server_wait_worker(server, i, 0), 10),
			    0);
		flood_start(&to, pids);
		server_wait_stat(server, "datagrams_dropped", 1000);
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
		for (int i = 0; i < FLOODS; i++)
			ck_assert_int_eq(kill(pids[i], SIGKILL), 0);
	}
}
END_TEST

/* Its workers notice, answer what has come, and end; the port is free. */
START_TEST(workers_of_a_dead_master_answer_and_leave)
{
	struct server *server = SERVER("-w", "2", "echo+udp://127.0.0.1:0");
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	pid_t pids[2] = {server_worker(server, 0), server_worker(server, 1)};
	int fd = udp_client_open("127.0.0.1", 0);
	struct wait wait;

	for (int i = 0; i < 2; i++)
		process_stop(pids[i]);
	udp_client_numbers(fd, &to, 0, QUEUED);
	ck_assert_int_eq(kill(server->pid, SIGKILL), 0);
	ck_assert_int_eq(server_wait_exit(server), 128 + SIGKILL);
	for (int i = 0; i < 2; i++)
		udp_client_go_on(pids[i]);
	expect_numbers(fd, &to, 0, QUEUED);
	wait = wait_begin();
	while (udp_queue(server->ports[0]).sockets)
		wait_more(&wait, "a free port");
	expect_nobody(server->ports[0]);
}
END_TEST

SUITE("datagram, life and death",
      {"a successor answers what is queued", a_successor_answers_what_is_queued, 30},
      {"each slot keeps its own", each_slot_keeps_its_own, 30},
      {"kills lose what was in hand, at most", kills_lose_what_was_in_hand_at_most, 60},
      {"twenty kills lose what was in hand, at most", twenty_kills_lose_what_was_in_hand_at_most,
       60, .kind = SUITE_LONG},
      {"a drained worker goes on answering", a_drained_worker_goes_on_answering, 30},
      {"clients of chat do not keep a drained worker", clients_of_chat_do_not_keep_a_drained_worker,
       20},
      {"drains under load lose nothing", drains_under_load_lose_nothing, 60},
      {"a stop answers what has come", a_stop_answers_what_has_come, 30},
      {"a stop ends, whatever was queued", a_stop_ends_whatever_was_queued, 60},
      {"without a master it answers and ends too", without_a_master_it_answers_and_ends_too, 20},
      {"a flood does not hold the end up", a_flood_does_not_hold_the_end_up, 30},
      {"workers of a dead master answer and leave", workers_of_a_dead_master_answer_and_leave, 20})
