/*
 * Stops, deaths and hangs near the moment at which a new master takes over from the old one, and
 * what a failed upgrade leaves behind. What this shows: weir ends when it is told to, whichever
 * of its two masters is told; no worker ends because another process died; and waiting clients
 * are served by the master that serves.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/server_control.h"

#define CLIENTS 8

static void echoes(int fd, const char *text)
{
	send_text(fd, text);
	expect_text(fd, text);
}

static pid_t new_master(pid_t old)
{
	struct wait wait = wait_begin();
	pid_t pid;

	while ((pid = server_control_pid()) == old || !pid)
		wait_more(&wait, "another master's pid in the pid file");
	return pid;
}

/* ---- an old master that still drains when the next one stops ---- */

/* Upgrades a server so that the old master stays: a client of the removed listener does not
 * read. */
static struct server *with_one_that_stays(int *unread)
{
	struct server *server = CONTROLLED(
	    "--config", server_control_config("workers = 2\naccept = handoff\nwatchdog = 0\n"
					      "listen = echo://127.0.0.1:0?accept=reuseport\n"
					      "listen = chargen://127.0.0.1:0\n"));

	*unread = connect_to(server->ports[1]);
	server_wait_stat(server, "sent_bytes", 65536);
	(void)server_control_config("workers = 2\naccept = handoff\nwatchdog = 0\n"
				    "listen = echo://127.0.0.1:0?accept=reuseport\n");
	ck_assert_msg(server_control_ask("upgrade") == 0, "%s\n%s", server_control_answer(),
		      server->log);
	return server;
}

START_TEST(who_is_told_to_stop_does_not_come_back)
{
	int unread;
	struct server *server = with_one_that_stays(&unread);
	struct wait wait = wait_begin();

	server->pid = new_master(server->pid);
	ck_assert_int_eq(kill(server->pid, _i ? SIGQUIT : SIGTERM), 0);
	server_wait_log(server, "why=\"the new master was stopped\"");
	while (try_connect(server->ports[0]) != -ECONNREFUSED)
		wait_more(&wait, "connects to be refused");
	(void)close(unread);
	server_control_expect_all_gone();
	ck_assert(!server_log_has(server, "this one goes on"));
}
END_TEST

/* The old master still has a worker that stands still. It is told to stop after the new one, or
 * before it. */
START_TEST(socket_files_go_with_the_last_of_both)
{
	char path[160], text[200];
	struct server *server;
	pid_t old, slow;

	(void)snprintf(path, sizeof path, "%s", in_folder("echo.sock"));
	(void)snprintf(text, sizeof text, "echo://%s", path);
	server = CONTROLLED("--workers", "1", "--watchdog", "0", text);
	old = server->pid;
	slow = server_wait_worker(server, 0, 0);
	process_stop(slow);
	ck_assert_int_eq(kill(old, SIGUSR2), 0);
	server->pid = new_master(old);
	ck_assert_int_eq(kill(_i ? old : server->pid, SIGTERM), 0);
	ck_assert_int_eq(kill(_i ? server->pid : old, SIGTERM), 0);
	ck_assert_int_eq(kill(slow, SIGCONT), 0);
	server_control_expect_all_gone();
	ck_assert(!exists(path));
}
END_TEST

START_TEST(who_waits_is_not_the_old_ones_to_refuse)
{
	int unread, waiting[CLIENTS];
	struct server *server = with_one_that_stays(&unread);
	pid_t old = server->pid, workers[2];

	server->pid = new_master(old);
	for (unsigned i = 0; i < 2; i++) {
		workers[i] = server_wait_worker(server, i, 0);
		process_stop(workers[i]);
	}
	for (size_t i = 0; i < CLIENTS; i++)
		waiting[i] = connect_to(server->ports[0]);
	ck_assert_int_eq(kill(old, SIGTERM), 0);
	server_wait_log(server, "msg=stopping");
	(void)close(unread);
	ck_assert_int_eq(waitpid(old, NULL, 0), old);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(kill(workers[i], SIGCONT), 0);
	for (size_t i = 0; i < CLIENTS; i++)
		echoes(waiting[i], "served");
	server_control_stop(server);
}
END_TEST

