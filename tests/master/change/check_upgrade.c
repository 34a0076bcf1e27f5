/*
 * Upgrades that succeed: twenty in a row, with TCP and unix sockets, with changed configurations,
 * and while other orders come. Those that fail are in check_upgrade_failure. What this shows:
 * clients that talk, connect or wait notice nothing, and the pid file, the socket files and the
 * control socket are the new master's.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/clients/load_process.h"
#include "tests/support/clients/load.h"
#include "tests/support/server_control.h"

static void upgrade_made(struct server *server)
{
	ck_assert_msg(server_control_ask("upgrade") == 0, "%s\n%s", server_control_answer(),
		      server->log);
	server_control_follow(server);
}

/* ---- twenty in a row ---- */

static const char *const modes[] = {"reuseport", "shared", "handoff"};

static void in_a_row(unsigned n, const char *mode)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "--accept", mode, "echo://127.0.0.1:0");
	struct load_process *load = load_process_start(&(struct load_plan){
	    server_control_address(server, 0), .talkers = 40, .comers = 4, .pause_ms = 1});
	uint64_t begin = now_ms();
	char what[64];

	for (unsigned i = 0; i < n; i++) {
		server_control_forget(server);
		load_process_wait(load, 200, 20);
		if (i % 2) {
			ck_assert_int_eq(kill(server->pid, SIGUSR2), 0);
			server_control_follow(server);
		} else {
			upgrade_made(server);
		}
		server_control_wait_workers(server, 2);
	}
	(void)snprintf(what, sizeof what, "%u upgrades, %s, in %llu ms", n, mode,
		       (unsigned long long)(now_ms() - begin));
	load_process_wait(load, 200, 20);
	load_process_ends_well(load, what);
	ck_assert_uint_ge(server_stat(server, "moved_in"), n * 40);
	ck_assert_int_eq(server_control_status("generation"), 1 + n);
	server_control_stop(server);
}

START_TEST(four_in_a_row)
{
	in_a_row(4, modes[_i]);
}
END_TEST

START_TEST(twenty_in_a_row)
{
	in_a_row((unsigned)suite_volume(20), modes[_i]);
}
END_TEST

/* ---- as many workers as possible ---- */

#define STAY 400

static void all_are_served(const int clients[STAY], const int members[2])
{
	for (size_t i = 0; i < STAY; i++)
		send_text(clients[i], "served");
	for (size_t i = 0; i < STAY; i++)
		expect_text(clients[i], "served");
	for (int i = 0; i < 2; i++) {
		send_text(members[i], "a line\n");
		expect_text(members[!i], "a line\n");
	}
}

/* With so many workers the masters send each other more than a socket's buffer takes: doorbells in
 * the first upgrade, move channels in the second. Under a sanitizer there are fewer workers, as so
 * many would need too much memory. */
static void with_workers(unsigned workers)
{
	struct server *server = CONTROLLED(
	    "--config", server_control_config("workers = 8\nlog-level = info\naccept = handoff\n"
					      "listen = echo://127.0.0.1:0\n"
					      "listen = chat://127.0.0.1:0\n"));
	int clients[STAY], members[2];
	char config[200];

	for (size_t i = 0; i < STAY; i++)
		clients[i] = connect_to(server->ports[0]);
	for (int i = 0; i < 2; i++)
		members[i] = connect_to(server->ports[1]);
	server_wait_stat_is(server, "connections", STAY + 2);
	all_are_served(clients, members);
	(void)snprintf(config, sizeof config,
		       "workers = %u\nlog-level = warn\naccept = handoff\n"
		       "listen = echo://127.0.0.1:0\n"
		       "listen = chat://127.0.0.1:0\n",
		       workers);
	(void)server_control_config(config);
	for (int i = 0; i < 2; i++) {
		uint64_t begin = now_ms();

		upgrade_made(server);
		(void)printf("FIGURE an upgrade from %u workers to %u, with %d connections: "
			     "%llu ms\n",
			     i ? workers : 8, workers, STAY,
			     (unsigned long long)(now_ms() - begin));
		(void)fflush(stdout);
		server_control_wait_workers(server, workers);
		all_are_served(clients, members);
		server_control_do("rebalance"); /* so that each worker has some to move next */
	}
	ck_assert_uint_eq(server_stat(server, "closed_worker_died"), 0);
	server_control_stop(server);
}

START_TEST(with_64_workers_nobody_is_lost)
{
	with_workers(64);
}
END_TEST

