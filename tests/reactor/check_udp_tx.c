/*
 * udp_tx and udp_rx: what the kernel does with answers and requests over loopback. What arrives is
 * what was sent: the same datagrams, in order, from the address that was asked.
 *
 * It can't show a route with a smaller MTU, but trains are refused to a socket without checksums,
 * too. Faults and full queues are in sim_datagram.
 */
#include "reactor/udp/udp_tx.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "reactor/udp/datagram.h"
#include "reactor/base/sys.h"
#include "tests/support/suite.h"

#define WAIT_MS	 10000
#define PAST_MAX 1000

static struct {
	int server, client;
	struct address address; /* the server's, as the client sees it */
	struct udp_peer peer;	/* the client, as the server sees it */
	struct udp_tx answers;
	struct stats stats;
	unsigned char bytes[4 << 20];
	size_t used;
	struct {
		size_t at, n;
	} past[PAST_MAX]; /* what was added and has not come yet */
	size_t past_n, bytes_n;
} t;

/* ---- sockets ---- */

static int client_new(int family)
{
	struct address here;
	const char *why;
	int big = 1 << 30, fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ck_assert_int_ge(fd, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &big, sizeof big); /* as large as allowed */
	ck_assert(address_parse(&here, family == AF_INET ? "127.0.0.1:0" : "[::1]:0", &why));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&here.socket, here.bytes), 0);
	return fd;
}

/* bound: the address to which the server is bound; asked: the one that the client asks. */
static void begin_at(const char *bound, const char *asked)
{
	struct datagram_options options = {.queue_bytes = 1 << 20};
	struct address address;
	socklen_t n = sizeof t.peer.peer;
	const char *why;

	memset(&t, 0, sizeof t);
	ck_assert(address_parse(&address, bound, &why));
	ck_assert(address_parse(&t.address, asked, &why));
	t.server = datagram_bind(&address, &options, &why);
	ck_assert_int_ge(t.server, 0);
	address_set_port(&t.address, address_port(&address));
	t.client = client_new(t.address.socket.ss_family);
	ck_assert_int_eq(getsockname(t.client, &t.peer.peer.any, &n), 0);
	t.peer.peer_bytes = n;
	ck_assert_int_eq(udp_tx_open(&t.answers), 0);
	for (size_t i = 0; i < sizeof t.bytes; i++)
		t.bytes[i] = (unsigned char)(i * 2654435761u >> 13);
}

static const char *const hosts[] = {"127.0.0.1:0", "[::1]:0"};

static void begin(int i)
{
	begin_at(hosts[i], hosts[i]);
}

static void end(void)
{
	udp_tx_close(&t.answers);
	udp_tx_close(&t.answers); /* the second call does nothing */
	(void)close(t.server);
	(void)close(t.client);
}

/* ---- adding and sending ---- */

/* Adds an answer. apart: in memory it does not directly follow the one before. */
static void add(size_t n, bool apart)
{
	if (apart)
		t.used += 64;
	ck_assert_uint_le(t.used + n, sizeof t.bytes);
	ck_assert(!udp_tx_full(&t.answers));
	udp_tx_add(&t.answers, &t.peer, t.bytes + t.used, n);
	ck_assert_uint_lt(t.past_n, PAST_MAX);
	t.past[t.past_n].at = t.used;
	t.past[t.past_n++].n = n;
	t.used += n;
	t.bytes_n += n;
}

static ssize_t receive(int fd, void *bytes, size_t n)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	struct sockaddr_storage from;
	socklen_t from_n = sizeof from;
	ssize_t got;

	ck_assert_msg(poll(&pollfd, 1, WAIT_MS) == 1, "nothing comes");
	got = recvfrom(fd, bytes, n, 0, (struct sockaddr *)&from, &from_n);
	/* It has to come from the address that was asked: else a client would not accept it. */
	ck_assert_uint_eq(from_n, t.address.bytes);
	if (from.ss_family == AF_INET6) {
		ck_assert(
		    IN6_ARE_ADDR_EQUAL(&((struct sockaddr_in6 *)&from)->sin6_addr,
				       &((struct sockaddr_in6 *)&t.address.socket)->sin6_addr));
		ck_assert_int_eq(((struct sockaddr_in6 *)&from)->sin6_port,
				 ((struct sockaddr_in6 *)&t.address.socket)->sin6_port);
	} else {
		ck_assert_int_eq(memcmp(&from, &t.address.socket, 8), 0); /* all but zeros */
	}
	return got;
}

