#include "worker/move_parts.h"

#include "reactor/hash.h"
#include "reactor/sys.h"

struct batch_note move_note;

uint64_t move_reasons(void)
{
	uint64_t hash = 0;

	for (unsigned reason = 1; reason < CLOSE_REASONS; reason++)
		for (const char *at = close_reason_name((enum close_reason)reason); *at; at++)
			hash = hash_mix(hash ^ (unsigned char)*at);
	return hash;
}

/* ---- lanes ---- */

struct move_lane *lane_free(struct mover *mover)
{
	for (size_t i = 0; i < MOVE_LANES_MAX; i++) {
		struct move_lane **lane = &mover->lanes[i];

		if (!*lane) {
			*lane = sys_map(sizeof **lane, MAP_PRIVATE | MAP_ANONYMOUS, -1);
			if (*lane)
				(*lane)->source.fd = -1;
			return *lane;
		}
		if ((*lane)->source.fd < 0 && !(*lane)->source.queued)
			return *lane;
	}
	return NULL;
}

void lane_close(struct move_lane *lane)
{
	struct loop *loop = lane->mover->loop;

	loop_unwatch(loop, &lane->source);
	loop_no_deadline(loop, &lane->source);
	(void)sys_close(lane->source.fd);
	lane->source.fd = -1;
}

int lane_open(struct mover *mover, struct move_lane *lane, int fd, source_turn *turn)
{
	lane->mover = mover;
	lane->wanted = lane->given = lane->refusals = lane->offers_n = 0;
	lane->first = lane->under_way = 0;
	lane->cursor = 0;
	lane->waits = false;
	source_init(&lane->source, fd, turn);
	lane->source.want = SOURCE_IN;
	return loop_watch(mover->loop, &lane->source, EPOLLIN);
}

/* ---- the mover ---- */

void mover_close_doors(struct mover *mover)
{
	mover->closed = true;
}

void mover_open(struct mover *mover, struct conn_table *table, struct relay *relay, uint64_t bus,
		const struct move_owner *owner)
{
	*mover = (struct mover){
	    .loop = table->loop, .table = table, .relay = relay, .bus = bus, .owner = owner};
}
