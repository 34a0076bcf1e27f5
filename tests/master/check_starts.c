/*
 * Servers that start with the same address, socket file or pid file at the same time, and which
 * files a start and an end may touch. Processes of this test call the master's functions directly,
 * so that hundreds of starts are quick and the steps of two masters can be ordered.
 *
 * What this shows: one of several serves and the others are refused; each removes only its own
 * files; nothing is written through a link. Not tested: a file system without locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/lock_file.h"
#include "master/pid_file.h"
#include "master/listen/bound_socket.h"
#include "reactor/base/check.h"
#include "tests/support/server_control.h"
#include "tests/master/listen/bound_sockets.h"

#define RACERS 4

static void quit(const char *words)
{
	(void)words;
	_exit(1);
}

static void racer(bool (*start)(void), const int gate[2], const int told[2], const int end[2])
{
	char byte;

	(void)close(gate[1]);
	(void)close(told[0]);
	(void)close(end[1]);
	check_witness(quit);
	(void)read(gate[0], &byte, 1);
	if (!start())
		_exit(1);
	(void)write(told[1], "x", 1);
	(void)close(told[1]);
	(void)read(end[0], &byte, 1);
	_exit(0);
}

/* Several processes call start() at the same time, and end. Returns how many succeeded. */
static size_t starts(bool (*start)(void))
{
	int gate[2], told[2], end[2];
	size_t n = 0;
	char byte;

	ck_assert(pipe(gate) == 0 && pipe(told) == 0 && pipe(end) == 0);
	for (int i = 0; i < RACERS; i++) {
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			racer(start, gate, told, end);
	}
	(void)close(told[1]);
	(void)close(gate[0]);
	(void)close(gate[1]);
	while (read(told[0], &byte, 1) == 1)
		n++;
	(void)close(told[0]);
	(void)close(end[0]);
	(void)close(end[1]);
	for (int i = 0; i < RACERS; i++)
		ck_assert_int_gt(wait(NULL), 0);
	return n;
}

/* ---- addresses ---- */

static char listener[200];
static struct bound_socket bound;

static bool open_bound_socket(const char *text)
{
	static const struct bound_socket_settings settings = {.backlog = 16};
	char error[CONFIG_ERROR_BYTES];
	struct endpoint endpoint;
	const char *step;

	ck_assert_msg(endpoint_parse(&endpoint, text, error, sizeof error), "%s", error);
	return bound_socket_open(&bound, &endpoint, &settings, NULL, true, &step) == 0;
}

static bool open_listener(void)
{
	return open_bound_socket(listener);
}

static void one_of_several_listens(int n)
{
	for (int i = 0; i < n; i++)
		ck_assert_uint_eq(starts(open_listener), 1);
}

static void one_at_a_port(const char *protocol, int type, int n)
{
	unsigned port;
	int fd = bind_own(type, &port);

	(void)close(fd);
	(void)snprintf(listener, sizeof listener, "%s://127.0.0.1:%u", protocol, port);
	one_of_several_listens(n);
}

/* Each round finds the file of the round before, in which it was not removed. */
static void one_at_a_socket_file(int n)
{
	(void)snprintf(listener, sizeof listener, "echo://%s", in_folder("x.sock"));
	one_of_several_listens(n);
	ck_assert(exists(in_folder("x.sock")));
	ck_assert(!exists(in_folder("x.sock.lock")));
}

START_TEST(one_of_several_has_a_port)
{
	one_at_a_port("echo", SOCK_STREAM, 15);
}
END_TEST

START_TEST(one_of_several_has_a_port_of_datagrams)
{
	one_at_a_port("echo+udp", SOCK_DGRAM, 15);
}
END_TEST

START_TEST(one_of_several_has_a_socket_file)
{
	one_at_a_socket_file(15);
}
END_TEST

/* A single address against the wildcard address of the same port, in either order, for streams and
 * for datagrams. */
START_TEST(a_wider_address_is_refused_too)
{
	static const char *const forms[][2] = {
	    {"127.0.0.1:%u", "127.0.0.1:%u"},
	    {"127.0.0.1:%u", "0.0.0.0:%u"},
	    {"127.0.0.1:%u", ":%u"},
	    {"0.0.0.0:%u", ":%u"},
	    {"[::1]:%u", ":%u"},
	};
	static const char *const names[] = {"echo", "echo+udp"};

	for (size_t i = 0; i < sizeof forms / sizeof *forms * 4; i++) {
		const char *protocol = names[i % 2];
		char text[2][100], form[100];
		struct bound_socket first;
		unsigned port;
		int fd = bind_own(i % 2 ? SOCK_DGRAM : SOCK_STREAM, &port);

		(void)close(fd);
		for (size_t n = 0; n < 2; n++) {
			(void)snprintf(form, sizeof form, "%s://%s", protocol, forms[i / 4][n]);
			(void)snprintf(text[n], sizeof *text, form, port);
		}
		if (!open_bound_socket(text[i / 2 % 2])) /* no IPv6 here */
			continue;
		first = bound;
		ck_assert_msg(!open_bound_socket(text[1 - i / 2 % 2]), "%s and %s", text[0],
			      text[1]);
		bound_socket_close(&first, false);
	}
}
END_TEST