START_TEST(with_256_workers_nobody_is_lost)
{
	with_workers(suite_sanitized() ? 64 : 256);
}
END_TEST

/* ---- unix sockets ---- */

START_TEST(unix_sockets_stay)
{
	char file[160], name[160], text[160];
	struct load_process *at_file, *at_name;
	struct stat before, now;
	struct server *server;

	(void)snprintf(file, sizeof file, "echo://%s?mode=0600", in_folder("echo.sock"));
	(void)snprintf(name, sizeof name, "echo://@weir-test-%d", (int)getpid());
	server = CONTROLLED("--workers", "2", file, name);
	(void)snprintf(text, sizeof text, "%s", in_folder("echo.sock"));
	ck_assert_int_eq(lstat(text, &before), 0);
	at_file = load_process_start(
	    &(struct load_plan){text, .talkers = 10, .comers = 2, .pause_ms = 1});
	at_name = load_process_start(&(struct load_plan){name + strlen("echo://"), .talkers = 10,
							 .comers = 2, .pause_ms = 1});
	for (int i = 0; i < 5; i++) {
		load_process_wait(at_file, 100, 10);
		load_process_wait(at_name, 100, 10);
		upgrade_made(server);
		ck_assert_int_eq(lstat(text, &now), 0);
		ck_assert_uint_eq(now.st_ino, before.st_ino);
		ck_assert_uint_eq(now.st_mode, before.st_mode);
	}
	load_process_ends_well(at_file, "5 upgrades, socket file");
	load_process_ends_well(at_name, "5 upgrades, abstract name");
	server_control_stop(server);
	ck_assert(!exists(text));
}
END_TEST

/* ---- datagrams ---- */

/* Datagrams are lost only by the kernel, because a queue was full. */
START_TEST(datagrams_are_answered_by_old_or_new)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "echo+udp://127.0.0.1:0", "echo://127.0.0.1:0");
	pid_t load = load_start(
	    &load_plain,
	    (const char *const[]){"-c", "50", "-d", "1s", "--warmup", "0s", "--timeout", "20s",
				  load_listener("echo+udp", server->ports[0]), NULL});
	unsigned n = 0;

	do {
		server_control_forget(server);
		server_control_do("reload");
		upgrade_made(server);
		n++;
	} while (process_state(load) != 'Z');
	ck_assert_msg(load_wait(load) == 0 && strstr(load_said(), "errors    none"), "%s",
		      load_said());
	(void)printf("FIGURE %u reloads and upgrades: %.0f datagrams, %.0f lost\n", n,
		     load_figure("messages"), load_figure("datagrams_lost"));
	(void)fflush(stdout);
	ck_assert_uint_le((uint64_t)load_figure("datagrams_lost"),
			  server_stat(server, "datagrams_dropped"));
	server_control_stop(server);
}
END_TEST

/* ---- changed configurations ---- */

/* One listener stays, one is removed, one is added; and the number of workers changes. */
START_TEST(the_configuration_is_read_anew)
{
	const char *path = server_control_config("workers = 2\n"
						 "listen = echo://127.0.0.1:0\n"
						 "listen = increment://127.0.0.1:0\n");
	struct server *server = CONTROLLED("--config", path);
	int kept = connect_to(server->ports[0]), gone = connect_to(server->ports[1]), fd;
	unsigned gone_port = server->ports[1];

	expect_text(gone, "*");
	send_text(gone, "^ab");
	expect_text(gone, "bc");
	send_text(kept, "one");
	expect_text(kept, "one");
	(void)server_control_config("workers = 3\n"
				    "listen = line://127.0.0.1:0\n"
				    "listen = echo://127.0.0.1:0\n");
	ck_assert_int_eq(kill(server->pid, SIGUSR2), 0);
	expect_end(gone);
	(void)close(gone); /* else the old master would wait for it */
	server_control_follow(server);
	server_control_wait_workers(server, 3);
	ck_assert_uint_eq(server_control_port(1), server->ports[0]);
	send_text(kept, "two");
	expect_text(kept, "two");
	ck_assert_int_eq(try_connect(gone_port), -ECONNREFUSED);
	fd = connect_to(server_control_port(0));
	send_text(fd, "a line\n");
	expect_text(fd, "a line\n");
	fd = connect_to(server_control_port(1));
	send_text(fd, "three");
	expect_text(fd, "three");
	server_control_stop(server);
}
END_TEST

