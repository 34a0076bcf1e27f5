/* Connections that come: taken where there is room, and answered before they are touched. */
#include "worker/migration/migration_parts.h"

#include <string.h>

#include "reactor/base/log.h"
#include "reactor/base/rights.h"
#include "reactor/base/sys.h"

#define UNHEARD_MS     1000  /* for the first word of a giver: it may be busy, or stopped */
#define SILENCE_MS_MAX 5000  /* between two words of one that has promised something */
#define PROMISE_MS_MAX 30000 /* from its beginning to the end of all that was promised */
#define UNHEARD_MORE   256   /* connections that it may have let in since the master looked */

/* The bytes beside the descriptors, in memory of our own: their sender may write there still. What
 * it says is a memfd may be another thing, from which nothing is read at a place. */
static unsigned char *take_bytes(int memfd, size_t from, size_t n)
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

/* From now on it stands for ms, unless its giver says something. */
static void promise_stands(struct move_lane *lane, struct conn_promise promise, uint32_t ms)
{
	struct loop *loop = lane->mover->loop;

	if (time_reached(loop->now_ms, lane->latest_ms))
		promise = (struct conn_promise){0};
	lane_promise(lane, promise);
	lane->patience_ms = loop->now_ms + ms;
	if (time_reached(lane->patience_ms, lane->latest_ms))
		lane->patience_ms = lane->latest_ms;
	if (promise.connections || promise.chunks)
		loop_deadline(loop, &lane->end.source, lane->patience_ms);
}

/* As far as the master knew, and no more than that. */
static struct conn_promise promise_unheard(const struct move_lane *lane)
{
	struct conn_promise promise = lane->promise;

	promise.connections = less(promise.connections, UNHEARD_MORE);
	return promise;
}

/* A giver that is stopped, or lies, keeps newcomers out no longer. */
static void promise_look(struct move_lane *lane)
{
	struct conn_promise promise = {0};

	if (!time_reached(lane->mover->loop->now_ms, lane->patience_ms)) { /* it has spoken since */
		loop_deadline(lane->mover->loop, &lane->end.source, lane->patience_ms);
		return;
	}
	if (!lane->heard)
		promise = promise_unheard(lane);
	lane_hear(lane);
	promise_stands(lane, promise, SILENCE_MS_MAX);
}

static void take_promise(struct move_lane *lane, const struct promise_note *note)
{
	lane_hear(lane);
	promise_stands(lane, (struct conn_promise){note->connections, (size_t)note->chunks},
		       SILENCE_MS_MAX);
}

/* What was taken is not to come any more; what was not still is. An older giver says nothing but
 * this. */
static void promise_kept(struct move_lane *lane, struct conn_promise taken)
{
	struct conn_promise left = lane->heard ? lane->promise : promise_unheard(lane);

	lane_hear(lane);
	left.connections = less(left.connections, taken.connections);
	left.chunks = less(left.chunks, taken.chunks);
	promise_stands(lane, left, SILENCE_MS_MAX);
}

/* ---- who comes ---- */

/* Where there is room for it, with its bytes; then it has the descriptor. */
static bool take_one(const struct mover *mover, const struct transit *transit, int fd, int memfd,
		     size_t from)
{
	struct service *service = mover->owner->service_of(transit->listener);
	size_t n = (size_t)transit->input + transit->owed + transit->held;
	unsigned char *bytes = NULL;
	bool taken;

	if (!service || !conn_can_adopt(service, n))
		return false;
	if (n && !(bytes = take_bytes(memfd, from, n)))
		return false;
	taken = conn_adopt(service, fd, transit, bytes);
	if (bytes)
		(void)sys_munmap(bytes, n);
	return taken;
}

/* Which of a batch are ours from now on; their descriptors are -1 then. One that is too big here
 * keeps out no other. */
static uint64_t take_connections(struct move_lane *lane, const struct batch_note *note, int *fds)
{
	struct conn_promise kept = {0};
	int memfd = note->bytes ? fds[note->count] : -1;
	uint64_t taken = 0;
	size_t at = 0;

	for (uint32_t i = 0; i < note->count; i++) {
		const struct transit *transit = &note->transits[i];
		uint64_t n = (uint64_t)transit->input + transit->owed + transit->held;

		if (n > note->bytes - at)
			break; /* nor is it known where the next one's bytes are */
		if (take_one(lane->mover, transit, fds[i], memfd, at)) {
			fds[i] = -1;
			taken |= 1ull << i;
			kept.connections++;
			kept.chunks += transit_chunks((size_t)n);
		}
		at += (size_t)n;
	}
	promise_kept(lane, kept);
	return taken;
}

static size_t members_of(const struct mover *mover, const struct batch_note *note)
{
	size_t members = 0;

	for (uint32_t i = 0; i < note->count; i++) {
		const struct service *service =
		    mover->owner->service_of(note->transits[i].listener);

		members += service && service->topic;
	}
	return members;
}

