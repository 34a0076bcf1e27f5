/*
 * http_body: the body that each reply to the same request has to have: that of the first reply.
 *
 * Its beginning is kept; of the rest, only the length and a sum. Replies may come on many
 * connections at a time, each in pieces: the connection that has the next byte of the beginning
 * adds it, and the first whole reply decides the length. Each sending process has one; the tallies
 * compare what several processes got. A connection has a struct http_sum for the body it reads.
 */
#ifndef BENCH_WEIRLOAD_HTTP_HTTP_BODY_H
#define BENCH_WEIRLOAD_HTTP_HTTP_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_BODY_PREFIX 65536

/* The sum of what follows the first HTTP_BODY_PREFIX bytes; zeroed when a body begins. */
struct http_sum {
	uint64_t sum;
	unsigned char part[8]; /* a word that is not whole yet */
};

struct http_body {
	size_t known; /* bytes of prefix */
	bool whole;   /* a first reply is whole: n and sum are its length and sum */
	uint64_t n, sum;
	unsigned char prefix[HTTP_BODY_PREFIX];
};

/* How many of n bytes are right, if the first of them is byte `offset` of a body. */
size_t http_body_match(struct http_body *body, struct http_sum *sum, uint64_t offset,
		       const unsigned char *bytes, size_t n);
/* A body has ended after n bytes, all of which matched. Whether its length and its sum are right;
 * those of the first body always are. */
bool http_body_end(struct http_body *body, const struct http_sum *sum, uint64_t n);
/* A number that tells this body, which is whole, from others. */
uint64_t http_body_print(const struct http_body *body);

#endif
