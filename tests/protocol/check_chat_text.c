/*
 * What one client of a chat says, as another one's terminal gets it, byte by byte: text, names,
 * limits and ends.
 *
 * What is expected stands in tables, or comes from the C library's own decoder of UTF-8. Not
 * looked at: what a terminal makes of characters that are no controls.
 */
#include <arpa/inet.h>
#include <locale.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wchar.h>

#include "tests/support/harness.h"

#define LINE_MOST 16000

/* ---- a speaker and a listener ---- */

static struct server *server;
static int speaker, listener;

static void meet(unsigned port)
{
	uint64_t joined = server_stat(server, "members_joined");

	speaker = connect_to(port);
	listener = connect_to(port);
	server_wait_stat(server, "members_joined", joined + 2);
}

static void start(void)
{
	server = SERVER("-w", "2", "chat://127.0.0.1:0");
	meet(server->ports[0]);
}

static void part(void)
{
	(void)close(speaker);
	(void)close(listener);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

struct bytes {
	unsigned char *at;
	size_t n, room;
};

static struct bytes said, expected; /* of a test */

static void add(struct bytes *to, const void *bytes, size_t n)
{
	if (to->n + n > to->room) {
		to->room = 2 * (to->n + n);
		to->at = realloc(to->at, to->room);
		ck_assert(to->at);
	}
	memcpy(to->at + to->n, bytes, n);
	to->n += n;
}

static void add_byte(struct bytes *to, unsigned byte)
{
	unsigned char one = (unsigned char)byte;

	add(to, &one, 1);
}

/* Says all, and hears what is expected, meanwhile. */
static void say_and_hear(void)
{
	unsigned char *heard = malloc(expected.n + 1);
	size_t sent = 0, n = 0;

	ck_assert(heard);
	set_nonblocking(speaker);
	while (n < expected.n) {
		struct pollfd fds[] = {{.fd = speaker, .events = sent < said.n ? POLLOUT : 0},
				       {.fd = listener, .events = POLLIN}};
		ssize_t now;

		ck_assert_int_gt(poll(fds, 2, (int)patience_ms()), 0);
		if (fds[0].revents) {
			now = send(speaker, said.at + sent, said.n - sent, MSG_NOSIGNAL);
			ck_assert_int_gt(now, 0);
			sent += (size_t)now;
		}
		if (fds[1].revents) {
			now = recv(listener, heard + n, expected.n + 1 - n, 0);
			ck_assert_int_gt(now, 0);
			n += (size_t)now;
		}
	}
	ck_assert_uint_eq(sent, said.n);
	ck_assert_uint_eq(n, expected.n);
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(heard[i] == expected.at[i], "byte %zu is %02x, not %02x", i, heard[i],
			      expected.at[i]);
	free(heard);
}

/* ---- text, from tables ---- */

static bool is_plain(unsigned byte)
{
	return (byte >= 0x20 && byte < 0x7f) || byte == '\t';
}

START_TEST(every_byte)
{
	start();
	for (unsigned byte = 0; byte < 255; byte++) { /* that one is telnet's */
		add(&said, "a", 1);
		add_byte(&said, byte);
		add(&said, "z\n", 2);
		add(&expected, "a", 1);
		add_byte(&expected, byte == '\n' ? '\n' : is_plain(byte) ? byte : '?');
		add(&expected, "z\n", 2);
	}
	for (unsigned byte = 0; byte < 255; byte++) { /* alone; \r is a part of the line's end */
		add_byte(&said, byte);
		add(&said, "\n", 1);
		if (byte != '\r')
			add_byte(&expected, byte == '\n' ? '\n' : is_plain(byte) ? byte : '?');
		add(&expected, "\n", 1);
	}
	say_and_hear();
	part();
}
END_TEST

static const struct {
	const char *said, *heard;
} texts[] = {
    /* what passes */
    {"plain", "plain"},
    {"", ""},
    {"\ttab\t", "\ttab\t"},
    {"\xc2\xa0\xc3\xbf\xdf\xbf", "\xc2\xa0\xc3\xbf\xdf\xbf"},
    {"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf",
     "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"},
    {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
    {"\xe2\x80\x8d\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xaa",
     "\xe2\x80\x8d\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xaa"},
    /* the ends of lines */
    {"\r", ""},
    {"dos\r", "dos"},
    {"two\r\r", "two?"},
    {"over\rwrite", "over?write"},
    /* controls */
    {"\x1b[31mred\x1b[0m", "?[31mred?[0m"},
    {"\x1b]0;title\a", "?]0;title?"},
    {"del\x7f", "del?"},
    {"\xc2\x80\xc2\x9b\xc2\x9f", "???"},
    /* those that change the direction of text */
    {"\xd8\x9b\xd8\x9c\xd8\x9d", "\xd8\x9b?\xd8\x9d"},
    {"\xe2\x80\x8e\xe2\x80\x8f", "??"},
    {"\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xac\xe2\x80\xad\xe2\x80\xae", "?????"},
    {"\xe2\x81\xa5\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9", "\xe2\x81\xa5????"},
    /* overlong forms: of NUL, ESC, '/', of characters of two and three bytes */
    {"\xc0\x80", "??"},
    {"\xc0\x9b[m", "??[m"},
    {"\xc1\xaf", "??"},
    {"\xe0\x80\x9b[m", "???[m"},
    {"\xe0\x82\x9b", "???"},
    {"\xe0\x9f\xbf", "???"},
    {"\xf0\x80\x80\x9b", "????"},
    {"\xf0\x8f\xbf\xbf", "????"},
    /* surrogates, what lies above U+10FFFF, what never begins a character */
    {"\xed\xa0\x80\xed\xbf\xbf", "??????"},
    {"\xf4\x90\x80\x80", "????"},
    {"\xf5\x80\x80\x80\xf7\xbf\xbf\xbf", "????????"},
    {"\xf8\x88\x80\x80\x80\xfc\x84\x80\x80\x80\x80", "???????????"},
    {"\xfe", "?"},
    {"\x80\x9b\xbf", "???"},
    /* cut short: by another character, by the end of the line */
    {"\xc3", "?"},
    {"\xc3|", "?|"},
    {"\xe2\x82", "??"},
    {"\xe2\x82|\xe2|\x82", "??|?|?"},
    {"\xf0\x9f\x98", "???"},
    {"\xf0\x9f\x98|", "???|"},
    {"\xe2\xc2\xa9", "?\xc2\xa9"},
    {"\xc2\r", "?"},
    /* what stands around something bad does not come together */
    {"\xc2\xfe\x9b[m", "???[m"},
    {"\xc2\x1b\x9b[m", "???[m"},
    {"\xe2\x80\xfe\xae", "????"},
    {"\xe2\xc2\x9b\x80\xae", "????"},
    {"\x1b\x1b[[mm", "??[[mm"},
    {"\xc2\xc2\x9b\x9b", "???"},
    /* what telnet negotiates is no text, and what comes together around it is looked at then */
    {"\xff\xfb\x1f\xff\xfd\x01hello\xff\xf9", "hello"},
    {"a\xff\xfe\ny\xff\xfc\rz", "ayz"},
    {"\xff\xfa\x1f\x01\n\n\xff\xff\n\xff\xf0one \xff\xfa\xff\xf0two", "one two"},
    {"\xff\xff", ""},
    {"\xff", ""},
    {"\xc2\xff\x9b[m", "?[m"},
    {"\xe2\x80\xff\xf1\xae", "?"},
};

START_TEST(what_passes_and_what_does_not)
{
	start();
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		add(&said, texts[i].said, strlen(texts[i].said));
		add(&said, "\n", 1);
		add(&expected, texts[i].heard, strlen(texts[i].heard));
		add(&expected, "\n", 1);
	}
	say_and_hear();
	part();
}
END_TEST

/* ---- text, by another decoder ---- */

static bool steers(uint32_t c)
{
	static const uint32_t bidi[] = {0x061c, 0x200e, 0x200f, 0x202a, 0x202b, 0x202c,
					0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069};

	for (size_t i = 0; i < sizeof bidi / sizeof *bidi; i++)
		if (c == bidi[i])
			return true;
	return c != '\t' && (c < 0x20 || c == 0x7f || (c > 0x7f && c < 0xa0));
}

static void expect_line(const unsigned char *line, size_t n)
{
	if (n && line[n - 1] == '\r')
		n--;
	for (size_t at = 0; at < n;) {
		mbstate_t state = {0};
		wchar_t c = 0;
		size_t length = mbrtowc(&c, (const char *)line + at, n - at, &state);
		bool valid = length <= 4 && c <= 0x10ffff && !(c >= 0xd800 && c <= 0xdfff);

		length = !valid ? 1 : length ? length : 1; /* 0: it was a NUL */
		if (!valid || steers((uint32_t)c))
			add(&expected, "?", 1);
		else
			add(&expected, line + at, length);
		at += length;
	}
	add(&expected, "\n", 1);
}

/* What begins as telnet's does not end with the line. */
static void say_line(const unsigned char *line, size_t n)
{
	if (memchr(line, 0xff, n))
		return;
	add(&said, line, n);
	add(&said, "\n", 1);
	expect_line(line, n);
}

static void set_locale(void)
{
	ck_assert_msg(setlocale(LC_CTYPE, "C.UTF-8"), "there is no locale C.UTF-8");
}

/* All of two bytes; all of three that begin as those that change the direction of text, or at
 * the edges; each with a letter on both sides. */
START_TEST(every_pair_of_bytes)
{
	static const unsigned char leads[] = {0xd8, 0xe0, 0xe2, 0xed, 0xef, 0xf0, 0xf4};
	set_locale();
	start();
	for (unsigned pair = 0; pair < 65536; pair++) {
		unsigned char line[] = {'a', (unsigned char)(pair >> 8), (unsigned char)pair, 'z'};

		if (line[1] != '\n' && line[2] != '\n')
			say_line(line, 4);
	}
	for (size_t i = 0; i < sizeof leads; i++)
		for (unsigned pair = 0; pair < 64 * 64; pair++) {
			unsigned char line[] = {leads[i], (unsigned char)(0x80 | pair >> 6),
						(unsigned char)(0x80 | (pair & 63)), 0xbf};

			say_line(line, 3 + (leads[i] >= 0xf0));
		}
	say_and_hear();
	part();
}
END_TEST

static size_t random_line(unsigned char *line, uint64_t *seed)
{
	static const unsigned char often[] = {0xc2, 0x9b, 0xe2, 0x80, 0xae, 0xf0, 0x9f, 0x98, 0x81,
					      0xed, 0xa0, 0xf4, 0x90, 0x1b, '\r', 'a',	0xd8, 0x9c};
	size_t n = next_random(seed) % (next_random(seed) % 50 ? 24 : 400);
	unsigned kind = (unsigned)(next_random(seed) % 3);

	for (size_t i = 0; i < n; i++) {
		uint64_t random = next_random(seed);

		line[i] = kind == 0 || (kind == 1 && random % 8 == 0)
			      ? (unsigned char)(random >> 8)
			      : often[(random >> 8) % sizeof often];
		if (line[i] == '\n')
			line[i] = 0;
	}
	return n;
}

static void say_random_lines(unsigned long lines)
{
	unsigned char line[400];
	uint64_t seed = 20260;

	set_locale();
	start();
	for (unsigned long i = 0; i < lines; i++)
		say_line(line, random_line(line, &seed));
	say_and_hear();
	(void)printf("FIGURE random lines that came as they should: %lu (%zu bytes)\n", lines,
		     said.n);
	(void)fflush(stdout);
	part();
}

START_TEST(random_lines)
{
	say_random_lines(suite_volume(20000));
}
END_TEST

START_TEST(a_hundred_thousand_random_lines)
{
	say_random_lines(suite_volume(100000));
}
END_TEST

/* ---- names ---- */

static unsigned local_port(int fd)
{
	struct sockaddr_storage own;
	socklen_t n = sizeof own;

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&own, &n), 0);
	return ntohs(own.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&own)->sin6_port
					       : ((struct sockaddr_in *)&own)->sin_port);
}

