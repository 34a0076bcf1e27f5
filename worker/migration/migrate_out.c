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

/* It was answered, or will not be. */
static void batch_end(struct move_lane *lane, uint64_t taken)
{
	struct move_batch *batch = &lane->batches[lane->first];

	for (uint32_t i = 0; i < batch->n; i++) {
		if (taken >> i & 1)
			conn_depart(batch->conns[i]);
		else
			conn_thaw(batch->conns[i]);
	}
	if (batch->marked) {
		relay_unmark(lane->mover->relay);
		lane->mover->marked = false;
		mover_look(lane->mover); /* others may have waited for it */
	}
	lane->first = (lane->first + 1) % MOVE_UNDER_WAY_MAX;
	lane->under_way--;
}

static void give_end(struct move_lane *lane, enum move_end end)
{
	struct mover *mover = lane->mover;

	while (lane->under_way)
		batch_end(lane, 0);
	lane_close(lane);
	mover->owner->gave(lane->order, lane->given, end);
}

/* Does the taker serve what this one is in the middle of? */
static bool is_offered(const struct move_lane *lane, const struct conn *conn)
{
	const struct protocol *protocol = conn->service->protocol;
	uint32_t listener = lane->mover->owner->listener_of(conn->service);

	for (uint32_t i = 0; i < lane->offers_n; i++) {
		const struct move_offer *offer = &lane->offers[i];

		if (offer->listener == listener)
			return offer->state_bytes == protocol->state_bytes &&
			       offer->state_version == protocol->state_version &&
			       strncmp(offer->protocol, protocol->name, sizeof offer->protocol) ==
				   0 &&
			       (!protocol->has_topic || lane->same_bus);
	}
	return false;
}

/* ---- what is promised ---- */

/* Of those who may go, what other lanes are there for. */
static uint64_t wanted_elsewhere(const struct move_lane *lane)
{
	uint64_t wanted = 0;

	for (size_t i = 0; i < MOVE_LANES_MAX; i++) {
		const struct move_lane *other = lane->mover->lanes[i];

		if (other && other != lane && seqpacket_is_open(&other->end) && other->gives &&
		    other->wanted != MOVE_ALL)
			wanted += other->wanted;
	}
	return wanted;
}

static struct conn_promise still_to_go(const struct move_lane *lane)
{
	uint64_t others = lane->wanted == MOVE_ALL ? wanted_elsewhere(lane) : 0;
	const struct service *service = NULL;
	struct conn_promise promise = {0};
	bool offered = false;
	struct conn *conn;
	size_t cursor = 0;

	while (promise.connections < lane->wanted &&
	       (conn = pool_next(&lane->mover->table->conns, &cursor))) {
		if (conn->service != service)
			offered = is_offered(lane, conn);
		service = conn->service;
		if (!offered || !conn_can_freeze(conn))
			continue;
		if (others) {
			others--;
			continue;
		}
		promise.connections++;
		promise.chunks += transit_chunks(conn_transit_bytes(conn));
	}
	return promise;
}

/* Before each walk over the table: what it will find. Said where the taker doesn't know it. */
static void give_promise(struct move_lane *lane)
{
	struct conn_promise promise;
	struct promise_note note;

	if (!lane->offers_n || !lane->offers[0].promises)
		return;
	promise = still_to_go(lane);
	if (lane->heard && promise.connections == lane->promise.connections &&
	    promise.chunks == lane->promise.chunks)
		return;
	note = (struct promise_note){.kind = MOVE_PROMISE,
				     .connections = (uint32_t)promise.connections,
				     .chunks = promise.chunks};
	/* Where the lane is full, the next walk says it. */
	if (descriptors_send(lane->end.source.fd, &note, sizeof note, NULL, 0) < 0)
		return;
	lane->promise = promise;
	lane->heard = true;
}

/* It is under way: the taker subtracts it as it comes. */
static void promise_went(struct move_lane *lane, const struct move_batch *batch)
{
	struct conn_promise *promise = &lane->promise;
	size_t chunks = 0;

	for (uint32_t i = 0; i < batch->n; i++)
		chunks += transit_chunks(conn_transit_bytes(batch->conns[i]));
	promise->connections -= promise->connections < batch->n ? promise->connections : batch->n;
	promise->chunks -= promise->chunks < chunks ? promise->chunks : chunks;
}

/* ---- batches ---- */

