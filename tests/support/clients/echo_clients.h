/*
 * echo_clients: clients of an echo in the test's own process, each with an endless stream of its
 * own.
 *
 * Client c's stream is the same in each run, and each byte that comes back has to be the next one
 * of its stream: a byte lost, doubled, altered, out of order, or of another client fails the test.
 * All clients share one epoll loop, which runs only in echo_clients_listen(). A client whose
 * connection ends is gone; whether that is a fault is for the test to judge.
 */
#ifndef TESTS_SUPPORT_CLIENTS_ECHO_CLIENTS_H
#define TESTS_SUPPORT_CLIENTS_ECHO_CLIENTS_H

#include "tests/support/harness.h"

struct caller {
	int fd;
	bool gone;
	unsigned slot;	     /* of the worker that accepted it */
	uint64_t sent, back; /* bytes */
	uint64_t since_us;   /* when the bytes that it waits for were sent */
	uint64_t due_us;     /* echo_clients_pace(): when it speaks again */
	uint64_t longest_us; /* its longest wait since this was set to 0 */
};

struct echo_clients {
	struct server *server;
	int epfd;
	struct caller *callers;
	unsigned n, max, gone_n;
};

void echo_clients_open(struct echo_clients *clients, struct server *server, unsigned max);
void echo_clients_close(struct echo_clients *clients);
/* Adds a client with this connection, which now belongs to `clients`. Returns its number. */
unsigned echo_clients_join(struct echo_clients *clients, int fd);
/* The same, and waits until it is known which of the first `workers` workers has it. */
unsigned echo_clients_join_known(struct echo_clients *clients, int fd, unsigned workers);
/* Sends the next n bytes of the client's stream, or as many as the kernel takes. */
void echo_clients_say(struct echo_clients *clients, unsigned caller, size_t n);
/* Reads what has come, after waiting up to wait_ms for something. Returns whether anything came. */
bool echo_clients_listen(struct echo_clients *clients, int wait_ms);
/* Returns when all clients that are there have got back all that they sent. */
void echo_clients_hear_all(struct echo_clients *clients);
/* Has each client that got its answer say n bytes again pause_us later; listens for 1 ms at most.
 */
void echo_clients_pace(struct echo_clients *clients, size_t n, uint64_t pause_us);
uint64_t now_us(void);

#endif
