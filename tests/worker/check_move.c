/*
 * Live connections that move while weir reloads and upgrades: none is closed, no byte is lost,
 * doubled or altered, and no client that connects meanwhile is refused.
 *
 * Load comes from weirload, which checks each byte, and from this process
 * (tests/support/clients/echo_clients.h). Not tested: packets of other machines, which take longer
 * to arrive, and a kernel without memory.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/support/clients/echo_clients.h"
#include "tests/support/server_control.h"
#include "tests/support/clients/load.h"

#define ROUNDS 20

/* ---- very many, each of which waits for a reply ---- */

static void make_rounds(struct server *server, enum server_control what, int rounds,
			const char *name, uint64_t wanted)
{
	uint64_t moved = 0, ms = 0, longest = 0;

	for (int i = 0; i < rounds; i++) {
		struct server_control_change seen = server_control_make(server, what);

		ck_assert_uint_eq(seen.stay, 0);
		ck_assert_uint_ge(seen.moved, wanted);
		moved += seen.moved;
		ms += seen.ms;
		longest = seen.ms > longest ? seen.ms : longest;
	}
	(void)printf("FIGURE %d %s of %llu connections: %llu moves, %llu ms each time, %llu ms at "
		     "most\n",
		     rounds, name, (unsigned long long)wanted, (unsigned long long)moved,
		     (unsigned long long)ms / (unsigned)rounds, (unsigned long long)longest);
}

/* Two messages a second on each connection; or as many as possible: each client sends its next
 * message as soon as it has the reply, so that both CPUs are overloaded. */
static const struct {
	bool paced;
	int rounds; /* of ten thousand */
	const char *reloads, *upgrades;
} loads[] = {
    {true, ROUNDS, "reloads", "upgrades"},
    {false, 3, "reloads, all talking all the time,", "upgrades, all talking all the time,"},
};

static void all_move(int i, unsigned long n, int rounds)
{
	const struct load_setting churn_setting = {.cpu = -1, .name = "churn"};
	struct rlimit limit;
	struct server *server;
	pid_t load, churn;
	const char *to;

	raise_descriptor_limit();
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < n + n / 10) {
		suite_skip("all move", "the limit of descriptors is too low");
		return;
	}
	server = CONTROLLED("-w", "2", "echo://127.0.0.1:0");
	to = load_listener("echo", server->ports[0]);
	load = load_start(&load_plain, (const char *const[]){"-c", load_number((long)n), "-P", "2",
							     "-d", "3000s", "--timeout", "60s", to,
							     loads[i].paced ? "-r" : NULL,
							     load_number(2 * (long)n), NULL});
	server_wait_stat(server, "received_bytes", 64 * n);
	churn =
	    load_start(&churn_setting, (const char *const[]){"-c", "2", "--churn", "-d", "3000s",
							     "--timeout", "60s", to, NULL});
	server_wait_stat(server, "accepted", n + 10);
	make_rounds(server, SERVER_CONTROL_RELOAD, rounds, loads[i].reloads, n);
	make_rounds(server, SERVER_CONTROL_UPGRADE, rounds, loads[i].upgrades, n);
	load_end_well(&load_plain, load);
	load_end_well(&churn_setting, churn);
	server_wait_stat_is(server, "connections", 0);
	server_control_expect_no_loss(server);
	(void)printf("FIGURE meanwhile %llu came and went, none was refused or reset\n",
		     (unsigned long long)server_stat(server, "accepted") - n);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(two_thousand_move)
{
	all_move(_i, suite_volume(2000), 2);
}
END_TEST

START_TEST(ten_thousand_move)
{
	all_move(_i, suite_volume(10000), loads[_i].rounds);
}
END_TEST

/* ---- how long a client waits whose connection is moved ---- */

#define CALLERS	  200
#define PAUSE_US  5000
#define WINDOW_US 50000 /* around a change, and without one */

struct waits {
	uint64_t us[2 * ROUNDS * CALLERS];
	size_t n;
};

