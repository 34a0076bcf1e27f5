/*
 * segmenter: does to one peer's bytes what TCP may do, on a simulated kernel: they arrive in
 * pieces, between turns or in the middle of one, and the peer takes the answers little by little.
 *
 * It is used for one connection: either segmenter_run() does it all, or a test that does more in
 * each pass makes it the peer's script and calls segmenter_send() itself. The same seed makes the
 * same pieces.
 */
#ifndef TESTS_SUPPORT_SIM_SEGMENTER_H
#define TESTS_SUPPORT_SIM_SEGMENTER_H

#include "tests/support/sim/kernel.h"

struct segmenter {
	const char *name; /* for the message of a failure */
	const void *in;
	size_t in_n, sent;
	uint64_t seed;
	size_t first;	/* bytes of the first piece, the rest is the second; 0: */
	size_t piece;	/* bytes of every piece; 0: random */
	bool mid_turn;	/* pieces come after reads, too */
	bool fin_alone; /* FIN does not come with the last bytes */
	size_t drain;	/* bytes that the peer takes in a pass; 0: all */
	size_t space;	/* bytes that the kernel takes; 0: PEER_SPACE */
	/* The result. */
	enum close_reason reason;
	bool was_reset; /* the server reset the connection */
};

static inline size_t segmenter_next(struct segmenter *segmenter)
{
	static const size_t spans[] = {3, 20, 120, 1000, 40000};
	size_t left = segmenter->in_n - segmenter->sent, n;

	if (segmenter->first)
		n = segmenter->sent ? left : segmenter->first;
	else if (segmenter->piece)
		n = segmenter->piece;
	else
		n = 1 + sim_below(&segmenter->seed, spans[sim_below(&segmenter->seed, 5)]);
	return n < left ? n : left;
}

static inline void segmenter_send(struct peer *peer)
{
	struct segmenter *segmenter = peer->script;
	size_t n;

	if (peer->finished || peer->closed)
		return;
	n = segmenter_next(segmenter);
	peer_send(peer, (const char *)segmenter->in + segmenter->sent, n);
	segmenter->sent += n;
	if (segmenter->sent == segmenter->in_n && (!n || !segmenter->fin_alone))
		peer_finish(peer);
}

static inline void segmenter_maybe_send(struct peer *peer)
{
	struct segmenter *segmenter = peer->script;

	if (segmenter->mid_turn && sim_below(&segmenter->seed, 2))
		segmenter_send(peer);
}

static inline size_t segmenter_take(struct peer *peer, unsigned char *out, size_t room)
{
	const struct segmenter *segmenter = peer->script;
	size_t n =
	    segmenter->drain && segmenter->drain < peer->out.n ? segmenter->drain : peer->out.n;

	EXPECT_MSG(n <= room, "%s: too much came", segmenter->name);
	return peer_receive(peer, out, n);
}

/* A connection from its beginning to its end. Returns how many bytes came back. */
static inline size_t segmenter_run(struct world *world, struct segmenter *segmenter,
				   unsigned char *out, size_t room)
{
	struct stats before = world->stats;
	struct peer *peer = world_connect(world);
	size_t n = 0;

	peer->script = segmenter;
	peer->after_read = segmenter_maybe_send;
	peer->space = segmenter->space ? segmenter->space : PEER_SPACE;
	for (int i = 0; !peer->closed; i++) {
		EXPECT_MSG(i < 1000000, "%s: does not end", segmenter->name);
		segmenter_send(peer);
		loop_pass(&world->loop, peer->finished ? 10 : 0);
		n += segmenter_take(peer, out + n, room - n);
	}
	while (peer->out.n)
		n += segmenter_take(peer, out + n, room - n);
	segmenter->reason = world_reason(world, &before);
	segmenter->was_reset = peer->got_reset;
	peer_free(peer);
	world_expect_free(world);
	return n;
}

#endif
