/*
 * Room is reserved for connections that were promised it: while a server changes, connected clients
 * move, and waiting ones still wait, in every accept mode and for every limit (connections,
 * addresses, memory). And every promise ends, also if the sender dies or stands still.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/server_control.h"
#include "protocol/protocol.h"
#include "worker/migration/migration_parts.h"

#define WORKERS 2
#define ROOM	10 /* of each */
#define LIVE	(WORKERS * ROOM)
#define GUESTS	60 /* so many that with reuseport, too, each worker gets more than it can take */

struct guests {
	struct server *server;
	int fds[GUESTS];
	bool live[GUESTS];
	size_t n, live_n;
};

static const char *const modes[] = {"reuseport", "shared", "handoff"};

static const char *configure(const char *mode, const char *more)
{
	char text[600];

	(void)snprintf(text, sizeof text, "accept = %s\n%s\nlisten = echo://127.0.0.1:0\n", mode,
		       more);
	return write_file("promise.conf", text);
}

static void guests_come(struct guests *guests, size_t n)
{
	while (n--) {
		int fd = connect_to(guests->server->ports[0]);

		send_text(fd, "hello");
		guests->fds[guests->n++] = fd;
	}
}

/* Looks who has been answered, and so is connected. No guest may have been ended. */
static void guests_look(struct guests *guests)
{
	for (size_t i = 0; i < guests->n; i++) {
		struct pollfd readable = {.fd = guests->fds[i], .events = POLLIN};

		if (guests->live[i] || poll(&readable, 1, 0) != 1)
			continue;
		expect_text(guests->fds[i], "hello");
		guests->live[i] = true;
		guests->live_n++;
	}
}

static void guests_wait(struct guests *guests, size_t live_n)
{
	struct wait wait = wait_begin();

	while (guests_look(guests), guests->live_n < live_n)
		wait_more(&wait, "as many to be served as there is room for");
	ck_assert_uint_eq(guests->live_n, live_n);
}

/* The same guests are still connected, and no others. */
static void guests_are_the_same(struct guests *guests)
{
	size_t live_n = guests->live_n;

	for (size_t i = 0; i < guests->n; i++)
		if (guests->live[i]) {
			send_text(guests->fds[i], "still here");
			expect_text(guests->fds[i], "still here");
		}
	guests_look(guests);
	ck_assert_uint_eq(guests->live_n, live_n);
	ck_assert_uint_eq(server_stat(guests->server, "connections"), live_n);
}

static void guest_leave(struct guests *guests, size_t i)
{
	(void)close(guests->fds[i]);
	guests->fds[i] = guests->fds[guests->n - 1];
	guests->live_n -= guests->live[i];
	guests->live[i] = guests->live[--guests->n];
	guests->live[guests->n] = false;
}

/* Connected guests leave, which makes room for those that wait, until all were served. */
static void guests_take_turns(struct guests *guests)
{
	struct wait wait = wait_begin();

	while (guests->n) {
		guests_look(guests);
		for (size_t i = 0; i < guests->n;)
			if (guests->live[i])
				guest_leave(guests, i);
			else
				i++;
		wait_more(&wait, "those who waited to be served");
	}
	server_wait_stat_is(guests->server, "connections", 0);
}

/* ---- connections ---- */

START_TEST(who_waits_goes_on_waiting)
{
	static const enum server_control changes[] = {SERVER_CONTROL_RELOAD, SERVER_CONTROL_UPGRADE,
						      SERVER_CONTROL_RELOAD};
	struct guests guests = {0};

	guests.server = CONTROLLED("-c", configure(modes[_i], "workers = 2\nmax-connections = 10"));
	guests_come(&guests, GUESTS);
	guests_wait(&guests, LIVE);
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
		struct server_control_change seen = server_control_make(guests.server, changes[i]);

		ck_assert_msg(seen.moved == LIVE && !seen.stay, "%llu moved, %llu stay:\n%s",
			      (unsigned long long)seen.moved, (unsigned long long)seen.stay,
			      guests.server->log);
		guests_are_the_same(&guests);
	}
	guests_take_turns(&guests);
	server_control_expect_no_loss(guests.server);
	ck_assert_int_eq(server_stop(guests.server, SIGTERM), 0);
}
END_TEST

