/*
 * sender: one sending process: its loop, its callers, its timetable.
 *
 *     RAMP (opens callers) -> RUN (from start_ns, until it is told to end) -> END (each caller ends
 *     once all that it waits for has come) -> gone
 *
 * A caller is a connection, a socket for datagrams, or a client of a chat: its caller_kind says
 * which. With --idle, RUN is one last message of each caller, and END begins when those of all
 * processes are answered. It writes its own tally only, and prints nothing.
 */
#ifndef BENCH_WEIRLOAD_SENDER_H
#define BENCH_WEIRLOAD_SENDER_H

#include "bench/weirload/clock.h"
#include "bench/weirload/plan/plan.h"
#include "bench/weirload/pulse.h"

#define SENDER_BUFFER_BYTES (256 * 1024)

struct sender;
struct batch;
struct chat;
struct chat_table;
struct http_head;
struct http_body;

/* The first member of whatever a sender drives. */
struct caller {
	struct source source;
	uint64_t asked, begun; /* messages: due so far (open loop); begun so far */
	uint64_t free_ns;      /* when there was last room for one more message */
	uint32_t number;       /* among the callers of its sender */
	bool slow : 1;
	bool busy : 1; /* with --idle: its last message is under way */
	bool gone : 1; /* failed for good: messages due on it are not counted as errors again */
};

/* What a sender wants of its callers, one table for each kind. */
struct caller_kind {
	/* Called once, before all others: makes what the callers of a process share. */
	void (*prepare)(struct sender *sender);
	size_t (*bytes)(const struct sender *sender); /* the size of one caller */
	void (*init)(struct caller *caller, struct sender *sender);
	/* Opens a caller. Calls sender_connected() and sender_settled() once each, whether it came
	 * up or failed. */
	void (*open)(struct caller *caller, struct sender *sender);
	bool (*is_open)(const struct caller *caller);
	/* RUN begins. */
	void (*start)(struct sender *sender);
	/* One more message has become due, and is counted in caller->asked. */
	void (*ask)(struct caller *caller, struct sender *sender);
	/* END begins; may be NULL. */
	void (*stop)(struct sender *sender);
	/* No more messages: calls sender_finished() once all that is under way is answered. */
	void (*end)(struct caller *caller, struct sender *sender);
	/* The time is over: what is still awaited counts as not answered. */
	void (*give_up)(struct caller *caller, struct sender *sender);
};

/* A message that is under way. */
struct flight {
	uint64_t sent_ns, due_ns;
};

struct sender {
	/* Given by the conductor: */
	const struct plan *plan;
	const struct schedule *schedule;
	const struct caller_kind *kind;
	struct chat_table *chat_table; /* only for a chat */
	struct tally *tally;
	unsigned number;

	struct loop loop;
	uint32_t message_bytes, reply_bytes;

	char *callers; /* callers_n of caller_stride bytes */
	size_t caller_stride;
	uint32_t callers_n;
	/* Callers that send by the clock: paced_n of this process, from paced_first on; and how
	 * many all processes have. */
	uint32_t paced_first, paced_n;
	uint64_t paced_all;
	uint64_t receivers; /* how many receivers each message has */

	enum { SENDER_RAMP, SENDER_RUN, SENDER_END } phase;
	struct source doorbell, ramp, pacer, ending;
	struct pulse pulse;
	uint32_t ramped, connecting; /* in the ramp: how many were opened; are under way */
	uint32_t ramp_begun_ms;
	uint32_t ended;		       /* in END: how many were told to end */
	uint32_t finished;	       /* callers that need no more attention in END */
	uint32_t idle_next, idle_busy; /* --idle: the caller that is next; messages under way */
	bool idle_done;		       /* all of them are answered, and the conductor knows */
	uint64_t opened;	       /* callers so far: decides keys and source addresses */
	uint64_t paced;		       /* messages that have become due so far */
	uint64_t next_due_ns;	       /* when the next one is due; UINT64_MAX: none is */

	/* Made by the kind: */
	unsigned char *buffer;	 /* for connections: what is sent, or was read, in one turn */
	unsigned char *expected; /* as large: to find out what is wrong with a reply */
	struct http_head *head;	 /* only for http */
	struct http_body *body;
	struct batch *batch; /* for datagrams */
	struct chat *chat;   /* for a chat */
};

struct caller *sender_caller(const struct sender *sender, uint32_t i);

/* The whole life of the process. The fields given by the conductor are filled in; doorbell is this
 * process' end of a socketpair. Never returns. */
_Noreturn void sender_run(struct sender *sender, int doorbell);

/* ---- what a kind uses ---- */

/* RUN begins: each caller that sends without a timetable gets a turn. */
void sender_wake_callers(struct sender *sender);
/* When message number `turn` of caller i is due. */
uint64_t sender_due_ns(const struct sender *sender, uint32_t i, uint64_t turn);
/* Begins the messages that are due by now. To be called in a long turn when the clock has just been
 * read. */
void sender_keep_pace(struct sender *sender, uint64_t now_ns);

/* ---- what callers report to their sender ---- */

/* A caller's first attempt to connect has ended: another caller may begin. */
void sender_connected(struct sender *sender);
/* A caller is ready for RUN, or failed and will not be. */
void sender_settled(struct sender *sender);
/* One more caller is open. */
void sender_count_open(struct sender *sender);
void sender_answered(struct sender *sender, struct caller *caller); /* with --idle */
void sender_finished(struct sender *sender);			    /* one has ended for good */

/* A message of this caller begins at flight->sent_ns; if opening its connection is part of the
 * message, it began at opened_ns (else 0). Sets when it was due, and counts the slip: how much
 * later it left than when it was due and there was room for it. */
void sender_begin(struct sender *sender, struct caller *caller, struct flight *flight,
		  uint64_t opened_ns);
/* The message was answered. */
void sender_measure(struct sender *sender, const struct flight *flight, uint64_t now_ns);
/* Counts n errors of a kind; the first of the kind is kept in words. */
void sender_wrong(struct sender *sender, enum tally_error kind, uint64_t n, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The number of the next connection among those of all processes; it decides the addresses. */
static inline uint64_t sender_nth(const struct sender *sender)
{
	return sender->opened * sender->plan->processes + sender->number;
}

/* The next key, which tells the bytes of one caller from those of others. All keys that any sender
 * of the run has used so far are below sender_keys(). */
uint64_t sender_key(const struct sender *sender);
uint64_t sender_keys(const struct sender *sender);

#endif
