/*
 * A listener on a simulated kernel: how often it calls accept4, when it leaves connections
 * waiting, and how it goes on.
 *
 * It can't see which of several workers a real kernel wakes for a shared socket.
 */
#include "reactor/loop/listener.h"

#include <netinet/in.h>

#include "tests/support/sim/kernel.h"

#define WAITING_MAX 400

static struct {
	struct loop loop;
	struct stats stats;
	struct listener listener;
	int fds[WAITING_MAX];
	size_t accepted_n, batches, room; /* room: how many more the owner takes */
	bool peer_given;
} t;

static bool has_room(struct listener *listener)
{
	ck_assert_ptr_eq(listener, &t.listener);
	return t.room > 0;
}

static void on_accepted(struct listener *listener, int fd, const struct sockaddr *peer)
{
	ck_assert_ptr_eq(listener, &t.listener);
	ck_assert_uint_gt(t.room, 0);
	t.room--;
	t.fds[t.accepted_n++] = fd;
	t.peer_given = peer && peer->sa_family == AF_INET;
}

static void on_batch_done(struct listener *listener)
{
	(void)listener;
	t.batches++;
}

static const struct listener_owner owner = {
    .room = has_room, .accepted = on_accepted, .batch_done = on_batch_done};

static void begin(bool shared, bool reject)
{
	kernel_begin();
	memset(&t, 0, sizeof t);
	t.room = SIZE_MAX;
	ck_assert_int_eq(loop_open(&t.loop, &t.stats, 0), 0);
	listener_init(&t.listener, kernel_listener(), &owner, &t.stats);
	t.listener.shared = shared;
	t.listener.reject = reject;
	ck_assert_int_eq(listener_resume(&t.loop, &t.listener), 0);
	loop_pass(&t.loop, 0);
	loop_pass(&t.loop, 0);
	kernel_count_anew();
}

static void end(void)
{
	listener_close(&t.loop, &t.listener);
	listener_close(&t.loop, &t.listener); /* the second call does nothing */
	for (size_t i = 0; i < t.accepted_n; i++)
		(void)sys_close(t.fds[i]);
	loop_close(&t.loop);
	kernel_end();
}

static void connect_many(size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)peer_connect(t.listener.source.fd);
}

static size_t waiting(void)
{
	return peers_waiting(t.listener.source.fd);
}

static uint64_t errors_counted(void)
{
	uint64_t n = 0;

	for (size_t i = 0; i < ACCEPT_ERRORS; i++)
		n += t.stats.accept_errors[i];
	return n;
}

/* Expects that one error was counted, under its own name. */
static void expect_one_error(int error)
{
	ck_assert_uint_eq(errors_counted(), 1);
	ck_assert_uint_eq(t.stats.accept_errors[accept_error_of(error)], 1);
	ck_assert_int_ne(accept_error_of(error), ACCEPT_OTHER);
}

START_TEST(a_lone_connection_is_one_accept)
{
	begin(false, false);
	for (int i = 0; i < 20; i++) {
		kernel_count_anew();
		connect_many(1);
		loop_pass(&t.loop, -1);
		loop_pass(&t.loop, -1); /* it sleeps: nothing is left */
		ck_assert_int_eq(kernel.wait_asked, -1);
		ck_assert_uint_eq(kernel.calls[KERNEL_accept4], 1);
		ck_assert_uint_eq(kernel_calls_all(), 3);
	}
	ck_assert_uint_eq(t.accepted_n, 20);
	ck_assert_uint_eq(t.batches, 20);
	ck_assert_uint_eq(errors_counted(), 0);
	end();
}
END_TEST

START_TEST(the_batch_doubles_while_it_is_ready)
{
	static const size_t taken[] = {1, 1, 2, 4, 8, 16, 32, 64, 64, 64};

	begin(false, false);
	connect_many(300);
	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
		size_t before = t.accepted_n;

		loop_pass(&t.loop, 0);
		ck_assert_uint_eq(t.accepted_n - before, taken[i]);
	}
	/* 44 are left; the 45th accept finds nothing, and the batch is small again. */
	kernel_count_anew();
	loop_pass(&t.loop, 0);
	ck_assert_uint_eq(kernel.calls[KERNEL_accept4], 45);
	loop_pass(&t.loop, -1);
	ck_assert_uint_eq(t.accepted_n, 300);
	connect_many(3);
	kernel_count_anew();
	loop_pass(&t.loop, 0);
	ck_assert_uint_eq(kernel.calls[KERNEL_accept4], 1);
	end();
}
END_TEST

