/*
 * Answers to datagrams on their way back, on hosts of the test's own (two_hosts.h): the address
 * from which they leave, what the kernel refuses to send, a full send queue, and packets that are
 * smaller than a datagram. Needs root.
 *
 * What it can't see: a path whose bottleneck lies beyond another host.
 */
#include <linux/ethtool.h>
#include <linux/sockios.h>

#include "tests/support/clients/udp_client.h"
#include "tests/support/servers/two_hosts.h"

static unsigned char bytes[1 << 16];

/* Waits until all that was sent before this call is answered, or dropped. */
static void wait_all_answered(const struct wire *wire, struct server *server, unsigned workers)
{
	wire_enter(wire->server);
	for (size_t i = 0; i < server->ports_n; i++)
		udp_client_wait_quiet(server, workers, server->ports[i]);
	wire_enter(wire->client);
}

/* ---- addresses ---- */

static void udp_client_from(const char *from, const char *to_host, unsigned port)
{
	static const size_t sizes[] = {0, 1, 64, 512, 1472, 9000};
	struct address to = udp_client_address(to_host, port);
	int fd = udp_client_open(from, 0);

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		fill_random(bytes, sizes[i], port + i);
		udp_client_echo(fd, &to, bytes, sizes[i]);
	}
	/* A burst, because that takes another path through weir. */
	for (size_t i = 0; i < 60; i++)
		udp_client_send(fd, &to, bytes, 100);
	for (size_t i = 0; i < 60; i++)
		udp_client_expect(fd, &to, bytes, 100);
	udp_client_nothing(fd);
	(void)close(fd);
}

