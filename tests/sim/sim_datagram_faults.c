/*
 * Every error that a call may give, at every call that a UDP socket makes, once, twice and for a
 * while: the loop goes on, and only what the kernel refused is lost.
 *
 * One script is run once without a fault, to count the steps of its calls, and then again for
 * each step and each error (in `make check`, for a share of them if there are many). weir ignores
 * the results of close(2) and EPOLL_CTL_DEL. EBADF could come only from a bug; it is among the
 * errors because nothing may spin on it either.
 */
#include <stdio.h>

#include "tests/support/sim/sim_udp_servers.h"

#define SCRIPT_MS 20  /* between two events of the script */
#define FAULTY_MS 300 /* how long "for a while" is */
#define RESTS_MS  (2 * DATAGRAM_RETRY_MS)
#define FEW	  5 /* in a quick run: one in so many of the most frequent steps */

static const int errors[] = {
    EAGAIN,    EINTR,	   ECONNREFUSED,  EHOSTUNREACH, ENETUNREACH, ENETDOWN,
    EMSGSIZE,  ENOBUFS,	   ENOMEM,	  EPERM,	EACCES,	     EINVAL,
    EIO,       EPROTO,	   EDESTADDRREQ,  EAFNOSUPPORT, EBADF,	     EFAULT,
    ENOTSOCK,  ECONNRESET, ENOTCONN,	  EPIPE,	EHOSTDOWN,   ENONET,
    ETIMEDOUT, ENOSPC,	   EADDRNOTAVAIL, ENOPROTOOPT,	EOPNOTSUPP, /* there is no such option */
};
#define ERRORS (sizeof errors / sizeof *errors)

static const char *const addresses[] = {"127.0.0.1:7878", ":7878", "[::1]:7878"};

static struct sim_udp_worker worker;
static struct book book;
static struct udp_server server;

/* ---- what fails ---- */

static struct {
	enum sim_udp_step step;
	unsigned long first; /* which of these steps is the first that fails; 0: none fails */
	unsigned times;	     /* how often; 0: for a while */
	int error;
	uint64_t until_us;
	unsigned long met;
} plan;

static int fault(enum sim_udp_step step, struct sim_socket *sock)
{
	if (!plan.first || step != plan.step || sim_udp.steps[step] < plan.first)
		return 0;
	if (!plan.met)
		plan.until_us = kernel.now_us + FAULTY_MS * 1000;
	if (plan.times ? plan.met >= plan.times : kernel.now_us > plan.until_us)
		return 0;
	plan.met++;
	/* The send queue is full, so no event comes until there is room. */
	if (step == SIM_UDP_SEND && plan.error == EAGAIN)
		sock->owed = sock->send_max = 1 << 20;
	return plan.error;
}

static int fault_alone(enum sim_udp_step step, struct sim_socket *sock)
{
	(void)sock;
	if (step != plan.step || sim_udp.steps[step] < plan.first || plan.met >= plan.times)
		return 0;
	plan.met++;
	return plan.error;
}

/* ---- what happens ---- */

static void say_many(unsigned n, size_t bytes)
{
	for (unsigned i = 0; i < n; i++)
		(void)book_post(&book, i, bytes + i % 3, 0);
}

static void say_what_is_not_answered(void)
{
	bool every = book.sock->pktinfo4 || book.sock->pktinfo6;

	for (int tag = SIM_UDP_LOW_PORT; tag < SIM_UDP_TAGS; tag++)
		if (tag != SIM_UDP_TO_MANY || every)
			(void)book_post_tagged(&book, tag, 100);
	say_many(1, 30);
}

static unsigned act;

