/*
 * Sockets of datagrams at random: questions of all kinds, full queues, errors of any call at
 * any time, clerks that stop, leave, die and come again, one mailbox of three shared by both.
 * When all is over, every question that was read has its answer, or the kernel refused it.
 *
 * A run follows from its seed, which is told where it fails; SIM_SEED=n runs that one alone.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/sim_udp_servers.h"

#define CLERKS 2
#define BOOKS  3
#define SHARED 2 /* this book has a desk at both clerks */
#define ACTS   600

static struct clerk clerks[CLERKS];
static struct clerk *const everyone[CLERKS] = {&clerks[0], &clerks[1]};
static struct book books[BOOKS];
static struct book *const library[BOOKS] = {&books[0], &books[1], &books[2]};
static struct desk desks[BOOKS][CLERKS];

static struct {
	uint64_t seed;
	size_t fault_every; /* one step in so many fails; 0: none */
	bool deaths;	    /* some desks are closed with answers in hand */
} run;

static struct {
	uint64_t answered, refused;
} totals;

static size_t below(size_t n)
{
	return sim_below(&run.seed, n);
}

/* ---- faults ---- */

static const int errors[] = {EAGAIN,	    EINTR,    ECONNREFUSED, EHOSTUNREACH, ENETUNREACH,
			     EMSGSIZE,	    ENOBUFS,  ENOMEM,	    EPERM,	  EACCES,
			     EINVAL,	    EIO,      EPROTO,	    EAFNOSUPPORT, EBADF,
			     EADDRNOTAVAIL, ENETDOWN, ENOTCONN};
#define ERRORS (sizeof errors / sizeof *errors)

static int fault(enum mail_step step, struct mailbox *box)
{
	int error;

	if (!run.fault_every || below(run.fault_every))
		return 0;
	error = errors[below(ERRORS)];
	if (step == MAIL_WAIT)
		return EINTR;
	if (step == MAIL_SEND && error == EAGAIN && below(2))
		box->owed = box->send_max = 1 << 20;
	return error;
}

/* ---- what happens ---- */

/* Answers to several from one peer are told apart by their first bytes. */
static size_t some_bytes(void)
{
	static const size_t sizes[] = {0, 8, 9, 64, 100, 100, 512, 1451, 1452, 1453, 1472, 3000};
	size_t which = below(200);

	if (which == 0)
		return 65507;
	if (which < 5)
		return 9000;
	if (which < 100)
		return 8 + below(1500);
	return sizes[which % 12];
}

static void somebody_asks(struct book *book)
{
	unsigned i = (unsigned)below(below(4) ? 8 : 200),
		 n = 1 + (unsigned)below(below(8) ? 4 : 80);
	size_t bytes = some_bytes(), segment;

	switch (below(8)) {
	case 0: /* a train, or what would be one */
		segment = 8 + below(below(2) ? 100 : 1600);
		bytes = segment * (1 + below(64)) + 8 + below(segment - 7);
		(void)book_post(book, i, bytes < 65000 ? bytes : segment * 2, segment);
		break;
	case 1:
		(void)book_post_tagged(book, MAIL_LOW_PORT + (int)below(2), bytes);
		if (book->box->pktinfo4 || book->box->pktinfo6)
			(void)book_post_tagged(book, MAIL_TO_MANY, bytes);
		if (!below(10))
			(void)book_post_tagged(book, MAIL_TOO_LONG, bytes);
		break;
	case 2: /* one peer or two, alike, at one address of ours or several */
		for (size_t pair = below(2), at = below(2); n; n--)
			(void)book_post(book,
					(i ^ (unsigned)below(1 + pair)) +
					    BOOK_ASKS_ANOTHER * (unsigned)below(1 + 2 * at),
					bytes, 0);
		break;
	default: /* many peers, all sizes */
		for (; n; n--)
			(void)book_post(book, i + n, some_bytes(), 0);
		break;
	}
}

static void kernel_changes(struct book *book)
{
	struct mailbox *box = book->box;

	switch (below(6)) {
	case 0:
		box->send_max = below(2) ? SIZE_MAX : 300 + below(200000);
		break;
	case 1:
		box->queue_max = below(2) ? SIZE_MAX : below(100000);
		break;
	case 2:
		box->train_error = below(2) ? 0 : errors[1 + below(ERRORS - 1)];
		break;
	case 3:
		box->segment_max = below(2) ? 65535 : below(1500);
		break;
	default:
		mailbox_fail(box, ECONNREFUSED);
		break;
	}
}

static void open_again(size_t b, size_t c)
{
	int error;

	/* The loop still has one that was closed while it was queued. */
	if (desk_is_open(&desks[b][c]) || desks[b][c].socket.source.queued ||
	    (b != SHARED && c != b))
		return;
	error = desk_open(&desks[b][c], &clerks[c], &books[b], b == SHARED);
	EXPECT(!error || error == -ENOMEM);
}

static void everybody_stops(size_t b)
{
	for (size_t c = 0; c < CLERKS; c++)
		if (desk_is_open(&desks[b][c]))
			desk_stop(&desks[b][c]);
}

static void somebody_ends(size_t b)
{
	size_t c = b == SHARED ? below(CLERKS) : b;
	struct desk *desk = &desks[b][c];

	if (!desk_is_open(desk))
		return;
	switch (below(3)) {
	case 0:
		everybody_stops(b);
		break;
	case 1:
		desk_leave(desk);
		break;
	default:
		if (!run.deaths || b == SHARED) /* whose answers were lost, nobody would know */
			break;
		desk_close(desk);
		(void)book_forget(&books[b]);
		break;
	}
}