static void expect_all(void)
{
	static unsigned char bytes[70000];

	for (size_t i = 0; i < t.past_n; i++) {
		ssize_t n = receive(t.client, bytes, sizeof bytes);

		ck_assert_msg(n == (ssize_t)t.past[i].n, "number %zu has %zd bytes, not %zu", i, n,
			      t.past[i].n);
		ck_assert_msg(memcmp(bytes, t.bytes + t.past[i].at, (size_t)n) == 0,
			      "number %zu has other bytes", i);
	}
	ck_assert_int_eq(recv(t.client, bytes, sizeof bytes, 0), -1);
}

/* Sends what was added, and expects it to arrive and to be counted. */
static void send_all(void)
{
	t.stats = (struct stats){0};
	ck_assert_int_eq(udp_tx_send(&t.answers, t.server, &t.stats), 0);
	ck_assert(udp_tx_empty(&t.answers));
	expect_all();
	ck_assert_uint_eq(t.stats.datagrams_answered, t.past_n);
	ck_assert_uint_eq(t.stats.sent_bytes, t.bytes_n);
	ck_assert_uint_eq(t.stats.datagram_send_errors, 0);
	t.past_n = t.bytes_n = t.used = 0;
}

static void add_all(const size_t *sizes, size_t n, bool apart)
{
	for (size_t i = 0; i < n; i++)
		add(sizes[i], apart);
	send_all();
}

#define ADD(apart, ...)                                                                            \
	add_all((const size_t[]){__VA_ARGS__},                                                     \
		sizeof((const size_t[]){__VA_ARGS__}) / sizeof(size_t), apart)

static void all_shapes(bool apart)
{
	ADD(apart, 0);
	ADD(apart, 1);
	ADD(apart, 65507);
	ADD(apart, 100, 100, 100, 100);
	ADD(apart, 100, 100, 100, 99);	    /* a train whose last one is shorter */
	ADD(apart, 100, 100, 99, 100, 100); /* a shorter one ends a train */
	ADD(apart, 100, 100, 99, 99, 98, 100);
	ADD(apart, 100, 101, 102, 103); /* a longer one can't be in the train */
	ADD(apart, 103, 102, 101, 100);
	ADD(apart, 100, 100, 0, 100, 100, 0, 0);
	ADD(apart, 0, 0, 0, 1, 0, 1, 1);
	ADD(apart, 1, 1, 1, 1, 1, 1, 1, 1);
	ADD(apart, 1452, 1452, 1452, 1452);
	ADD(apart, 1453, 1453, 1453);
	ADD(apart, 1453, 1452, 1453, 1452, 1452, 1453);
	ADD(apart, 9000, 9000, 10, 9000);
	ADD(apart, 10, 65507, 10, 10);
}

START_TEST(what_is_added_comes_in_order)
{
	begin(_i);
	all_shapes(false);
	all_shapes(true);
	end();
}
END_TEST

/* Random lengths, sometimes equal. */
START_TEST(at_random)
{
	uint32_t state = 12345;

	begin(_i);
	for (int round = 0; round < 300; round++) {
		size_t n = 0, kept = 0;

		while (!udp_tx_full(&t.answers) && t.past_n < 100 && t.bytes_n < 60000) {
			state = state * 1664525 + 1013904223;
			if (!kept--) {
				n = (state >> 8) % 7 ? (state >> 12) % 300 : (state >> 12) % 3000;
				kept = (state >> 24) % 40;
			}
			add(n, (state >> 16) % 3 == 0);
			if ((state >> 10) % 90 == 0)
				break;
		}
		send_all();
	}
	end();
}
END_TEST

