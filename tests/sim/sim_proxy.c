/*
 * The PROXY header before a protocol, on a simulated kernel: cut and moved to another process at
 * every byte, with what follows in the same read, refused with a reason for each mistake, counted
 * for the client and not for the proxy. Which bytes are a header is check_proxy_parse's; real
 * proxies are check_proxy's.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/sim_move.h"

#define SIGNATURE  "\r\n\r\n\0\r\nQUIT\n"
#define HEADER_MAX (16 + 65535)

static struct sim_move move;
static struct service lines[2]; /* of each world, behind the prefix */
static unsigned char header[HEADER_MAX + 64];

static void begin_with(struct conn_limits limits)
{
	sim_move_open(&move, "line", limits, BUFFERS_MIN);
	for (int i = 0; i < 2; i++) {
		struct service *first = &move.worlds[i].service;

		first->settings[0] = 1 << 20;
		lines[i] = *first;
		first->settings[0] = 0; /* networks */
		first->protocol = &proxy_protocol;
		first->next = &lines[i];
		lines[i].next = first;
	}
}

static void begin(void)
{
	begin_with((struct conn_limits){WORLD_LIMITS, .request_ms = 1000});
}

static void end_with(struct peer *peer, enum close_reason reason)
{
	sim_move_run(&move);
	EXPECT(peer->closed);
	EXPECT_MSG(sim_move_reason(&move) == reason, "it ended for %s, not %s",
		   close_reason_name(sim_move_reason(&move)), close_reason_name(reason));
	EXPECT(move.worlds[0].table.peers.used + move.worlds[1].table.peers.used == 0);
	sim_move_close(&move);
}

/* Version 2 of a header; its length, with `more` bytes behind the addresses. */
static size_t version_2(unsigned command, unsigned family, size_t addresses, size_t more)
{
	static const unsigned char from[] = {192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80};
	size_t n = addresses + more;

	memcpy(header, SIGNATURE, 12);
	header[12] = (unsigned char)(0x20 | command);
	header[13] = (unsigned char)family;
	header[14] = (unsigned char)(n >> 8);
	header[15] = (unsigned char)n;
	for (size_t i = 0; i < n; i++)
		header[16 + i] = i < addresses && i < sizeof from ? from[i] : (unsigned char)i;
	return 16 + n;
}

/* The peer of the connection, as text. */
static const char *peer_of(const struct world *world, const struct peer *peer)
{
	static char text[ADDRESS_TEXT_BYTES];
	struct address address;

	EXPECT(conn_peer(world_conn((struct world *)(uintptr_t)world, peer), &address));
	address_format(&address, text);
	return text;
}

static const struct {
	const char *bytes, *peer; /* NULL: version 2; and the connection's own address */
} headers[] = {
    {"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\n", "192.0.2.7:8080"},
    {"PROXY TCP6 2001:db8::7 ::1 8080 80\r\n", "[2001:db8::7]:8080"},
    {"PROXY UNKNOWN\r\n", NULL},
    {NULL, "192.0.2.7:8080"},
};

static size_t header_of(size_t i)
{
	if (!headers[i].bytes)
		return version_2(1, 0x11, 12, 7);
	memcpy(header, headers[i].bytes, strlen(headers[i].bytes));
	return strlen(headers[i].bytes);
}

static const char behind[] = "hello\nworld\n";

START_TEST(a_header_may_be_cut_and_moved_anywhere)
{
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
		size_t n = header_of(i) + strlen(behind);

		memcpy(header + header_of(i), behind, strlen(behind));
		for (size_t cut = 0; cut <= n; cut++)
			for (int moves = 0; moves < 3; moves++) {
				struct peer *peer;

				begin();
				peer = world_connect(&move.worlds[0]);
				peer_send(peer, header, cut);
				if (moves < 2)
					sim_move_run(&move);
				if (moves)
					EXPECT(sim_move_move(&move, peer));
				peer_send(peer, header + cut, n - cut);
				sim_move_run(&move);
				peer_expect(peer, behind, strlen(behind));
				if (headers[i].peer)
					ck_assert_str_eq(peer_of(sim_move_here(&move), peer),
							 headers[i].peer);
				EXPECT(sim_move_here(&move)->table.peers.used ==
				       (headers[i].peer != NULL));
				peer_finish(peer);
				end_with(peer, CLOSE_eof);
			}
	}
}
END_TEST

