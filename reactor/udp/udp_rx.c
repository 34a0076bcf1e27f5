#include "reactor/udp/udp_rx.h"

#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/sys.h"

/* Were they a power of two apart, all beginnings would share the same few lines of the cache. */
#define SLOT_BYTES (QUESTION_BYTES + 5 * 64)

/* Both addresses of ours, the count of drops, and the length of a train's datagrams. */
#define CONTROL_BYTES                                                                              \
	(CMSG_SPACE(sizeof(struct in_pktinfo)) + ASKER_CONTROL_BYTES +                             \
	 CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(int)))

struct questions_batch {
	struct mmsghdr messages[QUESTIONS_BATCH];
	struct iovec spans[QUESTIONS_BATCH];
	struct asker askers[QUESTIONS_BATCH];
	size_t lengths[QUESTIONS_BATCH]; /* of each datagram of a train but the last */
	_Alignas(struct cmsghdr) unsigned char controls[QUESTIONS_BATCH][CONTROL_BYTES];
	_Alignas(64) unsigned char bytes[QUESTIONS_BATCH][SLOT_BYTES];
};

/* Ready for the next datagram, whatever the last one left. */
static void reset(struct questions_batch *batch, unsigned i)
{
	batch->spans[i] = (struct iovec){batch->bytes[i], QUESTION_BYTES};
	batch->messages[i].msg_hdr = (struct msghdr){
	    .msg_name = &batch->askers[i].peer,
	    .msg_namelen = sizeof batch->askers[i].peer,
	    .msg_iov = &batch->spans[i],
	    .msg_iovlen = 1,
	    .msg_control = batch->controls[i],
	    .msg_controllen = CONTROL_BYTES,
	};
}

/* An older kernel, or a socket of the other family, has no such option. Who can't tell takes it
 * to be on: that costs a dearer call, no wrong answer. */
static bool is_on(int fd, int level, int option)
{
	int value = 0, error;
	socklen_t n = sizeof value;

	error = sys_getsockopt(fd, level, option, &value, &n);
	return error ? error != -ENOPROTOOPT && error != -EOPNOTSUPP : value;
}

static int set_on(int fd, int level, int option)
{
	int on = 1;

	return sys_setsockopt(fd, level, option, &on, sizeof on);
}

int questions_open(struct questions *questions, int fd)
{
	*questions =
	    (struct questions){.batch = sys_map(sizeof *questions->batch,
						MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1)};
	if (!questions->batch)
		return -ENOMEM;
	for (unsigned i = 0; i < QUESTIONS_BATCH; i++)
		reset(questions->batch, i);
	/* Without it is as well: a count that comes later. */
	(void)set_on(fd, SOL_SOCKET, SO_RXQ_OVFL);
	/* Trains are asked for where another worker had this socket before. */
	questions->single = !is_on(fd, IPPROTO_IP, IP_PKTINFO) &&
			    !is_on(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO) &&
			    !is_on(fd, SYS_UDP, SYS_UDP_GRO);
	return 0;
}

void questions_close(struct questions *questions)
{
	if (questions->batch)
		(void)sys_munmap(questions->batch, sizeof *questions->batch);
	questions->batch = NULL;
}

/* CMSG_NXTHDR, which musl writes with a conversion that compilers warn of. */
static struct cmsghdr *next_control(const struct msghdr *message, struct cmsghdr *control)
{
	size_t n = CMSG_SPACE(control->cmsg_len - CMSG_LEN(0));
	unsigned char *next = (unsigned char *)control + n;
	unsigned char *end = (unsigned char *)message->msg_control + message->msg_controllen;

	return next + sizeof *control <= end ? (struct cmsghdr *)(void *)next : NULL;
}

