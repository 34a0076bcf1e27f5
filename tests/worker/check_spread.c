/*
 * How evenly connections spread over workers, in each accept mode: many at once, one by one that
 * leave again, and one by one that stay.
 *
 * Not tested: the spread over workers that are not equally busy.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/clients/arrivals.h"

#define STORMERS 4

static bool can_spread(const char *test)
{
	struct rlimit limit;

	(void)getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max >= 10100)
		return true;
	suite_skip(test, "the hard limit of descriptors is below 10,100");
	return false;
}

/* With fewer connections than this, even a random spread may come too near to 1.1. */
#define SPREAD_MIN 4000u

static bool is_spread(const struct server *server, const char *mode, const char *what, double most)
{
	double total = 0, busiest = 0, ratio;

	for (unsigned i = 0; i < WORKERS; i++) {
		double accepted = (double)server_worker_stat(server, i, "accepted");

		total += accepted;
		busiest = accepted > busiest ? accepted : busiest;
	}
	ratio = busiest / (total / WORKERS);
	figure(what, mode, ratio, "busiest / mean");
	return ratio <= most;
}

/* Connects n times without a pause, sends nothing, and holds the connections until the pipe
 * ends. */
static _Noreturn void storm(const struct server *server, unsigned n, int end)
{
	char byte;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i = 0; i < n; i++)
		(void)connect_nth(server, i);
	while (read(end, &byte, 1) > 0)
		;
	_exit(0);
}

static bool spread_in_a_storm(const char *mode, unsigned n, double most)
{
	struct server *server = start(mode);
	pid_t stormers[STORMERS];
	bool spread;
	int ends[2];

	n /= STORMERS;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	for (int i = 0; i < STORMERS; i++) {
		stormers[i] = fork();
		ck_assert_int_ge(stormers[i], 0);
		if (stormers[i] == 0) {
			(void)close(ends[1]);
			storm(server, n, ends[0]);
		}
	}
	server_wait_stat_is(server, "connections", n * STORMERS);
	(void)close(ends[1]);
	for (int i = 0; i < STORMERS; i++)
		ck_assert_int_eq(waitpid(stormers[i], NULL, 0), stormers[i]);
	spread = is_spread(server, mode, "spread of a storm", most);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	return spread;
}

/* Connects one at a time; each is served before the next one comes. */
static bool spread_gently(const char *mode, unsigned n, bool hold, double most)
{
	struct server *server = start(mode);
	bool spread;

	for (unsigned i = 0; i < n; i++) {
		int client = connect_nth(server, i);

		send_text(client, "hello");
		expect_text(client, "hello");
		if (!hold)
			(void)close(client);
	}
	server_wait_stat_is(server, "accepted", n);
	spread = is_spread(server, mode,
			   hold ? "spread of those who come one by one and stay"
				: "spread of those who come one by one and leave",
			   most);
	ck_assert_int_eq(server_stop(server, SIGQUIT), 0);
	return spread;
}

static bool spread_gently_and_leave(const char *mode, unsigned n, double most)
{
	return spread_gently(mode, n, false, most);
}

static bool spread_gently_and_stay(const char *mode, unsigned n, double most)
{
	return spread_gently(mode, n, true, most);
}

/* On a busy machine a worker may get no CPU for a while and take fewer connections, so more than
 * one try is allowed. In handoff several workers nearly always have the same, lowest number of
 * connections, and it must not always be the same one that is chosen. (A connection that is about
 * to be closed still counts, which adds some chance; so 1.02 is only for connections that stay.) */
static const struct spread {
	const char *mode;
	bool (*come)(const char *mode, unsigned n, double most);
	double most, most_sanitized; /* with a sanitizer workers are awake for longer at a time */
} spreads[] = {
    {"shared", spread_in_a_storm, 1.5, 1.8},
    {"shared", spread_gently_and_leave, 1.5, 1.5},
    {"shared", spread_gently_and_stay, 1.5, 1.5},
    {"reuseport", spread_in_a_storm, 1.1, 1.1},
    {"reuseport", spread_gently_and_leave, 1.1, 1.1},
    {"handoff", spread_in_a_storm, 1.02, 1.02},
    {"handoff", spread_gently_and_stay, 1.02, 1.02},
    {"handoff", spread_gently_and_leave, 1.2, 1.2},
};

static void spread_of(int i, unsigned n)
{
	const struct spread *spread = &spreads[i];
	double most = suite_sanitized() ? spread->most_sanitized : spread->most;
	struct wait wait = wait_begin();

	if (!can_spread("spread"))
		return;
	while (!spread->come(spread->mode, n, most))
		wait_more(&wait, "an even spread");
}

START_TEST(they_spread)
{
	spread_of(_i, SPREAD_MIN);
}
END_TEST

START_TEST(ten_thousand_spread)
{
	spread_of(_i, (unsigned)suite_volume(10000) > SPREAD_MIN ? 10000 : SPREAD_MIN);
}
END_TEST

#define SPREADS (sizeof spreads / sizeof *spreads)

SUITE("spread", {"they spread", they_spread, 60, SPREADS},
      {"ten thousand spread", ten_thousand_spread, 90, SPREADS, .kind = SUITE_LONG | SUITE_ALONE})
