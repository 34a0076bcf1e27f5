/*
 * sim_http_client: a peer that speaks HTTP to a world on a simulated kernel, and reads its answers.
 *
 * One world and one peer at a time in a test's process. end_with() is given the reason for which
 * the connection has to have ended.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_HTTP_CLIENT_H
#define TESTS_SUPPORT_SIM_SIM_HTTP_CLIENT_H

#include "tests/support/clients/http_reader.h"
#include "tests/support/sim/kernel.h"

#define GET	"GET / HTTP/1.1\r\nHost: weir\r\n\r\n"
#define CHUNKED "POST /echo HTTP/1.1\r\nHost: weir\r\nTransfer-Encoding: chunked\r\n\r\n"
#define OUT_MAX (4u << 20)

static struct world world;
static unsigned char got[OUT_MAX];
static size_t got_n, looked;

static inline void begin_with(struct conn_limits limits)
{
	world_open(&world, "http", limits, BUFFERS_MIN);
	got_n = looked = 0;
}

static inline void begin(void)
{
	begin_with((struct conn_limits){WORLD_LIMITS});
}

static inline void end_with(struct peer *peer, enum close_reason reason)
{
	for (int i = 0; !peer->closed && i < 3000; i++)
		world_wait(&world, 1);
	ck_assert(peer->closed);
	ck_assert_msg(world.stats.closed[reason] == world_closed(&world), "other reasons than %s",
		      close_reason_name(reason));
	world_close(&world);
}

static inline void take(struct peer *peer)
{
	world_run(&world);
	while (peer->out.n) {
		got_n += peer_receive(peer, got + got_n, sizeof got - got_n);
		world_run(&world);
	}
}

/* Expects this to be the next answer in what was received. */
static inline void expect_answer(int status, size_t body_n, bool closes)
{
	static struct answer answer;

	looked += answer_read(got + looked, got_n - looked, false, &answer);
	ck_assert_int_eq(answer.status, status);
	ck_assert(answer.whole);
	if (status == 200)
		ck_assert_uint_eq(answer.body_n, body_n);
	ck_assert_int_eq(answer.closes, closes);
}

static inline void expect_no_more(void)
{
	ck_assert_uint_eq(looked, got_n);
}

#endif
