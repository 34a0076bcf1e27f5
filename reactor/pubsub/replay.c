#include "reactor/pubsub/replay.h"

#include "reactor/base/check.h"
#include "reactor/pubsub/relay.h"

#define CHUNKS_LEFT(all) ((all) / 4) /* so many free ones are left to others */

static bool replay_add_piece(struct replay *replay, struct topic *topic)
{
	struct buffers *buffers = &topic->table->buffers;
	struct chunk *chunk;

	if (replay->n == REPLAY_CHUNKS_MAX ||
	    pool_free(&buffers->chunks) <= CHUNKS_LEFT(buffers->chunks.objects_max))
		return false;
	chunk = chunk_new(buffers);
	if (!chunk)
		return false;
	replay->pieces[replay->n].topic = topic;
	replay->pieces[replay->n].chunk = chunk;
	replay->pieces[replay->n++].lines = 0;
	return true;
}

/* Copies a line behind the last one of its topic. False: no buffers, or it was overwritten. */
static bool replay_line(struct replay *replay, struct topic *topic, const struct bus_record *record)
{
	size_t i = replay->n;
	struct chunk *chunk;

	while (i && replay->pieces[i - 1].topic != topic)
		i--;
	if (!i || replay->pieces[i - 1].chunk->used + record->bytes > CHUNK_BYTES) {
		if (!replay_add_piece(replay, topic))
			return false;
		i = replay->n;
	}
	chunk = replay->pieces[i - 1].chunk;
	if (!bus_take(&replay->again, record, chunk->bytes + chunk->used))
		return false;
	chunk->used += record->bytes;
	replay->pieces[i - 1].lines++;
	return true;
}

static bool replay_ring(struct replay *replay, const struct relay *relay, unsigned ring)
{
	struct bus_port *again = &replay->again;
	struct bus_record record;

	while (again->at[ring] < relay->port.at[ring] && bus_peek_in(again, ring, &record)) {
		unsigned char unwanted[BUS_RECORD_MAX];
		struct topic *topic;

		if (record.topic == RELAY_ORDER && !relay_follow(again, &record))
			continue;
		topic = record.topic < relay->topics_n ? relay->topics[record.topic] : NULL;
		if (!(topic ? replay_line(replay, topic, &record)
			    : bus_take(again, &record, unwanted)))
			return false;
	}
	return true;
}

/* Is there a segment for each piece and member, and are there those that the next batches need? */
static bool segments_suffice(const struct replay *replay, size_t members)
{
	const struct conn_table *table;
	size_t needed;

	if (!replay->n)
		return true;
	table = replay->pieces[0].topic->table;
	needed = members * (replay->n + 1) + table->conns.used + TOPIC_OWN_LINES +
		 pool_free(&table->buffers.chunks);
	return pool_free(&table->buffers.segments) > needed;
}

bool replay_gather(struct replay *replay, const struct relay *relay, const uint64_t marks[],
		   unsigned n, size_t members)
{
	bool all;

	CHECK(!replay->n);
	all = bus_read_again(&replay->again, &relay->port, marks, n);
	for (unsigned i = 0; all && i < bus_seats(relay->port.bus); i++)
		all = replay_ring(replay, relay, i);
	all = all && bus_read_all_again(&replay->again, &relay->port) &&
	      segments_suffice(replay, members);
	if (!all)
		replay_drop(replay);
	return all;
}

void replay_drop(struct replay *replay)
{
	while (replay->n) {
		replay->n--;
		chunk_release(&replay->pieces[replay->n].topic->table->buffers,
			      replay->pieces[replay->n].chunk);
	}
}
