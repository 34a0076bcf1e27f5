/*
 * chat_line: the form of a line of chat: what it says about itself, and how it is checked.
 *
 *     8 characters  its sender (18 bits), and which of the sender's lines it is (30 bits)
 *     8             when it was sent, in ns of CLOCK_MONOTONIC (48 bits, which is 78 hours)
 *     8             when it was due
 *     8 and more    a pattern, computed from all that stands before it
 *
 * A character carries 6 bits, '0' to 'o', so that a line is printable and no server has to
 * change it. A line that was altered, cut or mixed with another does not have the pattern that
 * follows from its beginning. So lines can be checked without keeping any, and no process needs to
 * know what another has sent.
 */
#ifndef BENCH_WEIRLOAD_CHAT_CHAT_LINE_H
#define BENCH_WEIRLOAD_CHAT_CHAT_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHAT_LINE_BYTES_MIN   32
#define CHAT_LINE_BYTES_MAX   65536
#define CHAT_LINE_SENDER_BITS 18
#define CHAT_LINE_NUMBER_BITS 30
#define CHAT_SENDER_MASK      ((1u << CHAT_LINE_SENDER_BITS) - 1)
#define CHAT_PROBER	      CHAT_SENDER_MASK /* the sender of lines that are not counted */
#define CHAT_SENDERS_MAX      (1 << 17)	       /* so that half of the numbers are used by no run */
#define CHAT_NUMBER_MAX	      ((1u << CHAT_LINE_NUMBER_BITS) - 1)

struct chat_line {
	uint32_t sender, number;
	uint64_t sent_ns, due_ns; /* the line carries the low 48 bits */
};

/* n, at least CHAT_LINE_BYTES_MIN, is the length of each line of a run, without its ending. */
void chat_line_write(unsigned char *bytes, size_t n, const struct chat_line *line);
/* False if any byte of it is wrong. */
bool chat_line_read(struct chat_line *line, const unsigned char *bytes, size_t n);
/* Reads only the sender and number of a line that is wrong: these may be wrong, too. */
bool chat_line_read_name(struct chat_line *line, const unsigned char *bytes);

/* How long it is from one time to another; either may have come in a line, with only 48 bits. */
static inline int64_t chat_line_span_ns(uint64_t from_ns, uint64_t to_ns)
{
	return (int64_t)((to_ns - from_ns) << 16) >> 16;
}

#endif
