/*
 * rights: descriptors that strangers pass over unix sockets never block weir. The kernel refuses
 * them if it can; if not, they are neither received nor closed by a process on which others wait.
 *
 * The descriptors that are passed take an hour to close (tests/support/lingering.h): without the
 * mechanism the server would block that long, and the test would be ended by its limit.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/descriptor.h"
#include "reactor/base/rights.h"
#include "tests/support/ctl.h"
#include "tests/support/lingering.h"
#include "tests/support/clients/scraper.h"

static void open_pair(int ends[2], int type)
{
	ck_assert_int_eq(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends), 0);
}

/* ---- the room ---- */

START_TEST(they_are_refused_if_the_kernel_can)
{
	int ends[2];

	open_pair(ends, SOCK_STREAM);
	ck_assert(rights_may_come(ends[0]));
	if (!rights_refuse(ends[0])) {
		suite_skip("they are refused if the kernel can", "this one can't");
		return;
	}
	ck_assert(!rights_may_come(ends[0]));
	ck_assert_int_eq(pass_lingering(ends[1], "x", false, 0), -EPERM);
}
END_TEST

START_TEST(what_has_them_is_never_read)
{
	char bytes[64];
	int ends[2];

	open_pair(ends, SOCK_STREAM);
	ck_assert(older_kernel() || true);
	ck_assert_int_eq(rights_read(ends[0], bytes, sizeof bytes), -EAGAIN);
	send_text(ends[1], "before");
	ck_assert_int_eq(rights_read(ends[0], bytes, 4), 4);
	ck_assert_int_eq(rights_read(ends[0], bytes + 4, sizeof bytes), 2);
	ck_assert_mem_eq(bytes, "before", 6);
	ck_assert_int_eq(pass_lingering(ends[1], "with", false, 0), 0);
	send_text(ends[1], "behind");
	ck_assert_int_eq(rights_read(ends[0], bytes, sizeof bytes), -RIGHTS_CAME);
	ck_assert_int_eq(rights_read(ends[0], bytes, 1), -RIGHTS_CAME);
}
END_TEST

START_TEST(an_urgent_byte_is_no_way_around_it)
{
	char bytes[64];
	int ends[2];

	open_pair(ends, SOCK_STREAM);
	if (!older_kernel()) {
		suite_skip("an urgent byte is no way around it", "seccomp is not allowed here");
		return;
	}
	ck_assert(rights_may_come(ends[0]));
	if (pass_lingering(ends[1], "!", false, MSG_OOB)) {
		suite_skip("an urgent byte is no way around it", "this kernel has none here");
		return;
	}
	send_text(ends[1], "behind");
	ck_assert_int_eq(rights_read(ends[0], bytes, sizeof bytes), -RIGHTS_CAME);
}
END_TEST

static ino_t inode_of(int fd)
{
	struct stat status;

	ck_assert_int_eq(fstat(fd, &status), 0);
	return status.st_ino;
}

static void expect_handed_over(int channel, ino_t inode)
{
	int fds[DESCRIPTORS_MAX];
	size_t n;
	char byte;

	ck_assert_int_eq(descriptors_receive(channel, &byte, 1, fds, &n), 1);
	ck_assert_uint_eq(n, 2);
	ck_assert_uint_eq(inode_of(fds[0]), inode);
	ck_assert_int_eq(read(fds[1], &byte, 1), 0); /* its sender has closed its own copy */
}

START_TEST(what_can_not_be_closed_is_handed_over)
{
	int channel[2], ends[2], more[2];
	ino_t first, second;

	open_pair(channel, SOCK_SEQPACKET);
	open_pair(ends, SOCK_STREAM);
	open_pair(more, SOCK_STREAM);
	first = inode_of(ends[0]);
	second = inode_of(more[0]);
	ck_assert_int_eq(pass_lingering(ends[1], "x", false, 0), 0);
	ck_assert_int_eq(pass_lingering(more[1], "x", true, 0), 0);
	rights_close(ends[0]); /* no process can take it yet, so it stays open; */
	expect_end(ends[1]);   /* but its peer sees it end */
	rights_hand_to(channel[0]);
	rights_close(more[0]);
	expect_handed_over(channel[1], first);
	expect_handed_over(channel[1], second);
	open_pair(ends, SOCK_STREAM);
	rights_close(ends[0]); /* without descriptors in its queue it is just closed */
	expect_end(ends[1]);
	rights_close(lingering()); /* this one does not linger either */
}
END_TEST

