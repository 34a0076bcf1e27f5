/*
 * Socket files: which file is weir's own if others change the folder, and that removed ones are
 * made again. Tests that need steps in a certain order call the functions in this process; the
 * others reload or upgrade a server.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "master/listen/bound_socket.h"
#include "tests/support/server_control.h"

static struct bound_socket bound;
static char path[160], listener[200];

static bool open_bound_socket(unsigned mode)
{
	struct bound_socket_settings settings = {.backlog = 16, .mode = mode};
	char error[CONFIG_ERROR_BYTES];
	struct endpoint endpoint;
	const char *step;

	(void)snprintf(path, sizeof path, "%s", in_folder("x.sock"));
	(void)snprintf(listener, sizeof listener, "echo://%s", path);
	ck_assert_msg(endpoint_parse(&endpoint, listener, error, sizeof error), "%s", error);
	return bound_socket_open(&bound, &endpoint, &settings, NULL, true, &step) == 0;
}

static unsigned mode_of(const char *file)
{
	struct stat status;

	ck_assert_int_eq(lstat(file, &status), 0);
	return status.st_mode & 0777;
}

/* ---- a folder of another user ---- */

static const char *victim; /* the target of a link that replaces the file right after bind() */

int swapping_bind(int fd, const struct sockaddr *address, socklen_t n) __asm__("bind");
int swapping_bind(int fd, const struct sockaddr *address, socklen_t n)
{
	int result = (int)syscall(SYS_bind, fd, address, n);

	if (result == 0 && victim) {
		ck_assert_int_eq(unlink(path), 0);
		ck_assert_int_eq(symlink(victim, path), 0);
	}
	return result;
}

START_TEST(a_mode_is_not_set_through_a_link)
{
	char secret[160];

	(void)snprintf(secret, sizeof secret, "%s", write_file("secret", "data"));
	ck_assert_int_eq(chmod(secret, 0600), 0);
	victim = secret;
	ck_assert(open_bound_socket(0666));
	ck_assert_uint_eq(mode_of(secret), 0600);
	bound_socket_set(&bound, &(struct bound_socket_settings){.backlog = 16, .mode = 0606});
	ck_assert_uint_eq(mode_of(secret), 0600);
	bound_socket_close(&bound, false);
	ck_assert(exists(path)); /* the link is not weir's, so it is not removed */
	ck_assert_str_eq(read_whole(secret), "data");
}
END_TEST

/* A reload changes the mode of weir's own file, even if it was moved, and of no other file. */
START_TEST(a_mode_is_that_of_our_own_file)
{
	char moved[160], own[160];
	mode_t mask = umask(027);

	(void)snprintf(moved, sizeof moved, "%s", in_folder("moved"));
	(void)snprintf(own, sizeof own, "%s", in_folder("own"));
	ck_assert(open_bound_socket(0660));
	ck_assert_uint_eq(mode_of(path), 0660);
	ck_assert_int_eq(rename(path, moved), 0);
	ck_assert_int_eq(link(write_file("own", "data"), path), 0);
	bound_socket_set(&bound, &(struct bound_socket_settings){.backlog = 16, .mode = 0606});
	ck_assert_uint_eq(mode_of(moved), 0606);
	ck_assert_uint_eq(mode_of(own), 0640);
	bound_socket_set(&bound, &(struct bound_socket_settings){.backlog = 16});
	ck_assert_uint_eq(mode_of(moved), 0750);
	bound_socket_close(&bound, false);
	ck_assert(exists(path));
	ck_assert_uint_eq(umask(mask), 027);
}
END_TEST

/* The inode number of a removed file is soon used again. A draining server must not take the new
 * file for its own. */
START_TEST(another_file_of_the_same_number_is_not_removed)
{
	struct bound_socket first;
	struct stat status;

	ck_assert(open_bound_socket(0));
	first = bound;
	bound_socket_close_sockets(&first); /* as a server that drains */
	for (int i = 0; i < 20; i++) {
		ck_assert(open_bound_socket(0)); /* the file is stale: another server replaces it */
		ck_assert_int_eq(stat(path, &status), 0);
		if (i == 19 || status.st_ino == first.file.inode)
			break;
		bound_socket_close(&bound, false);
	}
	ck_assert_uint_ne(status.st_ino, first.file.inode);
	bound_socket_close(&first, false);
	ck_assert(exists(path));
	bound_socket_close(&bound, false);
	ck_assert(!exists(path));
}
END_TEST

/* ---- a file that somebody removed ---- */

static void echoes(int fd)
{
	send_text(fd, "hello");
	expect_text(fd, "hello");
}

static void answers_health(const char *metrics)
{
	int fd = connect_unix(metrics);
	char text[32] = "";

	send_text(fd, "GET /healthz HTTP/1.0\r\n\r\n");
	receive_exactly(fd, text, strlen("HTTP/1.1 200"));
	ck_assert_msg(strstr(text, " 200") != NULL, "%s", text);
	(void)close(fd);
}