/* ---- the pid file ---- */

static char path[160];

static bool open_pid_file(void)
{
	pid_file_open(path, NULL);
	pid_file_write();
	return true;
}

static int number_in(const char *file)
{
	const char *text = read_whole(file);

	return text ? atoi(text) : 0;
}

/* Each round finds the pid and the lock file that the round before has left. */
static void one_has_a_pid_file(int n)
{
	(void)snprintf(path, sizeof path, "%s", in_folder("pid"));
	for (int i = 0; i < n; i++)
		ck_assert_uint_eq(starts(open_pid_file), 1);
	ck_assert(exists(path));
}

START_TEST(one_of_several_has_a_pid_file)
{
	one_has_a_pid_file(15);
}
END_TEST

START_TEST(a_hundred_times_one_of_several_starts)
{
	switch (_i) {
	case 0:
		one_at_a_port("echo", SOCK_STREAM, 100);
		break;
	case 1:
		one_at_a_port("echo+udp", SOCK_DGRAM, 100);
		break;
	case 2:
		one_at_a_socket_file(100);
		break;
	default:
		one_has_a_pid_file(100);
	}
}
END_TEST

/* The pid that a killed server left in its file may belong to any process by now. */
START_TEST(a_stale_number_of_another_server_does_not_matter)
{
	struct server *other = SERVER("--workers", "1", "echo://127.0.0.1:0"), *server;
	char text[32];

	(void)snprintf(path, sizeof path, "%s", in_folder("pid"));
	(void)snprintf(text, sizeof text, "%d\n", (int)server_wait_worker(other, 0, 0));
	(void)write_file("pid", text);
	server = SERVER("--workers", "1", "--pid-file", path, "echo://127.0.0.1:0");
	ck_assert_int_eq(number_in(path), server->pid);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert_int_eq(server_stop(other, SIGTERM), 0);
}
END_TEST

/* An old master without workers ends as soon as it has handed over, before the new one has written
 * its pid. */
START_TEST(one_that_was_handed_over_is_not_removed)
{
	static struct pid_file_inherited inherited;

	(void)snprintf(path, sizeof path, "%s", in_folder("pid"));
	(void)open_pid_file();
	pid_file_export(&inherited);
	ck_assert_int_ge(inherited.lock, 0);
	ck_assert_str_eq(inherited.path, path);
	pid_file_hand_over();
	pid_file_remove();
	ck_assert_int_eq(number_in(path), getpid());
	/* The new master has failed: the file is ours again. */
	pid_file_take_back();
	pid_file_remove();
	ck_assert(!exists(path));
	ck_assert(!exists(in_folder("pid.lock")));
}
END_TEST

/* The new master has ended and removed the lock, and another server has taken the pid file. */
START_TEST(what_is_anothers_by_now_is_not_taken_back)
{
	(void)snprintf(path, sizeof path, "%s", in_folder("pid"));
	(void)open_pid_file();
	pid_file_hand_over();
	ck_assert_int_eq(unlink(in_folder("pid.lock")), 0); /* as the new master does at its end */
	(void)fflush(NULL);
	if (fork() == 0) {
		(void)open_pid_file();
		(void)write_file("there", "");
		(void)pause();
	}
	for (struct wait wait = wait_begin(); !exists(in_folder("there"));)
		wait_more(&wait, "another server's start");
	pid_file_take_back();
	ck_assert_int_ne(number_in(path), getpid());
	pid_file_remove();
	ck_assert(exists(path));
	ck_assert(exists(in_folder("pid.lock")));
}
END_TEST

/* The new master holds the lock, too, and keeps others away after the old one has ended. If
 * somebody removed the lock file, an upgrade makes a new one. */
