/*
 * querier_parts: what the files of the querier's room share, and nobody else may use.
 *
 *     udp_client.c         its socket, questions, turns, the end
 *     udp_client_answer.c  what becomes of a datagram that came, and of one that did not
 */
#ifndef BENCH_WEIRLOAD_UDP_UDP_CLIENT_PARTS_H
#define BENCH_WEIRLOAD_UDP_UDP_CLIENT_PARTS_H

#include "bench/weirload/udp/udp_client.h"

/* Counts where it belongs to the time that is measured. */
#define QUERIER_COUNT(sender, name, at_ns)                                                         \
	do {                                                                                       \
		if ((at_ns) >= (sender)->schedule->measure_ns)                                     \
			TALLY_ADD((sender)->tally, name, 1);                                       \
	} while (0)

/* A datagram has come. */
void querier_answer(struct querier *querier, struct sender *sender, const unsigned char *bytes,
		    size_t n, uint64_t now_ns);
/* The question of this place is done with: the place is free. */
void querier_release(struct querier *querier, const struct sender *sender, struct place *place,
		     uint64_t now_ns);
/* It will not be answered any more. */
void querier_lose(struct querier *querier, struct sender *sender, struct place *place,
		  uint64_t now_ns);

static inline struct place *querier_oldest(struct querier *querier)
{
	return querier->oldest == PLACE_NONE ? NULL : &querier->places[querier->oldest];
}

/* The number of the question in a place; turns end where its bytes would be others' again. */
static inline uint64_t querier_turns(const struct sender *sender)
{
	return dialect_numbers((uint32_t)sender->plan->size) / sender->plan->pipeline;
}

static inline uint64_t querier_number(const struct querier *querier, const struct sender *sender,
				      const struct place *place)
{
	return place->turn * sender->plan->pipeline + (uint64_t)(place - querier->places);
}

#endif