static void answers_weirctl(const char *control)
{
	int fd = connect_unix(control);
	char text[512] = "";

	send_text(fd, "pid\n");
	(void)receive_to_end(fd, text, sizeof text - 1);
	ck_assert_msg(strstr(text, "done\n") != NULL, "%s", text);
	(void)close(fd);
}

/* The change makes removed files again: connected clients move, and new ones can connect. */
static void comes_back(enum server_control change, const char *accept)
{
	char metrics[160], control[160];
	struct server *server;
	int before;

	(void)snprintf(path, sizeof path, "%s", in_folder("x.sock"));
	(void)snprintf(listener, sizeof listener, "echo://%s?mode=0666&accept=%s", path, accept);
	(void)snprintf(metrics, sizeof metrics, "%s", in_folder("metrics"));
	(void)snprintf(control, sizeof control, "%s", in_folder("control"));
	server = SERVER("--workers", "2", "--control", control, "--metrics", metrics, listener);
	before = connect_unix(path);
	echoes(before);
	for (int i = 1; i <= 2; i++) {
		int late;

		ck_assert_int_eq(unlink(path), 0);
		ck_assert_int_eq(unlink(metrics), 0);
		if (change == SERVER_CONTROL_UPGRADE)
			ck_assert_int_eq(unlink(control), 0);
		ck_assert_uint_eq(server_control_make(server, change).moved, 1);
		echoes(before);
		ck_assert_uint_eq(mode_of(path), 0666);
		late = connect_unix(path);
		echoes(late);
		(void)close(late);
		answers_health(metrics);
		answers_weirctl(control);
		server_wait_stat_is(server, "closed_eof", (uint64_t)i);
	}
	server_control_expect_no_loss(server);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(!exists(path));
	ck_assert(!exists(metrics));
	ck_assert(!exists(control));
}

static const char *const modes[] = {"shared", "handoff"};

START_TEST(a_removed_file_comes_back_at_a_reload)
{
	comes_back(SERVER_CONTROL_RELOAD, modes[_i]);
}
END_TEST

START_TEST(a_removed_file_comes_back_at_an_upgrade)
{
	comes_back(SERVER_CONTROL_UPGRADE, modes[_i]);
}
END_TEST

/* The file was removed while a client waits at the socket and no worker accepts. */
START_TEST(who_waits_at_the_old_socket_is_let_in)
{
	enum server_control change = _i ? SERVER_CONTROL_UPGRADE : SERVER_CONTROL_RELOAD;
	struct server_control_change seen;
	struct server *server;
	pid_t worker;
	int waits;

	(void)snprintf(path, sizeof path, "%s", in_folder("x.sock"));
	(void)snprintf(listener, sizeof listener, "echo://%s", path);
	server = CONTROLLED("--workers", "1", listener);
	worker = server_wait_worker(server, 0, 0);
	ck_assert_int_eq(kill(worker, SIGSTOP), 0);
	waits = connect_unix(path);
	ck_assert_int_eq(unlink(path), 0);
	server_control_order(server, change);
	for (struct wait wait = wait_begin(); !exists(path);)
		wait_more(&wait, "the socket file to come back");
	ck_assert_int_eq(kill(worker, SIGCONT), 0);
	for (struct wait wait = wait_begin(); !server_control_done(server, change, &seen);)
		wait_more(&wait, "the change");
	echoes(waits);
	echoes(connect_unix(path));
	server_control_expect_no_loss(server);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Another server has the path by now. The rest of the change is made all the same. */
START_TEST(a_place_that_is_anothers_is_left_to_it)
{
	struct server *server, *other;
	int before;

	(void)snprintf(path, sizeof path, "%s", in_folder("x.sock"));
	(void)snprintf(listener, sizeof listener, "echo://%s", path);
	server = CONTROLLED("--workers", "1", listener);
	before = connect_unix(path);
	echoes(before);
	ck_assert_int_eq(unlink(path), 0);
	other = SERVER("--workers", "1", listener);
	(void)server_control_make(server, SERVER_CONTROL_RELOAD);
	server_wait_log(server, "a socket file that was removed does not come back");
	(void)server_control_make(server, SERVER_CONTROL_UPGRADE);
	echoes(before);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	echoes(connect_unix(path));
	ck_assert_int_eq(server_stop(other, SIGTERM), 0);
	ck_assert(!exists(path));
}
END_TEST

SUITE("socket_file", {"a mode is not set through a link", a_mode_is_not_set_through_a_link, 20},
      {"a mode is that of our own file", a_mode_is_that_of_our_own_file, 20},
      {"another file of the same number is not removed",
       another_file_of_the_same_number_is_not_removed, 20},
      {"a removed file comes back at a reload", a_removed_file_comes_back_at_a_reload, 30, 2},
      {"a removed file comes back at an upgrade", a_removed_file_comes_back_at_an_upgrade, 30, 2},
      {"who waits at the old socket is let in", who_waits_at_the_old_socket_is_let_in, 30, 2},
      {"a place that is another's is left to it", a_place_that_is_anothers_is_left_to_it, 30})
