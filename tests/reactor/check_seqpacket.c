/*
 * seqpacket: messages for which the kernel's queue has no room are kept, and arrive.
 *
 * The pairs are real, with the smallest buffer that the kernel gives, so that a few messages fill
 * it. What this can't see: a kernel that is short of memory (-ENOBUFS is handled like
 * -ETOOMANYREFS, which is tested with a low limit of descriptors).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reactor/base/list.h"
#include "reactor/loop/seqpacket.h"
#include "tests/support/harness.h"

#define MANY 300

static struct stats stats;
static struct loop loop;

/* One end of a pair, and what was received there. */
struct hearer {
	struct seqpacket end;
	unsigned heard, ended, rooms;
	unsigned descriptors;
	bool keeps_first; /* it keeps the first descriptor that comes */
	bool answers;	  /* it answers each message with the same message */
	int kept;
	unsigned in_a_pass;
};

static struct hearer *hearer_of(struct seqpacket *end)
{
	return CONTAINER_OF(end, struct hearer, end);
}

static void took(struct seqpacket *end, const void *bytes, size_t n, int *fds, size_t fds_n)
{
	struct hearer *hearer = hearer_of(end);
	unsigned number;

	ck_assert_uint_eq(n, sizeof number);
	memcpy(&number, bytes, n);
	ck_assert_uint_eq(number, hearer->heard);
	hearer->heard++;
	hearer->in_a_pass++;
	hearer->descriptors += (unsigned)fds_n;
	if (fds_n && hearer->keeps_first) {
		hearer->keeps_first = false;
		hearer->kept = fds[0];
		fds[0] = -1;
	}
	if (hearer->answers)
		ck_assert_int_eq(seqpacket_send(end, bytes, n, NULL, 0), 0);
}

static void ended(struct seqpacket *end)
{
	hearer_of(end)->ended++;
}

static void has_room(struct seqpacket *end)
{
	hearer_of(end)->rooms++;
}

static const struct seqpacket_owner owner = {took, ended, has_room, false};

static void open_pair(struct hearer *a, struct hearer *b, bool b_patient)
{
	int ends[2], small = 1;

	ck_assert_int_eq(loop_open(&loop, &stats, 0), 0);
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small),
				 0);
	*a = *b = (struct hearer){.kept = -1};
	ck_assert_int_eq(seqpacket_open(&a->end, &loop, ends[0], false, &owner), 0);
	ck_assert_int_eq(seqpacket_open(&b->end, &loop, ends[1], b_patient, &owner), 0);
}

static void close_pair(struct hearer *a, struct hearer *b)
{
	seqpacket_close(&a->end);
	seqpacket_close(&b->end);
	loop_close(&loop);
}

static void say(struct hearer *hearer, unsigned from, unsigned n)
{
	for (unsigned i = from; i < from + n; i++)
		ck_assert_int_eq(seqpacket_send(&hearer->end, &i, sizeof i, NULL, 0), 0);
}

static void pass(void)
{
	loop_pass(&loop, 0);
}