/* ---- the server ---- */

static const char *echo_path(void)
{
	return in_folder("echo");
}

static char control[256];

static struct server *serve(const char *accept)
{
	char listener[256], metrics[256];

	(void)snprintf(listener, sizeof listener, "echo://%s?accept=%s", echo_path(), accept);
	(void)snprintf(control, sizeof control, "%s", in_folder("control"));
	(void)snprintf(metrics, sizeof metrics, "%s", in_folder("metrics"));
	return SERVER("--workers", "1", "--control", control, "--metrics", metrics, listener);
}

static void expect_served(void)
{
	int fd = connect_unix(echo_path());

	send_text(fd, "hello");
	expect_text(fd, "hello");
	(void)close(fd);
	fd = connect_unix(in_folder("metrics"));
	ck_assert_int_eq(get_on(fd, "/healthz")->status, 200);
	(void)close(fd);
	ck_assert_int_eq(CTL("--control", control, "pid"), 0);
}

START_TEST(no_socket_of_weir_takes_any)
{
	static const char *const paths[] = {"echo", "metrics", "control"};
	struct server *server;
	int ends[2];

	open_pair(ends, SOCK_STREAM);
	if (!rights_refuse(ends[0])) {
		suite_skip("no socket of weir takes any", "this kernel can't refuse them");
		return;
	}
	server = serve("shared");
	for (size_t i = 0; i < 3; i++) {
		int fd = connect_unix(in_folder(paths[i]));

		ck_assert_int_eq(pass_lingering(fd, "x", false, 0), -EPERM);
		(void)close(fd);
	}
	expect_served();
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert_uint_eq(server_stat(server, "closed_descriptors"), 0);
}
END_TEST

/* Passes descriptors to each socket, in three ways: weir reads the bytes; or closes the connection
 * with the bytes unread; or the descriptors are buried in another socket. */
static void attack(void)
{
	static const char *const paths[] = {"echo", "metrics", "control"};

	for (size_t i = 0; i < 3; i++) {
		for (size_t way = 0; way < 3; way++) {
			int fd = connect_unix(in_folder(paths[i]));

			(void)pass_lingering(fd, way ? "x" : "x\n", way == 2, 0);
			if (way)
				(void)close(fd);
			else
				expect_reset_or_end(fd);
		}
	}
}

START_TEST(an_older_kernel_is_not_stopped_by_any)
{
	static const char *const modes[] = {"shared", "handoff"};
	struct server *server;
	int moves;

	if (!older_kernel()) {
		suite_skip("an older kernel is not stopped by any", "seccomp is not allowed here");
		return;
	}
	server = serve(modes[_i]);
	server_wait_log(server, "can't refuse descriptors");
	moves = connect_unix(echo_path());
	send_text(moves, "here");
	expect_text(moves, "here");
	ck_assert_int_eq(CTL("--control", control, "reload"), 0);
	ck_assert_uint_eq(server_stat(server, "moved_in"), 1);
	attack();
	server_wait_stat_is(server, "closed_descriptors", 3);
	send_text(moves, "there");
	expect_text(moves, "there");
	expect_served();
	no_zombies(server, 1); /* the processes that took them have ended */
	ck_assert_uint_eq(server_log_count(server, "msg=\"worker started\""), 2);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Without a master no process can take them: they stay open until the server ends. */
START_TEST(a_server_without_a_master_goes_on_too)
{
	struct server *server;
	char listener[256];
	int fd;

	if (!older_kernel()) {
		suite_skip("a server without a master goes on too", "seccomp is not allowed here");
		return;
	}
	(void)snprintf(listener, sizeof listener, "echo://%s", echo_path());
	server = SERVER("--no-master", "--workers", "1", listener);
	fd = connect_unix(echo_path());
	ck_assert_int_eq(pass_lingering(fd, "x", false, 0), 0);
	server_wait_stat_is(server, "closed_descriptors", 1);
	fd = connect_unix(echo_path());
	send_text(fd, "hello");
	expect_text(fd, "hello");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- a worker in hostile hands ---- */

/* Copies all SOCK_SEQPACKET sockets of a process. Returns how many there are. */
static int steal(pid_t pid, int fds[], int max)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), n = 0;

	for (int number = 3; pidfd >= 0 && number < 64 && n < max; number++) {
		int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0), type = 0;
		socklen_t bytes = sizeof type;

		if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 &&
		    type == SOCK_SEQPACKET)
			fds[n++] = fd;
		else if (fd >= 0)
			(void)close(fd);
	}
	return n;
}

