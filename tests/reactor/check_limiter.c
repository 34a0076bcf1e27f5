/*
 * limiter: what an address gets at once and over time, many addresses, and many processes.
 *
 * The test sets the time. It can't see whether the hash resists somebody who searches for addresses
 * with the same hash: only that it has a seed.
 */
#include "reactor/udp/limiter.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/base/address.h"
#include "reactor/base/sys.h"
#include "tests/support/suite.h"

/* ck_assert() writes a mark each time it is passed, which is slow for millions of them. */
#define MUST(condition) ((condition) ? (void)0 : ck_abort_msg("%s does not hold", #condition))

static struct limiter limiter;

static void begin(uint64_t rate)
{
	ck_assert_int_eq(limiter_open(&limiter, rate), 0);
}

static struct sockaddr_in ip4(uint32_t address)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)address),
				    .sin_addr.s_addr = htonl(address)};
}

static bool take(uint32_t address, uint64_t now_us)
{
	struct sockaddr_in peer = ip4(address);

	return limiter_take(&limiter, (struct sockaddr *)&peer, now_us);
}

static bool take_text(const char *text, uint64_t now_us)
{
	struct address address;
	const char *why;

	ck_assert_msg(address_parse(&address, text, &why), "%s: %s", text, why);
	return limiter_take(&limiter, (const struct sockaddr *)&address.socket, now_us);
}

static unsigned take_all(const char *text, uint64_t now_us)
{
	unsigned n = 0;

	while (take_text(text, now_us))
		MUST(++n < 1000000);
	return n;
}

static const uint64_t rates[] = {1, 2, 3, 10, 1000, 65536, 500000, 1000000};
#define RATES ((int)(sizeof rates / sizeof *rates))

/* An address that always asks for more gets N at once, and then N a second, each as soon as it is
 * due. */
START_TEST(so_many_at_once_and_then_so_many_a_second)
{
	uint64_t rate = rates[_i], begin_us, taken = 0;
	/* A step of time is a 16th of a microsecond: some rates come a little late, never early. */
	uint64_t late = 16000000 % rate ? rate : 0;

	begin(rate);
	begin_us = limiter.begun_us + 12345678;
	for (uint64_t us = 0; us <= 3000000; us += rate > 1000 ? 1 : 50) {
		uint64_t most = rate + us * rate / 1000000;

		while (take(1, begin_us + us))
			taken++;
		MUST(taken <= most);
		MUST(taken + (late ? 1 + (most - rate) * late / 16000000 : 0) >= most);
	}
	/* An address that asked for nothing for some time does not get more than N at once. */
	taken = 0;
	while (take(1, begin_us + 100000000))
		taken++;
	ck_assert_uint_eq(taken, rate);
	/* Nor does it years later. */
	taken = 0;
	while (take(1, begin_us + UINT64_C(8) * 365 * 86400 * 1000000))
		taken++;
	ck_assert_uint_eq(taken, rate);
	limiter_close(&limiter);
	limiter_close(&limiter); /* the second call does nothing */
}
END_TEST

START_TEST(a_client_that_keeps_to_the_rate_is_never_refused)
{
	uint64_t rate = rates[_i], us, interval_us = (1000000 + rate - 1) / rate;

	begin(rate);
	us = limiter.begun_us;
	for (int i = 0; i < 10000; i++, us += interval_us + (16000000 % rate != 0))
		MUST(take(7, us));
	limiter_close(&limiter);
}
END_TEST

START_TEST(addresses_of_their_own)
{
	uint64_t now;

	begin(5);
	now = limiter.begun_us;
	ck_assert_uint_eq(take_all("192.0.2.1:1000", now), 5);
	ck_assert_uint_eq(take_all("192.0.2.1:1001", now), 0); /* the port does not count */
	ck_assert_uint_eq(take_all("[::ffff:192.0.2.1]:1000", now), 0);
	ck_assert_uint_eq(take_all("[::ffff:192.0.2.2]:1000", now), 5);
	ck_assert_uint_eq(take_all("192.0.2.2:1000", now), 0);
	/* IPv6 counts by /64, the least that anybody is given. */
	ck_assert_uint_eq(take_all("[2001:db8:1:2::1]:1000", now), 5);
	ck_assert_uint_eq(take_all("[2001:db8:1:2:3:4:5:6]:1000", now), 0);
	ck_assert_uint_eq(take_all("[2001:db8:1:3::1]:1000", now), 5);
	ck_assert_uint_eq(take_all("[2001:db8:2:2::1]:1000", now), 5);
	ck_assert_uint_eq(take_all("[::1]:1000", now), 5);
	limiter_close(&limiter);
}
END_TEST