START_TEST(a_shared_one_takes_few_and_goes_to_the_end_of_the_queue)
{
	begin(true, false);
	connect_many(40);
	for (int i = 0; i < 20 && waiting(); i++) {
		size_t before = t.accepted_n;

		loop_pass(&t.loop, 0);
		ck_assert_uint_le(t.accepted_n - before, LISTENER_SHARED_BATCH_MAX);
	}
	ck_assert_uint_eq(t.accepted_n, 40);
	/* DEL and ADD, because MOD is not allowed with EPOLLEXCLUSIVE: now and then, not each time.
	 */
	ck_assert_uint_ge(kernel.calls[KERNEL_epoll_ctl], 8);
	ck_assert_uint_le(kernel.calls[KERNEL_epoll_ctl], 20);
	/* A registration that fails is done again later. */
	connect_many(4);
	kernel_fail(KERNEL_epoll_ctl, 2, ENOMEM);
	for (int i = 0; i < 20; i++)
		loop_pass(&t.loop, 20);
	ck_assert(kernel.failed);
	connect_many(5);
	for (int i = 0; i < 20; i++)
		loop_pass(&t.loop, 20);
	ck_assert_uint_eq(t.accepted_n, 49);
	end();
}
END_TEST

/* Expects a pause: until the next try no call is made except to sleep. */
static void expect_pause(void)
{
	uint32_t begin_ms = t.loop.now_ms;
	size_t before = t.accepted_n;

	kernel_count_anew();
	loop_pass(&t.loop, 10);
	ck_assert_int_gt(kernel.wait_asked, 0);
	while (t.loop.now_ms - begin_ms < LISTENER_RETRY_MS - 2)
		loop_pass(&t.loop, (int)(LISTENER_RETRY_MS - 2 - (t.loop.now_ms - begin_ms)));
	ck_assert_uint_eq(kernel.calls[KERNEL_accept4], 0);
	ck_assert_uint_le(kernel.calls[KERNEL_epoll_wait], 5);
	ck_assert_uint_eq(t.accepted_n, before);
}

START_TEST(without_room_they_wait_until_there_is)
{
	begin(false, false);
	t.room = 2;
	connect_many(5);
	for (int i = 0; i < 4; i++)
		loop_pass(&t.loop, 0);
	ck_assert_uint_eq(t.accepted_n, 2);
	ck_assert_uint_eq(t.stats.accept_pauses, 1);
	expect_pause();
	t.room = 1;
	listener_has_room(&t.loop, &t.listener);
	listener_has_room(&t.loop, &t.listener);
	loop_pass(&t.loop, -1);
	ck_assert_uint_eq(t.accepted_n, 3);
	loop_pass(&t.loop, 0);
	expect_pause();
	/* If it is not told that there is room, it tries again by itself. */
	t.room = 10;
	for (int i = 0; i < 10; i++)
		loop_pass(&t.loop, 20);
	ck_assert_uint_eq(t.accepted_n, 5);
	connect_many(1);
	loop_pass(&t.loop, -1);
	ck_assert_uint_eq(t.accepted_n, 6);
	/* listener_has_room() without a pause: no turn, no call. */
	kernel_count_anew();
	listener_has_room(&t.loop, &t.listener);
	ck_assert_ptr_null(t.loop.first);
	end();
}
END_TEST

START_TEST(without_descriptors_or_memory_it_pauses_and_does_not_spin)
{
	static const int errors[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS};

	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		begin(false, false);
		connect_many(3);
		kernel_fail(KERNEL_accept4, 0, errors[i]);
		loop_pass(&t.loop, 0);
		expect_one_error(errors[i]);
		ck_assert_uint_eq(t.stats.accept_pauses, 1);
		expect_pause();
		/* For ten seconds: 20 tries a second. */
		kernel_count_anew();
		for (int k = 0; k < 1000; k++)
			loop_pass(&t.loop, 10);
		ck_assert_uint_le(kernel.calls[KERNEL_accept4], 10000 / LISTENER_RETRY_MS);
		ck_assert_uint_ge(kernel.calls[KERNEL_accept4], 100);
		kernel_fail(KERNEL_accept4, 0, 0);
		for (int k = 0; k < 20; k++)
			loop_pass(&t.loop, 10);
		ck_assert_uint_eq(t.accepted_n, 3);
		end();
	}
}
END_TEST

