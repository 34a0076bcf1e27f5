/*
 * Where a loop's time goes, and what it calls, on a simulated kernel: each microsecond counts
 * either as waiting or as busy, each pass is one lag, and each call is counted by its name.
 *
 * Time stands still unless a turn or a wait advances it: so all figures are exact.
 */
#include "tests/support/sim/kernel.h"

static struct {
	struct loop loop;
	struct stats stats;
	struct source sources[3];
	struct peer *peers[3];
	uint32_t takes_us[3]; /* how long the turn of each source takes */
} t;

static void slow_turn(struct loop *loop, struct source *source)
{
	(void)loop;
	source->ready = 0;
	kernel.now_us += t.takes_us[source - t.sources];
}

static void set_up(uint32_t spin_us)
{
	kernel_begin();
	ck_assert_int_eq(loop_open(&t.loop, &t.stats, spin_us), 0);
	for (int i = 0; i < 3; i++) {
		int fd;

		t.peers[i] = peer_new(&fd);
		source_init(&t.sources[i], fd, slow_turn);
		t.sources[i].want = SOURCE_IN;
		ck_assert_int_eq(loop_watch(&t.loop, &t.sources[i], EPOLLIN | EPOLLET), 0);
	}
}

static void tear_down(void)
{
	for (int i = 0; i < 3; i++)
		(void)sys_close(t.sources[i].fd);
	loop_close(&t.loop);
	kernel_end();
}

static uint64_t passes(void)
{
	uint64_t n = 0;

	for (size_t i = 0; i < LAGS; i++)
		n += t.stats.lag[i];
	return n;
}

static void expect_time(uint64_t busy_us, uint64_t wait_us)
{
	ck_assert_uint_eq(t.stats.loop_busy_us, busy_us);
	ck_assert_uint_eq(t.stats.loop_wait_us, wait_us);
	ck_assert_uint_eq(passes(), t.stats.harvests);
}

START_TEST(each_microsecond_is_waited_or_busy)
{
	uint64_t began_us;

	set_up(0);
	began_us = kernel.now_us;
	loop_pass(&t.loop, 7); /* nothing comes */
	expect_time(0, 7000);
	/* Three turns, one after the other: one pass. */
	for (int i = 0; i < 3; i++) {
		t.takes_us[i] = 100u << i;
		peer_text(t.peers[i], "x");
	}
	loop_pass(&t.loop, -1);
	expect_time(700, 7000);
	/* An event that came meanwhile is handled without a wait. */
	peer_text(t.peers[1], "x");
	loop_pass(&t.loop, -1);
	expect_time(900, 7000);
	/* Time between two passes counts as waiting. */
	kernel.now_us += 50;
	loop_deadline(&t.loop, &t.sources[2], t.loop.now_ms + 20);
	loop_pass(&t.loop, -1);
	ck_assert_uint_eq(t.stats.loop_busy_us, 1300);
	ck_assert_uint_ge(t.stats.loop_wait_us, 7050);
	ck_assert_uint_eq(t.stats.loop_busy_us + t.stats.loop_wait_us, kernel.now_us - began_us);
	tear_down();
}
END_TEST

START_TEST(each_pass_is_a_lag)
{
	static const struct {
		uint32_t us;
		enum lag lag;
	} wanted[] = {{0, LAG_16},	   {16, LAG_16},	   {17, LAG_32},
		      {1000, LAG_1024},	   {2097152, LAG_2097152}, {2097153, LAG_MORE},
		      {60000000, LAG_MORE}};
	uint64_t busy_us = 0;

	set_up(0);
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		struct stats before = t.stats;

		t.takes_us[0] = wanted[i].us;
		peer_text(t.peers[0], "x");
		loop_pass(&t.loop, -1);
		busy_us += wanted[i].us;
		for (size_t lag = 0; lag < LAGS; lag++)
			ck_assert_uint_eq(t.stats.lag[lag] - before.lag[lag], lag == wanted[i].lag);
	}
	expect_time(busy_us, 0);
	tear_down();
}
END_TEST

/* A loop that spins is not busy: it delays nothing that comes. */
START_TEST(spinning_is_waiting)
{
	set_up(1000);
	t.takes_us[0] = 30;
	peer_text(t.peers[0], "x");
	loop_pass(&t.loop, -1);
	for (int i = 0; i < 50; i++) {
		kernel.now_us += 10;
		loop_pass(&t.loop, -1);
		ck_assert_int_eq(kernel.wait_asked, 0);
	}
	expect_time(30, 500);
	ck_assert_uint_eq(t.stats.lag[LAG_16], 50);
	ck_assert_uint_eq(t.stats.lag[LAG_32], 1);
	tear_down();
}
END_TEST

/* The stats count each call as often as the simulated kernel does, failed calls included. */
START_TEST(each_call_is_counted_by_its_name)
{
	static char bytes[300000];
	struct world world;
	struct stats counted = {0};
	struct peer *peers[4];

	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	kernel_count_anew();
	sys_count_into(&counted);
	for (int i = 0; i < 4; i++)
		peers[i] = world_connect(&world);
	peer_send(peers[0], bytes, sizeof bytes); /* more than there is space for */
	peer_text(peers[1], "hello");
	kernel_fail(KERNEL_read, 2, EINTR);
	world_run(&world);
	peer_reset(peers[2]);
	peer_finish(peers[3]);
	world_run(&world);
	ck_assert(kernel.failed);
	(void)peer_receive(peers[0], NULL, sizeof bytes);
	world_run(&world);
	(void)peer_receive(peers[0], NULL, sizeof bytes);
	peer_finish(peers[0]);
	peer_finish(peers[1]);
	world_run(&world);
	for (size_t i = 0; i < KERNEL_CALLS; i++)
		ck_assert_msg(counted.calls[i] == kernel.calls[i], "%s: %llu, not %lu",
			      kernel_call_names[i], (unsigned long long)counted.calls[i],
			      kernel.calls[i]);
	ck_assert_uint_gt(counted.calls[CALL_writev], 0);
	ck_assert_uint_gt(counted.calls[CALL_epoll_ctl], 4);
	ck_assert_uint_eq(counted.calls[CALL_close], 4);
	/* From here on calls are not counted. */
	sys_count_into(NULL);
	(void)sys_close(-1);
	ck_assert_uint_eq(counted.calls[CALL_close], 4);
	world_close(&world);
}
END_TEST

SUITE("sim_lag", {"each microsecond is waited or busy", each_microsecond_is_waited_or_busy, 10},
      {"each pass is a lag", each_pass_is_a_lag, 10},
      {"spinning is waiting", spinning_is_waiting, 10},
      {"each call is counted by its name", each_call_is_counted_by_its_name, 10})
