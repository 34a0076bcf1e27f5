/*
 * batch: how questions leave, and answers come, in few system calls.
 *
 * The questions of a call are of one size and lie one behind the other. They leave as segments
 * of one long datagram, which the kernel cuts (UDP_SEGMENT), where it does that, else by
 * sendmmsg(2). Answers are read many at a time, and several of them as one where the kernel has
 * joined them (UDP_GRO). Turned off, each question and each answer is a call of its own.
 *
 * One for each sending process, whose queriers take turns with it: what was read is gone at
 * the next batch_receive(). Nothing here waits.
 */
#ifndef BENCH_WEIRLOAD_UDP_BATCH_H
#define BENCH_WEIRLOAD_UDP_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;

/* For questions of so many bytes; NULL where there is no memory. */
struct batch *batch_make(uint32_t question_bytes, bool on);
/* Once for each socket. */
void batch_prepare(struct batch *batch, int fd);

/* How many may leave by one call, and where the i-th of them is written. */
uint32_t batch_room(const struct batch *batch);
unsigned char *batch_question(struct batch *batch, uint32_t i);
/* Sends the first n: how many have gone, 1 or more, or -errno. */
int batch_send(struct batch *batch, int fd, uint32_t n);

/* Reads: 0, and whether all that there was has been read; or -errno. */
int batch_receive(struct batch *batch, int fd, bool *drained);
/* The next of the datagrams that were read; false: there is none. */
bool batch_next(struct batch *batch, const unsigned char **bytes, size_t *n);

#endif
