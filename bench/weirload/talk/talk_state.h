/*
 * talk_state: what one talk is about, and how far it has come; used by the files of talk alone.
 *
 *     talk.c            connects, and chooses one of the next two
 *     talk_stream.c     a stream: what is sent, and what comes back
 *     talk_datagram.c   datagrams
 *     talk_output.c     stdout and stderr
 *
 * One for a process, zeroed but for its name, form and descriptor.
 */
#ifndef BENCH_WEIRLOAD_TALK_TALK_STATE_H
#define BENCH_WEIRLOAD_TALK_TALK_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/weirload/talk/byte_queue.h"

#define READ_BYTES     (16 * 1024)
#define FRAME_PREFIX   4
#define LINES_OWED_MAX 4096 /* of increment, unanswered */

enum form { FORM_BYTES, FORM_LINES, FORM_FRAMES, FORM_INCREMENT, FORM_SILENT, FORM_OTHER };

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

	struct byte_queue queue; /* to be sent; an open frame at its end must wait */
	struct byte_queue print; /* to stdout */
	size_t open_bytes;	 /* of the line that is not whole yet, as queued */
	bool line_open, active;	 /* active: increment would answer what comes now */
	uint64_t sent, received;

	unsigned char prefix[FRAME_PREFIX];
	size_t prefix_n, payload_left;
	bool greeted;
	struct owed owed[LINES_OWED_MAX];
	size_t owed_begin, owed_n;
};

#endif