START_TEST(reject_turns_away_those_above_the_limit)
{
	struct peer *peers[4];

	begin(false, true);
	t.room = 1;
	for (int i = 0; i < 4; i++)
		peers[i] = peer_connect(t.listener.source.fd);
	for (int i = 0; i < 4; i++)
		loop_pass(&t.loop, 0);
	ck_assert_uint_eq(t.accepted_n, 1);
	ck_assert(!peers[0]->closed && peers[1]->closed && peers[2]->closed && peers[3]->closed);
	ck_assert_uint_eq(t.stats.closed[CLOSE_overload], 3);
	ck_assert_uint_eq(t.stats.accepted, 3); /* the owner counts those that it takes */
	ck_assert_uint_eq(t.stats.accept_pauses, 0);
	end();
}
END_TEST

START_TEST(reject_turns_away_with_the_spare_descriptor)
{
	begin(false, true);
	connect_many(1);
	loop_pass(&t.loop, 0);
	kernel.descriptors_max = kernel.descriptors;
	connect_many(5);
	kernel_count_anew();
	for (int i = 0; i < 8; i++)
		loop_pass(&t.loop, 0);
	ck_assert_uint_eq(waiting(), 0);
	ck_assert_uint_eq(t.accepted_n, 1);
	ck_assert_uint_eq(t.stats.closed[CLOSE_overload], 5);
	ck_assert_uint_eq(kernel.descriptors, kernel.descriptors_max);
	ck_assert_int_ge(t.listener.spare, 0);
	/* If the spare is lost because somebody else took the descriptor: a pause, not a spin. */
	kernel_fail(KERNEL_eventfd, 0, EMFILE);
	connect_many(1);
	loop_pass(&t.loop, 0);
	kernel.descriptors_max = kernel.descriptors;
	connect_many(2);
	for (int i = 0; i < 3; i++)
		loop_pass(&t.loop, 0);
	ck_assert_uint_eq(waiting(), 2);
	expect_pause();
	/* When there is room it gets a spare again. */
	kernel_fail(KERNEL_eventfd, 0, 0);
	kernel.descriptors_max = 0;
	for (int i = 0; i < 20; i++)
		loop_pass(&t.loop, 20);
	ck_assert_uint_eq(t.accepted_n, 3);
	ck_assert_int_ge(t.listener.spare, 0);
	end();
}
END_TEST

START_TEST(what_is_wrong_with_one_does_not_stop_the_others)
{
	static const int errors[] = {EINTR,	  ECONNABORTED, ENETDOWN, EPROTO,
				     ENOPROTOOPT, EHOSTDOWN,	ENONET,	  EHOSTUNREACH,
				     EOPNOTSUPP,  ENETUNREACH,	EPERM};

	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		begin(false, false);
		connect_many(3);
		kernel_fail(KERNEL_accept4, 1, errors[i]);
		for (int k = 0; k < 4; k++)
			loop_pass(&t.loop, 0);
		ck_assert_uint_eq(t.accepted_n, 3);
		expect_one_error(errors[i]);
		ck_assert_uint_eq(t.stats.accept_pauses, 0);
		end();
	}
}
END_TEST

/* An error that is not in accept(2) is not known to be about a single connection only. */
START_TEST(an_unknown_error_is_another_and_pauses)
{
	begin(false, false);
	connect_many(3);
	kernel_fail(KERNEL_accept4, 1, EIO);
	loop_pass(&t.loop, 0);
	ck_assert_uint_eq(errors_counted(), 1);
	ck_assert_uint_eq(t.stats.accept_errors[ACCEPT_OTHER], 1);
	ck_assert_uint_eq(t.stats.accept_pauses, 1);
	end();
}
END_TEST

START_TEST(it_names_the_peer_only_to_those_who_want_to_know)
{
	begin(false, false);
	connect_many(1);
	loop_pass(&t.loop, 0);
	ck_assert(!t.peer_given);
	t.listener.wants_peer = true;
	connect_many(1);
	loop_pass(&t.loop, 0);
	ck_assert(t.peer_given);
	end();
}
END_TEST

START_TEST(stop_takes_what_waits)
{
	begin(false, true);
	connect_many(200);
	loop_pass(&t.loop, 0);
	/* It is queued at that moment, and has a deadline: neither may take effect after the end.
	 */
	loop_wake(&t.loop, &t.listener.source);
	loop_deadline(&t.loop, &t.listener.source, t.loop.now_ms + 5);
	listener_stop(&t.loop, &t.listener, false);
	for (int i = 0; i < 10 && t.listener.source.fd >= 0; i++)
		loop_pass(&t.loop, 0);
	ck_assert_uint_eq(t.accepted_n, 200);
	ck_assert_int_eq(t.listener.source.fd, -1);
	listener_has_room(&t.loop, &t.listener);
	kernel_count_anew();
	for (int i = 0; i < 10; i++)
		loop_pass(&t.loop, 20);
	ck_assert_uint_eq(kernel_calls_all(), 10);
	end();
}
END_TEST

