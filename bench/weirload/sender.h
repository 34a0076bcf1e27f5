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

#include "bench/weirload/child.h"
#include "bench/weirload/plan.h"

#define SENDER_BUFFER_BYTES (256 * 1024)

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
	struct source bell, ramp, pacer, ending;
	struct pulse pulse;
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
