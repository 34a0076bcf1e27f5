/*
 * kernel: a simulated kernel behind reactor/base/sys.h, for tests built with -DSYS_SIMULATED.
 *
 * Every call is counted, can be made to fail, and is the real one until kernel_begin(). From then
 * on stream sockets, listening sockets, epoll and eventfd are simulated (their descriptors begin at
 * KERNEL_FD_FIRST), and time stands still except for kernel_advance() and an epoll_wait that finds
 * nothing. Edges are Linux's: an event queues the registration if it is one that was asked for, and
 * the next epoll_wait reports all that is true then, once. Time begins half a second before 32 bits
 * of milliseconds wrap.
 *
 * A peer is the other end of a simulated socket. Not simulated: delays, loss, SIGPIPE, urgent data,
 * one descriptor in several epolls (except for a peer_copy()). A call on a descriptor that is not
 * open ends the test.
 */
#ifndef TESTS_SUPPORT_SIM_KERNEL_H
#define TESTS_SUPPORT_SIM_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "protocol/protocol.h"
#include "reactor/base/sys.h"
#include "tests/support/bytes.h"
#include "tests/support/suite.h"

#define KERNEL_FD_FIRST 1000

/* Like ck_assert(), for code that runs millions of times: libcheck writes a record of every
 * assertion to a file. */
#define EXPECT_MSG(condition, ...)                                                                 \
	do {                                                                                       \
		if (__builtin_expect(!(condition), 0))                                             \
			ck_abort_msg(__VA_ARGS__);                                                 \
	} while (0)
#define EXPECT(condition) EXPECT_MSG(condition, "%s", #condition " does not hold")

enum kernel_call {
#define SYS(type, name, parameters, arguments) KERNEL_##name,
#include "reactor/base/sys.def"
#undef SYS
	KERNEL_CALLS
};

struct peer {
	struct peer *next;
	int fd;	  /* the server's descriptor; -1: not accepted yet, or closed */
	int copy; /* another process' copy of fd; -1: none. Closing the last one ends it */
	int tag;  /* free for the test */
	/* Written by one side and not yet read by the other. */
	struct bytes in, out;
	size_t space;	 /* the most that out holds; PEER_SPACE at first */
	size_t window;	 /* the first bytes of out that have reached the peer's kernel */
	size_t received; /* bytes that peer_receive() took so far */
	int error;	 /* the next call fails with it, once */
	bool nospace;	 /* the server waits for space to open */
	bool finished;	 /* the peer sent FIN */
	bool was_reset;	 /* the peer sent RST */
	bool shut;	 /* the server sent FIN, by shutdown */
	bool closed;	 /* the server closed it */
	bool got_reset;	 /* closed with input unread: what had not reached the peer is lost */
	bool shared;	 /* another process has a copy of the server's descriptor */
	/* Of a socket that the server connects: */
	bool unconnected; /* it has no connection yet */
	bool connecting;  /* it has asked for one, and was not answered */
	bool told;	  /* connect() has said that it has one */
	int refused;	  /* so the next connect() fails */
	int family, nodelay, oobinline;
	bool refuses_rights;
	struct sockaddr_storage there;
	socklen_t there_n;
	/* Called after a read that left no input; may let more arrive. */
	void (*after_read)(struct peer *peer);
	void *script;
};

#define PEER_SPACE (256u << 10)

/* ---- the kernel ---- */

extern struct kernel {
	unsigned long calls[KERNEL_CALLS]; /* a test may set them to 0 */
	uint64_t now_us;
	size_t descriptors, descriptors_max; /* open; EMFILE from there on (0: never) */
	size_t ready_n;			     /* registrations that have an event */
	size_t stale;			     /* registrations that outlived their close() */
	bool watches_used_up;		     /* epoll registers nothing more: ENOSPC */
	int wait_asked;			     /* the timeout of the last epoll_wait, in ms */
	bool failed;		  /* the failure that kernel_fail() ordered has happened */
	struct peer *failed_peer; /* the peer of its socket; NULL: none */
	bool passes_rights;	  /* SO_PASSRIGHTS is not known, as before Linux 6.16 */
	/* The server connects a new socket. Returns what connect() says: 0, or an errno. After
	 * EINPROGRESS the test calls peer_answer() or peer_refuse(), at once or later. NULL: nobody
	 * listens anywhere. */
	int (*on_connect)(struct peer *peer, const struct sockaddr *address);
} kernel;

extern const char *const kernel_call_names[KERNEL_CALLS];

void kernel_begin(void);
void kernel_end(void); /* fails the test if a descriptor is still open */
/* The k-th call from now on (1: the next) fails with error; k 0: every call, until error 0. */
void kernel_fail(enum kernel_call call, unsigned long k, int error);

static inline unsigned long kernel_calls_all(void)
{
	unsigned long all = 0;

	for (int i = 0; i < KERNEL_CALLS; i++)
		all += kernel.calls[i];
	return all;
}

static inline void kernel_count_anew(void)
{
	memset(kernel.calls, 0, sizeof kernel.calls);
}

static inline void kernel_advance(uint32_t ms)
{
	kernel.now_us += (uint64_t)ms * 1000;
}