/* They connect while all workers are stopped, to a listener that the new master does not have. */
START_TEST(who_waits_at_a_removed_one_is_served)
{
	struct server *server =
	    CONTROLLED("--config", server_control_config("workers = 2\n"
							 "listen = echo://127.0.0.1:0\n"
							 "listen = increment://127.0.0.1:0\n"));
	pid_t workers[2] = {server_wait_worker(server, 0, 0), server_wait_worker(server, 1, 0)};
	struct wait wait = wait_begin();
	int fds[100];

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(kill(workers[i], SIGSTOP), 0);
	for (size_t i = 0; i < 100; i++) {
		fds[i] = connect_to(server->ports[1]);
		if (i % 2)
			send_text(fds[i], "^abc$");
	}
	(void)server_control_config("workers = 2\nlisten = echo://127.0.0.1:0\n");
	ck_assert_int_eq(kill(server->pid, SIGUSR2), 0);
	while (server_control_pid() == server->pid)
		wait_more(&wait, "a new master");
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(kill(workers[i], SIGCONT), 0);
	for (size_t i = 0; i < 100; i++) {
		char bytes[8] = "";
		size_t n = receive_to_end(fds[i], bytes, sizeof bytes);

		ck_assert_msg(n == (i % 2 ? 4 : 1) && strncmp(bytes, "*bcd", n) == 0,
			      "client %zu got %zu bytes", i, n);
		(void)close(fds[i]);
	}
	(void)printf("FIGURE waited at a listener that an upgrade removed: 100, all served\n");
	(void)fflush(stdout);
	server_control_follow(server);
	server_control_wait_workers(server, 2);
	ck_assert_int_eq(try_connect(server->ports[1]), -ECONNREFUSED);
	server_control_stop(server);
}
END_TEST

/* ---- other orders during an upgrade ---- */

struct held {
	struct server *server;
	struct load_process *load;
	pid_t asked; /* the process of weirctl upgrade */
};

static struct held hold(const char *config)
{
	struct held held = {.server = CONTROLLED("--config", server_control_config(config))};

	held.load = load_process_start(&(struct load_plan){
	    server_control_address(held.server, 0), .talkers = 20, .comers = 2, .pause_ms = 1});
	server_control_program_is_held();
	held.asked = server_control_ask_begin("upgrade");
	server_wait_log(held.server, "msg=\"change begins\" what=upgrade");
	return held;
}

static void held_is_well(struct held *held, const char *what, size_t workers)
{
	server_control_wait_workers(held->server, workers);
	load_process_wait(held->load, 100, 10);
	load_process_ends_well(held->load, what);
	server_control_stop(held->server);
}

START_TEST(usr2_twice_is_one_upgrade)
{
	struct held held = hold("workers = 2\nlisten = echo://127.0.0.1:0\n");

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(kill(held.server->pid, SIGUSR2), 0);
	load_process_wait(held.load, 100, 10);
	server_control_release();
	ck_assert_int_eq(server_control_ask_end(held.asked), 0);
	server_control_follow(held.server);
	ck_assert_int_eq(server_control_status("generation"), 2);
	held_is_well(&held, "USR2 during an upgrade", 2);
}
END_TEST

/* A signal is obeyed by the master that serves when the upgrade is over. */
START_TEST(what_is_asked_during_an_upgrade_is_done_after_it)
{
	struct held held = hold("workers = 2\nlisten = echo://127.0.0.1:0\n");
	pid_t reload;

	ck_assert_int_eq(kill(held.server->pid, SIGTTIN), 0);
	reload = server_control_ask_begin("reload");
	server_wait_log(held.server, "msg=control command=reload");
	load_process_wait(held.load, 100, 10);
	server_control_release();
	server_control_follow(held.server);
	ck_assert_int_eq(server_control_ask_end(held.asked), 0);
	ck_assert_int_eq(server_control_ask_end(reload), 1);
	ck_assert_msg(strstr(server_control_answer(), "the next master") != NULL, "%s",
		      server_control_answer());
	server_control_wait_log_times(held.server, "msg=\"change made\" what=reload", 1);
	server_control_wait_log_times(held.server, "msg=\"change made\" what=workers", 1);
	held_is_well(&held, "reload and TTIN during an upgrade", 3);
}
END_TEST

#define SAID 3

/* The old master sends orders to the new one, which is stopped, and ends. The new one reads them
 * all, though it may hear first that the old one has ended; the next upgrade waits for that end. */