/* What came beside the bytes. */
static void read_controls(struct questions *questions, unsigned i)
{
	struct questions_batch *batch = questions->batch;
	struct msghdr *message = &batch->messages[i].msg_hdr;
	struct asker *asker = &batch->askers[i];
	int length;

	asker->peer_bytes = message->msg_namelen;
	asker_forget_here(asker);
	batch->lengths[i] = batch->messages[i].msg_len;
	for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control;
	     control = next_control(message, control)) {
		if (asker_read_here(asker, control))
			continue;
		if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL) {
			memcpy(&questions->dropped, CMSG_DATA(control), sizeof questions->dropped);
		} else if (control->cmsg_level == SYS_UDP && control->cmsg_type == SYS_UDP_GRO) {
			memcpy(&length, CMSG_DATA(control), sizeof length);
			if (length > 0)
				batch->lengths[i] = (size_t)length;
		}
	}
}

/* One datagram, and nothing that comes beside it. */
static int receive_one(struct questions *questions, int fd)
{
	struct questions_batch *batch = questions->batch;
	struct asker *asker = &batch->askers[0];
	struct mmsghdr *message = &batch->messages[0];
	ssize_t n;

	asker->peer_bytes = sizeof asker->peer;
	n = sys_recvfrom(fd, batch->bytes[0], QUESTION_BYTES, MSG_DONTWAIT | MSG_TRUNC,
			 &asker->peer.any, &asker->peer_bytes);
	if (n < 0)
		return (int)n;
	asker_forget_here(asker);
	message->msg_hdr.msg_flags = n > QUESTION_BYTES ? MSG_TRUNC : 0;
	message->msg_len = n > QUESTION_BYTES ? QUESTION_BYTES : (unsigned)n;
	batch->lengths[0] = message->msg_len;
	return 1;
}

static int receive_batch(struct questions *questions, int fd)
{
	struct questions_batch *batch = questions->batch;
	int n = sys_recvmmsg(fd, batch->messages, QUESTIONS_BATCH, MSG_DONTWAIT, NULL);

	for (int i = 0; i < n; i++)
		read_controls(questions, (unsigned)i);
	return n ? n : -EAGAIN;
}

int questions_receive(struct questions *questions, int fd)
{
	int n;

	CHECK(questions->at == questions->n);
	for (unsigned i = 0; i < questions->n; i++)
		reset(questions->batch, i);
	questions->n = questions->at = 0;
	questions->offset = questions->batch_bytes = 0;
	if (questions->single && !questions->many && ++questions->looks % QUESTIONS_LOOK)
		n = receive_one(questions, fd);
	else
		n = receive_batch(questions, fd);
	if (n < 0)
		return n;
	questions->n = (unsigned)n;
	for (unsigned i = 0; i < questions->n; i++)
		questions->batch_bytes += questions->batch->messages[i].msg_len;
	return n;
}

bool questions_next(const struct questions *questions, struct question *question)
{
	const struct questions_batch *batch = questions->batch;
	unsigned i = questions->at;
	size_t left;

	if (i == questions->n)
		return false;
	left = batch->messages[i].msg_len - questions->offset;
	*question = (struct question){
	    .bytes = questions->batch->bytes[i] + questions->offset,
	    .n = left < batch->lengths[i] ? left : batch->lengths[i],
	    .asker = &batch->askers[i],
	    .truncated = batch->messages[i].msg_hdr.msg_flags & MSG_TRUNC,
	};
	return true;
}

void questions_done(struct questions *questions, const struct question *question)
{
	questions->offset += question->n;
	if (questions->offset < questions->batch->messages[questions->at].msg_len)
		return;
	questions->at++;
	questions->offset = 0;
}

void questions_expect_many(struct questions *questions, int fd)
{
	questions->many = true;
	(void)set_on(fd, SYS_UDP, SYS_UDP_GRO); /* without it is as well: more calls */
	questions_count_drops(questions, fd);
}

void questions_count_drops(struct questions *questions, int fd)
{
	uint32_t figures[SYS_MEMINFO_FIGURES];
	socklen_t n = sizeof figures;

	if (sys_getsockopt(fd, SOL_SOCKET, SYS_SO_MEMINFO, figures, &n) == 0 &&
	    n > SYS_MEMINFO_DROPS * sizeof *figures)
		questions->dropped = figures[SYS_MEMINFO_DROPS];
}
