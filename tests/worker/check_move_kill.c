/*
 * Workers that die while connections move: when the sender or the receiver dies, at any system
 * call, only connections that it had are lost. All others get every byte once.
 *
 * This process traces one worker (ptrace) and kills it when its n-th call begins or ends. It
 * counts from the moment at which the worker may learn of the move, and n increases until the
 * worker survives the move. At each stop one client speaks, so that bytes arrive at every moment
 * of a move. A death between two calls is not tested: for others it looks like one at a call.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/server_control.h"
#include "tests/support/clients/echo_clients.h"
#include "tests/support/tracee.h"
#include "worker/migration/migration.h"

#define CALLERS (3 * MOVE_BATCH_MAX) /* most likely two batches from each worker */
#define MESSAGE 24

/* ---- one move ---- */

enum side { SENDER, RECEIVER };

struct story {
	enum side victim, traced;
	enum server_control what;
	unsigned workers;
	bool hangs;
	struct server *server;
	struct echo_clients clients;
	struct tracee tracee;
	unsigned stops; /* in all */
	uint64_t lost;
};

static void come_in(struct story *story)
{
	struct echo_clients *clients = &story->clients;

	echo_clients_open(clients, story->server, CALLERS + 1);
	while (clients->n < CALLERS) {
		unsigned number = echo_clients_join_known(
		    clients, connect_to(story->server->ports[0]), story->workers);

		echo_clients_say(clients, number, MESSAGE);
	}
	echo_clients_hear_all(clients);
}

/* Stops the senders until each new worker has accepted a client. Then it is known which process is
 * which, and nothing has moved yet. */
static bool catch_between(struct story *story)
{
	static const char started[] = "msg=\"worker started\" worker=0 pid=";
	struct echo_clients *clients = &story->clients;
	pid_t senders[2], both[2];
	unsigned probe;
	bool caught;

	for (unsigned i = 0; i < story->workers; i++) {
		senders[i] = server_wait_worker(story->server, i, 0);
		process_stop(senders[i]);
	}
	server_control_order(story->server, story->what);
	probe =
	    echo_clients_join_known(clients, connect_to(story->server->ports[0]), story->workers);
	echo_clients_say(clients, probe, MESSAGE);
	echo_clients_hear_all(clients);
	server_wait_log(story->server, started);
	both[SENDER] = senders[0];
	both[RECEIVER] =
	    (pid_t)strtol(strstr(story->server->log, started) + strlen(started), NULL, 10);
	if (story->victim != story->traced)
		story->tracee.other = both[story->victim];
	caught = tracee_seize(&story->tracee, both[story->traced]);
	for (unsigned i = 0; i < story->workers; i++)
		ck_assert_int_eq(kill(senders[i], SIGCONT), 0);
	return caught;
}

/* When two workers become fewer, the second one goes; otherwise the victim is in slot 0. */
static unsigned victims_slot(const struct story *story)
{
	return story->what == SERVER_CONTROL_FEWER && story->victim == SENDER;
}

static bool catch_victim(struct story *story)
{
	unsigned slot = victims_slot(story);

	if (story->what != SERVER_CONTROL_FEWER &&
	    (story->victim == RECEIVER || story->traced == RECEIVER))
		return catch_between(story);
	if (!tracee_seize(&story->tracee, server_wait_worker(story->server, slot, 0)))
		return false;
	server_control_order(story->server, story->what);
	return true;
}

static void move_and_die(struct story *story)
{
	struct echo_clients *clients = &story->clients;
	struct wait wait = wait_begin();
	struct server_control_change seen;
	unsigned speaker = 0;

	wait.until_ms += patience_ms();
	while (!server_control_done(story->server, story->what, &seen)) {
		while (tracee_turn(&story->tracee)) {
			if (speaker < CALLERS && !clients->callers[speaker].gone)
				echo_clients_say(clients, speaker, MESSAGE);
			speaker++;
			(void)echo_clients_listen(clients, 0);
		}
		(void)echo_clients_listen(clients, 1);
		ck_assert_msg(now_ms() < wait.until_ms, "no end (%u stops):\n%s",
			      story->tracee.stops, story->server->log);
	}
	tracee_let_go(&story->tracee);
}