static void script(void)
{
	sim_udp.alarm_us = kernel.now_us + SCRIPT_MS * 1000;
	if (plan.error == EAGAIN && book.sock->owed == 1 << 20)
		sim_socket_drain(book.sock, SIZE_MAX);
	switch (act++) {
	case 0:
		(void)book_post(&book, 1, 64, 0);
		break;
	case 1:
		(void)book_post(&book, 2, 0, 0);
		break;
	case 2:
		say_many(5, 100); /* the worker sees many at a time, or soon will */
		break;
	case 3:
		(void)book_post(&book, 3, 9 * 100 + 7, 100);
		(void)book_post(&book, 4, 50, 0);
		(void)book_post(&book, 3, 3 * 20, 20);
		break;
	case 4:
		(void)book_post(&book, 5, 9000, 0);
		(void)book_post(&book, 3, 4 * 30, 30);
		break;
	case 5:
		say_what_is_not_answered();
		break;
	case 6:
		say_many(40, 20); /* more than a batch */
		break;
	case 7:
		book.sock->send_max = 3000;
		say_many(12, 500);
		break;
	case 8:
		book.sock->send_max = SIZE_MAX;
		sim_socket_drain(book.sock, SIZE_MAX);
		break;
	case 9:
		book.sock->queue_max = 900;
		say_many(6, 100); /* some are dropped */
		break;
	case 10:
		book.sock->queue_max = SIZE_MAX;
		sim_socket_fail(book.sock, ECONNREFUSED);
		say_many(3, 100);
		break;
	case 11:
		say_many(1, 100);
		if (udp_server_is_open(&server))
			udp_server_stop(&server);
		break;
	default:
		break;
	}
}

/* Runs the script. False: the server could not be opened. */
static bool play(const char *address)
{
	unsigned passes = 0;
	int error;

	sim_udp_servers_begin();
	sim_udp_worker_open(&worker);
	book_open(&book, address, ANSWER_ECHO);
	memset(sim_udp.steps, 0, sizeof sim_udp.steps);
	act = 0;
	sim_udp.fault = fault;
	sim_udp.alarm = script;
	sim_udp.alarm_us = kernel.now_us + SCRIPT_MS * 1000;
	kernel_count_anew();
	error = udp_server_open(&server, &worker, &book, false);
	if (error) {
		EXPECT(error == -ENOMEM && plan.step == SIM_UDP_MAP &&
		       !udp_server_is_open(&server));
		return false;
	}
	for (; udp_server_is_open(&server); passes++) {
		EXPECT_MSG(passes < 3000, "it finds no end, or sleeps for ever");
		loop_pass(&worker.loop, -1);
	}
	EXPECT(server.gone_n == 1);
	return true;
}

static void clear_up(void)
{
	sim_udp.fault = NULL;
	sim_udp.alarm_us = 0;
	book_close(&book);
	sim_udp_worker_close(&worker);
	sim_udp_servers_end();
}

static struct {
	unsigned long steps[SIM_UDP_STEPS], calls;
	uint64_t us; /* how long the script took */
} fair;

static uint64_t played_us;

static void play_fairly(const char *address)
{
	uint64_t begun_us;

	memset(&plan, 0, sizeof plan);
	begun_us = (((uint64_t)1 << 32) - 500) * 1000; /* kernel_begin() sets the clock to this */
	EXPECT(play(address));
	memcpy(fair.steps, sim_udp.steps, sizeof fair.steps);
	fair.calls = kernel_calls_all();
	fair.us = kernel.now_us - begun_us;
	book_check(&book);
	sim_udp_worker_expect(&worker, &book);
	EXPECT(!book.owed_n && !worker.stats.datagram_send_errors);
	EXPECT(worker.stats.datagrams_dropped == book.sock->drops && book.sock->drops == 3);
	clear_up();
}

/* ---- one fault ---- */

/* How many calls a fault may cost: those that fail, waits, a new registration, another look. */
#define CALLS_A_FAULT 8

