/*
 * office: servers of datagrams in the simulated mailroom, and a book of what each mailbox owes.
 *
 * A clerk is a worker: a loop with its counters. A desk is where a clerk serves a mailbox; clerks
 * may share one, and one may follow another, as the office holds a descriptor of each. What is
 * posted through the book is written down, and what leaves is held against it: the right bytes,
 * to the right peer, from the address that was asked, in the order of the questions of each peer,
 * once. What does not leave must have been refused by the kernel. The book counts what the
 * counters should say.
 */
#ifndef TESTS_SUPPORT_SIM_SIM_UDP_SERVERS_H
#define TESTS_SUPPORT_SIM_SIM_UDP_SERVERS_H

#include "reactor/udp/datagram.h"
#include "tests/support/sim/sim_udp.h"

#define OFFICE_PORT	  7878
#define OFFICE_OTHER	  5353 /* a port where another listener of weir's serves datagrams */
#define BOOK_ASKS_ANOTHER 1000
#define DELAYS_ENOUGH	  100 /* refusals for want of memory, after which one may be given up */

/* Of letters; the first one is owed an answer. */
enum { MAIL_PLAIN, MAIL_LOW_PORT, MAIL_OWN_PORT, MAIL_TO_MANY, MAIL_TOO_LONG, MAIL_TAGS };

enum answer { ANSWER_ECHO, ANSWER_HALF, ANSWER_CHARGEN, ANSWER_NONE };

struct owed {
	struct owed *next;
	struct place peer;
	struct in6_addr here;
	size_t n;
	uint64_t serial;
	unsigned refusals, delays; /* by the kernel, as a single datagram */
};

struct book {
	struct mailbox *box;
	int fd; /* the office's own */
	enum answer answer;
	bool any_order; /* several serve it */
	struct owed *first, **end;
	size_t owed_n;
	uint64_t serial;
	struct stats expected;
	struct guard guard;
	uint32_t dropped;
	void (*read)(struct book *book); /* after a letter was; may be NULL */
};

struct clerk {
	struct loop loop;
	struct stats stats;
};

struct desk {
	struct clerk *clerk;
	struct book *book;
	struct datagram_socket socket;
	struct datagram_service service;
	unsigned gone_n;
};

/* ---- the whole ---- */

void office_begin(void);
void office_end(void);

/* ---- books ---- */

/* text: as address_parse() takes it. */
void book_open(struct book *book, const char *text, enum answer answer);
/* All that is still owed was refused, or is waiting in the mailbox. */
void book_settle(struct book *book);
void book_close(struct book *book);
/* As many answers as were in hand may be lost: somebody closed without a word. How many were. */
size_t book_forget(struct book *book);
/* From peer number i (with BOOK_ASKS_ANOTHER, or twice that, to it: at another address of ours,
 * where the mailbox has several): n bytes; in datagrams of segment bytes, unless that is 0. How
 * many of these found room. */
size_t book_post(struct book *book, unsigned i, size_t n, size_t segment);
size_t book_post_tagged(struct book *book, int tag, size_t n);
/* Owed, and read by somebody. */
size_t book_in_hand(const struct book *book);

/* ---- clerks ---- */

void clerk_open(struct clerk *clerk);
void clerk_close(struct clerk *clerk);
/* Passes of all until ms have gone by; time goes on where none has anything to do. */
void clerks_run(struct clerk *const *clerks, size_t n, uint32_t ms);
void clerk_run(struct clerk *clerk, uint32_t ms);
/* Until more than one have been seen to wait: from then on trains come. */
void clerk_show_many(struct clerk *clerk, struct book *book);
/* Their counters are what the books say. */
void clerks_expect(struct clerk *const *clerks, size_t n, struct book *const *books,
		   size_t books_n);
void clerk_expect(struct clerk *clerk, struct book *book);

/* ---- desks ---- */

/* As datagram_open() says. */
int desk_open(struct desk *desk, struct clerk *clerk, struct book *book, bool shared);

static inline bool desk_is_open(const struct desk *desk)
{
	return desk->socket.source.fd >= 0;
}

static inline void desk_close(struct desk *desk)
{
	datagram_close(&desk->clerk->loop, &desk->socket);
}

static inline void desk_stop(struct desk *desk)
{
	datagram_stop(&desk->clerk->loop, &desk->socket);
}

static inline void desk_leave(struct desk *desk)
{
	datagram_leave(&desk->clerk->loop, &desk->socket);
}

#endif
