/*
 * Chat across workers: no line is lost, doubled or out of its sender's order, even if clients stop
 * reading, or workers die or are stopped.
 *
 * All clients are in this process (tests/support/clients/chat_clients.h), which checks each line
 * that comes; the server's counters must agree. Not tested: lines that a killed worker had read
 * and not yet published (their senders were not told that they were taken), and clients on another
 * machine.
 */
#include <linux/sockios.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/pubsub/journal.h"
#include "tests/support/clients/chat_clients.h"

static const char *number(unsigned n)
{
	static char text[4][16];
	static unsigned next;

	(void)snprintf(text[next % 4], sizeof *text, "%u", n);
	return text[next++ % 4];
}

static void expect_stat(const struct server *server, const char *name, uint64_t value)
{
	ck_assert_msg(server_stat(server, name) == value, "%s is %llu, not %llu", name,
		      (unsigned long long)server_stat(server, name), (unsigned long long)value);
}

/* ---- one order ---- */

static uint32_t circles_of(const uint32_t heard[][3], unsigned clients)
{
	struct one_order order = {0};

	for (unsigned i = 0; i < clients; i++)
		for (unsigned k = 1; k < 3; k++)
			ck_assert(one_order_heard(&order, heard[i][k - 1], heard[i][k]));
	return one_order_circles(&order);
}

/* What tells the tests below whether there is one order has to find that there is none. */
START_TEST(one_order_is_told_from_two)
{
	static const uint32_t one[][3] = {{0, 1, 2}, {0, 2, 3}, {1, 2, 3}, {0, 3, 5000}};
	static const uint32_t two[][3] = {{0, 1, 2}, {0, 2, 3}, {3, 1, 4}};

	ck_assert_uint_eq(circles_of(one, 4), 0);
	ck_assert_uint_eq(circles_of(two, 3), 4); /* 1, 2 and 3, and 4 behind them */
}
END_TEST

/* ---- every line to every other client ---- */

/* Sends only so many lines at a time that no worker is left behind, and no client closed, if a
 * worker or this process gets no CPU for long. */
static void say_all(struct chat_clients *clients, unsigned senders, unsigned lines,
		    unsigned at_once)
{
	for (unsigned i = 0; i < lines; i++) {
		(void)chat_clients_say(clients, i % senders);
		(void)chat_clients_listen(clients, 0);
		if (i % at_once == at_once - 1)
			chat_clients_hear_all(clients);
	}
	chat_clients_hear_all(clients);
}