/* ---- deaths ---- */

START_TEST(workers_that_rest_do_not_hold_the_old_one)
{
	struct server *server = CONTROLLED("--workers", "1", "echo://127.0.0.1:0");
	pid_t worker = 0, asked;
	size_t deaths = 0;

	server_control_program_is_held();
	asked = server_control_ask_begin("upgrade");
	server_wait_log(server, "msg=\"change begins\" what=upgrade");
	/* Seven deaths, and one more for each second that a worker happens to live. */
	while (!server_log_has(server, "after_ms=3200")) {
		worker = server_wait_worker(server, 0, worker);
		ck_assert_int_eq(kill(worker, SIGKILL), 0);
		server_control_wait_log_times(server, "comes again", ++deaths);
	}
	server_control_release();
	server_control_follow(server);
	ck_assert_msg(server_control_ask_end(asked) == 0, "%s", server_control_answer());
	echoes(connect_to(server->ports[0]), "served");
	server_control_do("reload");
	server_control_stop(server);
}
END_TEST

static bool has_ended(int client)
{
	struct pollfd look = {.fd = client, .events = POLLIN};

	return poll(&look, 1, 0) == 1;
}

/* The new master dies while a worker of the old one still has orders to carry out. */
START_TEST(orders_outlive_the_master_that_they_came_from)
{
	struct server *server = CONTROLLED("--workers", "2", "--accept", "handoff", "--watchdog",
					   "0", "echo://127.0.0.1:0");
	int clients[2] = {connect_to(server->ports[0]), connect_to(server->ports[0])};
	pid_t slow = server_wait_worker(server, 0, 0), next;
	struct wait wait;

	for (size_t i = 0; i < 2; i++)
		echoes(clients[i], "here");
	ck_assert_uint_eq(server_worker_stat(server, 0, "connections"), 1);
	process_stop(slow);
	ck_assert_int_eq(kill(server->pid, SIGUSR2), 0);
	next = new_master(server->pid);
	server_wait_stat(server, "moved_in",
			 1); /* so the stopped worker's move channel has been sent, too */
	ck_assert_int_eq(kill(next, SIGKILL), 0);
	server_wait_log(server, "this one goes on");
	ck_assert_int_eq(kill(slow, SIGCONT), 0);
	server_wait_log(server, "msg=\"change made\" what=reload");
	ck_assert_msg(!server_log_has(server, "broke the channel's rules"), "%s", server->log);
	server_wait_stat(server, "moved_in", 2);
	/* One had moved to a worker of the new master, which drains. */
	for (wait = wait_begin(); !has_ended(clients[0]) && !has_ended(clients[1]);)
		wait_more(&wait, "one of the two to be drained");
	echoes(clients[has_ended(clients[0])], "kept");
	server_control_stop(server);
}
END_TEST

/* ---- what a failed upgrade leaves ---- */

static void chat_hears(const struct server *server)
{
	uint64_t joined = server_stat(server, "members_joined");
	int fds[6];
	char line[32];

	for (size_t i = 0; i < 6; i++)
		fds[i] = connect_to(server->ports[0]);
	server_wait_stat(server, "members_joined", joined + 6);
	for (size_t from = 0; from < 6; from++) {
		(void)snprintf(line, sizeof line, "from %zu\n", from);
		send_text(fds[from], line);
		for (size_t to = 0; to < 6; to++)
			if (to != from)
				expect_text(fds[to], line);
	}
	for (size_t i = 0; i < 6; i++)
		(void)close(fds[i]);
}

#define CHAT "accept = handoff\nlisten = chat://127.0.0.1:0\n"

/* A server after a failed upgrade that had already made bus seats for one worker more. */
static struct server *after_a_failed_one(void)
{
	struct server *server = CONTROLLED("--config", server_control_config("workers = 2\n" CHAT));
	char text[300];

