/*
 * descriptor: descriptors that go through a SOCK_SEQPACKET pair, even if there is no
 * room for them, and a child that keeps only what it should.
 *
 * A pipe shows whether a descriptor still exists: while any process has its write end, reading the
 * other end blocks, and when the last copy is closed it ends. Messages with other control data than
 * descriptors (SO_PASSCRED) are not tested: weir's channels have none.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/descriptor.h"
#include "tests/support/harness.h"

static void open_channel(int ends[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Whether no process has the write end any more. */
static bool has_ended(int read_end)
{
	struct pollfd poll_fd = {.fd = read_end, .events = POLLIN};

	return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLHUP);
}

/* Opens n pipes; the test keeps the read end of each. */
static void open_pipes(int read_ends[], int write_ends[], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int ends[2];

		ck_assert_int_eq(pipe(ends), 0);
		read_ends[i] = ends[0];
		write_ends[i] = ends[1];
	}
}

static void close_all(const int fds[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)close(fds[i]);
}

/* Expects the descriptor that came to be the write end of the pipe with this read end. */
static void expect_same_pipe(int write_end, int read_end)
{
	char byte = 0;

	ck_assert_int_eq((int)write(write_end, "x", 1), 1);
	ck_assert_int_eq((int)read(read_end, &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
}

START_TEST(any_number_of_them_arrives_in_order)
{
	static const size_t counts[] = {0, 1, 2, 3, 63, DESCRIPTORS_MAX};

	for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
		int channel[2], reads[DESCRIPTORS_MAX], writes[DESCRIPTORS_MAX];
		int came[DESCRIPTORS_MAX];
		char bytes[64] = {0};
		size_t n = 99;

		open_channel(channel);
		open_pipes(reads, writes, counts[c]);
		ck_assert_int_eq(descriptors_send(channel[0], "hello", 5, writes, counts[c]), 5);
		close_all(writes, counts[c]); /* those in flight live on */
		ck_assert_int_eq(descriptors_receive(channel[1], bytes, sizeof bytes, came, &n), 5);
		ck_assert_str_eq(bytes, "hello");
		ck_assert_uint_eq(n, counts[c]);
		for (size_t i = 0; i < n; i++) {
			expect_same_pipe(came[i], reads[i]);
			ck_assert_int_eq(fcntl(came[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		}
		close_all(came, n);
		for (size_t i = 0; i < n; i++)
			ck_assert(has_ended(reads[i]));
		close_all(reads, n);
		close_all(channel, 2);
	}
}
END_TEST

START_TEST(messages_keep_their_bounds_and_their_descriptors)
{
	int channel[2], reads[3], writes[3], came[DESCRIPTORS_MAX];
	char bytes[16];
	size_t n;

	open_channel(channel);
	open_pipes(reads, writes, 3);
	ck_assert_int_eq(descriptors_send(channel[0], "a", 1, writes, 2), 1);
	ck_assert_int_eq(descriptors_send(channel[0], "bc", 2, NULL, 0), 2);
	ck_assert_int_eq(descriptors_send(channel[0], "def", 3, writes + 2, 1), 3);
	ck_assert_int_eq(descriptors_receive(channel[1], bytes, sizeof bytes, came, &n), 1);
	ck_assert_uint_eq(n, 2);
	expect_same_pipe(came[1], reads[1]);
	ck_assert_int_eq(descriptors_receive(channel[1], bytes, sizeof bytes, came, &n), 2);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(descriptors_receive(channel[1], bytes, sizeof bytes, came, &n), 3);
	ck_assert_uint_eq(n, 1);
	expect_same_pipe(came[0], reads[2]);
}
END_TEST

START_TEST(nothing_there_is_eagain_and_the_end_is_0)
{
	int channel[2], came[DESCRIPTORS_MAX];
	char bytes[16];
	size_t n = 99;

	open_channel(channel); /* the channel blocks */
	ck_assert_int_eq(descriptors_receive(channel[1], bytes, sizeof bytes, came, &n), -EAGAIN);
	ck_assert_uint_eq(n, 0);
	(void)close(channel[0]);
	n = 99;
	ck_assert_int_eq(descriptors_receive(channel[1], bytes, sizeof bytes, came, &n), 0);
	ck_assert_uint_eq(n, 0);
	/* No SIGPIPE, whatever it is set to. */
	ck_assert_int_eq(descriptors_send(channel[1], "x", 1, NULL, 0), -EPIPE);
}
END_TEST

START_TEST(a_full_channel_is_eagain_and_nothing_was_sent)
{
	int channel[2], reads[1], writes[1], came[DESCRIPTORS_MAX];
	char bytes[1024] = {0};
	unsigned sent = 0, received = 0;
	ssize_t result;
	size_t n;

	open_channel(channel);
	open_pipes(reads, writes, 1);
	while ((result = descriptors_send(channel[0], bytes, sizeof bytes, writes, 1)) > 0)
		sent++;
	ck_assert_int_eq((int)result, -EAGAIN);
	ck_assert_uint_gt(sent, 0);
	while (descriptors_receive(channel[1], bytes, sizeof bytes, came, &n) > 0) {
		ck_assert_uint_eq(n, 1);
		close_all(came, n);
		received++;
	}
	ck_assert_uint_eq(received, sent);
	(void)close(writes[0]);
	ck_assert(has_ended(reads[0]));
	/* With an invalid descriptor nothing is sent. */
	writes[0] = -1;
	ck_assert_int_eq(descriptors_send(channel[0], bytes, 1, writes, 1), -EBADF);
	ck_assert_int_eq(descriptors_receive(channel[1], bytes, 1, came, &n), -EAGAIN);
}
END_TEST

/* ---- no room ---- */

/* As many descriptors come as there is room for; the kernel closes the others. */
START_TEST(below_the_limit_of_descriptors_fewer_come_and_none_is_lost)
{
	for (size_t room = 0; room <= 8; room++) {
		int channel[2], reads[8], writes[8], came[DESCRIPTORS_MAX], filler;
		struct rlimit limit, low;
		char bytes[16];
		size_t n = 99;

		open_channel(channel);
		open_pipes(reads, writes, 8);
		ck_assert_int_eq(descriptors_send(channel[0], "x", 1, writes, 8), 1);
		close_all(writes, 8);
		/* All numbers below the limit are taken, except for `room` of them. */
		filler = open("/dev/null", O_RDONLY);
		for (int fd = 0; fd < 200; fd++)
			if (!is_open(fd))
				ck_assert_int_eq(dup2(filler, fd), fd);
		for (size_t i = 0; i < room; i++)
			(void)close((int)(100 + i));
		ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
		low = (struct rlimit){200, limit.rlim_max};
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
		ck_assert_int_eq(descriptors_receive(channel[1], bytes, sizeof bytes, came, &n), 1);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		ck_assert_uint_eq(n, room);
		for (size_t i = 0; i < n; i++)
			expect_same_pipe(came[i], reads[i]);
		for (size_t i = n; i < 8; i++)
			ck_assert(has_ended(reads[i]));
		close_all(came, n);
		close_all(reads, 8);
		close_all(channel, 2);
		for (int fd = 20; fd < 200; fd++)
			(void)close(fd);
	}
}
END_TEST

/* Sends 253 descriptors, the kernel's maximum, without descriptors_send(). */
static void send_253(int channel)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(253 * sizeof(int))];
	} control = {0};
	struct iovec iov = {"x", 1};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof control};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	int fds[253], ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	for (int i = 0; i < 253; i++)
		fds[i] = ends[1];
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof fds);
	memcpy(CMSG_DATA(rights), fds, sizeof fds);
	ck_assert_int_eq((int)sendmsg(channel, &message, 0), 1);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