/* With fewer workers and a smaller limit: the limit is only for new clients. */
START_TEST(who_lives_has_room_beyond_a_smaller_limit)
{
	struct guests guests = {0};
	struct server_control_change seen;

	guests.server = CONTROLLED("-c", configure(modes[_i], "workers = 2\nmax-connections = 10"));
	guests_come(&guests, GUESTS);
	guests_wait(&guests, LIVE);
	seen = server_control_make(guests.server, SERVER_CONTROL_FEWER);
	ck_assert_uint_eq(seen.stay, 0);
	guests_are_the_same(&guests);
	(void)configure(modes[_i], "workers = 1\nmax-connections = 3");
	seen = server_control_make(guests.server, SERVER_CONTROL_RELOAD);
	ck_assert_uint_eq(seen.stay, 0);
	ck_assert_uint_ge(seen.moved, LIVE);
	guests_are_the_same(&guests);
	/* No new client is accepted before there are fewer than the limit. */
	for (size_t i = 0; guests.live_n > 3;)
		if (guests.live[i])
			guest_leave(&guests, i);
		else
			i++;
	server_wait_stat_is(guests.server, "connections", 3);
	guests_are_the_same(&guests);
	guests_take_turns(&guests);
	ck_assert_int_eq(server_stop(guests.server, SIGTERM), 0);
}
END_TEST

/* A full server turns newcomers away before, during and after a change; those that are served
 * move. */
START_TEST(who_is_refused_takes_no_room)
{
	struct guests guests = {0};
	struct server_control_change seen;
	uint64_t refused = 0;

	guests.server = CONTROLLED(
	    "-c", configure(modes[_i], "workers = 1\nmax-connections = 10\noverload = reject"));
	guests_come(&guests, ROOM);
	guests_wait(&guests, ROOM);
	for (int round = 0; round < 2; round++) {
		server_control_order(guests.server,
				     round ? SERVER_CONTROL_UPGRADE : SERVER_CONTROL_RELOAD);
		while (!server_control_done(
		    guests.server, round ? SERVER_CONTROL_UPGRADE : SERVER_CONTROL_RELOAD, &seen)) {
			int fd = connect_to(guests.server->ports[0]);

			expect_reset_or_end(fd);
			(void)close(fd);
			refused++;
		}
		ck_assert_uint_eq(seen.moved, ROOM);
		ck_assert_uint_eq(seen.stay, 0);
		guests_are_the_same(&guests);
	}
	ck_assert_uint_gt(refused, 0);
	if (_i < 2) /* in the third mode the master counts them */
		ck_assert_uint_eq(server_stat(guests.server, "closed_overload"), refused);
	guests_take_turns(&guests);
	ck_assert_int_eq(server_stop(guests.server, SIGTERM), 0);
}
END_TEST

/* ---- memory ---- */

#define MEMBERS	  30 /* each has begun a line that fills one of 64 chunks */
#define OTHERS	  70 /* more than there is room for */
#define LINE_PART 16000
#define KEPT_MS	  4000 /* a bit less than a promise lasts if its sender says no more */
#define SWEPT_MS  250  /* after this, a client that holds chunks without progress may be closed */

static void begin_line(int fd)
{
	static const char part[LINE_PART] = {[0 ... LINE_PART - 1] = 'x'};

	send_all(fd, part, sizeof part);
}

static void members_go_on(const int fds[MEMBERS])
{
	for (int i = 0; i < MEMBERS; i++) {
		char back[LINE_PART + 1];

		send_text(fds[i], "\n");
		receive_exactly(fds[i], back, sizeof back);
	}
}

/* New clients begin as many lines as they can before the first connection has moved. False: this
 * took longer than promises last, so that the rest of the test would show nothing. */
