/*
 * batch: datagrams sent and received in few system calls.
 *
 * Messages of one call have one size and lie one after the other. They leave as segments of one
 * long datagram, which the kernel cuts (UDP_SEGMENT), or, if it refuses that, by sendmmsg(2).
 * Answers are read many at a time, and several of them as one if the kernel has joined them
 * (UDP_GRO). Turned off (--batch off), each message and each answer is a call of its own.
 *
 * One for each sending process; its clients use it in turn: what was read is gone at the next
 * batch_receive(). Nothing here waits.
 */
#ifndef BENCH_WEIRLOAD_UDP_BATCH_H
#define BENCH_WEIRLOAD_UDP_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;

/* For messages of so many bytes; NULL if there is no memory. */
struct batch *batch_make(uint32_t message_bytes, bool on);
/* Once for each socket. */
void batch_prepare(struct batch *batch, int fd);

/* How many may leave by one call, and the place of the ith of them. */
uint32_t batch_room(const struct batch *batch);
unsigned char *batch_message(struct batch *batch, uint32_t i);
/* Sends the first n: how many have gone, 1 or more, or -errno. */
int batch_send(struct batch *batch, int fd, uint32_t n);

/* Reads: 0, and whether all that there was has been read; or -errno. */
int batch_receive(struct batch *batch, int fd, bool *drained);
/* The next of the datagrams that were read; false: there is none. */
bool batch_next(struct batch *batch, const unsigned char **bytes, size_t *n);

#endif
