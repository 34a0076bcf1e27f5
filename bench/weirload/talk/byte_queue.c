#include "bench/weirload/talk/byte_queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t byte_queue_n(const struct byte_queue *queue)
{
	return queue->end - queue->begin;
}

unsigned char *byte_queue_room(struct byte_queue *queue, size_t n)
{
	if (queue->room - queue->end < n && queue->begin) {
		memmove(queue->at, queue->at + queue->begin, byte_queue_n(queue));
		queue->end -= queue->begin;
		queue->begin = 0;
	}
	if (queue->room - queue->end < n) {
		size_t room = (queue->end + n) * 2;
		unsigned char *moved = realloc(queue->at, room);

		if (!moved) {
			(void)fprintf(stderr, "weirload: no memory for %zu bytes\n", room);
			exit(1);
		}
		queue->at = moved;
		queue->room = room;
	}
	return queue->at + queue->end;
}

void byte_queue_add(struct byte_queue *queue, const void *from, size_t n)
{
	if (n)
		memcpy(byte_queue_room(queue, n), from, n);
	queue->end += n;
}

void byte_queue_take(struct byte_queue *queue, size_t n)
{
	queue->begin += n;
	if (queue->begin == queue->end)
		queue->begin = queue->end = 0;
}
