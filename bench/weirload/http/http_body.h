/*
 * http_body: the body that each reply to the same request has to have: that of the first one.
 *
 * Its beginning is kept; of the rest, its length and a sum. Replies may come on many connections at
 * a time, each in pieces: the connection that has the next byte of the beginning adds it, and the
 * first reply that is whole gives the length. One for each sending process; what several processes
 * have got is compared by their tallies. A connection has a struct http_sum for the body it reads.
 */
#ifndef BENCH_WEIRLOAD_HTTP_HTTP_BODY_H
#define BENCH_WEIRLOAD_HTTP_HTTP_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_BODY_PREFIX 65536

/* Of what follows the beginning; zeroed when a body begins. */
struct http_sum {
	uint64_t sum;
	unsigned char part[8]; /* a word that is not whole yet */
};

struct http_body {
	size_t known; /* bytes of prefix */
	bool whole;   /* one has come to its end: */
	uint64_t n, sum;
	unsigned char prefix[HTTP_BODY_PREFIX];
};

/* How many of n bytes are right, as bytes of a body from byte `offset` on. */
size_t http_body_match(struct http_body *body, struct http_sum *sum, uint64_t offset,
		       const unsigned char *bytes, size_t n);
/* A body has ended after n bytes, all of which matched. Whether its length and its sum are right;
 * those of the first body always are. */
bool http_body_end(struct http_body *body, const struct http_sum *sum, uint64_t n);
/* Of a body that is whole: a number that tells it from others. */
uint64_t http_body_print(const struct http_body *body);

#endif