static void expect_quiet(void)
{
	unsigned long limit = fair.calls + plan.met * CALLS_A_FAULT + 100;

	EXPECT_MSG(kernel_calls_all() < limit, "%lu calls, without the fault %lu",
		   kernel_calls_all(), fair.calls);
	/* "For a while": two tries every 10 ms, and some for each answer that is given up. */
	EXPECT_MSG(plan.met <= (FAULTY_MS / DATAGRAM_RETRY_MS) * 2 + 3 * fair.steps[SIM_UDP_SEND],
		   "it failed %lu times", plan.met);
}

static void expect_soon(void)
{
	uint64_t us = played_us - fair.us, limit_us = plan.times * RESTS_MS * 1000;

	if (!plan.times)
		limit_us = (FAULTY_MS + RESTS_MS) * 1000;
	if (plan.error == EAGAIN)
		limit_us += (plan.times + 1) * SCRIPT_MS * 1000;
	EXPECT_MSG(played_us <= fair.us || us <= limit_us, "it took %llu us longer",
		   (unsigned long long)us);
}

static void expect_nothing_lost(void)
{
	bool patient = plan.error == EAGAIN || plan.error == EINTR || plan.error == ENOBUFS ||
		       plan.error == ENOMEM;
	uint64_t lost = worker.stats.datagram_send_errors;

	if (plan.step != SIM_UDP_SEND || patient)
		EXPECT_MSG(!lost, "%llu answers were given up", (unsigned long long)lost);
	else if (plan.times)
		EXPECT(lost <= plan.times / 2);
	/* If nothing can be received while it stops, requests are left in the socket, unanswered.
	 */
	if (plan.step != SIM_UDP_RECEIVE || plan.times == 1)
		EXPECT_MSG(!book.owed_n, "%zu were not even read", book.owed_n);
	if (plan.step != SIM_UDP_GET_OPTION && plan.step != SIM_UDP_SET_OPTION)
		EXPECT(worker.stats.datagrams_dropped == book.sock->drops ||
		       plan.step != SIM_UDP_SEND);
}

static void fail_one(const char *address)
{
	uint64_t begun_us = (((uint64_t)1 << 32) - 500) * 1000;

	if (play(address)) {
		EXPECT_MSG(plan.met, "it did not come to pass");
		played_us = kernel.now_us - begun_us;
		book_check(&book);
		sim_udp_worker_expect(&worker, &book);
		expect_nothing_lost();
		expect_quiet();
		expect_soon();
	}
	clear_up();
}

static void say_how(const char *address)
{
	char times[24] = "for a while";

	if (plan.times)
		(void)snprintf(times, sizeof times, "%u times", plan.times);
	(void)snprintf(sim_udp_how, sizeof sim_udp_how, "%s, %s %lu of %lu, %s, %s", address,
		       sim_udp_step_names[plan.step], plan.first, fair.steps[plan.step],
		       strerror(plan.error), times);
}

/* Tries every few-th pair of a step and an error, so that each step is tried with some of the
 * errors, and each error at some of the steps. */
static void fail_some(enum sim_udp_step step, const int *which, size_t n, unsigned times,
		      unsigned long few)
{
	unsigned long stride = suite_sanitized() ? 7 : 1;

	for (size_t a = 0; a < sizeof addresses / sizeof *addresses; a++) {
		play_fairly(addresses[a]);
		EXPECT(fair.steps[step]);
		for (unsigned long k = 1; k <= fair.steps[step]; k += stride) {
			for (size_t i = (n - k % few) % few; i < n; i += few) {
				plan.step = step;
				plan.first = k;
				plan.times = times;
				plan.error = which[i];
				plan.met = 0;
				say_how(addresses[a]);
				fail_one(addresses[a]);
			}
		}
	}
}

static void fail_each(enum sim_udp_step step, const int *which, size_t n, unsigned times)
{
	fail_some(step, which, n, times, 1);
}

START_TEST(receiving)
{
	fail_some(SIM_UDP_RECEIVE, errors, ERRORS, (unsigned)_i, FEW);
}
END_TEST

START_TEST(sending)
{
	fail_some(SIM_UDP_SEND, errors, ERRORS, (unsigned)_i, FEW);
}
END_TEST

