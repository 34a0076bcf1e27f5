#include "reactor/base/log.h"

#include <stdio.h>

#include "reactor/base/log_parts.h"

void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t n)
{
	char body[LOG_LINE_BYTES];
	uint64_t repeated = 0;
	size_t bytes;

	if (!log_enabled(level))
		return;
	bytes = log_body(body, message, fields, n);
	if (level > LOG_WARN || !log_repeats(level, body, bytes, &repeated))
		log_say(level, body, bytes, repeated);
}

void log_open(enum log_level level, enum log_format format)
{
	log_state.level = level;
	log_state.format = format;
	log_sink_open();
}

/* A process of another name does not write the repetitions that its parent counted. */
void log_name(const char *name)
{
	log_repeats_forget();
	if (name)
		(void)snprintf(log_state.name, sizeof log_state.name, "%s", name);
}

int log_descriptor(void)
{
	return log_sink_descriptor();
}

bool log_enabled(enum log_level level)
{
	return level <= log_state.level;
}

uint64_t log_dropped(void)
{
	return log_state.dropped;
}
