/*
 * chat: what the clients of one sending process share: the form of lines on the wire, what each
 * client has received, and how far the chat as a whole has come.
 *
 *     RAMP (clients connect, until each has had a probe line) -> RUN (lines are sent) -> END
 *     (readers wait for missing lines; then slow clients read what waits for them) -> gone
 *
 * Clients of a process are senders, then those that only read, then slow ones. A server does not
 * say that it has taken a client in, so two clients send probe lines in turn, which are not
 * counted, until everybody has had one. Each process has one, made by chat_kind, for as long as it
 * lives.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_H
#define BENCH_WEIRLOAD_CHAT_CHAT_H

#include "bench/weirload/chat/chat_table.h"
#include "bench/weirload/chat/chat_wire.h"
#include "bench/weirload/sender.h"

#define CHAT_IN_BYTES	(256 * 1024)
#define CHAT_OUT_BYTES	(16 * 1024)
#define CHAT_NO_WITNESS UINT32_MAX

struct chat_client;

struct chat {
	struct sender *sender;
	struct chat_table *table;
	struct chat_wire wire;
	uint32_t senders_n, readers_n; /* senders_n <= readers_n <= sender->callers_n */
	uint32_t *next;		       /* one row a client, by sender: see chat_ledger */
	/* Closed loop, by sender: another client of this process. When that client gets a line of
	 * the sender, the line counts as answered. Senders of other processes: CHAT_NO_WITNESS. */
	uint32_t *witnesses;

	struct source tick;
	uint32_t probe_ms, probe_every_ms; /* these and the next three are used in the ramp */
	uint32_t probes;
	uint32_t ramp_until_ms;
	bool all_come;
	bool slow_read;			  /* in END: all others have gone, and slow clients read */
	uint32_t slow_until_ms;		  /* until then at most */
	uint32_t looked;		  /* in END: how many clients this look has come to */
	uint32_t readers_left, slow_left; /* clients that have not gone */
	unsigned char *in, *out;	  /* what is read and what is sent in one turn */
};

/* Closed loop: chooses another client to be the witness of local sender i. */
void chat_elect_witness(struct chat *chat, uint32_t i);
/* END: lets slow clients read once all others have gone. */
void chat_read_slow(struct chat *chat);

/* ---- what clients report ---- */

void chat_come(struct chat *chat); /* a client has connected, or failed to */
/* The server has taken a client in, or never will. */
void chat_settled(struct chat *chat);
void chat_left(struct chat *chat, struct chat_client *client, bool failed); /* for good */
/* END: a client needs no more attention. */
void chat_finished(struct chat *chat, struct chat_client *client);

#endif