int kernel_listener(void);		 /* a listening socket */
struct peer *peer_connect(int listener); /* waits there to be accepted */
struct peer *peer_new(int *fd);		 /* a connection that was accepted already */
int peer_copy(struct peer *peer);	 /* copies the server's descriptor, for another process */
void peer_free(struct peer *peer);	 /* once the server has closed it */
size_t peers_waiting(int listener);	 /* connections not accepted */
void peer_answer(struct peer *peer);	 /* the server's connection is up */
void peer_refuse(struct peer *peer, int error); /* or will not be */
void peer_send(struct peer *peer, const void *bytes, size_t n);
void peer_finish(struct peer *peer); /* FIN */
void peer_reset(struct peer *peer);
void peer_hang_up(struct peer *peer); /* both ways, as the close of a unix socket: no error */
size_t peer_receive(struct peer *peer, void *bytes, size_t n); /* bytes may be NULL */

static inline void peer_text(struct peer *peer, const char *text)
{
	peer_send(peer, text, strlen(text));
}

/* Both arrive in one event. */
static inline void peer_send_and_finish(struct peer *peer, const void *bytes, size_t n)
{
	peer_send(peer, bytes, n);
	peer_finish(peer);
}

/* Expects that exactly these bytes have come. */
static inline void peer_expect(struct peer *peer, const void *bytes, size_t n)
{
	EXPECT(peer->out.n == n);
	if (n)
		EXPECT(memcmp(peer->out.at + peer->out.start, bytes, n) == 0);
	(void)peer_receive(peer, NULL, n);
}

/* ---- a server on it: one loop, one table, one service ---- */

struct world {
	struct stats stats;
	struct loop loop;
	struct conn_table table;
	struct service service;
};

#define WORLD_LIMITS .high_water = 256 << 10, .low_water = 64 << 10, .connections_max = 64

static inline void world_open(struct world *world, const char *protocol, struct conn_limits limits,
			      size_t buffers_size)
{
	kernel_begin();
	*world = (struct world){.service = {.protocol = protocol_find(protocol),
					    .table = &world->table,
					    .settings = {1 << 20}}};
	EXPECT(loop_open(&world->loop, &world->stats, 0) == 0);
	EXPECT(conn_table_open(&world->table, &world->loop, &limits, buffers_size) == 0);
}

/* Expects that no connection, chunk or segment is in use. */
static inline void world_expect_free(const struct world *world)
{
	EXPECT(world->table.conns.used == 0);
	EXPECT(world->stats.connections == 0);
	EXPECT(world->table.buffers.chunks.used == 0);
	EXPECT(world->table.buffers.segments.used == 0);
	EXPECT(world->stats.chunks == 0);
	EXPECT(world->stats.queued_bytes == 0);
	EXPECT(world->table.awaiting_buffers == 0);
}

/* Fails the test unless everything has been freed. */
static inline void world_close(struct world *world)
{
	world_expect_free(world);
	conn_table_close(&world->table);
	loop_close(&world->loop);
	kernel_end();
}

static inline struct peer *world_connect(struct world *world)
{
	int fd;
	struct peer *peer = peer_new(&fd);

	conn_open(&world->service, fd, CONN_ACCEPTED, NULL);
	return peer;
}

static inline struct conn *world_conn(struct world *world, const struct peer *peer)
{
	struct conn *conn;
	size_t cursor = 0;

	while ((conn = pool_next(&world->table.conns, &cursor)))
		if (conn->source.fd == peer->fd)
			return conn;
	ck_abort_msg("the connection is gone");
}

/* One pass of the loop, which does not wait. */
static inline void world_pass(struct world *world)
{
	loop_pass(&world->loop, 0);
}

/* Passes until nothing is left to do. */
static inline void world_run(struct world *world)
{
	for (int i = 0; world->loop.first || kernel.ready_n; i++) {
		EXPECT_MSG(i < 100000, "the loop finds no end");
		world_pass(world);
	}
}

/* Passes until ms have gone by; a pass without work waits, so that time goes on. */
static inline void world_wait(struct world *world, uint32_t ms)
{
	uint64_t end_us = kernel.now_us + (uint64_t)ms * 1000;

	for (int i = 0; kernel.now_us < end_us; i++) {
		EXPECT_MSG(i < 1000000, "time stands still");
		loop_pass(&world->loop, (int)((end_us - kernel.now_us + 999) / 1000));
	}
	world_pass(world);
}

/* The value of a counter of any kind. */
static inline uint64_t world_stat(const struct world *world, const char *name)
{
	for (size_t i = 0; i < stats_rows_n; i++)
		if (strcmp(stats_rows[i].name, name) == 0)
			return stats_value(&world->stats, &stats_rows[i]);
	ck_abort_msg("no counter is called %s", name);
}

static inline uint64_t world_closed(const struct world *world)
{
	uint64_t all = 0;

	for (int i = 0; i < CLOSE_REASONS_MAX; i++)
		all += world->stats.closed[i];
	return all;
}

/* Why the last connection ended: the reason that was counted since *before was taken. */
static inline enum close_reason world_reason(const struct world *world, const struct stats *before)
{
	for (int i = 0; i < CLOSE_REASONS_MAX; i++)
		if (world->stats.closed[i] != before->closed[i])
			return (enum close_reason)i;
	return CLOSE_NONE;
}

static inline uint64_t sim_random(uint64_t *state)
{
	uint64_t x = *state ? *state : 0x9e3779b97f4a7c15ULL;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dULL;
}

/* From 0 to n - 1. */
static inline size_t sim_below(uint64_t *state, size_t n)
{
	return (size_t)(sim_random(state) % n);
}

#endif
