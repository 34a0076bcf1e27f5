/*
 * chat_client: one client of a chat: it may send lines, and checks each line that comes.
 *
 *     ABSENT -> CONNECTING -> GREETING (Redis: subscribes) -> OPEN -> ENDING -> GONE
 *
 * ENDING has shut its side and waits for the server's end. A client that has gone does not come
 * back. It keeps only an incoming line that is not whole yet, and the rest of an outgoing line that
 * the kernel took in part. It lives as long as its process.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_H
#define BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_H

#include "bench/weirload/chat/chat.h"
#include "bench/weirload/chat/chat_ledger.h"
#include "reactor/base/list.h"

enum chat_client_phase {
	CHAT_CLIENT_ABSENT,
	CHAT_CLIENT_CONNECTING,
	CHAT_CLIENT_GREETING,
	CHAT_CLIENT_OPEN,
	CHAT_CLIENT_ENDING,
	CHAT_CLIENT_GONE
};

struct chat_client {
	struct caller caller; /* begun: lines that were sent, at least in part */
	struct chat_ledger ledger;
	uint32_t number;	   /* among all clients of the run; names it as a sender */
	uint32_t lacks_from;	   /* nothing is missing of the senders before this one */
	uint64_t opened_ns;	   /* when connect() was called */
	uint32_t kept_n, unsent_n; /* in bytes[]: part of an incoming line, rest of an outgoing */
	uint8_t phase;
	bool sends : 1, come : 1, settled : 1, finished : 1, lost_track : 1;
	bool reset : 1; /* a write has reported a reset by the server, so no read will */
	unsigned char bytes[];
};

static inline struct chat_client *chat_client_at(const struct chat *chat, uint32_t i)
{
	return CONTAINER_OF(sender_caller(chat->sender, i), struct chat_client, caller);
}

/* The size of a client, its bytes[] included. */
size_t chat_client_bytes(const struct chat_wire *wire);
void chat_client_init(struct chat_client *client, struct chat *chat);
void chat_client_open(struct chat_client *client, struct chat *chat);
/* Sends what may be sent by now: one write. */
void chat_client_pump(struct chat_client *client, struct chat *chat);
/* Sends a line that is not counted. */
void chat_client_probe(struct chat_client *client, struct chat *chat);
void chat_client_fail(struct chat_client *client, struct chat *chat, enum tally_error kind,
		      const char *detail);

/* END: shuts the client's side if nothing is missing any more. */
void chat_client_look(struct chat_client *client, struct chat *chat);
/* The time is over: each line that is still awaited is an error; a slow client awaits none. */
void chat_client_give_up(struct chat_client *client, struct chat *chat);

#endif
