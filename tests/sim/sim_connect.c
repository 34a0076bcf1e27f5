/*
 * Connections that we open, on a simulated kernel: one address and several, what each may answer,
 * when the next one's turn comes, every error at every call, and every end before it is up.
 *
 * The server connects to 10.0.0.K, where answers[K] is what happens, or to a unix socket, which
 * takes it at once. The owner is the test's protocol, which says hello, and writes down what it is
 * told.
 */
#include <arpa/inet.h>
#include <sys/un.h>

#include "reactor/base/log.h"
#include "reactor/stream/conn_connect.h"
#include "tests/support/sim/sim_move.h"

enum answer { REFUSES, SILENT, TAKES, LATER, RESETS, UNREACHABLE, ITSELF };

#define ATTEMPTS_MAX 32

static struct world world;
static struct service caller_service;
static enum answer answers[16];
static struct attempt {
	unsigned host;
	uint32_t at_ms;
	struct peer *peer;
} attempts[ATTEMPTS_MAX];
static unsigned attempts_n;
static uint64_t began_us;

/* ---- the owner ---- */

static struct {
	unsigned opened, closed, unconnected;
	enum close_reason why;
	size_t received;
	bool tries_again;
	int again; /* what that came to */
	struct conn *conn;
} owner;

static void caller_open(struct conn *conn)
{
	static const unsigned char none[CONN_STATE_BYTES];

	EXPECT(conn == owner.conn && memcmp(conn_state(conn), none, sizeof none) == 0);
	owner.opened++;
	conn_send(conn, "hello", 5);
}

static size_t caller_input(struct conn *conn, unsigned char *bytes, size_t n)
{
	(void)conn;
	(void)bytes;
	owner.received += n;
	return n;
}

static void caller_close(struct conn *conn)
{
	owner.closed++;
	owner.why = conn_reason(conn);
}

static struct address at(unsigned host);

static void caller_unconnected(struct conn *conn, enum close_reason why)
{
	EXPECT(conn == owner.conn);
	owner.unconnected++;
	owner.why = why;
	if (owner.tries_again)
		owner.again =
		    conn_connect(conn->service, &(struct address[]){at(1)}[0], 1, 1000, &conn);
}

static const struct protocol caller = {
    .name = "caller",
    .open = caller_open,
    .input = caller_input,
    .close = caller_close,
    .unconnected = caller_unconnected,
};

/* ---- the others ---- */

static struct address at(unsigned host)
{
	struct sockaddr_in ip4 = {.sin_family = AF_INET,
				  .sin_port = htons(80),
				  .sin_addr.s_addr = htonl(0x0a000000 + host)};
	struct address address = {.bytes = sizeof ip4};

	memcpy(&address.socket, &ip4, sizeof ip4);
	return address;
}

static struct address at_unix(void)
{
	const char *why;
	struct address address;

	EXPECT(address_parse(&address, "/run/other.sock", &why));
	return address;
}

static unsigned now_ms(void)
{
	return (unsigned)((kernel.now_us - began_us) / 1000);
}

static int on_connect(struct peer *peer, const struct sockaddr *address)
{
	const struct sockaddr_in *ip4 = (const void *)address;
	unsigned host = address->sa_family == AF_UNIX ? 0 : ntohl(ip4->sin_addr.s_addr) & 15;

	EXPECT(attempts_n < ATTEMPTS_MAX);
	attempts[attempts_n++] = (struct attempt){host, now_ms(), peer};
	if (!host)
		return 0;
	switch (answers[host]) {
	case REFUSES:
		return ECONNREFUSED;
	case UNREACHABLE:
		return ENETUNREACH;
	case TAKES:
		peer_answer(peer);
		break;
	case RESETS:
		peer_answer(peer);
		peer_reset(peer);
		break;
	default:
		break;
	}
	return EINPROGRESS;
}

