/*
 * sim_udp_servers: workers that serve simulated UDP sockets, and for each socket a book of the
 * answers that it owes.
 *
 * A sim_udp_worker is a loop with its counters; a udp_server is one worker's service of one socket.
 * Workers may share a socket, and one may follow another on it, because the book has a descriptor
 * of its own. Each request that is posted through the book is written down, and each answer is
 * compared with it: the right bytes, to the right peer, from the address that was asked, in the
 * order of each peer's requests, once. An answer that is not sent must have been refused by the
 * kernel. The book also counts what the workers' counters should say.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_UDP_SERVERS_H
#define TESTS_SUPPORT_SIM_SIM_UDP_SERVERS_H

#include "reactor/udp/datagram.h"
#include "tests/support/sim/sim_udp.h"

#define SIM_UDP_PORT	  7878
#define SIM_UDP_OTHER	  5353 /* the port of another of weir's UDP listeners */
#define BOOK_ASKS_ANOTHER 1000
#define DELAYS_ENOUGH	  100 /* after so many ENOBUFS or ENOMEM an answer may be given up */

/* Tags of datagrams; only the first one is owed an answer. */
enum {
	SIM_UDP_PLAIN,
	SIM_UDP_LOW_PORT,
	SIM_UDP_OWN_PORT,
	SIM_UDP_TO_MANY,
	SIM_UDP_TOO_LONG,
	SIM_UDP_TAGS
};

enum answer { ANSWER_ECHO, ANSWER_HALF, ANSWER_CHARGEN, ANSWER_NONE };

struct owed {
	struct owed *next;
	struct place peer;
	struct in6_addr here;
	size_t n;
	uint64_t serial;
	unsigned refusals, delays; /* how often the kernel refused it as a single datagram */
};

struct book {
	struct sim_socket *sock;
	int fd; /* the book's own descriptor */
	enum answer answer;
	bool any_order; /* several workers serve the socket */
	struct owed *first, **end;
	size_t owed_n;
	uint64_t serial;
	struct stats expected;
	struct reflection_guard guard;
	uint32_t dropped;
	void (*read)(struct book *book); /* called after a datagram was read; may be NULL */
};

struct sim_udp_worker {
	struct loop loop;
	struct stats stats;
};

struct udp_server {
	struct sim_udp_worker *worker;
	struct book *book;
	struct datagram_socket socket;
	struct datagram_service service;
	unsigned gone_n;
};

/* ---- beginning and end ---- */

void sim_udp_servers_begin(void);
void sim_udp_servers_end(void);

/* ---- books ---- */

/* text: an address in the form that address_parse() takes. */
void book_open(struct book *book, const char *text, enum answer answer);
/* Expects that each answer still owed was refused, or its request waits in the socket. */
void book_check(struct book *book);
void book_close(struct book *book);
/* After a server closed without answering what it had read: strikes out these answers. Returns how
 * many there were. */
size_t book_forget(struct book *book);
/* Posts n bytes from peer number i, in datagrams of segment bytes unless that is 0. i plus
 * BOOK_ASKS_ANOTHER, or plus twice that, is the same peer asking another address of ours, if the
 * socket has several. Returns how many datagrams found room. */
size_t book_post(struct book *book, unsigned i, size_t n, size_t segment);
size_t book_post_tagged(struct book *book, int tag, size_t n);
/* How many answers are owed to requests that a server has read. */
size_t book_in_hand(const struct book *book);

/* ---- workers ---- */

void sim_udp_worker_open(struct sim_udp_worker *worker);
void sim_udp_worker_close(struct sim_udp_worker *worker);
/* Runs all workers until ms have gone by; time goes on when none has anything to do. */
void sim_udp_workers_run(struct sim_udp_worker *const *workers, size_t n, uint32_t ms);
void sim_udp_worker_run(struct sim_udp_worker *worker, uint32_t ms);
/* Runs until the worker has seen more than one datagram wait: from then on it accepts trains. */
void sim_udp_worker_show_many(struct sim_udp_worker *worker, struct book *book);
/* Expects the workers' counters to be what the books have counted. */
void sim_udp_workers_expect(struct sim_udp_worker *const *workers, size_t n,
			    struct book *const *books, size_t books_n);
void sim_udp_worker_expect(struct sim_udp_worker *worker, struct book *book);

/* ---- servers ---- */

/* Returns what datagram_open() does. */
int udp_server_open(struct udp_server *server, struct sim_udp_worker *worker, struct book *book,
		    bool shared);

static inline bool udp_server_is_open(const struct udp_server *server)
{
	return server->socket.source.fd >= 0;
}

static inline void udp_server_close(struct udp_server *server)
{
	datagram_close(&server->worker->loop, &server->socket);
}

static inline void udp_server_stop(struct udp_server *server)
{
	datagram_stop(&server->worker->loop, &server->socket);
}

static inline void udp_server_leave(struct udp_server *server)
{
	datagram_leave(&server->worker->loop, &server->socket);
}

#endif