START_TEST(more_than_a_message_may_hold_does_no_harm)
{
	int channel[2], came[DESCRIPTORS_MAX + 1];
	size_t before, n = 0;
	char bytes[16];

	open_channel(channel);
	before = process_descriptors_n(getpid());
	send_253(channel[0]);
	came[DESCRIPTORS_MAX] = 12345;
	ck_assert_int_eq(descriptors_receive(channel[1], bytes, sizeof bytes, came, &n), 1);
	ck_assert_uint_eq(n, DESCRIPTORS_MAX);
	ck_assert_int_eq(came[DESCRIPTORS_MAX], 12345);
	close_all(came, n);
	ck_assert_uint_eq(process_descriptors_n(getpid()), before);
}
END_TEST

START_TEST(sending_more_than_a_message_may_hold_aborts)
{
	struct rlimit no_core = {0, 0};
	int channel[2], fds[DESCRIPTORS_MAX + 1] = {0}, status;
	pid_t pid;

	open_channel(channel);
	pid = fork();
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &no_core);
		(void)close(STDERR_FILENO);
		(void)descriptors_send(channel[0], "x", 1, fds, DESCRIPTORS_MAX + 1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

/* ---- keep_only ---- */

/* A child with descriptors 0 to 79 and 500 keeps only these, and says by its exit status whether
 * exactly they, and the standard ones, are left. */
static void expect_kept(const int *fds, size_t n)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		for (int fd = 3; fd < 80; fd++)
			if (!is_open(fd))
				(void)dup2(STDERR_FILENO, fd);
		(void)dup2(STDERR_FILENO, 500);
		descriptors_keep_only(fds, n);
		for (int fd = 0; fd < 1000; fd++) {
			bool keep = fd <= STDERR_FILENO;

			for (size_t i = 0; i < n; i++)
				keep |= fds[i] == fd;
			if (is_open(fd) != keep)
				_exit(1 + fd % 255);
		}
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_msg(WEXITSTATUS(status) == 0, "descriptor %d", WEXITSTATUS(status) - 1);
}

