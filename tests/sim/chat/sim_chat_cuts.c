/*
 * What TCP and the kernel may do to a chat must not show. However a transcript is cut, and
 * however little the listener takes at a time, the listener hears the same lines. And with each
 * error that a call may give, at every call of a scenario on two workers, both loops go on, and
 * only the connection whose call it was may lose something.
 *
 * What is to be heard is worked out here. What this can't see: side effects of a failing call in a
 * real kernel.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/segmenter.h"
#include "tests/support/sim/sim_chat_workers.h"

static struct sim_chat chat;

/* ---- transcripts ---- */

#define LINE_MAX_HERE 100
#define BYTES_MAX     (256u << 10)

static struct transcript {
	const char *name;
	uint32_t line_max;
	enum close_reason reason;
	size_t in_n, out_n;
	unsigned char in[BYTES_MAX], out[BYTES_MAX];
} t;

static unsigned char heard[2 * BYTES_MAX];

static void transcript_begin(const char *name, uint32_t line_max, enum close_reason reason)
{
	t.name = name;
	t.line_max = line_max;
	t.reason = reason;
	t.in_n = t.out_n = 0;
}

/* in: what is sent; out: what others hear of it. */
static void add(const char *in, size_t in_n, const char *out, size_t out_n)
{
	memcpy(t.in + t.in_n, in, in_n);
	t.in_n += in_n;
	if (out_n)
		memcpy(t.out + t.out_n, out, out_n);
	t.out_n += out_n;
}

static void add_text(const char *in, const char *out)
{
	add(in, strlen(in), out, strlen(out));
}

static void add_line(size_t n, bool is_heard)
{
	char line[16002];

	for (size_t i = 0; i < n; i++)
		line[i] = (char)('a' + (i + n) % 26);
	line[n] = '\n';
	add(line, n + 1, line, is_heard ? n + 1 : 0);
}

static void make_lines(void)
{
	static const size_t lengths[] = {0, 1, 99, 100, 0, 0, 37, 100, 5};

	transcript_begin("lines", LINE_MAX_HERE, CLOSE_eof);
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		add_line(lengths[i], true);
}

static void make_text(void)
{
	transcript_begin("text", LINE_MAX_HERE, CLOSE_eof);
	add_text("one\r\n\r\n\r\r\n", "one\n\n?\n");
	add_text("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\n",
		 "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\n");
	add_text("\xe2\x80\xae|\xc2\x9b|\x1b[31m|\xf0\x9f\n\x98\x80\n", "?|?|?[31m|??\n??\n");
	add("\0\t\x7f\xfe\n", 5, "?\t??\n", 5);
}

/* The height of a window and the number of an option may be 10, which is \n. */
static void make_telnet(void)
{
	static const char window[] = "\xff\xfa\x1f\0P\0\n\xff\xff\n\xff\xf0";

	transcript_begin("telnet", LINE_MAX_HERE, CLOSE_eof);
	add_text("\xff\xfb\x1f\xff\xfd\x01", "");
	add(window, sizeof window - 1, "", 0);
	add_text("hello \xff\xf9there\n", "hello there\n");
	add_text("one\n\xfftwo\xff\xfe\n\n", "one\ntwo\n");
	add(window, sizeof window - 1, "", 0);
	add_text("\xff\xff\xe2\x80\xff\xfb\n\xae|\xff\n", "?|\n");
	add(window, sizeof window - 1, "", 0);
}

static void make_unfinished(void)
{
	transcript_begin("line without its end", LINE_MAX_HERE, CLOSE_truncated);
	add_text("one\ntwo\n\n", "one\ntwo\n\n");
	add_text("three, but for its end", "");
}

static void make_too_long(void)
{
	transcript_begin("line too long", LINE_MAX_HERE, close_reason_named("line_too_long"));
	add_line(100, true);
	add_line(101, false);
	add_line(5, false);
}

static void make_too_long_and_unfinished(void)
{
	transcript_begin("line too long without its end", LINE_MAX_HERE,
			 close_reason_named("line_too_long"));
	add_text("fine\n", "fine\n");
	for (int i = 0; i < 13; i++)
		add_text("ten bytes.", "");
}

static void make_large(void)
{
	transcript_begin("large lines", 16000, CLOSE_eof);
	add_line(16000, true);
	add_line(15999, true);
	add_line(0, true);
	for (size_t i = 0; i < 3000; i++)
		add_line(i % 5, true);
	add_line(16000, true);
	add_line(16000, true);
}

static void make_large_too_long(void)
{
	transcript_begin("large line too long", 16000, close_reason_named("line_too_long"));
	add_line(16000, true);
	add_line(16001, false);
}

