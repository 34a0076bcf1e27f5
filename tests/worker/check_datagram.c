/*
 * echo+udp, discard+udp and chargen+udp, seen from outside: bytes, addresses, ports, guards and
 * rate limits. Tests under load are in check_datagram_load.c, tests in which workers die in
 * check_datagram_life.c, and tests that need root (spoofed ports below 1024, broadcasts,
 * addresses other than loopback's) in root_datagram.c.
 *
 * Each test of "is not answered" has been seen to fail when weir was broken on purpose.
 */
#include <poll.h>

#include "tests/support/clients/udp_client.h"

#define OUTPUT_BYTES 8192

static const size_t sizes[] = {0, 1, 2, 511, 512, 513, 1472, 9000, 65506, 65507};
#define SIZES_N (sizeof sizes / sizeof *sizes)

static unsigned char bytes[1 << 16];

/* ---- bytes ---- */

static void udp_client_all_sizes(const char *from, const char *host, unsigned port)
{
	struct address to = udp_client_address(host, port);
	int fd = udp_client_open(from, 0);

	for (size_t i = 0; i < SIZES_N; i++) {
		fill_random(bytes, sizes[i], port + sizes[i]);
		udp_client_echo(fd, &to, bytes, sizes[i]);
	}
	udp_client_nothing(fd);
	(void)close(fd);
}

