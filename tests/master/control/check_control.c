/*
 * control: against a weir with a socket in the test's folder, and in this process against an
 * owner that answers as it is told. What this can't see: a kernel that is out of memory or of
 * descriptors, and pid namespaces. check_weirctl has the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "master/control/control.h"
#include "tests/support/harness.h"

#define ANSWER_MAX 65536

static struct server *server;
static char path[100];
static char answer[ANSWER_MAX];

static void start(void)
{
	(void)snprintf(path, sizeof path, "%s", in_folder("control.sock"));
	server = SERVER("--workers", "2", "--control", path, "echo://127.0.0.1:0");
}

static int ask(const char *request)
{
	int fd = connect_unix(path);

	send_text(fd, request);
	return fd;
}

static const char *answer_of(int fd)
{
	size_t n = receive_to_end(fd, answer, sizeof answer - 1);

	answer[n] = '\0';
	(void)close(fd);
	return answer;
}

static const char *answer_to(const char *request)
{
	return answer_of(ask(request));
}

static void says(const char *request, const char *wanted)
{
	const char *said = answer_to(request);

	ck_assert_msg(strcmp(said, wanted) == 0, "to %s it says %s, not %s", request, said, wanted);
}

/* ---- what it answers ---- */

START_TEST(status_says_what_there_is)
{
	char wanted[256];

	start();
	(void)snprintf(wanted, sizeof wanted,
		       "server pid=%d version=0.1.0 state=serving generation=1 workers=2 "
		       "workers_asked=2 since=\"20",
		       (int)server->pid);
	ck_assert_msg(strncmp(answer_to("status\n"), wanted, strlen(wanted) - 3) == 0, "%s",
		      answer);
	(void)snprintf(wanted, sizeof wanted,
		       "\nlistener id=0 listener=echo://127.0.0.1:%u accept=reuseport "
		       "state=open\ndone\n",
		       server->ports[0]);
	ck_assert_msg(strstr(answer, wanted) != NULL, "%s", answer);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

static uint64_t sum_of(const char *text, const char *key)
{
	uint64_t sum = 0;

	while ((text = strstr(text, key))) {
		text += strlen(key);
		sum += strtoull(text, NULL, 10);
	}
	return sum;
}

START_TEST(workers_have_their_counters)
{
	int fds[8];
	char line[64];

	start();
	for (int i = 0; i < 8; i++) {
		fds[i] = connect_to(server->ports[0]);
		send_text(fds[i], "hello");
		expect_text(fds[i], "hello");
	}
	(void)answer_to("workers\n");
	for (unsigned i = 0; i < 2; i++) {
		(void)snprintf(line, sizeof line, "worker worker=%u seat=%u pid=%d ", i, 2 * i + 1,
			       (int)server_wait_worker(server, i, 0));
		ck_assert_msg(strstr(answer, line) != NULL, "%s is not in %s", line, answer);
	}
	ck_assert_uint_eq(sum_of(answer, " connections="), 8);
	ck_assert_uint_eq(sum_of(answer, " accepted="), 8);
	ck_assert_uint_eq(sum_of(answer, " received_bytes="), 40);
	ck_assert_uint_eq(sum_of(answer, " restarts="), 0);
	for (int i = 0; i < 8; i++)
		(void)close(fds[i]);
	server_wait_stat_is(server, "connections", 0);
	ck_assert_uint_eq(sum_of(answer_to("status\n"), " connections="), 0);
	ck_assert_uint_eq(sum_of(answer, " accepted="), 8);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(a_replaced_worker_is_counted)
{
	struct wait wait = wait_begin();
	pid_t pid;

	start();
	pid = server_wait_worker(server, 1, 0);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	(void)server_wait_worker(server, 1, pid);
	while (sum_of(answer_to("workers\n"), " restarts=") != 1)
		wait_more(&wait, "a restart to be counted");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(pid_is_that_of_the_master_or_a_worker)
{
	char wanted[64];

	start();
	(void)snprintf(wanted, sizeof wanted, "process pid=%d\ndone\n", (int)server->pid);
	says("pid\n", wanted);
	(void)snprintf(wanted, sizeof wanted, "process worker=1 pid=%d\ndone\n",
		       (int)server_wait_worker(server, 1, 0));
	says("pid w1\n", wanted);
	says("pid w2\n", "failed why=\"there is no worker 2 now\"\n");
	says("pid w18446744073709551616\n", "failed why=\"pid takes wN, a worker's number, not "
					    "\\\"w18446744073709551616\\\"\"\n");
	says("pid 1\n", "failed why=\"pid takes wN, a worker's number, not \\\"1\\\"\"\n");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(stop_ends_at_once)
{
	int held;

	start();
	held = connect_to(server->ports[0]);
	server_wait_stat(server, "connections", 1);
	says("stop\n", "done\n");
	ck_assert_int_eq(server_wait_exit(server), 0);
	expect_reset_or_end(held);
	ck_assert(!exists(path));
}
END_TEST

/* A chargen client that does not read keeps it; the answer comes when that has gone. */
START_TEST(drain_tells_how_far_it_is)
{
	char line[256] = "";
	int held, fd;

	(void)snprintf(path, sizeof path, "%s", in_folder("control.sock"));
	server = SERVER("--workers", "2", "--control", path, "--write-timeout", "0",
			"--drain-timeout", "1h", "chargen://127.0.0.1:0");
	held = connect_to(server->ports[0]);
	server_wait_stat(server, "queued_bytes_max", 1);
	fd = ask("drain\n");
	for (int i = 0; i < 2; i++) {
		static const char note[] = "note text=\"connections left: 1\" connections=1\n";

		receive_exactly(fd, line, sizeof note - 1);
		ck_assert_msg(strcmp(line, note) == 0, "%s", line);
	}
	/* Others are answered meanwhile, and hear that it goes. */
	ck_assert_ptr_nonnull(strstr(answer_to("status\n"), " state=stopping "));
	(void)close(held);
	(void)answer_of(fd);
	ck_assert_msg(strlen(answer) >= 5 && strcmp(answer + strlen(answer) - 5, "done\n") == 0,
		      "%s", answer);
	ck_assert_int_eq(server_wait_exit(server), 0);
}
END_TEST

/* A client that goes while it waits is forgotten; what it asked for goes on. */
START_TEST(a_drain_goes_on_without_who_asked)
{
	struct wait wait = wait_begin();
	size_t before;
	int held, fd;

	(void)snprintf(path, sizeof path, "%s", in_folder("control.sock"));
	server = SERVER("--workers", "1", "--control", path, "--write-timeout", "0",
			"--drain-timeout", "1h", "chargen://127.0.0.1:0");
	held = connect_to(server->ports[0]);
	server_wait_stat(server, "queued_bytes_max", 1);
	(void)close(ask("drain\n")); /* it may not have been read by then */
	server_wait_log(server, "msg=draining");
	(void)answer_to("status\n");
	before = process_descriptors_n(server->pid);
	fd = ask("drain\n");
	expect_bytes(fd, "note", 4);
	(void)close(fd);
	while (process_descriptors_n(server->pid) > before)
		wait_more(&wait, "the place of a client that went");
	(void)close(held);
	ck_assert_int_eq(server_wait_exit(server), 0);
}
END_TEST

/* ---- what is no request ---- */

START_TEST(what_is_malformed_is_refused)
{
	char request[600], wanted[600];

	start();
	says("reboot\n",
	     "failed why=\"\\\"reboot\\\" is no command; there are: status workers top metrics pid "
	     "reload upgrade rebalance drain stop\"\n");
	(void)answer_to("\n");
	ck_assert_ptr_nonnull(strstr(answer, "\\\"\\\" is no command"));
	(void)answer_to(" status\n");
	ck_assert_ptr_nonnull(strstr(answer, "is no command"));
	(void)answer_to("STATUS\n");
	ck_assert_ptr_nonnull(strstr(answer, "is no command"));
	says("status now\n", "failed why=\"status takes no argument, not \\\"now\\\"\"\n");
	says("status\r\n", "failed why=\"a request is a line of printable ASCII\"\n");
	says("sta\x01tus\n", "failed why=\"a request is a line of printable ASCII\"\n");
	says("st\xc3\xa4tus\n", "failed why=\"a request is a line of printable ASCII\"\n");
	says("status\nstatus\n", "failed why=\"one request a connection\"\n");
	/* The longest line there may be, and one more. */
	memset(request, 'a', sizeof request);
	memcpy(request + 255, "\n", 2);
	(void)snprintf(wanted, sizeof wanted, "failed why=\"\\\"%.255s\\\" is no command;",
		       request);
	ck_assert_msg(strncmp(answer_to(request), wanted, strlen(wanted)) == 0, "%s", answer);
	memcpy(request + 255, "a\n", 3);
	says(request, "failed why=\"a request has at most 256 bytes\"\n");
	memset(request, 'a', sizeof request);
	request[sizeof request - 1] = '\0';
	says(request, "failed why=\"a request has at most 256 bytes\"\n");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(a_request_may_come_in_pieces)
{
	int fd;

	start();
	fd = connect_unix(path);
	for (const char *at = "pid w0"; *at; at++) {
		send_all(fd, at, 1);
		ck_assert_ptr_nonnull(strstr(answer_to("pid\n"), "process pid="));
	}
	send_text(fd, "\n");
	ck_assert_ptr_nonnull(strstr(answer_of(fd), "process worker=0 pid="));
	/* A 0 byte is one, too. */
	fd = connect_unix(path);
	send_all(fd, "pid\0\n", 5);
	ck_assert_ptr_nonnull(strstr(answer_of(fd), "printable ASCII"));
	/* Its end without a newline is not the request's. */
	fd = ask("status");
	finish_sending(fd);
	ck_assert_str_eq(answer_of(fd), "failed why=\"a request ends with a newline\"\n");
	/* Nothing at all is nothing, and an end behind the newline is nothing special. */
	fd = ask("");
	finish_sending(fd);
	ck_assert_str_eq(answer_of(fd), "");
	fd = ask("pid\n");
	finish_sending(fd);
	ck_assert_ptr_nonnull(strstr(answer_of(fd), "\ndone\n"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- hostile ones ---- */

static size_t descriptors_at_rest(size_t wanted)
{
	struct wait wait = wait_begin();

	while (process_descriptors_n(server->pid) != wanted)
		wait_more(&wait, "the master's descriptors to be as before");
	return wanted;
}

/* All ask at once, and each is answered, though there are not as many places. */
START_TEST(a_hundred_at_once_are_answered)
{
	size_t before;
	int fds[100];

	start();
	before = process_descriptors_n(server->pid);
	for (int i = 0; i < 100; i++)
		fds[i] = ask("workers\n");
	for (int i = 99; i >= 0; i--)
		ck_assert_ptr_nonnull(strstr(answer_of(fds[i]), "\ndone\n"));
	(void)descriptors_at_rest(before);
	/* A client that asks and goes without listening leaves nothing behind, either. */
	for (int i = 0; i < 100; i++)
		(void)close(ask(i % 2 ? "workers\n" : "work"));
	(void)descriptors_at_rest(before);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* A client that says nothing is sent away; until then others wait for a place, and weir serves. */
START_TEST(who_says_nothing_is_sent_away)
{
	int silent[CONTROL_CLIENTS], fd, client;
	unsigned long ticks;
	size_t before;
	uint64_t began;

	start();
	before = process_descriptors_n(server->pid);
	began = now_ms();
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		silent[i] = ask(i % 2 ? "stat" : "");
	(void)descriptors_at_rest(before + CONTROL_CLIENTS);
	fd = ask("pid\n");
	ticks = process_ticks(server->pid);
	client = connect_to(server->ports[0]);
	send_text(client, "hello");
	expect_text(client, "hello");
	ck_assert_ptr_nonnull(strstr(answer_of(fd), "\ndone\n"));
	ck_assert_uint_ge(now_ms() - began, 4900);
	/* One that waits must not make the master spin. */
	ck_assert_uint_le(process_ticks(server->pid) - ticks, 20);
	for (size_t i = 0; i < CONTROL_CLIENTS; i++)
		ck_assert_str_eq(answer_of(silent[i]), "failed why=\"no request came\"\n");
	(void)descriptors_at_rest(before);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* A master that had no turn for as long as a request may take reads what has come before it looks
 * at the clock. */
START_TEST(who_asks_a_busy_master_is_answered)
{
	struct timespec nap = {0, 10000000};
	uint64_t until_ms;
	size_t before;
	int fd;

	start();
	before = process_descriptors_n(server->pid);
	fd = ask("pi");
	(void)descriptors_at_rest(before + 1);
	until_ms = now_ms() + 5100;
	ck_assert_int_eq(kill(server->pid, SIGSTOP), 0);
	send_text(fd, "d\n");
	while (now_ms() < until_ms)
		(void)nanosleep(&nap, NULL);
	ck_assert_int_eq(kill(server->pid, SIGCONT), 0);
	ck_assert_ptr_nonnull(strstr(answer_of(fd), "\ndone\n"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- which clients may ask ---- */

/* What a child says that is nobody: an answer, or connect()'s error. */
static const char *nobody_asks(const char *request)
{
	static char said[ANSWER_MAX];
	struct passwd *nobody = getpwnam("nobody");
	int ends[2];
	ssize_t n;
	pid_t pid;

	ck_assert_ptr_nonnull(nobody);
	ck_assert_int_eq(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		(void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
		if (setgroups(0, NULL) || setgid(nobody->pw_gid) || setuid(nobody->pw_uid))
			_exit(1);
		if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
			n = snprintf(said, sizeof said, "%s", strerror(errno));
		} else {
			(void)send(fd, request, strlen(request), MSG_NOSIGNAL);
			n = recv(fd, said, sizeof said, MSG_WAITALL);
		}
		_exit(n < 0 || write(ends[1], said, (size_t)n) != n);
	}
	(void)close(ends[1]);
	n = read(ends[0], said, sizeof said - 1);
	ck_assert_int_ge(n, 0);
	said[n] = '\0';
	(void)close(ends[0]);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	return said;
}

static bool cannot(const char *test)
{
	if (geteuid() == 0 && getpwnam("nobody"))
		return false;
	suite_skip(test, geteuid() ? "needs root" : "there is no user nobody");
	return true;
}

START_TEST(another_user_is_refused)
{
	struct stat status;
	const char *said;
	size_t before;

	if (cannot("another user is refused"))
		return;
	start();
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_uint_eq(status.st_mode & 0777, 0660);
	ck_assert_int_eq(chmod(temporary_folder(), 0755), 0);
	ck_assert_str_eq(nobody_asks("status\n"), strerror(EACCES));
	/* If somebody opened the file to all, the kernel still says which user asks. */
	ck_assert_int_eq(chmod(path, 0666), 0);
	before = process_descriptors_n(server->pid);
	for (int i = 0; i < 5; i++) {
		said = nobody_asks("stop\n");
		ck_assert_str_eq(said,
				 "failed why=\"only root and the master's user may use this\"\n");
	}
	server_wait_log(server, "control: refused");
	ck_assert_uint_le(server_log_count(server, "control: refused"), 2);
	(void)descriptors_at_rest(before);
	ck_assert_ptr_nonnull(strstr(answer_to("pid\n"), "\ndone\n"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Whoever has got hold of a worker could steer the master by a child of it, whose pid is no
 * worker's. */
START_TEST(the_workers_user_is_refused)
{
	if (cannot("the workers' user is refused"))
		return;
	(void)snprintf(path, sizeof path, "%s", in_folder("control.sock"));
	ck_assert_int_eq(chmod(temporary_folder(), 0755), 0);
	server =
	    SERVER("--workers", "1", "--control", path, "--user", "nobody", "echo://127.0.0.1:0");
	ck_assert_str_eq(nobody_asks("pid\n"), strerror(EACCES));
	ck_assert_int_eq(chmod(path, 0666), 0);
	ck_assert_str_eq(nobody_asks("pid\n"),
			 "failed why=\"only root and the master's user may use this\"\n");
	ck_assert_ptr_nonnull(strstr(answer_to("pid\n"), "process pid="));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- the file ---- */

START_TEST(a_live_socket_is_not_replaced)
{
	char output[4096], wanted[256];

	start();
	ck_assert_int_eq(RUN(output, "--control", path, "echo://127.0.0.1:0"), 1);
	(void)snprintf(wanted, sizeof wanted, "control %s: a server is listening there", path);
	ck_assert_msg(strstr(output, wanted) != NULL, "%s", output);
	ck_assert_ptr_nonnull(strstr(answer_to("pid\n"), "\ndone\n"));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(!exists(path));
	/* Another's file is not ours to remove, nor to replace. */
	start();
	ck_assert_int_eq(unlink(path), 0);
	(void)write_file("control.sock", "text");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(exists(path));
	ck_assert_int_eq(RUN(output, "--control", path, "echo://127.0.0.1:0"), 1);
	ck_assert_ptr_nonnull(strstr(output, "a file that is no socket is there"));
	ck_assert_int_eq(RUN(output, "--control", "/nowhere/x.sock", "echo://127.0.0.1:0"), 1);
	ck_assert_ptr_nonnull(strstr(output, "control /nowhere/x.sock: bind: No such file"));
}
END_TEST

START_TEST(a_stale_socket_is_replaced)
{
	start();
	ck_assert_int_eq(server_stop(server, SIGKILL), 128 + SIGKILL);
	ck_assert(exists(path));
	start();
	ck_assert_ptr_nonnull(strstr(answer_to("pid\n"), "\ndone\n"));
	ck_assert_int_eq(server_stop(server, SIGQUIT), 0);
	ck_assert(!exists(path));
	/* A worker's end is not the server's. */
	start();
	ck_assert_int_eq(kill(server_wait_worker(server, 0, 0), SIGTERM), 0);
	server_wait_log(server, "worker ended");
	ck_assert(exists(path));
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	ck_assert(!exists(path));
}
END_TEST

SUITE("control", {"status says what there is", status_says_what_there_is, 20},
      {"workers have their counters", workers_have_their_counters, 20},
      {"a replaced worker is counted", a_replaced_worker_is_counted, 20},
      {"pid is that of the master, or a worker", pid_is_that_of_the_master_or_a_worker, 20},
      {"stop ends at once", stop_ends_at_once, 20},
      {"drain tells how far it is", drain_tells_how_far_it_is, 30},
      {"a drain goes on without who asked", a_drain_goes_on_without_who_asked, 30},
      {"what is malformed is refused", what_is_malformed_is_refused, 20},
      {"a request may come in pieces", a_request_may_come_in_pieces, 20},
      {"a hundred at once are answered", a_hundred_at_once_are_answered, 30},
      {"who says nothing is sent away", who_says_nothing_is_sent_away, 40},
      {"who asks a busy master is answered", who_asks_a_busy_master_is_answered, 40},
      {"another user is refused", another_user_is_refused, 20},
      {"the workers' user is refused", the_workers_user_is_refused, 20},
      {"a live socket is not replaced", a_live_socket_is_not_replaced, 20},
      {"a stale socket is replaced", a_stale_socket_is_replaced, 20})
