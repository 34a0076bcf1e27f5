/*
 * questions: datagrams as they come, a batch of them with one call, one after the other to be
 * answered.
 *
 * The kernel may give many datagrams of one sender and one length as one, a train (UDP_GRO in
 * udp(7)); here each is one again. The bytes of a batch, and who asked, stay where they are
 * until the next questions_receive(). The memory is reserved when it is opened and used as far
 * as datagrams are long: at most QUESTIONS_BATCH of the longest.
 */
#ifndef REACTOR_UDP_UDP_RX_H
#define REACTOR_UDP_UDP_RX_H

#include "reactor/udp/udp_peer.h"

#define QUESTIONS_BATCH 32
#define QUESTION_BYTES	65536 /* more than UDP can carry */

struct question {
	unsigned char *bytes;
	size_t n;
	const struct asker *asker;
	bool truncated; /* there was more of it */
};

/* While no more than one is seen to wait, one is received at a time, with the cheapest of calls;
 * and every so often a batch, to see. */
#define QUESTIONS_LOOK 16

struct questions_batch;

struct questions {
	struct questions_batch *batch;
	unsigned n, at;	    /* of the batch; the one that is next */
	size_t offset;	    /* in it, where it is a train */
	uint32_t dropped;   /* by the socket's queue since it was made; as far as is known */
	size_t batch_bytes; /* all that came with the batch */
	bool many;	    /* more than one have been seen to wait */
	bool single;	    /* nothing comes beside the bytes: one may be received alone */
	unsigned looks;
};

/* Of a bound socket. 0 or -ENOMEM. */
int questions_open(struct questions *questions, int fd);
void questions_close(struct questions *questions);

/* A batch, where none of the last one is left. How many messages of the kernel that were, at
 * least 1, or -errno. With QUESTIONS_BATCH there are likely more. */
int questions_receive(struct questions *questions, int fd);
static inline bool questions_empty(const struct questions *questions)
{
	return questions->at == questions->n;
}

/* The next one; false: none is left. It stays the next one until questions_done(). */
bool questions_next(const struct questions *questions, struct question *question);
void questions_done(struct questions *questions, const struct question *question);

/* Batches only, from now on; asks the kernel for trains. */
void questions_expect_many(struct questions *questions, int fd);
/* Looks up what has been dropped by now. */
void questions_count_drops(struct questions *questions, int fd);

#endif
