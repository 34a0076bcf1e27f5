/*
 * bench/designs/thread-chat: each line goes to everyone else, whole and in order; and a client that
 * does not read stops all others, which this design is there to show.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/bench/designs.h"

#define CLIENTS	   50
#define LINES	   20
#define LINE_BYTES 16000 /* the longest, without its \n */

static struct server *start(void)
{
	design_choose("thread-chat");
	return DESIGN_LAUNCH("chat://127.0.0.1:0");
}

/* Connects a client, which is in the server's list when this returns: all n others have got a line
 * from it. The first of them may not be in the list itself yet, so lines are sent until it gets
 * one.
 */
static int join(const struct server *server, const int *others, size_t n)
{
	int fd = connect_to(server->ports[0]);
	struct wait wait = wait_begin();
	char line[3];

	if (!n)
		return fd;
	while (poll(&(struct pollfd){.fd = others[0], .events = POLLIN}, 1, 0) == 0) {
		send_text(fd, "hi\n");
		wait_more(&wait, "a client that is in the list");
	}
	send_text(fd, "in\n");
	for (size_t i = 0; i < n; i++)
		do
			receive_exactly(others[i], line, sizeof line);
		while (memcmp(line, "in\n", sizeof line) != 0);
	return fd;
}

static void expect_nothing_yet(int fd)
{
	char byte;

	ck_assert_int_eq(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

/* ---- what it serves ---- */

START_TEST(a_line_goes_to_everyone_else)
{
	struct server *server = start();
	int fds[3];

	for (size_t i = 0; i < 3; i++)
		fds[i] = join(server, fds, i);
	/* Lines are sent in parts, several at once, and empty: what comes is whole lines. */
	send_text(fds[0], "on");
	send_text(fds[1], "two\n\nthree\nfou");
	for (int i = 0; i < 3; i += 2)
		expect_text(fds[i], "two\n\nthree\n");
	send_text(fds[0], "e\n");
	expect_text(fds[1], "one\n");
	expect_text(fds[2], "one\n");
	/* Nobody gets the half line of a sender that has gone. */
	finish_sending(fds[1]);
	expect_end(fds[1]);
	send_text(fds[2], "left\n");
	expect_text(fds[0], "left\n");
	expect_nothing_yet(fds[2]);
	design_stop(server);
}
END_TEST

START_TEST(a_line_too_long_ends_its_sender)
{
	struct server *server = start();
	static char line[LINE_BYTES + 2];
	int fds[3];

	for (size_t i = 0; i < 3; i++)
		fds[i] = join(server, fds, i);
	memset(line, 'x', sizeof line);
	line[LINE_BYTES] = '\n';
	send_all(fds[0], line, LINE_BYTES + 1);
	expect_bytes(fds[1], line, LINE_BYTES + 1);
	line[LINE_BYTES] = 'x';
	send_all(fds[0], line, LINE_BYTES + 1);
	expect_reset_or_end(fds[0]);
	send_text(fds[1], "still here\n");
	expect_bytes(fds[2], line, LINE_BYTES);
	expect_text(fds[2], "\nstill here\n");
	design_stop(server);
}
END_TEST

/* Expects all lines, "NUMBER LINE\n", of everyone else, each sender's in order. */
static void expect_lines_of_others(int fd, int self)
{
	static char bytes[CLIENTS * LINES * 16];
	int next[CLIENTS] = {0};
	size_t n = 0;
	char *at = bytes;

	for (int i = 0; i < CLIENTS * LINES; i++)
		n += i / LINES == self ? 0
				       : (size_t)snprintf(NULL, 0, "%d %d\n", i / LINES, i % LINES);
	receive_exactly(fd, bytes, n);
	while (at < bytes + n) {
		int sender = (int)strtol(at, &at, 10), line = (int)strtol(at, &at, 10);

		ck_assert_int_eq(*at++, '\n');
		ck_assert(sender >= 0 && sender < CLIENTS && sender != self);
		ck_assert_int_eq(line, next[sender]++);
	}
	for (int i = 0; i < CLIENTS; i++)
		ck_assert_int_eq(next[i], i == self ? 0 : LINES);
	expect_nothing_yet(fd);
}

START_TEST(a_crowd_talks_at_once)
{
	struct server *server = start();
	struct wait wait = wait_begin();
	size_t descriptors = process_descriptors_n(server->pid);
	int fds[CLIENTS];
	char line[32];

	for (size_t i = 0; i < CLIENTS; i++)
		fds[i] = join(server, fds, i);
	for (int i = 0; i < LINES; i++) {
		for (int j = 0; j < CLIENTS; j++) {
			(void)snprintf(line, sizeof line, "%d %d\n", j, i);
			send_text(fds[j], line);
		}
	}
	for (int i = 0; i < CLIENTS; i++)
		expect_lines_of_others(fds[i], i);
	for (int i = 0; i < CLIENTS; i++)
		i % 2 ? (void)close(fds[i]) : reset(fds[i]);
	while (process_descriptors_n(server->pid) != descriptors)
		wait_more(&wait, "the end of all clients");
	design_stop(server);
}
END_TEST

/* ---- what stops it ---- */

/* How many of the server's threads sleep in this system call, with this descriptor as its first
 * argument (-1: any). Returns -1 if /proc does not say. */
static int sleeping_in(const struct server *server, long call, long descriptor)
{
	char path[320];
	struct dirent *entry;
	bool known = false;
	int n = 0;
	DIR *folder;

	(void)snprintf(path, sizeof path, "/proc/%d/task", (int)server->pid);
	folder = opendir(path);
	ck_assert_ptr_nonnull(folder);
	while ((entry = readdir(folder))) {
		long number, argument;
		const char *text;

		(void)snprintf(path, sizeof path, "/proc/%d/task/%s/syscall", (int)server->pid,
			       entry->d_name);
		text = read_whole(path);
		known = known || (text && *text);
		if (text && sscanf(text, "%ld %lx", &number, (unsigned long *)&argument) == 2)
			n += number == call && (descriptor < 0 || argument == descriptor);
	}
	(void)closedir(folder);
	return known ? n : -1;
}

/* The server's descriptor for the client that joined last: the greatest from which a thread reads.
 */
static long last_descriptor(const struct server *server, int clients)
{
	struct wait wait = wait_begin();
	long fd = 64;

	while (sleeping_in(server, SYS_read, -1) != clients)
		wait_more(&wait, "a thread that reads for each client");
	while (fd > 0 && !sleeping_in(server, SYS_read, fd))
		fd--;
	return fd;
}

/* Reads whatever has come. Returns how much. */
static size_t drain(int fd)
{
	static char bytes[1 << 18];
	size_t n = 0;
	ssize_t part;

	while ((part = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
		n += (size_t)part;
	ck_assert_int_eq(part, -1);
	return n;
}

/* Sends until a thread of the server waits for the client that does not read, and the sender waits
 * for that thread; the other client reads all the time. Returns how much was sent, in whole lines.
 */
static size_t send_until_stuck(const struct server *server, int sender, int reader, long unread,
			       size_t *came)
{
	static char line[1000];
	struct wait wait = wait_begin();
	size_t sent = 0;

	memset(line, 'x', sizeof line);
	line[sizeof line - 1] = '\n';
	for (;;) {
		ssize_t n = send(sender, line + sent % sizeof line,
				 sizeof line - sent % sizeof line, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			sent += (size_t)n;
			continue;
		}
		ck_assert_int_eq(errno, EAGAIN);
		*came += drain(reader);
		if (sleeping_in(server, SYS_write, unread) == 1)
			return sent;
		wait_more(&wait, "a write that does not return");
	}
}

START_TEST(one_who_does_not_read_stops_all)
{
	struct server *server = start();
	struct wait wait = wait_begin();
	enum { SENDER, READER, UNREAD, NEWCOMER };
	size_t sent, came = 0;
	char both[sizeof "is anybody there?\nhello\n" - 1];
	int fds[4];
	long unread;

	if (sleeping_in(server, SYS_read, -1) < 0) {
		suite_skip("one who does not read stops all", "/proc/PID/syscall cannot be read");
		return;
	}
	for (size_t i = 0; i < 3; i++)
		fds[i] = join(server, fds, i);
	set_buffers(fds[UNREAD], 0, 1);
	unread = last_descriptor(server, 3);
	sent = send_until_stuck(server, fds[SENDER], fds[READER], unread, &came);
	/* Now all others wait for the lock, newcomers included, although they are not in each
	 * other's way. */
	send_text(fds[READER], "is anybody there?\n");
	fds[NEWCOMER] = connect_to(server->ports[0]);
	send_text(fds[NEWCOMER], "hello\n");
	while (sleeping_in(server, SYS_futex, -1) != 2)
		wait_more(&wait, "threads that wait for the lock");
	ck_assert_int_eq(sleeping_in(server, SYS_write, unread), 1);
	came += drain(fds[READER]);
	ck_assert_uint_lt(came, sent);
	expect_nothing_yet(fds[SENDER]);
	expect_nothing_yet(fds[NEWCOMER]);
	/* The client that did not read was the only cause: when it leaves, everything goes on. */
	reset(fds[UNREAD]);
	while (came < sent - sent % 1000 + strlen("hello\n")) {
		came += drain(fds[READER]);
		(void)drain(fds[NEWCOMER]);
		wait_more(&wait, "what was held back");
	}
	/* Of the two that waited for the lock, either may come first. */
	receive_exactly(fds[SENDER], both, sizeof both);
	ck_assert_ptr_nonnull(memmem(both, sizeof both, "is anybody there?\n", 18));
	design_stop(server);
}
END_TEST

START_TEST(wrong_usage)
{
	char output[4096];

	(void)setenv("WEIR", built("designs/thread-chat"), 1);
	ck_assert_int_eq(RUN(output, "echo://127.0.0.1:0"), 2);
	ck_assert_ptr_nonnull(strstr(output, "does not serve this protocol"));
	ck_assert_ptr_nonnull(
	    strstr(output, "thread-chat PROTOCOL://HOST:PORT, PROTOCOL being chat\n"));
	(void)setenv("WEIR", built("designs/thread"), 1);
	ck_assert_int_eq(RUN(output, "chat://127.0.0.1:0"), 2);
	ck_assert_ptr_nonnull(strstr(output, "PROTOCOL being echo or increment\n"));
}
END_TEST

SUITE("thread-chat", {"a line goes to everyone else", a_line_goes_to_everyone_else, 30},
      {"a line too long ends its sender", a_line_too_long_ends_its_sender, 30},
      {"a crowd talks at once", a_crowd_talks_at_once, 30},
      {"one who does not read stops all", one_who_does_not_read_stops_all, 30},
      {"wrong usage", wrong_usage, 30})
