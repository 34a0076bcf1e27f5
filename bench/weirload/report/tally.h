/*
 * tally: what one sending process counts, in memory that the conductor reads.
 *
 * A process writes its own tally, and reads no other. The conductor may read at any time: each
 * number is whole. All lie in an anonymous shared mapping that is made before the fork.
 */
#ifndef BENCH_WEIRLOAD_REPORT_TALLY_H
#define BENCH_WEIRLOAD_REPORT_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/weirload/report/histogram.h"

/* ERROR(name, what it counts, who is to blame) */
#define TALLY_ERRORS                                                                               \
	ERROR(refused, "connections refused", SERVER)                                              \
	ERROR(reset, "connections reset by the server", SERVER)                                    \
	ERROR(closed, "connections that the server closed", SERVER)                                \
	ERROR(timeout, "connects or messages without an answer in time", SERVER)                   \
	ERROR(unanswered, "messages that were under way when their connection ended", SERVER)      \
	ERROR(lost, "replies with bytes missing", REPLY)                                           \
	ERROR(doubled, "replies with bytes twice", REPLY)                                          \
	ERROR(reordered, "replies with bytes in another order", REPLY)                             \
	ERROR(foreign, "replies with bytes of another connection", REPLY)                          \
	ERROR(altered, "replies with bytes that were never sent", REPLY)                           \
	ERROR(truncated, "answers that are shorter or longer than they should be", REPLY)          \
	ERROR(unexpected, "bytes to which nothing was asked", REPLY)                               \
	ERROR(status, "answers with another status than 200", REPLY)                               \
	ERROR(malformed, "answers that are not as HTTP/1.1 or 1.0 has them", REPLY)                \
	ERROR(ports, "no local port or address was left", GENERATOR)                               \
	ERROR(descriptors, "no descriptor was left", GENERATOR)                                    \
	ERROR(memory, "the kernel had no memory", GENERATOR)                                       \
	ERROR(other, "of other kinds", SERVER)

enum tally_error {
#define ERROR(name, text, blame) TALLY_##name,
	TALLY_ERRORS
#undef ERROR
	    TALLY_ERROR_KINDS
};

enum tally_blame { BLAME_SERVER, BLAME_REPLY, BLAME_GENERATOR };

struct tally_error_row {
	const char *name, *text;
	enum tally_blame blame;
};

extern const struct tally_error_row tally_errors[TALLY_ERROR_KINDS];

#define TALLY_DETAIL_BYTES 200

struct tally {
	uint64_t messages; /* answered, or delivered in a chat, in the whole run */
	uint64_t lines;	   /* chat: lines that were sent */
	uint64_t sent_bytes, received_bytes;
	uint64_t connects; /* those that succeeded */
	uint64_t settled;  /* connections whose first attempt has succeeded or failed */
	uint64_t open, open_max;
	uint64_t unsent;     /* messages that were due and had not left when the time was over */
	uint64_t slow_ended; /* slow connections that the server ended */
	/* HTTP: connections that the server ended between answers, or said that it would end. */
	uint64_t reopened, reopened_by_reset;
	uint64_t retried; /* requests that were under way then, and were asked again */
	/* HTTP: the body that all others had to equal: 1 + its length, or 0 if there is none; and
	 * its http_body_print(). */
	uint64_t body_n, body_print;
	uint64_t frozen_ns; /* how long this process did not run although a timer was due */
	/* Datagrams, in the time that is measured: messages, and what UDP may do to them. late:
	 * lost ones whose answer came after all; dropped: answers that came, but found weirload's
	 * own queue full. */
	uint64_t asked, lost, late, doubled, reordered, dropped;
	uint64_t errors[TALLY_ERROR_KINDS];
	char details[TALLY_ERROR_KINDS][TALLY_DETAIL_BYTES]; /* the first of each kind, in words */
	struct histogram connect, service, response, slip;
};

#define TALLY_ADD(tally, name, n)                                                                  \
	__atomic_store_n(&(tally)->name, (tally)->name + (uint64_t)(n), __ATOMIC_RELAXED)
#define TALLY_READ(tally, name) __atomic_load_n(&(tally)->name, __ATOMIC_RELAXED)

/* n tallies, zeroed; NULL if there is no memory. */
struct tally *tally_map(unsigned n);
/* The number of errors that one party is to blame for. */
uint64_t tally_errors_of(const struct tally *tally, enum tally_blame blame);
/* Whether all processes that have got a body of HTTP have got the same. */
bool tally_bodies_agree(const struct tally *tallies, unsigned n);
/* Adds up all tallies except for their histograms, which the caller merges if it needs them. */
void tally_sum(struct tally *sum, const struct tally *tallies, unsigned n);

#endif
