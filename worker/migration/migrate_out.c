/* Connections that go: frozen, described, sent, and forgotten once they were taken. */
#include "worker/migration/migration_parts.h"

#include <string.h>

#include "reactor/base/log.h"
#include "reactor/base/rights.h"
#include "reactor/base/sys.h"

#define MOVE_FD_NAME	  "weir-move"
#define MOVE_BYTES	  (4u << 20) /* of a batch, if it has more than one connection */
#define MOVE_RETRY_MS	  20
#define MOVE_REFUSALS_MAX 25 /* batches of which nothing was taken */

/* The oldest batch was answered, or never will be. */
static void batch_end(struct move_channel *channel, uint64_t taken)
{
	struct move_batch *batch = &channel->batches[channel->first];

	for (uint32_t i = 0; i < batch->n; i++) {
		if (taken >> i & 1) {
			conn_depart(batch->conns[i]);
			continue;
		}
		/* Perhaps it was its reason that is not known there: they are few, and end soon. */
		if (batch->conns[i]->reason)
			channel->knows_reasons = false;
		conn_thaw(batch->conns[i]);
	}
	channel->first = (channel->first + 1) % MOVE_UNDER_WAY_MAX;
	channel->under_way--;
}

static void end_move(struct move_channel *channel, enum move_end end)
{
	struct migration *migration = channel->migration;

	while (channel->under_way)
		batch_end(channel, 0);
	move_channel_close(channel);
	migration->owner->moved_out(channel->order, channel->moved, end);
}

static bool is_same_protocol(const struct move_offer *offer, const struct protocol *protocol)
{
	return offer->state_bytes == protocol_state_bytes(protocol) &&
	       offer->state_version == protocol_state_version(protocol) &&
	       strncmp(offer->protocol, protocol->name, sizeof offer->protocol) == 0;
}

/* Would the receiver read its snapshot as we mean it, and know why it ends, if it does? */
static bool is_readable(const struct move_channel *channel, const struct conn *conn)
{
	if (conn->reason && !channel->knows_reasons)
		return false;
	return channel->reads_all || !(conn->peer_given || conn->has_timer);
}

/* Does the receiver serve this connection's listener, with the same protocol and state? Then
 * *service names it. */
static bool is_offered(const struct move_channel *channel, const struct conn *conn,
		       uint32_t *service)
{
	const struct protocol *protocol = conn->service->protocol;
	uint32_t listener = conn->service->listener;

	if (protocol->shares && !channel->same_bus)
		return false;
	for (uint32_t i = 0; i < channel->offers_n; i++) {
		const struct move_offer *offer = &channel->offers[i];

		if (offer->listener != listener)
			continue;
		*service = channel->reads_all ? MOVE_BY_OFFER | i : listener;
		if (is_same_protocol(offer, protocol))
			return true;
		if (!channel->reads_all)
			return false; /* it means the first one */
	}
	return false;
}

/* ---- what is promised ---- */

/* How many of the connections that may go are meant for other channels. */
static uint64_t wanted_elsewhere(const struct move_channel *channel)
{
	uint64_t wanted = 0;

	for (size_t i = 0; i < MOVE_CHANNELS_MAX; i++) {
		const struct move_channel *other = channel->migration->channels[i];

		if (other && other != channel && seqpacket_is_open(&other->end) && other->sends &&
		    other->wanted != MOVE_ALL)
			wanted += other->wanted;
	}
	return wanted;
}

static struct conn_promise still_to_go(const struct move_channel *channel)
{
	uint64_t others = channel->wanted == MOVE_ALL ? wanted_elsewhere(channel) : 0;
	const struct service *service = NULL;
	struct conn_promise promise = {0};
	bool offered = false;
	struct conn *conn;
	uint32_t unused;
	size_t cursor = 0;

	while (promise.connections < channel->wanted &&
	       (conn = pool_next(&channel->migration->table->conns, &cursor))) {
		if (conn->service != service)
			offered = is_offered(channel, conn, &unused);
		service = conn->service;
		if (!offered || !is_readable(channel, conn) || !conn_can_freeze(conn))
			continue;
		if (others) {
			others--;
			continue;
		}
		promise.connections++;
		promise.chunks += conn_snapshot_chunks(conn_buffer_bytes(conn));
	}
	return promise;
}

