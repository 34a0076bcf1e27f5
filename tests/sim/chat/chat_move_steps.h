/*
 * chat_move_steps: one chat client on its way from worker to worker, step by step, and lines of one
 * length that are numbered.
 */
#ifndef TESTS_SIM_CHAT_CHAT_MOVE_STEPS_H
#define TESTS_SIM_CHAT_CHAT_MOVE_STEPS_H

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/sim/sim_move.h"
#include "tests/support/sim/sim_chat_workers.h"

#define SENDER	  0
#define RECEIVER  1
#define OTHER	  2
#define LINE_N	  1000 /* bytes of a line */
#define LOOKED_AT 18   /* offset in the state of a chat: after an address and a port */

static struct sim_chat chat;
static struct sim_chat_setting setting = {SIM_CHAT_SETTING};

/* One client, on its way from the sender to the receiver. */
static struct {
	struct peer *peer;
	struct conn *conn;
	struct load load;
} way;

static inline void open_chat(void)
{
	log_open(LOG_ERROR, LOG_LOGFMT);
	setting.workers = 3;
	sim_chat_open(&chat, &setting);
}

static inline void end(struct peer *const *peers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		peers[i]->space = PEER_SPACE;
		(void)peer_receive(peers[i], NULL, SIZE_MAX);
		peer_finish(peers[i]);
	}
	for (int i = 0; i < 20; i++) {
		sim_chat_wait(&chat, 2);
		for (size_t p = 0; p < n; p++)
			(void)peer_receive(peers[p], NULL, SIZE_MAX);
	}
	sim_chat_close(&chat);
}

/* ---- the steps ---- */

static inline struct conn *conn_at(unsigned worker, int fd)
{
	struct conn *conn;
	size_t cursor = 0;

	while ((conn = pool_next(&chat.workers[worker].table.conns, &cursor)))
		if (conn->source.fd == fd)
			return conn;
	return NULL;
}

static inline void set_out(struct peer *peer)
{
	way.peer = peer;
	way.conn = conn_at(SENDER, peer->fd);
	EXPECT(way.conn && conn_freeze(way.conn));
	load_take(&way.load, way.conn, peer);
}

/* The receiver takes the client; the sender does not know it yet. */
static inline void arrive(void)
{
	EXPECT(load_leave(&way.load, &chat.workers[RECEIVER].services[0]));
}

static inline void answer_taken(void)
{
	conn_depart(way.conn);
}

static inline void answer_refused(void)
{
	EXPECT(sys_close(way.load.fd) == 0);
	free(way.load.bytes);
	conn_thaw(way.conn);
}

static inline void move(struct peer *peer)
{
	set_out(peer);
	arrive();
	answer_taken();
}

/* ---- lines ---- */

static inline void say_lines(struct peer *peer, unsigned first, unsigned n)
{
	char line[LINE_N + 1];

	for (unsigned i = first; i < first + n; i++) {
		(void)snprintf(line, sizeof line, "%-*u\n", LINE_N - 1, i);
		peer_send(peer, line, LINE_N);
	}
}

/* Receives the whole lines that have come, which have to be the next ones. Returns how many. */
static inline unsigned hear_lines(struct peer *peer, unsigned first)
{
	unsigned n = 0;
	char line[LINE_N + 1], expected[LINE_N + 1];

	for (; peer->out.n >= LINE_N; n++) {
		EXPECT(peer_receive(peer, line, LINE_N) == LINE_N);
		(void)snprintf(expected, sizeof expected, "%-*u\n", LINE_N - 1, first + n);
		EXPECT_MSG(memcmp(line, expected, LINE_N) == 0, "%.20s in place of %u", line,
			   first + n);
	}
	return n;
}

static inline unsigned hear_all_lines(struct peer *peer)
{
	unsigned n = 0, more;

	do {
		sim_chat_wait(&chat, 2 * DELIVERY_REST_MS);
		more = hear_lines(peer, n);
		n += more;
	} while (more);
	return n;
}

#endif