	(void)server_control_config("workers = 3\nbuffers = 1024G\n" CHAT);
	(void)snprintf(text, sizeof text, "#!/bin/sh\nulimit -v 20000000\nexec '%s' \"$@\"\n",
		       in_folder("weir.real"));
	ck_assert_int_eq(rename(server_control_program(), in_folder("weir.real")), 0);
	server_control_program_is(text, 0755);
	ck_assert_int_eq(server_control_ask("upgrade"), 1);
	ck_assert_msg(server_log_has(server, "did not come up"), "%s", server->log);
	server_control_program_is_weir();
	return server;
}

START_TEST(a_failed_one_does_not_keep_the_next_from_chat)
{
	struct server *server;

	if (suite_sanitized()) {
		suite_skip("takeover", "no limit of memory with a sanitizer");
		return;
	}
	server = after_a_failed_one();
	(void)server_control_config("workers = 3\n" CHAT);
	ck_assert_msg(server_control_ask("upgrade") == 0, "%s\n%s", server_control_answer(),
		      server->log);
	server_control_follow(server);
	chat_hears(server);
	server_control_stop(server);
}
END_TEST

START_TEST(a_failed_one_does_not_keep_more_workers_from_chat)
{
	struct server *server;

	if (suite_sanitized()) {
		suite_skip("takeover", "no limit of memory with a sanitizer");
		return;
	}
	server = after_a_failed_one();
	ck_assert_int_eq(kill(server->pid, SIGTTIN), 0);
	server_wait_log(server, "msg=\"change made\" what=workers");
	server_control_wait_workers(server, 3);
	chat_hears(server);
	server_control_stop(server);
}
END_TEST

/* Any step may fail for lack of descriptors. No watchdog, as it opens descriptors now and then. */
START_TEST(a_failed_one_keeps_no_descriptors)
{
	struct server *server =
	    CONTROLLED("--workers", "1", "--watchdog", "0", "echo://127.0.0.1:0");
	size_t n = process_descriptors_n(server->pid);
	struct rlimit limit, narrow;

	ck_assert_int_eq(prlimit(server->pid, RLIMIT_NOFILE, NULL, &limit), 0);
	for (size_t more = 0; more < 3; more++) {
		narrow = (struct rlimit){n + more, limit.rlim_max};
		ck_assert_int_eq(prlimit(server->pid, RLIMIT_NOFILE, &narrow, NULL), 0);
		server_control_forget(server);
		ck_assert_int_eq(kill(server->pid, SIGUSR2), 0);
		server_wait_log(server, "Too many open files");
		ck_assert_uint_eq(process_descriptors_n(server->pid), n);
	}
	ck_assert_int_eq(prlimit(server->pid, RLIMIT_NOFILE, &limit, NULL), 0);
	server_control_do("upgrade");
	server_control_follow(server);
	server_control_stop(server);
}
END_TEST

/* There are enough descriptors for the new worker's sockets, but not for its doorbells. */
START_TEST(a_worker_that_cant_be_has_no_newcomers)
{
	struct server *server =
	    CONTROLLED("--workers", "2", "--watchdog", "0", "chat://127.0.0.1:0");
	size_t n = process_descriptors_n(server->pid);
	struct rlimit limit, narrow;
	pid_t worker = server_wait_worker(server, 0, 0);

	ck_assert_int_eq(prlimit(server->pid, RLIMIT_NOFILE, NULL, &limit), 0);
	narrow = (struct rlimit){n + 2, limit.rlim_max};
	ck_assert_int_eq(prlimit(server->pid, RLIMIT_NOFILE, &narrow, NULL), 0);
	ck_assert_int_eq(kill(server->pid, SIGTTIN), 0);
	server_wait_log(server, "no shared memory for another worker");
	ck_assert_int_eq(prlimit(server->pid, RLIMIT_NOFILE, &limit, NULL), 0);
	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	(void)server_wait_worker(server, 0, worker);
	server_control_wait_workers(server, 2);
	for (size_t i = 0; i < 5 * CLIENTS; i++)
		(void)connect_to(server->ports[0]);
	server_wait_stat_is(server, "connections", 5 * CLIENTS);
	server_control_stop(server);
}
END_TEST