/* A connection that the receiver had already taken and the sender had not yet given up is counted
 * by both, and so counted twice if one of them dies. Their counters say how many these are. */
static void judge_counters(struct story *story)
{
	const struct server *server = story->server;
	unsigned lost = story->clients.gone_n;
	struct wait wait = wait_begin();
	char what[160];

	for (;;) {
		uint64_t died = server_stat(server, "closed_worker_died");
		uint64_t left = server_stat(server, "connections");
		uint64_t twice = server_stat(server, "moved_in") - server_stat(server, "moved_out");

		if (died == lost + twice && died >= lost && left == story->clients.n - lost)
			return;
		(void)snprintf(what, sizeof what,
			       "%u to be lost and %u to be left; %llu were with who died, %llu of "
			       "these on their way, %llu are left (stop %u)",
			       lost, story->clients.n - lost, (unsigned long long)died,
			       (unsigned long long)twice, (unsigned long long)left,
			       story->tracee.end_at);
		wait_more(&wait, what);
	}
}

static void judge(struct story *story)
{
	struct echo_clients *clients = &story->clients;
	bool took_from_others = story->what == SERVER_CONTROL_FEWER && story->victim == RECEIVER;
	const char *log = story->server->log;

	for (unsigned i = 0; i < clients->n; i++)
		if (!clients->callers[i].gone)
			echo_clients_say(clients, i, MESSAGE);
	echo_clients_hear_all(clients);
	(void)server_log_has(story->server, "");
	for (unsigned i = 0; i < clients->n; i++)
		ck_assert_msg(!clients->callers[i].gone || took_from_others ||
				  clients->callers[i].slot == victims_slot(story),
			      "caller %u was with another worker, and is lost (stop %u):\n%s", i,
			      story->tracee.end_at, log);
	if (!story->tracee.ended)
		ck_assert_msg(!clients->gone_n, "nobody died, and %u are lost:\n%s",
			      clients->gone_n, log);
	judge_counters(story);
}

/* Returns whether the victim was killed. */
static bool tell(struct story *story, unsigned end_at, const char *watchdog)
{
	story->server = CONTROLLED("-w", story->workers == 1 ? "1" : "2", "--watchdog", watchdog,
				   "echo://127.0.0.1:0");
	story->tracee = (struct tracee){.end_at = end_at, .hangs = story->hangs};
	come_in(story);
	if (!catch_victim(story)) {
		story->stops = 0;
		return false;
	}
	move_and_die(story);
	judge(story);
	story->lost += story->clients.gone_n;
	if (!story->tracee.ended)
		story->stops = story->tracee.stops;
	echo_clients_close(&story->clients);
	(void)server_stop(story->server, SIGQUIT);
	return story->tracee.ended;
}

