#include "reactor/udp/udp_tx.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

#define DELAYS_MAX 100

struct answers_batch {
	struct mmsghdr messages[ANSWERS_MESSAGES];
	struct iovec spans[ANSWERS_SPANS];
	struct train {
		const struct asker *asker;
		size_t length;	   /* of each of its datagrams but the last */
		size_t bytes;	   /* of all */
		unsigned segments; /* datagrams; with 1 it is none yet */
		bool ends;	   /* the last one is shorter: no other may follow */
	} trains[ANSWERS_MESSAGES];
	_Alignas(
	    struct cmsghdr) unsigned char controls[ANSWERS_MESSAGES][ASKER_CONTROL_BYTES +
								     CMSG_SPACE(sizeof(uint16_t))];
};

int answers_open(struct answers *answers)
{
	*answers =
	    (struct answers){.batch = sys_map(sizeof *answers->batch,
					      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1)};
	return answers->batch ? 0 : -ENOMEM;
}

void answers_close(struct answers *answers)
{
	if (answers->batch)
		(void)sys_munmap(answers->batch, sizeof *answers->batch);
	answers->batch = NULL;
}

/* ---- gathering ---- */

/* The message tells the kernel where to cut. */
static void couple(struct answers_batch *batch, unsigned i)
{
	struct msghdr *message = &batch->messages[i].msg_hdr;
	struct cmsghdr *control;
	uint16_t length = (uint16_t)batch->trains[i].length;

	message->msg_control = batch->controls[i];
	control = (struct cmsghdr *)(void *)(batch->controls[i] + message->msg_controllen);
	*control = (struct cmsghdr){.cmsg_level = SYS_UDP,
				    .cmsg_type = SYS_UDP_SEGMENT,
				    .cmsg_len = CMSG_LEN(sizeof length)};
	memcpy(CMSG_DATA(control), &length, sizeof length);
	message->msg_controllen = (socklen_t)(message->msg_controllen + CMSG_SPACE(sizeof length));
}

/* The last message becomes, or is, a train that this one belongs to. */
static bool join_train(struct answers *answers, const struct asker *asker, unsigned char *bytes,
		       size_t n)
{
	struct answers_batch *batch = answers->batch;
	unsigned last = answers->n - 1;
	struct train *train = &batch->trains[last];
	struct msghdr *message = &batch->messages[last].msg_hdr;
	struct iovec *span = &batch->spans[answers->spans_n - 1];

	if (!n || n > train->length || train->length > ANSWERS_SEGMENT_BYTES || train->ends ||
	    train->segments == ANSWERS_SEGMENTS || train->bytes + n > ANSWERS_TRAIN_BYTES ||
	    !asker_same(asker, train->asker))
		return false;
	if ((unsigned char *)span->iov_base + span->iov_len == bytes) {
		span->iov_len += n;
	} else {
		batch->spans[answers->spans_n++] = (struct iovec){bytes, n};
		message->msg_iovlen++;
	}
	train->bytes += n;
	train->ends = n < train->length;
	if (train->segments++ == 1)
		couple(batch, last);
	return true;
}

void answers_add(struct answers *answers, const struct asker *asker, unsigned char *bytes, size_t n)
{
	struct answers_batch *batch = answers->batch;
	unsigned i;
	size_t control;

	CHECK(!answers->sent && !answers_full(answers));
	if (answers->n && join_train(answers, asker, bytes, n))
		return;
	i = answers->n++;
	control = asker_write_here(asker, batch->controls[i]);
	batch->trains[i] = (struct train){.asker = asker, .length = n, .bytes = n, .segments = 1};
	batch->messages[i].msg_hdr = (struct msghdr){
	    .msg_name = (void *)(uintptr_t)&asker->peer,
	    .msg_namelen = asker->peer_bytes,
	    .msg_iov = &batch->spans[answers->spans_n],
	    .msg_iovlen = 1,
	    .msg_control = control ? batch->controls[i] : NULL,
	    .msg_controllen = (socklen_t)control,
	};
	batch->spans[answers->spans_n++] = (struct iovec){bytes, n};
}

/* ---- sending ---- */

static void reset(struct answers *answers)
{
	*answers = (struct answers){.batch = answers->batch};
}

/* The first of those left is done with. */
static void next_message(struct answers *answers)
{
	answers->sent++;
	answers->again = answers->cut = answers->full = false;
	answers->span = answers->delays = 0;
	answers->offset = 0;
}

