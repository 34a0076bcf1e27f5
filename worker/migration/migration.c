#include "worker/migration/migration_parts.h"

#include "reactor/base/hash.h"
#include "reactor/base/sys.h"

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
				seqpacket_init(&(*lane)->end);
			return *lane;
		}
		if (!seqpacket_is_open(&(*lane)->end) && !(*lane)->end.source.queued)
			return *lane;
	}
	return NULL;
}

void lane_promise(struct move_lane *lane, struct conn_promise promise)
{
	struct conn_table *table = lane->mover->table;

	if (lane->mover->closed)
		promise = (struct conn_promise){0};
	/* It is another process' word. */
	if (promise.connections > table->conns.objects_max)
		promise.connections = table->conns.objects_max;
	if (promise.chunks > table->buffers.chunks.objects_max)
		promise.chunks = table->buffers.chunks.objects_max;
	conn_table_promise(table, &lane->promise, promise);
}

void lane_hear(struct move_lane *lane)
{
	if (!lane->heard)
		lane->mover->unheard--;
	lane->heard = true;
}

void lane_close(struct move_lane *lane)
{
	if (!lane->gives) {
		lane_hear(lane);
		lane_promise(lane, (struct conn_promise){0});
	}
	seqpacket_close(&lane->end);
}

int lane_open(struct mover *mover, struct move_lane *lane, int fd, bool patient, source_turn *turn)
{
	int error = seqpacket_open(&lane->end, mover->loop, fd, patient, NULL);

	lane->mover = mover;
	lane->wanted = lane->given = lane->refusals = lane->offers_n = 0;
	lane->first = lane->under_way = 0;
	lane->cursor = 0;
	lane->waits = lane->heard = false;
	lane->promise = (struct conn_promise){0};
	lane->end.source.turn = turn;
	return error;
}

/* ---- the mover ---- */

void mover_close_doors(struct mover *mover)
{
	mover->closed = true;
	for (size_t i = 0; i < MOVE_LANES_MAX; i++) {
		struct move_lane *lane = mover->lanes[i];

		if (!lane || !seqpacket_is_open(&lane->end) || lane->gives)
			continue;
		lane_hear(lane);
		lane_promise(lane, (struct conn_promise){0});
	}
}

bool mover_is_undecided(const struct mover *mover)
{
	return mover->unheard ||
	       (clients_counted(&mover->table->clients) && mover->table->promised.connections);
}

void mover_open(struct mover *mover, struct conn_table *table, struct relay *relay, uint64_t bus,
		const struct move_owner *owner)
{
	*mover = (struct mover){
	    .loop = table->loop, .table = table, .relay = relay, .bus = bus, .owner = owner};
}