START_TEST(receiving_at_each_step)
{
	fail_each(SIM_UDP_RECEIVE, errors, ERRORS, (unsigned)_i);
}
END_TEST

START_TEST(sending_at_each_step)
{
	fail_each(SIM_UDP_SEND, errors, ERRORS, (unsigned)_i);
}
END_TEST

START_TEST(options)
{
	fail_each(SIM_UDP_SET_OPTION, errors, ERRORS, (unsigned)_i);
	fail_each(SIM_UDP_GET_OPTION, errors, ERRORS - 2, (unsigned)_i);
}
END_TEST

START_TEST(epoll)
{
	static const int interrupted[] = {EINTR};

	fail_each(SIM_UDP_WATCH, errors, ERRORS, (unsigned)_i);
	if (_i)
		fail_each(SIM_UDP_WAIT, interrupted, 1, (unsigned)_i);
	fail_each(SIM_UDP_CLOSE, errors, ERRORS, (unsigned)_i);
}
END_TEST

START_TEST(memory)
{
	static const int no_memory[] = {ENOMEM, EAGAIN, EPERM, ENFILE};

	fail_each(SIM_UDP_MAP, no_memory, 4, (unsigned)_i);
}
END_TEST

START_TEST(binding)
{
	static const struct datagram_options wanted = {.reuseport = true, .queue_bytes = 4096};
	static const struct {
		enum sim_udp_step step;
		unsigned long k;
		const char *name;
	} steps[] = {
	    {SIM_UDP_SOCKET, 1, "socket"},
	    {SIM_UDP_SET_OPTION, 1, "SO_REUSEPORT"},
	    {SIM_UDP_SET_OPTION, 2, "IPV6_V6ONLY"},
	    {SIM_UDP_SET_OPTION, 3, "IPV6_RECVPKTINFO"},
	    {SIM_UDP_SET_OPTION, 4, "IP_PKTINFO"},
	    {SIM_UDP_SET_OPTION, 6, "SO_RCVBUF"}, /* 5: SO_RCVBUFFORCE is not for everyone */
	    {SIM_UDP_BIND, 1, "bind"},
	    {SIM_UDP_NAME, 1, "getsockname"}};
	struct address address;
	const char *why;

	sim_udp_servers_begin();
	sim_udp.fault = fault;
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		for (size_t e = 0; e < ERRORS; e++) {
			EXPECT(address_parse(&address, ":0", &why));
			memset(sim_udp.steps, 0, sizeof sim_udp.steps);
			memset(&plan, 0, sizeof plan);
			plan.step = steps[i].step;
			plan.first = steps[i].k;
			plan.times = 1;
			plan.error = errors[e];
			EXPECT(datagram_bind(&address, &wanted, &why) == -errors[e] && plan.met);
			EXPECT_MSG(strcmp(why, steps[i].name) == 0, "\"%s\", not \"%s\"", why,
				   steps[i].name);
			EXPECT(!sim_udp.descriptors);
		}
	}
	sim_udp_servers_end();
}
END_TEST

/* ---- special cases ---- */

static void begin(void)
{
	sim_udp_servers_begin();
	sim_udp_worker_open(&worker);
	book_open(&book, ":7878", ANSWER_ECHO);
	EXPECT(udp_server_open(&server, &worker, &book, false) == 0);
	for (unsigned i = 0; !book.sock->trains && i < 50; i++) {
		say_many(2, 100);
		loop_pass(&worker.loop, 0);
	}
	sim_udp_worker_run(&worker, 1);
}

static void end(void)
{
	book_check(&book);
	sim_udp_worker_expect(&worker, &book);
	udp_server_close(&server);
	clear_up();
}

/* An error that ICMP reports about one peer is returned by whichever call comes next, even if that
 * is about another peer. */
