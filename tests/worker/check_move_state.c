/*
 * What a connection was in the middle of goes on after a move: part of a frame, a line, a number in
 * a stream, membership of a chat; over TCP and unix sockets, in each accept mode.
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/server_control.h"
#include "tests/support/clients/chat_clients.h"

static const char *const modes[] = {"reuseport", "shared", "handoff"};

/* ---- one of each protocol ---- */

struct traveller {
	int fd;
	const struct way *way;
	uint64_t at; /* for chargen: how many bytes came */
	uint64_t said;
};

/* What a traveller does before the first change, after each change, and at the end. */
struct way {
	const char *protocol;
	void (*begin)(struct traveller *), (*go_on)(struct traveller *), (*end)(struct traveller *);
};

static void say(struct traveller *traveller, const void *bytes, size_t n)
{
	send_all(traveller->fd, bytes, n);
	traveller->said += n;
}

static void say_text(struct traveller *traveller, const char *text)
{
	say(traveller, text, strlen(text));
}

static void exchange(struct traveller *traveller, const char *text, const char *answer)
{
	say_text(traveller, text);
	expect_text(traveller->fd, answer);
}

static void finish(struct traveller *traveller)
{
	finish_sending(traveller->fd);
	expect_end(traveller->fd);
}

static void echo_goes_on(struct traveller *traveller)
{
	exchange(traveller, "as it is", "as it is");
}

static void increment_begins(struct traveller *traveller)
{
	expect_text(traveller->fd, "*");
	exchange(traveller, "not yet ^abc", "bcd");
}

static void increment_goes_on(struct traveller *traveller)
{
	exchange(traveller, "def", "efg");
}

static void increment_ends(struct traveller *traveller)
{
	exchange(traveller, "g$ nor now ^h$", "hi");
	finish(traveller);
}

/* Outside of ^...$ it is still outside after a move. */
static void increment_waits(struct traveller *traveller)
{
	expect_text(traveller->fd, "*");
	exchange(traveller, "^a$", "b");
}

static void increment_waits_on(struct traveller *traveller)
{
	say_text(traveller, "nothing");
}

static void increment_has_waited(struct traveller *traveller)
{
	exchange(traveller, "^y$", "z");
	finish(traveller);
}

/* Sends the length in parts: two bytes before the first change, then one at a time. */
static void prefix_begins(struct traveller *traveller)
{
	say(traveller, "\0\0", 2);
}

static void prefix_goes_on(struct traveller *traveller)
{
	if (traveller->said == 2)
		say(traveller, "\0", 1);
}

static void prefix_ends(struct traveller *traveller)
{
	say(traveller, "\5frame", 6);
	expect_bytes(traveller->fd, "\0\0\0\5frame", 9);
	finish(traveller);
}

#define FRAME_BYTES 90000

static unsigned char *a_frame(void)
{
	static unsigned char frame[4 + FRAME_BYTES] = {0, FRAME_BYTES >> 16, FRAME_BYTES >> 8 & 255,
						       FRAME_BYTES & 255};

	fill_random(frame + 4, FRAME_BYTES, 7);
	return frame;
}

static void payload_goes_on(struct traveller *traveller)
{
	say(traveller, a_frame() + traveller->said, 20001);
}

static void payload_ends(struct traveller *traveller)
{
	say(traveller, a_frame() + traveller->said, 4 + FRAME_BYTES - traveller->said);
	expect_bytes(traveller->fd, a_frame(), 4 + FRAME_BYTES);
	finish(traveller);
}

static void line_goes_on(struct traveller *traveller)
{
	say_text(traveller, traveller->said ? "and more " : "one\nhalf ");
}

static void line_ends(struct traveller *traveller)
{
	say_text(traveller, "and all\nthe next\n");
	expect_text(traveller->fd, "one\nhalf and more and more and all\nthe next\n");
	finish(traveller);
}

static void discard_goes_on(struct traveller *traveller)
{
	say_text(traveller, "not to be seen again");
}