static void count_sent(struct stats *stats, unsigned datagrams, size_t bytes)
{
	STATS_ADD(stats, datagrams_answered, datagrams);
	STATS_ADD(stats, sent_bytes, bytes);
}

/* Of a train that leaves as single datagrams, the one that is next. */
static struct iovec segment(const struct answers *answers)
{
	const struct msghdr *message = &answers->batch->messages[answers->sent].msg_hdr;
	const struct iovec *span = &message->msg_iov[answers->span];
	size_t length = answers->batch->trains[answers->sent].length;
	size_t left = span->iov_len - answers->offset;

	/* No datagram stands in two pieces: each was added as one. */
	return (struct iovec){(unsigned char *)span->iov_base + answers->offset,
			      left < length ? left : length};
}

static void next_segment(struct answers *answers)
{
	const struct msghdr *message = &answers->batch->messages[answers->sent].msg_hdr;

	answers->offset += segment(answers).iov_len;
	answers->again = answers->full = false;
	answers->delays = 0;
	if (answers->offset < message->msg_iov[answers->span].iov_len)
		return;
	answers->offset = 0;
	if (++answers->span == (unsigned)message->msg_iovlen)
		next_message(answers);
}

/* 1 or -errno. */
static ssize_t send_segment(struct answers *answers, int fd, struct stats *stats)
{
	struct msghdr message = answers->batch->messages[answers->sent].msg_hdr;
	struct iovec span = segment(answers);
	ssize_t n;

	message.msg_iov = &span;
	message.msg_iovlen = 1;
	message.msg_controllen = (socklen_t)(message.msg_controllen - CMSG_SPACE(sizeof(uint16_t)));
	n = sys_sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return n;
	count_sent(stats, 1, span.iov_len);
	next_segment(answers);
	return 1;
}

/* The last message, where it is a plain datagram: it takes the cheapest of calls. 1 or -errno. */
static int send_plain(const struct msghdr *message, int fd)
{
	ssize_t n =
	    sys_sendto(fd, message->msg_iov->iov_base, message->msg_iov->iov_len,
		       MSG_DONTWAIT | MSG_NOSIGNAL, message->msg_name, message->msg_namelen);

	return n < 0 ? (int)n : 1;
}

/* How many, or -errno. */
static int send_messages(struct answers *answers, int fd, struct stats *stats)
{
	struct answers_batch *batch = answers->batch;
	struct mmsghdr *first = &batch->messages[answers->sent];
	unsigned left = answers->n - answers->sent;
	int n;

	if (left == 1 && !first->msg_hdr.msg_controllen)
		n = send_plain(&first->msg_hdr, fd);
	else
		n = sys_sendmmsg(fd, first, left, MSG_DONTWAIT | MSG_NOSIGNAL);

	for (int i = 0; i < n; i++) {
		struct train *train = &batch->trains[answers->sent];

		count_sent(stats, train->segments, train->bytes);
		next_message(answers);
	}
	return n ? n : -EIO; /* that it took none of several is no answer of sendmmsg(2) */
}

/* The first of those left was refused. 0: go on with what is first now. */
static int refused(struct answers *answers, ssize_t error, struct stats *stats)
{
	bool again = answers->again;

	answers->again = false;
	switch (error) {
	case -EAGAIN: /* and once more, though there was to be room: it is not room that lacks */
		answers->full = !answers->full;
		return answers->full ? -EAGAIN : -ENOBUFS;
	case -EINTR:
	case -ENOBUFS:
	case -ENOMEM:
		if (++answers->delays < DELAYS_MAX)
			return -ENOBUFS;
		break;
	default:
		if (!again) {
			answers->again = true;
			return 0;
		}
	}
	if (!answers->cut && answers->batch->trains[answers->sent].segments > 1) {
		answers->cut = true;
		answers->delays = 0;
		return 0;
	}
	STATS_ADD(stats, datagram_send_errors, 1);
	if (answers->cut)
		next_segment(answers);
	else
		next_message(answers);
	return 0;
}

int answers_send(struct answers *answers, int fd, struct stats *stats)
{
	while (!answers_empty(answers)) {
		ssize_t n = answers->cut ? send_segment(answers, fd, stats)
					 : send_messages(answers, fd, stats);
		int error = n < 0 ? refused(answers, n, stats) : 0;

		if (error)
			return error;
	}
	reset(answers);
	return 0;
}