START_TEST(answers_leave_from_the_address_asked)
{
	struct server *server;
	struct wire wire;

	if (wire_cannot("answers leave from the address asked", "ip"))
		return;
	wire = wire_open();
	server = WIRE_SERVER(&wire, "-w", "2", "echo+udp://:0", "echo+udp://0.0.0.0:0",
			     "echo+udp://[::]:0", "echo+udp://10.9.0.7:0", "echo+udp://[fd09::7]:0",
			     "echo+udp://[fe80::1%server]:0");
	for (size_t i = 0; i < 3; i++) {
		if (i != 2) {
			udp_client_from("10.9.0.2", "10.9.0.1", server->ports[i]);
			udp_client_from("10.9.0.2", "10.9.0.7", server->ports[i]);
			udp_client_from("10.9.0.3", "10.9.0.7", server->ports[i]);
		}
		if (i != 1) {
			udp_client_from("[fd09::2]", "[fd09::1]", server->ports[i]);
			udp_client_from("[fd09::2]", "[fd09::7]", server->ports[i]);
			udp_client_from("[fd09:0:0:1::2]", "[fd09::7]", server->ports[i]);
			udp_client_from("[fe80::2%client]", "[fe80::1%client]", server->ports[i]);
			/* Either address may be link-local. */
			udp_client_from("[fd09::2]", "[fe80::1%client]", server->ports[i]);
			udp_client_from("[fe80::2%client]", "[fd09::7]", server->ports[i]);
		}
	}
	udp_client_from("10.9.0.3", "10.9.0.7", server->ports[3]);
	udp_client_from("[fd09::3]", "[fd09::7]", server->ports[4]);
	udp_client_from("[fe80::2%client]", "[fe80::1%client]", server->ports[5]);
	ck_assert_uint_eq(server_stat(server, "datagram_send_errors"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* On its own host a server can be reached at all of its addresses, over loopback. */
START_TEST(answers_leave_from_the_address_asked_on_the_same_host)
{
	static const char *const hosts4[] = {"127.0.0.1", "127.9.9.9", "10.9.0.1", "10.9.0.7"};
	static const char *const hosts6[] = {"[::1]", "[fd09::1]", "[fd09::7]"};
	struct server *server;
	struct wire wire;

	if (wire_cannot("answers leave from the address asked on the same host", "ip"))
		return;
	wire = wire_open();
	server = WIRE_SERVER(&wire, "-w", "2", "echo+udp://:0");
	wire_enter(wire.server);
	for (size_t from = 0; from < 4; from++)
		for (size_t to = 0; to < 4; to++)
			udp_client_from(hosts4[from], hosts4[to], server->ports[0]);
	for (size_t from = 0; from < 3; from++)
		for (size_t to = 0; to < 3; to++)
			udp_client_from(hosts6[from], hosts6[to], server->ports[0]);
	/* No route leads from a link-local address to ::1, so that is left out. */
	udp_client_from("[fd09::7]", "[fe80::1%server]", server->ports[0]);
	udp_client_from("[fe80::1%server]", "[fe80::1%server]", server->ports[0]);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- what the kernel refuses ---- */

static void drop_for(const struct wire *wire, const char *host, unsigned port)
{
	wire_enter(wire->server);
	wire_run("nft add table inet weir");
	wire_run("nft 'add chain inet weir out { type filter hook output priority 0; }'");
	wire_run("nft add rule inet weir out ip daddr %s udp sport %u drop", host, port);
	wire_enter(wire->client);
}

/* Two clients, one of which is refused. alternate: their requests alternate, so that answers are
 * single; else many of one client come before those of the other, and are answered by trains. */
static void udp_client_beside_refused(const struct wire *wire, struct server *server,
				      bool alternate)
{
	enum { EACH = 60 };
	struct address to = udp_client_address("10.9.0.1", server->ports[0]);
	uint64_t errors = server_stat(server, "datagram_send_errors");
	pid_t worker = server_worker(server, 0);
	int good = udp_client_open("10.9.0.2", 0), refused = udp_client_open("10.9.0.3", 0);

	process_stop(worker);
	for (int i = 0; i < 2 * EACH; i++) {
		bool bad = alternate ? i % 2 : i / (EACH / 2) % 2;

		udp_client_send(bad ? refused : good, &to, "refused?", 8);
	}
	udp_client_go_on(worker);
	for (int i = 0; i < EACH; i++)
		udp_client_expect(good, &to, "refused?", 8);
	wait_all_answered(wire, server, 1);
	udp_client_nothing(good);
	udp_client_nothing(refused);
	ck_assert_uint_eq(server_stat(server, "datagram_send_errors") - errors, EACH);
	(void)close(good);
	(void)close(refused);
}

START_TEST(what_the_firewall_refuses_is_counted_and_others_go_on)
{
	struct server *server;
	struct wire wire;
	uint64_t answered;

	if (wire_cannot("what the firewall refuses is counted, and others go on", "ip nft"))
		return;
	wire = wire_open();
	server = WIRE_SERVER(&wire, "-w", "1", "echo+udp://:0");
	drop_for(&wire, "10.9.0.3", server->ports[0]);
	for (int round = 0; round < 4; round++)
		udp_client_beside_refused(&wire, server, round % 2);
	answered = server_stat(server, "datagrams_answered");
	ck_assert_uint_eq(answered, 4 * 60);
	ck_assert_uint_eq(answered + server_stat(server, "datagram_send_errors"),
			  server_stat(server, "datagrams_received"));
	ck_assert_uint_eq(server_stat(server, "datagram_send_waits"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Requests from addresses to which no route leads, among others. */
START_TEST(an_unreachable_client_holds_nobody_up)
{
	enum { EACH = 50 };
	struct server *server;
	struct address to4, to6;
	struct wire wire;
	int near4, near6, far4, far6;
	pid_t worker;

	if (wire_cannot("an unreachable client holds nobody up", "ip"))
		return;
	wire = wire_open();
	server = WIRE_SERVER(&wire, "-w", "1", "echo+udp://:0");
	wire_run("ip addr add 10.77.0.1/32 dev lo");
	wire_run("ip addr add fd77::1/128 dev lo nodad");
	to4 = udp_client_address("10.9.0.7", server->ports[0]);
	to6 = udp_client_address("[fd09::7]", server->ports[0]);
	near4 = udp_client_open("10.9.0.2", 0);
	near6 = udp_client_open("[fd09::2]", 0);
	far4 = udp_client_open("10.77.0.1", 0);
	far6 = udp_client_open("[fd77::1]", 0);
	worker = server_worker(server, 0);
	process_stop(worker);
	for (int i = 0; i < EACH; i++) {
		udp_client_send(far4, &to4, "far", 3);
		udp_client_send(near4, &to4, "near", 4);
		udp_client_send(far6, &to6, "far", 3);
		udp_client_send(near6, &to6, "near", 4);
	}
	udp_client_go_on(worker);
	for (int i = 0; i < EACH; i++) {
		udp_client_expect(near4, &to4, "near", 4);
		udp_client_expect(near6, &to6, "near", 4);
	}
	server_wait_stat_is(server, "datagram_send_errors", 2 * EACH);
	server_wait_stat_is(server, "datagrams_answered", 2 * EACH);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- a full send queue ---- */

#define LONG_BYTES 1400
#define ALL	   2000
#define WINDOW	   150 /* more than the send queue holds, less than both queues together */

struct flow {
	int fd;
	struct address to;
	uint32_t sent, came;
	bool have[ALL];
};

static void flow_send(struct flow *flow)
{
	while (flow->sent < ALL && flow->sent - flow->came < WINDOW) {
		memcpy(bytes, &flow->sent, sizeof flow->sent);
		udp_client_send(flow->fd, &flow->to, bytes, LONG_BYTES);
		flow->sent++;
	}
}

static void flow_receive(struct flow *flow)
{
	static unsigned char answer[LONG_BYTES + 1];
	uint32_t number;

	ck_assert_int_eq(udp_client_receive(flow->fd, answer, sizeof answer, NULL, 0), LONG_BYTES);
	memcpy(&number, answer, sizeof number);
	ck_assert_uint_lt(number, flow->sent);
	ck_assert_msg(!flow->have[number], "%u came twice", number);
	ck_assert_int_eq(memcmp(answer + 4, bytes + 4, LONG_BYTES - 4), 0);
	flow->have[number] = true;
	flow->came++;
}

/* Others come over loopback, which is not slow, to other sockets of the same worker. */
static void others_are_served(const struct wire *wire, const struct server *server)
{
	struct address to;
	int fd, stream;

	wire_enter(wire->server);
	to = udp_client_address("127.0.0.1", server->ports[1]);
	fd = udp_client_open("127.0.0.1", 0);
	stream = connect_to(server->ports[2]);
	for (int i = 0; i < 20; i++) {
		udp_client_echo(fd, &to, "meanwhile", 9);
		send_text(stream, "and here\n");
		expect_text(stream, "and here\n");
	}
	(void)close(fd);
	(void)close(stream);
	wire_enter(wire->client);
}

static void flow_through(const struct wire *wire, struct server *server)
{
	static struct flow flow;
	uint64_t waits = server_stat(server, "datagram_send_waits");
	bool others = false;

	flow = (struct flow){.fd = udp_client_open("10.9.0.2", 0),
			     .to = udp_client_address("10.9.0.1", server->ports[0])};
	fill_random(bytes, LONG_BYTES, 8);
	while (flow.came < ALL) {
		flow_send(&flow);
		if (!others && server_stat(server, "datagram_send_waits") > waits) {
			others_are_served(wire, server);
			ck_assert_uint_lt(server_stat(server, "datagrams_answered"), ALL);
			others = true;
		}
		flow_receive(&flow);
	}
	ck_assert_msg(others, "the send queue was never full");
	wait_all_answered(wire, server, 1);
	udp_client_nothing(flow.fd);
	(void)close(flow.fd);
}

START_TEST(a_full_send_queue_loses_nothing)
{
	struct server *server;
	struct wire wire;

	if (wire_cannot("a full send queue loses nothing", "ip tc"))
		return;
	wire = wire_open();
	wire_enter(wire.server);
	wire_run("tc qdisc add dev server root tbf rate 20mbit burst 20k limit 4m");
	server = WIRE_SERVER(&wire, "-w", "1", "echo+udp://:0?queue=1M&send-queue=104K",
			     "echo+udp://127.0.0.1:0", "line://127.0.0.1:0");
	flow_through(&wire, server);
	ck_assert_uint_gt(server_stat(server, "datagram_send_waits"), 0);
	ck_assert_uint_eq(server_stat(server, "datagram_send_errors"), 0);
	ck_assert_uint_eq(server_stat(server, "datagrams_dropped"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Answers that wait for room are sent before the end, both in a stop and in a drain. */
START_TEST(a_full_send_queue_is_emptied_at_the_end)
{
	struct server *server;
	struct address to;
	struct wire wire;
	int fd;

	if (wire_cannot("a full send queue is emptied at the end", "ip tc"))
		return;
	wire = wire_open();
	wire_enter(wire.server);
	wire_run("tc qdisc add dev server root tbf rate 4mbit burst 20k limit 4m");
	fill_random(bytes, LONG_BYTES, 9);
	for (int alone = 0; alone < 2; alone++) {
		server = WIRE_SERVER(&wire, "-w", "1", "echo+udp://:0?queue=1M&send-queue=104K");
		to = udp_client_address("10.9.0.1", server->ports[0]);
		fd = udp_client_open("10.9.0.2", 0);
		for (int i = 0; i < WINDOW; i++)
			udp_client_send(fd, &to, bytes, LONG_BYTES);
		server_wait_stat(server, "datagram_send_waits", 1);
		ck_assert_int_eq(kill(alone ? server_worker(server, 0) : server->pid, SIGTERM), 0);
		for (int i = 0; i < WINDOW; i++)
			udp_client_expect(fd, &to, bytes, LONG_BYTES);
		if (alone)
			ck_assert_int_eq(server_stop(server, SIGTERM), 0);
		else
			ck_assert_int_eq(server_wait_exit(server), 0);
		ck_assert_uint_eq(server_stat(server, "datagrams_answered"), WINDOW);
		(void)close(fd);
	}
}
END_TEST

/* ---- packets that are smaller than datagrams ---- */

static void set_mtu(const struct wire *wire, int mtu)
{
	wire_enter(wire->server);
	wire_run("ip link set server mtu %d", mtu);
	wire_enter(wire->client);
	wire_run("ip link set client mtu %d", mtu);
}

static void udp_client_large(const char *from, const char *host, unsigned port)
{
	static const size_t sizes[] = {1,    1232, 1233, 1252, 1253, 1400,
				       1452, 1453, 1472, 1473, 9000, 65507};
	struct address to = udp_client_address(host, port);
	int fd = udp_client_open(from, 0);

	fill_random(bytes, sizeof bytes, port);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		udp_client_echo(fd, &to, bytes, sizes[i]);
	/* Many of one length from one client: weir may send the answers as a train. */
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t n = sizes[i] < 9000 ? 30 : 6;

		for (size_t j = 0; j < n && sizes[i] <= 9000; j++)
			udp_client_send(fd, &to, bytes + j, sizes[i]);
		for (size_t j = 0; j < n && sizes[i] <= 9000; j++)
			udp_client_expect(fd, &to, bytes + j, sizes[i]);
	}
	udp_client_nothing(fd);
	(void)close(fd);
}

static void set_checksums(const struct wire *wire, bool on)
{
	struct ethtool_value value = {.cmd = ETHTOOL_STXCSUM, .data = on};
	struct ifreq request = {.ifr_name = "server", .ifr_data = (char *)&value};
	int fd;

	wire_enter(wire->server);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(ioctl(fd, SIOCETHTOOL, &request), 0);
	(void)close(fd);
	wire_enter(wire->client);
}

START_TEST(large_datagrams_are_whole_in_small_packets)
{
	static const int mtus[] = {1500, 1280, 9000};
	struct server *server;
	struct wire wire;

	if (wire_cannot("large datagrams are whole in small packets", "ip"))
		return;
	wire = wire_open();
	server = WIRE_SERVER(&wire, "-w", "2", "echo+udp://:0?queue=1M");
	/* If the card does not compute checksums, the kernel may refuse trains. */
	for (int checksums = 1; checksums >= 0; checksums--) {
		set_checksums(&wire, checksums);
		for (size_t i = 0; i < 3; i++) {
			set_mtu(&wire, mtus[i]);
			udp_client_large("10.9.0.2", "10.9.0.7", server->ports[0]);
			udp_client_large("[fd09::2]", "[fd09::7]", server->ports[0]);
			udp_client_large("[fe80::2%client]", "[fe80::1%client]", server->ports[0]);
		}
	}
	ck_assert_uint_eq(server_stat(server, "datagram_send_errors"), 0);
	ck_assert_uint_eq(server_stat(server, "datagrams_dropped"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("datagrams on their way back, as root",
      {"answers leave from the address asked", answers_leave_from_the_address_asked, 30},
      {"answers leave from the address asked on the same host",
       answers_leave_from_the_address_asked_on_the_same_host, 30},
      {"what the firewall refuses is counted, and others go on",
       what_the_firewall_refuses_is_counted_and_others_go_on, 20},
      {"an unreachable client holds nobody up", an_unreachable_client_holds_nobody_up, 20},
      {"a full send queue loses nothing", a_full_send_queue_loses_nothing, 60},
      {"a full send queue is emptied at the end", a_full_send_queue_is_emptied_at_the_end, 60},
      {"large datagrams are whole in small packets", large_datagrams_are_whole_in_small_packets,
       60})
