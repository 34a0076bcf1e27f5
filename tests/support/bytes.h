/*
 * bytes: a buffer that grows at its end, and from whose beginning bytes are taken.
 *
 * It owns `at`, which its user frees in the end.
 */
#ifndef TESTS_SUPPORT_BYTES_H
#define TESTS_SUPPORT_BYTES_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct bytes {
	unsigned char *at;
	size_t start, n, room;
};

static inline void bytes_add(struct bytes *bytes, const void *from, size_t n)
{
	if (!n)
		return;
	if (bytes->start + bytes->n + n > bytes->room) {
		unsigned char *at = malloc(2 * (bytes->n + n));

		if (!at)
			abort();
		if (bytes->n)
			memcpy(at, bytes->at + bytes->start, bytes->n);
		free(bytes->at);
		*bytes = (struct bytes){at, 0, bytes->n, 2 * (bytes->n + n)};
	}
	memcpy(bytes->at + bytes->start + bytes->n, from, n);
	bytes->n += n;
}

/* Takes up to n bytes. Returns how many there were; `to` may be NULL. */
static inline size_t bytes_take(struct bytes *bytes, void *to, size_t n)
{
	if (n > bytes->n)
		n = bytes->n;
	if (to && n)
		memcpy(to, bytes->at + bytes->start, n);
	bytes->start += n;
	bytes->n -= n;
	if (!bytes->n)
		bytes->start = 0;
	return n;
}

#endif
