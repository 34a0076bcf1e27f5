/*
 * What one client of a chat says, and what another one's terminal gets, byte by byte.
 *
 * The expected text is in tables, or is made with the C library's decoder of UTF-8. Not tested: how
 * a terminal shows characters that are no controls.
 */
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <wchar.h>

#include "tests/protocol/chat_pair.h"

/* ---- what one says and the other hears ---- */

struct bytes {
	unsigned char *at;
	size_t n, room;
};

static struct bytes said, expected; /* in the current test */

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

/* Sends all of `said`, and at the same time receives, which must be `expected`. */
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
	for (unsigned byte = 0; byte < 255; byte++) { /* 255 is telnet's */
		add(&said, "a", 1);
		add_byte(&said, byte);
		add(&said, "z\n", 2);
		add(&expected, "a", 1);
		add_byte(&expected, byte == '\n' ? '\n' : is_plain(byte) ? byte : '?');
		add(&expected, "z\n", 2);
	}
	for (unsigned byte = 0; byte < 255; byte++) { /* alone; \r is part of the line end */
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
    /* text that is passed on unchanged */
    {"plain", "plain"},
    {"", ""},
    {"\ttab\t", "\ttab\t"},
    {"\xc2\xa0\xc3\xbf\xdf\xbf", "\xc2\xa0\xc3\xbf\xdf\xbf"},
    {"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf",
     "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"},
    {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
    {"\xe2\x80\x8d\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xaa",
     "\xe2\x80\x8d\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xaa"},
    /* line ends */
    {"\r", ""},
    {"dos\r", "dos"},
    {"two\r\r", "two?"},
    {"over\rwrite", "over?write"},
    /* controls */
    {"\x1b[31mred\x1b[0m", "?[31mred?[0m"},
    {"\x1b]0;title\a", "?]0;title?"},
    {"del\x7f", "del?"},
    {"\xc2\x80\xc2\x9b\xc2\x9f", "???"},
    /* characters that change the direction of text */
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
    /* surrogates, characters above U+10FFFF, bytes that never begin a character */
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
    /* bytes before and after a bad one must not join to a control */
    {"\xc2\xfe\x9b[m", "???[m"},
    {"\xc2\x1b\x9b[m", "???[m"},
    {"\xe2\x80\xfe\xae", "????"},
    {"\xe2\xc2\x9b\x80\xae", "????"},
    {"\x1b\x1b[[mm", "??[[mm"},
    {"\xc2\xc2\x9b\x9b", "???"},
    /* telnet's commands are removed, and the text around them is checked after it has joined */
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

/* A line with 0xff is not said: a telnet command does not end with the line. */
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

/* All pairs of bytes, between two letters; and all sequences of three bytes (or four) that begin
 * like characters that change the direction of text, or are at the limits of what is valid. */
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

SUITE("chat_text", {"every byte", every_byte, 30},
      {"what passes and what does not", what_passes_and_what_does_not, 30},
      {"every pair of bytes", every_pair_of_bytes, 60}, {"random lines", random_lines, 60},
      {"a hundred thousand random lines", a_hundred_thousand_random_lines, 60, .kind = SUITE_LONG})