/* The next connections that can go, frozen from now on. */
static void batch_gather(struct move_lane *lane, struct move_batch *batch)
{
	struct conn_table *table = lane->mover->table;
	size_t bytes = 0;
	struct conn *conn;

	batch->n = 0;
	while (batch->n < MOVE_BATCH_MAX && batch->n < lane->wanted && bytes < MOVE_BYTES &&
	       (conn = pool_next(&table->conns, &lane->cursor)))
		if (is_offered(lane, conn) && conn_freeze(conn)) {
			batch->conns[batch->n++] = conn;
			bytes += conn_transit_bytes(conn);
		}
}

static bool batch_has_members(const struct move_batch *batch)
{
	for (uint32_t i = 0; i < batch->n; i++)
		if (batch->conns[i]->service->topic)
			return true;
	return false;
}

/* All of them as bytes; *fd is the memfd where there are more than the note holds, else -1. */
static int batch_describe(struct move_lane *lane, const struct move_batch *batch, int *fd)
{
	struct batch_note *note = &move_note;
	unsigned char *bytes = NULL;
	size_t n = 0;

	memset(note->transits, 0, sizeof note->transits);
	*fd = -1;
	for (uint32_t i = 0; i < batch->n; i++)
		n += conn_transit_bytes(batch->conns[i]);
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
	note->kind = MOVE_BATCH;
	note->count = batch->n;
	note->bytes = (uint32_t)n;
	for (uint32_t i = 0, at = 0; i < batch->n; i++) {
		struct conn *conn = batch->conns[i];

		conn_describe(conn, &note->transits[i], bytes ? bytes + at : NULL);
		note->transits[i].listener = lane->mover->owner->listener_of(conn->service);
		at += (uint32_t)conn_transit_bytes(conn);
	}
	if (bytes)
		(void)sys_munmap(bytes, n);
	return 0;
}

static int batch_pass(struct move_lane *lane, const struct move_batch *batch)
{
	struct batch_note *note = &move_note;
	int fds[DESCRIPTORS_MAX], memfd, error = batch_describe(lane, batch, &memfd);
	ssize_t sent;

	if (error)
		return error;
	for (uint32_t i = 0; i < batch->n; i++)
		fds[i] = batch->conns[i]->source.fd;
	if (memfd >= 0)
		fds[batch->n] = memfd;
	sent = descriptors_send(lane->end.source.fd, note,
				offsetof(struct batch_note, marks) +
				    note->marks_n * sizeof *note->marks,
				fds, batch->n + (memfd >= 0));
	if (memfd >= 0)
		(void)sys_close(memfd);
	return sent < 0 ? (int)sent : 0;
}

/* 0, or -errno: then nothing was sent. */
static int batch_send(struct move_lane *lane, struct move_batch *batch)
{
	struct relay *relay = lane->mover->relay;
	unsigned marks_n = 0;
	int error;

	batch->marked = batch_has_members(batch);
	/* What has not been heard is kept for one batch at a time. */
	if (batch->marked && (lane->mover->marked || !relay_mark(relay, move_note.marks, &marks_n)))
		return -EAGAIN;
	move_note.marks_n = marks_n;
	error = batch_pass(lane, batch);
	if (error && batch->marked)
		relay_unmark(relay);
	else
		lane->mover->marked |= batch->marked;
	return error;
}

/* False: not now, or there is none. */
static bool give_batch(struct move_lane *lane)
{
	uint32_t last = (lane->first + lane->under_way) % MOVE_UNDER_WAY_MAX;
	struct move_batch *batch = &lane->batches[last];
	int error;

	batch_gather(lane, batch);
	if (!batch->n)
		return false;
	error = batch_send(lane, batch);
	if (!error) {
		lane->under_way++;
		promise_went(lane, batch);
		if (lane->wanted != MOVE_ALL)
			lane->wanted -= batch->n;
		return true;
	}
	for (uint32_t i = 0; i < batch->n; i++)
		conn_thaw(batch->conns[i]);
	lane->cursor = 0;
	/* The end of the batch that is marked pokes us, answers make room in the lane, and its end
	 * is read, with what came before it. */
	if ((error == -EAGAIN && (lane->mover->marked || lane->under_way)) || error == -EPIPE ||
	    error == -ECONNRESET) {
		lane->waits = true;
		return false;
	}
	lane->refusals++;
	loop_deadline(lane->mover->loop, &lane->end.source,
		      lane->mover->loop->now_ms + MOVE_RETRY_MS);
	return false;
}

