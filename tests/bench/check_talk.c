/* weirload --talk, used as a person or a pipe would, with weir and with peers that behave badly. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/harness.h"

#define PASTE_BYTES (10UL << 20)

/* What the talker of this test said; one talks at a time. */
static char said[PASTE_BYTES + 100000];

struct talker {
	pid_t pid;
	int in, out, err; /* our ends of its pipes; in is -1 once it is closed */
	size_t said_n;	  /* how much it has said on stdout: bytes of `said` */
	char complaint[1024];
	size_t complaint_n;
};

/* ---- talking ---- */

static void become_weirload(const char *listener, int in, int out, int err)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)dup2(in, STDIN_FILENO);
	(void)dup2(out, STDOUT_FILENO);
	(void)dup2(err, STDERR_FILENO);
	for (int fd = 3; fd < 256; fd++)
		(void)close(fd);
	(void)execl(built("weirload"), "weirload", "--talk", listener, (char *)NULL);
	_exit(127);
}

static struct talker talk_start(const char *listener)
{
	int in[2], out[2], err[2];
	struct talker talker = {0};

	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(err, O_CLOEXEC), 0);
	talker.pid = fork();
	ck_assert_int_ge(talker.pid, 0);
	if (talker.pid == 0)
		become_weirload(listener, in[0], out[1], err[1]);
	(void)close(in[0]);
	(void)close(out[1]);
	(void)close(err[1]);
	talker.in = in[1];
	talker.out = out[0];
	talker.err = err[0];
	set_nonblocking(talker.in);
	*said = '\0';
	(void)signal(SIGPIPE, SIG_IGN);
	return talker;
}

/* A LISTENER at 127.0.0.1; valid until the next call. */
static const char *at_port(const char *protocol, unsigned port)
{
	static char listener[64];

	(void)snprintf(listener, sizeof listener, "%s://127.0.0.1:%u", protocol, port);
	return listener;
}

/* Reads what has come on stdout; false at its end. */
static bool listen_once(struct talker *talker)
{
	ssize_t n;

	ck_assert_uint_lt(talker->said_n, sizeof said - 1);
	n = read(talker->out, said + talker->said_n, sizeof said - 1 - talker->said_n);
	if (n > 0)
		talker->said_n += (size_t)n;
	said[talker->said_n] = '\0';
	return n > 0;
}

/* Waits until the talker has said exactly this text. */
static void expect_said(struct talker *talker, const char *text)
{
	while (talker->said_n < strlen(text)) {
		struct pollfd out = {.fd = talker->out, .events = POLLIN};

		if (poll(&out, 1, (int)patience_ms()) <= 0 || !listen_once(talker))
			ck_abort_msg("it said \"%.*s\", not \"%s\"", (int)talker->said_n, said,
				     text);
	}
	ck_assert_str_eq(said, text);
}

static void type(struct talker *talker, const char *text)
{
	ck_assert_int_eq(write(talker->in, text, strlen(text)), (ssize_t)strlen(text));
}

/* Waits for the talker's end, and reads its complaint. Returns its status, or 128 + the signal that
 * ended it. */
