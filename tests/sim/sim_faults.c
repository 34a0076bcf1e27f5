/*
 * Every error that a call may give, at every call: the loop goes on, the other connections
 * lose nothing, everything is freed, and the close reason makes sense. Then buffers that run out.
 *
 * One scenario is run once without a fault, to count its calls, and then again for each
 * call and each of its errors. Errors that only a bug in weir can cause (EBADF, EFAULT,
 * EINVAL of epoll_wait) are not among them: those may end in a CHECK. It can't see side effects of
 * a failing call in a real kernel.
 */
#include <stdio.h>

#include "reactor/udp/limiter.h"
#include "reactor/loop/listener.h"
#include "reactor/base/log.h"
#include "tests/support/sim/kernel.h"

static struct world world;

/* ---- the scenario ---- */

enum { ECHO, LINES, TOO_LONG, RESETS, FRAMES, GREETED, SLOW, HALVES, CLIENTS };

static struct customer {
	const char *protocol;
	char bytes[6000]; /* what it says, in four parts */
	size_t n, back_n; /* how much that is, and how much of it comes back */
	size_t space;
	struct peer *peer;
	size_t said;
	char got[8000];
	size_t got_n;
} customers[CLIENTS];

static struct service services[CLIENTS];
static struct listener listeners[CLIENTS];
static uint64_t baseline_closed[CLOSE_REASONS_MAX];

static bool room(struct listener *listener)
{
	(void)listener;
	return !conn_table_full(&world.table);
}

static void accepted(struct listener *listener, int fd, const struct sockaddr *peer)
{
	conn_open(&services[listener - listeners], fd, CONN_ACCEPTED, peer);
}

static const struct listener_owner owner = {.room = room, .accepted = accepted};

static void say(struct customer *client, const char *protocol, size_t space, size_t n)
{
	client->protocol = protocol;
	client->space = space;
	client->n = client->back_n = n;
	for (size_t i = 0; i < n; i++)
		client->bytes[i] = (char)('a' + i * 7 % 23);
}

static void set_up_clients(void)
{
	memset(customers, 0, sizeof customers);
	say(&customers[ECHO], "echo", PEER_SPACE, 400);
	say(&customers[LINES], "line", 150, 3000);
	for (size_t i = 99; i < 3000; i += 100)
		customers[LINES].bytes[i] = '\n';
	say(&customers[TOO_LONG], "line", 300, 4000); /* 11 lines of 100, then one without end */
	for (size_t i = 99; i < 1100; i += 100)
		customers[TOO_LONG].bytes[i] = '\n';
	customers[TOO_LONG].back_n = 1100;
	say(&customers[RESETS], "echo", 100, 400);
	say(&customers[FRAMES], "frame", 500, 2000);
	for (size_t i = 0; i < 2000; i += 500)
		memcpy(customers[FRAMES].bytes + i, "\0\0\1\360", 4);
	say(&customers[GREETED], "increment", PEER_SPACE, 4);
	customers[GREETED].back_n = 1; /* the greeting */
	say(&customers[SLOW], "echo", 1, 40);
	say(&customers[HALVES], "line", PEER_SPACE, 400); /* held bytes, and more: writev */
	customers[HALVES].bytes[150] = customers[HALVES].bytes[399] = '\n';
}

/* One step of a client: it takes a little, and says a quarter of what it has to say. */
static void client_step(int i, int step)
{
	struct customer *client = &customers[i];
	struct peer *peer = client->peer;
	size_t part = client->n / 4, room_left;

	room_left = sizeof client->got - client->got_n;
	client->got_n +=
	    peer_receive(peer, client->got + client->got_n, room_left < 400 ? room_left : 400);
	if (peer->fd < 0 || step % 2)
		return;
	if (client->said < client->n) {
		peer_send(peer, client->bytes + client->said, part);
		client->said += part;
		if (i == RESETS && client->said == client->n)
			peer_reset(peer);
	} else if (!peer->finished && i != TOO_LONG) {
		peer_finish(peer);
	} else if (i == TOO_LONG && peer->shut && !peer->out.n) {
		peer_finish(peer);
	}
}

static bool over(int step)
{
	bool all = step > 20;

	for (int i = 0; i < CLIENTS; i++)
		all = all && customers[i].peer->closed && !customers[i].peer->out.n;
	return all;
}