/* fd says something, other hears it with its name. */
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

/* A worker and a number, not the same for two at a time. */
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
	(void)close(first); /* it has not read all: a graceful end would wait for it */
	(void)close(second);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}
END_TEST

/* A client that was gone before it was accepted, or whose name has a control, can't be made
 * here. The longest name and the longest line together fit. */
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
	expect_text(there[1], "there\n"); /* and nothing before it */
	ck_assert_uint_eq(server_stat(server, "deliveries"), 2);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	for (int i = 0; i < 2; i++) {
		expect_end(here[i]);
		expect_end(there[i]);
	}
}
END_TEST

/* ---- limits ---- */

/* Lines of one byte less, just as many, and one more than are allowed. */
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
	send_all(speaker, line, max + 1); /* it has no end yet */
	server_wait_stat(server, "closed_line_too_long", too_long + 1);
	expect_end(speaker);
	(void)close(speaker);
	speaker = connect_to(port);
	server_wait_stat(server, "members_left", too_long + 1);
	send_text(speaker, "ok\n");
	expect_text(listener, "ok\n"); /* and nothing of the long one */
}

START_TEST(a_line_has_max_line_bytes_at_most)
{
	server = SERVER("-w", "2", "--max-line", "50", "chat://127.0.0.1:0",
			"chat://127.0.0.1:0?max-line=7", "chat://127.0.0.1:0?max-line=16000");
	expect_limit(server->ports[0], 50);
	expect_limit(server->ports[1], 7);
	expect_limit(server->ports[2], 16000);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
	/* The default is longer than lines of a chat can be. */
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
	/* As nc -N does: it says something, ends its side, and reads. */
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
	expect_text(listener, "whole\n"); /* who is silent between lines stays */
	ck_assert_uint_eq(server_stat(server, "members_left"), 1);
	part();
}
END_TEST

SUITE("chat_text", {"every byte", every_byte, 30},
      {"what passes and what does not", what_passes_and_what_does_not, 30},
      {"every pair of bytes", every_pair_of_bytes, 60}, {"random lines", random_lines, 60},
      {"a hundred thousand random lines", a_hundred_thousand_random_lines, 60, .kind = SUITE_LONG},
      {"a name is where one comes from", a_name_is_where_one_comes_from, 30},
      {"over a unix socket a name is a number", over_a_unix_socket_a_name_is_a_number, 30},
      {"the longest line with a name", the_longest_line_with_a_name, 30},
      {"two listeners do not hear each other", two_listeners_do_not_hear_each_other, 30},
      {"a line has max-line bytes at most", a_line_has_max_line_bytes_at_most, 30},
      {"keys that do not fit are refused", keys_that_do_not_fit_are_refused, 30},
      {"after a FIN what is owed comes", after_a_fin_what_is_owed_comes, 30},
      {"half a line and a FIN is truncated", half_a_line_and_a_fin_is_truncated, 30},
      {"half a line and silence is a timeout", half_a_line_and_silence_is_a_timeout, 30})
