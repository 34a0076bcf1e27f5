/*
 * chat_clients: clients of a chat in the test's own process, and what each of them has heard.
 *
 * Client g says its lines as "g n ....\n", n counting from 0. Each line that a client hears is
 * checked as it comes: it is whole, not its own, of somebody who said it, and the next one of
 * that sender; a line lost, doubled or out of order fails the test. A client that comes late
 * hears all that is said once it is a member, and may hear what was under way by then. All of
 * it is one epoll loop that moves while chat_clients_listen() runs.
 */
#ifndef TESTS_SUPPORT_CLIENTS_CHAT_CLIENTS_H
#define TESTS_SUPPORT_CLIENTS_CHAT_CLIENTS_H

#include "tests/support/harness.h"

#define CHAT_CLIENTS_LINE_MAX 2000

struct chat_client {
	int fd;
	bool gone; /* its connection has ended */
	bool deaf; /* does not read */
	uint32_t said;
	uint64_t heard_n; /* lines */
	uint32_t *heard;  /* of each client: the number of its next line */
	uint32_t *since;  /* of each client: what it had said when this one was a member */
	bool *knows;	  /* of each client: it has heard something of it */
	size_t part_n;	  /* of a line that has come in part */
	char part[CHAT_CLIENTS_LINE_MAX];
};

struct chat_clients {
	struct server *server;
	unsigned port;
	int epfd;
	struct chat_client *all;
	unsigned n, max;
	size_t line_bytes; /* with its \n */
	bool gaps_allowed; /* clients may miss lines; no other fault */
	uint64_t missed;   /* lines, over all clients, then */
	uint64_t gone_n;
};

void chat_clients_open(struct chat_clients *clients, struct server *server, unsigned port,
		       unsigned max, size_t line_bytes);
void chat_clients_close(struct chat_clients *clients);
/* A client comes, and is a member when this returns. Its number. */
unsigned chat_clients_join(struct chat_clients *clients);
/* The same, many at a time. */
void chat_clients_join_all(struct chat_clients *clients, unsigned n);
/* Says its next line; listens meanwhile if the server does not take it. False: it is gone. */
bool chat_clients_say(struct chat_clients *clients, unsigned client);
/* Hears what has come, for wait_ms at most until something does. Whether anything was. */
bool chat_clients_listen(struct chat_clients *clients, int wait_ms);
/* Until each client that is there and not deaf has heard all lines of all clients that are there,
 * and all agree on what those who are not said. */
void chat_clients_hear_all(struct chat_clients *clients);
/* A client stops reading. */
void chat_clients_deafen(struct chat_clients *clients, unsigned client);

#endif
