/*
 * sender: one sending process: its loop, its callers, its timetable.
 *
 *     RAMP (opens callers) -> RUN (from start_ns, until it is told) -> END (each caller is
 *     ended and what it is owed is awaited) -> gone
 *
 * A caller is a connection, or a client where datagrams are sent; its kind says how it does
 * what the sender wants of it. With --idle, RUN is one last message of each caller, and END
 * begins when those of all processes are answered. The conductor says when, by a byte on the
 * doorbell and the times in struct schedule; the sender tells it by a byte that it has come so far.
 * It writes its own tally only, and prints nothing.
 */
#ifndef BENCH_WEIRLOAD_SENDER_H
#define BENCH_WEIRLOAD_SENDER_H

#include "bench/weirload/child.h"
#include "bench/weirload/plan/plan.h"

#define SENDER_BUFFER_BYTES (256 * 1024)

struct sender;
struct batch;
struct http_head;
struct http_body;

/* The beginning of whatever a sender drives. */
struct caller {
	struct source source;
	uint64_t asked, begun; /* open loop: messages that were due so far; that were begun */
	uint64_t free_ns;      /* when there was last room for one more message */
	uint32_t number;       /* among those of its sender */
	bool slow : 1;
	bool busy : 1; /* with --idle: its last message is under way */
};

struct caller_kind {
	size_t (*bytes)(const struct plan *plan); /* of one */
	void (*init)(struct caller *caller, struct sender *sender);
	/* Says sender_settled() once, when it has come up or could not. */
	void (*open)(struct caller *caller, struct sender *sender);
	bool (*is_open)(const struct caller *caller);
	/* One more message has become due; asked says so already. */
	void (*ask)(struct caller *caller, struct sender *sender);
	/* No more messages: says sender_finished() once, when what is under way is answered. */
	void (*end)(struct caller *caller, struct sender *sender);
	/* The time is over: what is still awaited does not come. */
	void (*give_up)(struct caller *caller, struct sender *sender);
};

/* A message that is under way. */
struct flight {
	uint64_t sent_ns, due_ns;
};

struct sender {
	const struct plan *plan;
	const struct schedule *schedule;
	struct tally *tally;
	struct loop loop;
	unsigned number;
	uint32_t message_bytes, reply_bytes;

	const struct caller_kind *kind;
	char *callers; /* callers_n of caller_stride bytes */
	size_t caller_stride;
	uint32_t callers_n;

	enum { SENDER_RAMP, SENDER_RUN, SENDER_END } phase;
	struct source doorbell, ramp, pacer, ending;
	struct pulse pulse;
	uint32_t ramped, connecting; /* of the ramp */
	uint32_t ramp_begun_ms;
	uint32_t ended;		       /* of END: how many were told to end */
	uint32_t finished;	       /* callers that need no more attention in END */
	uint32_t idle_next, idle_busy; /* with --idle: whose last message is next, how many wait */
	bool idle_done;		       /* all of them are answered, and the conductor knows */
	uint64_t opened;	       /* callers so far: gives keys and source addresses */
	uint64_t paced;		       /* messages that have become due so far */
	unsigned char *buffer;	 /* SENDER_BUFFER_BYTES: what is sent, or was read, in one turn */
	unsigned char *expected; /* as many: to find out what is wrong with a reply */
	struct batch *batch;	 /* of datagrams: instead of both */
	struct http_head *head;	 /* of http only */
	struct http_body *body;	 /* of http only, where none is sent */
};

struct caller *sender_caller(const struct sender *sender, uint32_t i);

/* The life of the process; doorbell is its end of a socketpair. Never returns. */
_Noreturn void sender_run(const struct plan *plan, const struct schedule *schedule,
			  struct tally *tally, unsigned number, int doorbell);

/* ---- what callers tell their sender ---- */

void sender_settled(struct sender *sender); /* a first attempt to connect has ended */
void sender_answered(struct sender *sender, struct caller *caller); /* with --idle */
void sender_finished(struct sender *sender);			    /* one has ended for good */

/* A message of it is begun at flight->sent_ns, or was when its connection was opened, where
 * that is part of it (else opened_ns is 0). Says when it was due, and counts the slip: how
 * much later it left than it was due and there was room for it. */
void sender_begin(struct sender *sender, struct caller *caller, struct flight *flight,
		  uint64_t opened_ns);
/* It was answered. */
void sender_measure(struct sender *sender, const struct flight *flight, uint64_t now_ns);
/* An error of a kind; the first is kept in words. */
void sender_wrong(struct sender *sender, enum tally_error kind, const char *detail);

/* Which of all connections of the run is opened next: where it comes from, and goes to. */
static inline uint64_t sender_nth(const struct sender *sender)
{
	return sender->opened * sender->plan->processes + sender->number;
}

/* The next key, which tells the bytes of one caller from those of others; all that were given
 * by any sender of the run so far are below sender_keys(). */
uint64_t sender_key(const struct sender *sender);
uint64_t sender_keys(const struct sender *sender);

#endif
