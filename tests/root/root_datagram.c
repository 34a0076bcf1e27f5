/*
 * Tests of datagrams that need root: forged senders, broadcasts and multicasts, and xinetd as an
 * oracle, each on hosts of the test's own (two_hosts.h). What leaves weir's host is counted with a
 * packet socket there. Other paths and full queues are in root_datagram_path.c.
 *
 * What it can't see: what a real network card would do before the kernel.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/support/clients/udp_client.h"
#include "tests/support/clients/raw_udp.h"
#include "tests/support/trace.h"
#include "tests/support/servers/two_hosts.h"

/* Waits until all that was sent before this call is answered, or dropped. */
static void wait_all_answered(const struct wire *wire, struct server *server, unsigned workers)
{
	wire_enter(wire->server);
	for (size_t i = 0; i < server->ports_n; i++)
		udp_client_wait_quiet(server, workers, server->ports[i]);
	wire_enter(wire->client);
}

static void wait_received(struct server *server, uint64_t n)
{
	server_wait_stat_is(server, "datagrams_received", n);
}

/* ---- forged senders ---- */

static const unsigned low_ports[] = {0, 1, 7, 19, 123, 1023};
#define LOW_PORTS_N (sizeof low_ports / sizeof *low_ports)

START_TEST(low_ports_are_not_answered)
{
	static const char *const from4[] = {"10.9.0.2", "10.9.0.3", "10.9.0.77"};
	static const char *const from6[] = {"[fd09::2]", "[fd09::3]", "[fd09::77]"};
	struct server *server;
	uint64_t sent = 0;
	struct wire wire;
	int watch, fd;

	if (wire_cannot("low ports are not answered", "ip"))
		return;
	wire = wire_open();
	server = WIRE_SERVER(&wire, "-w", "1", "echo+udp://:0", "chargen+udp://10.9.0.1:0",
			     "echo+udp://[fd09::7]:0");
	wire_enter(wire.server);
	watch = raw_udp_watch();
	wire_enter(wire.client);
	for (size_t i = 0; i < LOW_PORTS_N; i++) {
		for (size_t j = 0; j < 3; j++) {
			struct address echo4 = udp_client_address("10.9.0.7", server->ports[0]);
			struct address echo6 = udp_client_address("[fd09::1]", server->ports[0]);
			struct address chargen = udp_client_address("10.9.0.1", server->ports[1]);
			struct address one6 = udp_client_address("[fd09::7]", server->ports[2]);

			raw_udp(from4[j], low_ports[i], &echo4);
			raw_udp(from4[j], low_ports[i], &chargen);
			raw_udp(from6[j], low_ports[i], &echo6);
			raw_udp(from6[j], low_ports[i], &one6);
			sent += 4;
			wait_received(server, sent);
		}
	}
	wait_all_answered(&wire, server, 1);
	ck_assert_uint_eq(server_stat(server, "datagrams_from_low_ports"), sent);
	ck_assert_uint_eq(server_stat(server, "datagrams_answered"), 0);
	ck_assert_uint_eq(raw_udp_left(watch), 0);

	/* 1024, the first port that is not low, from a real socket and from a forged sender. */
	fd = udp_client_open("10.9.0.2", 1024);
	struct address to = udp_client_address("10.9.0.7", server->ports[0]);
	udp_client_echo(fd, &to, "1024", 4);
	ck_assert_uint_eq(raw_udp_left(watch), 1);
	raw_udp("10.9.0.2", 1024, &to);
	udp_client_expect(fd, &to, "forged", 6);
	ck_assert_uint_eq(raw_udp_left(watch), 1);
	(void)close(fd);
	fd = udp_client_open("[fd09::2]", 1024);
	to = udp_client_address("[fd09::7]", server->ports[2]);
	udp_client_echo(fd, &to, "1024", 4);
	raw_udp("[fd09::2]", 1024, &to);
	udp_client_expect(fd, &to, "forged", 6);
	ck_assert_uint_eq(raw_udp_left(watch), 2);
	ck_assert_uint_eq(server_stat(server, "datagrams_from_low_ports"), sent);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Sends a datagram that seems to come from host and port, on the host where this process is, and
 * expects it to be answered or not. */
static void forged_is(struct server *server, bool answered, const char *host, unsigned port,
		      const char *to_host, unsigned to_port)
{
	struct address to = udp_client_address(to_host, to_port);
	const char *name = answered ? "datagrams_answered" : "datagrams_from_own_ports";
	uint64_t before = server_stat(server, name);
	uint64_t received = server_stat(server, "datagrams_received");

	raw_udp(host, port, &to);
	server_wait_stat_is(server, name, before + 1);
	ck_assert_uint_eq(server_stat(server, "datagrams_received"), received + 1);
}

/* Forged on weir's own host, over loopback, and on the other host. */
START_TEST(own_ports_are_not_answered)
{
	struct server *server;
	struct wire wire;
	int watch;

	if (wire_cannot("own ports are not answered", "ip"))
		return;
	wire = wire_open();
	server = WIRE_SERVER(&wire, "-w", "1", "echo+udp://:0", "chargen+udp://10.9.0.1:0",
			     "echo+udp://127.0.0.1:0", "echo+udp://[::1]:0");
	const unsigned *ports = server->ports;

	wire_enter(wire.server);
	watch = raw_udp_watch();
	forged_is(server, false, "127.0.0.1", ports[2], "127.0.0.1", ports[2]); /* itself */
	forged_is(server, false, "127.0.0.1", ports[2], "127.0.0.1", ports[0]);
	forged_is(server, false, "127.0.0.1", ports[0], "127.0.0.1", ports[2]);
	forged_is(server, false, "127.0.0.5", ports[0], "127.0.0.1", ports[2]);
	forged_is(server, false, "10.9.0.1", ports[0], "10.9.0.7", ports[0]);
	forged_is(server, false, "10.9.0.1", ports[1], "10.9.0.1", ports[0]);
	forged_is(server, false, "10.9.0.7", ports[2], "10.9.0.1", ports[1]);
	forged_is(server, false, "[::1]", ports[3], "[::1]", ports[3]);
	forged_is(server, false, "[::1]", ports[3], "[::1]", ports[0]);
	forged_is(server, false, "[::1]", ports[0], "[::1]", ports[3]);
	forged_is(server, false, "[fd09::1]", ports[0], "[fd09::7]", ports[0]);
	ck_assert_uint_eq(raw_udp_left(watch), 0);
	/* On loopback a port is weir's only at the address on which weir listens. */
	forged_is(server, true, "127.0.0.9", ports[2], "127.0.0.1", ports[0]);
	forged_is(server, true, "127.0.0.9", ports[3], "127.0.0.1", ports[0]);
	forged_is(server, true, "[::1]", ports[2], "[::1]", ports[0]);
	ck_assert_uint_eq(raw_udp_left(watch), 3);

	wire_enter(wire.client);
	for (size_t i = 0; i < 4; i++) {
		forged_is(server, false, "10.9.0.2", ports[i], "10.9.0.1", ports[0]);
		forged_is(server, false, "10.9.0.3", ports[i], "10.9.0.1", ports[1]);
		forged_is(server, false, "10.9.0.88", ports[i], "10.9.0.7", ports[0]);
		forged_is(server, false, "[fd09::2]", ports[i], "[fd09::1]", ports[0]);
		forged_is(server, false, "[fe80::2]", ports[i], "[fe80::1%client]", ports[0]);
	}
	wait_all_answered(&wire, server, 1);
	ck_assert_uint_eq(raw_udp_left(watch), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Two weirs on two hosts, and one forged datagram: if they answered each other they would never
 * stop. */
START_TEST(two_servers_do_not_talk_to_each_other)
{
	struct server *one, *other;
	char listener[64];
	struct address to;
	struct wire wire;
	int watch;

	if (wire_cannot("two servers do not talk to each other", "ip"))
		return;
	wire = wire_open();
	one = WIRE_SERVER(&wire, "-w", "1", "echo+udp://:0");
	(void)snprintf(listener, sizeof listener, "echo+udp://:%u", one->ports[0]);
	other = SERVER("-w", "1", listener);
	wire_enter(wire.server);
	watch = raw_udp_watch();
	wire_enter(wire.client);
	to = udp_client_address("10.9.0.1", one->ports[0]);
	raw_udp("10.9.0.2", one->ports[0], &to);
	server_wait_stat_is(one, "datagrams_from_own_ports", 1);
	wait_all_answered(&wire, one, 1);
	udp_client_wait_quiet(other, 1, other->ports[0]);
	ck_assert_uint_eq(server_stat(one, "datagrams_received"), 1);
	ck_assert_uint_eq(server_stat(other, "datagrams_received"), 0);
	ck_assert_uint_eq(raw_udp_left(watch), 0);
	ck_assert_int_eq(server_stop(other, SIGTERM), 0);
	ck_assert_int_eq(server_stop(one, SIGTERM), 0);
}
END_TEST

/* ---- to many ---- */

static int open_to_many(const char *host)
{
	int fd = udp_client_open(host, 0), on = 1;

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof on), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "client", 6), 0);
	return fd;
}

