/*
 * Workers that die while members of a chat move: whoever dies, at whatever system call, those
 * who stay hear each line of each other once and in order, and agree on what the dead had said.
 *
 * As check_move_kill.c, with tests/support/clients/chat_clients.h instead of an echo. At each stop
 * a guest speaks.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/helm.h"
#include "tests/support/clients/chat_clients.h"
#include "tests/support/tracee.h"

#define GUESTS	   80
#define LINE_BYTES 48
#define LINES_MAX  400 /* said while they move */

struct scene {
	bool kills_taker;
	struct server *server;
	struct party party;
	struct tracee tracee;
	uint64_t gone, said;
	unsigned stops;
};

/* Stops those who give, until the new workers have let somebody in. */
static bool catch_taker(struct scene *scene)
{
	static const char started[] = "msg=\"worker started\" worker=0 pid=";
	pid_t givers[2];
	const char *at;
	bool caught;

	for (unsigned i = 0; i < 2; i++) {
		givers[i] = server_wait_worker(scene->server, i, 0);
		process_stop(givers[i]);
	}
	helm_order(scene->server, HELM_RELOAD);
	(void)party_join(&scene->party);
	server_wait_log(scene->server, started);
	at = strstr(scene->server->log, started) + strlen(started);
	caught = tracee_seize(&scene->tracee, (pid_t)strtol(at, NULL, 10));
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(kill(givers[i], SIGCONT), 0);
	return caught;
}

static bool catch_victim(struct scene *scene)
{
	if (scene->kills_taker)
		return catch_taker(scene);
	if (!tracee_seize(&scene->tracee, server_wait_worker(scene->server, 0, 0)))
		return false;
	helm_order(scene->server, HELM_RELOAD);
	return true;
}

static void speak(struct scene *scene)
{
	struct party *party = &scene->party;
	unsigned speaker = (unsigned)scene->said % party->n;

	if (scene->said == LINES_MAX)
		return;
	scene->said++;
	if (!party->guests[speaker].gone)
		(void)party_say(party, speaker);
}

static void move_and_die(struct scene *scene)
{
	struct wait wait = wait_begin();
	struct helm_change seen;

	wait.until_ms += patience_ms();
	for (scene->said = 0; !helm_done(scene->server, HELM_RELOAD, &seen);) {
		while (tracee_turn(&scene->tracee)) {
			speak(scene);
			(void)party_listen(&scene->party, 0);
		}
		(void)party_listen(&scene->party, 1);
		ck_assert_msg(now_ms() < wait.until_ms, "no end (%u stops):\n%s",
			      scene->tracee.stops, scene->server->log);
	}
	tracee_let_go(&scene->tracee);
}

/* Who is gone had its connection at the one that died. */
static void judge(struct scene *scene)
{
	struct party *party = &scene->party;
	struct server *server = scene->server;
	struct wait wait = wait_begin();

	for (;;) {
		uint64_t twice = server_stat(server, "moved_in") - server_stat(server, "moved_out");

		if (server_stat(server, "closed_worker_died") == party->gone_n + twice &&
		    server_stat(server, "closed_worker_died") >= party->gone_n &&
		    server_stat(server, "connections") == party->n - party->gone_n)
			break;
		(void)party_listen(party, 1);
		wait_more(&wait, "all to be counted that are gone");
	}
	for (unsigned i = 0; i < party->n; i++)
		if (!party->guests[i].gone)
			(void)party_say(party, i);
	party_hear_all(party);
	ck_assert_uint_eq(server_stat(server, "missed"), 0);
	if (!scene->tracee.ended)
		ck_assert_uint_eq(party->gone_n, 0);
}

/* Whether somebody died. */
static bool play(struct scene *scene, unsigned end_at)
{
	scene->server = SERVER("-w", "2", HELM_CONTROL, "chat://127.0.0.1:0");
	scene->tracee = (struct tracee){.end_at = end_at};
	party_open(&scene->party, scene->server, scene->server->ports[0], GUESTS + 1, LINE_BYTES);
	party_join_all(&scene->party, GUESTS);
	if (!catch_victim(scene))
		return false;
	move_and_die(scene);
	judge(scene);
	scene->gone += scene->party.gone_n;
	if (!scene->tracee.ended)
		scene->stops = scene->tracee.stops;
	party_close(&scene->party);
	(void)server_stop(scene->server, SIGQUIT);
	return scene->tracee.ended;
}

static void die_at_each(unsigned stride, bool kills_taker, const char *test)
{
	struct scene scene = {.kills_taker = kills_taker};
	unsigned deaths = 0;

	for (unsigned n = 1; play(&scene, n); n += stride)
		deaths++;
	if (!deaths) {
		suite_skip(test, "ptrace is not allowed here");
		return;
	}
	(void)printf("FIGURE %s of members of a chat: %u deaths in up to %u stops; %llu guests "
		     "were gone, the others heard each line once\n",
		     kills_taker ? "taker" : "giver", deaths, scene.stops,
		     (unsigned long long)scene.gone);
}

START_TEST(a_death_now_and_then_in_a_talk)
{
	die_at_each(suite_sanitized() ? 50 : 19, _i, "a death now and then in a talk");
}
END_TEST

START_TEST(a_death_in_the_middle_of_a_talk)
{
	die_at_each(suite_sanitized() ? 50 : 5, _i, "a death in the middle of a talk");
}
END_TEST

SUITE("move_kill_chat", {"a death now and then in a talk", a_death_now_and_then_in_a_talk, 60, 2},
      {"a death in the middle of a talk", a_death_in_the_middle_of_a_talk, 90, 2,
       .kind = SUITE_LONG})
