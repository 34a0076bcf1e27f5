/*
 * Warnings and errors that come again and again, as when each connection fails in the same
 * way. The first is written at once; if the same line comes within a second after it, it is
 * counted, and written with its count when the second is over. If more than LINES different lines
 * alternate, they are no longer held back, but none is lost.
 */
#include <string.h>

#include "reactor/base/log_parts.h"
#include "reactor/base/sys.h"

#define LINES	  16
#define SECOND_US 1000000

static struct repeat {
	uint64_t since_us; /* when it was written; 0: this entry is free */
	uint64_t count;
	enum log_level level;
	size_t n;
	char body[LOG_LINE_BYTES];
} lines[LINES];

bool log_holds_repeats;

static void look_what_is_held(void)
{
	log_holds_repeats = false;
	for (size_t i = 0; i < LINES; i++)
		log_holds_repeats |= lines[i].count != 0;
}

static void say(struct repeat *line, uint64_t now_us)
{
	uint64_t count = line->count;

	line->count = 0;
	line->since_us = now_us;
	log_say(line->level, line->body, line->n, count);
}

/* The entry of this line; if there is none, the one to reuse: it was written the longest ago. */
static struct repeat *place_of(enum log_level level, const char *body, size_t n, bool *found)
{
	struct repeat *oldest = lines;

	for (struct repeat *line = lines; line < lines + LINES; line++) {
		*found = line->since_us && line->level == level && line->n == n &&
			 memcmp(line->body, body, n) == 0;
		if (*found)
			return line;
		if (line->since_us < oldest->since_us)
			oldest = line;
	}
	return oldest;
}

bool log_repeats(enum log_level level, const char *body, size_t n, uint64_t *repeated)
{
	uint64_t now_us = sys_clock_us();
	bool found;
	struct repeat *line = place_of(level, body, n, &found);

	*repeated = 0;
	if (found && now_us - line->since_us < SECOND_US) {
		line->count++;
		log_holds_repeats = true;
		return true;
	}
	if (found) {
		*repeated = line->count;
	} else {
		if (line->count)
			say(line, now_us);
		line->level = level;
		line->n = n;
		memcpy(line->body, body, n);
	}
	line->since_us = now_us;
	line->count = 0;
	look_what_is_held();
	return false;
}

void log_tell_repeats(uint64_t now_us)
{
	for (struct repeat *line = lines; line < lines + LINES; line++)
		if (line->count && now_us - line->since_us >= SECOND_US)
			say(line, now_us);
	look_what_is_held();
}

int log_repeats_wait_ms(uint64_t now_us)
{
	uint64_t first_us = SECOND_US;

	for (struct repeat *line = lines; line < lines + LINES; line++) {
		uint64_t past_us = now_us - line->since_us;

		if (line->count && SECOND_US - past_us < first_us)
			first_us = past_us < SECOND_US ? SECOND_US - past_us : 0;
	}
	return (int)((first_us + 999) / 1000);
}

void log_repeats_forget(void)
{
	memset(lines, 0, sizeof lines);
	log_holds_repeats = false;
}
