/*
 * Bad input: input that breaks a protocol's rules, or ends in the middle of a message, ends that
 * connection, and the reason is counted. Good messages before it are answered, the worker's memory
 * does not grow, and others do not notice: during each of these tests another connection to the
 * same worker waits for an answer (bystander.h).
 *
 * Not tested: a peer that vanishes (closed_lost), which does not happen on loopback.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tests/protocol/bystander.h"

#define KIB	       1024u
#define MIB	       (1024u * 1024u)
#define FRAME_MAX      MIB	  /* the default */
#define LINE_MAX_BYTES (64 * KIB) /* the default */

/* ---- messages ---- */

struct bytes {
	unsigned char *at;
	size_t n;
};

static void add(struct bytes *bytes, const void *more, size_t n)
{
	bytes->at = realloc(bytes->at, bytes->n + n + 1);
	ck_assert_ptr_nonnull(bytes->at);
	if (n)
		memcpy(bytes->at + bytes->n, more, n);
	bytes->n += n;
}

static void add_prefix(struct bytes *bytes, uint32_t length)
{
	uint32_t prefix = htonl(length);

	add(bytes, &prefix, sizeof prefix);
}

/* n bytes without \n, which depend on n. */
static void add_payload(struct bytes *bytes, size_t n)
{
	unsigned char *payload = malloc(n + 1);

	ck_assert_ptr_nonnull(payload);
	fill_random(payload, n, n + 1);
	for (size_t i = 0; i < n; i++)
		if (payload[i] == '\n')
			payload[i] = 'n';
	add(bytes, payload, n);
	free(payload);
}

static void add_frame(struct bytes *bytes, uint32_t length)
{
	add_prefix(bytes, length);
	add_payload(bytes, length);
}

static void add_line(struct bytes *bytes, size_t n)
{
	add_payload(bytes, n);
	add(bytes, "\n", 1);
}

/* Sends all, and a FIN if with_end, and reads at the same time: exactly the first `answered` bytes
 * must come back, then the end. If weir closes the connection it may not take the rest. */
static void exchange(unsigned port, struct bytes out, size_t answered, bool with_end)
{
	int fd = connect_to(port);
	unsigned char *came = malloc(answered + 1);
	size_t sent = 0, came_n = 0;
	ssize_t n = -1;

	ck_assert_ptr_nonnull(came);
	set_nonblocking(fd);
	while (n != 0) {
		short events = (short)(POLLIN | (sent < out.n ? POLLOUT : 0));
		struct pollfd poll_fd = {.fd = fd, .events = events};

		ck_assert_msg(poll(&poll_fd, 1, (int)patience_ms()) > 0,
			      "no end: %zu of %zu bytes sent, %zu of %zu came", sent, out.n, came_n,
			      answered);
		n = sent < out.n ? send(fd, out.at + sent, out.n - sent, MSG_NOSIGNAL) : -1;
		if (n > 0) {
			sent += (size_t)n;
			if (sent == out.n && with_end)
				finish_sending(fd);
		}
		n = recv(fd, came + came_n, answered + 1 - came_n, 0);
		ck_assert_msg(n >= 0 || errno == EAGAIN, "after %zu bytes: %s", came_n,
			      strerror(errno));
		came_n += n > 0 ? (size_t)n : 0;
		ck_assert_msg(came_n <= answered, "more than %zu bytes came", answered);
	}
	ck_assert_msg(came_n == answered, "%zu of %zu bytes came", came_n, answered);
	ck_assert_msg(memcmp(came, out.at, answered) == 0, "other bytes came");
	(void)close(fd);
	free(came);
}

/* Good messages, then bad ones: the first `good` bytes come back, and the connection ends, counted
 * in row. Then the same with many more bytes after it, which the client goes on sending: it must
 * still get the good answers. */
static void bad_after_good(struct server *server, int listener, struct bytes bytes, size_t good,
			   const char *row)
{
	for (int more = 0; more < 2; more++) {
		bystander_asks();
		exchange(server->ports[listener], bytes, good, false);
		bystander_is_answered();
		bystander_expect_close(row);
		if (!more)
			add_payload(&bytes, 300000);
	}
	free(bytes.at);
}