/* False: its giver has gone, or does not listen to us. */
static bool take_answer(struct move_lane *lane, uint64_t taken)
{
	struct taken_note answer = {.kind = MOVE_TAKEN, .taken = taken};
	int error = seqpacket_send(&lane->end, &answer, sizeof answer, NULL, 0);

	/* One answer at a time has its place, whatever memory is left; without it the giver would
	 * go on with what we serve. */
	CHECK(!taken || error != -ENOBUFS);
	return !error;
}

static bool take_batch(struct move_lane *lane, const struct batch_note *note, int *fds,
		       size_t fds_n)
{
	struct mover *mover = lane->mover;
	uint64_t taken = 0;
	bool can = !mover->closed && fds_n == note->count + (note->bytes != 0);

	if (can && note->marks_n)
		can = mover->relay && relay_catch_up(mover->relay, note->marks, note->marks_n,
						     members_of(mover, note));
	if (can)
		taken = take_connections(lane, note, fds);
	if (can && note->marks_n)
		relay_settle(mover->relay);
	return take_answer(lane, taken) || !taken;
}

static bool batch_is_well_formed(const struct batch_note *note, size_t n)
{
	return n >= offsetof(struct batch_note, marks) && note->kind == MOVE_BATCH && note->count &&
	       note->count <= MOVE_BATCH_MAX && note->marks_n <= BUS_SEATS_MAX &&
	       n == offsetof(struct batch_note, marks) + note->marks_n * sizeof *note->marks;
}

/* False: there is none, or the lane is no more. */
static bool take_next(struct move_lane *lane)
{
	struct batch_note *note = &move_note;
	int fds[DESCRIPTORS_MAX];
	size_t fds_n;
	ssize_t n = descriptors_receive(lane->end.source.fd, note, sizeof *note, fds, &fds_n);

	if (n == -EAGAIN)
		return false;
	if (n == (ssize_t)sizeof(struct promise_note) && note->kind == MOVE_PROMISE) {
		struct promise_note promise;

		memcpy(&promise, note, sizeof promise);
		take_promise(lane, &promise);
	} else if (n <= 0 || !batch_is_well_formed(note, (size_t)n)) {
		if (n > 0)
			log_error("a worker broke the rules of a move");
		lane_close(lane);
	} else if (!take_batch(lane, note, fds, fds_n)) {
		/* Its giver has gone: nobody but us has them. */
		lane_close(lane);
	}
	for (size_t i = 0; i < fds_n; i++)
		if (fds[i] >= 0)
			rights_leave(fds[i]); /* whatever its giver sent, and has closed since */
	return seqpacket_is_open(&lane->end);
}

/* Level-triggered: what is left after it comes again. Nothing is taken before what was taken is
 * answered. */
static void take_turn(struct loop *loop, struct source *source)
{
	struct move_lane *lane = lane_of(source);
	bool due = source->ready & SOURCE_DUE;
	int batches = 0;

	(void)loop;
	source->ready = 0;
	if (source->fd < 0)
		return;
	while (batches++ < MOVE_UNDER_WAY_MAX && seqpacket_flush(&lane->end) && take_next(lane))
		;
	if (due && source->fd >= 0)
		promise_look(lane);
}

static bool offer_send(struct mover *mover, int fd, struct service *const services[], size_t n)
{
	struct offer_note note = {.kind = MOVE_OFFER,
				  .version = TRANSIT_VERSION,
				  .reasons = move_reasons(),
				  .bus = mover->bus};

	for (size_t i = 0; i < n && note.offers_n < MOVE_OFFERS_MAX; i++) {
		const struct protocol *protocol = services[i]->protocol;
		struct move_offer *offer = &note.offers[note.offers_n];

		if (strlen(protocol->name) >= sizeof offer->protocol)
			continue;
		offer->listener = mover->owner->listener_of(services[i]);
		offer->state_bytes = protocol->state_bytes;
		offer->state_version = protocol->state_version;
		offer->promises = true;
		memcpy(offer->protocol, protocol->name, strlen(protocol->name));
		note.offers_n++;
	}
	return descriptors_send(fd, &note,
				offsetof(struct offer_note, offers) +
				    note.offers_n * sizeof *note.offers,
				NULL, 0) >= 0;
}

void mover_take(struct mover *mover, int fd, struct service *const services[], size_t n,
		struct conn_promise expected)
{
	struct move_lane *lane = mover->closed ? NULL : lane_free(mover);

	if (!lane || !offer_send(mover, fd, services, n) ||
	    lane_open(mover, lane, fd, true, take_turn)) {
		(void)sys_close(fd);
		return;
	}
	lane->gives = false;
	lane->latest_ms = mover->loop->now_ms + PROMISE_MS_MAX;
	mover->unheard++;
	expected.connections += UNHEARD_MORE;
	expected.chunks *= 2; /* what one chunk held may fill two anew */
	promise_stands(lane, expected, UNHEARD_MS);
}