static void chargen_goes_on(struct traveller *traveller)
{
	unsigned char bytes[20011];

	receive_exactly(traveller->fd, bytes, sizeof bytes);
	for (size_t i = 0; i < sizeof bytes; i++, traveller->at++) {
		uint64_t line = traveller->at / 74, column = traveller->at % 74;
		unsigned char wanted = column == 72   ? '\r'
				       : column == 73 ? '\n'
						      : (unsigned char)(' ' + (line + column) % 95);

		if (bytes[i] != wanted)
			ck_abort_msg("byte %llu is %u, not %u", (unsigned long long)traveller->at,
				     bytes[i], wanted);
	}
}

static void chargen_ends(struct traveller *traveller)
{
	chargen_goes_on(traveller);
	finish_sending(traveller->fd);
	expect_reset_or_end(traveller->fd);
}

/* Moves within a head; after it, with the first part of a body; and within an answer. */
static void head_begins(struct traveller *traveller)
{
	say_text(traveller, "GET /bytes/3 HTTP/1.1\r\nHost: we");
}

static void head_goes_on(struct traveller *traveller)
{
	say_text(traveller, "i");
}

/* Reads up to the empty line, and nothing that comes after it. */
static void expect_head(int fd)
{
	char bytes[4] = "";

	while (memcmp(bytes, "\r\n\r\n", 4) != 0) {
		memmove(bytes, bytes + 1, 3);
		receive_exactly(fd, bytes + 3, 1);
	}
}

static void head_ends(struct traveller *traveller)
{
	say_text(traveller, "r\r\n\r\n");
	expect_head(traveller->fd);
	expect_text(traveller->fd, "abc");
	finish(traveller);
}

static void chunks_begin(struct traveller *traveller)
{
	say_text(traveller,
		 "POST /echo HTTP/1.1\r\nHost: weir\r\nTransfer-Encoding: chunked\r\n\r\n");
	say_text(traveller, "5;x\r\nhello\r");
	expect_head(traveller->fd);
	expect_text(traveller->fd, "5\r\nhello");
}

static void chunks_go_on(struct traveller *traveller)
{
	say_text(traveller, "\n3\r\nabc\r");
	expect_text(traveller->fd, "\r\n3\r\nabc");
}

static void chunks_end(struct traveller *traveller)
{
	say_text(traveller, "\n0\r\n\r\n");
	expect_text(traveller->fd, "\r\n0\r\n\r\n");
	finish(traveller);
}

static void answer_goes_on(struct traveller *traveller)
{
	unsigned char bytes[20011];

	receive_exactly(traveller->fd, bytes, sizeof bytes);
	for (size_t i = 0; i < sizeof bytes; i++, traveller->at++)
		if (bytes[i] != 'a' + (int)(traveller->at % 26))
			ck_abort_msg("byte %llu is %u", (unsigned long long)traveller->at,
				     bytes[i]);
}

static void answer_begins(struct traveller *traveller)
{
	say_text(traveller, "GET /bytes/1000000000000 HTTP/1.1\r\nHost: weir\r\n\r\n");
	expect_head(traveller->fd);
	answer_goes_on(traveller);
}

static void answer_ends(struct traveller *traveller)
{
	answer_goes_on(traveller);
	reset(traveller->fd);
}

static const struct way ways[] = {
    {"echo", echo_goes_on, echo_goes_on, finish},
    {"increment", increment_begins, increment_goes_on, increment_ends},
    {"increment", increment_waits, increment_waits_on, increment_has_waited},
    {"frame", prefix_begins, prefix_goes_on, prefix_ends},
    {"frame", payload_goes_on, payload_goes_on, payload_ends},
    {"line", line_goes_on, line_goes_on, line_ends},
    {"discard", discard_goes_on, discard_goes_on, finish},
    {"chargen", chargen_goes_on, chargen_goes_on, chargen_ends},
    {"http", head_begins, head_goes_on, head_ends},
    {"http", chunks_begin, chunks_go_on, chunks_end},
    {"http", answer_begins, answer_goes_on, answer_ends},
};

#define WAYS (sizeof ways / sizeof *ways)
#define EACH 16 /* travellers of each way; half of them over unix sockets */