static int us_order(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static void waits_take(struct waits *waits, struct echo_clients *clients)
{
	echo_clients_hear_all(clients);
	for (unsigned i = 0; i < clients->n; i++) {
		waits->us[waits->n++] = clients->callers[i].longest_us;
		clients->callers[i].longest_us = 0;
	}
}

static void waits_say(struct waits *waits, const char *when)
{
	qsort(waits->us, waits->n, sizeof *waits->us, us_order);
	(void)printf("FIGURE the longest that a client waited %s, of %zu: p50 %.2f ms, p99 %.2f "
		     "ms, max %.2f ms\n",
		     when, waits->n, (double)waits->us[waits->n / 2] / 1e3,
		     (double)waits->us[waits->n * 99 / 100] / 1e3,
		     (double)waits->us[waits->n - 1] / 1e3);
}

static void measure(struct echo_clients *clients, enum server_control what, const char *when)
{
	static struct waits waits;

	waits.n = 0;
	for (int i = 0; i < ROUNDS; i++) {
		struct wait wait = wait_begin();
		uint64_t until_us = now_us() + WINDOW_US;
		struct server_control_change seen;
		bool done = false;

		server_control_order(clients->server, what);
		while (!done || now_us() < until_us) {
			done = done || server_control_done(clients->server, what, &seen);
			echo_clients_pace(clients, 64, PAUSE_US);
			ck_assert_msg(now_ms() < wait.until_ms, "no end:\n%s",
				      clients->server->log);
		}
		ck_assert_uint_eq(seen.moved, CALLERS);
		waits_take(&waits, clients);
	}
	waits_say(&waits, when);
	(void)fflush(stdout);
}

static void measure_rest(struct echo_clients *clients)
{
	static struct waits waits;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t until_us = now_us() + WINDOW_US;

		while (now_us() < until_us)
			echo_clients_pace(clients, 64, PAUSE_US);
		waits_take(&waits, clients);
	}
	waits_say(&waits, "in 50 ms without a change");
}

START_TEST(a_client_that_moves_waits_a_moment)
{
	struct server *server = CONTROLLED("-w", "2", "echo://127.0.0.1:0");
	struct echo_clients clients;

	echo_clients_open(&clients, server, CALLERS);
	for (unsigned i = 0; i < CALLERS; i++)
		(void)echo_clients_join(&clients, connect_to(server->ports[0]));
	for (uint64_t until_us = now_us() + 100000; now_us() < until_us;)
		echo_clients_pace(&clients, 64, PAUSE_US);
	echo_clients_hear_all(&clients);
	for (unsigned i = 0; i < CALLERS; i++)
		clients.callers[i].longest_us = 0;
	measure_rest(&clients);
	measure(&clients, SERVER_CONTROL_RELOAD, "in 50 ms with a reload");
	measure(&clients, SERVER_CONTROL_UPGRADE, "in 50 ms with an upgrade");
	ck_assert_uint_eq(clients.gone_n, 0);
	echo_clients_close(&clients);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- changes that are not waited for ---- */

static void storm(int mode, unsigned sent)
{
	static const char *const modes[] = {"reuseport", "shared", "handoff"};
	static const int signals[] = {SIGHUP, SIGTTIN, SIGTTOU, SIGHUP};
	struct server *server = SERVER("-w", "2", "-a", modes[mode], "echo://127.0.0.1:0");
	uint64_t seed = (uint64_t)mode + 1;
	struct echo_clients clients;

	echo_clients_open(&clients, server, CALLERS);
	for (unsigned i = 0; i < CALLERS; i++)
		(void)echo_clients_join(&clients, connect_to(server->ports[0]));
	for (unsigned i = 0; i < sent; i++) {
		uint64_t until_us = now_us() + next_random(&seed) % 20000;

		ck_assert_int_eq(kill(server->pid, signals[next_random(&seed) % 4]), 0);
		do
			echo_clients_pace(&clients, 64, PAUSE_US / 5);
		while (now_us() < until_us);
		(void)server_log_has(server, ""); /* so that it does not fill the pipe */
	}
	echo_clients_hear_all(&clients);
	ck_assert_uint_eq(clients.gone_n, 0);
	echo_clients_close(&clients);
	server_wait_stat_is(server, "connections", 0);
	server_control_expect_no_loss(server);
	(void)printf("FIGURE %s: %u signals to reload, for more and for fewer workers, without "
		     "waiting: %llu moves of %d connections\n",
		     modes[mode], sent, (unsigned long long)server_stat(server, "moved_in"),
		     CALLERS);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

START_TEST(a_gust_of_changes)
{
	storm(_i, 20);
}
END_TEST

START_TEST(a_storm_of_changes)
{
	storm(_i, suite_sanitized() ? 20 : 100);
}
END_TEST

SUITE("move", {"two thousand move", two_thousand_move, 60, 2},
      {"ten thousand move", ten_thousand_move, 180, 2, .kind = SUITE_LONG},
      {"a client that moves waits a moment", a_client_that_moves_waits_a_moment, 60,
       .kind = SUITE_LONG | SUITE_ALONE},
      {"a gust of changes", a_gust_of_changes, 60, 3},
      {"a storm of changes", a_storm_of_changes, 60, 3, .kind = SUITE_LONG})