/* Sends to broadcast and multicast addresses. Sockets of several workers on one port get a copy
 * each. hears: whether these listeners get it: on every address of IPv6 and IPv4, on every one of
 * IPv4, on every one of IPv6. (A socket for both gets broadcasts of IPv4, but no multicasts.) */
static void udp_client_many(const struct wire *wire, struct server *server, uint64_t copies)
{
	static const struct {
		const char *host;
		bool hears[3];
	} many[] = {{"255.255.255.255", {true, true, false}},
		    {"10.9.0.255", {true, true, false}},
		    {"224.0.0.1", {false, true, false}},
		    {"[ff02::1%client]", {true, false, true}}};
	uint64_t expected = 0;
	int watch, fd4, fd6;

	wire_enter(wire->server);
	watch = raw_udp_watch();
	wire_enter(wire->client);
	fd4 = open_to_many("10.9.0.2");
	fd6 = open_to_many("[fe80::2%client]");
	for (size_t i = 0; i < server->ports_n; i++) {
		for (size_t j = 0; j < 4; j++) {
			struct address to = udp_client_address(many[j].host, server->ports[i]);
			bool ip6 = to.socket.ss_family == AF_INET6;

			udp_client_send(ip6 ? fd6 : fd4, &to, "everybody?", 10);
			expected += many[j].hears[i] ? copies : 0;
			server_wait_stat_is(server, "datagrams_to_many", expected);
		}
	}
	wait_all_answered(wire, server, (unsigned)copies);
	ck_assert_uint_eq(server_stat(server, "datagrams_received"), expected);
	ck_assert_uint_eq(server_stat(server, "datagrams_answered"), 0);
	ck_assert_uint_eq(raw_udp_left(watch), 0);
	udp_client_nothing(fd4);
	udp_client_nothing(fd6);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(what_went_to_many_is_not_answered)
{
	struct wire wire;

	if (wire_cannot("what went to many is not answered", "ip"))
		return;
	wire = wire_open();
	udp_client_many(&wire,
			WIRE_SERVER(&wire, "-w", "1", "echo+udp://:0", "echo+udp://0.0.0.0:0",
				    "chargen+udp://[::]:0"),
			1);
	udp_client_many(&wire,
			WIRE_SERVER(&wire, "-w", "2", "echo+udp://:0", "echo+udp://0.0.0.0:0",
				    "chargen+udp://[::]:0"),
			2);
}
END_TEST

/* Whether weir comes up with this listener. If not, it has to say why, and to end with 1 or 2. */
static bool comes_up(const char *listener)
{
	struct server *server = server_launch((const char *const[]){"-w", "1", listener, NULL});
	struct wait wait = wait_begin();
	int status;

	while (!server_log_has(server, "msg=ready")) {
		if (waitpid(server->pid, &status, WNOHANG) == server->pid) {
			ck_assert(WIFEXITED(status));
			ck_assert(WEXITSTATUS(status) == 1 || WEXITSTATUS(status) == 2);
			ck_assert_msg(server_log_has(server, listener), "%s", server->log);
			return false;
		}
		wait_more(&wait, "weir to come up, or not");
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	return true;
}

static const struct {
	const char *listener, *host;
} of_many[] = {{"echo+udp://255.255.255.255:5000", "255.255.255.255"},
	       {"echo+udp://10.9.0.255:5000", "10.9.0.255"},
	       {"echo+udp://224.0.0.1:5000", "224.0.0.1"},
	       {"echo+udp://[ff02::1%server]:5000", "[ff02::1%client]"}};

/* A listener at a broadcast or multicast address may be refused; if not, it answers nobody. */
START_TEST(a_listener_of_many_answers_nobody)
{
	struct address to;
	struct server *server;
	struct wire wire;
	int watch, fd;
	bool up;

	if (wire_cannot("a listener of many answers nobody", "ip"))
		return;
	wire = wire_open();
	to = udp_client_address(of_many[_i].host, 5000);
	fd = open_to_many(to.socket.ss_family == AF_INET ? "10.9.0.2" : "[fe80::2%client]");
	wire_enter(wire.server);
	watch = raw_udp_watch();
	up = comes_up(of_many[_i].listener);
	wire_enter(wire.client);
	if (!up)
		return;
	server = WIRE_SERVER(&wire, "-w", "1", of_many[_i].listener);
	udp_client_send(fd, &to, "everybody?", 10);
	wait_received(server, 1);
	wait_all_answered(&wire, server, 1);
	ck_assert_msg(raw_udp_left(watch) == 0, "%s answers", of_many[_i].listener);
	ck_assert_uint_eq(server_stat(server, "datagrams_to_many"), 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* With SO_REUSEPORT the kernel may give the same port to two sockets that ask for any port. */
START_TEST(any_port_is_given_to_one_server)
{
	unsigned ports[7], n = sizeof ports / sizeof *ports;
	struct wire wire;

	if (wire_cannot("any port is given to one server", "ip"))
		return;
	wire = wire_open();
	wire_enter(wire.server);
	wire_run("echo 40000 40007 >/proc/sys/net/ipv4/ip_local_port_range");
	for (unsigned i = 0; i < n; i++) {
		struct server *server = WIRE_SERVER(&wire, "-w", "1", "echo+udp://10.9.0.1:0");

		ports[i] = server->ports[0];
		for (unsigned k = 0; k < i; k++)
			ck_assert_uint_ne(ports[i], ports[k]);
	}
}
END_TEST

/* ---- the rate of a network ---- */

/* Sends n requests. Returns how many were answered. */
static size_t answers_of(const struct wire *wire, struct server *server, const char *from,
			 const char *to_host, size_t n)
{
	struct address to = udp_client_address(to_host, server->ports[0]);
	uint64_t received = server_stat(server, "datagrams_received");
	int fd = udp_client_open(from, 0);
	size_t answers;

	for (size_t i = 0; i < n; i++)
		udp_client_send(fd, &to, "rate", 4);
	wait_received(server, received + n);
	wait_all_answered(wire, server, 2);
	answers = udp_client_collect(fd);
	(void)close(fd);
	return answers;
}

/* The rate is that of one IPv4 address, or of one /64 network of IPv6. */
START_TEST(a_rate_is_of_an_address_or_of_a_network)
{
	struct server *server;
	struct wire wire;

	if (wire_cannot("a rate is of an address, or of a network", "ip"))
		return;
	wire = wire_open();
	server = WIRE_SERVER(&wire, "-w", "2", "echo+udp://:0?rate=1");
	ck_assert_uint_eq(answers_of(&wire, server, "10.9.0.2", "10.9.0.1", 1), 1);
	ck_assert_uint_eq(answers_of(&wire, server, "10.9.0.3", "10.9.0.7", 1), 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	server = WIRE_SERVER(&wire, "-w", "2", "echo+udp://:0?rate=50");
	ck_assert_uint_ge(answers_of(&wire, server, "[fd09::2]", "[fd09::1]", 100), 50);
	ck_assert_uint_lt(answers_of(&wire, server, "[fd09::3]", "[fd09::7]", 100), 50);
	ck_assert_uint_ge(answers_of(&wire, server, "[fd09:0:0:1::2]", "[fd09::1]", 100), 50);
	ck_assert_uint_ge(answers_of(&wire, server, "10.9.0.2", "10.9.0.1", 100), 50);
	ck_assert_uint_ge(answers_of(&wire, server, "10.9.0.3", "10.9.0.1", 100), 50);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- xinetd as an oracle ---- */

#define ORACLE_ECHO    2007
#define ORACLE_CHARGEN 2019
#define ORACLE_BYTES   2048 /* xinetd reads no more of a request, and echoes only that */

static const char service_text[] = "service %s\n{\n"
				   "\ttype = INTERNAL UNLISTED\n\tid = %s-dgram\n"
				   "\tsocket_type = dgram\n\tprotocol = udp\n\tuser = root\n"
				   "\twait = yes\n\tport = %d\n\tbind = %s\n\tflags = %s\n"
				   "\tcps = 100000 1\n}\n";

/* Starts xinetd, and waits until it has its sockets. */
static pid_t oracle_start(bool ip6)
{
	const char *log = in_folder("xinetd.log"), *pid_file = in_folder("xinetd.pid"), *path;
	const char *host = ip6 ? "::1" : "127.0.0.1", *flags = ip6 ? "IPv6" : "IPv4";
	struct wait wait = wait_begin();
	char text[2048];
	size_t at;
	pid_t pid;

	at = (size_t)snprintf(text, sizeof text, service_text, "echo", "echo", ORACLE_ECHO, host,
			      flags);
	(void)snprintf(text + at, sizeof text - at, service_text, "chargen", "chargen",
		       ORACLE_CHARGEN, host, flags);
	path = write_file("xinetd.conf", text);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)execlp("xinetd", "xinetd", "-dontfork", "-f", path, "-filelog", log,
			     "-pidfile", pid_file, (char *)NULL);
		_exit(127);
	}
	while (!udp_queue(ORACLE_ECHO).sockets || !udp_queue(ORACLE_CHARGEN).sockets) {
		ck_assert_msg(waitpid(pid, NULL, WNOHANG) == 0, "xinetd ended: %s",
			      read_whole(log) ? read_whole(log) : "no log");
		wait_more(&wait, "xinetd");
	}
	return pid;
}

static size_t answer_of(int fd, const char *host, unsigned port, const void *request, size_t n,
			unsigned char *answer)
{
	struct address to = udp_client_address(host, port), from;
	ssize_t came;

	udp_client_send(fd, &to, request, n);
	came = udp_client_receive(fd, answer, 1 << 16, &from, 0);
	ck_assert(udp_client_same(&from, &to));
	return (size_t)came;
}

/* Asks xinetd only while it sleeps: after each answer it throws away what has come meanwhile. */
static size_t oracle_answer_of(pid_t oracle, int fd, const char *host, unsigned port,
			       const void *request, size_t n, unsigned char *answer)
{
	wait_asleep(oracle);
	return answer_of(fd, host, port, request, n, answer);
}

static void same_echo(pid_t oracle, int fd, const char *host, const struct server *server)
{
	static const size_t sizes[] = {0, 1, 2, 511, 512, 513, 1472, 2047, 2048, 2049, 9000, 65507};
	static unsigned char request[1 << 16], theirs[1 << 16], ours[1 << 16];

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t n = sizes[i], ours_n, theirs_n;

		fill_random(request, n, n + 1);
		ours_n = answer_of(fd, host, server->ports[0], request, n, ours);
		theirs_n = oracle_answer_of(oracle, fd, host, ORACLE_ECHO, request, n, theirs);
		ck_assert_uint_eq(ours_n, n);
		ck_assert_uint_eq(theirs_n, n < ORACLE_BYTES ? n : ORACLE_BYTES);
		ck_assert_int_eq(memcmp(ours, theirs, theirs_n), 0);
	}
}

/*
 * RFC 864 leaves it to the server with which line it begins, which characters the lines have, and
 * how many bytes, up to 512, an answer has. xinetd's ring is '!' to '}'; it answers each request
 * with 1,024 bytes, and goes on where the last answer ended. weir's ring is ' ' to '~', it starts
 * again for each answer, which is never longer than the request. So both must agree on this: weir's
 * second line is the first one that xinetd says, and from there on they say the same, byte for
 * byte, up to the end of the shorter answer.
 */
static void same_chargen(pid_t oracle, int fd, const char *host, const struct server *server)
{
	enum { LINE = 74 };
	static const size_t sizes[] = {512, 513, 1472, 511, 300, 149, 75, 74, 1};
	static unsigned char request[1 << 16], theirs[1 << 16], ours[1 << 16];

	ck_assert_uint_eq(oracle_answer_of(oracle, fd, host, ORACLE_CHARGEN, "", 0, theirs), 1024);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t n = sizes[i] < 512 ? sizes[i] : 512;

		ck_assert_uint_eq(answer_of(fd, host, server->ports[1], request, sizes[i], ours),
				  n);
		ck_assert_int_eq(ours[0], ' ');
		if (n > LINE)
			ck_assert_int_eq(memcmp(ours + LINE, theirs, n - LINE), 0);
	}
}

START_TEST(xinetd_says_the_same)
{
	struct server *server;

	if (wire_cannot("xinetd says the same", "ip xinetd"))
		return;
	(void)close(wire_host());
	server = SERVER("-w", "2", "echo+udp://:0", "chargen+udp://:0");
	for (int ip6 = 0; ip6 < 2; ip6++) {
		const char *host = ip6 ? "[::1]" : "127.0.0.1";
		pid_t oracle = oracle_start(ip6);
		int fd = udp_client_open(host, 0);

		same_chargen(oracle, fd, host, server);
		same_echo(oracle, fd, host, server);
		udp_client_nothing(fd);
		(void)close(fd);
		ck_assert_int_eq(kill(oracle, SIGTERM), 0);
		ck_assert_int_eq(waitpid(oracle, NULL, 0), oracle);
	}
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("datagrams, as root", {"low ports are not answered", low_ports_are_not_answered, 20},
      {"own ports are not answered", own_ports_are_not_answered, 20},
      {"two servers do not talk to each other", two_servers_do_not_talk_to_each_other, 20},
      {"what went to many is not answered", what_went_to_many_is_not_answered, 20},
      {"a listener of many answers nobody", a_listener_of_many_answers_nobody, 20, 4},
      {"any port is given to one server", any_port_is_given_to_one_server, 20},
      {"a rate is of an address, or of a network", a_rate_is_of_an_address_or_of_a_network, 20},
      {"xinetd says the same", xinetd_says_the_same, 30})