static bool memory_is_kept(void)
{
	struct server *server = CONTROLLED("-w", "1", "--buffers", "1M", "--request-timeout", "0",
					   "--watchdog", "0", "line://127.0.0.1:0");
	int fds[MEMBERS], others[OTHERS];
	struct server_control_change seen;
	uint64_t begun_ms;
	struct wait wait;
	pid_t sender;
	bool kept, in_time;

	begun_ms = now_ms();
	for (int i = 0; i < MEMBERS; i++)
		begin_line(fds[i] = connect_to(server->ports[0]));
	server_wait_stat(server, "received_bytes", MEMBERS * LINE_PART);
	sender = server_wait_worker(server, 0, 0);
	process_stop(sender);
	server_control_order(server, SERVER_CONTROL_RELOAD);
	server_wait_stat(server, "connections_promised", MEMBERS);
	for (int i = 0; i < OTHERS; i++)
		begin_line(others[i] = connect_to(server->ports[0]));
	server_wait_stat(server, "buffer_waits", 1);
	kept = now_ms() - begun_ms < KEPT_MS;
	ck_assert_int_eq(kill(sender, SIGCONT), 0);
	wait = wait_begin();
	while (!server_control_done(server, SERVER_CONTROL_RELOAD, &seen))
		wait_more(&wait, "the reload");
	ck_assert_msg(!kept || (seen.moved == MEMBERS && !seen.stay), "%llu moved:\n%s",
		      (unsigned long long)seen.moved, server->log);
	for (int i = 0; i < OTHERS; i++) /* now the connections that moved may go on */
		reset(others[i]);
	for (wait = wait_begin(); server_stat(server, "connections") > MEMBERS;)
		wait_more(&wait, "the newcomers to go");
	in_time = now_ms() - begun_ms < SWEPT_MS;
	if (in_time)
		members_go_on(fds);
	for (int i = 0; i < MEMBERS; i++)
		(void)close(fds[i]);
	server_wait_stat_is(server, "connections", 0);
	if (in_time)
		ck_assert_uint_eq(server_stat(server, "closed_no_buffers"), 0);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	return in_time;
}

START_TEST(memory_is_kept_for_what_moves)
{
	for (int tries = 0; tries < 5 && !memory_is_kept(); tries++)
		;
}
END_TEST

/* ---- descriptors ---- */

#define NOFILE	  700
#define LISTENERS 60

/* Clients connect until they have all the descriptors that they may have. Those that a move needs
 * are kept free. */
START_TEST(descriptors_suffice_for_a_move)
{
	static const enum server_control changes[] = {SERVER_CONTROL_RELOAD,
						      SERVER_CONTROL_UPGRADE};
	struct rlimit limit = {NOFILE, NOFILE};
	char text[LISTENERS * 32 + 100] = "workers = 1\noverload = reject\n";
	int fds[NOFILE];
	size_t n = 0;
	struct server *server;
	struct wait wait;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int i = 0; i < LISTENERS; i++)
		(void)strcat(text, "listen = echo://127.0.0.1:0\n");
	server = CONTROLLED("-c", write_file("promise.conf", text));
	while (n < server_stat(server, "connections_capacity")) {
		fds[n] = connect_to(server->ports[n % LISTENERS]);
		n++;
	}
	for (wait = wait_begin(); server_stat(server, "connections") < n;)
		wait_more(&wait, "all to be let in");
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
		struct server_control_change seen = server_control_make(server, changes[i]);

		ck_assert_msg(seen.moved == n && !seen.stay, "%llu of %zu moved:\n%s",
			      (unsigned long long)seen.moved, n, server->log);
	}
	for (size_t i = 0; i < n; i++) {
		send_text(fds[i], "still here");
		expect_text(fds[i], "still here");
		(void)close(fds[i]);
	}
	(void)printf("FIGURE %zu connections and %d listeners of one worker, in %d descriptors, "
		     "moved twice\n",
		     n, LISTENERS, NOFILE);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- senders that stand still, or die ---- */