static void something_happens(void)
{
	size_t b = below(BOOKS);

	switch (below(12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		somebody_asks(&books[b]);
		break;
	case 4:
		mailbox_drain(books[b].box, below(2) ? below(5000) : SIZE_MAX);
		break;
	case 5:
		kernel_changes(&books[b]);
		break;
	case 6:
		if (!below(4))
			somebody_ends(b);
		break;
	case 7:
		books[b].box->filtered = false; /* it is another socket, by now */
		open_again(b, below(CLERKS));
		break;
	case 8:
		clerks_run(everyone, CLERKS, (uint32_t)below(30));
		break;
	default:
		loop_pass(&clerks[below(CLERKS)].loop, 0);
		break;
	}
}

/* ---- a run ---- */

static void begin(uint64_t seed)
{
	static const char *const addresses[] = {"127.0.0.1:7878", "0.0.0.0:7878", "[::1]:7878",
						"[::]:7878", ":7878"};

	memset(&run, 0, sizeof run);
	run.seed = seed * 0x9e3779b97f4a7c15ULL + 1;
	run.fault_every = (const size_t[]){0, 200, 30, 5}[below(4)];
	run.deaths = !below(4);
	office_begin();
	for (size_t c = 0; c < CLERKS; c++)
		clerk_open(&clerks[c]);
	for (size_t b = 0; b < BOOKS; b++) {
		enum answer answer = ANSWER_ECHO;

		if (!below(4))
			answer = run.fault_every || b == SHARED ? ANSWER_NONE : ANSWER_CHARGEN;
		book_open(&books[b], addresses[below(5)], answer);
		books[b].any_order = b == SHARED;
		for (size_t c = 0; c < CLERKS; c++)
			desks[b][c].socket.source.fd = -1;
	}
	mailroom.fault = fault;
	for (size_t b = 0; b < BOOKS; b++)
		for (size_t c = 0; c < CLERKS; c++)
			open_again(b, c);
}

/* From now on nothing is in their way. */
static void calm_down(void)
{
	mailroom.fault = NULL;
	for (size_t b = 0; b < BOOKS; b++) {
		struct mailbox *box = books[b].box;

		box->train_error = 0;
		box->send_max = box->queue_max = SIZE_MAX;
		mailbox_drain(box, SIZE_MAX);
	}
	/* Those that stop or leave do so, and somebody takes their place. */
	clerks_run(everyone, CLERKS, 2 * DATAGRAM_RETRY_MS);
	for (size_t b = 0; b < BOOKS; b++) {
		books[b].box->filtered = false;
		for (size_t c = 0; c < CLERKS; c++)
			open_again(b, c);
		somebody_asks(&books[b]);
	}
	clerks_run(everyone, CLERKS, 2 * DATAGRAM_RETRY_MS);
}

static void end(void)
{
	bool stop = below(2);

	for (size_t b = 0; b < BOOKS; b++) {
		EXPECT_MSG(!books[b].box->first, "book %zu: somebody sleeps", b);
		if (stop)
			everybody_stops(b);
	}
	clerks_run(everyone, CLERKS, 1);
	for (size_t b = 0; b < BOOKS; b++) {
		for (size_t c = 0; c < CLERKS; c++) {
			EXPECT(!stop || !desk_is_open(&desks[b][c]));
			if (desk_is_open(&desks[b][c]))
				desk_close(&desks[b][c]);
		}
		book_settle(&books[b]);
		EXPECT(!books[b].owed_n);
		totals.answered += books[b].expected.datagrams_answered;
		totals.refused += books[b].expected.datagram_send_errors;
	}
	if (!run.deaths)
		clerks_expect(everyone, CLERKS, library, BOOKS);
	for (size_t b = 0; b < BOOKS; b++)
		book_close(&books[b]);
	for (size_t c = 0; c < CLERKS; c++)
		clerk_close(&clerks[c]);
	office_end();
}

static void play(uint64_t seed)
{
	(void)snprintf(mailroom_how, sizeof mailroom_how, "SIM_SEED=%llu",
		       (unsigned long long)seed);
	begin(seed);
	for (int i = 0; i < ACTS; i++)
		something_happens();
	calm_down();
	end();
}

static void play_many(int tenth, uint64_t n)
{
	const char *only = getenv("SIM_SEED");
	uint64_t first = (uint64_t)tenth * 1000000;

	if (only && tenth)
		return;
	if (only)
		first = strtoull(only, NULL, 10), n = 1;
	for (uint64_t seed = first; seed < first + n; seed++)
		play(seed);
	if (tenth)
		return;
	(void)printf("FIGURE a tenth of it: %llu runs, %llu datagrams answered, %llu refused\n",
		     (unsigned long long)n, (unsigned long long)totals.answered,
		     (unsigned long long)totals.refused);
	(void)fflush(stdout);
}

START_TEST(at_random)
{
	play_many(_i, suite_volume(20));
}
END_TEST

START_TEST(long_at_random)
{
	play_many(_i, suite_volume(500));
}
END_TEST

SUITE("sim_datagram_random", {"at random", at_random, 60, 10},
      {"long at random", long_at_random, 60, 10, SUITE_LONG})