/* Called before each walk over the table: tells the receiver what the walk will find, unless it
 * knows. */
static void send_promise(struct move_channel *channel)
{
	struct conn_promise promise;
	struct promise_message message;

	if (!channel->offers_n || !(channel->offers[0].reads & MOVE_READS_PROMISES))
		return;
	promise = still_to_go(channel);
	if (channel->heard && promise.connections == channel->promise.connections &&
	    promise.chunks == channel->promise.chunks)
		return;
	message = (struct promise_message){.kind = MOVE_PROMISE,
					   .connections = (uint32_t)promise.connections,
					   .chunks = promise.chunks};
	/* If the channel is full, the next walk says it. */
	if (descriptors_send(channel->end.source.fd, &message, sizeof message, NULL, 0) < 0)
		return;
	channel->promise = promise;
	channel->heard = true;
}

/* A batch is under way: we subtract it from the promise, and so does the receiver when it comes. */
static void promise_went(struct move_channel *channel, const struct move_batch *batch)
{
	struct conn_promise *promise = &channel->promise;
	size_t chunks = 0;

	for (uint32_t i = 0; i < batch->n; i++)
		chunks += conn_snapshot_chunks(conn_buffer_bytes(batch->conns[i]));
	promise->connections -= promise->connections < batch->n ? promise->connections : batch->n;
	promise->chunks -= promise->chunks < chunks ? promise->chunks : chunks;
}

/* ---- batches ---- */

/* The next connections that can go, frozen from now on. */
static void batch_gather(struct move_channel *channel, struct move_batch *batch)
{
	struct conn_table *table = channel->migration->table;
	size_t bytes = 0;
	struct conn *conn;

	batch->n = 0;
	while (batch->n < MOVE_BATCH_MAX && batch->n < channel->wanted && bytes < MOVE_BYTES &&
	       (conn = pool_next(&table->conns, &channel->cursor)))
		if (is_readable(channel, conn) &&
		    is_offered(channel, conn, &batch->services[batch->n]) && conn_freeze(conn)) {
			batch->conns[batch->n++] = conn;
			bytes += conn_snapshot_bytes(conn);
		}
}

/* Describes a batch in move_message; *fd is a memfd with the bytes that its connections hold, -1 if
 * they hold none. */
static int batch_describe(const struct move_batch *batch, int *fd)
{
	struct move_batch_message *message = &move_message.batch;
	unsigned char *bytes = NULL;
	size_t n = 0;

	memset(message->snapshots, 0, sizeof message->snapshots);
	*fd = -1;
	for (uint32_t i = 0; i < batch->n; i++)
		n += conn_snapshot_bytes(batch->conns[i]);
	if (n >= UINT32_MAX)
		return -EFBIG;
	if (n) {
		int error;

		*fd = sys_memfd_create(MOVE_FD_NAME, MFD_CLOEXEC);
		if (*fd < 0)
			return *fd;
		error = sys_ftruncate(*fd, (off_t)n);
		bytes = error ? NULL : sys_map(n, MAP_SHARED, *fd);
		if (!bytes) {
			(void)sys_close(*fd);
			return error ? error : -ENOMEM;
		}
	}
	message->kind = MOVE_BATCH;
	message->count = batch->n;
	message->bytes = (uint32_t)n;
	for (uint32_t i = 0, at = 0; i < batch->n; i++) {
		struct conn *conn = batch->conns[i];

		conn_describe(conn, &message->snapshots[i], bytes ? bytes + at : NULL);
		message->snapshots[i].service = batch->services[i];
		at += (uint32_t)conn_snapshot_bytes(conn);
	}
	if (bytes)
		(void)sys_munmap(bytes, n);
	return 0;
}

