/*
 * Connections that we open, on a network of the test's own: SYNs that are dropped or refused by
 * nftables, addresses to which no way leads, a kernel that connects a socket to itself, and a name
 * whose last address answers, on a machine with the test's own hosts file and name servers
 * (nameservers.h). Needs root.
 */
#include "reactor/loop/resolver.h"
#include "tests/support/dialer.h"
#include "tests/support/servers/nameservers.h"

#define PORT 7878

static bool cannot(const char *test)
{
	if (wire_cannot(test, "ip nft"))
		return true;
	(void)wire_host();
	wire_run("nft add table inet weir");
	wire_run("nft 'add chain inet weir out { type filter hook output priority 0; }'");
	return false;
}

/* What happens to SYNs for 127.0.0.HOST: drop, or reject with something. */
static void rule(unsigned host, const char *verdict)
{
	wire_run("nft add rule inet weir out ip daddr 127.0.0.%u tcp dport %u %s", host, PORT,
		 verdict);
}

START_TEST(dropped_packets_are_a_timeout)
{
	struct address address = dialer_at(1, PORT);
	uint64_t began_ms = now_ms();

	if (cannot("dropped packets are a timeout"))
		return;
	rule(1, "drop");
	ck_assert_int_ge(dialer_listen(&address, 16), 0);
	dialer_open();
	dialer_connect(&address, 1, 300);
	dialer_expect_unconnected(CLOSE_connect_timeout);
	ck_assert_uint_ge(now_ms() - began_ms, 299);
}
END_TEST

/* The kernel sends it again after a second, and that one arrives. */
START_TEST(a_lost_packet_is_no_timeout)
{
	struct address address = dialer_at(1, PORT);
	int listener;

	if (cannot("a lost packet is no timeout"))
		return;
	rule(1, "counter drop");
	listener = dialer_listen(&address, 16);
	dialer_open();
	dialer_connect(&address, 1, patience_ms());
	loop_pass(&dialer.loop, 0);
	wire_run("nft list chain inet weir out | grep -q 'counter packets 1 '");
	wire_run("nft flush chain inet weir out");
	dialer_expect_up(listener);
}
END_TEST

START_TEST(the_first_of_three_is_dropped)
{
	struct address list[] = {dialer_at(1, PORT), dialer_at(2, PORT), dialer_at(3, PORT)};
	int listener;

	if (cannot("the first of three is dropped"))
		return;
	rule(1, "drop");
	if (_i)
		rule(2, "drop");
	listener = dialer_listen(&list[2], 16);
	dialer_open();
	dialer_connect(list, 3, 600);
	DIALER_UNTIL(dialer.opened || dialer.unconnected);
	dialer_expect_up(listener);
}
END_TEST

START_TEST(what_the_network_says)
{
	static const struct {
		const char *verdict;
		enum close_reason reason;
	} answers[] = {
	    {"reject with tcp reset", CLOSE_connect_refused},
	    {"reject with icmpx type host-unreachable", CLOSE_connect_unreachable},
	    {"reject with icmpx type admin-prohibited", CLOSE_connect_unreachable},
	    {NULL, CLOSE_connect_unreachable}, /* there is no route */
	};
	struct address address = dialer_at(1, PORT);

	if (cannot("what the network says"))
		return;
	if (answers[_i].verdict)
		rule(1, answers[_i].verdict);
	else
		address = dialer_address("192.0.2.1:80");
	dialer_open();
	dialer_connect(&address, 1, patience_ms());
	dialer_expect_unconnected(answers[_i].reason);
}
END_TEST

/* With a single port to choose from, Linux gives our end the port that it connects to. */
START_TEST(it_does_not_talk_to_itself)
{
	static const char *const texts[] = {"127.0.0.1:40000", "[::1]:40000", "0.0.0.0:40000"};
	struct address address = dialer_address(texts[_i]);

	if (cannot("it does not talk to itself"))
		return;
	wire_run("echo 40000 40000 >/proc/sys/net/ipv4/ip_local_port_range");
	dialer_open();
	dialer_connect(&address, 1, patience_ms());
	dialer_expect_unconnected(CLOSE_connect_refused);
}
END_TEST