START_TEST(what_the_old_one_said_is_done_when_it_has_gone)
{
	struct server *server =
	    CONTROLLED("--config", server_control_config("workers = 1\n"
							 "listen = echo://127.0.0.1:0\n"));
	pid_t worker = server_wait_worker(server, 0, 0), next;
	struct wait wait = wait_begin();
	size_t descriptors = process_descriptors_n(server->pid);

	ck_assert_int_eq(kill(worker, SIGSTOP), 0); /* so that the old master does not end */
	ck_assert_int_eq(kill(server->pid, SIGUSR2), 0);
	while ((next = server_control_pid()) == server->pid || !next)
		wait_more(&wait, "a new master");
	ck_assert_int_eq(kill(next, SIGSTOP), 0);
	for (size_t i = 1; i <= SAID; i++) { /* one by one, as pending signals are merged */
		ck_assert_int_eq(kill(server->pid, SIGTTIN), 0);
		server_control_wait_log_times(server, "msg=\"one worker more\"", i);
	}
	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	server_control_follow(server);
	ck_assert_int_eq(kill(next, SIGUSR2), 0);
	ck_assert_int_eq(kill(next, SIGCONT), 0);
	server_control_follow(server);
	server_control_wait_workers(server, 1 + SAID);
	ck_assert_uint_eq(process_descriptors_n(server->pid), descriptors + 2 * SAID);
	server_control_stop(server);
}
END_TEST

/* TERM before the new master is ready: both masters end, as at any stop. */
START_TEST(term_ends_both_before_the_new_one_is_ready)
{
	struct held held = hold("workers = 2\nlisten = echo://127.0.0.1:0\n");
	int idle = connect_to(held.server->ports[0]);
	struct wait wait = wait_begin();

	send_text(idle, "x");
	expect_text(idle, "x");
	ck_assert_int_eq(kill(held.server->pid, SIGTERM), 0);
	expect_end(idle);
	ck_assert_int_eq(server_control_ask_end(held.asked), 1);
	ck_assert_msg(strstr(server_control_answer(), "weir stops") != NULL, "%s",
		      server_control_answer());
	ck_assert_int_eq(server_wait_exit(held.server), 0);
	(void)load_process_end(held.load);
	server_control_release(); /* for a moment a child of the script still has the sockets */
	while (try_connect(held.server->ports[0]) != -ECONNREFUSED)
		wait_more(&wait, "connects to be refused");
	server_control_expect_all_gone();
}
END_TEST

/* TERM to the old master right after the new one took over: the old one drains what it still has,
 * and the new one is not affected. */
START_TEST(term_to_the_old_one_after_it_handed_over_stops_it_alone)
{
	struct held held = hold("workers = 2\nlisten = echo://127.0.0.1:0\n");
	pid_t old = held.server->pid, new_one;
	struct wait wait = wait_begin();

	server_control_release();
	while ((new_one = server_control_pid()) == old || !new_one)
		wait_more(&wait, "a new pid");
	(void)kill(old, SIGTERM);
	server_control_follow(held.server);
	(void)server_control_ask_end(held.asked);
	held.server->pid = new_one;
	server_control_wait_workers(held.server, 2);
	load_process_wait(held.load, 100, 10);
	(void)load_process_end(held.load);
	server_control_stop(held.server);
}
END_TEST

SUITE("upgrade", {"four in a row", four_in_a_row, 60, 3},
      {"twenty in a row", twenty_in_a_row, 60, 3, .kind = SUITE_LONG},
      {"with 64 workers nobody is lost", with_64_workers_nobody_is_lost, 60},
      {"with 256 workers nobody is lost", with_256_workers_nobody_is_lost, 60, .kind = SUITE_LONG},
      {"unix sockets stay", unix_sockets_stay, 60},
      {"datagrams are answered by old or new", datagrams_are_answered_by_old_or_new, 40},
      {"the configuration is read anew", the_configuration_is_read_anew, 30},
      {"who waits at a removed one is served", who_waits_at_a_removed_one_is_served, 30},
      {"USR2 twice is one upgrade", usr2_twice_is_one_upgrade, 30},
      {"what is asked during an upgrade is done after it",
       what_is_asked_during_an_upgrade_is_done_after_it, 30},
      {"what the old one said is done when it has gone",
       what_the_old_one_said_is_done_when_it_has_gone, 30},
      {"TERM ends both before the new one is ready", term_ends_both_before_the_new_one_is_ready,
       30},
      {"TERM to the old one after it handed over stops it alone",
       term_to_the_old_one_after_it_handed_over_stops_it_alone, 30, 5})
