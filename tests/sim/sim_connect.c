/*
 * Connections that we open, on a simulated kernel: one address and several, what each may answer,
 * and when the next one's turn comes. What goes wrong, and ends before it is up: sim_connect_ends.
 */
#include "tests/support/sim/sim_caller.h"

/* ---- one address ---- */

START_TEST(one_that_is_taken)
{
	struct peer *peer;

	begin();
	answers[1] = TAKES;
	kernel_count_anew();
	connect_to(1, 1000);
	ck_assert_uint_eq(kernel_calls_all(), 0);
	world_run(&world);
	ck_assert_uint_eq(kernel.calls[KERNEL_socket], 1);
	ck_assert_uint_eq(kernel.calls[KERNEL_setsockopt], 2);
	ck_assert_uint_eq(kernel.calls[KERNEL_connect], 2);
	ck_assert_uint_eq(kernel.calls[KERNEL_epoll_ctl], 1);
	ck_assert_uint_eq(kernel.calls[KERNEL_getsockname], 1);
	ck_assert_uint_eq(kernel.calls[KERNEL_write], 1);
	ck_assert_uint_eq(kernel_calls_all() - kernel.calls[KERNEL_epoll_wait], 8);
	peer = attempts[0].peer;
	ck_assert(peer->nodelay && peer->oobinline);
	/* From now on, a message costs a read. */
	kernel_count_anew();
	peer_text(peer, "x");
	world_run(&world);
	ck_assert_uint_eq(kernel_calls_all() - kernel.calls[KERNEL_epoll_wait], 1);
	owner.received = 0;
	expect_opened();
}
END_TEST

/* The deadline that it had does not matter any more, nor does the time before to the others. */
START_TEST(one_that_is_taken_later)
{
	begin_with((struct conn_limits){WORLD_LIMITS, .idle_ms = 700, .write_ms = 100});
	owner.says_nothing = _i;
	answers[1] = LATER;
	connect_to(1, 1000);
	world_wait(&world, 999);
	ck_assert_uint_eq(owner.opened + owner.unconnected, 0);
	peer_answer(attempts[0].peer);
	world_run(&world);
	ck_assert_uint_eq(owner.opened, 1);
	world_wait(&world, 699);
	ck_assert_uint_eq(owner.closed, 0);
	ck_assert_uint_eq(attempts_n, 1);
	if (!_i) {
		expect_opened();
		return;
	}
	world_wait(&world, 1);
	ck_assert_uint_eq(owner.closed, 1);
	ck_assert_int_eq(owner.why, CLOSE_idle_timeout);
	world_close(&world);
}
END_TEST

START_TEST(one_that_is_refused)
{
	begin();
	answers[1] = REFUSES;
	connect_to(1, 1000);
	world_run(&world);
	expect_unconnected(CLOSE_connect_refused);
	begin();
	answers[1] = LATER;
	connect_to(1, 1000);
	world_wait(&world, 100);
	peer_refuse(attempts[0].peer, ECONNREFUSED);
	world_run(&world);
	ck_assert_uint_eq(now_ms(), 100);
	expect_unconnected(CLOSE_connect_refused);
}
END_TEST

START_TEST(one_that_is_never_answered)
{
	begin_with((struct conn_limits){WORLD_LIMITS, .idle_ms = 50});
	answers[1] = SILENT;
	connect_to(1, 1000);
	world_wait(&world, 999);
	ck_assert_uint_eq(owner.unconnected, 0);
	ck_assert(!attempts[0].peer->closed);
	world_wait(&world, 1);
	ck_assert(attempts[0].peer->closed);
	expect_unconnected(CLOSE_connect_timeout);
}
END_TEST

START_TEST(one_that_is_reset_at_once)
{
	begin();
	answers[1] = RESETS;
	connect_to(1, 1000);
	world_run(&world);
	expect_unconnected(CLOSE_connect_reset);
	/* Seen to be up before. */
	begin();
	answers[1] = TAKES;
	connect_to(1, 1000);
	world_run(&world);
	peer_reset(attempts[0].peer);
	world_run(&world);
	ck_assert_uint_eq(owner.opened, 1);
	ck_assert_uint_eq(owner.closed, 1);
	ck_assert_int_eq(owner.why, CLOSE_reset);
	world_close(&world);
}
END_TEST