static void (*const small[])(void) = {make_lines,      make_text,     make_telnet,
				      make_unfinished, make_too_long, make_too_long_and_unfinished};

/* ---- cuts ---- */

static enum close_reason last_reason(const struct stats *before)
{
	for (int i = 1; i < CLOSE_REASONS_MAX; i++)
		if (chat.workers[0].stats.closed[i] != before->closed[i])
			return (enum close_reason)i;
	return CLOSE_NONE;
}

/* One worker has a speaker whose bytes are cut; the other has the listener, which reads little. */
static void run_segmenter(struct peer *listener, struct segmenter *segmenter, const char *how)
{
	struct stats before = chat.workers[0].stats;
	struct peer *speaker;
	size_t n = 0;

	segmenter->name = t.name;
	segmenter->in = t.in;
	segmenter->in_n = t.in_n;
	chat.workers[0].services[0].settings[0] = t.line_max;
	speaker = sim_chat_connect(&chat, 0, 0);
	speaker->script = segmenter;
	speaker->after_read = segmenter_maybe_send;
	for (int i = 0; !speaker->closed || n < t.out_n; i++) {
		EXPECT_MSG(i < 300000, "%s, %s: does not end", t.name, how);
		segmenter_send(speaker);
		worker_pass(&chat.workers[0]);
		if (speaker->shut) /* the server has ended its side, so the speaker does, too */
			peer_finish(speaker);
		worker_pass(&chat.workers[1]);
		n += peer_receive(listener, heard + n,
				  segmenter->drain ? segmenter->drain : sizeof heard - n);
		kernel_advance(1);
	}
	sim_chat_wait(&chat, 20);
	EXPECT_MSG(!listener->out.n, "%s, %s: too much came", t.name, how);
	EXPECT_MSG(memcmp(heard, t.out, t.out_n) == 0, "%s, %s: other lines came", t.name, how);
	EXPECT_MSG(last_reason(&before) == t.reason, "%s, %s: closed for %s, not %s", t.name, how,
		   close_reason_name(last_reason(&before)), close_reason_name(t.reason));
	EXPECT(chat.workers[0].stats.members_left == before.members_left + 1);
	peer_free(speaker);
}

static struct peer *sim_chat_open_for_cuts(uint64_t history)
{
	struct sim_chat_setting setting = {SIM_CHAT_SETTING};

	setting.history = history;
	sim_chat_open(&chat, &setting);
	return sim_chat_connect(&chat, 1, 0);
}

static void sim_chat_end(struct peer *listener)
{
	peer_finish(listener);
	sim_chat_wait(&chat, 20);
	sim_chat_close(&chat);
}

START_TEST(every_cut_in_two)
{
	struct peer *listener = sim_chat_open_for_cuts(JOURNAL_HISTORY_MIN);
	unsigned long runs = 0;
	char how[80];

	for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
		small[i]();
		for (size_t cut = 1; cut <= t.in_n; cut++)
			for (int way = 0; way < 8; way++, runs++) {
				struct segmenter segmenter = {.seed = cut,
							      .first = cut,
							      .mid_turn = way & 1,
							      .fin_alone = way & 2,
							      .drain = way & 4 ? 7 : 0};

				listener->space = way & 4 ? 10 : PEER_SPACE;
				(void)snprintf(how, sizeof how, "cut after %zu, way %d", cut, way);
				run_segmenter(listener, &segmenter, how);
			}
	}
	(void)printf("FIGURE transcripts of chat cut in two: %lu runs\n", runs);
	(void)fflush(stdout);
	sim_chat_end(listener);
}
END_TEST

START_TEST(cut_at_random)
{
	struct peer *listener = sim_chat_open_for_cuts(JOURNAL_HISTORY_MIN);
	char how[80];

	for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
		small[i]();
		for (unsigned long k = 0; k < suite_volume(500); k++) {
			uint64_t seed = k * 1000003 + 17;
			struct segmenter segmenter = {.seed = seed,
						      .piece = sim_below(&seed, 3) ? 0 : 1,
						      .mid_turn = sim_below(&seed, 2),
						      .fin_alone = sim_below(&seed, 2),
						      .drain = sim_below(&seed, 300)};

			listener->space = 1 + sim_below(&seed, 300);
			(void)snprintf(how, sizeof how, "random cutting %lu", k);
			run_segmenter(listener, &segmenter, how);
		}
	}
	sim_chat_end(listener);
}
END_TEST

