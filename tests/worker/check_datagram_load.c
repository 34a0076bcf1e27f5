/*
 * Many datagrams, seen from outside: how they spread over workers, that each one of a burst is
 * answered once and unchanged, that those which overflow a queue are counted, and what a datagram
 * costs in system calls (strace on the real server, as in check_syscalls.c).
 *
 * Not seen: a datagram that the kernel loses without counting it.
 */
#include "tests/support/clients/udp_client.h"
#include "tests/support/trace.h"

static void figure(const char *what, double value, const char *unit)
{
	(void)printf("FIGURE %s: %.3f %s\n", what, value, unit);
	(void)fflush(stdout);
}

/* ---- spread ---- */

START_TEST(ten_thousand_sources_spread_evenly)
{
	enum { ADDRESSES = 20, EACH = 500, SOURCES = ADDRESSES * EACH };
	struct server *server = SERVER("-w", "2", "echo+udp://127.0.0.1:0");
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	uint64_t busiest = 0;

	for (int i = 0; i < SOURCES; i++) {
		char host[32];
		int fd;

		(void)snprintf(host, sizeof host, "127.0.%d.%d", i % ADDRESSES, i % 7 + 1);
		fd = udp_client_open(host, 0);
		udp_client_echo(fd, &to, "even", 4);
		(void)close(fd);
	}
	server_wait_stat_is(server, "datagrams_answered", SOURCES);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t share = server_worker_stat(server, i, "datagrams_received");

		busiest = share > busiest ? share : busiest;
	}
	figure("10,000 sources on 2 workers, busiest over mean", (double)busiest / (SOURCES / 2.0),
	       "");
	ck_assert_uint_le(busiest * 10, SOURCES / 2 * 11);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- under load ---- */

struct request {
	uint32_t client, number;
	unsigned char bytes[56];
};

/* Each client sends up to `window` requests before it waits for answers, until it has asked often
 * enough. It waits for all answers: none may be missing, and each comes once. */
static void udp_client_under_load(const struct address *to, unsigned clients, unsigned window,
				  unsigned long rounds)
{
	struct request request = {.bytes = "under load"}, answer;
	int fds[64];

	for (unsigned i = 0; i < clients; i++)
		fds[i] = udp_client_open("127.0.0.1", 0);
	for (unsigned long round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < clients * window; i++) {
			request.client = i / window;
			request.number = (uint32_t)(round * window + i % window);
			udp_client_send(fds[i / window], to, &request, sizeof request);
		}
		for (unsigned i = 0; i < clients; i++) {
			uint64_t came = 0;

			for (unsigned j = 0; j < window; j++) {
				uint64_t at;

				ck_assert_int_eq(
				    udp_client_receive(fds[i], &answer, sizeof answer, NULL, 0),
				    sizeof answer);
				at = answer.number - round * window;
				ck_assert_uint_eq(answer.client, i);
				ck_assert_uint_lt(at, window);
				ck_assert_uint_eq(came >> at & 1, 0);
				came |= UINT64_C(1) << at;
			}
		}
	}
	for (unsigned i = 0; i < clients; i++) {
		udp_client_nothing(fds[i]);
		(void)close(fds[i]);
	}
}

