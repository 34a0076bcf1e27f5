/*
 * asker_parts: what the files of the asker's room share, and nobody else may use.
 *
 *     asker.c         its socket, questions, turns, the end
 *     asker_answer.c  what becomes of a datagram that came, and of one that did not
 */
#ifndef BENCH_WEIRLOAD_ASKER_PARTS_H
#define BENCH_WEIRLOAD_ASKER_PARTS_H

#include "bench/weirload/asker.h"

/* Counts where it belongs to the time that is measured. */
#define ASKER_COUNT(sender, name, at_ns)                                                           \
	do {                                                                                       \
		if ((at_ns) >= (sender)->schedule->measure_ns)                                     \
			TALLY_ADD((sender)->tally, name, 1);                                       \
	} while (0)

/* A datagram has come. */
void asker_answer(struct asker *asker, struct sender *sender, const unsigned char *bytes, size_t n,
		  uint64_t now_ns);
/* The question of this place is done with: the place is free. */
void asker_release(struct asker *asker, const struct sender *sender, struct place *place,
		   uint64_t now_ns);
/* It will not be answered any more. */
void asker_lose(struct asker *asker, struct sender *sender, struct place *place, uint64_t now_ns);

static inline struct place *asker_oldest(struct asker *asker)
{
	return asker->oldest == PLACE_NONE ? NULL : &asker->places[asker->oldest];
}

/* The number of the question in a place; turns end where its bytes would be others' again. */
static inline uint64_t asker_turns(const struct sender *sender)
{
	return dialect_numbers((uint32_t)sender->plan->size) / sender->plan->pipeline;
}

static inline uint64_t asker_number(const struct asker *asker, const struct sender *sender,
				    const struct place *place)
{
	return place->turn * sender->plan->pipeline + (uint64_t)(place - asker->places);
}

#endif