/* 0, or -errno: then nothing was sent. */
static int batch_send(struct move_channel *channel, const struct move_batch *batch)
{
	struct move_batch_message *message = &move_message.batch;
	int fds[DESCRIPTORS_MAX], memfd, error = batch_describe(batch, &memfd);
	ssize_t sent;

	if (error)
		return error;
	for (uint32_t i = 0; i < batch->n; i++)
		fds[i] = batch->conns[i]->source.fd;
	if (memfd >= 0)
		fds[batch->n] = memfd;
	sent = descriptors_send(channel->end.source.fd, message, sizeof *message, fds,
				batch->n + (memfd >= 0));
	if (memfd >= 0)
		(void)sys_close(memfd);
	return sent < 0 ? (int)sent : 0;
}

/* False: not now, or there is nothing to give. */
static bool send_next_batch(struct move_channel *channel)
{
	uint32_t last = (channel->first + channel->under_way) % MOVE_UNDER_WAY_MAX;
	struct move_batch *batch = &channel->batches[last];
	int error;

	batch_gather(channel, batch);
	if (!batch->n)
		return false;
	error = batch_send(channel, batch);
	if (!error) {
		channel->under_way++;
		promise_went(channel, batch);
		if (channel->wanted != MOVE_ALL)
			channel->wanted -= batch->n;
		return true;
	}
	for (uint32_t i = 0; i < batch->n; i++)
		conn_thaw(batch->conns[i]);
	channel->cursor = 0;
	/* No timer is needed if answers will make room in the channel, or if the channel has ended,
	 * which is read after what came before it. */
	if ((error == -EAGAIN && channel->under_way) || error == -EPIPE || error == -ECONNRESET) {
		channel->waits = true;
		return false;
	}
	channel->refusals++;
	loop_deadline(channel->migration->loop, &channel->end.source,
		      channel->migration->loop->now_ms + MOVE_RETRY_MS);
	return false;
}

/* Takes the answer to the oldest batch. False: it is no valid one. */
static bool read_taken(struct move_channel *channel, const struct taken_message *message)
{
	struct move_batch *batch = &channel->batches[channel->first];
	uint32_t n = batch->n, taken = (uint32_t)__builtin_popcountll(message->taken);

	if (!channel->under_way || message->kind != MOVE_TAKEN || (n < 64 && message->taken >> n))
		return false;
	batch_end(channel, message->taken);
	channel->moved += taken;
	if (channel->wanted != MOVE_ALL)
		channel->wanted += n - taken;
	if (taken == n) {
		channel->refusals = 0;
		return true;
	}
	channel->cursor = 0;
	channel->heard = false; /* those that were refused are promised again */
	channel->refusals = taken ? 1 : channel->refusals + 1;
	return true;
}

static bool add_offers(struct move_channel *channel, const struct offer_message *message, size_t n)
{
	if (message->offers_n > MOVE_OFFERS_MAX - channel->offers_n ||
	    n != offsetof(struct offer_message, offers) +
		     message->offers_n * sizeof *message->offers)
		return false;
	memcpy(channel->offers + channel->offers_n, message->offers,
	       message->offers_n * sizeof *message->offers);
	channel->offers_n += message->offers_n;
	return true;
}

/* If that fails, the receiver is taken for an older weir. */
static void say_reasons(struct move_channel *channel)
{
	static struct reasons_message message;
	size_t n = move_reasons_write(&message, MOVE_REASONS);

	channel->reads_all = channel->knows_reasons =
	    descriptors_send(channel->end.source.fd, &message, n, NULL, 0) == (ssize_t)n;
}

static bool read_offer(struct move_channel *channel, const struct offer_message *message, size_t n)
{
	if (n < offsetof(struct offer_message, offers) || message->kind != MOVE_OFFER)
		return false;
	/* The receiver is another version of weir, whose messages may have another size: nothing
	 * can go there, so all stays here to be drained. */
	if (message->version != SNAPSHOT_VERSION || message->reasons != move_reasons_hash()) {
		channel->wanted = 0;
		channel->offers_n = 1;
		channel->offers[0] = (struct move_offer){0};
		return true;
	}
	if (!add_offers(channel, message, n))
		return false;
	channel->same_bus = message->bus == channel->migration->journal;
	if (!channel->offers_n)
		channel->wanted = 0;
	else if (channel->offers[0].reads & MOVE_READS_ALL)
		say_reasons(channel);
	channel->awaits_offers =
	    channel->reads_all && (channel->offers[0].reads & MOVE_OFFERS_MORE);
	return true;
}