/* A connection whose header was read moves with its peer, also if it owes something. */
START_TEST(the_peer_goes_along)
{
	struct peer *peer;
	size_t n = header_of(0);

	begin();
	peer = world_connect(&move.worlds[0]);
	peer_send(peer, header, n);
	sim_move_run(&move);
	for (int i = 0; i < 3; i++) {
		EXPECT(sim_move_move(&move, peer));
		sim_move_run(&move);
		ck_assert_str_eq(peer_of(sim_move_here(&move), peer), headers[0].peer);
		EXPECT(sim_move_there(&move)->table.peers.used == 0);
	}
	peer->space = 0;
	peer_text(peer, "hello\n");
	sim_move_run(&move);
	EXPECT(sim_move_move(&move, peer));
	sim_move_run(&move);
	ck_assert_str_eq(peer_of(sim_move_here(&move), peer), headers[0].peer);
	peer->space = 100;
	(void)peer_receive(peer, NULL, 0);
	sim_move_run(&move);
	peer_expect(peer, "hello\n", 6);
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

/* A process that was taken over says that a header was read, and then it comes. */
START_TEST(a_peer_that_was_given_may_be_given_again)
{
	struct world *there;
	struct conn *conn;
	struct peer *peer;
	struct load load;

	begin();
	peer = world_connect(&move.worlds[0]);
	sim_move_run(&move);
	conn = world_conn(&move.worlds[0], peer);
	EXPECT(conn_freeze(conn));
	load_take(&load, conn, peer);
	EXPECT(!load.n);
	load.snapshot.flags |= SNAPSHOT_PEER;
	load.bytes = calloc(1, SNAPSHOT_PEER_BYTES);
	there = sim_move_there(&move);
	EXPECT(load_leave(&load, &there->service));
	conn_depart(conn);
	move.here = 1;
	sim_move_run(&move);
	peer_send(peer, header, header_of(0));
	peer_text(peer, behind);
	sim_move_run(&move);
	peer_expect(peer, behind, strlen(behind));
	ck_assert_str_eq(peer_of(there, peer), headers[0].peer);
	peer_finish(peer);
	end_with(peer, CLOSE_eof);
}
END_TEST

START_TEST(each_mistake_has_its_reason)
{
	const struct {
		const char *bytes;
		enum close_reason reason;
	} wrong[] = {
	    {"GET / HTTP/1.1\r\n", close_reason_named("proxy_no_header")},
	    {"PROXY TCP5 ", close_reason_named("proxy_v1_family")},
	    {"PROXY TCP4 300.0.0.1 ", close_reason_named("proxy_v1_address")},
	    {"PROXY TCP4 1.2.3.4 5.6.7.8 99999 ", close_reason_named("proxy_v1_port")},
	    {"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", close_reason_named("proxy_v1_line_end")},
	};
	struct peer *peer;

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		begin();
		peer = world_connect(&move.worlds[0]);
		peer_text(peer, wrong[i].bytes);
		peer_finish(peer);
		end_with(peer, wrong[i].reason);
	}
	begin();
	peer = world_connect(&move.worlds[0]);
	peer_text(peer, "PROXY UNKNOWN ");
	for (int i = 0; i < 100; i++)
		peer_text(peer, "x");
	peer_finish(peer);
	end_with(peer, close_reason_named("proxy_v1_too_long"));
}
END_TEST

START_TEST(version_2_has_its_reasons_too)
{
	const struct {
		unsigned command, family;
		size_t addresses;
		enum close_reason reason;
	} wrong[] = {
	    {2, 0x11, 12, close_reason_named("proxy_v2_command")},
	    {1, 0x12, 12, close_reason_named("proxy_v2_family")},
	    {1, 0x41, 12, close_reason_named("proxy_v2_family")},
	    {1, 0x11, 11, close_reason_named("proxy_v2_too_short")},
	    {1, 0x21, 35, close_reason_named("proxy_v2_too_short")},
	};
	struct peer *peer;

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		size_t n = version_2(wrong[i].command, wrong[i].family, wrong[i].addresses, 0);

		begin();
		peer = world_connect(&move.worlds[0]);
		peer_send(peer, header, n);
		peer_finish(peer);
		end_with(peer, wrong[i].reason);
	}
	begin();
	peer = world_connect(&move.worlds[0]);
	(void)version_2(1, 0x11, 12, 0);
	header[12] = 0x31;
	peer_send(peer, header, 28);
	peer_finish(peer);
	end_with(peer, close_reason_named("proxy_v2_version"));
}
END_TEST

/* As long as two bytes can say, with what follows in the same read, and in pieces that move. */
START_TEST(additions_of_any_length_are_thrown_away)
{
	static const size_t lengths[] = {0, 1, 255, 256, 16000, 16368, 16384, 16400, 32768, 65523};

	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		for (int moves = 0; moves < 2; moves++) {
			size_t n = version_2(1, 0x11, 12, lengths[i]);
			struct peer *peer;

			begin();
			peer = world_connect(&move.worlds[0]);
			memcpy(header + n, behind, strlen(behind));
			n += strlen(behind);
			peer_send(peer, header, moves ? n / 2 : n);
			sim_move_run(&move);
			if (moves) {
				EXPECT(sim_move_move(&move, peer));
				peer_send(peer, header + n / 2, n - n / 2);
				sim_move_run(&move);
			}
			peer_expect(peer, behind, strlen(behind));
			peer_finish(peer);
			end_with(peer, CLOSE_eof);
		}
}
END_TEST

