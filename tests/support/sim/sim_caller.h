/*
 * sim_caller: a server on a simulated kernel that connects to others, for sim_connect*.c.
 *
 * It connects to 10.0.0.K, where answers[K] is what happens, or to a unix socket, which takes it at
 * once. The owner is the test's protocol, which says hello, and writes down what it is told.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_CALLER_H
#define TESTS_SUPPORT_SIM_SIM_CALLER_H

#include <arpa/inet.h>
#include <sys/un.h>

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
	bool says_nothing, ends_at_once;
	bool tries_again;
	int again; /* what that came to */
	struct conn *conn;
} owner;

static void caller_open(struct conn *conn)
{
	static const unsigned char none[CONN_STATE_BYTES];

	EXPECT(conn == owner.conn && memcmp(conn_state(conn), none, sizeof none) == 0);
	owner.opened++;
	/* What was said to addresses before this one is forgotten. */
	EXPECT(!(conn->source.ready & (SOURCE_ENDED | SOURCE_HUNG_UP | SOURCE_BROKEN)) ||
	       owner.ends_at_once);
	if (!owner.says_nothing)
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

static inline struct address at_unix(void)
{
	const char *why;
	struct address address;

	EXPECT(address_parse(&address, "/run/other.sock", &why));
	return address;
}

static inline unsigned now_ms(void)
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

static inline void begin_with(struct conn_limits limits)
{
	world_open(&world, "echo", limits, BUFFERS_MIN);
	memset(&owner, 0, sizeof owner);
	attempts_n = 0;
	kernel.on_connect = on_connect;
	began_us = kernel.now_us;
	caller_service = (struct service){
	    .protocol = &caller, .table = &world.table, .listener = SERVICE_NO_LISTENER};
}

static inline void begin(void)
{
	begin_with((struct conn_limits){WORLD_LIMITS});
}

/* The caller's list does not live for long. */
static inline int connect_to_all(const struct address *list, size_t n, uint32_t ms)
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

static inline void connect_to(unsigned host, uint32_t ms)
{
	struct address address = at(host);

	EXPECT(connect_to_all(&address, 1, ms) == 0);
	EXPECT(!owner.opened && !owner.unconnected); /* nothing is told before a turn */
	EXPECT(world.stats.connections == 1);
}

static inline void connect_to_three(enum answer first, enum answer second, enum answer third)
{
	const struct address list[] = {at(1), at(2), at(3)};

	answers[1] = first;
	answers[2] = second;
	answers[3] = third;
	EXPECT(connect_to_all(list, 3, 3000) == 0);
	world_run(&world);
}

static inline void expect_unconnected(enum close_reason why)
{
	EXPECT_MSG(owner.unconnected == 1 && owner.why == why, "told %u times, %s",
		   owner.unconnected, close_reason_name(owner.why));
	EXPECT(!owner.opened && !owner.closed);
	EXPECT(world.stats.closed[why] == 1 && world_closed(&world) == 1);
	EXPECT(world.stats.connect_failures == 1 && !world.stats.connected);
	world_close(&world);
}

/* It is up, and like any other. */
static inline void expect_opened(void)
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

#endif