static void run_scenario(const char *how)
{
	const char *label = how;
	int step;

	for (int i = 0; i < CLIENTS; i++) {
		services[i] = (struct service){.protocol = protocol_find(customers[i].protocol),
					       .table = &world.table,
					       .settings = {600}};
		if (i == TOO_LONG || i == LINES)
			services[i].settings[0] = 100;
		customers[i].peer = peer_connect(listeners[i].source.fd);
		customers[i].peer->space = customers[i].space;
		customers[i].peer->window = i == TOO_LONG ? 50 : SIZE_MAX;
	}
	for (step = 0; !over(step); step++) {
		EXPECT_MSG(step < 3000, "%s: no end of it", label);
		for (int i = 0; i < CLIENTS; i++)
			client_step(i, step);
		loop_pass(&world.loop, 5);
	}
}

static void run_with_fault(enum kernel_call call, unsigned long k, int error, const char *how)
{
	struct conn_limits limits = {WORLD_LIMITS, .write_ms = 3000};

	set_up_clients();
	world_open(&world, "echo", limits, BUFFERS_MIN);
	for (int i = 0; i < CLIENTS; i++) {
		listener_init(&listeners[i], kernel_listener(), &owner, &world.stats);
		listeners[i].reject = call == KERNEL_eventfd; /* keeps a spare */
	}
	if (error)
		kernel_fail(call, k, error);
	for (int i = 0; i < CLIENTS; i++) /* if it fails, which it reports, it is tried again */
		if (listener_resume(&world.loop, &listeners[i]))
			EXPECT(listener_resume(&world.loop, &listeners[i]) == 0);
	run_scenario(how);
	for (int i = 0; i < CLIENTS; i++)
		listener_close(&world.loop, &listeners[i]);
	EXPECT_MSG(world.stats.accepted == CLIENTS, "%s: %llu accepted", how,
		   (unsigned long long)world.stats.accepted);
	EXPECT_MSG(world_closed(&world) == CLIENTS, "%s: not as many closed as accepted", how);
}

/* ---- the effects that a fault may have ---- */

static bool is_one_of(int error, const int *errors)
{
	for (; *errors; errors++)
		if (*errors == error)
			return true;
	return false;
}

static enum close_reason reason_for(enum kernel_call call, int error)
{
	static const int resets[] = {EPIPE, ECONNRESET, 0};
	static const int losses[] = {ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, 0};
	static const int passing_writes[] = {ENOBUFS, ENOMEM, 0};

	if (error == EINTR || error == EAGAIN)
		return CLOSE_NONE;
	switch (call) {
	case KERNEL_write:
	case KERNEL_writev:
		if (is_one_of(error, passing_writes))
			return CLOSE_NONE;
		break;
	case KERNEL_read:
		break;
	case KERNEL_epoll_ctl:
		return CLOSE_error;
	default:
		return CLOSE_NONE;
	}
	return is_one_of(error, resets)	  ? CLOSE_reset
	       : is_one_of(error, losses) ? CLOSE_lost
					  : CLOSE_error;
}

static void check_client(int i, bool hit, const char *how)
{
	struct customer *client = &customers[i];
	const char *wanted = i == GREETED ? "*" : client->bytes;

	EXPECT_MSG(client->got_n <= client->back_n &&
		       memcmp(client->got, wanted, client->got_n) == 0,
		   "%s: client %d got other bytes", how, i);
	if (!hit && i != RESETS)
		EXPECT_MSG(client->got_n == client->back_n, "%s: client %d got %zu of %zu bytes",
			   how, i, client->got_n, client->back_n);
}

/* Expects as many closes for each reason as without the fault, except that one may have another
 * reason. */
static void check_reasons(enum close_reason reason, bool may_move, const char *how)
{
	for (int i = 1; i < CLOSE_REASONS_MAX; i++) {
		uint64_t closed = world.stats.closed[i], before = baseline_closed[i];
		bool fine = closed == before || (may_move && closed + 1 == before) ||
			    (may_move && i == (int)reason && closed == before + 1);

		EXPECT_MSG(fine, "%s: %llu closed for %s, %llu without", how,
			   (unsigned long long)closed, close_reason_name((enum close_reason)i),
			   (unsigned long long)before);
	}
}

