#include "reactor/loop/seqpacket.h"

#include <stdlib.h>
#include <string.h>

#include "reactor/base/list.h"
#include "reactor/base/rights.h"
#include "reactor/base/sys.h"

#define RETRY_MS 20 /* after a refusal, if no event tells when there is room */

struct seqpacket_kept {
	struct seqpacket_kept *next;
	size_t n, fds_n;
	int fds[DESCRIPTORS_MAX];
	unsigned char bytes[];
};

/* ---- what is kept ---- */

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			(void)sys_close(fds[i]);
}

_Static_assert(sizeof(struct seqpacket_kept) + SEQPACKET_BYTES_MAX <= SEQPACKET_PLACE_BYTES,
	       "a message fits the place that is always there");

static struct seqpacket_kept *spare_of(struct seqpacket *end)
{
	return (struct seqpacket_kept *)(void *)end->spare;
}

static void let_go(struct seqpacket *end, struct seqpacket_kept *kept)
{
	if (kept == spare_of(end))
		end->spare_is_used = false;
	else
		free(kept);
}

/* If there is no memory, an owner that keeps one message at a time still can. */
static struct seqpacket_kept *take_place(struct seqpacket *end, size_t n)
{
	struct seqpacket_kept *kept = NULL;

	if (end->kept_n < SEQPACKET_KEPT_MAX)
		kept = malloc(sizeof *kept + n);
	if (!kept && !end->spare_is_used && n <= SEQPACKET_BYTES_MAX) {
		end->spare_is_used = true;
		kept = spare_of(end);
	}
	return kept;
}

static void forget_first(struct seqpacket *end)
{
	struct seqpacket_kept *kept = end->first;

	end->first = kept->next;
	if (!end->first)
		end->last = NULL;
	end->kept_n--;
	close_all(kept->fds, kept->fds_n);
	let_go(end, kept);
}

/* 0 or -errno: then nothing is kept. */
static int keep(struct seqpacket *end, const void *bytes, size_t n, const int *fds, size_t fds_n)
{
	struct seqpacket_kept *kept = take_place(end, n);

	if (!kept)
		return -ENOBUFS;
	*kept = (struct seqpacket_kept){.n = n};
	memcpy(kept->bytes, bytes, n);
	for (; kept->fds_n < fds_n; kept->fds_n++) {
		int fd = sys_duplicate(fds[kept->fds_n]);

		if (fd < 0) {
			close_all(kept->fds, kept->fds_n);
			let_go(end, kept);
			return fd;
		}
		kept->fds[kept->fds_n] = fd;
	}
	if (end->last)
		end->last->next = kept;
	else
		end->first = kept;
	end->last = kept;
	end->kept_n++;
	return 0;
}

/* ---- when to try again ---- */

/* Does the other side not read fast enough, or is the kernel short of something for the moment:
 * memory, or how many descriptors may be in flight (unix(7), ETOOMANYREFS)? */
static bool is_transient(ssize_t error)
{
	return error == -EAGAIN || error == -ENOBUFS || error == -ENOMEM || error == -ETOOMANYREFS;
}

/* It is level-triggered, so it asks only for events that it would act on. */
static int watch_anew(struct seqpacket *end)
{
	bool reads = !end->patient || !end->first;

	return loop_rewatch(end->loop, &end->source,
			    (reads ? EPOLLIN : 0u) | (end->awaits_room ? EPOLLOUT : 0u));
}

static void await_room(struct seqpacket *end, ssize_t refusal)
{
	end->awaits_room = refusal == -EAGAIN;
	if (watch_anew(end) || !end->awaits_room)
		loop_deadline(end->loop, &end->source, end->loop->now_ms + RETRY_MS);
}

bool seqpacket_flush(struct seqpacket *end)
{
	bool waited = end->first || end->awaits_room;

	while (end->first) {
		const struct seqpacket_kept *kept = end->first;
		ssize_t sent =
		    descriptors_send(end->source.fd, kept->bytes, kept->n, kept->fds, kept->fds_n);

		if (is_transient(sent)) {
			await_room(end, sent);
			return false;
		}
		forget_first(end); /* it was sent, or nobody is there, which a read will tell */
	}
	end->awaits_room = false;
	if (waited) /* a patient end reads again */
		(void)watch_anew(end);
	return true;
}

/* ---- sending ---- */

