#include "worker/migration/migration_parts.h"

#include "reactor/base/sys.h"

union move_message move_message;

/* ---- channels ---- */

struct move_channel *move_channel_free(struct migration *migration)
{
	for (size_t i = 0; i < MOVE_CHANNELS_MAX; i++) {
		struct move_channel **channel = &migration->channels[i];

		if (!*channel) {
			*channel = sys_map(sizeof **channel, MAP_PRIVATE | MAP_ANONYMOUS, -1);
			if (*channel)
				seqpacket_init(&(*channel)->end);
			return *channel;
		}
		if (!seqpacket_is_open(&(*channel)->end) && !(*channel)->end.source.queued)
			return *channel;
	}
	return NULL;
}

void move_channel_promise(struct move_channel *channel, struct conn_promise promise)
{
	struct conn_table *table = channel->migration->table;

	if (channel->migration->closed)
		promise = (struct conn_promise){0};
	/* Another process may say anything: no more is kept than there can be. */
	if (promise.connections > table->conns.objects_max)
		promise.connections = table->conns.objects_max;
	if (promise.chunks > table->buffers.chunks.objects_max)
		promise.chunks = table->buffers.chunks.objects_max;
	conn_table_promise(table, &channel->promise, promise);
}

void move_channel_heard(struct move_channel *channel)
{
	if (!channel->heard)
		channel->migration->unheard--;
	channel->heard = true;
}

void move_channel_close(struct move_channel *channel)
{
	if (!channel->sends) {
		move_channel_heard(channel);
		move_channel_promise(channel, (struct conn_promise){0});
	}
	seqpacket_close(&channel->end);
}

int move_channel_open(struct migration *migration, struct move_channel *channel, int fd,
		      bool patient, source_turn *turn)
{
	int error = seqpacket_open(&channel->end, migration->loop, fd, patient, NULL);

	channel->migration = migration;
	channel->wanted = channel->moved = channel->refusals = channel->offers_n = 0;
	channel->services_n = 0;
	channel->first = channel->under_way = 0;
	channel->cursor = 0;
	channel->waits = channel->heard = false;
	channel->reads_all = channel->awaits_offers = channel->knows_reasons = false;
	move_reasons_init(&channel->reasons);
	channel->promise = (struct conn_promise){0};
	channel->end.source.turn = turn;
	return error;
}

/* ---- the migration ---- */

void migration_close(struct migration *migration)
{
	migration->closed = true;
	for (size_t i = 0; i < MOVE_CHANNELS_MAX; i++) {
		struct move_channel *channel = migration->channels[i];

		if (!channel || !seqpacket_is_open(&channel->end) || channel->sends)
			continue;
		move_channel_heard(channel);
		move_channel_promise(channel, (struct conn_promise){0});
	}
}

bool migration_is_undecided(const struct migration *migration)
{
	return migration->unheard ||
	       (per_ip_counts(&migration->table->per_ip) && migration->table->promised.connections);
}

void migration_open(struct migration *migration, struct conn_table *table, uint64_t journal,
		    const struct move_owner *owner)
{
	*migration = (struct migration){
	    .loop = table->loop, .table = table, .journal = journal, .owner = owner};
}
