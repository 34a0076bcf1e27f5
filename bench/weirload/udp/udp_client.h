/*
 * udp_client: one socket of the load over datagrams, and the messages that are under way on it.
 *
 *     ABSENT -> OPEN -> ENDING (waits a moment for answers that come twice) -> GONE
 *
 * A message has one of plan->pipeline places until it is answered, or given up as lost. Its number
 * is the turn of its place times the number of places, plus the place. The bytes of an answer, each
 * of which is checked, say which message it answers; the place says whether the answer is the
 * first, another one, or too late. UDP may lose, double and reorder: that is counted, but is no
 * error. A client keeps no bytes, and lives as long as its sender.
 */
#ifndef BENCH_WEIRLOAD_UDP_UDP_CLIENT_H
#define BENCH_WEIRLOAD_UDP_UDP_CLIENT_H

#include "bench/weirload/udp/batch.h"
#include "bench/weirload/sender.h"

enum udp_client_phase { UDP_CLIENT_ABSENT, UDP_CLIENT_OPEN, UDP_CLIENT_ENDING, UDP_CLIENT_GONE };

#define PLACE_LOST 4 /* lost turns that a place remembers; an answer to an older one: doubled */
#define PLACE_NONE UINT32_MAX

struct place {
	struct flight flight;
	uint64_t turn;		   /* of the message under way here, or else of the next one */
	uint64_t order;		   /* how many messages were sent before it */
	uint64_t lost[PLACE_LOST]; /* turns that were given up, plus one; the latest first */
	/* Links of the list of places under way, oldest first; behind also links free places. */
	uint32_t before, behind;
	bool under_way;
};

struct udp_client {
	struct caller caller;
	uint64_t key;	 /* of its pattern */
	uint64_t passed; /* an answer to a message of lower order was overtaken */
	uint64_t unseen; /* if all answers are alike: lost messages without a late answer so far */
	uint32_t oldest, newest, free, under_way;
	uint32_t end_ms; /* when ENDING is over */
	uint8_t phase;
	bool blocked; /* the kernel has no room for more */
	struct place places[];
};

extern const struct caller_kind udp_client_kind;

#endif