static const char *const names[] = {"echo",    "increment", "frame", "line",
				    "discard", "chargen",   "http"};

#define NAMES (sizeof names / sizeof *names)

static struct server *serve_all(const char *mode)
{
	static char listeners[2 * NAMES][160];
	static char control[128];
	const char *arguments[32] = {"-w", "3", "-a", mode, "--control", control};
	size_t n = 6;

	(void)snprintf(control, sizeof control, "%s", in_folder("control"));
	for (size_t i = 0; i < NAMES; i++) {
		(void)snprintf(listeners[2 * i], sizeof *listeners, "%s://127.0.0.1:0", names[i]);
		(void)snprintf(listeners[2 * i + 1], sizeof *listeners, "%s://%s", names[i],
			       in_folder(names[i]));
		arguments[n++] = listeners[2 * i];
		arguments[n++] = listeners[2 * i + 1];
	}
	return server_start(arguments);
}

static int travel_from(const struct server *server, const char *protocol, bool by_path)
{
	size_t i = 0;

	while (strcmp(names[i], protocol) != 0)
		i++;
	return by_path ? connect_unix(in_folder(protocol)) : connect_to(server->ports[2 * i]);
}

/* Waits until weir has read all that was said, so that none of it is in the kernel when the
 * connections move. */
static void wait_all_read(const struct server *server, const struct traveller *travellers, size_t n)
{
	uint64_t said = 0;

	for (size_t i = 0; i < n; i++)
		said += travellers[i].said;
	server_wait_stat_is(server, "received_bytes", said);
}