static void good_only(struct server *server, int listener, struct bytes bytes)
{
	bystander_asks();
	exchange(server->ports[listener], bytes, bytes.n, true);
	bystander_is_answered();
	bystander_expect_close("closed_eof");
	free(bytes.at);
}

/* ---- too long ---- */

START_TEST(frame_lengths)
{
	static const uint32_t good[] = {0, 1, 2, FRAME_MAX - 1, FRAME_MAX};
	static const uint32_t small[] = {0, 1, FRAME_SMALL_MAX - 1, FRAME_SMALL_MAX};
	static const uint32_t bad[] = {FRAME_MAX + 1, (1u << 31) - 1, 1u << 31, UINT32_MAX};
	struct server *server = START(LISTENERS);
	struct bytes all = {0};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		struct bytes one = {0};

		add_frame(&one, good[i]);
		add_frame(&all, good[i]);
		good_only(server, FRAME, one);
	}
	good_only(server, FRAME, all);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct bytes alone = {0}, after = {0};
		size_t good_n;

		add_prefix(&alone, bad[i]);
		bad_after_good(server, FRAME, alone, 0, "closed_frame_too_large");
		for (size_t j = 0; j < sizeof small / sizeof *small; j++)
			add_frame(&after, small[j]);
		good_n = after.n;
		add_prefix(&after, i == 0 ? FRAME_SMALL_MAX + 1 : bad[i]);
		bad_after_good(server, FRAME_SMALL, after, good_n, "closed_frame_too_large");
	}
	bystander_finish(server);
}
END_TEST

/* Lines with and without \n: a line may be known to be too long before its end has come. */
static void line_lengths_of(struct server *server, int listener, size_t max)
{
	struct bytes fits = {0}, ended = {0}, endless = {0}, tail = {0};
	size_t good;

	add_line(&fits, 0);
	add_line(&fits, 1);
	add_line(&fits, max - 1);
	add_line(&fits, max);
	add_line(&fits, max);
	good = fits.n;
	add(&ended, fits.at, good);
	add_line(&ended, max + 1);
	add(&endless, fits.at, good);
	add_payload(&endless, max + 1);
	add_line(&tail, max + 1);
	good_only(server, listener, fits);
	bad_after_good(server, listener, ended, good, "closed_line_too_long");
	bad_after_good(server, listener, endless, good, "closed_line_too_long");
	bad_after_good(server, listener, tail, 0, "closed_line_too_long");
}

START_TEST(line_lengths)
{
	struct server *server = START(LISTENERS);

	line_lengths_of(server, LINE, LINE_MAX_BYTES);
	line_lengths_of(server, LINE_SMALL, LINE_SMALL_MAX);
	bystander_finish(server);
}
END_TEST

/* ---- cut short ---- */

/* A good message, a part of another one, FIN: the whole message comes back; and of a frame also the
 * part, as frames are passed on while they come. */
static void cut_short(struct server *server, int listener, const struct bytes *message, size_t part)
{
	struct bytes bytes = {0};
	bool passed_on = listener == FRAME && part >= 4;

	add(&bytes, message->at, message->n);
	add(&bytes, message->at, part);
	bystander_asks();
	exchange(server->ports[listener], bytes, message->n + (passed_on ? part : 0), true);
	bystander_is_answered();
	bystander_expect_close("closed_truncated");
	free(bytes.at);
}

START_TEST(truncated_messages)
{
	static const size_t parts[] = {1, 3, 4, 5, 16375, 16376, 16377, 59999};
	struct server *server = START(LISTENERS);
	struct bytes frame = {0}, line = {0};

	add_frame(&frame, 60000);
	add_line(&line, 60000);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		cut_short(server, FRAME, &frame, parts[i]);
		cut_short(server, LINE, &line, parts[i]);
	}
	bystander_finish(server);
	free(frame.at);
	free(line.at);
}
END_TEST