static int talk_end(struct talker *talker)
{
	struct wait wait = wait_begin();
	ssize_t n;
	int status;

	if (talker->in >= 0)
		(void)close(talker->in);
	while ((n = read(talker->err, talker->complaint + talker->complaint_n,
			 sizeof talker->complaint - 1 - talker->complaint_n)) > 0)
		talker->complaint_n += (size_t)n;
	while (waitpid(talker->pid, &status, WNOHANG) == 0)
		wait_more(&wait, "weirload's end");
	(void)close(talker->out);
	(void)close(talker->err);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Gives the talker input while reading what it says, until it says no more. */
static int talk_through(struct talker *talker, const void *input, size_t n)
{
	const char *at = input;

	for (;;) {
		struct pollfd all[] = {{.fd = talker->in, .events = POLLOUT},
				       {.fd = talker->out, .events = POLLIN}};

		if (talker->in >= 0 && !n) {
			(void)close(talker->in);
			talker->in = all[0].fd = -1;
		}
		ck_assert_int_gt(poll(all, 2, (int)patience_ms()), 0);
		if (all[0].revents) {
			ssize_t part = write(talker->in, at, n);

			if (part < 0 && errno == EPIPE)
				n = 0;
			if (part > 0) {
				at += part;
				n -= (size_t)part;
			}
		}
		if (all[1].revents && !listen_once(talker))
			return talk_end(talker);
	}
}

/* A whole talk: expects this answer to the input, and status 0. */
static void must_talk(const char *listener, const char *input, const char *answer)
{
	struct talker talker = talk_start(listener);
	int status = talk_through(&talker, input, strlen(input));

	ck_assert_msg(status == 0 && talker.complaint_n == 0, "%s: status %d, \"%s\"", listener,
		      status, talker.complaint);
	ck_assert_str_eq(said, answer);
}

/* ---- with weir ---- */

START_TEST(each_protocol_is_spoken)
{
	struct server *server =
	    SERVER("--workers", "1", "echo://127.0.0.1:0", "line://127.0.0.1:0",
		   "frame://127.0.0.1:0", "increment://127.0.0.1:0", "discard://127.0.0.1:0");
	const unsigned *ports = server->ports;

	must_talk(at_port("echo", ports[0]), "abc\n\nd\nrest", "abc\n\nd\nrest");
	must_talk(at_port("line", ports[1]), "abc\n\nd\nrest", "abc\n\nd\nrest\n");
	must_talk(at_port("frame", ports[2]), "abc\n\nd\nrest", "abc\n\nd\nrest\n");
	must_talk(at_port("increment", ports[3]), "abc\n\nd\nrest", "*bcd\n\ne\nsftu\n");
	must_talk(at_port("increment", ports[3]), "a$b^c^$d\n\n", "*bd_\n\n");
	must_talk(at_port("discard", ports[4]), "abc\nrest", "");
	for (unsigned i = 0; i < 3; i++)
		must_talk(at_port(i == 0 ? "echo" : i == 1 ? "line" : "frame", ports[i]), "", "");
	must_talk(at_port("increment", ports[3]), "", "*");
	server_wait_stat_is(server, "closed_eof", 10);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(unix_sockets_are_reached)
{
	char listener[160], abstract[64];
	struct server *server;

	(void)snprintf(listener, sizeof listener, "line://%s", in_folder("talk.sock"));
	(void)snprintf(abstract, sizeof abstract, "increment://@weir-talk-%d", (int)getpid());
	server = SERVER("--workers", "1", listener, abstract, "echo://:0");
	must_talk(listener, "abc\n", "abc\n");
	must_talk(abstract, "abc\n", "*bcd\n");
	(void)snprintf(listener, sizeof listener, "echo://:%u", server->ports[2]);
	must_talk(listener, "abc\n", "abc\n");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

static bool localhost_is_known(void)
{
	struct addrinfo *found;

	if (getaddrinfo("localhost", NULL, NULL, &found) != 0)
		return false;
	freeaddrinfo(found);
	return true;
}

START_TEST(a_name_is_reached)
{
	struct server *server;
	char listener[64];

	if (!localhost_is_known()) {
		suite_skip("a name is reached", "localhost is no name here");
		return;
	}
	server = SERVER("--workers", "1", "echo://:0");
	(void)snprintf(listener, sizeof listener, "echo://localhost:%u", server->ports[0]);
	must_talk(listener, "abc\n", "abc\n");
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Expects each line to be answered while stdin stays open. */
static void must_converse(const char *listener, const char *const answers[4])
{
	static const char *const typed[] = {"ab\n", "\n", "c\n"};
	struct talker talker = talk_start(listener);

	expect_said(&talker, answers[0]);
	for (int i = 0; i < 3; i++) {
		type(&talker, typed[i]);
		expect_said(&talker, answers[i + 1]);
	}
	ck_assert_int_eq(talk_through(&talker, "", 0), 0);
	ck_assert_str_eq(said, answers[3]);
}

START_TEST(a_conversation_goes_line_by_line)
{
	static const char *const plain[] = {"", "ab\n", "ab\n\n", "ab\n\nc\n"};
	static const char *const increment[] = {"*", "*bc\n", "*bc\n\n", "*bc\n\nd\n"};
	struct server *server = SERVER("--workers", "1", "line://127.0.0.1:0",
				       "frame://127.0.0.1:0", "increment://127.0.0.1:0");

	must_converse(at_port("line", server->ports[0]), plain);
	must_converse(at_port("frame", server->ports[1]), plain);
	must_converse(at_port("increment", server->ports[2]), increment);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* Lines of all lengths; $ and ^, which mean something to increment, are left out. */
static char *paste(size_t n)
{
	char *text = malloc(n);
	uint64_t seed = 7;

	ck_assert_ptr_nonnull(text);
	fill_random(text, n, 8);
	for (size_t i = 0; i < n; i++)
		if (text[i] == '\n' || text[i] == '$' || text[i] == '^')
			text[i] = 'x';
	for (size_t i = next_random(&seed) % 100; i < n;
	     i += 1 + next_random(&seed) % (next_random(&seed) % 100 ? 300 : 50000))
		text[i] = '\n';
	text[n - 1] = '\n';
	return text;
}

static void must_come_back(const char *listener, const char *text, size_t n, unsigned plus)
{
	struct talker talker = talk_start(listener);
	size_t skip = plus ? 1 : 0; /* the greeting */

	ck_assert_int_eq(talk_through(&talker, text, n), 0);
	ck_assert_uint_eq(talker.said_n, n + skip);
	for (size_t i = 0; i < n; i++) {
		unsigned char right = (unsigned char)text[i];

		if (right != '\n')
			right = (unsigned char)(right + plus);
		if ((unsigned char)said[i + skip] != right)
			ck_abort_msg("%s: byte %zu is wrong", listener, i);
	}
}

START_TEST(a_large_paste_comes_back_whole)
{
	struct server *server =
	    SERVER("--workers", "1", "echo://127.0.0.1:0", "line://127.0.0.1:0",
		   "frame://127.0.0.1:0", "increment://127.0.0.1:0", "discard://127.0.0.1:0");
	size_t n = suite_volume(PASTE_BYTES);
	char *text = paste(n);
	struct talker talker;

	must_come_back(at_port("echo", server->ports[0]), text, n, 0);
	must_come_back(at_port("line", server->ports[1]), text, n, 0);
	must_come_back(at_port("frame", server->ports[2]), text, n, 0);
	must_come_back(at_port("increment", server->ports[3]), text, n, 1);
	talker = talk_start(at_port("discard", server->ports[4]));
	ck_assert_int_eq(talk_through(&talker, text, n), 0);
	ck_assert_uint_eq(talker.said_n, 0);
	/* Only empty lines: the largest number of lines for which increment can owe answers. */
	memset(text, '\n', n / 10);
	must_come_back(at_port("increment", server->ports[3]), text, n / 10, 1);
	must_come_back(at_port("frame", server->ports[2]), text, n / 10, 0);
	free(text);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(a_reader_that_has_enough_ends_it)
{
	struct server *server = SERVER("--workers", "1", "chargen://127.0.0.1:0");
	struct talker talker = talk_start(at_port("chargen", server->ports[0]));
	struct wait wait = wait_begin();
	int status;

	while (talker.said_n < 100000)
		ck_assert(listen_once(&talker));
	ck_assert(memcmp(said, " !\"#$%&'()", 10) == 0);
	(void)close(talker.out);
	while (waitpid(talker.pid, &status, WNOHANG) == 0)
		wait_more(&wait, "weirload's end");
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(an_interrupt_just_ends_it)
{
	struct server *server = SERVER("--workers", "1", "increment://127.0.0.1:0");
	struct talker talker = talk_start(at_port("increment", server->ports[0]));

	expect_said(&talker, "*");
	ck_assert_int_eq(kill(talker.pid, SIGINT), 0);
	ck_assert_int_eq(talk_end(&talker), 128 + SIGINT);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* ---- with peers that behave badly ---- */

/* A weirload that talks to us: our end of its connection is in *fd. */
static struct talker talk_to_us(const char *protocol, int *fd)
{
	unsigned port;
	int listener = bind_any(SOCK_STREAM, &port);
	struct talker talker = talk_start(at_port(protocol, port));

	*fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(*fd, 0);
	(void)close(listener);
	return talker;
}

START_TEST(nobody_there_is_said)
{
	struct talker talker;
	unsigned port;

	(void)close(bind_any(SOCK_STREAM, &port));
	talker = talk_start(at_port("echo", port));
	ck_assert_int_eq(talk_through(&talker, "abc\n", 4), 1);
	ck_assert_ptr_nonnull(strstr(talker.complaint, "Connection refused"));
	ck_assert_ptr_nonnull(strstr(talker.complaint, "echo://127.0.0.1:"));
	(void)close(bind_any(SOCK_DGRAM, &port));
	talker = talk_start(at_port("echo+udp", port));
	ck_assert_int_eq(talk_through(&talker, "abc\n", 4), 1);
	ck_assert_ptr_nonnull(strstr(talker.complaint, "Connection refused"));
}
END_TEST

START_TEST(a_peer_that_ends_while_we_talk_is_said)
{
	int fd;
	struct talker talker = talk_to_us("line", &fd);

	type(&talker, "abc\n");
	expect_text(fd, "abc\n");
	send_text(fd, "bye\n");
	(void)close(fd);
	while (listen_once(&talker))
		;
	ck_assert_str_eq(said, "bye\n");
	ck_assert_int_eq(talk_end(&talker), 1);
	ck_assert_ptr_nonnull(strstr(talker.complaint, "ended"));

	talker = talk_to_us("line", &fd);
	type(&talker, "abc\n");
	expect_text(fd, "abc\n");
	reset(fd);
	while (listen_once(&talker))
		;
	ck_assert_int_eq(talk_end(&talker), 1);
	ck_assert_ptr_nonnull(strstr(talker.complaint, "reset"));
}
END_TEST

/* The peer takes all input, but answers only a part. */
static void must_miss(const char *protocol, const char *answer, const char *printed)
{
	int fd;
	struct talker talker = talk_to_us(protocol, &fd);
	char bytes[64];

	type(&talker, "abc\ndef\n");
	(void)close(talker.in);
	talker.in = -1;
	(void)receive_to_end(fd, bytes, sizeof bytes);
	send_all(fd, answer, strlen(answer));
	(void)close(fd);
	expect_said(&talker, printed);
	ck_assert_int_eq(talk_end(&talker), 1);
	ck_assert_ptr_nonnull(strstr(talker.complaint, "early"));
}

START_TEST(a_missing_part_of_the_answer_is_said)
{
	must_miss("echo", "abc\nde", "abc\nde");
	must_miss("line", "abc\n", "abc\n");
	must_miss("line", "", "");
	must_miss("increment", "*bcde", "*bcd\ne");
	must_miss("increment", "", "");
}
END_TEST

/* The peer says a lot before it begins to read. */
START_TEST(both_directions_full_is_no_deadlock)
{
	size_t n = suite_volume(PASTE_BYTES), got = 0;
	char *text = paste(n), *back = malloc(n);
	int fd, status;
	struct talker talker = talk_to_us("discard", &fd);
	pid_t pid;

	ck_assert_ptr_nonnull(back);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)close(talker.in);
		send_all(fd, text, n);
		while (got < n) {
			ssize_t part = read(fd, back + got, n - got);

			if (part <= 0)
				_exit(1);
			got += (size_t)part;
		}
		_exit(memcmp(text, back, n) ? 2 : 0);
	}
	(void)close(fd);
	ck_assert_int_eq(talk_through(&talker, text, n), 0);
	ck_assert_uint_eq(talker.said_n, n);
	ck_assert(memcmp(said, text, n) == 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	free(text);
	free(back);
}
END_TEST

/* If the peer does not read, the talker reads no more than a limited amount from stdin. */
START_TEST(a_peer_that_does_not_read_stops_it)
{
	static char text[65536];
	size_t taken = 0, limit = 32 << 20;
	int fd;
	struct talker talker = talk_to_us("echo", &fd);

	memset(text, 'a', sizeof text);
	for (;;) {
		struct pollfd in = {.fd = talker.in, .events = POLLOUT};
		ssize_t n;

		/* The pause is long enough for a talker that can read on to do so. */
		if (poll(&in, 1, 500) == 0)
			break;
		n = write(talker.in, text, sizeof text);
		ck_assert_int_gt(n, 0);
		taken += (size_t)n;
		ck_assert_uint_lt(taken, limit);
	}
	if (!suite_sanitized())
		ck_assert_uint_lt(process_memory(talker.pid), 2 << 20);
	(void)kill(talker.pid, SIGKILL);
	(void)talk_end(&talker);
}
END_TEST

/* ---- datagrams ---- */

/* Starts a server that answers all datagrams except every drop-th. plus: like increment, without
 * the greeting. */
static pid_t datagram_server(unsigned *port, unsigned drop, unsigned plus)
{
	int fd = bind_any(SOCK_DGRAM, port);
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid) {
		(void)close(fd);
		return pid;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i = 1;; i++) {
		unsigned char bytes[65536];
		struct sockaddr_in peer;
		socklen_t peer_n = sizeof peer;
		ssize_t n = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&peer, &peer_n);
		ssize_t begin = plus ? 1 : 0, end = plus ? n - 1 : n;

		if (drop && i % drop == 0)
			continue;
		if (plus && (bytes[0] != '^' || bytes[n - 1] != '$'))
			_exit(1);
		for (ssize_t j = begin; j < end; j++)
			bytes[j] = (unsigned char)(bytes[j] + plus);
		(void)sendto(fd, bytes + begin, (size_t)(end - begin), 0, (struct sockaddr *)&peer,
			     peer_n);
	}
}

START_TEST(a_line_is_a_datagram)
{
	unsigned port;
	pid_t pid = datagram_server(&port, 0, 0);
	size_t n = 0;
	char *lines = malloc(100000);

	must_talk(at_port("echo+udp", port), "abc\n\ndef\nrest", "abc\n\ndef\nrest\n");
	ck_assert_ptr_nonnull(lines);
	for (int i = 0; i < 5000; i++)
		n += (size_t)sprintf(lines + n, "line number %d\n", i);
	must_talk(at_port("echo+udp", port), lines, lines);
	(void)kill(pid, SIGKILL);
	pid = datagram_server(&port, 0, 1);
	must_talk(at_port("increment+udp", port), "abc\n\nd", "bcd\n\ne\n");
	(void)kill(pid, SIGKILL);
	free(lines);
}
END_TEST

START_TEST(datagrams_that_are_not_answered_are_counted)
{
	unsigned port;
	pid_t pid = datagram_server(&port, 3, 0);
	struct talker talker = talk_start(at_port("echo+udp", port));
	static const char lines[] = "a\nb\nc\nd\ne\nf\ng\n";

	ck_assert_int_eq(talk_through(&talker, lines, strlen(lines)), 1);
	ck_assert_str_eq(said, "a\nb\nd\ne\ng\n");
	ck_assert_ptr_nonnull(strstr(talker.complaint, "2 of 7 datagrams were not answered"));
	talker = talk_start(at_port("discard+udp", port));
	ck_assert_int_eq(talk_through(&talker, "a\n", 2), 0);
	(void)kill(pid, SIGKILL);
}
END_TEST

START_TEST(a_line_too_long_for_a_datagram_is_said)
{
	unsigned port;
	pid_t pid = datagram_server(&port, 0, 0);
	struct talker talker = talk_start(at_port("echo+udp", port));
	static char line[200000];

	memset(line, 'a', sizeof line);
	ck_assert_int_eq(talk_through(&talker, line, sizeof line), 1);
	ck_assert_ptr_nonnull(strstr(talker.complaint, "too long"));
	(void)kill(pid, SIGKILL);
}
END_TEST

SUITE("talk", {"each protocol is spoken", each_protocol_is_spoken, 30},
      {"unix sockets are reached", unix_sockets_are_reached, 30},
      {"a name is reached", a_name_is_reached, 20},
      {"a conversation goes line by line", a_conversation_goes_line_by_line, 30},
      {"a large paste comes back whole", a_large_paste_comes_back_whole, 60},
      {"a reader that has enough ends it", a_reader_that_has_enough_ends_it, 30},
      {"an interrupt just ends it", an_interrupt_just_ends_it, 30},
      {"nobody there is said", nobody_there_is_said, 30},
      {"a peer that ends while we talk is said", a_peer_that_ends_while_we_talk_is_said, 30},
      {"a missing part of the answer is said", a_missing_part_of_the_answer_is_said, 30},
      {"both directions full is no deadlock", both_directions_full_is_no_deadlock, 60},
      {"a peer that does not read stops it", a_peer_that_does_not_read_stops_it, 30},
      {"a line is a datagram", a_line_is_a_datagram, 30},
      {"datagrams that are not answered are counted", datagrams_that_are_not_answered_are_counted,
       30},
      {"a line too long for a datagram is said", a_line_too_long_for_a_datagram_is_said, 30})