START_TEST(a_lock_outlives_an_upgrade)
{
	char output[4096], says[64];
	struct server *server;

	(void)snprintf(path, sizeof path, "%s", in_folder("pid"));
	server = SERVER("--workers", "1", "--pid-file", path, "echo://127.0.0.1:0");
	if (_i)
		ck_assert_int_eq(unlink(in_folder("pid.lock")), 0);
	(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
	ck_assert_int_eq(number_in(path), server->pid);
	ck_assert_int_eq(RUN(output, "--pid-file", path, "echo://127.0.0.1:0"), 1);
	(void)snprintf(says, sizeof says, "weir runs already, as pid %d", (int)server->pid);
	ck_assert_msg(strstr(output, says) != NULL, "%s", output);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(!exists(path));
	ck_assert(!exists(in_folder("pid.lock")));
}
END_TEST

/* The new configuration has another pid file: the old file is removed when the new master serves.
 */
START_TEST(a_pid_file_moves_at_an_upgrade)
{
	static const char form[] = "workers = 1\nlisten = echo://127.0.0.1:0\npid-file = %s\n";
	char other[160], text[400];
	struct server *server;

	(void)snprintf(path, sizeof path, "%s", in_folder("pid"));
	(void)snprintf(other, sizeof other, "%s", in_folder("other"));
	(void)snprintf(text, sizeof text, form, path);
	server = SERVER("--config", write_file("conf", text));
	(void)snprintf(text, sizeof text, form, other);
	(void)write_file("conf", text);
	(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
	ck_assert_int_eq(number_in(other), server->pid);
	ck_assert(!exists(path));
	ck_assert(!exists(in_folder("pid.lock")));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(!exists(other));
	ck_assert(!exists(in_folder("other.lock")));
}
END_TEST

/* The owner of the folder has put links in it where weir would write. */
START_TEST(nothing_is_written_through_a_link)
{
	char victim[160], beside[200];
	int status;
	pid_t pid;

	(void)snprintf(path, sizeof path, "%s", in_folder("pid"));
	(void)snprintf(victim, sizeof victim, "%s", write_file("victim", "data"));
	for (int i = 0; i < 5; i++) {
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			(void)snprintf(beside, sizeof beside,
				       i == 0	? "%s.%d"
				       : i == 1 ? "%s.new"
				       : i == 2 ? "%s.lock"
						: "%s",
				       path, (int)getpid());
			if ((i == 4 ? link(victim, beside) : symlink(victim, beside)) < 0)
				_exit(2);
			check_witness(quit);
			(void)open_pid_file();
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status,
				 i == 2 ? 1 << 8 : 0); /* a lock file that is a link is refused */
		ck_assert_str_eq(read_whole(victim), "data");
		if (i != 2)
			ck_assert_int_eq(number_in(path), pid);
		(void)unlink(path);
		(void)unlink(in_folder("pid.lock"));
	}
}
END_TEST

START_TEST(a_pipe_in_its_place_holds_nobody_up)
{
	(void)snprintf(path, sizeof path, "%s", in_folder("pid"));
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	(void)open_pid_file();
	ck_assert_int_eq(number_in(path), getpid());
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	pid_file_remove();
	ck_assert(exists(path));
	ck_assert_int_eq(mkfifo(in_folder("pid.lock"), 0600), 0);
	(void)open_pid_file();
	ck_assert_int_eq(number_in(path), getpid());
	pid_file_remove();
}
END_TEST

/* A master was killed while the new one hangs at its start. The new one still holds the lock, but
 * the pid in the file is that of no process. */
START_TEST(a_lock_without_its_master_is_named)
{
	char output[4096], text[32];
	pid_t gone = fork();
	int lock;

	ck_assert_int_ge(gone, 0);
	if (gone == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(gone, NULL, 0), gone);
	(void)snprintf(text, sizeof text, "%d\n", (int)gone);
	(void)snprintf(path, sizeof path, "%s", write_file("pid", text));
	lock = lock_file_take(path);
	ck_assert_int_ge(lock, 0);
	ck_assert_int_eq(RUN(output, "--pid-file", path, "echo://127.0.0.1:0"), 1);
	ck_assert_msg(strstr(output, "has gone, but a process that it started still locks") != NULL,
		      "%s", output);
	ck_assert_int_eq(number_in(path), gone);
	lock_file_release(lock, path);
}
END_TEST

/* Tested with a socket, as a copy of /dev/null would need root. */
START_TEST(what_is_no_file_is_not_replaced)
{
	char output[4096];
	struct stat status;

	(void)snprintf(path, sizeof path, "%s", in_folder("pid"));
	ck_assert_int_eq(mknod(path, S_IFSOCK | 0600, 0), 0);
	ck_assert_int_eq(RUN(output, "--pid-file", path, "echo://127.0.0.1:0"), 1);
	ck_assert_msg(strstr(output, "a device or a socket is there") != NULL, "%s", output);
	ck_assert(lstat(path, &status) == 0 && S_ISSOCK(status.st_mode));
	ck_assert(!exists(in_folder("pid.lock")));
}
END_TEST

SUITE("starts", {"one of several has a port", one_of_several_has_a_port, 30},
      {"one of several has a port of datagrams", one_of_several_has_a_port_of_datagrams, 30},
      {"one of several has a socket file", one_of_several_has_a_socket_file, 30},
      {"a wider address is refused, too", a_wider_address_is_refused_too, 20},
      {"one of several has a pid file", one_of_several_has_a_pid_file, 30},
      {"a stale number of another server does not matter",
       a_stale_number_of_another_server_does_not_matter, 20},
      {"one that was handed over is not removed", one_that_was_handed_over_is_not_removed, 20},
      {"what is another's by now is not taken back", what_is_anothers_by_now_is_not_taken_back, 20},
      {"a lock outlives an upgrade", a_lock_outlives_an_upgrade, 20, 2},
      {"a pid file moves at an upgrade", a_pid_file_moves_at_an_upgrade, 20},
      {"nothing is written through a link", nothing_is_written_through_a_link, 20},
      {"a pipe in its place holds nobody up", a_pipe_in_its_place_holds_nobody_up, 10},
      {"a lock without its master is named", a_lock_without_its_master_is_named, 10},
      {"what is no file is not replaced", what_is_no_file_is_not_replaced, 10},
      {"a hundred times one of several starts", a_hundred_times_one_of_several_starts, 30, 4,
       .kind = SUITE_LONG})