/* Connections of one proxy are as many as its clients may have, each by its own address. */
START_TEST(clients_are_counted_and_not_the_proxy)
{
	static const char *const clients[] = {"192.0.2.1", "192.0.2.1", "192.0.2.2",
					      "192.0.2.1", "192.0.2.2", "192.0.2.2"};
	struct peer *peers[6];

	begin_with((struct conn_limits){WORLD_LIMITS, .connections_per_ip = 2});
	for (int i = 0; i < 6; i++) {
		char text[64];

		(void)snprintf(text, sizeof text, "PROXY TCP4 %s 10.0.0.1 %d 80\r\n", clients[i],
			       1000 + i);
		peers[i] = world_connect(&move.worlds[0]);
		sim_move_run(&move);
		for (int moves = 0; moves < i % 2 * 2; moves++) /* before it is known whose it is */
			EXPECT(sim_move_move(&move, peers[i]));
		peer_text(peers[i], text);
		sim_move_run(&move);
		EXPECT(peers[i]->closed == (i == 3 || i == 5));
	}
	EXPECT(sim_move_closed(&move, CLOSE_too_many_per_ip) == 2);
	EXPECT(
	    sim_move_move(&move, peers[0])); /* which makes room for another one of that client */
	peers[3] = world_connect(&move.worlds[0]);
	peer_text(peers[3], "PROXY TCP4 192.0.2.1 10.0.0.1 1000 80\r\n");
	sim_move_run(&move);
	EXPECT(!peers[3]->closed);
	for (int i = 0; i < 6; i++)
		peer_finish(peers[i]);
	sim_move_run(&move);
	EXPECT(sim_move_closed(&move, CLOSE_eof) == 5);
	EXPECT(sim_move_closed(&move, CLOSE_too_many_per_ip) == 2);
	sim_move_close(&move);
}
END_TEST

START_TEST(only_some_may_send_one)
{
	struct network networks[2];
	struct peer *peer;

	/* The simulated peers are all at one address. */
	ck_assert(network_parse(&networks[0], "10.0.0.0/8"));
	for (int may = 0; may < 2; may++) {
		begin();
		for (int i = 0; i < 2; i++) {
			move.worlds[i].service.networks = networks;
			move.worlds[i].service.settings[0] = (uint64_t)(1 + may);
		}
		ck_assert(network_parse(&networks[1], "0.0.0.0/0"));
		peer = world_connect(&move.worlds[0]);
		peer_send(peer, header, header_of(0));
		peer_text(peer, behind);
		sim_move_run(&move);
		peer_expect(peer, may ? behind : "", may ? strlen(behind) : 0);
		peer_finish(peer);
		end_with(peer, may ? CLOSE_eof : close_reason_named("proxy_forbidden"));
	}
}
END_TEST

START_TEST(one_that_never_comes_is_not_waited_for)
{
	struct peer *peer;

	begin();
	peer = world_connect(&move.worlds[0]);
	sim_move_wait(&move, 900);
	peer_text(peer, "PRO");
	sim_move_run(&move);
	EXPECT(!peer->closed);
	sim_move_wait(&move, 110);
	end_with(peer, CLOSE_request_timeout);
	/* Nor are its additions. */
	begin();
	peer = world_connect(&move.worlds[0]);
	peer_send(peer, header, version_2(1, 0x11, 12, 1000) - 1);
	sim_move_wait(&move, 1010);
	end_with(peer, CLOSE_request_timeout);
}
END_TEST

SUITE("sim_proxy",
      {"a header may be cut and moved anywhere", a_header_may_be_cut_and_moved_anywhere, 20},
      {"the peer goes along", the_peer_goes_along, 10},
      {"a peer that was given may be given again", a_peer_that_was_given_may_be_given_again, 10},
      {"each mistake has its reason", each_mistake_has_its_reason, 10},
      {"version 2 has its reasons, too", version_2_has_its_reasons_too, 10},
      {"additions of any length are thrown away", additions_of_any_length_are_thrown_away, 20},
      {"clients are counted, and not the proxy", clients_are_counted_and_not_the_proxy, 10},
      {"only some may send one", only_some_may_send_one, 10},
      {"one that never comes is not waited for", one_that_never_comes_is_not_waited_for, 10})