static void begin_with(struct conn_limits limits)
{
	world_open(&world, "echo", limits, BUFFERS_MIN);
	memset(&owner, 0, sizeof owner);
	attempts_n = 0;
	kernel.on_connect = on_connect;
	began_us = kernel.now_us;
	caller_service = (struct service){
	    .protocol = &caller, .table = &world.table, .listener = SERVICE_NO_LISTENER};
}

static void begin(void)
{
	begin_with((struct conn_limits){WORLD_LIMITS});
}

/* The caller's list does not live for long. */
static int connect_to_all(const struct address *list, size_t n, uint32_t ms)
{
	struct address *copy = malloc(n * sizeof *copy);
	int error;

	EXPECT(copy);
	memcpy(copy, list, n * sizeof *copy);
	error = conn_connect(&caller_service, copy, n, ms, &owner.conn);
	memset(copy, 0xa5, n * sizeof *copy);
	free(copy);
	return error;
}

static void connect_to(unsigned host, uint32_t ms)
{
	struct address address = at(host);

	EXPECT(connect_to_all(&address, 1, ms) == 0);
	EXPECT(!owner.opened && !owner.unconnected); /* nothing is told before a turn */
	EXPECT(world.stats.connections == 1);
}

static void connect_to_three(enum answer first, enum answer second, enum answer third)
{
	const struct address list[] = {at(1), at(2), at(3)};

	answers[1] = first;
	answers[2] = second;
	answers[3] = third;
	EXPECT(connect_to_all(list, 3, 3000) == 0);
	world_run(&world);
}

static void expect_unconnected(enum close_reason why)
{
	EXPECT_MSG(owner.unconnected == 1 && owner.why == why, "told %u times, %s",
		   owner.unconnected, close_reason_name(owner.why));
	EXPECT(!owner.opened && !owner.closed);
	EXPECT(world.stats.closed[why] == 1 && world_closed(&world) == 1);
	EXPECT(world.stats.connect_failures == 1 && !world.stats.connected);
	world_close(&world);
}

/* It is up, and like any other. */
static void expect_opened(void)
{
	struct peer *peer = attempts[attempts_n - 1].peer;

	EXPECT(owner.opened == 1 && !owner.unconnected && !owner.closed);
	EXPECT(world.stats.connected == 1 && !world.stats.connect_failures);
	EXPECT(world.stats.chunks == 0);
	peer_expect(peer, "hello", 5);
	peer_text(peer, "bytes");
	world_run(&world);
	EXPECT(owner.received == 5);
	peer_finish(peer);
	world_run(&world);
	EXPECT(peer->closed && owner.closed == 1 && owner.why == CLOSE_eof);
	EXPECT(owner.opened == 1 && !owner.unconnected);
	world_close(&world);
}

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
	expect_opened();
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
		if (rights) { /* it is read, and closed, by calls that are not simulated */
			kernel.passes_rights = false;
			conn_abort(owner.conn, CLOSE_finished);
			world_run(&world);
			ck_assert_uint_eq(owner.closed, 1);
			world_close(&world);
		} else {
			expect_opened();
		}
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

/* ---- faults ---- */

/* The kernel was asked while we were stopped, and told nothing (EINTR). */
START_TEST(what_came_in_time_counts)
{
	begin();
	answers[1] = LATER;
	connect_to(1, 1000);
	world_run(&world);
	peer_answer(attempts[0].peer);
	kernel_advance(5000);
	kernel_fail(KERNEL_epoll_wait, 1, EINTR);
	world_pass(&world);
	ck_assert_uint_eq(owner.opened, 1);
	world_run(&world);
	expect_opened();
}
END_TEST

