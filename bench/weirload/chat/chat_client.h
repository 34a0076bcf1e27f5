/*
 * chatter: one client of a chat: it sends lines, or not, and checks each line that comes.
 *
 *     ABSENT -> CONNECTING -> GREETING (Redis: subscribes) -> OPEN -> ENDING -> GONE
 *
 * ENDING has shut its side and waits for the server's end. Of what comes it keeps only a line
 * that is not whole yet; of what it sends, the rest of a line that the kernel took in part.
 * It dies with its process.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_H
#define BENCH_WEIRLOAD_CHAT_CHAT_CLIENT_H

#include "bench/weirload/chat/chat.h"
#include "bench/weirload/chat/chat_ledger.h"

enum chatter_phase {
	CHATTER_ABSENT,
	CHATTER_CONNECTING,
	CHATTER_GREETING,
	CHATTER_OPEN,
	CHATTER_ENDING,
	CHATTER_GONE
};

struct chatter {
	struct source source;
	struct chat_ledger ledger;
	uint32_t local, number;	   /* among those of its process; of the run: a sender's key */
	uint32_t begun;		   /* lines that were sent, at least in part */
	uint32_t lacks_from;	   /* of the senders before it nothing is missing */
	uint64_t asked;		   /* open loop: lines that were due so far */
	uint64_t opened_ns;	   /* when connect() was called */
	uint64_t free_ns;	   /* when there was last room for one more line */
	uint32_t kept_n, unsent_n; /* in bytes[]: a part of what came, the rest of what is sent */
	uint8_t phase;
	bool sends : 1, slow : 1, come : 1, settled : 1, lost_track : 1;
	bool reset : 1; /* by the server, as a write has said: a read says so no more */
	unsigned char bytes[];
};

/* Of a client, with its bytes; of what it keeps of one read for the next, at most. */
size_t chatter_bytes(const struct chat_wire *wire);
size_t chatter_kept_room(const struct chat_wire *wire);
void chatter_init(struct chatter *chatter, struct chat *chat, uint32_t local);
void chatter_open(struct chatter *chatter, struct chat *chat);
/* Sends what may be sent by now. */
void chatter_pump(struct chatter *chatter, struct chat *chat);
/* Sends a line that is not counted. */
void chatter_probe(struct chatter *chatter, struct chat *chat);

/* END: shuts its side where nothing is missing any more. */
void chatter_look(struct chatter *chatter, struct chat *chat);
/* The time is over: what is still awaited is an error; of a slow one nothing is. */
void chatter_give_up(struct chatter *chatter, struct chat *chat);
/* Slow ones read on, to see whether the server has closed them. */
void chatter_wake(struct chatter *chatter, struct chat *chat);
void chatter_fail(struct chatter *chatter, struct chat *chat, enum tally_error kind,
		  const char *detail);

#endif
