/*
 * server_control: changes a running weir, and waits for what its log says of each change.
 *
 * A server that is steered is started with SERVER_CONTROL_CONTROL among its arguments. After an
 * upgrade the new master is this process' child (it adopts orphans), server->pid is its, and it is
 * waited for and ended as the first one is. A change that was not made fails the test.
 */
#ifndef TESTS_SUPPORT_HELM_H
#define TESTS_SUPPORT_HELM_H

#include "tests/support/harness.h"

#define SERVER_CONTROL_CONTROL "--control", in_folder("control")

enum server_control {
	SERVER_CONTROL_RELOAD,
	SERVER_CONTROL_UPGRADE,
	SERVER_CONTROL_MORE,
	SERVER_CONTROL_FEWER,
	SERVER_CONTROL_REBALANCE
};

struct server_control_change {
	uint64_t moved; /* connections */
	uint64_t ms;	/* from when the new workers were ready */
	uint64_t stay;	/* connections that could not be moved */
};

/* Asks for it. One at a time: the log so far is forgotten. */
void server_control_order(struct server *server, enum server_control what);
/* Is it over? Then what it was. Waits for nothing. */
bool server_control_done(struct server *server, enum server_control what,
			 struct server_control_change *seen);
/* Both, waiting. */
struct server_control_change server_control_make(struct server *server, enum server_control what);
/* No connection has ended but by its peer, and each that one worker gave another one took. */
void server_control_expect_no_loss(struct server *server);
/* For the message of a failure: how many connections ended for each reason. All that the log has
 * said goes to stdout, since a message is short. */
const char *server_control_story(struct server *server);

#endif