START_TEST(what_was_begun_goes_on)
{
	enum { TRAVELLERS = EACH * WAYS };
	static struct traveller travellers[TRAVELLERS];
	static const enum server_control changes[] = {SERVER_CONTROL_RELOAD,
						      SERVER_CONTROL_UPGRADE};
	struct server *server = serve_all(modes[_i]);

	for (size_t i = 0; i < TRAVELLERS; i++) {
		struct traveller *traveller = &travellers[i];

		traveller->way = &ways[i % WAYS];
		traveller->fd = travel_from(server, traveller->way->protocol, i >= TRAVELLERS / 2);
		traveller->way->begin(traveller);
	}
	for (size_t change = 0; change < 2; change++) {
		struct server_control_change seen;

		wait_all_read(server, travellers, TRAVELLERS);
		seen = server_control_make(server, changes[change]);
		ck_assert_msg(seen.moved == TRAVELLERS, "%llu moved:\n%s",
			      (unsigned long long)seen.moved, server->log);
		ck_assert_uint_eq(seen.stay, 0);
		for (size_t i = 0; i < TRAVELLERS; i++)
			travellers[i].way->go_on(&travellers[i]);
	}
	for (size_t i = 0; i < TRAVELLERS; i++)
		travellers[i].way->end(&travellers[i]);
	server_wait_stat_is(server, "connections", 0);
	ck_assert_uint_eq(server_stat(server, "closed_eof") + server_stat(server, "closed_reset"),
			  TRAVELLERS);
	(void)printf("FIGURE %s: %d connections in the middle of something, half of them over unix "
		     "sockets, went on after a reload and after an upgrade\n",
		     modes[_i], TRAVELLERS);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- chat ---- */

#define GUESTS	   60
#define LINE_BYTES 64

/* Sends a part of the client's next line. */
static void say_part(struct chat_clients *clients, unsigned number, size_t from, size_t to)
{
	struct chat_client *client = &clients->all[number];
	char line[LINE_BYTES];
	size_t n = (size_t)snprintf(line, sizeof line, "%u %u ", number, client->said);

	memset(line + n, '.', sizeof line - n - 1);
	line[LINE_BYTES - 1] = '\n';
	if (to == LINE_BYTES)
		chat_clients_count_said(clients, number);
	ck_assert_msg(!client->gone, "client %u has gone:\n%s", number, clients->server->log);
	send_all(client->fd, line + from, to - from);
}

#define LINES_MAX 2000 /* in one change */

/* Clients that are not in the middle of a line speak during the whole change. */
static uint64_t talk_through(struct chat_clients *clients, enum server_control what, uint64_t *seed)
{
	struct wait wait = wait_begin();
	struct server_control_change seen;
	unsigned lines = 0;
	uint64_t moved;

	for (unsigned i = 0; i < GUESTS / 2; i++)
		say_part(clients, i, 0, 1 + i * 2);
	server_control_order(clients->server, what);
	while (!server_control_done(clients->server, what, &seen)) {
		unsigned speaker = GUESTS / 2 + (unsigned)(next_random(seed) % (GUESTS / 2));

		if (lines++ < LINES_MAX)
			(void)chat_clients_say(clients, speaker);
		(void)chat_clients_listen(clients, lines > LINES_MAX);
		ck_assert_msg(now_ms() < wait.until_ms, "no end:\n%s", clients->server->log);
	}
	moved = seen.moved;
	for (unsigned i = 0; i < GUESTS / 2; i++)
		say_part(clients, i, 1 + i * 2, LINE_BYTES);
	chat_clients_hear_all(clients);
	ck_assert_uint_eq(seen.stay, 0);
	return moved;
}

START_TEST(each_line_is_heard_once_across_generations)
{
	static const enum server_control changes[] = {SERVER_CONTROL_RELOAD, SERVER_CONTROL_UPGRADE,
						      SERVER_CONTROL_MORE, SERVER_CONTROL_REBALANCE,
						      SERVER_CONTROL_FEWER};
	struct server *server = CONTROLLED("-w", "3", "-a", modes[_i], "chat://127.0.0.1:0");
	uint64_t moved = 0, said = 0, heard = 0, seed = (uint64_t)_i + 1;
	unsigned rounds = suite_sanitized() ? 2 : 5;
	struct chat_clients clients;

	chat_clients_open(&clients, server, server->ports[0], GUESTS, LINE_BYTES);
	chat_clients_join_all(&clients, GUESTS);
	for (unsigned round = 0; round < rounds; round++)
		for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
			moved += talk_through(&clients, changes[i], &seed);
	for (unsigned i = 0; i < GUESTS; i++) {
		said += clients.all[i].said;
		heard += clients.all[i].heard_n;
	}
	ck_assert_uint_eq(heard, said * (GUESTS - 1));
	ck_assert_uint_eq(clients.gone_n, 0);
	ck_assert_uint_eq(server_stat(server, "missed"), 0);
	ck_assert_uint_eq(server_stat(server, "left_behind"), 0);
	(void)printf("FIGURE %s: %llu lines said, %llu heard, each once, by %u clients in %llu "
		     "moves\n",
		     modes[_i], (unsigned long long)said, (unsigned long long)heard, GUESTS,
		     (unsigned long long)moved);
	chat_clients_close(&clients);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

static unsigned port_of(int fd)
{
	struct sockaddr_in address;
	socklen_t n = sizeof address;

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	return ntohs(address.sin_port);
}

START_TEST(names_travel_along)
{
	struct server *server = CONTROLLED("-w", "2", "chat://127.0.0.1:0?names=on");
	int speaker = connect_to(server->ports[0]), listener = connect_to(server->ports[0]);
	static const enum server_control changes[] = {SERVER_CONTROL_RELOAD, SERVER_CONTROL_UPGRADE,
						      SERVER_CONTROL_RELOAD};
	char wanted[64];

	server_wait_stat(server, "members_joined", 2);
	(void)snprintf(wanted, sizeof wanted, "127.0.0.1:%u: half and half\n", port_of(speaker));
	for (size_t i = 0; i < 3; i++) {
		send_text(speaker, "half ");
		(void)server_control_make(server, changes[i]);
		send_text(speaker, "and half\n");
		expect_text(listener, wanted);
	}
	(void)close(speaker);
	(void)close(listener);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("move_state", {"what was begun goes on", what_was_begun_goes_on, 60, 3},
      {"each line is heard once across generations", each_line_is_heard_once_across_generations, 60,
       3},
      {"names travel along", names_travel_along, 30})
