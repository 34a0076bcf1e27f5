/*
 * replay: what was said since a mark, ready for members that come from another process.
 *
 * The lines that this process has read from the rings behind the marks are copied again, topic by
 * topic, in chunks that all newcomers share. It lasts from relay_catch_up() to
 * relay_end_catch_up(), within one turn, and owns its share of the chunks. It holds all of that, or
 * nothing.
 */
#ifndef REACTOR_PUBSUB_REPLAY_H
#define REACTOR_PUBSUB_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reactor/pubsub/bus.h"

#define REPLAY_CHUNKS_MAX 512

struct chunk;
struct relay;
struct topic;

struct replay {
	struct {
		struct topic *topic;
		struct chunk *chunk;
		uint32_t lines;
	} pieces[REPLAY_CHUNKS_MAX];
	size_t n;
	struct bus_port again; /* what reads them */
};

/* Gathers all from these marks (0 in rings from n on) to where the relay's port stands. False: a
 * ring was overwritten, or buffers do not suffice for it and so many members; it is empty then. */
bool replay_gather(struct replay *replay, const struct relay *relay, const uint64_t marks[],
		   unsigned n, size_t members);
void replay_drop(struct replay *replay);

#endif