/* Whatever fails, it comes up or not, and is told once; nothing is left. */
static void run_with_fault(enum kernel_call call, unsigned k, int error, const struct address *last)
{
	const struct address list[] = {at(1), at(2), *last};

	begin();
	answers[1] = LATER;
	answers[2] = REFUSES;
	answers[3] = TAKES;
	EXPECT(connect_to_all(list, 3, 900) == 0);
	kernel_fail(call, k, error);
	world_run(&world);
	if (attempts_n && attempts[0].host == 1 && attempts[0].peer->unconnected)
		peer_refuse(attempts[0].peer, EHOSTUNREACH);
	world_wait(&world, 1000);
	kernel_fail(call, 0, 0);
	EXPECT_MSG(owner.opened + owner.unconnected == 1, "%s %u fails with %s: told %u, %u",
		   kernel_call_names[call], k, strerror(error), owner.opened, owner.unconnected);
	if (owner.opened && !owner.closed)
		conn_abort(owner.conn, CLOSE_finished);
	world_run(&world);
	EXPECT(owner.closed == owner.opened);
	EXPECT(world.stats.connected == owner.opened);
	EXPECT(world.stats.connect_failures == owner.unconnected);
	EXPECT(world_closed(&world) == 1);
	world_close(&world);
}

START_TEST(every_error_at_every_call)
{
	static const enum kernel_call calls[] = {
	    KERNEL_socket,     KERNEL_epoll_ctl,   KERNEL_setsockopt,
	    KERNEL_getsockopt, KERNEL_getsockname, KERNEL_getpeername,
	    KERNEL_close,      KERNEL_write,	   KERNEL_connect,
	};
	static const int errors[] = {
	    EMFILE, ENFILE,	   ENOMEM,     ENOBUFS,	  EACCES,      EPERM,	EAFNOSUPPORT,
	    ENOSPC, ECONNREFUSED,  ECONNRESET, ETIMEDOUT, EIO,	       EINVAL,	ENETUNREACH,
	    EAGAIN, EADDRNOTAVAIL, EINTR,      EALREADY,  EINPROGRESS, EISCONN, /* of connect(2) */
	};
	const struct address last[] = {at(3), at_unix()};
	unsigned came_up = 0, failed = 0;

	log_open(LOG_ERROR, LOG_LOGFMT);
	for (size_t call = 0; call < sizeof calls / sizeof *calls; call++)
		for (size_t error = 0; error < sizeof errors / sizeof *errors; error++) {
			if (calls[call] != KERNEL_connect && errors[error] == EINTR)
				break;
			for (unsigned k = 0; k <= 4; k++)
				for (int local = 0; local < 2; local++) {
					/* For ever, these would be tried for ever. */
					if (!k &&
					    (calls[call] == KERNEL_write || errors[error] == EINTR))
						continue;
					run_with_fault(calls[call], k, errors[error], &last[local]);
					came_up += owner.opened;
					failed += owner.unconnected;
				}
		}
	ck_assert_uint_gt(came_up, 100);
	ck_assert_uint_gt(failed, 100);
}
END_TEST

/* ---- ends before it is up ---- */

START_TEST(its_owner_ends_it)
{
	for (int turns = 0; turns < 2; turns++) {
		begin();
		answers[1] = SILENT;
		connect_to(1, 1000);
		if (turns)
			world_run(&world);
		conn_abort(owner.conn, CLOSE_finished);
		ck_assert_uint_eq(owner.unconnected, 1); /* and at once */
		conn_abort(owner.conn, CLOSE_reset);
		world_run(&world);
		ck_assert_uint_eq(attempts_n, (unsigned)turns);
		expect_unconnected(CLOSE_finished);
	}
}
END_TEST

START_TEST(a_drain_ends_it)
{
	struct address address = at(1);

	for (int turns = 0; turns < 2; turns++) {
		begin();
		answers[1] = SILENT;
		connect_to(1, 1000);
		if (turns)
			world_run(&world);
		conn_table_drain(&world.table);
		world_run(&world);
		ck_assert_int_eq(connect_to_all(&address, 1, 1000), -ESHUTDOWN);
		expect_unconnected(CLOSE_drained);
	}
	/* One that is up drains like any other. */
	begin();
	answers[1] = TAKES;
	connect_to(1, 1000);
	world_run(&world);
	peer_text(attempts[0].peer, "bytes");
	conn_table_drain(&world.table);
	world_run(&world);
	ck_assert_uint_eq(owner.received, 5);
	ck_assert_uint_eq(owner.closed, 1);
	ck_assert_int_eq(owner.why, CLOSE_drained);
	world_close(&world);
}
END_TEST