/* ---- files ---- */

START_TEST(a_pid_file_that_cant_be_written_is_no_reason_to_die)
{
	char folder[160], path[200], lock[220];
	struct server *server;

	(void)snprintf(folder, sizeof folder, "%s", in_folder("run"));
	(void)snprintf(path, sizeof path, "%s/pid", folder);
	(void)snprintf(lock, sizeof lock, "%s.lock", path);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	server = SERVER("--workers", "2", "--pid-file", path, "echo://127.0.0.1:0");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(unlink(lock), 0);
	ck_assert_int_eq(rmdir(folder), 0);
	(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
	server_wait_log(server, "the pid file can't be written");
	echoes(connect_to(server->ports[0]), "served");
	(void)server_control_make(server, SERVER_CONTROL_RELOAD);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

static void wait_gone(const char *path)
{
	for (struct wait wait = wait_begin(); exists(path);)
		wait_more(&wait, "a socket file to be gone");
}

START_TEST(a_control_socket_goes_where_the_next_configuration_says)
{
	char before[200], after[200], text[700];
	static const char form[] = "workers = 1\nlisten = echo://127.0.0.1:0\n%s%s\n";
	struct server *server;
	int fd;

	(void)snprintf(before, sizeof before, "%s", in_folder("before"));
	(void)snprintf(after, sizeof after, "%s", in_folder("after"));
	(void)snprintf(text, sizeof text, form, "control = ", before);
	server = SERVER("--config", write_file("conf", text));
	ck_assert(exists(before));
	(void)snprintf(text, sizeof text, form, "control = ", after);
	(void)write_file("conf", text);
	(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
	fd = connect_unix(after);
	(void)close(fd);
	wait_gone(before);
	(void)snprintf(text, sizeof text, form, "", "");
	(void)write_file("conf", text);
	(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
	wait_gone(after);
	echoes(connect_to(server->ports[0]), "served");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* The master could do nothing else while it waits for somebody to write to the pipe. */
START_TEST(a_pipe_in_place_of_the_configuration_is_refused)
{
	const char *path = server_control_config("workers = 1\nlisten = echo://127.0.0.1:0\n");
	struct server *server = CONTROLLED("--config", path);

	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(server_control_ask("reload"), 1);
	ck_assert_msg(strstr(server_control_answer(), "can't be read again") != NULL, "%s",
		      server_control_answer());
	echoes(connect_to(server->ports[0]), "served");
	server_control_stop(server);
}
END_TEST

SUITE("takeover",
      {"who is told to stop does not come back", who_is_told_to_stop_does_not_come_back, 30, 2},
      {"who waits is not the old one's to refuse", who_waits_is_not_the_old_ones_to_refuse, 30},
      {"workers that rest do not hold the old one", workers_that_rest_do_not_hold_the_old_one, 30},
      {"orders outlive the master that they came from",
       orders_outlive_the_master_that_they_came_from, 30},
      {"a failed one does not keep the next from chat",
       a_failed_one_does_not_keep_the_next_from_chat, 30},
      {"a failed one does not keep more workers from chat",
       a_failed_one_does_not_keep_more_workers_from_chat, 30},
      {"a pid file that can't be written is no reason to die",
       a_pid_file_that_cant_be_written_is_no_reason_to_die, 30},
      {"a pipe in place of the configuration is refused",
       a_pipe_in_place_of_the_configuration_is_refused, 30},
      {"a control socket goes where the next configuration says",
       a_control_socket_goes_where_the_next_configuration_says, 30},
      {"a failed one keeps no descriptors", a_failed_one_keeps_no_descriptors, 30},
      {"a worker that can't be has no newcomers", a_worker_that_cant_be_has_no_newcomers, 30},
      {"socket files go with the last of both", socket_files_go_with_the_last_of_both, 30, 2})
