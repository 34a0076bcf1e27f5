/*
 * log: no reader can block the writer, whatever stderr is and whichever process opened it.
 *
 * Each test's stderr becomes a pipe, a FIFO, a socket, a terminal or a file of the test's own,
 * before log_open().
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reactor/base/log.h"
#include "tests/support/harness.h"
#include "tests/support/log_pipe.h"

/* The number after the first dropped_lines in text. */
static unsigned long dropped_told(const char *text)
{
	const char *at = strstr(text, "dropped_lines=");

	return at ? strtoul(at + strlen("dropped_lines="), NULL, 10) : 0;
}

START_TEST(a_pipe_that_nobody_reads_never_blocks)
{
	const unsigned long lines = 20000;
	int fd = capture();
	const char *text;
	size_t came;

	(void)fcntl(fd, F_SETPIPE_SZ, 4096);
	log_open(LOG_INFO, LOG_LOGFMT);
	for (unsigned long i = 0; i < lines; i++)
		log_info("filling the pipe up", LOG_NUMBER("line", i));
	ck_assert_uint_gt(log_dropped(), 0);
	text = read_all(fd);
	came = count(text, "\n");
	ck_assert_uint_eq(came + log_dropped(), lines);
	ck_assert_uint_eq(count(text, " line="), came); /* only whole lines */
	/* The next line says how many were dropped, once. */
	log_info("there is room again");
	text = read_all(fd);
	ck_assert_uint_eq(dropped_told(text), log_dropped());
	log_info("and on");
	ck_assert_ptr_null(strstr(read_all(fd), "dropped_lines"));
	printf("FIGURE log to a pipe that nobody reads: %zu of %lu lines dropped\n",
	       (size_t)log_dropped(), lines);
	(void)fflush(stdout);
}
END_TEST

START_TEST(all_that_were_dropped_are_told_also_if_the_telling_was_long)
{
	static char text[4000];
	int fd = capture();
	bool told = false;

	memset(text, 'x', sizeof text - 1);
	log_open(LOG_INFO, LOG_LOGFMT);
	while (!log_dropped())
		log_info("filling the pipe up");
	(void)read_all(fd);
	for (int i = 0; i < 3; i++) {
		log_info("next", LOG_TEXT("k", i ? "short" : text));
		told |= dropped_told(read_all(fd)) == log_dropped();
	}
	ck_assert(told);
}
END_TEST

/* O_NONBLOCK belongs to the open file, which the shell and its other children share. */
START_TEST(the_inherited_stderr_stays_blocking)
{
	int fd = capture(), shells = dup(STDERR_FILENO);

	log_open(LOG_INFO, LOG_LOGFMT);
	log_info("x");
	ck_assert_int_eq(fcntl(shells, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(log_descriptor(), F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(log_descriptor(), F_GETFD) & FD_CLOEXEC, 0);
	log_open(LOG_DEBUG, LOG_JSON); /* again, as in a reload: no second descriptor is opened */
	ck_assert_int_eq(fcntl(log_descriptor() + 1, F_GETFD), -1);
	ck_assert_uint_eq(count(read_all(fd), "\n"), 1);
}
END_TEST

START_TEST(a_socket_that_nobody_reads_never_blocks)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	(void)dup2(ends[1], STDERR_FILENO);
	log_open(LOG_INFO, LOG_LOGFMT);
	while (log_dropped() < 100)
		log_info("filling the socket up");
	ck_assert_int_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
	set_nonblocking(ends[0]);
	(void)read_all(ends[0]);
	log_info("there is room again");
	ck_assert_uint_eq(dropped_told(read_all(ends[0])), log_dropped());
	/* Nor does it end because its reader has gone. */
	(void)close(ends[0]);
	log_info("to nobody");
	ck_assert_uint_eq(log_dropped(), 101);
}
END_TEST

/* The program ignores SIGPIPE, as main() does. */
START_TEST(a_pipe_whose_reader_has_gone_counts_as_dropped)
{
	int fd = capture();

	(void)signal(SIGPIPE, SIG_IGN);
	log_open(LOG_INFO, LOG_LOGFMT);
	(void)close(fd);
	for (int i = 0; i < 10; i++)
		log_info("to nobody");
	ck_assert_uint_eq(log_dropped(), 10);
}
END_TEST

START_TEST(a_file_gets_every_line)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof path, "%s/log", temporary_folder());
	fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
	ck_assert_int_ge(fd, 0);
	(void)dup2(fd, STDERR_FILENO);
	log_open(LOG_INFO, LOG_LOGFMT);
	for (int i = 0; i < 5000; i++)
		log_info("x", LOG_NUMBER("line", i));
	ck_assert_uint_eq(log_dropped(), 0);
	ck_assert_int_eq((int)lseek(fd, 0, SEEK_SET), 0);
	ck_assert_uint_eq(count(read_all(fd), " line="), 5000);
}
END_TEST