/* One address has as many connections as it may have, and no other is accepted before they have
 * moved. False: the move took longer than the promise lasts. */
static bool an_address_has_its_share(int mode)
{
	struct guests guests = {0};
	struct server_control_change seen;
	uint64_t begun_ms;
	struct wait wait;
	pid_t sender;
	bool kept;
	int fd;

	guests.server = CONTROLLED(
	    "-c", configure(modes[mode], "workers = 1\nmax-connections-per-ip = 5\nwatchdog = 0"));
	guests_come(&guests, 5);
	guests_wait(&guests, 5);
	sender = server_wait_worker(guests.server, 0, 0);
	process_stop(sender);
	server_control_order(guests.server, SERVER_CONTROL_RELOAD);
	begun_ms = now_ms();
	server_wait_stat(guests.server, "connections_promised", 5);
	fd = connect_to(guests.server->ports[0]);
	if (mode < 2)
		server_wait_stat(guests.server, "accept_pauses", 1);
	ck_assert_int_eq(kill(sender, SIGCONT), 0);
	wait = wait_begin();
	while (!server_control_done(guests.server, SERVER_CONTROL_RELOAD, &seen))
		wait_more(&wait, "the reload");
	kept = now_ms() - begun_ms < KEPT_MS;
	if (!kept) {
		ck_assert_int_eq(server_stop(guests.server, SIGTERM), 0);
		return false;
	}
	ck_assert_uint_eq(seen.moved, 5);
	expect_reset_or_end(fd);
	(void)close(fd);
	server_wait_stat_is(guests.server, "closed_too_many_per_ip", 1);
	guests_are_the_same(&guests);
	guests_take_turns(&guests);
	ck_assert_int_eq(server_stop(guests.server, SIGTERM), 0);
	return true;
}

START_TEST(an_address_has_no_more_than_its_share)
{
	for (int tries = 0; tries < 5 && !an_address_has_its_share(_i); tries++)
		;
}
END_TEST

START_TEST(a_sender_that_dies_promises_nothing)
{
	struct guests guests = {0};
	pid_t sender;

	guests.server = CONTROLLED("-c", configure(modes[_i], "workers = 1\nmax-connections = 10"));
	guests_come(&guests, 2 * ROOM);
	guests_wait(&guests, ROOM);
	sender = server_wait_worker(guests.server, 0, 0);
	process_stop(sender);
	server_control_order(guests.server, SERVER_CONTROL_RELOAD);
	server_wait_stat(guests.server, "connections_promised", ROOM);
	ck_assert_int_eq(kill(sender, SIGKILL), 0);
	for (size_t i = 0; i < guests.n;) /* it had them */
		if (guests.live[i])
			guest_leave(&guests, i);
		else
			i++;
	guests_wait(&guests, ROOM);
	server_wait_stat_is(guests.server, "connections_promised", 0);
	guests_take_turns(&guests);
	ck_assert_int_eq(server_stop(guests.server, SIGTERM), 0);
}
END_TEST

/* ---- a receiver alone ---- */

static struct {
	struct loop loop;
	struct stats stats;
	struct conn_table table;
	struct service service;
	struct migration migration;
	struct move_channel *channel;
	int sender;
} receiver;

static void receiver_open(struct conn_promise expected)
{
	static const struct move_owner owner;
	struct conn_limits limits = {.high_water = 1 << 16,
				     .low_water = 1 << 14,
				     .connections_max = 1000,
				     .connections_capacity = 4000};
	struct service *services[] = {&receiver.service};
	int pair[2];

	ck_assert_int_eq(loop_open(&receiver.loop, &receiver.stats, 0), 0);
	ck_assert_int_eq(conn_table_open(&receiver.table, &receiver.loop, &limits, BUFFERS_MIN), 0);
	receiver.service =
	    (struct service){.protocol = protocol_find("echo"), .table = &receiver.table};
	migration_open(&receiver.migration, &receiver.table, 0, &owner);
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	receiver.sender = pair[0];
	migrate_in(&receiver.migration, pair[1], services, 1, expected);
	receiver.channel = receiver.migration.channels[0];
	ck_assert_ptr_nonnull(receiver.channel);
}