static void try_fault(enum kernel_call call, unsigned long k, int error)
{
	enum close_reason reason = reason_for(call, error);
	/* A fault while it lingers may cost what is still owed at its end, and nothing else. */
	bool may_lose = reason || call == KERNEL_ioctl || call == KERNEL_shutdown;
	char how[100];
	bool hit;

	(void)snprintf(how, sizeof how, "%s %lu, %s", kernel_call_names[call], k, strerror(error));
	run_with_fault(call, k, error, how);
	EXPECT_MSG(kernel.failed, "%s: never came to pass", how);
	for (int i = 0; i < CLIENTS; i++) {
		hit = customers[i].peer == kernel.failed_peer;
		check_client(i, hit && may_lose, how);
	}
	check_reasons(reason, reason != CLOSE_NONE && kernel.failed_peer, how);
	world_close(&world);
}

static void try_call(enum kernel_call call, const int *errors)
{
	unsigned long n, runs = 0;

	log_open(LOG_ERROR, LOG_LOGFMT); /* no warning for each failed connection */
	run_with_fault(call, 0, 0, "no fault");
	for (int i = 0; i < CLIENTS; i++)
		check_client(i, false, "no fault");
	memcpy(baseline_closed, world.stats.closed, sizeof baseline_closed);
	n = kernel.calls[call];
	world_close(&world);
	EXPECT_MSG(n > 0, "the scenario has no %s", kernel_call_names[call]);
	for (; *errors; errors++)
		for (unsigned long k = 1; k <= n; k++, runs++)
			try_fault(call, k, *errors);
	(void)printf("FIGURE faults of %s: %lu runs\n", kernel_call_names[call], runs);
	(void)fflush(stdout);
}