START_TEST(trains_of_all_lengths)
{
	begin(_i);
	for (size_t n = 2; n <= 130; n += n < 60 || n > 70 ? 13 : 1) {
		for (size_t i = 0; i < n; i++)
			add(200, n % 2);
		send_all();
	}
	/* A train can have only so many bytes: 45 of the longest, so the rest is another train. */
	for (size_t i = 0; i < 50; i++)
		add(1452, false);
	send_all();
	end();
}
END_TEST

START_TEST(as_much_as_there_is_room_for)
{
	begin(_i);
	while (!udp_tx_full(&t.answers))
		add(10, true);
	ck_assert_uint_eq(t.past_n, UDP_TX_SPANS);
	send_all();
	for (size_t i = 0; !udp_tx_full(&t.answers); i++)
		add(10 + i, true);
	ck_assert_uint_eq(t.past_n, UDP_TX_MESSAGES);
	send_all();
	end();
}
END_TEST

/* Sends these, and returns the length of the longest train as a socket gets it that asks for
 * trains. */
static size_t longest_train(const size_t sizes[], size_t n)
{
	static unsigned char bytes[70000];
	size_t longest = 0, got = 0;

	for (size_t i = 0; i < n; i++)
		add(sizes[i], true);
	ck_assert_int_eq(udp_tx_send(&t.answers, t.server, &t.stats), 0);
	while (got < t.bytes_n) {
		ssize_t one = receive(t.client, bytes, sizeof bytes);

		ck_assert_int_gt(one, 0);
		got += (size_t)one;
		if ((size_t)one > longest)
			longest = (size_t)one;
	}
	ck_assert_uint_eq(got, t.bytes_n);
	t.past_n = t.bytes_n = t.used = 0;
	return longest;
}

START_TEST(those_alike_leave_as_one)
{
	size_t sizes[64];
	int on = 1;

	begin(_i);
	ck_assert_int_eq(setsockopt(t.client, SYS_UDP, SYS_UDP_GRO, &on, sizeof on), 0);
	for (size_t i = 0; i < 64; i++)
		sizes[i] = 500;
	ck_assert_uint_eq(longest_train(sizes, 64), 64 * 500);
	ck_assert_uint_eq(longest_train(sizes, 2), 2 * 500);
	sizes[9] = 400;
	ck_assert_uint_eq(longest_train(sizes, 10), 9 * 500 + 400);
	for (size_t i = 0; i < 50; i++)
		sizes[i] = 1452;
	ck_assert_uint_eq(longest_train(sizes, 50), 45 * 1452); /* a datagram can't be longer */
	for (size_t i = 0; i < 10; i++)
		sizes[i] = 1453;
	ck_assert_uint_eq(longest_train(sizes, 10), 1453);
	end();
}
END_TEST

START_TEST(a_train_that_is_refused_leaves_in_pieces)
{
	_Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
	struct cmsghdr *header = (struct cmsghdr *)control;
	struct iovec span = {t.bytes, 100};
	struct msghdr message = {.msg_iov = &span,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof control};
	uint16_t segment = 10;
	int on = 1;

	begin(0);
	ck_assert_int_eq(setsockopt(t.server, SOL_SOCKET, SO_NO_CHECK, &on, sizeof on), 0);
	*header = (struct cmsghdr){.cmsg_level = SYS_UDP,
				   .cmsg_type = SYS_UDP_SEGMENT,
				   .cmsg_len = CMSG_LEN(sizeof segment)};
	memcpy(CMSG_DATA(header), &segment, sizeof segment);
	message.msg_name = &t.peer.peer;
	message.msg_namelen = t.peer.peer_bytes;
	if (sendmsg(t.server, &message, 0) >= 0) {
		suite_skip("a train that is refused", "this kernel takes one without checksums");
		return;
	}
	all_shapes(false);
	all_shapes(true);
	for (size_t i = 0; i < 300; i++)
		add(20 + i / 100, i % 3 == 0);
	send_all();
	end();
}
END_TEST

