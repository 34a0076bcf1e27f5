#include "reactor/udp/udp_tx.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

#define DELAYS_MAX 100

struct udp_tx_batch {
	struct mmsghdr messages[UDP_TX_MESSAGES];
	struct iovec spans[UDP_TX_SPANS];
	struct train {
		const struct udp_peer *from;
		size_t length;	   /* of each of its datagrams but the last */
		size_t bytes;	   /* of all */
		unsigned segments; /* datagrams; a train has at least 2 */
		bool ends;	   /* the last one is shorter, so no other may follow */
	} trains[UDP_TX_MESSAGES];
	_Alignas(
	    struct cmsghdr) unsigned char controls[UDP_TX_MESSAGES][UDP_PEER_CONTROL_BYTES +
								    CMSG_SPACE(sizeof(uint16_t))];
};

int udp_tx_open(struct udp_tx *tx)
{
	*tx = (struct udp_tx){
	    .batch = sys_map(sizeof *tx->batch, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1)};
	return tx->batch ? 0 : -ENOMEM;
}

void udp_tx_close(struct udp_tx *tx)
{
	if (tx->batch)
		(void)sys_munmap(tx->batch, sizeof *tx->batch);
	tx->batch = NULL;
}

/* ---- gathering ---- */

/* Tells the kernel, in the message, where to cut. */
static void set_segment_size(struct udp_tx_batch *batch, unsigned i)
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

/* Adds the datagram to the last message, which is a train or becomes one. False: it can't be. */
static bool join_train(struct udp_tx *tx, const struct udp_peer *from, unsigned char *bytes,
		       size_t n)
{
	struct udp_tx_batch *batch = tx->batch;
	unsigned last = tx->n - 1;
	struct train *train = &batch->trains[last];
	struct msghdr *message = &batch->messages[last].msg_hdr;
	struct iovec *span = &batch->spans[tx->spans_n - 1];

	if (!n || n > train->length || train->length > UDP_TX_SEGMENT_BYTES || train->ends ||
	    train->segments == UDP_TX_SEGMENTS || train->bytes + n > UDP_TX_TRAIN_BYTES ||
	    !udp_peer_same(from, train->from))
		return false;
	if ((unsigned char *)span->iov_base + span->iov_len == bytes) {
		span->iov_len += n;
	} else {
		batch->spans[tx->spans_n++] = (struct iovec){bytes, n};
		message->msg_iovlen++;
	}
	train->bytes += n;
	train->ends = n < train->length;
	if (train->segments++ == 1)
		set_segment_size(batch, last);
	return true;
}

void udp_tx_add(struct udp_tx *tx, const struct udp_peer *from, unsigned char *bytes, size_t n)
{
	struct udp_tx_batch *batch = tx->batch;
	unsigned i;
	size_t control;

	CHECK(!tx->sent && !udp_tx_full(tx));
	if (tx->n && join_train(tx, from, bytes, n))
		return;
	i = tx->n++;
	control = udp_peer_write_here(from, batch->controls[i]);
	batch->trains[i] = (struct train){.from = from, .length = n, .bytes = n, .segments = 1};
	batch->messages[i].msg_hdr = (struct msghdr){
	    .msg_name = (void *)(uintptr_t)&from->peer,
	    .msg_namelen = from->peer_bytes,
	    .msg_iov = &batch->spans[tx->spans_n],
	    .msg_iovlen = 1,
	    .msg_control = control ? batch->controls[i] : NULL,
	    .msg_controllen = (socklen_t)control,
	};
	batch->spans[tx->spans_n++] = (struct iovec){bytes, n};
}

/* ---- sending ---- */

static void reset(struct udp_tx *tx)
{
	*tx = (struct udp_tx){.batch = tx->batch};
}

/* The first of those left is done with. */
static void next_message(struct udp_tx *tx)
{
	tx->sent++;
	tx->again = tx->cut = tx->full = false;
	tx->span = tx->delays = 0;
	tx->offset = 0;
}

static void count_sent(struct stats *stats, unsigned datagrams, size_t bytes)
{
	STATS_ADD(stats, datagrams_answered, datagrams);
	STATS_ADD(stats, sent_bytes, bytes);
}

