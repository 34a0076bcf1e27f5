/*
 * talk_state: what one talk is about, and how far it has come; used only by the files of talk.
 *
 *     talk.c            connects, and chooses one of the next two
 *     talk_stream.c     a stream: what is sent, and what comes back
 *     talk_datagram.c   datagrams
 *     talk_output.c     stdout and stderr
 *
 * A process has one, zeroed except for its name, form and descriptor.
 */
#ifndef BENCH_WEIRLOAD_TALK_TALK_STATE_H
#define BENCH_WEIRLOAD_TALK_TALK_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/weirload/talk/byte_queue.h"

#define READ_BYTES     (16 * 1024)
#define FRAME_PREFIX   4
#define LINES_OWED_MAX 4096 /* unanswered lines of increment */

enum form { FORM_BYTES, FORM_LINES, FORM_FRAMES, FORM_INCREMENT, FORM_SILENT, FORM_OTHER };

/* The reply that a line of increment still has to get. */
struct owed {
	uint64_t bytes;
	bool whole; /* the line has been sent to its end */
};

struct talk {
	const char *name; /* the listener's, for messages */
	enum form form;
	int fd;
	/* stdin has ended; our side is shut; nothing can be sent any more. */
	bool input_ended, shut, broken;

	struct byte_queue queue; /* to be sent, except for a frame at its end that is open */
	struct byte_queue print; /* to be written to stdout */
	size_t open_bytes;	 /* queued bytes of a line that is not whole yet */
	bool line_open, active;	 /* active: increment would answer what comes now */
	uint64_t sent, received;

	unsigned char prefix[FRAME_PREFIX];
	size_t prefix_n, payload_left;
	bool greeted;
	struct owed owed[LINES_OWED_MAX];
	size_t owed_begin, owed_n;
};

#endif
