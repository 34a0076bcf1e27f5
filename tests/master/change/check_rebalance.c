/*
 * Workers come and go, and connections in use are spread evenly again: none is closed, no byte is
 * wrong, no client that connects meanwhile is refused, and afterwards all workers hold about the
 * same number.
 *
 * Load comes from weirload, which checks each byte.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/support/server_control.h"
#include "tests/support/clients/load.h"

#define WORKERS	     4
#define FEW	     2000
#define MANY	     10000
#define RATE	     "10000"
#define BUSIEST_MOST 1.02 /* times the mean, */
#define COME_AND_GO  8	  /* plus connections that have just come or gone */

struct scene {
	struct server *server;
	unsigned long n;
	pid_t load, churn;
};

static const struct load_setting churn_setting = {.cpu = -1, .name = "churn"};

/* False: there are not enough descriptors for one worker to hold them. */
static bool enough_descriptors(unsigned long n, const char *test)
{
	struct rlimit limit;
	char reason[64];

	raise_descriptor_limit();
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= n + n / 10)
		return true;
	(void)snprintf(reason, sizeof reason, "the limit of descriptors is below %lu", n + n / 10);
	suite_skip(test, reason);
	return false;
}

/* Waits as long as the number of connections grows. */
static void wait_connections(const struct scene *scene)
{
	struct wait wait = wait_begin();
	uint64_t before = 0, now;

	for (; (now = server_stat(scene->server, "connections")) != scene->n; before = now) {
		if (now != before)
			wait = wait_begin();
		wait_more(&wait, "all to be connected");
	}
}

/* Connects all clients; each of them sends and receives. */
static void fill(struct scene *scene)
{
	const char *to = load_listener("echo", scene->server->ports[0]);
	uint64_t received = 64 * scene->n / 10;

	scene->load = load_start(
	    &load_plain, (const char *const[]){"-c", load_number((long)scene->n), "-P", "2", "-d",
					       "1h", "--timeout", "5m", "-r", RATE, to, NULL});
	wait_connections(scene);
	server_wait_stat(scene->server, "received_bytes", received);
}

static void begin_churn(struct scene *scene)
{
	const char *to = load_listener("echo", scene->server->ports[0]);

	scene->churn =
	    load_start(&churn_setting, (const char *const[]){"-c", "1", "--churn", "-d", "1h",
							     "--timeout", "5m", to, NULL});
	server_wait_stat(scene->server, "accepted", scene->n + 1);
}

static void end_load(struct scene *scene, const struct load_setting *setting, pid_t pid)
{
	bool well = load_ended_well(setting, pid);

	ck_assert_msg(well, "%s%s", load_said_of(setting),
		      server_control_close_counts(scene->server));
}

static void end_all(struct scene *scene)
{
	if (scene->churn)
		end_load(scene, &churn_setting, scene->churn);
	end_load(scene, &load_plain, scene->load);
	server_wait_stat_is(scene->server, "connections", 0);
	server_control_expect_no_loss(scene->server);
	ck_assert_int_eq(server_stop(scene->server, SIGTERM), 0);
}

struct spread {
	uint64_t most, all;
	double busiest; /* the most, divided by the mean */
};

/* How connections are spread over these workers, which must have all of them. */
static struct spread look(const struct scene *scene, unsigned workers)
{
	struct spread spread = {0};

	for (unsigned i = 0; i < workers; i++) {
		uint64_t held = server_worker_stat(scene->server, i, "connections");

		spread.all += held;
		spread.most = held > spread.most ? held : spread.most;
	}
	ck_assert_uint_ge(spread.all, scene->n);
	spread.busiest = (double)spread.most * workers / (double)spread.all;
	return spread;
}

static void expect_even(struct scene *scene, struct spread spread, unsigned workers)
{
	double mean = (double)spread.all / workers;

	ck_assert_msg((double)spread.most <= mean * BUSIEST_MOST + COME_AND_GO,
		      "one of %u workers holds %llu of %llu\n%s", workers,
		      (unsigned long long)spread.most, (unsigned long long)spread.all,
		      server_control_close_counts(scene->server));
}