/* ---- stderr that can't be opened again ---- */

/* As if stderr belonged to another user: opening it by its path is refused. */
static void forbid_opening(void)
{
	(void)fchmod(STDERR_FILENO, 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(setgid(65534), 0);
		ck_assert_int_eq(setuid(65534), 0);
	}
	ck_assert_int_lt(open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK), 0);
}

/* First there is no reader. Then a reader takes everything, and from then on lines are whole. */
static void never_waits(int reader)
{
	uint64_t begun_ms;
	const char *text;

	forbid_opening();
	log_open(LOG_INFO, LOG_LOGFMT);
	ck_assert_int_eq(log_descriptor(), STDERR_FILENO);
	begun_ms = now_ms();
	for (int i = 0; i < 2000; i++)
		log_info("nobody reads this", LOG_NUMBER("line", i));
	ck_assert_uint_lt(now_ms() - begun_ms, 20000); /* at most 10 ms for each line */
	ck_assert_uint_gt(log_dropped(), 100);
	ck_assert_int_eq(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
	text = read_all(reader);
	ck_assert_uint_ge(count(text, " line="), 100);
	ck_assert_uint_ge(count(text, " line=") + log_dropped(), 2000);
	begun_ms = now_ms();
	do { /* after a line was broken off, the log pauses for some time */
		log_info("there is room again");
		text = read_all(reader);
	} while (!strstr(text, "room again\"") && now_ms() - begun_ms < patience_ms());
	ck_assert_uint_gt(dropped_told(text), 100);
	/* What comes then begins with the beginning of a line. */
	ck_assert_msg(strncmp(text, "time=", 5) == 0 || text[strcspn(text, "\n") + 1] == 't', "%s",
		      text);
}

START_TEST(another_users_pipe_never_blocks)
{
	never_waits(capture());
}
END_TEST

/* The kernel does not support RWF_NOWAIT for FIFOs. */
START_TEST(another_users_fifo_never_blocks)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof path, "%s/fifo", temporary_folder());
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR);
	(void)unlink(path);
	(void)rmdir(temporary_folder()); /* now: this process becomes a user that may not do it */
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	(void)close(fd);
	fd = open("/proc/self/fd/2", O_RDONLY | O_NONBLOCK);
	ck_assert_int_ge(fd, 0);
	never_waits(fd);
}
END_TEST

START_TEST(another_users_terminal_never_blocks)
{
	int terminal = posix_openpt(O_RDWR | O_NOCTTY), fd;

	ck_assert_int_ge(terminal, 0);
	ck_assert_int_eq(grantpt(terminal) | unlockpt(terminal), 0);
	fd = open(ptsname(terminal), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	(void)close(fd);
	set_nonblocking(terminal);
	never_waits(terminal);
}
END_TEST

SUITE("log_sink",
      {"a pipe that nobody reads never blocks", a_pipe_that_nobody_reads_never_blocks, 30},
      {"all that were dropped are told, also if the telling was long",
       all_that_were_dropped_are_told_also_if_the_telling_was_long, 10},
      {"the inherited stderr stays blocking", the_inherited_stderr_stays_blocking, 10},
      {"a socket that nobody reads never blocks", a_socket_that_nobody_reads_never_blocks, 20},
      {"a pipe whose reader has gone counts as dropped",
       a_pipe_whose_reader_has_gone_counts_as_dropped, 10},
      {"a file gets every line", a_file_gets_every_line, 20},
      {"another user's pipe never blocks", another_users_pipe_never_blocks, 20},
      {"another user's FIFO never blocks", another_users_fifo_never_blocks, 20},
      {"another user's terminal never blocks", another_users_terminal_never_blocks, 20})