START_TEST(a_table_that_closes_ends_it)
{
	for (int turns = 0; turns < 2; turns++) {
		begin();
		answers[1] = SILENT;
		connect_to(1, 1000);
		if (turns)
			world_run(&world);
		owner.tries_again = true;
		conn_table_close(&world.table);
		ck_assert_uint_eq(owner.unconnected, 1);
		ck_assert_int_eq(owner.why, CLOSE_stopped);
		ck_assert_int_eq(owner.again, -ESHUTDOWN);
		ck_assert_uint_eq(world.stats.connections, 0);
		loop_close(&world.loop);
		kernel_end();
	}
}
END_TEST

START_TEST(a_stop_aborts_it)
{
	begin();
	answers[1] = SILENT;
	connect_to(1, 1000);
	world_run(&world);
	conn_table_flush(&world.table);
	conn_table_abort(&world.table, CLOSE_drain_timeout);
	world_run(&world);
	expect_unconnected(CLOSE_drain_timeout);
}
END_TEST

/* ---- limits ---- */

START_TEST(there_is_no_place)
{
	struct peer *peer;
	struct address address = at(1);

	begin_with((struct conn_limits){.high_water = 256 << 10,
					.low_water = 64 << 10,
					.connections_max = 1,
					.connections_per_ip = 1});
	answers[1] = TAKES;
	peer = world_connect(&world);
	world_run(&world);
	ck_assert_int_eq(connect_to_all(&address, 1, 1000), -EAGAIN);
	peer_finish(peer);
	world_run(&world);
	connect_to(1, 1000);
	world_connect(&world); /* it has the only place from the beginning on */
	ck_assert_uint_eq(world.stats.closed[CLOSE_overload], 1);
	world_run(&world);
	ck_assert_uint_eq(world.stats.connected, 1);
	expect_opened();
}
END_TEST

/* The limit of an address is for those who come. */
START_TEST(those_to_one_address_are_not_counted)
{
	begin_with((struct conn_limits){WORLD_LIMITS, .connections_per_ip = 1});
	answers[1] = TAKES;
	for (unsigned i = 0; i < 5; i++) {
		struct address address = at(1);

		ck_assert_int_eq(connect_to_all(&address, 1, 1000), 0);
		world_run(&world);
		ck_assert_uint_eq(owner.opened, i + 1);
	}
	for (unsigned i = 0; i < 5; i++)
		peer_finish(attempts[i].peer);
	world_run(&world);
	world_close(&world);
}
END_TEST

START_TEST(there_are_no_buffers)
{
	struct address address = at(1);
	struct chunk *taken = NULL, *all = NULL;

	begin();
	while ((taken = chunk_new(&world.table.buffers))) {
		memcpy(taken->bytes, &all, sizeof all);
		all = taken;
	}
	ck_assert_int_eq(connect_to_all(&address, 1, 1000), -ENOBUFS);
	while (all) {
		taken = all;
		memcpy(&all, taken->bytes, sizeof all);
		chunk_release(&world.table.buffers, taken);
	}
	ck_assert_uint_eq(world.table.conns.used, 0);
	answers[1] = TAKES;
	connect_to(1, 1000);
	world_run(&world);
	expect_opened();
}
END_TEST

/* ---- moves ---- */