START_TEST(an_error_of_another_costs_no_answer)
{
	begin();
	book.sock->send_max = 2000;
	say_many(20, 900);
	sim_udp_worker_run(&worker, 1);
	for (int i = 0; i < 10; i++) {
		sim_socket_fail(book.sock, i % 2 ? ECONNREFUSED : EHOSTUNREACH);
		sim_udp_worker_run(&worker, i % 3 ? 20 : 0); /* there is still no room */
		EXPECT(!worker.stats.datagram_send_errors && book.owed_n);
	}
	for (int i = 0; i < 100 && book.owed_n; i++) {
		sim_socket_fail(book.sock, ECONNREFUSED);
		sim_socket_drain(book.sock, SIZE_MAX);
		sim_udp_worker_run(&worker, 20);
	}
	EXPECT(!worker.stats.datagram_send_errors && !book.owed_n);
	end();
}
END_TEST

START_TEST(an_error_of_another_delays_no_request)
{
	begin();
	for (unsigned i = 0; i < 20; i++) {
		sim_socket_fail(book.sock, ECONNREFUSED);
		sim_udp_worker_run(&worker, i % 2);
		(void)book_post(&book, i, 100, 0);
		sim_socket_fail(book.sock, ECONNREFUSED);
		sim_udp_worker_run(&worker, 0);
		EXPECT_MSG(!book.owed_n, "it rests");
	}
	end();
}
END_TEST

/* EAGAIN does not promise an event: with net.core.xfrm_larval_drop off it means that keys are being
 * negotiated for a route, while the send queue has room. */
START_TEST(no_room_in_spite_of_room_does_not_spin)
{
	begin();
	plan.step = SIM_UDP_SEND;
	plan.first = sim_udp.steps[SIM_UDP_SEND] + 3;
	plan.times = 100;
	plan.error = EWOULDBLOCK;
	sim_udp.fault = fault_alone;
	say_many(20, 900);
	kernel_count_anew();
	sim_udp_worker_run(&worker, 400);
	EXPECT(book.owed_n == 18);
	EXPECT(kernel_calls_all() - kernel.calls[KERNEL_epoll_wait] < 200);
	sim_udp_worker_run(&worker, 700);
	EXPECT(!book.owed_n && !worker.stats.datagram_send_errors);
	end();
}
END_TEST

START_TEST(an_answer_that_never_gets_memory_is_given_up_at_last)
{
	begin();
	plan.step = SIM_UDP_SEND;
	plan.first = sim_udp.steps[SIM_UDP_SEND] + 1;
	plan.times = 3 * DELAYS_ENOUGH;
	plan.error = ENOBUFS;
	sim_udp.fault = fault_alone;
	say_many(5, 900);
	sim_udp_worker_run(&worker, DELAYS_ENOUGH * DATAGRAM_RETRY_MS);
	EXPECT(worker.stats.datagram_send_errors == 1);
	sim_udp_worker_run(&worker, 2 * DELAYS_ENOUGH * DATAGRAM_RETRY_MS);
	EXPECT(worker.stats.datagram_send_errors == 3 && book.owed_n == 3);
	end();
}
END_TEST

SUITE("sim_datagram_faults", {"receiving", receiving, 20, 3}, {"sending", sending, 20, 3},
      {"receiving, every error at every step", receiving_at_each_step, 60, 3, SUITE_LONG},
      {"sending, every error at every step", sending_at_each_step, 60, 3, SUITE_LONG},
      {"options", options, 20, 3}, {"epoll", epoll, 20, 3}, {"memory", memory, 20, 3},
      {"binding", binding, 10},
      {"an error of another costs no answer", an_error_of_another_costs_no_answer, 10},
      {"an error of another delays no request", an_error_of_another_delays_no_request, 10},
      {"no room in spite of room does not spin", no_room_in_spite_of_room_does_not_spin, 10},
      {"an answer that never gets memory is given up at last",
       an_answer_that_never_gets_memory_is_given_up_at_last, 10})