START_TEST(stop_of_a_paused_one_takes_what_there_is_room_for)
{
	begin(false, false);
	t.room = 0;
	connect_many(5);
	loop_pass(&t.loop, 0);
	t.room = 2;
	listener_stop(&t.loop, &t.listener, false);
	loop_pass(&t.loop, 0);
	ck_assert_uint_eq(t.accepted_n, 2);
	ck_assert_int_ge(t.listener.source.fd, 0);
	t.room = 4; /* with room it takes what waited, and then closes */
	listener_has_room(&t.loop, &t.listener);
	for (int i = 0; i < 10 && t.listener.source.fd >= 0; i++)
		loop_pass(&t.loop, 0);
	ck_assert_uint_eq(t.accepted_n, 5);
	ck_assert_int_eq(t.listener.source.fd, -1);
	end();
}
END_TEST

static void use_up_descriptors(void)
{
	kernel.descriptors_max = kernel.descriptors;
}

/* accept4 returns EMFILE even if the queue is empty. */
START_TEST(stop_without_descriptors_ends_at_once_if_nobody_waits)
{
	for (int shared = 0; shared < 2; shared++) {
		begin(shared, false);
		use_up_descriptors();
		listener_stop(&t.loop, &t.listener, false);
		kernel_fail(KERNEL_poll, 0, ENOMEM); /* so it can't tell whether anybody waits */
		loop_pass(&t.loop, 0);
		ck_assert(kernel.failed);
		expect_pause();
		ck_assert_int_ge(t.listener.source.fd, 0);
		kernel_fail(KERNEL_poll, 0, 0);
		loop_pass(&t.loop, LISTENER_RETRY_MS);
		loop_pass(&t.loop, 0);
		ck_assert_int_eq(t.listener.source.fd, -1);
		end();
	}
}
END_TEST

START_TEST(stop_without_descriptors_waits_for_those_who_wait)
{
	begin(false, false);
	connect_many(1);
	loop_pass(&t.loop, 0);
	use_up_descriptors();
	connect_many(2);
	listener_stop(&t.loop, &t.listener, false);
	loop_pass(&t.loop, 0);
	expect_pause();
	ck_assert_int_ge(t.listener.source.fd, 0);
	kernel.descriptors_max += 2; /* for these two; none is left to accept at an empty queue */
	loop_pass(&t.loop, LISTENER_RETRY_MS);
	loop_pass(&t.loop, 0);
	ck_assert_uint_eq(t.accepted_n, 3);
	ck_assert_int_eq(t.listener.source.fd, -1);
	end();
}
END_TEST

SUITE("sim_listener", {"a lone connection is one accept", a_lone_connection_is_one_accept, 10},
      {"the batch doubles while it is ready", the_batch_doubles_while_it_is_ready, 10},
      {"a shared one takes few and goes to the end of the queue",
       a_shared_one_takes_few_and_goes_to_the_end_of_the_queue, 10},
      {"without room they wait until there is", without_room_they_wait_until_there_is, 10},
      {"without descriptors or memory it pauses and does not spin",
       without_descriptors_or_memory_it_pauses_and_does_not_spin, 10},
      {"reject turns away those above the limit", reject_turns_away_those_above_the_limit, 10},
      {"reject turns away with the spare descriptor", reject_turns_away_with_the_spare_descriptor,
       10},
      {"what is wrong with one does not stop the others",
       what_is_wrong_with_one_does_not_stop_the_others, 10},
      {"an unknown error is another, and pauses", an_unknown_error_is_another_and_pauses, 10},
      {"it names the peer only to those who want to know",
       it_names_the_peer_only_to_those_who_want_to_know, 10},
      {"stop takes what waits", stop_takes_what_waits, 10},
      {"stop of a paused one takes what there is room for",
       stop_of_a_paused_one_takes_what_there_is_room_for, 10},
      {"stop without descriptors ends at once if nobody waits",
       stop_without_descriptors_ends_at_once_if_nobody_waits, 10},
      {"stop without descriptors waits for those who wait",
       stop_without_descriptors_waits_for_those_who_wait, 10})