START_TEST(a_hostile_worker_does_not_hold_its_master_up)
{
	struct server *server;
	pid_t worker;
	int fds[4], n;

	if (_i && !older_kernel()) {
		suite_skip("a hostile worker does not hold its master up", "no seccomp here");
		return;
	}
	server = serve("shared");
	worker = server_wait_worker(server, 0, 0);
	n = steal(worker, fds, 4);
	if (!n) {
		suite_skip("a hostile worker does not hold its master up", "no ptrace here");
		return;
	}
	ck_assert_int_eq(n, 2); /* its channel, and the one for sockets that it can't close */
	for (int i = 0; i < n; i++)
		(void)pass_lingering(fds[i], "x", false, 0);
	if (_i) /* the master does not trust it any more, and replaces it */
		ck_assert_int_ne(server_wait_worker(server, 0, worker), worker);
	expect_served();
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* The receiver has copies of all the master's descriptors: listening sockets, the pid file's lock.
 */
START_TEST(their_receiver_does_not_outlive_the_master)
{
	struct wait wait = wait_begin();
	struct server *server;
	int fds[4], pipes[2], both[2];
	pid_t receiver;

	if (!older_kernel()) {
		suite_skip("their receiver does not outlive the master", "no seccomp here");
		return;
	}
	server = serve("shared");
	if (steal(server_wait_worker(server, 0, 0), fds, 4) != 2) {
		suite_skip("their receiver does not outlive the master", "no ptrace here");
		return;
	}
	ck_assert_int_eq(pipe(pipes), 0);
	both[0] = both[1] =
	    pipes[0]; /* the receiver waits for this pipe to end, which never does */
	for (int i = 0; i < 2; i++)
		(void)descriptors_send(fds[i], "x", 1, both, 2);
	while (!(receiver = server_child(server, "weir-disposal")))
		wait_more(&wait, "who takes them");
	ck_assert_int_eq(kill(receiver, SIGSTOP), 0);
	ck_assert_int_eq(server_stop(server, SIGKILL), 128 + SIGKILL);
	while (process_state(receiver) && process_state(receiver) != 'Z')
		wait_more(&wait, "the end of who takes them");
}
END_TEST

SUITE("rights", {"they are refused if the kernel can", they_are_refused_if_the_kernel_can, 10},
      {"what has them is never read", what_has_them_is_never_read, 10},
      {"an urgent byte is no way around it", an_urgent_byte_is_no_way_around_it, 10},
      {"what can't be closed is handed over", what_can_not_be_closed_is_handed_over, 10},
      {"no socket of weir takes any", no_socket_of_weir_takes_any, 20},
      {"an older kernel is not stopped by any", an_older_kernel_is_not_stopped_by_any, 20, 2},
      {"a server without a master goes on too", a_server_without_a_master_goes_on_too, 20},
      {"a hostile worker does not hold its master up", a_hostile_worker_does_not_hold_its_master_up,
       20, 2},
      {"their receiver does not outlive the master", their_receiver_does_not_outlive_the_master,
       20})
