/*
 * cutting: what TCP may do to one peer's bytes on a simulated kernel: they come in pieces, between
 * turns or in the middle of one, and what is answered is taken little by little.
 *
 * Lives for one connection: cutting_run(); or, where there is more to do in a pass, as the peer's
 * script with cutting_send() in each. The same seed gives the same pieces.
 */
#ifndef TESTS_SUPPORT_SIM_SEGMENTER_H
#define TESTS_SUPPORT_SIM_SEGMENTER_H

#include "tests/support/sim/kernel.h"

struct cutting {
	const char *name; /* for what is said where it fails */
	const void *in;
	size_t in_n, sent;
	uint64_t seed;
	size_t first;	/* bytes of the first piece; 0: */
	size_t piece;	/* of every piece; 0: random */
	bool mid_turn;	/* pieces come after reads, too */
	bool fin_alone; /* FIN does not come with the last bytes */
	size_t drain;	/* bytes that the peer takes in a pass; 0: all */
	size_t space;	/* bytes that the kernel takes; 0: PEER_SPACE */
	/* What came of it. */
	enum close_reason reason;
	bool was_reset; /* the peer, by the server */
};

static inline size_t cutting_next(struct cutting *cutting)
{
	static const size_t spans[] = {3, 20, 120, 1000, 40000};
	size_t left = cutting->in_n - cutting->sent, n;

	if (cutting->first)
		n = cutting->sent ? left : cutting->first;
	else if (cutting->piece)
		n = cutting->piece;
	else
		n = 1 + sim_below(&cutting->seed, spans[sim_below(&cutting->seed, 5)]);
	return n < left ? n : left;
}

static inline void cutting_send(struct peer *peer)
{
	struct cutting *cutting = peer->script;
	size_t n;

	if (peer->finished || peer->closed)
		return;
	n = cutting_next(cutting);
	peer_send(peer, (const char *)cutting->in + cutting->sent, n);
	cutting->sent += n;
	if (cutting->sent == cutting->in_n && (!n || !cutting->fin_alone))
		peer_finish(peer);
}

static inline void cutting_maybe_send(struct peer *peer)
{
	struct cutting *cutting = peer->script;

	if (cutting->mid_turn && sim_below(&cutting->seed, 2))
		cutting_send(peer);
}

static inline size_t cutting_take(struct peer *peer, unsigned char *out, size_t room)
{
	const struct cutting *cutting = peer->script;
	size_t n = cutting->drain && cutting->drain < peer->out.n ? cutting->drain : peer->out.n;

	EXPECT_MSG(n <= room, "%s: too much came", cutting->name);
	return peer_receive(peer, out, n);
}

/* A connection, from its beginning to its end. How many bytes came back. */
static inline size_t cutting_run(struct world *world, struct cutting *cutting, unsigned char *out,
				 size_t room)
{
	struct stats before = world->stats;
	struct peer *peer = world_connect(world);
	size_t n = 0;

	peer->script = cutting;
	peer->after_read = cutting_maybe_send;
	peer->space = cutting->space ? cutting->space : PEER_SPACE;
	for (int i = 0; !peer->closed; i++) {
		EXPECT_MSG(i < 1000000, "%s: does not end", cutting->name);
		cutting_send(peer);
		loop_pass(&world->loop, peer->finished ? 10 : 0);
		n += cutting_take(peer, out + n, room - n);
	}
	while (peer->out.n)
		n += cutting_take(peer, out + n, room - n);
	cutting->reason = world_reason(world, &before);
	cutting->was_reset = peer->got_reset;
	peer_free(peer);
	world_expect_free(world);
	return n;
}

#endif
