/* Connections that come: taken where there is room, and answered before they are touched. */
#include "worker/move_parts.h"

#include <string.h>

#include "reactor/log.h"
#include "reactor/sys.h"

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
		}
		at += (size_t)n;
	}
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

	/* Its giver would go on with what we serve: better that we do not. */
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
	if (n <= 0 || !batch_is_well_formed(note, (size_t)n)) {
		if (n > 0)
			log_error("a worker broke the rules of a move");
		lane_close(lane);
	} else if (!take_batch(lane, note, fds, fds_n)) {
		/* Its giver has gone: nobody but us has them. */
		lane_close(lane);
	}
	for (size_t i = 0; i < fds_n; i++)
		if (fds[i] >= 0)
			(void)sys_close(fds[i]);
	return seqpacket_is_open(&lane->end);
}

/* Level-triggered: what is left after it comes again. Nothing is taken before what was taken is
 * answered. */
static void take_turn(struct loop *loop, struct source *source)
{
	struct move_lane *lane = lane_of(source);
	int batches = 0;

	(void)loop;
	source->ready = 0;
	if (source->fd < 0 || !seqpacket_flush(&lane->end))
		return;
	while (batches++ < MOVE_UNDER_WAY_MAX && take_next(lane) && !seqpacket_keeps(&lane->end))
		;
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
		memcpy(offer->protocol, protocol->name, strlen(protocol->name));
		note.offers_n++;
	}
	return descriptors_send(fd, &note,
				offsetof(struct offer_note, offers) +
				    note.offers_n * sizeof *note.offers,
				NULL, 0) >= 0;
}

void mover_take(struct mover *mover, int fd, struct service *const services[], size_t n)
{
	struct move_lane *lane = mover->closed ? NULL : lane_free(mover);

	if (!lane || !offer_send(mover, fd, services, n) ||
	    lane_open(mover, lane, fd, true, take_turn)) {
		(void)sys_close(fd);
		return;
	}
	lane->gives = false;
}