int seqpacket_try(struct seqpacket *end, const void *bytes, size_t n, const int *fds, size_t fds_n)
{
	ssize_t sent;

	if (end->source.fd < 0)
		return -EPIPE;
	if (end->first) /* what is kept goes first */
		return -EAGAIN;
	sent = descriptors_send(end->source.fd, bytes, n, fds, fds_n);
	if (sent >= 0)
		return 0;
	if (!is_transient(sent))
		return (int)sent;
	await_room(end, sent);
	return -EAGAIN;
}

int seqpacket_send(struct seqpacket *end, const void *bytes, size_t n, const int *fds, size_t fds_n)
{
	int error = seqpacket_try(end, bytes, n, fds, fds_n);

	if (error != -EAGAIN)
		return error;
	error = keep(end, bytes, n, fds, fds_n);
	if (!error && end->patient)
		(void)watch_anew(end);
	return error;
}

/* ---- reading ---- */

/* Returns how much of the turn's batch it took; 0: there was nothing, or the end is closed now. */
static unsigned read_one(struct seqpacket *end)
{
	unsigned char bytes[SEQPACKET_BYTES_MAX];
	int fds[DESCRIPTORS_MAX];
	size_t fds_n = 0;
	ssize_t n = end->owner->bare
			? rights_receive(end->source.fd, bytes, sizeof bytes)
			: descriptors_receive(end->source.fd, bytes, sizeof bytes, fds, &fds_n);

	if (n == -EAGAIN)
		return 0;
	if (n > 0) {
		end->owner->took(end, bytes, (size_t)n, fds, fds_n);
		close_all(fds, fds_n);
		return end->source.fd < 0 ? 0 : fds_n ? (unsigned)fds_n : 1;
	}
	seqpacket_close(end);
	end->owner->ended(end);
	return 0;
}

bool seqpacket_read(struct seqpacket *end)
{
	return end->source.fd >= 0 && read_one(end);
}

#define STREAK 3 /* two passes in a row may be chance */

/* If pass after pass uses up its batch, more wait than a turn reads: the next one reads more. */
static void read_some(struct seqpacket *end)
{
	uint64_t poll_number = end->loop->stats->harvests;
	unsigned read = 0, one = 1;

	while (read < end->batch && one && !(end->patient && end->first)) {
		one = read_one(end);
		read += one;
	}
	end->streak = one && poll_number == end->poll_number + 1 ? end->streak + 1 : 0;
	end->poll_number = poll_number;
	if (!one)
		end->batch = 1;
	else if (end->streak >= STREAK && end->batch < SEQPACKET_TURN_MAX)
		end->batch *= 2;
}

static void seqpacket_turn(struct loop *loop, struct source *source)
{
	struct seqpacket *end = CONTAINER_OF(source, struct seqpacket, source);
	uint8_t ready = source->ready;

	(void)loop;
	source->ready = 0;
	if (source->fd < 0)
		return;
	if ((ready & (SOURCE_OUT | SOURCE_DUE)) && seqpacket_flush(end) && end->owner->has_room)
		end->owner->has_room(end);
	if (source->fd >= 0 && (ready & ~SOURCE_DUE))
		read_some(end);
}

/* ---- open and close ---- */

void seqpacket_init(struct seqpacket *end)
{
	*end = (struct seqpacket){.batch = 1};
	source_init(&end->source, -1, seqpacket_turn);
}

int seqpacket_open(struct seqpacket *end, struct loop *loop, int fd, bool patient,
		   const struct seqpacket_owner *owner)
{
	struct source before = end->source;
	int error;

	seqpacket_init(end);
	/* It may still be queued from before it was closed: those behind it are linked to it. */
	end->source.queued = before.queued;
	end->source.next_turn = before.next_turn;
	end->loop = loop;
	end->owner = owner;
	end->patient = patient;
	end->source.fd = fd;
	end->source.want = SOURCE_IN | SOURCE_OUT;
	error = loop_watch(loop, &end->source, EPOLLIN);
	if (error)
		end->source.fd = -1;
	return error;
}

void seqpacket_close(struct seqpacket *end)
{
	while (end->first)
		forget_first(end);
	if (end->source.fd < 0)
		return;
	loop_unwatch(end->loop, &end->source);
	loop_no_deadline(end->loop, &end->source);
	if (end->owner && end->owner->bare)
		rights_close(end->source.fd);
	else
		(void)sys_close(end->source.fd);
	end->source.fd = -1;
}
