/*
 * byte_queue: bytes that wait to be sent or printed, in one piece of memory that grows.
 *
 * A zeroed one is empty. Its owner frees `at`. If there is no memory the process ends.
 */
#ifndef BENCH_WEIRLOAD_TALK_BYTE_QUEUE_H
#define BENCH_WEIRLOAD_TALK_BYTE_QUEUE_H

#include <stddef.h>

struct byte_queue {
	unsigned char *at;
	size_t begin, end, room;
};

/* How many bytes wait. */
size_t byte_queue_n(const struct byte_queue *queue);
/* Room for n more bytes; the caller writes them there, and moves `end`. */
unsigned char *byte_queue_room(struct byte_queue *queue, size_t n);
void byte_queue_add(struct byte_queue *queue, const void *from, size_t n);
/* Removes the first n bytes. */
void byte_queue_take(struct byte_queue *queue, size_t n);

#endif