#define TRY(name, ...)                                                                             \
	START_TEST(name##_may_fail)                                                                \
	{                                                                                          \
		try_call(KERNEL_##name, (const int[]){__VA_ARGS__, 0});                            \
	}                                                                                          \
	END_TEST

TRY(read, EINTR, EAGAIN, ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, EIO,
    ENOMEM, ENOBUFS, ENOTCONN)
TRY(write, EINTR, EAGAIN, ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EIO, ENOMEM,
    ENOBUFS, EACCES, ENOTCONN)
TRY(writev, EINTR, EAGAIN, ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EIO, ENOMEM,
    ENOBUFS, EACCES, ENOTCONN)
TRY(epoll_wait, EINTR)
TRY(accept4, EINTR, EAGAIN, ECONNABORTED, EMFILE, ENFILE, ENOMEM, ENOBUFS, EPROTO, ENETDOWN,
    ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, EPERM, ETIMEDOUT)
TRY(getsockopt, ENOMEM, ENOBUFS, ENOTCONN)
TRY(ioctl, EINVAL, ENOTTY)
TRY(shutdown, ENOTCONN)
TRY(close, EINTR, EIO)
TRY(eventfd, EMFILE, ENFILE, ENOMEM, ENODEV)
TRY(epoll_ctl, ENOMEM, ENOSPC, EPERM)

/* ---- epoll takes no more ---- */

#define NEWCOMERS 40

/* As if another process of this user had used up its epoll watches. One newcomer in CONN_RETRY_US
 * finds out; the others wait in the backlog, and are let in once there is room. */
START_TEST(if_epoll_takes_no_more_newcomers_wait)
{
	struct listener *listener = &listeners[0];
	struct peer *before, *peers[NEWCOMERS];
	uint64_t lost;

	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	services[0] = (struct service){.protocol = protocol_find("echo"), .table = &world.table};
	listener_init(listener, kernel_listener(), &owner, &world.stats);
	ck_assert_int_eq(listener_resume(&world.loop, listener), 0);
	before = peer_connect(listener->source.fd);
	world_run(&world);
	kernel.watches_used_up = true;
	for (int i = 0; i < NEWCOMERS; i++)
		peers[i] = peer_connect(listener->source.fd);
	world_wait(&world, 4 * CONN_RETRY_US / 1000);
	lost = world.stats.closed[CLOSE_error];
	ck_assert_uint_ge(lost, 1);
	ck_assert_uint_le(lost, 5);
	kernel.watches_used_up = false;
	world_wait(&world, 2 * CONN_RETRY_US / 1000);
	world_run(&world);
	ck_assert_uint_eq(world.stats.connections, 1 + NEWCOMERS - lost);
	peer_text(before, "still here");
	peer_text(peers[NEWCOMERS - 1], "here now");
	world_run(&world);
	peer_expect(before, "still here", 10);
	peer_expect(peers[NEWCOMERS - 1], "here now", 8);
	conn_table_abort(&world.table, CLOSE_stopped);
	world_run(&world);
	listener_close(&world.loop, listener);
	world_close(&world);
}
END_TEST

/* ---- buffers used up ---- */

#define HOARDERS 12
#define HOARD	 (120u << 10)

static struct peer *hoarders[HOARDERS];
static unsigned char hoard[HOARD], got[HOARD];

/* Clients come 10 ms apart, send and do not read, until no buffers are left for them. */
static void use_up_buffers(void)
{
	uint64_t seed = 77;

	for (size_t i = 0; i < HOARD; i++)
		hoard[i] = (unsigned char)sim_random(&seed);
	world_open(&world, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	for (int i = 0; i < HOARDERS; i++) {
		hoarders[i] = world_connect(&world);
		hoarders[i]->space = 1000;
		hoarders[i]->tag = i;
		peer_send(hoarders[i], hoard, HOARD);
		world_run(&world);
		world_wait(&world, 10);
	}
	ck_assert_uint_gt(world.stats.buffer_waits, 0);
	ck_assert_uint_gt(world.table.awaiting_buffers, 0);
}

static void reads_everything(struct peer *peer)
{
	size_t n = 0;

	while (n < HOARD) {
		size_t before = n;

		world_run(&world);
		n += peer_receive(peer, got + n, HOARD - n);
		EXPECT_MSG(n > before, "hoarder %d: stands still at %zu", peer->tag, n);
	}
	ck_assert_int_eq(memcmp(got, hoard, HOARD), 0);
}

static void hoarders_end(void)
{
	for (int i = 0; i < HOARDERS; i++)
		if (!hoarders[i]->closed)
			peer_finish(hoarders[i]);
	world_run(&world);
	world_close(&world);
}

/* One connection makes progress, for five times as long as the limit if nothing does. */
START_TEST(beside_clients_that_do_not_read_one_that_does_loses_nothing)
{
	struct peer *reader;

	use_up_buffers();
	ck_assert_uint_le(world.stats.chunks_max, BUFFERS_MIN / CHUNK_SIZE);
	reader = world_connect(&world);
	for (int i = 0; i < 25; i++) {
		peer_send(reader, hoard, 5000);
		world_run(&world);
		peer_expect(reader, hoard, 5000);
		world_wait(&world, 200);
	}
	ck_assert_uint_eq(world_closed(&world), 0);
	/* Nor do the others lose anything, when they begin to read at last, one after the other. */
	for (int i = 0; i < HOARDERS; i++)
		reads_everything(hoarders[i]);
	ck_assert_uint_eq(world.table.awaiting_buffers, 0);
	peer_finish(reader);
	hoarders_end();
	ck_assert_uint_eq(world.stats.closed[CLOSE_eof], HOARDERS + 1);
}
END_TEST

START_TEST(if_nothing_moves_the_longest_stalled_goes)
{
	uint32_t begin_ms;

	use_up_buffers();
	begin_ms = world.loop.now_ms;
	while (!world_closed(&world)) {
		ck_assert_uint_le(world.loop.now_ms - begin_ms, 2000);
		loop_pass(&world.loop, -1);
	}
	ck_assert_uint_ge(world.loop.now_ms - begin_ms, 900);
	ck_assert_uint_eq(world.stats.closed[CLOSE_no_buffers], 1);
	ck_assert(hoarders[0]->closed);
	/* The others get its buffers, as far as these go. */
	world_run(&world);
	for (int i = 1; i < HOARDERS; i++)
		reads_everything(hoarders[i]);
	hoarders_end();
	ck_assert_uint_eq(world.stats.closed[CLOSE_no_buffers], 1);
}
END_TEST

/* A connection is closed when buffers have been short, and nothing has moved, for a second. That
 * second begins with this shortage, even if there was one before. */
START_TEST(a_shortage_that_has_passed_does_not_count)
{
	struct peer *late;
	uint32_t begin_ms;

	use_up_buffers();
	for (int i = 0; i < HOARDERS; i++)
		reads_everything(hoarders[i]);
	world_run(&world);
	ck_assert_uint_eq(world.table.awaiting_buffers, 0);
	world_wait(&world, 600);
	begin_ms = world.loop.now_ms;
	for (int i = 0; i < HOARDERS; i++)
		peer_send(hoarders[i], hoard, HOARD);
	world_run(&world);
	ck_assert_uint_gt(world.table.awaiting_buffers, 0);
	while (!world_closed(&world))
		loop_pass(&world.loop, -1);
	ck_assert_uint_ge(world.loop.now_ms - begin_ms, 900);
	late = world_connect(&world);
	peer_send(late, hoard, 10);
	world_run(&world);
	peer_expect(late, hoard, 10);
	conn_table_abort(&world.table, CLOSE_stopped);
	world_run(&world);
	world_close(&world);
}
END_TEST

/* Half lines take buffers, too: their connections are closed like others. */
START_TEST(half_lines_alone_can_use_buffers_up)
{
	struct peer *peers[64];
	int n = 0;

	memset(hoard, 'x', sizeof hoard);
	world_open(&world, "line", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	for (; n < 64 && !world.table.awaiting_buffers; n++) {
		peers[n] = world_connect(&world);
		peer_send(peers[n], hoard, 60000);
		world_run(&world);
	}
	ck_assert_uint_gt(world.table.awaiting_buffers, 0);
	world_wait(&world, 2500);
	ck_assert_uint_gt(world.stats.closed[CLOSE_no_buffers], 0);
	ck_assert_int_lt((int)world.stats.closed[CLOSE_no_buffers], n);
	ck_assert(!peers[n - 1]->closed);
	peer_text(peers[n - 1], "\n");
	world_run(&world);
	ck_assert_uint_eq(peers[n - 1]->out.n, 60001);
	conn_table_abort(&world.table, CLOSE_stopped);
	world_run(&world);
	world_close(&world);
}
END_TEST

/* ---- early in a machine's life ---- */

static ssize_t no_entropy_yet(void *bytes, size_t n, unsigned int flags)
{
	(void)bytes, (void)n;
	ck_assert_msg(flags & GRND_NONBLOCK, "it waits until there is some");
	errno = EAGAIN;
	return -1;
}

/* Nothing may wait for entropy: a master may have to make a limiter on its loop. */
START_TEST(a_seed_is_not_waited_for)
{
	struct per_ip clients;
	struct limiter limiter;

	sys_kernel.getrandom = no_entropy_yet;
	ck_assert_int_eq(per_ip_open(&clients, 100, 100, 1), 0);
	ck_assert_uint_ne(clients.seed, 0); /* taken from the clock */
	per_ip_close(&clients);
	ck_assert_int_eq(limiter_open(&limiter, 1), 0);
	ck_assert_uint_ne(limiter.seed, 0);
	limiter_close(&limiter);
}
END_TEST

SUITE("sim_faults", {"read may fail", read_may_fail, 60}, {"write may fail", write_may_fail, 60},
      {"writev may fail", writev_may_fail, 60}, {"epoll_wait may fail", epoll_wait_may_fail, 60},
      {"epoll_ctl may fail", epoll_ctl_may_fail, 60}, {"accept4 may fail", accept4_may_fail, 60},
      {"getsockopt may fail", getsockopt_may_fail, 60}, {"ioctl may fail", ioctl_may_fail, 60},
      {"shutdown may fail", shutdown_may_fail, 60}, {"close may fail", close_may_fail, 60},
      {"eventfd may fail", eventfd_may_fail, 60},
      {"if epoll takes no more, newcomers wait", if_epoll_takes_no_more_newcomers_wait, 30},
      {"beside clients that do not read, one that does loses nothing",
       beside_clients_that_do_not_read_one_that_does_loses_nothing, 30},
      {"if nothing moves the longest stalled goes", if_nothing_moves_the_longest_stalled_goes, 30},
      {"a shortage that has passed does not count", a_shortage_that_has_passed_does_not_count, 30},
      {"a seed is not waited for", a_seed_is_not_waited_for, 10},
      {"half lines alone can use buffers up", half_lines_alone_can_use_buffers_up, 30})
