/*
 * sender: one sending process: its loop, its connections, its timetable.
 *
 *     RAMP (opens connections) -> RUN (from start_ns, until it is told) -> END (each connection
 *     is ended and its last bytes are awaited) -> gone
 *
 * With --idle, RUN is one last message on each connection. The conductor says when, by a
 * byte on the bell and the times in struct schedule; the sender tells it by a byte that it
 * has come so far. It writes its own tally only, and prints nothing.
 */
#ifndef BENCH_WEIRLOAD_SENDER_H
#define BENCH_WEIRLOAD_SENDER_H

#include <time.h>

#include "bench/weirload/plan.h"
#include "bench/weirload/tally.h"
#include "reactor/loop.h"

#define SENDER_BUFFER_BYTES (256 * 1024)

/* On the bell: */
#define BELL_GO	   'g' /* to the sender: start_ns and measure_ns are set */
#define BELL_END   'e' /* to the sender: end_ns is set, and has come */
#define BELL_READY 'r' /* to the conductor: all connections have come up, or failed */

/* Shared by all, written by the conductor before it rings. CLOCK_MONOTONIC. */
struct schedule {
	uint64_t start_ns, measure_ns, end_ns;
};

struct connection;

struct sender {
	const struct plan *plan;
	const struct schedule *schedule;
	struct tally *tally;
	struct loop loop;
	unsigned number;
	uint32_t message_bytes, reply_bytes;

	char *connections; /* connections_n of connection_stride bytes */
	size_t connection_stride;
	uint32_t connections_n;

	enum { SENDER_RAMP, SENDER_RUN, SENDER_END } phase;
	struct source bell, ramp, pacer, ending, pulse;
	uint32_t ramped, connecting; /* of the ramp */
	uint32_t ramp_begun_ms;
	uint32_t ended;		       /* of END: how many were told to end */
	uint32_t finished;	       /* connections that need no more attention in END */
	uint32_t idle_next, idle_busy; /* with --idle: whose last message is next, how many wait */
	uint64_t opened;	       /* connections so far: gives keys and source addresses */
	uint64_t paced;		       /* messages that have become due so far */
	unsigned char *buffer;	 /* SENDER_BUFFER_BYTES: what is sent, or was read, in one turn */
	unsigned char *expected; /* as many: to find out what is wrong with a reply */
};

static inline uint64_t clock_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct connection *sender_connection(const struct sender *sender, uint32_t i);

/* The life of the process; bell is its end of a socketpair. Never returns. */
_Noreturn void sender_run(const struct plan *plan, const struct schedule *schedule,
			  struct tally *tally, unsigned number, int bell);

/* ---- what connections tell their sender ---- */

void sender_settled(struct sender *sender); /* a first attempt to connect has ended */
void sender_answered(struct sender *sender, struct connection *connection); /* with --idle */
void sender_finished(struct sender *sender); /* a connection has ended for good */

/* When message `turn` of connection i was, or will be, due. */
uint64_t sender_due_ns(const struct sender *sender, uint32_t i, uint64_t turn);

#endif
