/*
 * chat_pair: two clients of a chat; one speaks and one listens.
 *
 * There is one server at a time in a test's process.
 */
#ifndef TESTS_PROTOCOL_CHAT_PAIR_H
#define TESTS_PROTOCOL_CHAT_PAIR_H

#include <signal.h>
#include <unistd.h>

#include "tests/support/harness.h"

#define LINE_MOST 16000

static struct server *server;
static int speaker, listener;

static inline void meet(unsigned port)
{
	uint64_t joined = server_stat(server, "members_joined");

	speaker = connect_to(port);
	listener = connect_to(port);
	server_wait_stat(server, "members_joined", joined + 2);
}

static inline void start(void)
{
	server = SERVER("-w", "2", "chat://127.0.0.1:0");
	meet(server->ports[0]);
}

static inline void part(void)
{
	(void)close(speaker);
	(void)close(listener);
	ck_assert_int_eq(server_stop(server, SIGTERM), 0);
}

#endif
