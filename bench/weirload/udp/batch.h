/*
 * batch: datagrams sent and received in few system calls.
 *
 * Messages of one call have the same size and lie one after the other. They leave as segments of
 * one long datagram, which the kernel cuts (UDP_SEGMENT), or, if it refuses that, by sendmmsg(2).
 * Many answers are read at a time, several of them as one if the kernel has joined them (UDP_GRO).
 * With --batch off each message and each answer takes a call of its own.
 *
 * Each sending process has one; its clients use it in turn: what was read is gone at the next
 * batch_receive(). Nothing here waits.
 */
#ifndef BENCH_WEIRLOAD_UDP_BATCH_H
#define BENCH_WEIRLOAD_UDP_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;

/* Makes a batch for messages of message_bytes each; NULL if there is no memory. */
struct batch *batch_make(uint32_t message_bytes, bool on);
/* To be called once for each socket. */
void batch_prepare(struct batch *batch, int fd);

/* How many messages may leave by one call, and the place of the ith of them. */
uint32_t batch_room(const struct batch *batch);
unsigned char *batch_message(struct batch *batch, uint32_t i);
/* Sends the first n messages. Returns how many have left, 1 or more, or -errno. */
int batch_send(struct batch *batch, int fd, uint32_t n);

/* Reads. Returns 0, and in *drained whether all that there was has been read; or -errno. */
int batch_receive(struct batch *batch, int fd, bool *drained);
/* The next of the datagrams that were read; false: there is none. */
bool batch_next(struct batch *batch, const unsigned char **bytes, size_t *n);

#endif
