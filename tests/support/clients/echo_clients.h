/*
 * echo_clients: clients of an echo in the test's own process, each with an endless stream of its
 * own.
 *
 * Client c's stream is the same in each run, and each byte that comes back is checked to be the
 * next one of it: a byte lost, doubled, altered or out of order, or of another client, fails
 * the test. All of it is one epoll loop that moves while echo_clients_listen() runs. A client whose
 * connection ends is gone, which the test has to judge.
 */
#ifndef TESTS_SUPPORT_CLIENTS_ECHO_CLIENTS_H
#define TESTS_SUPPORT_CLIENTS_ECHO_CLIENTS_H

#include "tests/support/harness.h"

struct caller {
	int fd;
	bool gone;
	unsigned slot;	     /* of the worker that let it in */
	uint64_t sent, back; /* bytes */
	uint64_t since_us;   /* when what it waits for was sent */
	uint64_t due_us;     /* echo_clients_pace(): when it speaks again */
	uint64_t longest_us; /* the longest that it waited since this was set to 0 */
};

struct echo_clients {
	struct server *server;
	int epfd;
	struct caller *callers;
	unsigned n, max, gone_n;
};

void echo_clients_open(struct echo_clients *clients, struct server *server, unsigned max);
void echo_clients_close(struct echo_clients *clients);
/* It comes over this connection, which is the clients's from now on; its number. */
unsigned echo_clients_join(struct echo_clients *clients, int fd);
/* The same, and waits until it is known at which of the first workers it is. */
unsigned echo_clients_join_known(struct echo_clients *clients, int fd, unsigned workers);
/* Sends the next n bytes of its stream, or as many as the kernel takes. */
void echo_clients_say(struct echo_clients *clients, unsigned caller, size_t n);
/* Takes what has come, for wait_ms at most until something does. Whether anything was. */
bool echo_clients_listen(struct echo_clients *clients, int wait_ms);
/* Until all that are there have all that they sent back. */
void echo_clients_hear_all(struct echo_clients *clients);
/* A client that has its answer says n bytes again after so long; and listens, at most 1 ms. */
void echo_clients_pace(struct echo_clients *clients, size_t n, uint64_t pause_us);
uint64_t now_us(void);

#endif
