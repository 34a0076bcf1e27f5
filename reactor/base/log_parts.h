/*
 * log_parts: what the files of log share, and nobody else may use.
 *
 *     log.c          the form of a line
 *     log_repeats.c  the same line, again and again
 *     log_sink.c     stderr, which nobody may be made to wait for
 */
#ifndef REACTOR_BASE_LOG_PARTS_H
#define REACTOR_BASE_LOG_PARTS_H

#include "reactor/base/log.h"

/* log.c: writes a line whose message and fields were composed. repeated: how often it had come
 * since it was written; 0: it had not. */
void log_say(enum log_level level, const char *body, size_t n, uint64_t repeated);

/* log_repeats.c: was it written less than a second ago? Then it is counted, and said later. Else
 * *repeated says how often it was counted before. */
bool log_repeats(enum log_level level, const char *body, size_t n, uint64_t *repeated);
void log_repeats_forget(void);

/* log_sink.c */
void log_sink_open(void);
int log_sink_descriptor(void);
/* All or nothing. False: nobody would read it now, and it is dropped. */
bool log_sink_write(const char *bytes, size_t n);

#endif
