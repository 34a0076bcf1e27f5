/*
 * Workers that die while members of a chat move: when any of them dies, at any system call, the
 * clients that stay hear each other's lines once and in order, and all hear the same of the lines
 * of clients that were lost.
 *
 * As check_move_kill.c, with tests/support/clients/chat_clients.h instead of an echo.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/server_control.h"
#include "tests/support/clients/chat_clients.h"
#include "tests/support/tracee.h"

#define GUESTS	   80
#define LINE_BYTES 48
#define LINES_MAX  400 /* lines that are said during the move */

struct scene {
	bool kills_receiver;
	struct server *server;
	struct chat_clients clients;
	struct tracee tracee;
	uint64_t gone, said;
	unsigned stops;
};

/* Stops the senders until the new workers have accepted a client. */
static bool catch_receiver(struct scene *scene)
{
	static const char started[] = "msg=\"worker started\" worker=0 pid=";
	pid_t senders[2];
	const char *at;
	bool caught;

	for (unsigned i = 0; i < 2; i++) {
		senders[i] = server_wait_worker(scene->server, i, 0);
		process_stop(senders[i]);
	}
	server_control_order(scene->server, SERVER_CONTROL_RELOAD);
	(void)chat_clients_join(&scene->clients);
	server_wait_log(scene->server, started);
	at = strstr(scene->server->log, started) + strlen(started);
	caught = tracee_seize(&scene->tracee, (pid_t)strtol(at, NULL, 10));
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(kill(senders[i], SIGCONT), 0);
	return caught;
}

static bool catch_victim(struct scene *scene)
{
	if (scene->kills_receiver)
		return catch_receiver(scene);
	if (!tracee_seize(&scene->tracee, server_wait_worker(scene->server, 0, 0)))
		return false;
	server_control_order(scene->server, SERVER_CONTROL_RELOAD);
	return true;
}

static void speak(struct scene *scene)
{
	struct chat_clients *clients = &scene->clients;
	unsigned speaker = (unsigned)scene->said % clients->n;

	if (scene->said == LINES_MAX)
		return;
	scene->said++;
	if (!clients->all[speaker].gone)
		(void)chat_clients_say(clients, speaker);
}

static void move_and_die(struct scene *scene)
{
	struct wait wait = wait_begin();
	struct server_control_change seen;

	wait.until_ms += patience_ms();
	for (scene->said = 0; !server_control_done(scene->server, SERVER_CONTROL_RELOAD, &seen);) {
		while (tracee_turn(&scene->tracee)) {
			speak(scene);
			(void)chat_clients_listen(&scene->clients, 0);
		}
		(void)chat_clients_listen(&scene->clients, 1);
		ck_assert_msg(now_ms() < wait.until_ms, "no end (%u stops):\n%s",
			      scene->tracee.stops, scene->server->log);
	}
	tracee_let_go(&scene->tracee);
}

/* Only clients whose connection was at the worker that died may be gone. */
static void judge(struct scene *scene)
{
	struct chat_clients *clients = &scene->clients;
	struct server *server = scene->server;
	struct wait wait = wait_begin();

	for (;;) {
		uint64_t twice = server_stat(server, "moved_in") - server_stat(server, "moved_out");

		if (server_stat(server, "closed_worker_died") == clients->gone_n + twice &&
		    server_stat(server, "closed_worker_died") >= clients->gone_n &&
		    server_stat(server, "connections") == clients->n - clients->gone_n)
			break;
		(void)chat_clients_listen(clients, 1);
		wait_more(&wait, "all to be counted that are gone");
	}
	for (unsigned i = 0; i < clients->n; i++)
		if (!clients->all[i].gone)
			(void)chat_clients_say(clients, i);
	chat_clients_hear_all(clients);
	ck_assert_uint_eq(server_stat(server, "missed"), 0);
	if (!scene->tracee.ended)
		ck_assert_uint_eq(clients->gone_n, 0);
}

/* Returns whether the victim was killed. */
static bool play(struct scene *scene, unsigned end_at)
{
	scene->server = CONTROLLED("-w", "2", "chat://127.0.0.1:0");
	scene->tracee = (struct tracee){.end_at = end_at};
	chat_clients_open(&scene->clients, scene->server, scene->server->ports[0], GUESTS + 1,
			  LINE_BYTES);
	chat_clients_join_all(&scene->clients, GUESTS);
	if (!catch_victim(scene))
		return false;
	move_and_die(scene);
	judge(scene);
	scene->gone += scene->clients.gone_n;
	if (!scene->tracee.ended)
		scene->stops = scene->tracee.stops;
	chat_clients_close(&scene->clients);
	(void)server_stop(scene->server, SIGQUIT);
	return scene->tracee.ended;
}

static void die_at_each(unsigned stride, bool kills_receiver, const char *test)
{
	struct scene scene = {.kills_receiver = kills_receiver};
	unsigned deaths = 0;

	for (unsigned n = 1; play(&scene, n); n += stride)
		deaths++;
	if (!deaths) {
		suite_skip(test, "ptrace is not allowed here");
		return;
	}
	(void)printf("FIGURE %s of members of a chat: %u deaths in up to %u stops; %llu clients "
		     "were gone, the others heard each line once\n",
		     kills_receiver ? "receiver" : "sender", deaths, scene.stops,
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