/* The second offer, with what had no room in the first. */
static bool read_more_offers(struct move_channel *channel, const struct offer_message *message,
			     size_t n)
{
	channel->awaits_offers = false;
	return n >= offsetof(struct offer_message, offers) && message->kind == MOVE_OFFER &&
	       add_offers(channel, message, n);
}

enum outcome { NONE, READ, OVER };

/* Reads one message. OVER: the channel has ended, and is closed. */
static enum outcome read_message(struct move_channel *channel)
{
	static union {
		struct offer_message offer;
		struct taken_message taken;
	} message;
	ssize_t n = rights_receive(channel->end.source.fd, &message, sizeof message);
	bool good = false;

	/* Only the channel's end means that what was sent was not taken; no other error does. */
	if (n < 0 && n != -RIGHTS_CAME)
		return NONE;
	if (n > 0 && !channel->offers_n)
		good = read_offer(channel, &message.offer, (size_t)n);
	else if (n > 0 && channel->awaits_offers)
		good = read_more_offers(channel, &message.offer, (size_t)n);
	else if (n == (ssize_t)sizeof message.taken)
		good = read_taken(channel, &message.taken);
	if (good)
		return READ;
	if (n)
		log_error("a worker broke the rules of a move");
	end_move(channel, MOVE_BROKEN);
	return OVER;
}

/* False: the channel is closed. */
static bool read_messages(struct move_channel *channel)
{
	enum outcome outcome = read_message(channel);

	while (outcome == READ && channel->under_way)
		outcome = read_message(channel);
	return outcome != OVER;
}

static void sender_turn(struct loop *loop, struct source *source)
{
	struct move_channel *channel = move_channel_of(source);
	bool due = source->ready & SOURCE_DUE, again;

	source->ready = 0;
	if (source->fd < 0 || !read_messages(channel))
		return;
	/* Not all offers have come yet; a receiver that hangs is ended by the watchdog. */
	if (channel->wanted && (!channel->offers_n || channel->awaits_offers))
		return;
	if (channel->refusals > MOVE_REFUSALS_MAX) {
		if (!channel->under_way)
			end_move(channel, MOVE_FULL);
		return;
	}
	if (channel->refusals && !due) { /* there may be room later */
		loop_deadline(loop, source, loop->now_ms + MOVE_RETRY_MS);
		return;
	}
	again = channel->cursor != 0;
	channel->waits = false;
	if (!again)
		send_promise(channel);
	while (channel->under_way < MOVE_UNDER_WAY_MAX && send_next_batch(channel))
		;
	if (channel->under_way || channel->waits || deadline_armed(&source->deadline))
		return;
	/* Has a connection come to a place in the table that was looked at already? */
	channel->cursor = 0;
	if (channel->wanted && again)
		loop_wake(loop, source);
	else if (!channel->wanted || !channel->migration->owner->expects_more())
		end_move(channel, MOVE_DONE);
}

void migrate_out(struct migration *migration, int fd, uint32_t order, uint32_t count)
{
	struct move_channel *channel = move_channel_free(migration);

	if (!channel || move_channel_open(migration, channel, fd, false, sender_turn)) {
		(void)sys_close(fd);
		migration->owner->moved_out(order, 0, MOVE_FULL);
		return;
	}
	channel->order = order;
	channel->wanted = count;
	channel->sends = true;
}

void migrate_out_look(struct migration *migration)
{
	for (size_t i = 0; i < MOVE_CHANNELS_MAX; i++) {
		struct move_channel *channel = migration->channels[i];

		if (channel && seqpacket_is_open(&channel->end) && channel->sends)
			loop_wake(migration->loop, &channel->end.source);
	}
}
