/*
 * Connections in special states while they move: half closed and owed bytes, with full buffers at
 * both ends, ended or reset by the peer during the move, near a timeout, and counted by a limit.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/server_control.h"

static const enum server_control changes[] = {SERVER_CONTROL_RELOAD, SERVER_CONTROL_UPGRADE};

/* ---- owed bytes ---- */

#define CLIENTS	   6
#define OWED_BYTES (16u << 20) /* more than the kernel's queues */

static const unsigned char *bytes_of(unsigned client, size_t n)
{
	static unsigned char bytes[OWED_BYTES];

	ck_assert_uint_le(n, sizeof bytes);
	fill_random(bytes, n, client + 1);
	return bytes;
}

START_TEST(half_closed_ones_get_what_they_are_owed)
{
	struct server *server = CONTROLLED("-w", "2", "--high-water", "16M", "echo://127.0.0.1:0");
	int fds[CLIENTS];

	for (unsigned i = 0; i < CLIENTS; i++) {
		fds[i] = connect_to(server->ports[0]);
		send_all(fds[i], bytes_of(i, OWED_BYTES), OWED_BYTES);
		finish_sending(fds[i]);
	}
	server_wait_stat_is(server, "received_bytes", (uint64_t)CLIENTS * OWED_BYTES);
	ck_assert_uint_lt(server_stat(server, "sent_bytes"), (uint64_t)CLIENTS * OWED_BYTES);
	for (size_t i = 0; i < 2; i++)
		ck_assert_uint_eq(server_control_make(server, changes[i]).moved, CLIENTS);
	for (unsigned i = 0; i < CLIENTS; i++) {
		expect_bytes(fds[i], bytes_of(i, OWED_BYTES), OWED_BYTES);
		expect_end(fds[i]);
		(void)close(fds[i]);
	}
	server_wait_stat_is(server, "closed_eof", CLIENTS);
	(void)printf("FIGURE %d half-closed connections, each owed some of %u bytes, moved twice "
		     "and got all\n",
		     CLIENTS, OWED_BYTES);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

struct stuffed {
	int fd;
	size_t sent, back;
	unsigned char *bytes;
};

#define STUFFED_BYTES (32u << 20)

/* Sends until, for a while, neither the server nor the kernel takes more. */
static void stuff(struct stuffed *stuffed)
{
	struct pollfd writable = {.fd = stuffed->fd, .events = POLLOUT};

	while (stuffed->sent < STUFFED_BYTES && poll(&writable, 1, 20) == 1) {
		ssize_t n = send(stuffed->fd, stuffed->bytes + stuffed->sent,
				 STUFFED_BYTES - stuffed->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		ck_assert(n > 0 || errno == EAGAIN);
		if (n > 0)
			stuffed->sent += (size_t)n;
	}
}

static void take(struct stuffed *stuffed, size_t n)
{
	static unsigned char bytes[65536];

	while (n) {
		size_t part = n < sizeof bytes ? n : sizeof bytes;

		receive_exactly(stuffed->fd, bytes, part);
		ck_assert(memcmp(bytes, stuffed->bytes + stuffed->back, part) == 0);
		stuffed->back += part;
		n -= part;
	}
}

START_TEST(full_at_both_ends)
{
	struct server *server = CONTROLLED("-w", "2", "echo://127.0.0.1:0");
	struct stuffed clients[CLIENTS];
	uint64_t stuffed_n = 0;

	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i] = (struct stuffed){.fd = connect_to(server->ports[0]),
					      .bytes = malloc(STUFFED_BYTES)};
		ck_assert_ptr_nonnull(clients[i].bytes);
		fill_random(clients[i].bytes, STUFFED_BYTES, i + 1);
	}
	for (size_t round = 0; round < 4; round++) {
		struct wait wait = wait_begin();

		do {
			for (unsigned i = 0; i < CLIENTS; i++)
				stuff(&clients[i]);
			wait_more(&wait, "the server not to read any more");
		} while (server_stat(server, "backpressure_on") -
			     server_stat(server, "backpressure_off") <
			 CLIENTS);
		ck_assert_uint_eq(server_control_make(server, changes[round % 2]).moved, CLIENTS);
		for (unsigned i = 0; i < CLIENTS; i++)
			take(&clients[i], (clients[i].sent - clients[i].back) / 2);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		finish_sending(clients[i].fd);
		stuffed_n += clients[i].sent;
		take(&clients[i], clients[i].sent - clients[i].back);
		expect_end(clients[i].fd);
		(void)close(clients[i].fd);
		free(clients[i].bytes);
	}
	server_wait_stat_is(server, "closed_eof", CLIENTS);
	(void)printf("FIGURE %d connections full at both ends moved 4 times: %llu bytes came "
		     "back, in order\n",
		     CLIENTS, (unsigned long long)stuffed_n);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- connections that end during a move ---- */

enum { TALKS, ENDS, RESETS, FATES };

#define LEAVERS 150

struct fates {
	struct server *server;
	int fds[LEAVERS];
	uint64_t ended, was_reset;
	uint64_t meanwhile; /* how many of all these, between the order and its end */
};

static void meet_fate(struct fates *fates, unsigned i)
{
	int fd = fates->fds[i];

	switch (i % FATES) {
	case TALKS:
		send_text(fd, "still here");
		break;
	case ENDS:
		send_text(fd, "last words");
		finish_sending(fd);
		fates->ended++;
		break;
	case RESETS:
		reset(fd);
		fates->was_reset++;
		break;
	}
}

static void judge(struct fates *fates, unsigned i)
{
	int fd = fates->fds[i];

	if (i % FATES == RESETS)
		return;
	expect_text(fd, i % FATES == ENDS ? "last words" : "still here");
	if (i % FATES == TALKS) {
		finish_sending(fd);
		fates->ended++;
	}
	expect_end(fd);
	(void)close(fd);
}

static void leave_meanwhile(struct fates *fates, enum server_control what)
{
	struct wait wait = wait_begin();
	struct server_control_change seen;
	unsigned i = 0;

	for (unsigned n = 0; n < LEAVERS; n++) {
		fates->fds[n] = connect_to(fates->server->ports[0]);
		send_text(fates->fds[n], "hello");
		expect_text(fates->fds[n], "hello");
	}
	server_control_order(fates->server, what);
	while (!server_control_done(fates->server, what, &seen)) {
		/* A worker of the new generation is there, so the move is about to begin. */
		if (i < LEAVERS && server_log_has(fates->server, "worker started")) {
			meet_fate(fates, i++);
			fates->meanwhile++;
		}
		ck_assert_msg(now_ms() < wait.until_ms, "no end:\n%s", fates->server->log);
	}
	while (i < LEAVERS)
		meet_fate(fates, i++);
	for (i = 0; i < LEAVERS; i++)
		judge(fates, i);
	server_wait_stat_is(fates->server, "connections", 0);
}

START_TEST(ends_and_resets_in_the_middle)
{
	unsigned rounds = suite_sanitized() ? 2 : 8;
	struct fates fates = {
	    .server = CONTROLLED("-w", "2", "echo://127.0.0.1:0"),
	};

	for (unsigned round = 0; round < rounds; round++)
		leave_meanwhile(&fates, changes[round % 2]);
	ck_assert_uint_eq(server_stat(fates.server, "closed_eof"), fates.ended);
	ck_assert_uint_eq(server_stat(fates.server, "closed_reset"), fates.was_reset);
	ck_assert_uint_gt(fates.meanwhile, 0);
	(void)printf("FIGURE %llu ends and %llu resets, %llu of all that happened while "
		     "connections moved: each was seen, once\n",
		     (unsigned long long)fates.ended, (unsigned long long)fates.was_reset,
		     (unsigned long long)fates.meanwhile);
	ck_assert_int_eq(server_stop(fates.server, SIGTERM), 0);
}
END_TEST

/* ---- timeouts ---- */

/* %s in the listener is a path. */
static const struct timeout {
	const char *option, *listener, *text, *counter;
} timeouts[] = {
    {"--idle-timeout", "echo://127.0.0.1:0", "idle from here on", "closed_idle_timeout"},
    {"--request-timeout", "line://127.0.0.1:0", "half a line", "closed_request_timeout"},
    /* A unix socket, because a full TCP socket takes a little more now and then. */
    {"--write-timeout", "chargen://%s", "", "closed_write_timeout"},
};

#define TIMEOUTS (sizeof timeouts / sizeof *timeouts)

/* Returns when the connection was closed. Watches the counter, as a client that does not read
 * can't see it. */
static uint64_t wait_closed_ms(const struct server *server, const char *counter)
{
	server_wait_stat(server, counter, 1);
	return now_ms();
}

/* A timeout that was started again by the move would take half as long again. False: it did take
 * as long, or the move came too late; both may happen if the machine is slow. */
static bool deadlines_go_on(enum server_control what)
{
	struct server *servers[TIMEOUTS];
	struct wait wait = wait_begin();
	uint64_t from_ms, timeout_ms = suite_sanitized() ? 6000 : 2000;
	bool in_time = true;
	char limit[16];
	int fds[TIMEOUTS];

	(void)snprintf(limit, sizeof limit, "%us", (unsigned)timeout_ms / 1000);
	for (size_t i = 0; i < TIMEOUTS; i++) {
		const struct timeout *timeout = &timeouts[i];
		char listener[160];

		(void)snprintf(listener, sizeof listener, timeout->listener, in_folder("full"));
		servers[i] = SERVER("-w", "1", "--control", in_folder(timeout->counter),
				    timeout->option, limit, listener);
	}
	from_ms = now_ms();
	for (size_t i = 0; i < TIMEOUTS; i++) {
		unsigned port = servers[i]->ports[0];

		fds[i] = port ? connect_to(port) : connect_unix(in_folder("full"));
		send_text(fds[i], timeouts[i].text);
	}
	while (now_ms() < from_ms + timeout_ms / 2)
		wait_more(&wait, "half of the time");
	for (size_t i = 0; i < TIMEOUTS; i++) {
		in_time = server_control_make(servers[i], what).moved == 1 && in_time;
	}
	for (size_t i = 0; i < TIMEOUTS; i++) {
		uint64_t ms = wait_closed_ms(servers[i], timeouts[i].counter) - from_ms;

		(void)printf(
		    "FIGURE %s %s, moved after half of it: closed %llu ms after its beginning\n",
		    timeouts[i].option + 2, limit, (unsigned long long)ms);
		(void)fflush(stdout);
		ck_assert_uint_ge(ms, timeout_ms - 100);
		in_time = in_time && ms < timeout_ms + timeout_ms / 2 - 100;
		(void)close(fds[i]);
		ck_assert_int_eq(server_stop(servers[i], SIGTERM), 0);
	}
	return in_time;
}

START_TEST(deadlines_go_on_from_their_age)
{
	struct wait wait = wait_begin();

	while (!deadlines_go_on(changes[_i]))
		wait_more(&wait, "deadlines that go on from their age");
}
END_TEST

/* ---- limits ---- */

#define LIMIT 5

static void expect_one_more_is_refused(struct server *server, uint64_t *refused)
{
	int fd = connect_to(server->ports[0]);

	expect_reset_or_end(fd);
	server_wait_stat_is(server, "closed_too_many_per_ip", ++*refused);
	(void)close(fd);
}

START_TEST(addresses_are_counted_where_they_move_to)
{
	struct server *server =
	    CONTROLLED("-w", "1", "--max-connections-per-ip", "5", "echo://127.0.0.1:0");
	uint64_t refused = 0;
	int fds[LIMIT];

	for (unsigned i = 0; i < LIMIT; i++) {
		fds[i] = connect_to(server->ports[0]);
		send_text(fds[i], "in");
		expect_text(fds[i], "in");
	}
	expect_one_more_is_refused(server, &refused);
	for (size_t i = 0; i < 4; i++) {
		ck_assert_uint_eq(server_control_make(server, changes[i % 2]).moved, LIMIT);
		expect_one_more_is_refused(server, &refused);
		/* A client that leaves makes room for another. */
		finish_sending(fds[i]);
		expect_end(fds[i]);
		(void)close(fds[i]);
		server_wait_stat_is(server, "connections", LIMIT - 1);
		fds[i] = connect_to(server->ports[0]);
		send_text(fds[i], "in");
		expect_text(fds[i], "in");
		expect_one_more_is_refused(server, &refused);
	}
	for (unsigned i = 0; i < LIMIT; i++)
		(void)close(fds[i]);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

SUITE("move_edges",
      {"half-closed ones get what they are owed", half_closed_ones_get_what_they_are_owed, 30},
      {"full at both ends", full_at_both_ends, 60},
      {"ends and resets in the middle", ends_and_resets_in_the_middle, 60},
      {"deadlines go on from their age", deadlines_go_on_from_their_age, 30, 2},
      {"addresses are counted where they move to", addresses_are_counted_where_they_move_to, 30})
