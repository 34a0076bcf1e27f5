/*
 * Lines of a chat: the name before each, how long one may be, and what happens to one whose client
 * ends in the middle of it. Which bytes a line may have is in check_chat_text.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/protocol/chat_pair.h"

/* ---- names ---- */

static unsigned local_port(int fd)
{
	struct sockaddr_storage own;
	socklen_t n = sizeof own;

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&own, &n), 0);
	return ntohs(own.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&own)->sin6_port
					       : ((struct sockaddr_in *)&own)->sin_port);
}

/* fd says something, and `other` receives it with fd's name. */
static void expect_name(int fd, const char *address, int other)
{
	char text[200];

	send_text(fd, "who am I?\r\n");
	(void)snprintf(text, sizeof text, "%s:%u: who am I?\n", address, local_port(fd));
	expect_text(other, text);
}

static bool has_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	struct sockaddr_in6 own = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	bool has = fd >= 0 && bind(fd, (struct sockaddr *)&own, sizeof own) == 0;

	(void)close(fd);
	return has;
}

START_TEST(a_name_is_where_one_comes_from)
{
	int four, six, other;

	if (!has_ipv6()) {
		suite_skip("a name is where one comes from", "no IPv6 on loopback");
		return;
	}
	server = SERVER("-w", "2", "chat://:0?names=on", "chat://[::1]:0?names=on",
			"chat://127.0.0.1:0?names=on");
	four = connect_to(server->ports[0]); /* as ::ffff:127.0.0.1 */
	six = connect_to_host("[::1]", server->ports[0]);
	server_wait_stat(server, "members_joined", 2);
	expect_name(four, "127.0.0.1", six);
	expect_name(six, "[::1]", four);
	six = connect_to_host("[::1]", server->ports[1]);
	other = connect_to_host("[::1]", server->ports[1]);
	server_wait_stat(server, "members_joined", 4);
	expect_name(six, "[::1]", other);
	four = connect_to(server->ports[2]);
	other = connect_to(server->ports[2]);
	server_wait_stat(server, "members_joined", 6);
	expect_name(four, "127.0.0.1", other);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* The name is a worker and a number; no two clients have the same at the same time. */
static void expect_unix_name(int fd, int other, char name[40])
{
	size_t n = 0;

	send_text(fd, "hello\n");
	do {
		ck_assert_uint_lt(n, 39);
		receive_exactly(other, name + n, 1);
	} while (name[n++] != '\n');
	name[n] = '\0';
	ck_assert_msg(strncmp(name, "unix:", 5) == 0, "it is: %s", name);
	n = 5 + strspn(name + 5, "0123456789.");
	ck_assert_msg(n > 5 && strcmp(name + n, ": hello\n") == 0, "it is: %s", name);
}

START_TEST(over_a_unix_socket_a_name_is_a_number)
{
	char text[200], one[40], two[40];
	int first, second, third;

	(void)snprintf(text, sizeof text, "chat://%s?names=on", in_folder("chat.sock"));
	server = SERVER("-w", "1", text);
	first = connect_unix(in_folder("chat.sock"));
	second = connect_unix(in_folder("chat.sock"));
	third = connect_unix(in_folder("chat.sock"));
	server_wait_stat(server, "members_joined", 3);
	expect_unix_name(first, third, one);
	expect_unix_name(second, third, two);
	ck_assert_str_ne(one, two);
	(void)close(first); /* a graceful stop would wait, as it has not read all */
	(void)close(second);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* The longest line fits, together with a name. (This test can't make a client that has gone before
 * it was accepted, or whose name has a control character.) */
START_TEST(the_longest_line_with_a_name)
{
	static char line[LINE_MOST + 1], heard[LINE_MOST + 100];
	char name[100];
	size_t n;

	server = SERVER("-w", "2", "chat://127.0.0.1:0?names=on");
	meet(server->ports[0]);
	memset(line, 'x', LINE_MOST);
	line[LINE_MOST] = '\n';
	send_all(speaker, line, sizeof line);
	n = (size_t)snprintf(name, sizeof name, "127.0.0.1:%u: ", local_port(speaker));
	receive_exactly(listener, heard, n + sizeof line);
	ck_assert_int_eq(memcmp(heard, name, n), 0);
	ck_assert_int_eq(memcmp(heard + n, line, sizeof line), 0);
	part();
}
END_TEST

START_TEST(two_listeners_do_not_hear_each_other)
{
	int here[2], there[2];

	server = SERVER("-w", "2", "chat://127.0.0.1:0", "chat://127.0.0.1:0");
	for (int i = 0; i < 2; i++) {
		here[i] = connect_to(server->ports[0]);
		there[i] = connect_to(server->ports[1]);
	}
	server_wait_stat(server, "members_joined", 4);
	send_text(here[0], "here\n");
	expect_text(here[1], "here\n");
	send_text(there[0], "there\n");
	expect_text(there[1], "there\n"); /* and nothing came before it */
	ck_assert_uint_eq(server_stat(server, "deliveries"), 2);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	for (int i = 0; i < 2; i++) {
		expect_end(here[i]);
		expect_end(there[i]);
	}
}
END_TEST

/* ---- limits ---- */

/* Lines of one byte less than the limit, of the limit, and of one byte more. */
static void expect_limit(unsigned port, size_t max)
{
	static char line[LINE_MOST + 2], heard[LINE_MOST + 2];
	uint64_t too_long = server_stat(server, "closed_line_too_long");

	meet(port);
	for (size_t n = max - 1; n <= max; n++) {
		memset(line, 'y', n);
		line[n] = '\n';
		send_all(speaker, line, n + 1);
		receive_exactly(listener, heard, n + 1);
		ck_assert_int_eq(memcmp(heard, line, n + 1), 0);
	}
	memset(line, 'z', max + 1);
	send_all(speaker, line, max + 1); /* without its end */
	server_wait_stat(server, "closed_line_too_long", too_long + 1);
	expect_end(speaker);
	(void)close(speaker);
	speaker = connect_to(port);
	server_wait_stat(server, "members_left", too_long + 1);
	send_text(speaker, "ok\n");
	expect_text(listener, "ok\n"); /* and no part of the long line */
}

START_TEST(a_line_has_max_line_bytes_at_most)
{
	server = SERVER("-w", "2", "--max-line", "50", "chat://127.0.0.1:0",
			"chat://127.0.0.1:0?max-line=7", "chat://127.0.0.1:0?max-line=16000");
	expect_limit(server->ports[0], 50);
	expect_limit(server->ports[1], 7);
	expect_limit(server->ports[2], 16000);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	/* The default of --max-line is more than a chat allows. */
	server = SERVER("-w", "2", "chat://127.0.0.1:0");
	expect_limit(server->ports[0], LINE_MOST);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

START_TEST(keys_that_do_not_fit_are_refused)
{
	static const struct {
		const char *listener, *why;
	} wrong[] = {
	    {"chat://127.0.0.1:0?max-line=16001",
	     "max-line takes a size from 1 to 16000 for chat, not \"16001\""},
	    {"chat://127.0.0.1:0?max-line=0",
	     "max-line takes a size from 1 to 16000 for chat, not \"0\""},
	    {"chat://127.0.0.1:0?names=yes", "names takes on or off, not \"yes\""},
	    {"chat://127.0.0.1:0?names", "names takes on or off"},
	    {"chat://127.0.0.1:0?max-frame=5", "max-frame does not apply to this listener"},
	    {"echo://127.0.0.1:0?names=on", "names does not apply to this listener"},
	    {"line://127.0.0.1:0?names=on", "names does not apply to this listener"},
	};
	char output[4096];

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		ck_assert_int_eq(RUN(output, wrong[i].listener), 2);
		ck_assert_msg(strstr(output, wrong[i].why), "%s: %s", wrong[i].listener, output);
	}
}
END_TEST

/* ---- ends ---- */

START_TEST(after_a_fin_what_is_owed_comes)
{
	static char line[1000], heard[101 * sizeof line];

	start();
	memset(line, 'o', sizeof line);
	line[sizeof line - 1] = '\n';
	for (int i = 0; i < 100; i++)
		send_all(listener, line, sizeof line);
	server_wait_stat(server, "deliveries", 100);
	/* Like nc -N, it says something, ends its side, and reads. */
	send_text(speaker, "hello\n");
	finish_sending(speaker);
	ck_assert_uint_eq(receive_to_end(speaker, heard, sizeof heard), 100 * sizeof line);
	for (size_t i = 0; i < 100 * sizeof line; i++)
		ck_assert_int_eq(heard[i], line[i % sizeof line]);
	expect_text(listener, "hello\n");
	server_wait_stat(server, "closed_eof", 1);
	ck_assert_uint_eq(server_stat(server, "members_left"), 1);
	part();
}
END_TEST

START_TEST(half_a_line_and_a_fin_is_truncated)
{
	start();
	send_text(speaker, "whole\nhal");
	finish_sending(speaker);
	expect_end(speaker);
	server_wait_stat(server, "closed_truncated", 1);
	expect_text(listener, "whole\n");
	speaker = connect_to(server->ports[0]);
	server_wait_stat(server, "members_joined", 3);
	send_text(speaker, "\n\nnext\n"); /* empty lines are lines */
	expect_text(listener, "\n\nnext\n");
	ck_assert_uint_eq(server_stat(server, "published"), 4);
	part();
}
END_TEST

START_TEST(half_a_line_and_silence_is_a_timeout)
{
	server = SERVER("-w", "2", "--request-timeout", "300ms", "chat://127.0.0.1:0");
	meet(server->ports[0]);
	send_text(speaker, "whole\nhal");
	expect_end(speaker);
	server_wait_stat(server, "closed_request_timeout", 1);
	expect_text(listener, "whole\n"); /* a client that is silent between lines stays */
	ck_assert_uint_eq(server_stat(server, "members_left"), 1);
	part();
}
END_TEST

SUITE("chat_lines", {"a name is where one comes from", a_name_is_where_one_comes_from, 30},
      {"over a unix socket a name is a number", over_a_unix_socket_a_name_is_a_number, 30},
      {"the longest line with a name", the_longest_line_with_a_name, 30},
      {"two listeners do not hear each other", two_listeners_do_not_hear_each_other, 30},
      {"a line has max-line bytes at most", a_line_has_max_line_bytes_at_most, 30},
      {"keys that do not fit are refused", keys_that_do_not_fit_are_refused, 30},
      {"after a FIN what is owed comes", after_a_fin_what_is_owed_comes, 30},
      {"half a line and a FIN is truncated", half_a_line_and_a_fin_is_truncated, 30},
      {"half a line and silence is a timeout", half_a_line_and_silence_is_a_timeout, 30})