/* ---- all at one worker ---- */

static void even_out(unsigned long n)
{
	struct scene scene = {.n = n};
	struct spread before, after;
	struct server_control_change seen;
	pid_t idle[WORKERS];

	if (!enough_descriptors(scene.n, "all are at one worker"))
		return;
	scene.server =
	    CONTROLLED("-w", "4", "-a", "shared", "--watchdog", "0", "echo://127.0.0.1:0");
	for (unsigned i = 1; i < WORKERS; i++) {
		idle[i] = server_wait_worker(scene.server, i, 0);
		process_stop(idle[i]);
	}
	fill(&scene);
	for (unsigned i = 1; i < WORKERS; i++)
		ck_assert_int_eq(kill(idle[i], SIGCONT), 0);
	before = look(&scene, WORKERS);
	ck_assert_uint_eq(before.most, scene.n);
	seen = server_control_make(scene.server, SERVER_CONTROL_REBALANCE);
	after = look(&scene, WORKERS);
	(void)printf("FIGURE %lu connections at one of %d workers: %llu moved in %llu ms, the "
		     "busiest over the mean from %.2f to %.3f\n",
		     scene.n, WORKERS, (unsigned long long)seen.moved, (unsigned long long)seen.ms,
		     before.busiest, after.busiest);
	expect_even(&scene, after, WORKERS);
	end_all(&scene);
}

START_TEST(all_are_at_one_worker)
{
	even_out(FEW);
}
END_TEST

START_TEST(many_are_at_one_worker)
{
	even_out(suite_volume(MANY));
}
END_TEST

/* ---- more and fewer workers ---- */

static const char *const modes[] = {"reuseport", "shared", "handoff"};

static void change_and_look(struct scene *scene, const char *mode, enum server_control what,
			    unsigned workers)
{
	struct server_control_change seen = server_control_make(scene->server, what);
	struct spread spread = look(scene, workers);

	(void)printf(
	    "FIGURE %s, %s workers, %u: %llu moved in %llu ms, the busiest over the mean %.3f\n",
	    mode, what == SERVER_CONTROL_MORE ? "more" : "fewer", workers,
	    (unsigned long long)seen.moved, (unsigned long long)seen.ms, spread.busiest);
	(void)fflush(stdout);
	ck_assert_msg(seen.stay == 0, "%llu stay\n%s", (unsigned long long)seen.stay,
		      server_control_close_counts(scene->server));
	expect_even(scene, spread, workers);
}

static void come_and_go(unsigned long n, const char *mode)
{
	struct scene scene = {.n = n};

	if (!enough_descriptors(scene.n, "workers come and go"))
		return;
	scene.server = CONTROLLED("-w", "1", "-a", mode, "echo://127.0.0.1:0");
	fill(&scene);
	begin_churn(&scene);
	for (unsigned workers = 2; workers <= WORKERS; workers++)
		change_and_look(&scene, mode, SERVER_CONTROL_MORE, workers);
	for (unsigned workers = WORKERS - 1; workers; workers--)
		change_and_look(&scene, mode, SERVER_CONTROL_FEWER, workers);
	end_all(&scene);
}

START_TEST(workers_come_and_go)
{
	come_and_go(FEW, modes[_i]);
}
END_TEST

START_TEST(workers_come_and_go_among_many)
{
	come_and_go(suite_volume(MANY), modes[_i]);
}
END_TEST

SUITE("rebalance", {"all are at one worker", all_are_at_one_worker, 60},
      {"10,000 are at one worker", many_are_at_one_worker, 120, 0, SUITE_LONG},
      {"workers come and go", workers_come_and_go, 60, 3},
      {"workers come and go among 10,000", workers_come_and_go_among_many, 120, 3, SUITE_LONG})