/* What came with the answer is there, too: the edge is not lost. */
START_TEST(one_that_speaks_at_once)
{
	begin();
	answers[1] = LATER;
	connect_to(1, 1000);
	world_run(&world);
	owner.ends_at_once = true;
	peer_answer(attempts[0].peer);
	peer_send_and_finish(attempts[0].peer, "bytes", 5);
	world_run(&world);
	ck_assert_uint_eq(owner.received, 5);
	ck_assert_uint_eq(owner.closed, 1);
	ck_assert_int_eq(owner.why, CLOSE_eof);
	peer_expect(attempts[0].peer, "hello", 5);
	world_close(&world);
}
END_TEST

START_TEST(a_unix_socket_is_up_at_once)
{
	struct address address = at_unix();

	for (int rights = 0; rights < 2; rights++) {
		begin();
		kernel.passes_rights = rights;
		kernel_count_anew();
		ck_assert_int_eq(connect_to_all(&address, 1, 1000), 0);
		world_pass(&world);
		ck_assert_uint_eq(owner.opened, 1);
		ck_assert_uint_eq(kernel.calls[KERNEL_connect], 1);
		ck_assert_uint_eq(kernel.calls[KERNEL_epoll_ctl], 1);
		ck_assert_uint_eq(kernel.calls[KERNEL_getsockname], 0);
		ck_assert_int_eq(owner.conn->guarded, rights);
		ck_assert(!attempts[0].peer->nodelay && attempts[0].peer->oobinline);
		expect_opened();
	}
}
END_TEST

/* Its own port is the number of its descriptor here. */
START_TEST(it_does_not_talk_to_itself)
{
	struct sockaddr_in ip4 = {.sin_family = AF_INET,
				  .sin_port = htons(KERNEL_FD_FIRST + 1),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct address address = {.bytes = sizeof ip4};

	for (int i = 0; i < 2; i++) { /* at another host, the port does not matter */
		begin();
		answers[1] = TAKES;
		ip4.sin_addr.s_addr = htonl(i ? 0x0a000001 : INADDR_LOOPBACK);
		memcpy(&address.socket, &ip4, sizeof ip4);
		ck_assert_int_eq(connect_to_all(&address, 1, 1000), 0);
		world_run(&world);
		ck_assert_uint_eq(kernel.calls[KERNEL_getpeername], 1);
		if (i)
			expect_opened();
		else
			expect_unconnected(CLOSE_connect_refused);
	}
}
END_TEST

START_TEST(each_error_has_its_reason)
{
	static const struct {
		int error;
		enum close_reason reason;
	} errors[] = {
	    {ECONNREFUSED, CLOSE_connect_refused},
	    {ENOENT, CLOSE_connect_refused},
	    {ECONNRESET, CLOSE_connect_reset},
	    {ETIMEDOUT, CLOSE_connect_timeout},
	    {EHOSTUNREACH, CLOSE_connect_unreachable},
	    {ENETUNREACH, CLOSE_connect_unreachable},
	    {EACCES, CLOSE_connect_failed},
	    {EADDRNOTAVAIL, CLOSE_connect_failed},
	    {EAGAIN, CLOSE_connect_failed},
	};

	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		begin();
		answers[1] = LATER;
		connect_to(1, 1000);
		world_run(&world);
		peer_refuse(attempts[0].peer, errors[i].error);
		world_run(&world);
		expect_unconnected(errors[i].reason);
	}
}
END_TEST

/* ---- several ---- */

static void expect_attempts(unsigned n, const uint32_t *at_ms)
{
	EXPECT(attempts_n == n);
	for (unsigned i = 0; i < n; i++)
		EXPECT_MSG(attempts[i].host == i + 1 && attempts[i].at_ms == at_ms[i],
			   "attempt %u at %u ms", i + 1, attempts[i].at_ms);
	for (unsigned i = 0; i + 1 < n; i++)
		EXPECT(attempts[i].peer->closed);
}

START_TEST(the_last_of_three_answers)
{
	begin();
	connect_to_three(REFUSES, SILENT, TAKES);
	world_wait(&world, 1499);
	ck_assert_uint_eq(attempts_n, 2);
	world_wait(&world, 1);
	expect_attempts(3, (const uint32_t[]){0, 0, 1500});
	expect_opened();
	begin();
	connect_to_three(SILENT, RESETS, LATER);
	world_wait(&world, 2999);
	expect_attempts(3, (const uint32_t[]){0, 1000, 1000});
	peer_answer(attempts[2].peer);
	world_run(&world);
	expect_opened();
	begin();
	connect_to_three(TAKES, SILENT, SILENT);
	expect_attempts(1, (const uint32_t[]){0});
	expect_opened();
}
END_TEST

