/*
 * chat: one sending process of a chat: its loop, its clients, its timetable.
 *
 *     RAMP (clients connect, until each has had a probe line) -> RUN (lines are sent) -> END
 *     (readers wait for what they lack) -> SLOW (what slow ones were left is read) -> gone
 *
 * Clients of a process are senders, then those who only read, then slow ones. A server says
 * nothing to those it has taken in: two clients send probe lines, which are not counted, until
 * everybody has had one. A chat client that has gone does not come back.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_H
#define BENCH_WEIRLOAD_CHAT_CHAT_H

#include "bench/weirload/chat/chat_line.h"
#include "bench/weirload/chat/chat_table.h"
#include "bench/weirload/chat/chat_wire.h"
#include "bench/weirload/child.h"

#define CHAT_IN_BYTES	(256 * 1024)
#define CHAT_OUT_BYTES	(16 * 1024)
#define CHAT_NO_WITNESS UINT32_MAX

struct chat_client;

struct chat {
	const struct plan *plan;
	const struct schedule *schedule;
	struct tally *tally;
	struct chat_table *table;
	struct loop loop;
	unsigned number;
	struct chat_wire wire;

	char *clients; /* chatters_n of chat_client_stride bytes: senders_n <= readers_n <= all */
	size_t chat_client_stride;
	uint32_t senders_n, readers_n, chatters_n;
	uint32_t *next; /* of each client, by sender: see chat_ledger */
	/* Closed loop: for each sender of the run the client here that shows when its lines have
	 * come; for those of other processes none. */
	uint32_t *witnesses;

	enum { CHAT_RAMP, CHAT_RUN, CHAT_END, CHAT_SLOW } phase;
	struct source doorbell, ramp, timer, tick;
	struct pulse pulse;
	uint32_t ramped, connecting; /* of the ramp */
	uint32_t ramp_begun_ms, probe_ms, probe_every_ms;
	uint32_t give_up_ms; /* END, SLOW, and of RAMP since all have come */
	bool all_come;
	uint32_t readers_left, slow_left; /* clients that have not gone */
	uint64_t paced;			  /* lines that have become due so far */
	uint64_t due_ns;		  /* when the next one is due; UINT64_MAX: none is */
	unsigned char *in, *out;	  /* what was read, what is sent, in one turn */
};

struct chat_client *chat_client_at(const struct chat *chat, uint32_t i);

/* The life of the process; doorbell is its end of a socketpair. Never returns. */
_Noreturn void chat_run(const struct plan *plan, const struct schedule *schedule,
			struct chat_table *table, struct tally *tally, unsigned number,
			int doorbell);

/* ---- what clients tell their process ---- */

void chat_come(struct chat *chat);    /* one is connected, or failed to */
void chat_settled(struct chat *chat); /* one has had a probe line, or has gone */
void chat_left(struct chat *chat, struct chat_client *client, bool failed); /* for good */
/* It was just read: lines that are due do not wait until all others have been. */
void chat_keep_pace(struct chat *chat, uint64_t now_ns);
/* n errors of a kind; the first is kept in words. */
void chat_wrong(struct chat *chat, enum tally_error kind, uint64_t n, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* When line `turn` of local sender i was, or will be, due. */
uint64_t chat_due_ns(const struct chat *chat, uint32_t i, uint64_t turn);

#endif
