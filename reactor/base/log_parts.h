/*
 * log_parts: what the files of log share, and nobody else may use.
 *
 *     log_sink.c     stderr, which nobody may be made to wait for
 *     log_line.c     the form of a line
 *     log_repeats.c  the same line, again and again
 *     log.c          what is logged at all, and by whom
 *
 * A file calls only those above it in this list.
 */
#ifndef REACTOR_BASE_LOG_PARTS_H
#define REACTOR_BASE_LOG_PARTS_H

#include "reactor/base/log.h"

/* Of this process. */
extern struct log_state {
	enum log_level level;
	enum log_format format;
	uint64_t dropped, dropped_told;
	char name[32];
} log_state;

/* log_line.c: composes the message and the fields, without what stands before them in a line, and
 * returns how many bytes that is. Leaves room for the rest of the line. */
size_t log_body(char body[LOG_LINE_BYTES], const char *message, const struct log_field *fields,
		size_t n);
/* Writes a line with this body. repeated: how often it has come since it was last written, if
 * that is above 0. */
void log_say(enum log_level level, const char *body, size_t n, uint64_t repeated);

/* log_repeats.c: was the same line written less than a second ago? Then it is counted, and the
 * count is written later. If not, *repeated says how often it was counted before. */
bool log_repeats(enum log_level level, const char *body, size_t n, uint64_t *repeated);
void log_repeats_forget(void);

/* log_sink.c */
void log_sink_open(void);
int log_sink_descriptor(void);
/* False: it is dropped, because it could not be written whole without waiting. If a part of it was
 * written, the next line begins with a newline. */
bool log_sink_write(const char *bytes, size_t n);

#endif