#define PASS_UNTIL(condition)                                                                      \
	for (struct wait wait_ = wait_begin(); !(condition); wait_more(&wait_, #condition))        \
	pass()

START_TEST(what_is_refused_arrives_in_order)
{
	struct hearer a, b;

	open_pair(&a, &b, false);
	say(&a, 0, MANY);
	ck_assert(seqpacket_keeps(&a.end));
	PASS_UNTIL(b.heard >= MANY / 2);
	say(&a, MANY, MANY);
	PASS_UNTIL(b.heard == 2 * MANY);
	PASS_UNTIL(a.rooms);
	ck_assert(!seqpacket_keeps(&a.end));
	seqpacket_close(&a.end);
	PASS_UNTIL(b.ended);
	ck_assert(!seqpacket_is_open(&b.end));
	close_pair(&a, &b);
}
END_TEST

/* The other end hears all that was sent before the end; what the sender still kept is forgotten. */
START_TEST(the_end_comes_after_what_was_said)
{
	struct hearer a, b;
	unsigned went;

	open_pair(&a, &b, false);
	say(&a, 0, MANY);
	went = MANY - (unsigned)a.end.kept_n;
	ck_assert_uint_gt(went, 0);
	seqpacket_close(&a.end);
	ck_assert_uint_eq(a.end.kept_n, 0);
	PASS_UNTIL(b.ended);
	ck_assert_uint_eq(b.heard, went);
	ck_assert_int_eq(seqpacket_send(&b.end, "x", 1, NULL, 0), -EPIPE);
	close_pair(&a, &b);
}
END_TEST

/* The sender may close its copies at once; descriptors that nobody takes are closed. */
START_TEST(descriptors_are_kept_and_closed)
{
	size_t before = process_descriptors_n(getpid());
	struct hearer a, b;
	char byte;

	open_pair(&a, &b, false);
	b.keeps_first = true;
	for (unsigned i = 0; i < 40; i++) {
		int ends[2];

		ck_assert_int_eq(pipe(ends), 0);
		ck_assert_int_eq(seqpacket_send(&a.end, &i, sizeof i, ends, 2), 0);
		(void)close(ends[0]);
		(void)close(ends[1]);
	}
	ck_assert(seqpacket_keeps(&a.end));
	PASS_UNTIL(b.heard == 40);
	ck_assert_uint_eq(b.descriptors, 80);
	ck_assert_int_eq(read(b.kept, &byte, 1), 0); /* no process has its write end */
	(void)close(b.kept);
	close_pair(&a, &b);
	ck_assert_uint_eq(process_descriptors_n(getpid()), before);
}
END_TEST

START_TEST(nothing_of_a_try_is_kept)
{
	struct hearer a, b;
	unsigned n = 0;
	int error;

	open_pair(&a, &b, false);
	while (!(error = seqpacket_try(&a.end, &n, sizeof n, NULL, 0)))
		n++;
	ck_assert_int_eq(error, -EAGAIN);
	ck_assert(!seqpacket_keeps(&a.end));
	ck_assert_uint_eq(a.rooms, 0);
	PASS_UNTIL(b.heard == n);
	PASS_UNTIL(a.rooms == 1);
	pass();
	pass();
	ck_assert_uint_eq(a.rooms, 1);
	ck_assert_int_eq(seqpacket_try(&a.end, &n, sizeof n, NULL, 0), 0);
	close_pair(&a, &b);
}
END_TEST

/* There is always room to keep one message, so an end that answers one thing at a time always can.
 */
START_TEST(one_is_kept_if_no_memory_is_left)
{
	struct rlimit before;
	struct hearer a, b;
	int error, next_error;
	unsigned n = 0;

	if (suite_sanitized()) {
		suite_skip("one is kept if no memory is left",
			   "a sanitizer's own memory ends with RLIMIT_AS");
		return;
	}
	open_pair(&a, &b, false);
	while (!seqpacket_try(&a.end, &n, sizeof n, NULL, 0))
		n++;
	process_starve(getpid(), 0, &before);
	for (size_t bytes = 1 << 16; bytes >= 16; bytes /= 2)
		while (malloc(bytes))
			;
	error = seqpacket_send(&a.end, &n, sizeof n, NULL, 0);
	n++;
	next_error = seqpacket_send(&a.end, &n, sizeof n, NULL, 0);
	(void)prlimit(0, RLIMIT_AS, &before, NULL); /* libcheck needs memory, too */
	ck_assert_int_eq(error, 0);
	ck_assert_int_eq(next_error, -ENOBUFS);
	PASS_UNTIL(b.heard == n);
	say(&a, n, MANY); /* now there is memory again */
	PASS_UNTIL(b.heard == n + MANY);
	close_pair(&a, &b);
}
END_TEST

/* A patient end that answers keeps only one message, even if the other one sends and never reads.
 */
START_TEST(a_patient_end_answers_before_it_reads_on)
{
	struct hearer a, b;
	size_t most = 0;

	open_pair(&a, &b, true);
	b.answers = true;
	a.end.source.want = 0; /* a does not read */
	say(&a, 0, MANY);
	for (int i = 0; i < 100; i++) {
		pass();
		(void)seqpacket_flush(&a.end);
		a.end.source.ready = 0;
		if (b.end.kept_n > most)
			most = b.end.kept_n;
	}
	ck_assert_uint_eq(most, 1);
	ck_assert_uint_lt(b.heard, MANY);
	a.end.source.want = SOURCE_IN | SOURCE_OUT;
	PASS_UNTIL(a.heard == MANY);
	ck_assert_uint_eq(b.heard, MANY);
	close_pair(&a, &b);
}
END_TEST

/* It sleeps meanwhile: neither input that it may not read yet nor the other's silence wakes it. */
START_TEST(whoever_waits_for_room_does_not_spin)
{
	struct pollfd epoll = {.events = POLLIN};
	struct hearer a, b;

	open_pair(&a, &b, true);
	b.answers = true;
	say(&a, 0, MANY);
	while (!seqpacket_keeps(&b.end)) {
		ck_assert(seqpacket_read(&b.end));
		(void)seqpacket_flush(&a.end);
	}
	loop_unwatch(&loop, &a.end.source);
	pass();
	pass();
	epoll.fd = loop.epfd;
	ck_assert_int_eq(poll(&epoll, 1, 0), 0);
	ck_assert(!loop.first);
	close_pair(&a, &b);
}
END_TEST

/* If messages come one by one, no read finds nothing; if several wait, a turn takes more of them,
 * up to a bound. */
START_TEST(a_turn_reads_more_if_more_waits)
{
	struct hearer a, b;
	unsigned most = 0, turns = 0;
	int big = 1 << 20;

	open_pair(&a, &b, false);
	ck_assert_int_eq(setsockopt(a.end.source.fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof big), 0);
	say(&a, 0, 400);
	ck_assert(!seqpacket_keeps(&a.end));
	for (; b.heard < 400; turns++) {
		b.in_a_pass = 0;
		pass();
		ck_assert_uint_gt(b.in_a_pass, 0);
		ck_assert(turns || b.in_a_pass == 1);
		if (b.in_a_pass > most)
			most = b.in_a_pass;
	}
	ck_assert_uint_eq(most, SEQPACKET_TURN_MAX);
	ck_assert_uint_lt(turns, 20);
	close_pair(&a, &b);
}
END_TEST

static struct {
	struct hearer *hearer;
	struct source reopens, behind;
	int fd;
	unsigned turns;
} again;

static void reopen_turn(struct loop *of, struct source *source)
{
	source->ready = 0;
	seqpacket_close(&again.hearer->end);
	ck_assert_int_eq(seqpacket_open(&again.hearer->end, of, again.fd, false, &owner), 0);
}

static void count_turn(struct loop *of, struct source *source)
{
	(void)of;
	source->ready = 0;
	again.turns++;
}

/* Like the channel of a worker that has died, and was replaced before the channel's turn came. */
START_TEST(one_that_is_opened_anew_keeps_its_place_among_turns)
{
	struct hearer a, b;

	open_pair(&a, &b, false);
	again.fd = dup(a.end.source.fd);
	again.hearer = &a;
	source_init(&again.reopens, -1, reopen_turn);
	source_init(&again.behind, -1, count_turn);
	for (unsigned i = 1; i <= 2; i++) {
		if (i == 1)
			loop_wake(&loop, &again.reopens);
		loop_wake(&loop, &a.end.source);
		loop_wake(&loop, &again.behind);
		pass();
		ck_assert_uint_eq(again.turns, i);
	}
	say(&b, 0, 3);
	PASS_UNTIL(a.heard == 3);
	close_pair(&a, &b);
}
END_TEST

/* If a process is not root, the kernel lets it have only so many descriptors under way as it may
 * have open, and gives no event when there are fewer. */
START_TEST(too_many_under_way_are_kept)
{
	bool patient = _i;
	struct rlimit few = {80, 80}, before; /* other tests' may count, too */
	struct hearer a, b;
	int fds[32];

	if (geteuid() == 0 && setresuid(65534, 65534, 65534)) {
		suite_skip("too many descriptors under way", "another user can't be had");
		return;
	}
	open_pair(&b, &a, patient);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	for (int i = 0; i < 32; i++)
		fds[i] = STDERR_FILENO;
	few.rlim_max = before.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	/* The kernel checks before it adds: so 96 are taken. The message that is kept has a copy of
	 * its descriptor, for which there is room. */
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(seqpacket_send(&a.end, &i, sizeof i, fds, i == 3 ? 1 : 32), 0);
	ck_assert(seqpacket_keeps(&a.end));
	ck_assert(!a.end.awaits_room); /* no event will come */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	PASS_UNTIL(b.heard == 4);
	say(&b, 0, 3); /* a, which did not read while it kept an answer, reads again */
	PASS_UNTIL(a.heard == 3);
	close_pair(&b, &a);
}
END_TEST

SUITE("seqpacket", {"what is refused arrives, in order", what_is_refused_arrives_in_order, 10},
      {"the end comes after what was said", the_end_comes_after_what_was_said, 10},
      {"descriptors are kept, and closed", descriptors_are_kept_and_closed, 10},
      {"nothing of a try is kept", nothing_of_a_try_is_kept, 10},
      {"one is kept if no memory is left", one_is_kept_if_no_memory_is_left, 10},
      {"a patient end answers before it reads on", a_patient_end_answers_before_it_reads_on, 10},
      {"whoever waits for room does not spin", whoever_waits_for_room_does_not_spin, 10},
      {"a turn reads more if more waits", a_turn_reads_more_if_more_waits, 10},
      {"one that is opened anew keeps its place among turns",
       one_that_is_opened_anew_keeps_its_place_among_turns, 10},
      {"too many descriptors under way are kept", too_many_under_way_are_kept, 10, 2})