static void all_is_answered(unsigned long rounds)
{
	static const char *const modes[] = {"reuseport", "shared"};
	static const char *const workers[] = {"2", "4"};

	for (size_t i = 0; i < 4; i++) {
		struct server *server =
		    SERVER("-w", workers[i / 2], "-a", modes[i % 2], "echo+udp://127.0.0.1:0");
		struct address to = udp_client_address("127.0.0.1", server->ports[0]);

		udp_client_under_load(&to, 32, 6, rounds);
		server_wait_stat_is(server, "datagrams_answered", 32 * 6 * rounds);
		ck_assert_uint_eq(server_stat(server, "datagrams_received"), 32 * 6 * rounds);
		ck_assert_uint_eq(server_stat(server, "datagrams_dropped"), 0);
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}

START_TEST(all_is_answered_under_load)
{
	all_is_answered(suite_volume(30));
}
END_TEST

START_TEST(all_is_answered_for_long)
{
	all_is_answered(suite_volume(1000));
}
END_TEST

/* ---- bursts ---- */

/* Each datagram that is not empty begins with its number; the rest is random. */
#define BURST 200

struct burst {
	size_t n[BURST], empty;
	unsigned char bytes[BURST][1400];
};

static void burst_fill(struct burst *burst, uint64_t seed)
{
	*burst = (struct burst){0};
	for (uint32_t i = 0; i < BURST; i++) {
		size_t n;

		if (i < 50)
			n = 64;
		else if (i > 50 && i < 90)
			n = 100;
		else if (i == 90)
			n = 37; /* the shorter last one of a train */
		else if (i > 90 && i < 150)
			n = 4 + next_random(&seed) % 300;
		else if (i > 151 && i < 170)
			n = 1400;
		else if (i > 151)
			n = 200;
		else
			n = 0;
		burst->n[i] = n;
		burst->empty += n == 0;
		fill_random(burst->bytes[i], n, seed + i);
		if (n)
			memcpy(burst->bytes[i], &i, sizeof i);
	}
}

/* Sends those from begin to end by one call, which the kernel splits. All but the last have the
 * same size. */
static void send_train(int fd, const struct address *to, const struct burst *burst, size_t begin,
		       size_t end)
{
	uint16_t each = (uint16_t)burst->n[begin];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof each)] = {0};
	struct sockaddr_storage name = to->socket;
	struct iovec pieces[BURST];
	struct msghdr message = {.msg_name = &name,
				 .msg_namelen = to->bytes,
				 .msg_iov = pieces,
				 .msg_iovlen = end - begin,
				 .msg_control = control,
				 .msg_controllen = sizeof control};
	struct cmsghdr *segment = CMSG_FIRSTHDR(&message);
	size_t n = 0;

	for (size_t i = begin; i < end; i++) {
		pieces[i - begin] = (struct iovec){
		    (void *)(uintptr_t)burst->bytes[i],
		    burst->n[i],
		};
		n += burst->n[i];
	}
	segment->cmsg_level = SOL_UDP;
	segment->cmsg_type = UDP_SEGMENT;
	segment->cmsg_len = CMSG_LEN(sizeof each);
	memcpy(CMSG_DATA(segment), &each, sizeof each);
	ck_assert_int_eq(sendmsg(fd, &message, 0), (ssize_t)n);
}

static void send_burst(int fd, const struct address *to, const struct burst *burst, bool trains)
{
	size_t i = 0;

	if (trains) {
		send_train(fd, to, burst, 0, 50);
		udp_client_send(fd, to, "", 0);
		send_train(fd, to, burst, 51, 91);
		for (i = 91; i < 152; i++)
			udp_client_send(fd, to, burst->bytes[i], burst->n[i]);
		send_train(fd, to, burst, 152, 170);
		send_train(fd, to, burst, 170, BURST);
	} else {
		for (; i < BURST; i++)
			udp_client_send(fd, to, burst->bytes[i], burst->n[i]);
	}
}

static void expect_burst(int fd, const struct address *to, const struct burst *burst)
{
	bool came[BURST] = {0};
	size_t empty = 0;

	for (size_t i = 0; i < BURST; i++) {
		unsigned char bytes[2048];
		struct address from;
		ssize_t n = udp_client_receive(fd, bytes, sizeof bytes, &from, 0);
		uint32_t number;

		ck_assert(udp_client_same(&from, to));
		if (!n) {
			empty++;
			continue;
		}
		ck_assert_int_ge(n, 4);
		memcpy(&number, bytes, sizeof number);
		ck_assert_uint_lt(number, BURST);
		ck_assert_msg(!came[number], "datagram %u came again", number);
		came[number] = true;
		ck_assert_msg((size_t)n == burst->n[number], "datagram %u: %zd bytes, not %zu",
			      number, n, burst->n[number]);
		ck_assert_int_eq(memcmp(bytes, burst->bytes[number], (size_t)n), 0);
	}
	ck_assert_uint_eq(empty, burst->empty);
	udp_client_nothing(fd);
}