static void cut_large_transcripts(struct peer *listener, unsigned long n)
{
	static void (*const large[])(void) = {make_large, make_large_too_long};
	char how[80];

	for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
		large[i]();
		for (unsigned long k = 0; k < n; k++) {
			uint64_t seed = k * 1000003 + 18;
			struct segmenter segmenter = {
			    .seed = seed,
			    .mid_turn = sim_below(&seed, 2),
			    .fin_alone = sim_below(&seed, 2),
			    .drain = sim_below(&seed, 2) ? 0 : 100 + sim_below(&seed, 9000)};

			listener->space = sim_below(&seed, 2) ? PEER_SPACE : 9000;
			(void)snprintf(how, sizeof how, "random cutting %lu", k);
			run_segmenter(listener, &segmenter, how);
		}
	}
}

/* With a small history a speaker has to wait for the listener's worker all the time. */
START_TEST(large_transcripts_cut_at_random)
{
	struct peer *listener = sim_chat_open_for_cuts(JOURNAL_HISTORY_MIN);

	cut_large_transcripts(listener, suite_volume(50));
	ck_assert_uint_gt(chat.workers[0].stats.publish_waits, 0);
	sim_chat_end(listener);
	listener = sim_chat_open_for_cuts(64 * JOURNAL_HISTORY_MIN);
	cut_large_transcripts(listener, suite_volume(50));
	ck_assert_uint_gt(chat.workers[0].stats.budget_yields, 0);
	sim_chat_end(listener);
}
END_TEST

/* ---- faults ---- */

enum { READER, SLOW, BOTH, TALKER, TOO_LONG, RESETS, HALF, CUSTOMERS };
#define LINES 12

static struct customer {
	struct peer *peer;
	char heard[8000];
	size_t heard_n;
	unsigned said;
} customers[CUSTOMERS];

static uint64_t baseline_closed[CLOSE_REASONS_MAX];

static unsigned worker_of(int i)
{
	return (unsigned)(i % 2);
}

static void customer_step(int i, int step)
{
	struct customer *c = &customers[i];
	char line[200];
	int n;

	c->heard_n += peer_receive(c->peer, c->heard + c->heard_n,
				   i == SLOW ? 60 : sizeof c->heard - c->heard_n);
	EXPECT(c->heard_n < sizeof c->heard);
	if (i == READER || c->peer->fd < 0 || step % 3)
		return;
	if (c->said < LINES) {
		n = snprintf(line, sizeof line, "%d %u some words\n", i, c->said++);
		if (i == TOO_LONG && c->said == LINES)
			memset(line, 'x', (size_t)(n = 150));
		if (i == HALF && c->said == LINES)
			n -= 4;
		peer_send(c->peer, line, (size_t)n);
		if (i == RESETS && c->said == LINES)
			peer_reset(c->peer);
	} else if (i == HALF || i == BOTH || (i == TOO_LONG && c->peer->shut)) {
		peer_finish(c->peer);
	}
}

static bool over(int step)
{
	for (int i = 0; i < CUSTOMERS; i++)
		if (step < 150 || !customers[i].peer->closed || customers[i].peer->out.n)
			return false;
	return true;
}

static void run_with_fault(enum kernel_call call, unsigned long k, int error, const char *how)
{
	struct sim_chat_setting setting = {SIM_CHAT_SETTING};

	setting.message_max = 100;
	setting.limits.write_ms = 3000;
	setting.names = call == KERNEL_getpeername;
	memset(customers, 0, sizeof customers);
	sim_chat_open(&chat, &setting);
	sim_chat_run(&chat);
	kernel_count_anew();
	if (error)
		kernel_fail(call, k, error);
	for (int i = 0; i < CUSTOMERS; i++) {
		customers[i].peer = sim_chat_connect(&chat, worker_of(i), 0);
		if (i == SLOW)
			customers[i].peer->space = 50;
	}
	for (int step = 0; !over(step); step++) {
		EXPECT_MSG(step < 5000, "%s: no end of it", how);
		for (int i = 0; i < CUSTOMERS; i++) {
			customer_step(i, step);
			if (step > 140 && customers[i].peer->fd >= 0 && !customers[i].peer->in.n &&
			    customers[i].said >= (i == READER ? 0 : LINES))
				peer_finish(customers[i].peer);
		}
		loop_pass(&chat.workers[0].loop, 2);
		loop_pass(&chat.workers[1].loop, 2);
	}
}

/* How many lines of one speaker a listener heard; checks that they are in order and whole. */
static unsigned lines_heard(const struct customer *c, int speaker, const char *how)
{
	const char *at = c->heard, *end;
	unsigned next = 0;

	for (; (end = memchr(at, '\n', (size_t)(c->heard + c->heard_n - at))); at = end + 1) {
		char expected[100], *text = memmem(at, (size_t)(end - at), ": ", 2);
		int n = snprintf(expected, sizeof expected, "%d %u some words", speaker, next);

		text = text ? text + 2 : (char *)(uintptr_t)at;
		if (*text != '0' + speaker)
			continue;
		EXPECT_MSG(end - text == n && memcmp(text, expected, (size_t)n) == 0,
			   "%s: %ld heard line %u of %d wrong", how, (long)(c - customers), next,
			   speaker);
		next++;
	}
	return next;
}