static void receiver_later(uint32_t ms)
{
	receiver.loop.now_ms += ms;
	receiver.channel->end.source.ready = SOURCE_DUE;
	receiver.channel->end.source.turn(&receiver.loop, &receiver.channel->end.source);
}

static void sender_says(uint32_t connections, uint64_t chunks)
{
	struct promise_message message = {
	    .kind = MOVE_PROMISE, .connections = connections, .chunks = chunks};

	ck_assert_int_eq(send(receiver.sender, &message, sizeof message, 0), sizeof message);
	receiver.channel->end.source.turn(&receiver.loop, &receiver.channel->end.source);
}

static void expect_room(size_t connections, size_t chunks_promised, bool undecided)
{
	ck_assert_uint_eq(conn_table_room(&receiver.table), connections);
	ck_assert_uint_eq(receiver.table.promised.chunks, chunks_promised);
	ck_assert(migration_is_undecided(&receiver.migration) == undecided);
}

static void sender_goes(void)
{
	ck_assert_int_eq(close(receiver.sender), 0);
	receiver.channel->end.source.turn(&receiver.loop, &receiver.channel->end.source);
	ck_assert(!seqpacket_is_open(&receiver.channel->end));
}

START_TEST(a_promise_ends)
{
	receiver_open((struct conn_promise){100, 8});
	/* Until the sender has said how many it has, room is kept for more of them; after a while,
	 * for as many as the master said. */
	expect_room(1000 - 100 - 256, 16, true);
	receiver_later(500);
	expect_room(1000 - 100 - 256, 16, true);
	receiver_later(500);
	expect_room(1000 - 100, 16, false);
	receiver_later(4999);
	expect_room(1000 - 100, 16, false);
	receiver_later(1);
	expect_room(1000, 0, false);
	/* The sender wakes up. What it says counts, up to all there is, and for a time only. */
	sender_says(300, 4);
	expect_room(700, 4, false);
	sender_says(UINT32_MAX, UINT64_MAX);
	expect_room(0, 64, false);
	for (int i = 0; i < 6; i++) {
		receiver_later(4000);
		sender_says(7, 1);
	}
	expect_room(1000, 0, false);
	sender_says(7, 1);
	expect_room(1000, 0, false);
	sender_goes();
}
END_TEST

START_TEST(a_lane_that_ends_ends_its_promise)
{
	receiver_open((struct conn_promise){100, 8});
	if (_i)
		sender_says(20, 3);
	sender_goes();
	expect_room(1000, 0, false);
}
END_TEST

START_TEST(who_ends_waits_for_nobody)
{
	receiver_open((struct conn_promise){100, 8});
	migration_close(&receiver.migration);
	expect_room(1000, 0, false);
	sender_says(20, 3);
	expect_room(1000, 0, false);
	sender_goes();
}
END_TEST

SUITE("promise", {"who waits goes on waiting", who_waits_goes_on_waiting, 30, 3},
      {"who lives has room beyond a smaller limit", who_lives_has_room_beyond_a_smaller_limit, 30,
       3},
      {"who is refused takes no room", who_is_refused_takes_no_room, 30, 3},
      {"memory is kept for what moves", memory_is_kept_for_what_moves, 30},
      {"descriptors suffice for a move", descriptors_suffice_for_a_move, 30},
      {"an address has no more than its share", an_address_has_no_more_than_its_share, 30, 3},
      {"a sender that dies promises nothing", a_sender_that_dies_promises_nothing, 30, 3},
      {"a promise ends", a_promise_ends, 10},
      {"a channel that ends ends its promise", a_lane_that_ends_ends_its_promise, 10, 2},
      {"who ends waits for nobody", who_ends_waits_for_nobody, 10})
