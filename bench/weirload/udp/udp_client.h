/*
 * client: one socket of the load over datagrams, and the questions that are under way on it.
 *
 *     ABSENT -> OPEN -> ENDING (waits a moment for answers that come twice) -> GONE
 *
 * A question has one of plan->pipeline places until it is answered, or given up as lost. Its
 * number is the turn of its place times the places, plus the place: an answer, of which each
 * byte is checked, says by its bytes whose it is, and the place whether it is the first, one
 * more, or too late. What UDP may do, to lose, to double and to reorder, is counted and no
 * error. It keeps no bytes, and dies with its sender.
 */
#ifndef BENCH_WEIRLOAD_UDP_UDP_CLIENT_H
#define BENCH_WEIRLOAD_UDP_UDP_CLIENT_H

#include "bench/weirload/udp/batch.h"
#include "bench/weirload/sender.h"

enum udp_client_phase { UDP_CLIENT_ABSENT, UDP_CLIENT_OPEN, UDP_CLIENT_ENDING, UDP_CLIENT_GONE };

#define PLACE_LOST 4 /* an answer that comes after so many more were lost is taken for doubled */
#define PLACE_NONE UINT32_MAX

struct place {
	struct flight flight;
	uint64_t turn;		   /* of the question under way here; else of the next one */
	uint64_t order;		   /* how many were asked before it */
	uint64_t lost[PLACE_LOST]; /* turns that were given up, plus one; the last one first */
	uint32_t before, behind;   /* among those under way, as they left; behind: among the free */
	bool under_way;
};

struct udp_client {
	struct caller caller;
	uint64_t key;	 /* of its bytes */
	uint64_t passed; /* those with a lower order are overtaken */
	uint64_t unseen; /* lost ones whose answer did not come late: where all are alike */
	uint32_t oldest, newest, free, under_way;
	uint32_t end_ms; /* of ENDING */
	uint8_t phase;
	bool blocked; /* the kernel has no room for more */
	struct place places[];
};

extern const struct caller_kind udp_client_kind;

#endif