/* ---- resets ---- */

START_TEST(resets)
{
	struct server *server = START(LISTENERS);
	static unsigned char bytes[MIB], some[1000];

	fill_random(bytes, sizeof bytes, 1);
	for (int i = 0; i < 200; i++) {
		int listener = i % 5, fd;

		/* At once, after half a message, and in the middle of a reply. */
		bystander_asks();
		reset(connect_to(server->ports[listener]));
		bystander_is_answered();
		bystander_asks();
		fd = connect_to(server->ports[listener]);
		send_text(fd, "ab");
		reset(fd);
		bystander_is_answered();
		bystander_asks();
		fd = connect_to(server->ports[ECHO]);
		set_nonblocking(fd);
		while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0)
			;
		ck_assert_int_eq(
		    poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, (int)patience_ms()), 1);
		ck_assert_int_gt(recv(fd, some, sizeof some, 0), 0);
		reset(fd);
		bystander_is_answered();
		for (int k = 0; k < 3; k++)
			bystander_expect_close("closed_reset");
	}
	bystander_finish(server);
}
END_TEST

/* ---- memory ---- */

static void every_kind_of_bad(const struct server *server, const struct bytes *line)
{
	static const char huge[] = "\0\0\0\1a\xff\xff\xff\xff";
	int frame = connect_to(server->ports[FRAME]), long_line = connect_to(server->ports[LINE]);
	int cut = connect_to(server->ports[LINE]), gone = connect_to(server->ports[LINE]);

	send_all(frame, huge, sizeof huge - 1);
	expect_bytes(frame, huge, 5);
	expect_end(frame);
	send_all(long_line, line->at, line->n);
	expect_reset_or_end(long_line);
	send_all(cut, line->at, 40000);
	finish_sending(cut);
	expect_end(cut);
	send_all(gone, line->at, 20000);
	reset(gone);
	(void)close(frame);
	(void)close(long_line);
	(void)close(cut);
	bystander_asks();
	bystander_is_answered();
}

static void memory_stays(int n)
{
	struct bytes line = {0};
	struct server *server;
	size_t before, after;
	pid_t worker;

	if (suite_sanitized()) {
		suite_skip("memory stays where it was", "a sanitizer's memory is its own");
		return;
	}
	server = START(LISTENERS);
	worker = server_wait_worker(server, 0, 0);
	add_payload(&line, LINE_MAX_BYTES + 1);
	for (int i = 0; i < 500; i++) /* what is allocated only once is allocated now */
		every_kind_of_bad(server, &line);
	before = process_memory(worker);
	for (int i = 0; i < n; i++)
		every_kind_of_bad(server, &line);
	after = process_memory(worker);
	(void)printf("FIGURE worker's memory before and after %d bad inputs: %zu %zu KiB\n", 4 * n,
		     before / KIB, after / KIB);
	(void)fflush(stdout);
	/* If each of 12,000 leaked a byte this would be 12 KiB; a chunk for each of one kind, 48
	 * MiB. */
	ck_assert_uint_le(after, before + 8 * KIB);
	for (int i = 0; i < 500 + n; i++) {
		bystander_expect_close("closed_frame_too_large");
		bystander_expect_close("closed_line_too_long");
		bystander_expect_close("closed_truncated");
		bystander_expect_close("closed_reset");
	}
	bystander_finish(server);
	free(line.at);
}

START_TEST(memory_stays_where_it_was)
{
	memory_stays(700);
}
END_TEST

START_TEST(memory_stays_after_thousands)
{
	memory_stays(3000);
}
END_TEST

SUITE("bad input", {"frame lengths: 0 to max pass, above it is the end", frame_lengths, 60},
      {"line lengths: 0 to max pass, above it is the end", line_lengths, 60},
      {"a message cut short by the end", truncated_messages, 30},
      {"resets at once, in a message and in a reply", resets, 60},
      {"memory stays where it was", memory_stays_where_it_was, 60},
      {"memory stays after thousands", memory_stays_after_thousands, 60, .kind = SUITE_LONG})