/* The next datagram of a train that leaves as single ones. */
static struct iovec segment(const struct udp_tx *tx)
{
	const struct msghdr *message = &tx->batch->messages[tx->sent].msg_hdr;
	const struct iovec *span = &message->msg_iov[tx->span];
	size_t length = tx->batch->trains[tx->sent].length;
	size_t left = span->iov_len - tx->offset;

	/* No datagram lies in two pieces: each was added as one. */
	return (struct iovec){(unsigned char *)span->iov_base + tx->offset,
			      left < length ? left : length};
}

static void next_segment(struct udp_tx *tx)
{
	const struct msghdr *message = &tx->batch->messages[tx->sent].msg_hdr;

	tx->offset += segment(tx).iov_len;
	tx->again = tx->full = false;
	tx->delays = 0;
	if (tx->offset < message->msg_iov[tx->span].iov_len)
		return;
	tx->offset = 0;
	if (++tx->span == (unsigned)message->msg_iovlen)
		next_message(tx);
}

/* 1 or -errno. */
static ssize_t send_segment(struct udp_tx *tx, int fd, struct stats *stats)
{
	struct msghdr message = tx->batch->messages[tx->sent].msg_hdr;
	struct iovec span = segment(tx);
	ssize_t n;

	message.msg_iov = &span;
	message.msg_iovlen = 1;
	message.msg_controllen = (socklen_t)(message.msg_controllen - CMSG_SPACE(sizeof(uint16_t)));
	n = sys_sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return n;
	count_sent(stats, 1, span.iov_len);
	next_segment(tx);
	return 1;
}

/* The last message, if it is a plain datagram: the cheapest call does. 1 or -errno. */
static int send_plain(const struct msghdr *message, int fd)
{
	ssize_t n =
	    sys_sendto(fd, message->msg_iov->iov_base, message->msg_iov->iov_len,
		       MSG_DONTWAIT | MSG_NOSIGNAL, message->msg_name, message->msg_namelen);

	return n < 0 ? (int)n : 1;
}

/* How many messages have gone, or -errno. */
static int send_messages(struct udp_tx *tx, int fd, struct stats *stats)
{
	struct udp_tx_batch *batch = tx->batch;
	struct mmsghdr *first = &batch->messages[tx->sent];
	unsigned left = tx->n - tx->sent;
	int n;

	if (left == 1 && !first->msg_hdr.msg_controllen)
		n = send_plain(&first->msg_hdr, fd);
	else
		n = sys_sendmmsg(fd, first, left, MSG_DONTWAIT | MSG_NOSIGNAL);

	for (int i = 0; i < n; i++) {
		struct train *train = &batch->trains[tx->sent];

		count_sent(stats, train->segments, train->bytes);
		next_message(tx);
	}
	return n ? n : -EIO; /* sendmmsg(2) never says 0 */
}

/* The first of those left was refused. 0: go on with what is first now. */
static int refused(struct udp_tx *tx, ssize_t error, struct stats *stats)
{
	bool again = tx->again;

	tx->again = false;
	switch (error) {
	case -EAGAIN: /* if it comes again after the event, it is not room that is missing */
		tx->full = !tx->full;
		return tx->full ? -EAGAIN : -ENOBUFS;
	case -EINTR:
	case -ENOBUFS:
	case -ENOMEM:
		if (++tx->delays < DELAYS_MAX)
			return -ENOBUFS;
		break;
	default:
		if (!again) {
			tx->again = true;
			return 0;
		}
	}
	if (!tx->cut && tx->batch->trains[tx->sent].segments > 1) {
		tx->cut = true;
		tx->delays = 0;
		return 0;
	}
	STATS_ADD(stats, datagram_send_errors, 1);
	if (tx->cut)
		next_segment(tx);
	else
		next_message(tx);
	return 0;
}

int udp_tx_send(struct udp_tx *tx, int fd, struct stats *stats)
{
	while (!udp_tx_empty(tx)) {
		ssize_t n = tx->cut ? send_segment(tx, fd, stats) : send_messages(tx, fd, stats);
		int error = n < 0 ? refused(tx, n, stats) : 0;

		if (error)
			return error;
	}
	reset(tx);
	return 0;
}