/* No IPv6 address is taken for one of IPv4, whatever its bytes are. */
START_TEST(kinds_do_not_meet)
{
	uint64_t now;

	begin(5);
	now = limiter.begun_us;
	ck_assert_uint_eq(take_all("32.1.13.184:1000", now), 5); /* 2001:0db8 */
	ck_assert_uint_eq(take_all("[2001:db8::1]:1000", now), 5);
	ck_assert_uint_eq(take_all("[::1]:1000", now), 5);
	ck_assert_uint_eq(take_all("0.0.0.1:1000", now), 5);
	limiter_close(&limiter);
}
END_TEST

/* More addresses than places: none gets more than its share, over any time. */
START_TEST(a_hundred_thousand_at_once)
{
	enum { ADDRESSES = 100000, RATE = 10 };
	static uint32_t taken[ADDRESSES];
	uint64_t all = 0, now;

	begin(RATE);
	now = limiter.begun_us;
	for (int second = 0; second < 3; second++) {
		for (int round = 0; round < 2 * RATE; round++) {
			for (uint32_t i = 0; i < ADDRESSES; i++)
				taken[i] += take(i * 2654435761u, now);
			now += 1000000 / (2 * RATE);
		}
	}
	for (uint32_t i = 0; i < ADDRESSES; i++) {
		MUST(taken[i] <= RATE + 3 * RATE);
		all += taken[i];
	}
	ck_assert_uint_gt(all, ADDRESSES * RATE / 2);
	(void)printf("FIGURE 100000 addresses that ask too much had %.0f %% of their shares\n",
		     100.0 * (double)all / (ADDRESSES * 4.0 * RATE));
	(void)fflush(stdout);
	limiter_close(&limiter);
}
END_TEST

/* So many addresses flood, while a hundred ask for a tenth of their share. Returns which part of
 * that these get. */
static double polite_share(uint32_t flooders)
{
	enum { RATE = 10, POLITE = 100, SECONDS = 20 };
	uint64_t taken = 0, now;

	begin(RATE);
	now = limiter.begun_us;
	for (int tick = 0; tick < SECONDS * 2 * RATE; tick++) {
		for (uint32_t i = 0; i < flooders; i++)
			(void)take(0x0a000000 + i, now);
		for (uint32_t i = 0; i < POLITE; i++)
			if (tick % (2 * RATE) == (int)(i % (2 * RATE)))
				taken += take(0xc0000200 + i, now);
		now += 1000000 / (2 * RATE);
	}
	limiter_close(&limiter);
	return (double)taken / (SECONDS * POLITE);
}

START_TEST(the_polite_are_served_among_flooders)
{
	static const uint32_t flooders[] = {100, 1000, 10000, 30000};
	static const double least[] = {1.0, 0.98, 0.93, 0.7};

	for (size_t i = 0; i < 4; i++) {
		double share = polite_share(flooders[i]);

		(void)printf("FIGURE among %u addresses that flood, the polite had %.1f %%\n",
			     flooders[i], 100 * share);
		(void)fflush(stdout);
		ck_assert_msg(share >= least[i], "among %u: %f", flooders[i], share);
	}
}
END_TEST

/* ---- several processes ---- */

#define PROCESSES 4

struct shared {
	uint64_t taken[PROCESSES][8]; /* a cache line for each process */
	unsigned ready;
};

static struct shared *shared_new(void)
{
	struct shared *shared =
	    mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(shared, MAP_FAILED);
	return shared;
}

static void fork_all(struct shared *shared, void (*run)(struct shared *shared, int which))
{
	for (int i = 0; i < PROCESSES; i++) {
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid)
			continue;
		(void)__atomic_add_fetch(&shared->ready, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&shared->ready, __ATOMIC_SEQ_CST) < PROCESSES)
			(void)sched_yield();
		run(shared, i);
		_exit(0);
	}
	for (int i = 0; i < PROCESSES; i++) {
		int status;

		ck_assert_int_gt(wait(&status), 0);
		ck_assert_int_eq(status, 0);
	}
}

static uint64_t taken_by_all(const struct shared *shared)
{
	uint64_t all = 0;

	for (int i = 0; i < PROCESSES; i++)
		all += shared->taken[i][0];
	return all;
}

