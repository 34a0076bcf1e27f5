#include "bench/weirload/udp/batch.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "reactor/base/sys.h"

#define SENDS_MAX	  64 /* the kernel takes no more segments */
#define SENDS_BYTES	  (256 * 1024)
#define SEGMENT_BYTES_MAX 1452	/* the most that fits an Ethernet frame over IPv6 */
#define SEGMENTS_BYTES	  65507 /* all segments of a call: the longest datagram */
#define READS		  16
#define READ_BYTES	  65536

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

struct batch {
	uint32_t message_bytes, room;
	bool on, segments; /* segments: as far as is known the kernel takes them */
	int read, looked_at;
	size_t offset; /* of the next datagram within the read that is looked at */
	struct mmsghdr out[SENDS_MAX], in[READS];
	struct iovec out_iov[SENDS_MAX], in_iov[READS];
	union control in_control[READS];
	unsigned char *messages, *answers;
};

struct batch *batch_make(uint32_t message_bytes, bool on)
{
	struct batch *batch = calloc(1, sizeof *batch);

	if (!batch)
		return NULL;
	batch->message_bytes = message_bytes;
	batch->on = on;
	batch->segments = on && message_bytes <= SEGMENT_BYTES_MAX;
	batch->room = SENDS_BYTES / message_bytes;
	if (batch->room > SENDS_MAX)
		batch->room = SENDS_MAX;
	if (batch->segments && batch->room > SEGMENTS_BYTES / message_bytes)
		batch->room = SEGMENTS_BYTES / message_bytes;
	batch->messages = malloc(SENDS_BYTES);
	batch->answers = malloc((size_t)READS * READ_BYTES);
	if (!batch->messages || !batch->answers) {
		free(batch->messages);
		free(batch->answers);
		free(batch);
		return NULL;
	}
	for (uint32_t i = 0; i < batch->room; i++) {
		batch->out_iov[i] =
		    (struct iovec){batch->messages + (size_t)i * message_bytes, message_bytes};
		batch->out[i].msg_hdr =
		    (struct msghdr){.msg_iov = &batch->out_iov[i], .msg_iovlen = 1};
	}
	for (int i = 0; i < READS; i++) {
		batch->in_iov[i] =
		    (struct iovec){batch->answers + (size_t)i * READ_BYTES, READ_BYTES};
		batch->in[i].msg_hdr = (struct msghdr){.msg_iov = &batch->in_iov[i],
						       .msg_iovlen = 1,
						       .msg_control = &batch->in_control[i]};
	}
	return batch;
}

void batch_prepare(struct batch *batch, int fd)
{
	int on = 1, size = 0;

	if (!batch->on)
		return;
	(void)setsockopt(fd, SYS_UDP, SYS_UDP_GRO, &on,
			 sizeof on); /* if it fails, answers come one by one */
	/* A kernel that does not know the option would send all segments as one datagram. */
	if (batch->segments && setsockopt(fd, SYS_UDP, SYS_UDP_SEGMENT, &size, sizeof size) < 0)
		batch->segments = false;
}

/* ---- messages ---- */

uint32_t batch_room(const struct batch *batch)
{
	return batch->room;
}

unsigned char *batch_message(struct batch *batch, uint32_t i)
{
	return batch->out_iov[i].iov_base;
}

static int send_singly(struct batch *batch, int fd, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (send(fd, batch->out_iov[i].iov_base, batch->message_bytes, MSG_DONTWAIT) < 0)
			return i ? (int)i : -errno; /* the next call meets the same error */
	return (int)n;
}

static int send_segments(struct batch *batch, int fd, uint32_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(uint16_t))];
	} control = {.bytes = {0}};
	struct iovec iov = {batch->messages, (size_t)n * batch->message_bytes};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof control.bytes};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	uint16_t size = (uint16_t)batch->message_bytes;

	header->cmsg_level = SYS_UDP;
	header->cmsg_type = SYS_UDP_SEGMENT;
	header->cmsg_len = CMSG_LEN(sizeof size);
	memcpy(CMSG_DATA(header), &size, sizeof size);
	return sendmsg(fd, &message, MSG_DONTWAIT) < 0 ? -errno : (int)n;
}

/* The route or the device takes no segments. */
static bool refuses_segments(int error)
{
	return error == -EINVAL || error == -EIO || error == -ENOPROTOOPT || error == -EOPNOTSUPP ||
	       error == -EMSGSIZE;
}

int batch_send(struct batch *batch, int fd, uint32_t n)
{
	int sent;

	if (!batch->on || n == 1)
		return send_singly(batch, fd, n);
	if (batch->segments) {
		sent = send_segments(batch, fd, n);
		if (!refuses_segments(sent))
			return sent;
		batch->segments = false;
	}
	sent = sendmmsg(fd, batch->out, n, MSG_DONTWAIT);
	return sent < 0 ? -errno : sent;
}

/* ---- answers ---- */

int batch_receive(struct batch *batch, int fd, bool *drained)
{
	int room = batch->on ? READS : 1;

	for (int i = 0; i < room; i++)
		batch->in[i].msg_hdr.msg_controllen = sizeof batch->in_control[i].bytes;
	batch->looked_at = 0;
	batch->offset = 0;
	batch->read = recvmmsg(fd, batch->in, (unsigned)room, MSG_DONTWAIT, NULL);
	*drained = batch->read < room; /* one more was asked for, but not there */
	if (batch->read >= 0)
		return 0;
	batch->read = 0;
	return -errno;
}

/* The length of each of the datagrams that the kernel joined to one of n bytes. */
static size_t segment_bytes(struct msghdr *message, size_t n)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	int size;

	if (!header || header->cmsg_level != SYS_UDP || header->cmsg_type != SYS_UDP_GRO)
		return n;
	memcpy(&size, CMSG_DATA(header), sizeof size);
	return size > 0 ? (size_t)size : n;
}

bool batch_next(struct batch *batch, const unsigned char **bytes, size_t *n)
{
	struct mmsghdr *in = &batch->in[batch->looked_at];
	size_t left;

	if (batch->looked_at == batch->read)
		return false;
	left = in->msg_len - batch->offset;
	*n = segment_bytes(&in->msg_hdr, in->msg_len);
	*n = *n < left ? *n : left;
	*bytes = (const unsigned char *)in->msg_hdr.msg_iov->iov_base + batch->offset;
	batch->offset += *n;
	if (batch->offset == in->msg_len) {
		batch->looked_at++;
		batch->offset = 0;
	}
	return true;
}
