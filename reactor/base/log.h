/*
 * log: one line an event, on stderr, as logfmt or JSON.
 *
 * A line is one write of at most LOG_LINE_BYTES, so that lines of several processes never
 * mix. Writing never blocks: if stderr is a pipe that nobody reads, the line is dropped
 * and counted, and the next line that gets through says how many were. A warning or an error
 * that comes again within a second is counted, and written once more with that count (repeated):
 * a thousand connections that fail alike make two lines. Every line names its process
 * (log_name). Fields are given as LOG_TEXT(key, value) and
 * LOG_NUMBER(key, value); keys are plain words, values may hold anything.
 */
#ifndef REACTOR_BASE_LOG_H
#define REACTOR_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_BYTES 2048 /* below PIPE_BUF */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_LOGFMT, LOG_JSON };

struct log_field {
	const char *key;
	const char *text; /* NULL: number holds the value */
	int64_t number;
};

/* Before this call, lines go out as logfmt at level info. Makes a non-blocking copy of
 * stderr if it can; reopening it later, or in a child, is not needed. */
void log_open(enum log_level level, enum log_format format);
/* NULL: the name stays. Repeated lines that wait to be told are forgotten: after a fork, the parent
 * tells of them. */
void log_name(const char *name);
int log_descriptor(void);
bool log_enabled(enum log_level level);
uint64_t log_dropped(void);

/* A line with n fields; usually called by the macros below. */
void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t n);

/* Writes only the fields, as a line of the log has them, without a newline, and returns how many
 * bytes that is. For whatever else is written in the log's form. */
size_t log_compose(char text[LOG_LINE_BYTES], enum log_format format,
		   const struct log_field *fields, size_t n);

/* Are repetitions counted that are not written yet? Then the loop must wake up to write them. */
extern bool log_holds_repeats __attribute__((visibility("hidden")));
void log_tell_repeats(uint64_t now_us);	  /* writes those whose second is over */
int log_repeats_wait_ms(uint64_t now_us); /* until the next second is */

#define LOG_TEXT(key, text)	((struct log_field){(key), (text), 0})
#define LOG_NUMBER(key, number) ((struct log_field){(key), NULL, (int64_t)(number)})

/* The empty first field is there so that none need follow it. */
#define LOG_LINE(level, message, ...)                                                              \
	do {                                                                                       \
		const struct log_field log_fields_[] = {{0}, ##__VA_ARGS__};                       \
		log_write((level), (message), log_fields_ + 1,                                     \
			  sizeof log_fields_ / sizeof *log_fields_ - 1);                           \
	} while (0)

#define log_error(message, ...) LOG_LINE(LOG_ERROR, message, ##__VA_ARGS__)
#define log_warn(message, ...)	LOG_LINE(LOG_WARN, message, ##__VA_ARGS__)
#define log_info(message, ...)	LOG_LINE(LOG_INFO, message, ##__VA_ARGS__)
#define log_debug(message, ...) LOG_LINE(LOG_DEBUG, message, ##__VA_ARGS__)

#endif