/* The answer to the oldest batch. False: it is none. */
static bool give_taken(struct move_lane *lane, const struct taken_note *note)
{
	struct move_batch *batch = &lane->batches[lane->first];
	uint32_t n = batch->n, taken = (uint32_t)__builtin_popcountll(note->taken);

	if (!lane->under_way || note->kind != MOVE_TAKEN || (n < 64 && note->taken >> n))
		return false;
	batch_end(lane, note->taken);
	lane->given += taken;
	if (lane->wanted != MOVE_ALL)
		lane->wanted += n - taken;
	if (taken == n) {
		lane->refusals = 0;
		return true;
	}
	lane->cursor = 0;
	lane->heard = false; /* some are to come after all */
	lane->refusals = taken ? 1 : lane->refusals + 1;
	return true;
}

static bool give_offered(struct move_lane *lane, const struct offer_note *note, size_t n)
{
	if (n < offsetof(struct offer_note, offers) || note->kind != MOVE_OFFER)
		return false;
	/* Another version of weir, whose notes may be of another size: nothing can go there, and it
	 * stays to be drained. */
	if (note->version != TRANSIT_VERSION || note->reasons != move_reasons()) {
		lane->wanted = 0;
		lane->offers_n = 1;
		lane->offers[0] = (struct move_offer){0};
		return true;
	}
	if (note->offers_n > MOVE_OFFERS_MAX ||
	    n != offsetof(struct offer_note, offers) + note->offers_n * sizeof *note->offers)
		return false;
	lane->same_bus = note->bus == lane->mover->bus;
	memcpy(lane->offers, note->offers, note->offers_n * sizeof *note->offers);
	lane->offers_n = note->offers_n;
	if (!lane->offers_n)
		lane->wanted = 0;
	return true;
}

enum outcome { NONE, READ, OVER };

/* Reads one note. OVER: the lane has ended, and is no more. */
static enum outcome give_read_one(struct move_lane *lane)
{
	union {
		struct offer_note offer;
		struct taken_note taken;
	} note;
	ssize_t n = rights_receive(lane->end.source.fd, &note, sizeof note);
	bool good = false;

	/* Only its end says that what was sent was not taken; no other error does. */
	if (n < 0 && n != -RIGHTS_CAME)
		return NONE;
	if (n > 0 && !lane->offers_n)
		good = give_offered(lane, &note.offer, (size_t)n);
	else if (n == (ssize_t)sizeof note.taken)
		good = give_taken(lane, &note.taken);
	if (good)
		return READ;
	if (n)
		log_error("a worker broke the rules of a move");
	give_end(lane, MOVE_BROKEN);
	return OVER;
}

/* False: the lane is no more. */
static bool give_read(struct move_lane *lane)
{
	enum outcome outcome = give_read_one(lane);

	while (outcome == READ && lane->under_way)
		outcome = give_read_one(lane);
	return outcome != OVER;
}

static void give_turn(struct loop *loop, struct source *source)
{
	struct move_lane *lane = lane_of(source);
	bool due = source->ready & SOURCE_DUE, again;

	source->ready = 0;
	if (source->fd < 0 || !give_read(lane))
		return;
	if (!lane->offers_n && lane->wanted) /* one that hangs is not waited for: it is ended */
		return;
	if (lane->refusals > MOVE_REFUSALS_MAX) {
		if (!lane->under_way)
			give_end(lane, MOVE_FULL);
		return;
	}
	if (lane->refusals && !due) { /* there may be room in a while */
		loop_deadline(loop, source, loop->now_ms + MOVE_RETRY_MS);
		return;
	}
	again = lane->cursor != 0;
	lane->waits = false;
	if (!again)
		give_promise(lane);
	while (lane->under_way < MOVE_UNDER_WAY_MAX && give_batch(lane))
		;
	if (lane->under_way || lane->waits || deadline_armed(&source->deadline))
		return;
	/* Who has come to a place that was looked at already? */
	lane->cursor = 0;
	if (lane->wanted && again)
		loop_poke(loop, source);
	else if (!lane->wanted || !lane->mover->owner->expects_more())
		give_end(lane, MOVE_DONE);
}

void mover_give(struct mover *mover, int fd, uint32_t order, uint32_t count)
{
	struct move_lane *lane = lane_free(mover);

	if (!lane || lane_open(mover, lane, fd, false, give_turn)) {
		(void)sys_close(fd);
		mover->owner->gave(order, 0, MOVE_FULL);
		return;
	}
	lane->order = order;
	lane->wanted = count;
	lane->gives = true;
}

void mover_look(struct mover *mover)
{
	for (size_t i = 0; i < MOVE_LANES_MAX; i++) {
		struct move_lane *lane = mover->lanes[i];

		if (lane && seqpacket_is_open(&lane->end) && lane->gives)
			loop_poke(mover->loop, &lane->end.source);
	}
}