static void take_at_one_moment(struct shared *shared, int which)
{
	for (int i = 0; i < 200000; i++)
		shared->taken[which][0] += take(99, limiter.begun_us + 5);
}

START_TEST(processes_share_what_there_is_at_once)
{
	struct shared *shared = shared_new();

	begin(200001);
	fork_all(shared, take_at_one_moment);
	ck_assert_uint_eq(taken_by_all(shared), 200001);
	limiter_close(&limiter);
}
END_TEST

static void take_for_a_while(struct shared *shared, int which)
{
	uint64_t end_us = limiter.begun_us + 500000, now;

	while ((now = sys_clock_us()) < end_us)
		for (int i = 0; i < 10; i++)
			shared->taken[which][0] += take(99, now);
}

START_TEST(processes_share_what_comes)
{
	struct shared *shared = shared_new();
	uint64_t rate = 20000, all;

	begin(rate);
	fork_all(shared, take_for_a_while);
	all = taken_by_all(shared);
	ck_assert_uint_le(all, rate + rate / 2);
	ck_assert_uint_ge(all, rate);
	limiter_close(&limiter);
}
END_TEST

/* Whatever processes do to each other's places, no address gets more than its share. */
static void take_among_many(struct shared *shared, int which)
{
	uint64_t now = limiter.begun_us;

	for (int i = 0; i < 300; i++) {
		for (uint32_t k = 0; k < 1000; k++)
			(void)take(k * 1000003, now);
		shared->taken[which][0] += take(99, now);
		now += 1000;
	}
}

START_TEST(processes_and_many_addresses)
{
	struct shared *shared = shared_new();

	begin(100);
	fork_all(shared, take_among_many);
	ck_assert_uint_le(taken_by_all(shared), 100 + 30);
	ck_assert_uint_ge(taken_by_all(shared), 100);
	limiter_close(&limiter);
}
END_TEST

/* ---- a table that is passed from process to process ---- */

START_TEST(another_process_attaches_it)
{
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	const struct sockaddr *from = (const struct sockaddr *)&peer;
	struct limiter first, second;
	unsigned taken = 0;
	uint64_t now;

	ck_assert_int_eq(limiter_open(&first, 10), 0);
	now = first.begun_us + 1;
	ck_assert(limiter_take(&first, from, now));
	ck_assert_int_eq(limiter_attach(&second, dup(first.fd), 10), 0);
	ck_assert_uint_eq(second.seed, first.seed);
	ck_assert_uint_eq(second.begun_us, first.begun_us);
	while (limiter_take(&second, from, now))
		taken++;
	ck_assert_uint_eq(taken, 9);
	ck_assert(!limiter_take(&first, from, now));
	limiter_close(&first);
	ck_assert(!limiter_take(&second, from, now)); /* the table lives on */
	limiter_close(&second);
}
END_TEST

START_TEST(what_is_no_table_is_refused)
{
	static const off_t sizes[] = {0, 1, 4096, 1 << 19, (1 << 19) + 24, 1 << 20};
	struct limiter other = {0};
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(limiter_attach(&other, ends[0], 10), -EPROTO);
	ck_assert_int_eq(limiter_attach(&other, 9999, 10), -EBADF);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		int fd = memfd_create("zeros", MFD_CLOEXEC);

		ck_assert_int_eq(ftruncate(fd, sizes[i]), 0);
		ck_assert_int_eq(limiter_attach(&other, fd, 10), -EPROTO);
		ck_assert_int_ge(fcntl(fd, F_GETFD), 0); /* it still belongs to the caller */
		ck_assert_ptr_null(other.places);
		(void)close(fd);
	}
}
END_TEST

SUITE("limiter", {"another process attaches it", another_process_attaches_it, 10},
      {"what is no table is refused", what_is_no_table_is_refused, 10},
      {"so many at once and then so many a second", so_many_at_once_and_then_so_many_a_second, 20,
       RATES},
      {"a client that keeps to the rate is never refused",
       a_client_that_keeps_to_the_rate_is_never_refused, 10, RATES},
      {"addresses of their own", addresses_of_their_own, 10},
      {"kinds do not meet", kinds_do_not_meet, 10},
      {"a hundred thousand at once", a_hundred_thousand_at_once, 20},
      {"the polite are served among flooders", the_polite_are_served_among_flooders, 20},
      {"processes share what there is at once", processes_share_what_there_is_at_once, 20},
      {"processes share what comes", processes_share_what_comes, 20},
      {"processes and many addresses", processes_and_many_addresses, 20})
