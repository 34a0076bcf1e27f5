/*
 * Upgrades that are made: twenty in a row, of TCP and of unix sockets, with changed
 * configurations, and while other things are asked for. check_upgrade_failure has those that are
 * not made. What this shows: whoever talks, connects or waits notices nothing, and the pid file,
 * the socket files and the control socket are the next master's.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/crowd.h"
#include "tests/steer.h"

static const char *tcp_address(const struct server *server, size_t listener)
{
	static char texts[4][64];
	static unsigned turn;
	char *text = texts[turn++ % 4];

	(void)snprintf(text, sizeof *texts, "127.0.0.1:%u", server->ports[listener]);
	return text;
}

static void figure(const char *what, const struct crowd_figures *figures)
{
	(void)printf("FIGURE %s: %llu messages, %llu connects, 0 lost; longest wait %.1f ms\n",
		     what, (unsigned long long)figures->messages,
		     (unsigned long long)figures->connects, (double)figures->longest_us / 1000);
	(void)fflush(stdout);
}

static void ends_well(struct server *server)
{
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	steer_all_gone();
}

static void upgrade_made(struct server *server)
{
	ck_assert_msg(steer_ask("upgrade") == 0, "%s\n%s", steer_said(), server->log);
	steer_follow(server);
}

/* ---- twenty in a row ---- */

static void twenty(const char *mode)
{
	unsigned n = (unsigned)suite_volume(20);
	struct server *server = STEERED("--workers", "2", "--accept", mode, "echo://127.0.0.1:0");
	struct crowd *crowd = crowd_start(&(struct crowd_plan){
	    tcp_address(server, 0), .talkers = 40, .comers = 4, .pause_ms = 1});
	struct crowd_figures figures;
	uint64_t begin = now_ms();
	char what[64];

	for (unsigned i = 0; i < n; i++) {
		steer_forget(server);
		crowd_wait(crowd, 200, 20);
		if (i % 2) {
			ck_assert_int_eq(kill(server->pid, SIGUSR2), 0);
			steer_follow(server);
		} else {
			upgrade_made(server);
		}
		steer_settle(server, 2);
	}
	(void)snprintf(what, sizeof what, "%u upgrades, %s, in %llu ms", n, mode,
		       (unsigned long long)(now_ms() - begin));
	crowd_wait(crowd, 200, 20);
	figures = crowd_end(crowd);
	figure(what, &figures);
	crowd_is_well(&figures);
	ck_assert_uint_ge(server_stat(server, "moved_in"), n * 40);
	ck_assert_int_eq(steer_number("generation"), 1 + n);
	ends_well(server);
}

START_TEST(twenty_in_a_row)
{
	static const char *const modes[] = {"reuseport", "shared", "handoff"};

	twenty(modes[_i]);
}
END_TEST

SUITE("upgrade", {"twenty in a row", twenty_in_a_row, 60, 3})