static unsigned lines_said(int speaker)
{
	return speaker == READER ? 0 : speaker == TOO_LONG || speaker == HALF ? LINES - 1 : LINES;
}

static void check_customers(const struct peer *hit, const char *how)
{
	for (int i = 0; i < CUSTOMERS; i++)
		for (int s = 0; s < CUSTOMERS; s++) {
			unsigned n = lines_heard(&customers[i], s, how);
			bool complete = customers[i].peer != hit && customers[s].peer != hit &&
					s != RESETS && i != RESETS && i != TOO_LONG && i != HALF &&
					i != BOTH;

			EXPECT_MSG(i != s || n == 0, "%s: %d heard itself", how, i);
			EXPECT_MSG(i == s || n <= lines_said(s), "%s: %d heard too much", how, i);
			EXPECT_MSG(i == s || !complete || n == lines_said(s),
				   "%s: %d heard %u of %u lines of %d", how, i, n, lines_said(s),
				   s);
		}
}

static void check_reasons(const struct peer *hit, const char *how)
{
	unsigned moved = 0;

	for (int i = 1; i < CLOSE_REASONS_MAX; i++) {
		uint64_t closed = SIM_CHAT_SUM(&chat, closed[i]);

		moved += closed > baseline_closed[i] ? (unsigned)(closed - baseline_closed[i]) : 0;
	}
	EXPECT_MSG(moved <= (hit ? 1u : 0u), "%s: %u ended for another reason", how, moved);
}

static void try_call(enum kernel_call call, const int *errors)
{
	unsigned long n, runs = 0;
	char how[100];

	log_open(LOG_ERROR, LOG_LOGFMT);
	run_with_fault(call, 0, 0, "no fault");
	check_customers(NULL, "no fault");
	for (int i = 0; i < CLOSE_REASONS_MAX; i++)
		baseline_closed[i] = SIM_CHAT_SUM(&chat, closed[i]);
	n = kernel.calls[call];
	sim_chat_close(&chat);
	EXPECT_MSG(n > 0, "the scenario has no %s", kernel_call_names[call]);
	for (; *errors; errors++)
		for (unsigned long k = 1; k <= n; k++, runs++) {
			(void)snprintf(how, sizeof how, "%s %lu, %s", kernel_call_names[call], k,
				       strerror(*errors));
			run_with_fault(call, k, *errors, how);
			EXPECT_MSG(kernel.failed, "%s: never came to pass", how);
			check_customers(kernel.failed_peer, how);
			check_reasons(kernel.failed_peer, how);
			sim_chat_close(&chat);
		}
	(void)printf("FIGURE faults of %s in a chat: %lu runs\n", kernel_call_names[call], runs);
	(void)fflush(stdout);
}

#define TRY(name, ...)                                                                             \
	START_TEST(name##_may_fail)                                                                \
	{                                                                                          \
		try_call(KERNEL_##name, (const int[]){__VA_ARGS__, 0});                            \
	}                                                                                          \
	END_TEST

TRY(read, EINTR, EAGAIN, ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, EIO, ENOMEM, ENOTCONN)
TRY(write, EINTR, EAGAIN, ECONNRESET, EPIPE, ETIMEDOUT, EIO, ENOMEM, ENOBUFS)
TRY(writev, EINTR, EAGAIN, ECONNRESET, EPIPE, ETIMEDOUT, EIO, ENOMEM, ENOBUFS)
TRY(epoll_wait, EINTR)
TRY(epoll_ctl, ENOMEM, ENOSPC, EPERM)
TRY(getpeername, ENOTCONN, ENOBUFS)
TRY(getsockopt, ENOMEM, ENOTCONN)
TRY(ioctl, EINVAL)
TRY(close, EINTR, EIO)

SUITE("sim_chat_cuts", {"every cut in two", every_cut_in_two, 60},
      {"cut at random", cut_at_random, 60},
      {"large transcripts cut at random", large_transcripts_cut_at_random, 60},
      {"read may fail", read_may_fail, 60}, {"write may fail", write_may_fail, 60},
      {"writev may fail", writev_may_fail, 60}, {"epoll_wait may fail", epoll_wait_may_fail, 60},
      {"epoll_ctl may fail", epoll_ctl_may_fail, 60},
      {"getpeername may fail", getpeername_may_fail, 60},
      {"getsockopt may fail", getsockopt_may_fail, 60}, {"ioctl may fail", ioctl_may_fail, 60},
      {"close may fail", close_may_fail, 60})
