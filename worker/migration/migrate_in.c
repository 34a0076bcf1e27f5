/* Connections that come: taken if there is room, and answered before they are touched. */
#include "worker/migration/migration_parts.h"

#include <string.h>

#include "reactor/base/log.h"
#include "reactor/base/rights.h"
#include "reactor/base/sys.h"

#define UNHEARD_MS     1000  /* for the first word of a sender: it may be busy, or stopped */
#define SILENCE_MS_MAX 5000  /* between two words of one that has promised something */
#define PROMISE_MS_MAX 30000 /* from its beginning to the end of all that was promised */
#define UNHEARD_MORE   256   /* connections that it may have let in since the master looked */

/* Copies the bytes that came beside the descriptors, because their sender may still write to them.
 * What it calls a memfd may be anything else; then reading at an offset fails. */
static unsigned char *map_bytes(int memfd, size_t from, size_t n)
{
	unsigned char *bytes = sys_map(n, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	size_t at = 0;

	while (bytes && at < n) {
		ssize_t got = sys_pread(memfd, bytes + at, n - at, (off_t)(from + at));

		if (got == -EINTR)
			continue;
		if (got <= 0) {
			(void)sys_munmap(bytes, n);
			return NULL;
		}
		at += (size_t)got;
	}
	return bytes;
}

/* ---- what is promised ---- */

static size_t less(size_t n, size_t by)
{
	return n < by ? 0 : n - by;
}

/* From now on this promise stands for ms, unless its sender says something before. */
static void promise_stands(struct move_channel *channel, struct conn_promise promise, uint32_t ms)
{
	struct loop *loop = channel->migration->loop;

	if (time_reached(loop->now_ms, channel->latest_ms))
		promise = (struct conn_promise){0};
	move_channel_promise(channel, promise);
	channel->patience_ms = loop->now_ms + ms;
	if (time_reached(channel->patience_ms, channel->latest_ms))
		channel->patience_ms = channel->latest_ms;
	if (promise.connections || promise.chunks)
		loop_deadline(loop, &channel->end.source, channel->patience_ms);
}

/* What the master knew of, without UNHEARD_MORE. */
static struct conn_promise promise_unheard(const struct move_channel *channel)
{
	struct conn_promise promise = channel->promise;

	promise.connections = less(promise.connections, UNHEARD_MORE);
	return promise;
}

/* The time is over: a sender that is stopped, or lies, must not keep newcomers out any longer. */
static void promise_look(struct move_channel *channel)
{
	struct conn_promise promise = {0};

	if (!time_reached(channel->migration->loop->now_ms,
			  channel->patience_ms)) { /* it has spoken since */
		loop_deadline(channel->migration->loop, &channel->end.source, channel->patience_ms);
		return;
	}
	if (!channel->heard)
		promise = promise_unheard(channel);
	move_channel_heard(channel);
	promise_stands(channel, promise, SILENCE_MS_MAX);
}

static void read_promise(struct move_channel *channel, const struct promise_message *message)
{
	move_channel_heard(channel);
	promise_stands(channel,
		       (struct conn_promise){message->connections, (size_t)message->chunks},
		       SILENCE_MS_MAX);
}

/* What was taken is no longer to come; what was refused still is. From an older sender, which makes
 * no promises, this is all that is heard. */
static void promise_kept(struct move_channel *channel, struct conn_promise taken)
{
	struct conn_promise left = channel->heard ? channel->promise : promise_unheard(channel);

	move_channel_heard(channel);
	left.connections = less(left.connections, taken.connections);
	left.chunks = less(left.chunks, taken.chunks);
	promise_stands(channel, left, SILENCE_MS_MAX);
}

/* ---- what is offered ---- */

/* Offers at most max of the services that were not offered yet. False: the sender has gone. */
static bool offer_more(struct move_channel *channel, uint32_t max)
{
	static struct offer_message message;
	bool first = !channel->offers_n;
	size_t n;

	message = (struct offer_message){.kind = MOVE_OFFER,
					 .version = SNAPSHOT_VERSION,
					 .reasons = move_reasons_hash(),
					 .bus = channel->migration->journal};
	while (message.offers_n < max && channel->offers_n < channel->services_n) {
		const struct service *service = channel->services[channel->offers_n++];
		struct move_offer *offer = &message.offers[message.offers_n++];

		offer->listener = service->listener;
		offer->state_bytes = protocol_state_bytes(service->protocol);
		offer->state_version = protocol_state_version(service->protocol);
		offer->reads = MOVE_READS_PROMISES | MOVE_READS_ALL;
		memcpy(offer->protocol, service->protocol->name, strlen(service->protocol->name));
	}
	if (first && channel->offers_n < channel->services_n)
		message.offers[0].reads |= MOVE_OFFERS_MORE;
	n = offsetof(struct offer_message, offers) + message.offers_n * sizeof *message.offers;
	return descriptors_send(channel->end.source.fd, &message, n, NULL, 0) == (ssize_t)n;
}

/* From now on its sender is known to read a second offer. */
static bool read_reasons(struct move_channel *channel, size_t n)
{
	return move_reasons_read(&channel->reasons, &move_message.reasons, n) &&
	       (channel->offers_n == channel->services_n || offer_more(channel, MOVE_OFFERS_MAX));
}

/* ---- what comes ---- */

/* NULL: it was not offered. */
static struct service *service_of(const struct move_channel *channel,
				  const struct conn_snapshot *snapshot)
{
	uint32_t offer = snapshot->service & ~MOVE_BY_OFFER;

	if (snapshot->service & MOVE_BY_OFFER)
		return offer < channel->offers_n ? channel->services[offer] : NULL;
	for (uint32_t i = 0; i < channel->offers_n; i++)
		if (channel->services[i]->listener == snapshot->service)
			return channel->services[i];
	return NULL;
}

/* Adopts a connection if there is room for it and its bytes; then the connection owns fd. */
static bool adopt_one(const struct move_channel *channel, struct service *service,
		      const struct conn_snapshot *described, int fd, int memfd, size_t from)
{
	struct conn_snapshot snapshot = *described;
	size_t n = (size_t)snapshot_bytes(&snapshot, service->protocol);
	unsigned char *bytes = NULL;
	bool taken;

	if (!move_reasons_translate(&channel->reasons, &snapshot.reason))
		return false;
	if (!conn_can_adopt(service, (size_t)snapshot_buffer_bytes(&snapshot)))
		return false;
	if (n && !(bytes = map_bytes(memfd, from, n)))
		return false;
	taken = conn_adopt(service, fd, &snapshot, bytes);
	if (bytes)
		(void)sys_munmap(bytes, n);
	return taken;
}

/* Returns which of a batch are ours from now on, as bits, and sets their descriptors to -1. One
 * that is too big here keeps out no other. */
static uint64_t adopt_connections(struct move_channel *channel,
				  const struct move_batch_message *message, int *fds)
{
	struct conn_promise kept = {0};
	int memfd = message->bytes ? fds[message->count] : -1;
	uint64_t taken = 0;
	size_t at = 0;

	for (uint32_t i = 0; i < message->count; i++) {
		const struct conn_snapshot *snapshot = &message->snapshots[i];
		struct service *service = service_of(channel, snapshot);
		uint64_t n = service ? snapshot_bytes(snapshot, service->protocol) : UINT64_MAX;

		if (n > message->bytes - at)
			break; /* and where the next one's bytes are is not known, either */
		if (adopt_one(channel, service, snapshot, fds[i], memfd, at)) {
			fds[i] = -1;
			taken |= 1ull << i;
			kept.connections++;
			kept.chunks +=
			    conn_snapshot_chunks((size_t)snapshot_buffer_bytes(snapshot));
		}
		at += (size_t)n;
	}
	promise_kept(channel, kept);
	return taken;
}

/* False: its sender has gone, or does not listen to us. */
static bool send_answer(struct move_channel *channel, uint64_t taken)
{
	struct taken_message answer = {.kind = MOVE_TAKEN, .taken = taken};
	int error = seqpacket_send(&channel->end, &answer, sizeof answer, NULL, 0);

	/* There is a place for one answer, whatever memory is left (seqpacket.h). Without an answer
	 * the sender would go on with connections that we serve. */
	CHECK(!taken || error != -ENOBUFS);
	return !error;
}

static bool receive_batch(struct move_channel *channel, const struct move_batch_message *message,
			  int *fds, size_t fds_n)
{
	struct migration *migration = channel->migration;
	uint64_t taken = 0;
	bool can = !migration->closed && fds_n == message->count + (message->bytes != 0);

	if (can)
		taken = adopt_connections(channel, message, fds);
	return send_answer(channel, taken) || !taken;
}

static bool batch_is_well_formed(const struct move_batch_message *message, size_t n)
{
	return n == sizeof *message && message->kind == MOVE_BATCH && message->count &&
	       message->count <= MOVE_BATCH_MAX;
}

/* Takes what was received, n bytes. False: the channel is to be closed. */
static bool take_message(struct move_channel *channel, size_t n, int *fds, size_t fds_n)
{
	const union move_message *message = &move_message;
	bool good = false;

	if (n >= sizeof message->kind && message->kind == MOVE_REASONS) {
		good = read_reasons(channel, n);
	} else if (n == sizeof message->promise && message->kind == MOVE_PROMISE) {
		read_promise(channel, &message->promise);
		good = true;
	} else if (batch_is_well_formed(&message->batch, n)) {
		/* If that fails, the sender has gone: nobody but us has these connections. */
		return receive_batch(channel, &message->batch, fds, fds_n);
	}
	if (!good && n)
		log_error("a worker broke the rules of a move");
	return good;
}

/* False: there is none, or the channel is closed. */
static bool receive_message(struct move_channel *channel)
{
	int fds[DESCRIPTORS_MAX];
	size_t fds_n;
	ssize_t n = descriptors_receive(channel->end.source.fd, &move_message, sizeof move_message,
					fds, &fds_n);

	if (n == -EAGAIN)
		return false;
	if (!take_message(channel, n < 0 ? 0 : (size_t)n, fds, fds_n))
		move_channel_close(channel);
	for (size_t i = 0; i < fds_n; i++)
		if (fds[i] >= 0)
			rights_leave(fds[i]); /* it may be anything, and the last copy */
	return seqpacket_is_open(&channel->end);
}

/* Level-triggered: what is left gets another turn. Nothing is taken before the answers to what was
 * taken have gone. */
static void receiver_turn(struct loop *loop, struct source *source)
{
	struct move_channel *channel = move_channel_of(source);
	bool due = source->ready & SOURCE_DUE;
	int batches = 0;

	(void)loop;
	source->ready = 0;
	if (source->fd < 0)
		return;
	while (batches++ < MOVE_UNDER_WAY_MAX && seqpacket_flush(&channel->end) &&
	       receive_message(channel))
		;
	if (due && source->fd >= 0)
		promise_look(channel);
}

void migrate_in(struct migration *migration, int fd, struct service *const services[], size_t n,
		struct conn_promise expected)
{
	struct move_channel *channel = migration->closed ? NULL : move_channel_free(migration);

	CHECK(n <= MOVE_OFFERS_MAX);
	if (!channel || move_channel_open(migration, channel, fd, true, receiver_turn)) {
		(void)sys_close(fd);
		return;
	}
	channel->sends = false;
	channel->services_n = (uint32_t)n;
	memcpy(channel->services, services, n * sizeof *services);
	channel->latest_ms = migration->loop->now_ms + PROMISE_MS_MAX;
	migration->unheard++;
	expected.connections += UNHEARD_MORE;
	expected.chunks *= 2; /* what filled one chunk there may take two here */
	promise_stands(channel, expected, UNHEARD_MS);
	if (!offer_more(channel, MOVE_OFFERS_FIRST))
		move_channel_close(channel);
}
