/*
 * UDP sockets at random: requests of all kinds, full queues, errors of any call at any time, two
 * workers that stop, leave, die and are replaced, and three sockets, one of which both serve. In
 * the end every request that was read has its answer, or the kernel refused it.
 *
 * A run depends only on its seed, which is printed if it fails; SIM_SEED=n runs only that one.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/sim_udp_servers.h"

#define WORKERS 2
#define BOOKS	3
#define SHARED	2 /* the book whose socket both workers serve */
#define ACTS	600

static struct sim_udp_worker workers[WORKERS];
static struct sim_udp_worker *const everyone[WORKERS] = {&workers[0], &workers[1]};
static struct book books[BOOKS];
static struct book *const library[BOOKS] = {&books[0], &books[1], &books[2]};
static struct udp_server servers[BOOKS][WORKERS];

static struct {
	uint64_t seed;
	size_t fault_every; /* one step in so many fails; 0: none */
	bool deaths;	    /* some servers are closed with unsent answers */
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

static int fault(enum sim_udp_step step, struct sim_socket *sock)
{
	int error;

	if (!run.fault_every || below(run.fault_every))
		return 0;
	error = errors[below(ERRORS)];
	if (step == SIM_UDP_WAIT)
		return EINTR;
	if (step == SIM_UDP_SEND && error == EAGAIN && below(2))
		sock->owed = sock->send_max = 1 << 20;
	return error;
}

/* ---- what happens ---- */

/* A length. At least 8 unless 0: answers to one peer are told apart by their first bytes. */
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
	case 0: /* a train, or datagrams that could be one */
		segment = 8 + below(below(2) ? 100 : 1600);
		bytes = segment * (1 + below(64)) + 8 + below(segment - 7);
		(void)book_post(book, i, bytes < 65000 ? bytes : segment * 2, segment);
		break;
	case 1:
		(void)book_post_tagged(book, SIM_UDP_LOW_PORT + (int)below(2), bytes);
		if (book->sock->pktinfo4 || book->sock->pktinfo6)
			(void)book_post_tagged(book, SIM_UDP_TO_MANY, bytes);
		if (!below(10))
			(void)book_post_tagged(book, SIM_UDP_TOO_LONG, bytes);
		break;
	case 2: /* one peer or two, datagrams of one length, to one address of ours or several */
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
	struct sim_socket *sock = book->sock;

	switch (below(6)) {
	case 0:
		sock->send_max = below(2) ? SIZE_MAX : 300 + below(200000);
		break;
	case 1:
		sock->queue_max = below(2) ? SIZE_MAX : below(100000);
		break;
	case 2:
		sock->train_error = below(2) ? 0 : errors[1 + below(ERRORS - 1)];
		break;
	case 3:
		sock->segment_max = below(2) ? 65535 : below(1500);
		break;
	default:
		sim_socket_fail(sock, ECONNREFUSED);
		break;
	}
}

static void open_again(size_t b, size_t c)
{
	int error;

	/* A source that was closed while it was queued is in the loop for some time still. */
	if (udp_server_is_open(&servers[b][c]) || servers[b][c].socket.source.queued ||
	    (b != SHARED && c != b))
		return;
	error = udp_server_open(&servers[b][c], &workers[c], &books[b], b == SHARED);
	EXPECT(!error || error == -ENOMEM);
}

static void everybody_stops(size_t b)
{
	for (size_t c = 0; c < WORKERS; c++)
		if (udp_server_is_open(&servers[b][c]))
			udp_server_stop(&servers[b][c]);
}

static void somebody_ends(size_t b)
{
	size_t c = b == SHARED ? below(WORKERS) : b;
	struct udp_server *server = &servers[b][c];

	if (!udp_server_is_open(server))
		return;
	switch (below(3)) {
	case 0:
		everybody_stops(b);
		break;
	case 1:
		udp_server_leave(server);
		break;
	default:
		if (!run.deaths || b == SHARED) /* if shared, the book can't tell what was lost */
			break;
		udp_server_close(server);
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
		sim_socket_drain(books[b].sock, below(2) ? below(5000) : SIZE_MAX);
		break;
	case 5:
		kernel_changes(&books[b]);
		break;
	case 6:
		if (!below(4))
			somebody_ends(b);
		break;
	case 7:
		books[b].sock->filtered = false; /* as on the new socket of a new server */
		open_again(b, below(WORKERS));
		break;
	case 8:
		sim_udp_workers_run(everyone, WORKERS, (uint32_t)below(30));
		break;
	default:
		loop_pass(&workers[below(WORKERS)].loop, 0);
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
	sim_udp_servers_begin();
	for (size_t c = 0; c < WORKERS; c++)
		sim_udp_worker_open(&workers[c]);
	for (size_t b = 0; b < BOOKS; b++) {
		enum answer answer = ANSWER_ECHO;

		if (!below(4))
			answer = run.fault_every || b == SHARED ? ANSWER_NONE : ANSWER_CHARGEN;
		book_open(&books[b], addresses[below(5)], answer);
		books[b].any_order = b == SHARED;
		for (size_t c = 0; c < WORKERS; c++)
			servers[b][c].socket.source.fd = -1;
	}
	sim_udp.fault = fault;
	for (size_t b = 0; b < BOOKS; b++)
		for (size_t c = 0; c < WORKERS; c++)
			open_again(b, c);
}

/* From now on nothing fails, and nothing is full. */
static void calm_down(void)
{
	sim_udp.fault = NULL;
	for (size_t b = 0; b < BOOKS; b++) {
		struct sim_socket *sock = books[b].sock;

		sock->train_error = 0;
		sock->send_max = sock->queue_max = SIZE_MAX;
		sim_socket_drain(sock, SIZE_MAX);
	}
	/* Servers that stop or leave finish that, and others take their places. */
	sim_udp_workers_run(everyone, WORKERS, 2 * DATAGRAM_RETRY_MS);
	for (size_t b = 0; b < BOOKS; b++) {
		books[b].sock->filtered = false;
		for (size_t c = 0; c < WORKERS; c++)
			open_again(b, c);
		somebody_asks(&books[b]);
	}
	sim_udp_workers_run(everyone, WORKERS, 2 * DATAGRAM_RETRY_MS);
}

static void end(void)
{
	bool stop = below(2);

	for (size_t b = 0; b < BOOKS; b++) {
		EXPECT_MSG(!books[b].sock->first, "book %zu: somebody sleeps", b);
		if (stop)
			everybody_stops(b);
	}
	sim_udp_workers_run(everyone, WORKERS, 1);
	for (size_t b = 0; b < BOOKS; b++) {
		for (size_t c = 0; c < WORKERS; c++) {
			EXPECT(!stop || !udp_server_is_open(&servers[b][c]));
			if (udp_server_is_open(&servers[b][c]))
				udp_server_close(&servers[b][c]);
		}
		book_check(&books[b]);
		EXPECT(!books[b].owed_n);
		totals.answered += books[b].expected.datagrams_answered;
		totals.refused += books[b].expected.datagram_send_errors;
	}
	if (!run.deaths)
		sim_udp_workers_expect(everyone, WORKERS, library, BOOKS);
	for (size_t b = 0; b < BOOKS; b++)
		book_close(&books[b]);
	for (size_t c = 0; c < WORKERS; c++)
		sim_udp_worker_close(&workers[c]);
	sim_udp_servers_end();
}

static void play(uint64_t seed)
{
	(void)snprintf(sim_udp_how, sizeof sim_udp_how, "SIM_SEED=%llu", (unsigned long long)seed);
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