static void all_come_back(struct server *server)
{
	udp_client_all_sizes("127.0.0.1", "127.0.0.1", server->ports[0]);
	udp_client_all_sizes("[::1]", "[::1]", server->ports[1]);
	/* One socket for all addresses: the answer comes from the address that was asked. */
	udp_client_all_sizes("127.0.0.1", "127.0.0.1", server->ports[2]);
	udp_client_all_sizes("127.0.0.1", "127.0.0.5", server->ports[2]);
	udp_client_all_sizes("127.0.0.9", "127.0.0.5", server->ports[2]);
	udp_client_all_sizes("[::1]", "[::1]", server->ports[2]);
	server_wait_stat_is(server, "datagrams_answered", 6 * SIZES_N);
	ck_assert_uint_eq(server_stat(server, "datagrams_received"), 6 * SIZES_N);
	ck_assert_uint_eq(server_stat(server, "datagrams_truncated"), 0);
	ck_assert_uint_eq(server_stat(server, "datagram_send_errors"), 0);
	ck_assert_uint_eq(server_stat(server, "connections"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(every_size_comes_back_from_the_address_that_was_asked)
{
	static const char *const modes[] = {"reuseport", "shared", "handoff"};

	for (size_t i = 0; i < 3; i++)
		all_come_back(SERVER("-w", "2", "-a", modes[i], "echo+udp://127.0.0.1:0",
				     "echo+udp://[::1]:0", "echo+udp://:0"));
	all_come_back(SERVER("-w", "1", "--no-master", "echo+udp://127.0.0.1:0",
			     "echo+udp://[::1]:0", "echo+udp://:0"));
}
END_TEST

/* IPv6 allows 20 bytes more than IPv4: such datagrams come back whole, or are counted as
 * truncated. */
START_TEST(the_largest_of_ipv6_is_whole_or_counted)
{
	struct server *server = SERVER("-w", "1", "echo+udp://[::1]:0");
	struct address to = udp_client_address("[::1]", server->ports[0]);
	int fd = udp_client_open("[::1]", 0);
	size_t answers;

	fill_random(bytes, sizeof bytes, 6);
	for (size_t n = UDP_CLIENT_BYTES_MAX + 1; n <= UDP_CLIENT_BYTES_MAX + 20; n++) {
		static unsigned char came[1 << 16];
		ssize_t came_n;

		udp_client_send(fd, &to, bytes, n);
		server_wait_stat_is(server, "datagrams_received", n - UDP_CLIENT_BYTES_MAX);
		udp_client_wait_quiet(server, 1, server->ports[0]);
		came_n = udp_client_receive(fd, came, sizeof came, NULL, MSG_DONTWAIT);
		ck_assert_msg(came_n < 0 || came_n == (ssize_t)n, "%zd of %zu bytes", came_n, n);
		if (came_n >= 0)
			ck_assert_int_eq(memcmp(came, bytes, n), 0);
	}
	answers = server_stat(server, "datagrams_answered");
	ck_assert_uint_eq(answers + server_stat(server, "datagrams_truncated"), 20);
	udp_client_echo(fd, &to, "next", 4);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* RFC 864's lines: 72 of the 95 printing characters, each line starting one character later. */
static void fill_lines(unsigned char *at, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t line = i / 74, column = i % 74;

		at[i] = (unsigned char)(column < 72    ? 32 + (line + column) % 95
					: column == 72 ? '\r'
						       : '\n');
	}
}

START_TEST(chargen_begins_anew_and_never_says_more_than_it_was_asked)
{
	static const size_t asked[] = {1, 2, 71, 72, 73, 74, 75, 511, 512, 513, 1472, 65507, 3, 0};
	struct server *server = SERVER("-w", "2", "chargen+udp://127.0.0.1:0");
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	unsigned char lines[512];
	int fd = udp_client_open("127.0.0.1", 0);

	fill_lines(lines, sizeof lines);
	fill_random(bytes, sizeof bytes, 864);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
			udp_client_send(fd, &to, bytes, asked[i]);
			udp_client_expect(fd, &to, lines, asked[i] < 512 ? asked[i] : 512);
		}
	}
	udp_client_nothing(fd);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(discard_is_silent)
{
	struct server *server =
	    SERVER("-w", "1", "discard+udp://127.0.0.1:0", "echo+udp://127.0.0.1:0");
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	struct address echo = udp_client_address("127.0.0.1", server->ports[1]);
	int fd = udp_client_open("127.0.0.1", 0);

	for (size_t i = 0; i < SIZES_N; i++) {
		udp_client_send(fd, &to, bytes, sizes[i]);
		server_wait_stat_is(server, "datagrams_received", i + 1);
	}
	udp_client_wait_quiet(server, 1, server->ports[0]);
	udp_client_nothing(fd);
	ck_assert_uint_eq(server_stat(server, "datagrams_answered"), 0);
	udp_client_echo(fd, &echo, "echo", 4);
	udp_client_nothing(fd);
	server_wait_stat_is(server, "datagrams_answered", 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- addresses and ports ---- */

START_TEST(tcp_and_udp_share_a_port)
{
	char tcp[64], udp[64];
	struct server *server;
	struct address to;
	unsigned port = udp_client_free_port();
	int stream, fd = udp_client_open("127.0.0.1", 0);

	(void)snprintf(tcp, sizeof tcp, "line://127.0.0.1:%u", port);
	(void)snprintf(udp, sizeof udp, "echo+udp://127.0.0.1:%u", port);
	server = SERVER("-w", "2", tcp, udp);
	ck_assert_uint_eq(server->ports[0], port);
	ck_assert_uint_eq(server->ports[1], port);
	to = udp_client_address("127.0.0.1", port);
	stream = connect_to(port);
	for (int i = 0; i < 20; i++) {
		send_text(stream, "a li");
		udp_client_echo(fd, &to, "a datagram", 10);
		send_text(stream, "ne\n");
		expect_text(stream, "a line\n");
	}
	ck_assert_uint_eq(server_stat(server, "accepted"), 1);
	ck_assert_uint_eq(server_stat(server, "datagrams_received"), 20);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* SO_REUSEPORT shares a port among the workers of one server, not with a second server. */
START_TEST(a_second_server_does_not_get_the_port)
{
	static const char *const modes[] = {"reuseport", "shared"};

	for (size_t first = 0; first < 2; first++) {
		for (size_t second = 0; second < 2; second++) {
			char output[OUTPUT_BYTES], taken[64], wild[64];
			struct server *server =
			    SERVER("-w", "2", "-a", modes[first], "echo+udp://127.0.0.1:0");
			struct address to = udp_client_address("127.0.0.1", server->ports[0]);
			int fd = udp_client_open("127.0.0.1", 0);

			(void)snprintf(taken, sizeof taken, "discard+udp://127.0.0.1:%u",
				       server->ports[0]);
			(void)snprintf(wild, sizeof wild, "discard+udp://:%u", server->ports[0]);
			ck_assert_int_eq(RUN(output, "-w", "2", "-a", modes[second], taken), 1);
			ck_assert_msg(strstr(output, "Address already in use"), "%s", output);
			ck_assert_int_eq(RUN(output, "-w", "2", "-a", modes[second], wild), 1);
			ck_assert_msg(strstr(output, "Address already in use"), "%s", output);
			for (int i = 0; i < 50; i++)
				udp_client_echo(fd, &to, "still", 5);
			(void)close(fd);
			ck_assert_int_eq(server_stop(server, SIGTERM), 0);
		}
	}
}
END_TEST

START_TEST(the_default_listeners_have_a_datagram_echo)
{
	char output[OUTPUT_BYTES];

	ck_assert_int_eq(RUN(output, "-T"), 0);
	ck_assert_msg(strstr(output, "echo+udp://127.0.0.1:7878\n"), "%s", output);
	ck_assert_msg(strstr(output, "echo://127.0.0.1:7878\n"), "%s", output);
}
END_TEST

START_TEST(what_serves_no_datagrams_is_refused)
{
	static const struct {
		const char *listener, *says;
	} wrong[] = {
	    {"line+udp://127.0.0.1:0", "line"},
	    {"chat+udp://127.0.0.1:0", "chat"},
	    {"frame+udp://127.0.0.1:0", "frame"},
	    {"increment+udp://127.0.0.1:0", "increment"},
	    {"+udp://127.0.0.1:0", "udp"},
	    {"echo+tcp://127.0.0.1:0", "echo+tcp"},
	    {"echo+udp:///tmp/x.sock", "HOST:PORT"},
	    {"echo+udp://@x", "HOST:PORT"},
	    {"echo+udp://127.0.0.1:0?accept=handoff", "handoff"},
	    {"echo+udp://127.0.0.1:0?rate=x", "rate"},
	    {"echo+udp://127.0.0.1:0?rate=1000000000000", "rate"},
	    {"echo+udp://127.0.0.1:0?queue=0", "queue"},
	    {"echo+udp://127.0.0.1:0?queue=x", "queue"},
	    {"echo+udp://127.0.0.1:0?names=on", "names"},
	    {"echo+udp://127.0.0.1:0?max-line=1K", "max-line"},
	    {"echo+udp://127.0.0.1:0?mode=0600", "mode"},
	    {"echo://127.0.0.1:0?rate=5", "rate"},
	    {"echo://127.0.0.1:0?queue=64K", "queue"},
	};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		char output[OUTPUT_BYTES];
		int status = RUN(output, "-t", wrong[i].listener);

		ck_assert_msg(status == 2, "%s: exit %d: %s", wrong[i].listener, status, output);
		ck_assert_msg(strstr(output, wrong[i].says), "%s: %s", wrong[i].listener, output);
	}
}
END_TEST

START_TEST(keys_are_kept_in_the_dump)
{
	static const char listener[] = "echo+udp://127.0.0.1:7?accept=shared&rate=100&queue=65536";
	char output[OUTPUT_BYTES];

	ck_assert_int_eq(RUN(output, "-T", listener), 0);
	ck_assert_msg(strstr(output, listener), "%s", output);
}
END_TEST

/* A broadcast reaches many hosts, and each would answer. */
START_TEST(a_broadcast_is_not_answered)
{
	struct server *server = SERVER("-w", "1", "echo+udp://:0", "echo+udp://0.0.0.0:0");
	int fd = udp_client_open("127.0.0.1", 0), on = 1;

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct address all = udp_client_address("127.255.255.255", server->ports[i]);
		struct address one = udp_client_address("127.0.0.1", server->ports[i]);

		for (unsigned j = 1; j <= 5; j++) {
			udp_client_send(fd, &all, "everybody?", 10);
			udp_client_echo(fd, &one, "you?", 4);
			server_wait_stat_is(server, "datagrams_to_many", 5 * i + j);
		}
	}
	udp_client_nothing(fd);
	server_wait_stat_is(server, "datagrams_answered", 10);
	ck_assert_uint_eq(server_stat(server, "datagrams_received"), 20);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- weir's own ports ---- */

/* Asks from that address and port: weir does not answer, and counts it. */
static void refused_as_own(struct server *server, const char *host, unsigned from_port,
			   const struct address *to)
{
	uint64_t before = server_stat(server, "datagrams_from_own_ports");
	struct address from = udp_client_address(host, from_port);
	int fd = udp_client_try_open(&from, true);

	ck_assert_msg(fd >= 0, "%s:%u cannot be had beside weir: %s", host, from_port,
		      strerror(-fd));
	udp_client_send(fd, to, "loop", 4);
	server_wait_stat_is(server, "datagrams_from_own_ports", before + 1);
	udp_client_wait_quiet(server, 1, address_port(to));
	udp_client_nothing(fd);
	(void)close(fd);
}

static void answered_from(const char *host, unsigned from_port, const struct address *to)
{
	int fd = udp_client_open(host, from_port);

	udp_client_echo(fd, to, "no loop", 7);
	(void)close(fd);
}

/* A port that weir has on one address may be another program's on another address. Sockets of the
 * same user may share weir's port by SO_REUSEPORT: the test does this to send from weir's port. */
START_TEST(own_ports_are_not_answered)
{
	struct server *server =
	    SERVER("-w", "1", "echo+udp://127.0.0.1:0", "discard+udp://127.0.0.2:0",
		   "chargen+udp://:0", "echo://127.0.0.1:0");
	const unsigned *ports = server->ports;
	struct address echo = udp_client_address("127.0.0.1", ports[0]);
	struct address wild = udp_client_address("127.0.0.7", ports[2]);
	uint64_t received;

	answered_from("127.0.0.3", ports[0], &echo); /* weir has this port on 127.0.0.1 only */
	answered_from("127.0.0.3", ports[1], &echo);
	answered_from("127.0.0.1", ports[1], &echo);
	answered_from("127.0.0.1", ports[3], &echo); /* weir has this port for TCP only */
	server_wait_stat_is(server, "datagrams_answered", 4);
	ck_assert_uint_eq(server_stat(server, "datagrams_from_own_ports"), 0);

	refused_as_own(server, "127.0.0.2", ports[1], &echo);
	refused_as_own(server, "127.0.0.2", ports[1], &wild);
	refused_as_own(server, "127.0.0.9", ports[2], &echo);
	refused_as_own(server, "127.0.0.1", ports[2], &echo);
	refused_as_own(server, "127.0.0.9", ports[2], &wild);
	ck_assert_uint_eq(server_stat(server, "datagrams_answered"), 4);
	received = server_stat(server, "datagrams_received");
	ck_assert_msg(received == 9, "%llu received: those who never stop?",
		      (unsigned long long)received);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- a rate ---- */

#define RATE 20

/* Opens two sockets at 127.0.0.1, each of which reaches another one of two workers. */
static void a_socket_for_each(struct server *server, const struct address *to, int fds[2])
{
	fds[0] = fds[1] = -1;
	for (int tries = 0; fds[0] < 0 || fds[1] < 0; tries++) {
		uint64_t before = server_worker_stat(server, 0, "datagrams_received");
		uint64_t both = server_stat(server, "datagrams_received");
		int fd = udp_client_open("127.0.0.1", 0), worker;

		ck_assert_int_lt(tries, 200);
		udp_client_send(fd, to, "who", 3);
		server_wait_stat_is(server, "datagrams_received", both + 1);
		worker = server_worker_stat(server, 0, "datagrams_received") == before;
		if (fds[worker] < 0)
			fds[worker] = fd;
		else
			(void)close(fd);
	}
}

/* Asks n times from each socket, as fast as it can. Returns how many answers came in all. */
static size_t ask_at_once(struct server *server, const struct address *to, const int fds[2],
			  size_t n)
{
	uint64_t received = server_stat(server, "datagrams_received");
	uint64_t over = server_stat(server, "datagrams_over_rate");
	size_t answers = 0;

	for (size_t i = 0; i < n; i++)
		for (int j = 0; j < 2; j++)
			udp_client_send(fds[j], to, "now", 3);
	server_wait_stat_is(server, "datagrams_received", received + 2 * n);
	udp_client_wait_quiet(server, 2, address_port(to));
	for (int j = 0; j < 2; j++)
		answers += udp_client_collect(fds[j]);
	ck_assert_uint_eq(answers, 2 * n - (server_stat(server, "datagrams_over_rate") - over));
	return answers;
}

/* Waits until a full second's answers are allowed again. This test is about time. */
static void rest(void)
{
	(void)poll(NULL, 0, 1200);
}

START_TEST(a_rate_is_at_once_then_a_second_and_of_all_workers)
{
	struct server *server = SERVER("-w", "2", "echo+udp://127.0.0.1:0?rate=20");
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	uint64_t begin;
	size_t answers;
	int fds[2];

	a_socket_for_each(server, &to, fds);
	for (int round = 0; round < 2; round++) {
		rest();
		(void)udp_client_collect(fds[0]);
		(void)udp_client_collect(fds[1]);
		begin = now_ms();
		answers = ask_at_once(server, &to, fds, 2 * RATE);
		ck_assert_uint_ge(answers, RATE);
		ck_assert_uint_le(answers, RATE + (now_ms() - begin + 1) * RATE / 1000 + 1);
	}
	ck_assert_uint_gt(server_worker_stat(server, 0, "datagrams_over_rate"), 0);
	ck_assert_uint_gt(server_worker_stat(server, 1, "datagrams_over_rate"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* For a second, that address asks more often than is allowed. It must never be answered more often
 * than allowed. Returns whether it was as often: not if this machine stood still meanwhile. */
static bool rate_holds(struct server *server, const char *host)
{
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	uint64_t answered = server_stat(server, "datagrams_answered");
	uint64_t over = server_stat(server, "datagrams_over_rate");
	uint64_t received = server_stat(server, "datagrams_received");
	uint64_t begin = now_ms(), sent = 0, took, limit;
	int fd = udp_client_open(host, 0);

	while (now_ms() - begin < 1000) {
		udp_client_send(fd, &to, "again", 5);
		sent++;
		(void)poll(NULL, 0, 2); /* asks ten times as often as is answered */
	}
	took = now_ms() - begin;
	server_wait_stat_is(server, "datagrams_received", received + sent);
	udp_client_wait_quiet(server, 2, server->ports[0]);
	limit = server_stat(server, "datagrams_answered") - answered;
	ck_assert_uint_eq(udp_client_collect(fd), limit);
	ck_assert_uint_eq(limit + server_stat(server, "datagrams_over_rate") - over, sent);
	ck_assert_uint_le(limit, RATE + (now_ms() - begin) * RATE / 1000 + 1);
	return limit >= RATE + took * RATE / 1000 - 2;
}

START_TEST(a_rate_holds_and_is_of_each_address)
{
	struct server *server =
	    SERVER("-w", "2", "echo+udp://127.0.0.1:0?rate=20", "echo+udp://127.0.0.1:0");
	struct address to = udp_client_address("127.0.0.1", server->ports[0]);
	struct address free = udp_client_address("127.0.0.1", server->ports[1]);
	int fd = -1, other = udp_client_open("127.0.0.2", 0);
	char host[32];

	for (int tries = 0;; tries++) {
		(void)snprintf(host, sizeof host, "127.0.1.%d", tries + 1);
		if (rate_holds(server, host))
			break;
		ck_assert_int_lt(tries, 20);
	}
	fd = udp_client_open(host, 0);
	/* A client that asks too often at one port is still answered at another. */
	for (int i = 0; i < RATE; i++) {
		udp_client_echo(other, &to, "other", 5);
		udp_client_echo(fd, &free, "elsewhere", 9);
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("datagram",
      {"every size comes back from the address that was asked",
       every_size_comes_back_from_the_address_that_was_asked, 30},
      {"the largest of IPv6 is whole or counted", the_largest_of_ipv6_is_whole_or_counted, 20},
      {"chargen begins anew and never says more than it was asked",
       chargen_begins_anew_and_never_says_more_than_it_was_asked, 20},
      {"discard is silent", discard_is_silent, 20},
      {"TCP and UDP share a port", tcp_and_udp_share_a_port, 20},
      {"a second server does not get the port", a_second_server_does_not_get_the_port, 30},
      {"the default listeners have a datagram echo", the_default_listeners_have_a_datagram_echo,
       20},
      {"what serves no datagrams is refused", what_serves_no_datagrams_is_refused, 30},
      {"keys are kept in the dump", keys_are_kept_in_the_dump, 20},
      {"a broadcast is not answered", a_broadcast_is_not_answered, 20},
      {"own ports are not answered", own_ports_are_not_answered, 20},
      {"a rate is at once, then a second, and of all workers",
       a_rate_is_at_once_then_a_second_and_of_all_workers, 30},
      {"a rate holds, and is of each address", a_rate_holds_and_is_of_each_address, 30})