START_TEST(the_last_one_says_why)
{
	begin();
	connect_to_three(SILENT, SILENT, SILENT);
	world_wait(&world, 2999);
	expect_attempts(3, (const uint32_t[]){0, 1000, 2000});
	ck_assert_uint_eq(owner.unconnected, 0);
	world_wait(&world, 1);
	expect_unconnected(CLOSE_connect_timeout);
	begin();
	connect_to_three(SILENT, REFUSES, UNREACHABLE);
	world_wait(&world, 1000);
	expect_unconnected(CLOSE_connect_unreachable);
	begin();
	connect_to_three(UNREACHABLE, RESETS, REFUSES);
	expect_attempts(3, (const uint32_t[]){0, 0, 0});
	expect_unconnected(CLOSE_connect_refused);
}
END_TEST

/* Not at once: the kernel has told much about the first two when the third's turn comes. */
START_TEST(each_begins_anew)
{
	begin();
	connect_to_three(LATER, LATER, LATER);
	for (int i = 0; i < 2; i++) {
		peer_refuse(attempts[i].peer, EHOSTUNREACH);
		world_run(&world);
	}
	expect_attempts(3, (const uint32_t[]){0, 0, 0});
	peer_answer(attempts[2].peer);
	world_run(&world);
	expect_opened();
	/* And one that is up at once. */
	begin();
	answers[1] = LATER;
	ck_assert_int_eq(connect_to_all((const struct address[]){at(1), at_unix()}, 2, 1000), 0);
	world_run(&world);
	peer_refuse(attempts[0].peer, EHOSTUNREACH);
	world_run(&world);
	expect_opened();
}
END_TEST

/* Without the time to try the others, it is the time that was too short. */
START_TEST(time_is_up_before_all_were_tried)
{
	begin();
	connect_to_three(SILENT, TAKES, TAKES);
	kernel_advance(3000);
	world_run(&world);
	world_wait(&world, 1);
	expect_attempts(1, (const uint32_t[]){0});
	expect_unconnected(CLOSE_connect_timeout);
	/* Nor to try any: the process stood still in between. */
	begin();
	answers[1] = answers[2] = SILENT;
	ck_assert_int_eq(connect_to_all((const struct address[]){at(1), at(2)}, 2, 1000), 0);
	kernel_advance(2000);
	world_run(&world);
	expect_attempts(1, (const uint32_t[]){2000});
	expect_unconnected(CLOSE_connect_timeout);
}
END_TEST

START_TEST(as_many_addresses_as_there_may_be)
{
	struct address list[CONN_ADDRESSES_MAX];

	begin();
	for (unsigned i = 0; i < CONN_ADDRESSES_MAX; i++) {
		list[i] = i == CONN_ADDRESSES_MAX - 1 ? at_unix() : at(i + 1);
		answers[i + 1] = REFUSES;
	}
	ck_assert_int_eq(connect_to_all(list, CONN_ADDRESSES_MAX, 10), 0);
	world_run(&world);
	ck_assert_uint_eq(attempts_n, CONN_ADDRESSES_MAX);
	expect_opened();
}
END_TEST

SUITE("sim_connect", {"one that is taken", one_that_is_taken, 10},
      {"one that is taken later", one_that_is_taken_later, 10, 2},
      {"one that is refused", one_that_is_refused, 10},
      {"one that is never answered", one_that_is_never_answered, 10},
      {"one that is reset at once", one_that_is_reset_at_once, 10},
      {"one that speaks at once", one_that_speaks_at_once, 10},
      {"a unix socket is up at once", a_unix_socket_is_up_at_once, 10},
      {"it does not talk to itself", it_does_not_talk_to_itself, 10},
      {"each error has its reason", each_error_has_its_reason, 10},
      {"the last of three answers", the_last_of_three_answers, 10},
      {"the last one says why", the_last_one_says_why, 10},
      {"each begins anew", each_begins_anew, 10},
      {"time is up before all were tried", time_is_up_before_all_were_tried, 10},
      {"as many addresses as there may be", as_many_addresses_as_there_may_be, 10})