START_TEST(keeps_only_what_it_is_told)
{
	static const int lists[][6] = {{3, 4, 5, 6, 7, 8},	{79, 40, 3, 41, 500, 60},
				       {10, 10, 10, 4, 4, 10},	{0, 1, 2, 2, 1, 50},
				       {-1, 20, -1, 30, -1, 1}, {500, 79, 78, 77, 76, 75}};
	uint64_t seed = 10;

	expect_kept(lists[0], 0);
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
		expect_kept(lists[i], 6);
	for (int round = 0; round < 50; round++) {
		int fds[20];
		size_t n = (size_t)next_random(&seed) % 21;

		for (size_t i = 0; i < n; i++)
			fds[i] = (int)(next_random(&seed) % 80);
		expect_kept(fds, n);
	}
}
END_TEST

START_TEST(the_limit_is_raised_to_the_hard_one)
{
	struct rlimit limit = {0};

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 64;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_uint_eq(descriptors_raise_limit(), limit.rlim_max);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_uint_eq(limit.rlim_cur, limit.rlim_max);
}
END_TEST

SUITE("descriptor",
      {"any number of them arrives in order", any_number_of_them_arrives_in_order, 10},
      {"messages keep their bounds and their descriptors",
       messages_keep_their_bounds_and_their_descriptors, 10},
      {"nothing there is EAGAIN and the end is 0", nothing_there_is_eagain_and_the_end_is_0, 10},
      {"a full channel is EAGAIN and nothing was sent",
       a_full_channel_is_eagain_and_nothing_was_sent, 20},
      {"below the limit of descriptors fewer come and none is lost",
       below_the_limit_of_descriptors_fewer_come_and_none_is_lost, 20},
      {"more than a message may hold does no harm", more_than_a_message_may_hold_does_no_harm, 10},
      {"sending more than a message may hold aborts", sending_more_than_a_message_may_hold_aborts,
       10},
      {"keeps only what it is told", keeps_only_what_it_is_told, 30},
      {"the limit is raised to the hard one", the_limit_is_raised_to_the_hard_one, 10})