START_TEST(each_of_a_burst_is_answered_once_and_as_it_was)
{
	static const char *const hosts[] = {"127.0.0.1", "[::1]"};
	static const char *const listeners[] = {"echo+udp://127.0.0.1:0?queue=208K",
						"echo+udp://[::1]:0?queue=208K"};
	static struct burst burst;

	for (size_t i = 0; i < 2; i++) {
		struct server *server = SERVER("-w", "1", listeners[i]);
		struct address to = udp_client_address(hosts[i], server->ports[0]);
		pid_t worker = server_worker(server, 0);
		int fd = udp_client_open(hosts[i], 0);

		for (unsigned round = 0; round < 40; round++) {
			bool stopped = round % 4 > 1;

			burst_fill(&burst, round + 1);
			if (stopped)
				process_stop(worker);
			send_burst(fd, &to, &burst, round % 2);
			if (stopped)
				udp_client_go_on(worker);
			expect_burst(fd, &to, &burst);
		}
		ck_assert_uint_eq(server_stat(server, "datagrams_dropped"), 0);
		server_wait_stat_is(server, "datagrams_answered", 40 * BURST);
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}
END_TEST

/* A train may be in the queue as one, because the worker before asked for trains. Its successor
 * has to split it too. */
START_TEST(a_successor_finds_trains_and_takes_them_apart)
{
	static const char *const modes[] = {"reuseport", "shared"};
	static struct burst burst;

	for (size_t i = 0; i < 2; i++) {
		struct server *server =
		    SERVER("-w", "1", "-a", modes[i], "echo+udp://127.0.0.1:0?queue=208K");
		struct address to = udp_client_address("127.0.0.1", server->ports[0]);
		int fd = udp_client_open("127.0.0.1", 0);
		pid_t pid = 0;

		for (unsigned round = 0; round < 3; round++) {
			pid = server_wait_worker(server, 0, pid);
			burst_fill(&burst, round + 1);
			send_burst(fd, &to, &burst, true);
			expect_burst(fd, &to, &burst);
			udp_client_wait_quiet(server, 1, server->ports[0]);
			process_stop(pid);
			send_burst(fd, &to, &burst, true);
			ck_assert_int_eq(kill(pid, SIGKILL), 0);
			expect_burst(fd, &to, &burst);
		}
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}
END_TEST

/* ---- a queue that overflows ---- */

/* The kernel reports drops with the next datagram that it queues. So one more datagram, which is
 * answered, reports all of them. */
static void overflow(struct server *server, unsigned workers, int fd, uint64_t *sent)
{
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	uint64_t received;

	for (unsigned i = 0; i < workers; i++)
		process_stop(server_worker(server, i));
	for (unsigned i = 0; i < 2000; i++, ++*sent)
		udp_client_send(fd, &to, "overflow", 8);
	for (unsigned i = 0; i < workers; i++)
		udp_client_go_on(server_worker(server, i));
	udp_client_wait_quiet(server, workers, server->ports[0]);
	(void)udp_client_collect(fd);
	udp_client_echo(fd, &to, "flow", 4);
	++*sent;
	udp_client_wait_quiet(server, workers, server->ports[0]);
	received = server_stat(server, "datagrams_received");
	ck_assert_uint_lt(received, *sent);
	ck_assert_uint_eq(server_stat(server, "datagrams_dropped"), *sent - received);
	ck_assert_uint_eq(udp_queue(server->ports[0]).dropped, *sent - received);
	ck_assert_uint_eq(server_stat(server, "datagrams_answered"), received);
}

START_TEST(what_overflows_is_counted_exactly)
{
	static const char *const modes[] = {"reuseport", "shared"};

	for (unsigned workers = 1; workers <= 2; workers++) {
		struct server *server =
		    SERVER("-w", workers == 1 ? "1" : "2", "-a", modes[workers - 1],
			   "echo+udp://127.0.0.1:0?queue=64K");
		struct address to = udp_client_address("127.0.0.1", server->ports[0]);
		int fd = udp_client_open("127.0.0.1", 0);
		uint64_t sent = 1;

		udp_client_echo(fd, &to, "hello", 5);
		for (int round = 0; round < 5; round++)
			overflow(server, workers, fd, &sent);
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}
END_TEST

/* The kernel queues a train as one, and counts it as one if it is dropped. So more datagrams may
 * have been dropped than are counted, but never fewer. */
START_TEST(trains_that_overflow_are_counted_as_trains)
{
	static struct burst burst;
	struct server *server = SERVER("-w", "1", "echo+udp://127.0.0.1:0?queue=64K");
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	int fd = udp_client_open("127.0.0.1", 0);
	uint64_t sent = 0, received, dropped;

	overflow(server, 1, fd, &sent);
	received = server_stat(server, "datagrams_received");
	dropped = server_stat(server, "datagrams_dropped");
	burst_fill(&burst, 1);
	process_stop(server_worker(server, 0));
	for (int i = 0; i < 100; i++)
		send_train(fd, &to, &burst, 0, 50);
	udp_client_go_on(server_worker(server, 0));
	udp_client_wait_quiet(server, 1, server->ports[0]);
	(void)udp_client_collect(fd);
	udp_client_echo(fd, &to, "flow", 4);
	received = server_stat(server, "datagrams_received") - received - 1;
	server_wait_stat(server, "datagrams_dropped", dropped + 1);
	dropped = server_stat(server, "datagrams_dropped") - dropped;
	figure("dropped in trains of 50, counted of", (double)dropped, "");
	figure("dropped", (double)(5000 - received), "");
	ck_assert_uint_lt(received, 5000);
	ck_assert_uint_le(dropped, 5000 - received);
	ck_assert_uint_ge(dropped * 50, 5000 - received);
	ck_assert_uint_eq(server_stat(server, "datagrams_dropped"),
			  udp_queue(server->ports[0]).dropped);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* A socket counts its drops for all of its life, which is longer than a worker's. The successor
 * adds only new ones. */
START_TEST(a_successor_counts_no_drop_twice)
{
	struct server *server = SERVER("-w", "1", "echo+udp://127.0.0.1:0?queue=64K");
	int fd = udp_client_open("127.0.0.1", 0);
	uint64_t sent = 0;
	pid_t pid = 0;

	for (int round = 0; round < 3; round++) {
		pid = server_wait_worker(server, 0, pid);
		overflow(server, 1, fd, &sent);
		if (round < 2)
			ck_assert_int_eq(kill(pid, SIGKILL), 0);
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* How much a queue holds: a small one less than the kernel's default, a large one more. */
static uint64_t queued(const char *listener)
{
	struct server *server = SERVER("-w", "1", listener);
	int fd = udp_client_open("127.0.0.1", 0);
	uint64_t sent = 0, dropped;

	overflow(server, 1, fd, &sent);
	dropped = server_stat(server, "datagrams_dropped");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	return sent - dropped;
}

START_TEST(a_queue_is_as_long_as_it_was_told)
{
	uint64_t small = queued("echo+udp://127.0.0.1:0?queue=8K");
	uint64_t medium = queued("echo+udp://127.0.0.1:0?queue=64K");
	uint64_t large = queued("echo+udp://127.0.0.1:0?queue=208K");

	ck_assert_uint_lt(small * 4, medium);
	ck_assert_uint_lt(medium * 2, large);
}
END_TEST

/* ---- system calls ---- */

static size_t receives_of(const struct trace *trace)
{
	return calls_of(trace, "recvmmsg", "") + calls_of(trace, "recvmsg", "") +
	       calls_of(trace, "recvfrom", "");
}

static size_t sends_of(const struct trace *trace)
{
	return calls_of(trace, "sendmmsg", "") + calls_of(trace, "sendmsg", "") +
	       calls_of(trace, "sendto", "");
}

START_TEST(three_calls_a_datagram_one_at_a_time)
{
	static const char *const modes[] = {"reuseport", "shared"};
	enum { ROUNDS = 500 };

	if (!tracing_works("three calls a datagram, one at a time"))
		return;
	for (size_t i = 0; i < 2; i++) {
		struct server *server = SERVER("-w", "1", "-a", modes[i], "echo+udp://127.0.0.1:0");
		struct address to = udp_client_address("127.0.0.1", server->ports[0]);
		int fd = udp_client_open("127.0.0.1", 0);
		struct trace *trace;
		int tries = 0;

		udp_client_echo(fd, &to, "first", 5);
		trace = trace_begin(server_worker(server, 0));
		/* A deadline that passes, or a sanitizer, may add a call: tried again.
		 */
		do {
			for (int j = 0; j < ROUNDS; j++)
				udp_client_echo(fd, &to, "one at a time", 13);
			trace_window(trace);
		} while (trace->calls_n != 3 * ROUNDS && ++tries < 5);
		figure("calls a datagram, one at a time", (double)trace->calls_n / ROUNDS, "calls");
		ck_assert_uint_eq(calls_of(trace, "epoll_wait", ""), ROUNDS);
		ck_assert_uint_eq(receives_of(trace), ROUNDS);
		ck_assert_uint_eq(sends_of(trace), ROUNDS);
		ck_assert_uint_eq(trace->calls_n, 3 * ROUNDS);
		trace_end(trace);
		ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	}
}
END_TEST

/* All of a burst is queued before the worker goes on, as it is under a load too high to be served
 * one by one. The burst is as large as fits into the queue of any kernel. */
START_TEST(a_burst_shares_calls)
{
	enum { CLIENTS = 10, EACH = 40, BURSTS = 5, ALL = CLIENTS * EACH * BURSTS };
	struct server *server;
	struct address to;
	struct trace *trace;
	int fds[CLIENTS];
	double each;

	if (!tracing_works("a burst shares calls"))
		return;
	server = SERVER("-w", "1", "echo+udp://127.0.0.1:0?queue=208K");
	to = udp_client_address("127.0.0.1", server->ports[0]);
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = udp_client_open("127.0.0.1", 0);
		udp_client_echo(fds[i], &to, "first", 5);
	}
	trace = trace_begin(server_worker(server, 0));
	for (int burst = 0; burst < BURSTS; burst++) {
		for (int i = 0; i < CLIENTS * EACH; i++)
			udp_client_send(fds[i % CLIENTS], &to, "in a burst", 10);
		for (int i = 0; i < CLIENTS * EACH; i++)
			udp_client_expect(fds[i % CLIENTS], &to, "in a burst", 10);
	}
	trace_window(trace);
	each = (double)trace->calls_n / ALL;
	figure("calls a datagram, in bursts of 400", each, "calls");
	ck_assert_uint_eq(server_stat(server, "datagrams_answered"), ALL + CLIENTS);
	ck_assert_msg(each <= 0.2, "%.3f calls a datagram, not 0.2 at most", each);
	trace_end(trace);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("datagram, under load",
      {"10,000 sources spread evenly", ten_thousand_sources_spread_evenly, 30},
      {"all is answered under load", all_is_answered_under_load, 60},
      {"all is answered under load for long", all_is_answered_for_long, 60, .kind = SUITE_LONG},
      {"each of a burst is answered once and as it was",
       each_of_a_burst_is_answered_once_and_as_it_was, 30},
      {"a successor finds trains and takes them apart",
       a_successor_finds_trains_and_takes_them_apart, 30},
      {"what overflows is counted exactly", what_overflows_is_counted_exactly, 30},
      {"trains that overflow are counted as trains", trains_that_overflow_are_counted_as_trains,
       30},
      {"a successor counts no drop twice", a_successor_counts_no_drop_twice, 30},
      {"a queue is as long as it was told", a_queue_is_as_long_as_it_was_told, 30},
      {"three calls a datagram, one at a time", three_calls_a_datagram_one_at_a_time, 60},
      {"a burst shares calls", a_burst_shares_calls, 60})