/* An answer that is too long for IPv4 is given up; those before and after it leave. */
START_TEST(what_is_refused_is_counted)
{
	begin(0);
	add(100, false);
	add(65508, false);
	t.past_n--;
	add(200, false);
	ck_assert_int_eq(udp_tx_send(&t.answers, t.server, &t.stats), 0);
	expect_all();
	ck_assert_uint_eq(t.stats.datagram_send_errors, 1);
	ck_assert_uint_eq(t.stats.datagrams_answered, 2);
	ck_assert_uint_eq(t.stats.sent_bytes, 300);
	t.past_n = t.bytes_n = t.used = 0;
	/* The same if it is the only one. */
	add(65508, false);
	ck_assert_int_eq(udp_tx_send(&t.answers, t.server, &t.stats), 0);
	ck_assert_uint_eq(t.stats.datagram_send_errors, 2);
	end();
}
END_TEST

/* ---- there and back ---- */

static void ask(size_t n, size_t segment)
{
	int length = (int)segment;

	ck_assert_int_eq(setsockopt(t.client, SYS_UDP, SYS_UDP_SEGMENT, &length, sizeof length), 0);
	ck_assert_int_eq(sendto(t.client, t.bytes + t.used, n, 0,
				(struct sockaddr *)&t.address.socket, t.address.bytes),
			 (ssize_t)n);
	for (size_t at = 0; at < n || !n; at += segment ? segment : n) {
		size_t left = n - at;

		t.past[t.past_n].at = t.used + at;
		t.past[t.past_n++].n = segment && segment < left ? segment : left;
		if (!n)
			break;
	}
	t.used += n;
}

static void echo_all(struct udp_rx *requests)
{
	struct pollfd pollfd = {.fd = t.server, .events = POLLIN};
	struct udp_incoming request;
	size_t answered = 0;

	while (answered < t.past_n) {
		ck_assert_msg(poll(&pollfd, 1, WAIT_MS) == 1, "no request comes");
		ck_assert_int_gt(udp_rx_receive(requests, t.server), 0);
		while (udp_rx_next(requests, &request)) {
			ck_assert(!request.truncated);
			if (udp_tx_full(&t.answers))
				ck_assert_int_eq(udp_tx_send(&t.answers, t.server, &t.stats), 0);
			udp_tx_add(&t.answers, request.from, request.bytes, request.n);
			udp_rx_done(requests, &request);
			answered++;
		}
		ck_assert_int_eq(udp_tx_send(&t.answers, t.server, &t.stats), 0);
	}
	expect_all();
	t.past_n = t.used = 0;
}

START_TEST(there_and_back)
{
	static const struct {
		const char *bound, *asked;
		size_t longest;
	} ways[] = {{"127.0.0.1:0", "127.0.0.1:0", 65507},
		    {"127.0.0.9:0", "127.0.0.9:0", 65507},
		    {"[::1]:0", "[::1]:0", 65527},
		    {"0.0.0.0:0", "127.0.0.7:0", 65507},
		    {"[::]:0", "[::1]:0", 65527},
		    {":0", "127.0.0.7:0", 65507},
		    {":0", "[::1]:0", 65527}};
	static const size_t sizes[] = {0, 1, 1472, 9000};
	struct udp_rx requests;

	begin_at(ways[_i].bound, ways[_i].asked);
	ck_assert_int_eq(udp_rx_open(&requests, t.server), 0);
	for (int many = 0; many < 2; many++) {
		for (int round = 0; round < 20; round++) {
			for (size_t i = 0; i < 4; i++) {
				ask(sizes[i], 0);
				echo_all(&requests);
			}
			ask(ways[_i].longest, 0);
			echo_all(&requests);
			ask(64 * 1000 - 1, 1000);
			ask(10, 0);
			ask(10 * 17, 17);
			echo_all(&requests);
		}
		udp_rx_expect_many(&requests, t.server);
	}
	udp_rx_close(&requests);
	end();
}
END_TEST

SUITE("answers", {"what is added comes in order", what_is_added_comes_in_order, 20, 2},
      {"at random", at_random, 30, 2}, {"trains of all lengths", trains_of_all_lengths, 20, 2},
      {"as much as there is room for", as_much_as_there_is_room_for, 20, 2},
      {"those alike leave as one", those_alike_leave_as_one, 20, 2},
      {"a train that is refused leaves in pieces", a_train_that_is_refused_leaves_in_pieces, 20},
      {"what is refused is counted", what_is_refused_is_counted, 20},
      {"there and back", there_and_back, 20, 7})