/* It stays, before it is up and after, and goes on. */
START_TEST(all_others_move)
{
	static struct sim_move move;
	struct peer *peers[5];

	sim_move_open(&move, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	memset(&owner, 0, sizeof owner);
	attempts_n = 0;
	kernel.on_connect = on_connect;
	began_us = kernel.now_us;
	answers[1] = LATER;
	caller_service = (struct service){
	    .protocol = &caller, .table = &move.worlds[0].table, .listener = SERVICE_NO_LISTENER};
	for (int i = 0; i < 5; i++)
		peers[i] = world_connect(&move.worlds[0]);
	for (int up = 0; up < 2; up++) {
		struct address address = at(1);

		if (!up)
			ck_assert_int_eq(connect_to_all(&address, 1, 1000), 0);
		ck_assert(!conn_can_freeze(owner.conn) && !conn_freeze(owner.conn));
		sim_move_run(&move);
		ck_assert(!conn_can_freeze(owner.conn) && !conn_freeze(owner.conn));
		for (int i = 0; i < 5; i++) {
			move.here = (unsigned)up;
			ck_assert(sim_move_move(&move, peers[i]));
			peer_text(peers[i], "x");
			sim_move_run(&move);
			peer_expect(peers[i], "x", 1);
		}
		if (!up)
			peer_answer(attempts[0].peer);
		sim_move_run(&move);
		ck_assert_uint_eq(owner.opened, 1);
	}
	peer_expect(attempts[0].peer, "hello", 5);
	peer_finish(attempts[0].peer);
	for (int i = 0; i < 5; i++)
		peer_finish(peers[i]);
	sim_move_close(&move);
	ck_assert_uint_eq(owner.closed, 1);
}
END_TEST

/* One that another process says is connecting is not taken. */
START_TEST(none_arrives_that_is_not_up)
{
	static struct sim_move move;
	struct peer *peer;
	struct conn *conn;
	struct load load;

	sim_move_open(&move, "echo", (struct conn_limits){WORLD_LIMITS}, BUFFERS_MIN);
	peer = world_connect(&move.worlds[0]);
	conn = world_conn(&move.worlds[0], peer);
	sim_move_run(&move);
	for (unsigned phase = 3; phase < 8; phase++) {
		ck_assert(conn_freeze(conn));
		load_take(&load, conn, peer);
		load.snapshot.phase = (uint8_t)phase;
		ck_assert(!load_leave(&load, &move.worlds[1].service));
		conn_thaw(conn);
	}
	peer_finish(peer);
	sim_move_close(&move);
}
END_TEST

SUITE("sim_connect", {"one that is taken", one_that_is_taken, 10},
      {"one that is taken later", one_that_is_taken_later, 10},
      {"one that is refused", one_that_is_refused, 10},
      {"one that is never answered", one_that_is_never_answered, 10},
      {"one that is reset at once", one_that_is_reset_at_once, 10},
      {"one that speaks at once", one_that_speaks_at_once, 10},
      {"a unix socket is up at once", a_unix_socket_is_up_at_once, 10},
      {"it does not talk to itself", it_does_not_talk_to_itself, 10},
      {"each error has its reason", each_error_has_its_reason, 10},
      {"the last of three answers", the_last_of_three_answers, 10},
      {"the last one says why", the_last_one_says_why, 10},
      {"time is up before all were tried", time_is_up_before_all_were_tried, 10},
      {"as many addresses as there may be", as_many_addresses_as_there_may_be, 10},
      {"what came in time counts", what_came_in_time_counts, 10},
      {"every error at every call", every_error_at_every_call, 60},
      {"its owner ends it", its_owner_ends_it, 10}, {"a drain ends it", a_drain_ends_it, 10},
      {"a table that closes ends it", a_table_that_closes_ends_it, 10},
      {"a stop aborts it", a_stop_aborts_it, 10}, {"there is no place", there_is_no_place, 10},
      {"those to one address are not counted", those_to_one_address_are_not_counted, 10},
      {"there are no buffers", there_are_no_buffers, 10}, {"all others move", all_others_move, 10},
      {"none arrives that is not up", none_arrives_that_is_not_up, 10})