static const struct {
	enum side victim, traced;
	enum server_control what;
	const char *name;
	unsigned workers, each_until, stride;
} stories[] = {
    {SENDER, SENDER, SERVER_CONTROL_RELOAD, "sender, reload", 2, 24, 23},
    {RECEIVER, RECEIVER, SERVER_CONTROL_RELOAD, "receiver, reload", 2, 24, 23},
    {SENDER, SENDER, SERVER_CONTROL_UPGRADE, "sender, upgrade", 2, 0, 61},
    {RECEIVER, RECEIVER, SERVER_CONTROL_UPGRADE, "receiver, upgrade", 2, 0, 61},
    {RECEIVER, RECEIVER, SERVER_CONTROL_RELOAD, "the only receiver, reload", 1, 12, 79},
    {RECEIVER, RECEIVER, SERVER_CONTROL_UPGRADE, "the only receiver, upgrade", 1, 0, 131},
    {SENDER, SENDER, SERVER_CONTROL_FEWER, "sender, one worker fewer", 2, 0, 61},
    {RECEIVER, RECEIVER, SERVER_CONTROL_FEWER, "the only receiver, one worker fewer", 2, 12, 61},
    {RECEIVER, SENDER, SERVER_CONTROL_RELOAD, "receiver while its sender stands still, reload", 2,
     16, 23},
    {RECEIVER, SENDER, SERVER_CONTROL_RELOAD,
     "the only receiver while its sender stands still, reload", 1, 8, 97},
    {SENDER, RECEIVER, SERVER_CONTROL_RELOAD, "sender while its receiver stands still, reload", 2,
     16, 29},
    {RECEIVER, SENDER, SERVER_CONTROL_UPGRADE, "receiver while its sender stands still, upgrade", 2,
     0, 43},
};

/* Kills at every stride-th of the first calls, and at fewer of the later ones. */
static void die_from(unsigned first, int i, unsigned stride, const char *test)
{
	struct story story = {.victim = stories[i].victim,
			      .traced = stories[i].traced,
			      .what = stories[i].what,
			      .workers = stories[i].workers};
	unsigned deaths = 0;

	for (unsigned n = first; tell(&story, n, "10s");) {
		deaths++;
		n += n < stories[i].each_until ? stride : stories[i].stride * stride;
	}
	if (!deaths) {
		suite_skip(test, "ptrace is not allowed here");
		return;
	}
	(void)printf("FIGURE %s: %u deaths, the last runs past all of %u stops; %.1f of some %d "
		     "connections of the dead were lost on average, none of others\n",
		     stories[i].name, deaths, story.stops, (double)story.lost / deaths,
		     CALLERS / (int)story.workers);
}

START_TEST(a_death_at_some_steps)
{
	die_from(1 + (unsigned)_i % 7, _i, suite_sanitized() ? 20 : 7, "a death at some steps");
}
END_TEST

START_TEST(a_death_at_any_step)
{
	die_from(1, _i, suite_sanitized() ? 10 : 1, "a death at any step");
}
END_TEST

/* A worker that stands still is ended by the watchdog. Connections that it had not taken live
 * on. */
static void stand_still(unsigned workers, const unsigned *at, unsigned n, const char *test)
{
	struct story story = {.victim = RECEIVER,
			      .traced = RECEIVER,
			      .what = SERVER_CONTROL_RELOAD,
			      .workers = workers,
			      .hangs = true};
	unsigned stopped = 0;

	for (unsigned i = 0; i < n; i++)
		stopped += tell(&story, at[i], "2s");
	if (!stopped) {
		suite_skip(test, "ptrace is not allowed here");
		return;
	}
	(void)printf("FIGURE %u receivers (workers: %u) stood still in the middle of a reload, and "
		     "were ended "
		     "by the watchdog: %llu connections of theirs were lost, none of others\n",
		     stopped, story.workers, (unsigned long long)story.lost);
	ck_assert_uint_eq(stopped, n);
}

static const unsigned stands_at[] = {4, 150, 60, 300};

START_TEST(a_receiver_that_stands_still)
{
	stand_still(1 + (_i != 0), &stands_at[_i], 1, "a receiver that stands still");
}
END_TEST

START_TEST(receivers_that_stand_still)
{
	stand_still(1 + (_i != 0), stands_at, 4, "receivers that stand still");
}
END_TEST

#define STORIES (sizeof stories / sizeof *stories)

SUITE("move_kill", {"a death at some steps", a_death_at_some_steps, 60, STORIES},
      {"a death at any step", a_death_at_any_step, 120, STORIES, .kind = SUITE_LONG},
      {"a receiver that stands still", a_receiver_that_stands_still, 60, 2},
      {"receivers that stand still", receivers_that_stand_still, 60, 2, .kind = SUITE_LONG})
