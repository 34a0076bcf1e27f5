/*
 * Workers come and go and connections even out, while messages are under way on them: none is
 * closed, no byte is wrong, nobody who connects meanwhile is refused, and afterwards all workers
 * hold about the same.
 *
 * Load comes from weirload, which checks each byte.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/helm.h"
#include "tests/load.h"

#define WORKERS	     4
#define CONNECTIONS  10000
#define BUSIEST_MOST 1.02 /* of the mean */

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

	raise_descriptor_limit();
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= n + n / 10)
		return true;
	suite_skip(test, "the limit of descriptors is below 11000");
	return false;
}

static void fill(struct scene *scene)
{
	const char *to = load_listener("echo", scene->server->ports[0]);

	scene->load =
	    load_start(&load_plain,
		       (const char *const[]){"-c", load_number((long)scene->n), "-P", "2", "-d",
					     "300s", "--timeout", "30s", "-r", "10000", to, NULL});
	server_wait_stat(scene->server, "received_bytes", 64 * scene->n);
}

static void begin_churn(struct scene *scene)
{
	const char *to = load_listener("echo", scene->server->ports[0]);

	scene->churn = load_start(
	    &churn_setting, (const char *const[]){"-c", "1", "--churn", "-d", "300s", to, NULL});
	server_wait_stat(scene->server, "accepted", scene->n + 100);
}

static void end_all(struct scene *scene)
{
	if (scene->churn)
		load_end_well(&churn_setting, scene->churn);
	load_end_well(&load_plain, scene->load);
	server_wait_stat_is(scene->server, "connections", 0);
	helm_expect_no_loss(scene->server);
	ck_assert_int_eq(server_stop(scene->server, SIGTERM), 0);
}

/* The busiest over the mean of these many workers, which have all there are. */
static double busiest(const struct scene *scene, unsigned workers)
{
	uint64_t most = 0, all = 0;

	for (unsigned i = 0; i < workers; i++) {
		uint64_t held = server_worker_stat(scene->server, i, "connections");

		all += held;
		most = held > most ? held : most;
	}
	ck_assert_uint_ge(all, scene->n);
	return (double)most * workers / (double)all;
}

/* ---- all at one worker ---- */

START_TEST(all_are_at_one_worker)
{
	struct scene scene = {.n = suite_volume(CONNECTIONS)};
	struct helm_change seen;
	pid_t idle[WORKERS];
	double before, after;

	if (!enough_descriptors(scene.n, "all are at one worker"))
		return;
	scene.server = SERVER("-w", "4", "-a", "shared", "--watchdog", "0", HELM_CONTROL,
			      "echo://127.0.0.1:0");
	for (unsigned i = 1; i < WORKERS; i++) {
		idle[i] = server_wait_worker(scene.server, i, 0);
		ck_assert_int_eq(kill(idle[i], SIGSTOP), 0);
	}
	fill(&scene);
	for (unsigned i = 1; i < WORKERS; i++)
		ck_assert_int_eq(kill(idle[i], SIGCONT), 0);
	before = busiest(&scene, WORKERS);
	ck_assert(before > WORKERS - 0.01);
	seen = helm_make(scene.server, HELM_REBALANCE);
	after = busiest(&scene, WORKERS);
	(void)printf("FIGURE %lu connections at one of %d workers: %llu moved in %llu ms, the "
		     "busiest over the mean from %.2f to %.3f\n",
		     scene.n, WORKERS, (unsigned long long)seen.moved, (unsigned long long)seen.ms,
		     before, after);
	ck_assert(after <= BUSIEST_MOST);
	end_all(&scene);
}
END_TEST

/* ---- more and fewer workers ---- */

static const char *const modes[] = {"reuseport", "shared", "handoff"};

static void change_and_look(struct scene *scene, const char *mode, enum helm what, unsigned workers)
{
	struct helm_change seen = helm_make(scene->server, what);
	double spread = busiest(scene, workers);

	(void)printf(
	    "FIGURE %s, %s workers, %u: %llu moved in %llu ms, the busiest over the mean %.3f\n",
	    mode, what == HELM_MORE ? "more" : "fewer", workers, (unsigned long long)seen.moved,
	    (unsigned long long)seen.ms, spread);
	(void)fflush(stdout);
	ck_assert_uint_eq(seen.stay, 0);
	ck_assert_msg(spread <= BUSIEST_MOST, "%.3f", spread);
}

START_TEST(workers_come_and_go)
{
	struct scene scene = {.n = suite_volume(CONNECTIONS)};

	if (!enough_descriptors(scene.n, "workers come and go"))
		return;
	scene.server = SERVER("-w", "1", "-a", modes[_i], HELM_CONTROL, "echo://127.0.0.1:0");
	fill(&scene);
	begin_churn(&scene);
	for (unsigned workers = 2; workers <= WORKERS; workers++)
		change_and_look(&scene, modes[_i], HELM_MORE, workers);
	for (unsigned workers = WORKERS - 1; workers; workers--)
		change_and_look(&scene, modes[_i], HELM_FEWER, workers);
	end_all(&scene);
}
END_TEST

SUITE("rebalance", {"all are at one worker", all_are_at_one_worker, 60},
      {"workers come and go", workers_come_and_go, 60, 3})