/* ---- names ---- */

static struct resolver resolver;
static struct address found[RESOLVER_ADDRESSES_MAX];
static size_t found_n;
static char why_not[128];
static unsigned ends;

static void resolved(struct resolver *of, const struct address *list, size_t n, const char *why)
{
	(void)of;
	ends++;
	found_n = n;
	if (n)
		memcpy(found, list, n * sizeof *list);
	(void)snprintf(why_not, sizeof why_not, "%s", why ? why : "");
}

static void resolve(const char *text, uint32_t ms)
{
	ends = 0;
	ck_assert_int_eq(resolver_begin(&resolver, text, ms, resolved), 0);
	DIALER_UNTIL(ends);
}

START_TEST(a_name_whose_last_address_answers)
{
	struct address last = dialer_at(4, PORT);
	int listener;

	if (nameservers_cannot("a name whose last address answers"))
		return;
	nameservers_hosts("127.0.0.2 three.test\n127.0.0.3 three.test\n127.0.0.4 three.test\n");
	wire_run("nft add table inet weir");
	wire_run("nft 'add chain inet weir out { type filter hook output priority 0; }'");
	rule(2, "drop");
	listener = dialer_listen(&last, 16);
	dialer_open();
	resolver_init(&resolver, &dialer.loop);
	resolve("three.test:7878", patience_ms());
	ck_assert_msg(found_n == 3, "%zu: %s", found_n, why_not);
	for (unsigned i = 0; i < 3; i++) {
		struct address address = dialer_at(2 + i, PORT);

		ck_assert(address_is_same(&found[i], &address));
	}
	dialer_connect(found, found_n, 600);
	DIALER_UNTIL(dialer.opened || dialer.unconnected);
	dialer_expect_up(listener);
}
END_TEST

/* The loop goes on meanwhile; and so it does for a process that is not root, as workers are. */
START_TEST(silent_name_servers_hold_up_nobody)
{
	if (nameservers_cannot("silent name servers hold up nobody"))
		return;
	nameservers_silent();
	if (_i)
		ck_assert_int_eq(setresuid(65534, 65534, 0), 0);
	dialer_open();
	resolver_init(&resolver, &dialer.loop);
	resolve("far.away:80", 200);
	ck_assert_uint_eq(found_n, 0);
	ck_assert_str_eq(why_not, "it took too long");
	DIALER_UNTIL(!resolver.offload.pid);
	resolve("one.test:80", patience_ms());
	ck_assert_msg(found_n == 1, "%s", why_not);
	ck_assert_int_eq(setresuid(0, 0, 0), 0);
	dialer_close();
}
END_TEST

/* Without a hosts file and name servers, the answer is that nobody can be asked. */
START_TEST(nobody_knows_a_name)
{
	if (nameservers_cannot("nobody knows a name"))
		return;
	nameservers_hosts("");
	dialer_open();
	resolver_init(&resolver, &dialer.loop);
	resolve("one.test:80", patience_ms());
	ck_assert_uint_eq(found_n, 0);
	ck_assert_str_ne(why_not, "");
	ck_assert_str_ne(why_not, "it took too long");
	dialer_close();
}
END_TEST

SUITE("connect", {"dropped packets are a timeout", dropped_packets_are_a_timeout, 30},
      {"a lost packet is no timeout", a_lost_packet_is_no_timeout, 30},
      {"the first of three is dropped", the_first_of_three_is_dropped, 30, 2},
      {"what the network says", what_the_network_says, 30, 4},
      {"it does not talk to itself", it_does_not_talk_to_itself, 30, 3},
      {"a name whose last address answers", a_name_whose_last_address_answers, 30},
      {"silent name servers hold up nobody", silent_name_servers_hold_up_nobody, 60, 2},
      {"nobody knows a name", nobody_knows_a_name, 60})
