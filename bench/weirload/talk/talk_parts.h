/*
 * talk_parts: what the files of talk share, and nobody else may use.
 *
 *     talk.c            the beginning; streams: what is sent, and what comes back
 *     talk_datagram.c   datagrams
 */
#ifndef BENCH_WEIRLOAD_TALK_TALK_PARTS_H
#define BENCH_WEIRLOAD_TALK_TALK_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define READ_BYTES     (16 * 1024)
#define FRAME_PREFIX   4
#define LINES_OWED_MAX 4096 /* of increment, unanswered */

enum form { FORM_BYTES, FORM_LINES, FORM_FRAMES, FORM_INCREMENT, FORM_SILENT, FORM_OTHER };

struct bytes {
	unsigned char *at;
	size_t begin, end, room;
};

/* The reply that is awaited to a line of increment. */
struct owed {
	uint64_t bytes;
	bool whole; /* the line has been sent to its end */
};

struct talk {
	const char *name; /* of the listener, for what is said */
	enum form form;
	int fd;
	bool input_ended, shut, broken; /* stdin; our side; nothing can be sent any more */

	struct bytes queue;	/* to be sent, but for the bytes of an open frame at its end */
	struct bytes print;	/* to stdout */
	size_t open_bytes;	/* of the line that is not whole yet, as they stand in the queue */
	bool line_open, active; /* active: increment would answer what comes now */
	uint64_t sent, received;

	unsigned char prefix[FRAME_PREFIX];
	size_t prefix_n, payload_left;
	bool greeted;
	struct owed owed[LINES_OWED_MAX];
	size_t owed_begin, owed_n;
};

/* Says it on stderr; 1, the exit status. */
__attribute__((format(printf, 2, 3))) int talk_complain(const struct talk *talk, const char *format,
							...);
/* Writes what waits for stdout, all of it; false: it can't, and errno says why. */
bool talk_print_all(struct talk *talk);
/* Until each line was answered, or no answer comes any more; the exit status. */
int talk_datagrams(struct talk *talk);

/* ---- bytes that wait ---- */

size_t bytes_n(const struct bytes *bytes);
/* Where n more may be put: whoever does moves the end. */
unsigned char *bytes_room(struct bytes *bytes, size_t n);
void bytes_add(struct bytes *bytes, const void *from, size_t n);
void bytes_take(struct bytes *bytes, size_t n);

#endif