static void all_hear_all(unsigned workers, unsigned clients_n, unsigned lines)
{
	const unsigned senders = 100;
	struct server *server = SERVER("-w", number(workers), "chat://127.0.0.1:0");
	uint64_t heard = 0, expected = (uint64_t)clients_n * lines - lines;
	struct chat_clients clients;

	raise_descriptor_limit();
	chat_clients_open(&clients, server, server->ports[0], clients_n, 64);
	chat_clients_join_all(&clients, clients_n);
	say_all(&clients, senders, lines, 5000);
	for (unsigned i = 0; i < clients_n; i++)
		heard += clients.all[i].heard_n;
	ck_assert_uint_eq(heard, expected);
	ck_assert_uint_eq(clients.gone_n, 0);
	expect_stat(server, "published", lines);
	expect_stat(server, "deliveries", expected);
	expect_stat(server, "left_behind", 0);
	expect_stat(server, "missed", 0);
	(void)printf("FIGURE heard of %u senders by %u clients of %u workers: %llu lines\n",
		     senders, clients_n, workers, (unsigned long long)heard);
	chat_clients_close(&clients);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

static const unsigned workers_of[] = {2, 4, 8};

START_TEST(every_line_reaches_every_other_client)
{
	all_hear_all(workers_of[_i], 400, 1500);
}
END_TEST

START_TEST(every_line_reaches_two_thousand)
{
	all_hear_all(workers_of[_i], 2000, (unsigned)suite_volume(20000));
}
END_TEST

/* ---- readers that do not read ---- */

#define SLOW_CONSUMER (256u << 10)
#define CHUNK	      16384u

/*
 * All clients that do not read are owed the same lines, which are in the worker's memory only once.
 * So for any number of such clients a worker holds
 *
 *     2 * slow-consumer + 3 chunks
 *
 * and for each client a segment of 24 bytes for each chunk; and small change, which is the buffers
 * of clients that read, and a few pages.
 */
static size_t deaf_memory_max(unsigned deaf)
{
	size_t chunks = 2 * SLOW_CONSUMER / CHUNK + 3;

	return chunks * CHUNK + deaf * chunks * 24 + (1u << 20);
}

static size_t memory_growth(struct server *server, const size_t before[2])
{
	size_t most = 0;

	for (unsigned w = 0; w < 2; w++) {
		size_t now = process_memory(server_worker(server, w));

		if (now > before[w] && now - before[w] > most)
			most = now - before[w];
	}
	return most;
}

static void some_do_not_read(unsigned clients_n)
{
	unsigned deaf = clients_n / 10, said = 0;
	struct server *server =
	    SERVER("-w", "2", "--slow-consumer", number(SLOW_CONSUMER), "chat://127.0.0.1:0");
	size_t before[2], most = 0;
	struct chat_clients clients;

	chat_clients_open(&clients, server, server->ports[0], clients_n, 1500);
	chat_clients_join_all(&clients, clients_n);
	/* All have received something. From now on only the clients that do not read need memory.
	 */
	for (unsigned i = 0; i < 50; i++)
		(void)chat_clients_say(&clients, deaf + i % 10);
	chat_clients_hear_all(&clients);
	for (unsigned w = 0; w < 2; w++)
		before[w] = process_memory(server_worker(server, w));
	for (unsigned i = 0; i < deaf; i++) {
		set_buffers(clients.all[i].fd, 0, 1);
		chat_clients_deafen(&clients, i);
	}
	while (server_stat(server, "closed_slow_consumer") < deaf) {
		(void)chat_clients_say(&clients, deaf + said % 10);
		(void)chat_clients_listen(&clients, 0);
		if (++said % 64 == 0) {
			size_t growth = memory_growth(server, before);

			most = growth > most ? growth : most;
			chat_clients_hear_all(
			    &clients); /* clients that read are owed less than the limit */
		}
	}
	chat_clients_hear_all(&clients);
	ck_assert_uint_eq(clients.gone_n, 0); /* those that do not read have not noticed */
	expect_stat(server, "closed_slow_consumer", deaf);
	expect_stat(server, "members_left", deaf);
	expect_stat(server, "connections", clients_n - deaf);
	expect_stat(server, "missed", 0);
	(void)printf(
	    "FIGURE %u of %u did not read: closed after %u lines of 1500 bytes, the others "
	    "missed 0\n",
	    deaf, clients_n, said);
	(void)printf(
	    "FIGURE memory for what they were owed, a worker: at most %zu KiB (bound %zu KiB)\n",
	    most / 1024, deaf_memory_max(deaf) / 1024);
	if (!suite_sanitized())
		ck_assert_uint_le(most, deaf_memory_max(deaf));
	chat_clients_close(&clients);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(a_client_that_does_not_read_is_closed_and_holds_nobody_up)
{
	some_do_not_read(100);
}
END_TEST

START_TEST(fifty_who_do_not_read)
{
	some_do_not_read(500);
}
END_TEST

/* Waits until this client has received so many lines, or one was closed: not all lines of that one
 * may have been sent on. */
static void await_lines(struct chat_clients *clients, unsigned client, uint64_t lines)
{
	struct wait wait = wait_begin();

	while (clients->all[client].heard_n < lines &&
	       !server_stat(clients->server, "closed_slow_consumer")) {
		(void)chat_clients_listen(clients, 1);
		wait_more(&wait, "lines to be heard");
	}
}

/*
 * A client that talks all the time and does not read is owed few lines, which are between its own
 * in the same chunks, ten lines in a chunk. It must not keep all of these chunks from being freed.
 */
START_TEST(a_client_that_talks_and_does_not_read_keeps_little_memory)
{
	struct server *server =
	    SERVER("-w", "1", "--slow-consumer", number(SLOW_CONSUMER), "chat://127.0.0.1:0");
	pid_t worker = server_worker(server, 0);
	size_t before, most = 0;
	struct chat_clients clients;
	uint32_t said = 0;

	chat_clients_open(&clients, server, server->ports[0], 3, 1500);
	chat_clients_join_all(&clients, 3);
	for (unsigned i = 0; i < 3; i++)
		(void)chat_clients_say(&clients, i);
	chat_clients_hear_all(&clients);
	before = process_memory(worker);
	set_buffers(clients.all[0].fd, 0, 1);
	chat_clients_deafen(&clients, 0);
	while (!server_stat(server, "closed_slow_consumer")) {
		if (!chat_clients_say(&clients, said++ % 16 ? 0 : 1))
			break;
		(void)chat_clients_listen(&clients, 0);
		if (said % 64 == 0) {
			size_t now = process_memory(worker);

			if (now > before && now - before > most)
				most = now - before;
			await_lines(&clients, 2, said);
		}
	}
	server_wait_stat_is(server, "closed_slow_consumer", 1);
	(void)printf("FIGURE memory for one that talked and did not read: at most %zu KiB "
		     "(bound %zu KiB), after %u lines\n",
		     most / 1024, deaf_memory_max(1) / 1024, said);
	if (!suite_sanitized())
		ck_assert_uint_le(most, deaf_memory_max(1));
	chat_clients_close(&clients);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- workers that die ---- */

/* Connects a new client for each whose connection has ended. */
static void come_again(struct chat_clients *clients, uint64_t *known_gone)
{
	while (*known_gone < clients->gone_n) {
		unsigned again = chat_clients_join(clients);

		++*known_gone;
		/* It speaks at once. */
		(void)chat_clients_say(clients, again);
	}
}

static void talk_beside_deaths(unsigned kills, unsigned pause_ms)
{
	unsigned clients_n = 200;
	struct server *server = SERVER("-w", "4", "--accept", "handoff", "chat://127.0.0.1:0");
	uint64_t next_ms, gone = 0, said = 0, seed = 4;
	struct chat_clients clients;
	unsigned survivors = 0;
	pid_t victims[2] = {0};

	raise_descriptor_limit();
	chat_clients_open(&clients, server, server->ports[0], clients_n + (kills + 1) * clients_n,
			  64);
	chat_clients_join_all(&clients, clients_n);
	next_ms = now_ms() + pause_ms;
	for (unsigned killed = 0; killed < kills;) {
		for (unsigned i = 0; i < 4; i++) {
			unsigned speaker = (unsigned)next_random(&seed) % clients.n;

			while (clients.all[speaker].gone)
				speaker = (speaker + 1) % clients.n;
			if (chat_clients_say(&clients, speaker) && ++said % 2048 == 0)
				chat_clients_hear_all(
				    &clients); /* no worker may be far behind for long */
		}
		(void)chat_clients_listen(&clients, 1);
		come_again(&clients, &gone);
		if (now_ms() < next_ms)
			continue;
		/* Workers 0 and 1 in turn, so that clients of 2 and 3 survive. */
		pid_t *victim = &victims[killed % 2];

		*victim = server_wait_worker(server, killed % 2, *victim);
		ck_assert_int_eq(kill(*victim, SIGKILL), 0);
		killed++;
		next_ms = now_ms() + pause_ms;
	}
	for (unsigned i = 0; i < 2;
	     i++) /* then the master has counted the connections that were lost */
		(void)server_wait_worker(server, i, victims[i]);
	chat_clients_hear_all(&clients);
	for (struct wait wait = wait_begin();
	     clients.gone_n < server_stat(server, "closed_worker_died");) {
		(void)chat_clients_listen(&clients, 1);
		wait_more(&wait, "clients of a dead worker to notice");
	}
	gone = clients.gone_n;
	chat_clients_hear_all(&clients);
	for (unsigned i = 0; i < clients_n; i++)
		survivors += !clients.all[i].gone;
	(void)printf("FIGURE %u kills, %llu lines said: %u of %u clients stayed, %llu came again\n",
		     kills, (unsigned long long)said, survivors, clients_n,
		     (unsigned long long)gone);
	ck_assert_uint_ge(survivors, clients_n / 3);
	ck_assert_uint_gt(gone, kills);
	expect_stat(server, "missed", 0);
	expect_stat(server, "closed_worker_died", gone);
	chat_clients_close(&clients);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(a_dying_worker_takes_nobody_elses_lines_along)
{
	talk_beside_deaths(4, 300);
}
END_TEST

START_TEST(twenty_dying_workers)
{
	talk_beside_deaths(suite_sanitized() ? 4 : 20, 1000);
}
END_TEST

/* ---- a worker that is stopped ---- */

/* How many lines of others this client has not received. */
static uint64_t missed_by(const struct chat_clients *clients, unsigned client)
{
	uint64_t said = 0;

	for (unsigned i = 0; i < clients->n; i++)
		said += i == client ? 0 : clients->all[i].said;
	return said - clients->all[client].heard_n;
}

/* Waits until all lines are in the journal. */
static void await_published(struct chat_clients *clients)
{
	struct wait wait = wait_begin();
	uint64_t said = 0;

	for (unsigned i = 0; i < clients->n; i++)
		said += clients->all[i].said;
	while (server_stat(clients->server, "published") < said) {
		if (chat_clients_listen(clients, 1))
			wait = wait_begin();
		wait_more(&wait, "all lines to be published");
	}
}

/* Says a line. Returns how long this took. */
static uint64_t held_ms(struct chat_clients *clients, unsigned client)
{
	uint64_t from_ms = now_ms();

	(void)chat_clients_say(clients, client);
	(void)chat_clients_listen(clients, 0);
	return now_ms() - from_ms;
}

START_TEST(a_stopped_worker_is_left_behind_and_counts_what_it_missed)
{
	unsigned clients_n = 20, left = 0;
	struct server *server = SERVER("-w", "2", "--accept", "handoff", "--slow-consumer", "16M",
				       "--watchdog", "0", "--history", "1M", "chat://127.0.0.1:0");
	uint64_t longest_ms = 0, after_ms = 0, missed;
	pid_t stopped = server_wait_worker(server, 1, 0);
	struct chat_clients clients;
	unsigned speaker;

	chat_clients_open(&clients, server, server->ports[0], clients_n, 1500);
	do
		speaker = chat_clients_join(&clients);
	while (!server_worker_stat(server, 0, "members_joined"));
	chat_clients_join_all(&clients, clients_n - clients.n);
	clients.gaps_allowed = true;
	process_stop(stopped);
	while (!server_stat(server, "left_behind")) {
		uint64_t ms = held_ms(&clients, speaker);

		longest_ms = ms > longest_ms ? ms : longest_ms;
	}
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t ms = held_ms(&clients, speaker);

		after_ms = ms > after_ms ? ms : after_ms;
	}
	await_published(&clients);
	ck_assert_int_eq(kill(stopped, SIGCONT), 0);
	for (unsigned i = 0; i < clients_n; i++)
		(void)chat_clients_say(&clients, i); /* all clients take part again */
	chat_clients_hear_all(&clients);
	missed = server_stat(server, "missed");
	ck_assert_uint_gt(missed, 0);
	ck_assert_uint_eq(server_worker_stat(server, 0, "missed"), 0);
	for (unsigned i = 0; i < clients_n; i++) {
		uint64_t by_client = missed_by(&clients, i);

		ck_assert_msg(by_client == 0 || by_client == missed,
			      "client %u missed %llu lines, its worker counted %llu", i,
			      (unsigned long long)by_client, (unsigned long long)missed);
		left += by_client != 0;
	}
	ck_assert_uint_gt(left, 0);
	ck_assert_uint_eq(left, server_worker_stat(server, 1, "connections"));
	(void)printf(
	    "FIGURE a stopped worker: held a sender up for %llu ms once (rule: at most %u), "
	    "then %llu ms; missed and counted: %llu lines\n",
	    (unsigned long long)longest_ms, JOURNAL_READER_MS, (unsigned long long)after_ms,
	    (unsigned long long)missed);
	chat_clients_close(&clients);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* True: the stop was short enough that the worker was not left behind. When it goes on, its clients
 * are owed a quarter of the history at once. The limit is
 * higher here, so that it does not matter how fast this process reads. */
static bool stop_for_a_moment(void)
{
	unsigned clients_n = 20;
	struct server *server = SERVER("-w", "2", "--accept", "handoff", "--slow-consumer", "16M",
				       "--history", "1M", "chat://127.0.0.1:0");
	pid_t stopped = server_wait_worker(server, 1, 0);
	struct chat_clients clients;
	bool nobody_left;

	chat_clients_open(&clients, server, server->ports[0], clients_n, 1500);
	chat_clients_join_all(&clients, clients_n);
	clients.gaps_allowed = true;
	ck_assert_int_eq(kill(stopped, SIGSTOP), 0);
	while (!server_stat(server, "publish_waits")) {
		for (unsigned i = 0; i < clients_n; i++)
			if (clients.all[i].said <= clients.all[(i + 1) % clients_n].said + 10)
				(void)chat_clients_say(&clients, i);
		(void)chat_clients_listen(&clients, 0);
	}
	ck_assert_int_eq(kill(stopped, SIGCONT), 0);
	for (unsigned i = 0; i < 2000; i++)
		(void)held_ms(&clients, i % clients_n);
	await_published(&clients);
	nobody_left = server_stat(server, "left_behind") == 0;
	if (nobody_left)
		chat_clients_hear_all(&clients);
	ck_assert_msg(
	    clients.gone_n == 0, "%zu were closed; as slow consumers: %llu, for buffers: %llu",
	    (size_t)clients.gone_n, (unsigned long long)server_stat(server, "closed_slow_consumer"),
	    (unsigned long long)server_stat(server, "closed_no_buffers"));
	for (unsigned i = 0; nobody_left && i < clients_n; i++)
		ck_assert_uint_eq(missed_by(&clients, i), 0);
	if (nobody_left)
		ck_assert_uint_eq(server_stat(server, "missed"), 0);
	chat_clients_close(&clients);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	return nobody_left;
}

START_TEST(a_slow_worker_holds_senders_back_and_loses_nothing)
{
	struct wait wait = wait_begin();

	while (!stop_for_a_moment())
		wait_more(&wait, "this process not to be held up for a second itself");
}
END_TEST

/* ---- the end ---- */

START_TEST(a_graceful_stop_delivers_what_had_come)
{
	unsigned clients_n = 20, workers = 2 + 2 * (unsigned)_i;
	struct server *server = SERVER("-w", number(workers), "chat://127.0.0.1:0");
	struct chat_clients clients;

	chat_clients_open(&clients, server, server->ports[0], clients_n, 64);
	chat_clients_join_all(&clients, clients_n);
	for (unsigned w = 0; w < workers; w++)
		ck_assert_int_eq(kill(server_worker(server, w), SIGSTOP), 0);
	for (unsigned i = 0; i < 200 * clients_n; i++)
		(void)chat_clients_say(&clients, i % clients_n);
	for (unsigned i = 0; i < clients_n; i++) {
		struct wait wait = wait_begin();
		int unsent = 1;

		while (ioctl(clients.all[i].fd, SIOCOUTQ, &unsent) == 0 && unsent)
			wait_more(&wait, "the server's side to have all");
	}
	ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
	for (unsigned w = 0; w < workers; w++)
		ck_assert_int_eq(kill(server_worker(server, w), SIGCONT), 0);
	for (struct wait wait = wait_begin(); clients.gone_n < clients_n;) {
		(void)chat_clients_listen(&clients, 1);
		wait_more(&wait, "all connections to end");
	}
	for (unsigned i = 0; i < clients_n; i++)
		ck_assert_uint_eq(missed_by(&clients, i), 0);
	chat_clients_close(&clients);
	ck_assert_int_eq(server_wait_exit(server), 0);
}
END_TEST

SUITE("chat", {"one order is told from two", one_order_is_told_from_two, 10},
      {"every line reaches every other client", every_line_reaches_every_other_client, 30, 3},
      {"every line reaches two thousand", every_line_reaches_two_thousand, 120, 3,
       .kind = SUITE_LONG},
      {"a client that does not read is closed and holds nobody up",
       a_client_that_does_not_read_is_closed_and_holds_nobody_up, 60},
      {"fifty who do not read", fifty_who_do_not_read, 60, .kind = SUITE_LONG},
      {"a client that talks and does not read keeps little memory",
       a_client_that_talks_and_does_not_read_keeps_little_memory, 60},
      {"a dying worker takes nobody else's lines along",
       a_dying_worker_takes_nobody_elses_lines_along, 30},
      {"twenty dying workers", twenty_dying_workers, 90, .kind = SUITE_LONG},
      {"a stopped worker is left behind and counts what it missed",
       a_stopped_worker_is_left_behind_and_counts_what_it_missed, 60},
      {"a slow worker holds senders back and loses nothing",
       a_slow_worker_holds_senders_back_and_loses_nothing, 60},
      {"a graceful stop delivers what had come", a_graceful_stop_delivers_what_had_come, 30, 2})
