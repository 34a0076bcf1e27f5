/*
 * chat_clients: clients of a chat in the test's own process, and what each of them has heard.
 *
 * Client g says its lines as "g n ....\n", n counting from 0. Each line that a client hears is
 * checked at once: it has to be whole, not the client's own, really said by its sender, and the
 * next one of that sender; a line lost, doubled or out of order fails the test. In the end there
 * has to be one order of all lines that all clients heard them in. A client that joins late hears
 * all that is said once it is a member, and may hear what was under way by then. All clients share
 * one epoll loop, which runs only in chat_clients_listen().
 */
#ifndef TESTS_SUPPORT_CLIENTS_CHAT_CLIENTS_H
#define TESTS_SUPPORT_CLIENTS_CHAT_CLIENTS_H

#include "tests/support/clients/one_order.h"
#include "tests/support/harness.h"

#define CHAT_CLIENTS_LINE_MAX 2000

struct chat_client {
	int fd;
	bool gone; /* its connection has ended */
	bool deaf; /* does not read */
	uint32_t said;
	uint64_t heard_n; /* lines */
	uint32_t *heard;  /* by sender: the number of its next line */
	uint32_t *since;  /* by sender: how many lines it had said when this client joined */
	bool *knows;	  /* by sender: this client has heard something of it */
	uint32_t *lines;  /* its own, by number: which ones they are in the order */
	uint32_t last;	  /* the line that it heard last, in the order; if it has heard any */
	size_t part_n;	  /* bytes of a line that has come in part */
	char part[CHAT_CLIENTS_LINE_MAX];
};

struct chat_clients {
	struct server *server;
	unsigned port;
	int epfd;
	struct chat_client *all;
	unsigned n, max;
	size_t line_bytes; /* with its \n */
	bool gaps_allowed; /* clients may miss lines; any other fault fails the test */
	uint64_t missed;   /* with gaps_allowed: lines that were missed, over all clients */
	uint64_t gone_n;
	struct one_order order;
	uint32_t lines_n; /* of all clients */
};

void chat_clients_open(struct chat_clients *clients, struct server *server, unsigned port,
		       unsigned max, size_t line_bytes);
void chat_clients_close(struct chat_clients *clients);
/* Connects a client, which is a member when this returns. Returns its number. */
unsigned chat_clients_join(struct chat_clients *clients);
/* The same, many at a time. */
void chat_clients_join_all(struct chat_clients *clients, unsigned n);
/* The client says its next line; all listen meanwhile if the server does not take it. False: the
 * client is gone. */
bool chat_clients_say(struct chat_clients *clients, unsigned client);
/* For whoever writes a line by other means: it counts as said from now on. */
void chat_clients_count_said(struct chat_clients *clients, unsigned client);
/* Reads what has come, after waiting up to wait_ms for something. Returns whether anything came. */
bool chat_clients_listen(struct chat_clients *clients, int wait_ms);
/* Returns when each client that is there and not deaf has heard all lines of all clients that are
 * there, and the same lines of those that are gone. */
void chat_clients_hear_all(struct chat_clients *clients);
/* A client stops reading. */
void chat_clients_deafen(struct chat_clients *clients, unsigned client);

#endif
