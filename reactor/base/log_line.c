/* Composes lines, and hands them to the sink. */
#include "reactor/base/log_parts.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "reactor/base/printable.h"

struct log_state log_state = {.level = LOG_INFO, .name = "weir"};

static const char *const log_level_names[] = {"error", "warn", "info", "debug"};

struct line {
	char bytes[LOG_LINE_BYTES];
	size_t n;
};

/* What does not fit is cut; room for the line's end is always kept. */
#define LINE_ROOM  (LOG_LINE_BYTES - 8)
#define HEAD_ROOM  384 /* the time, the level, a name of 31 bytes, escaped, and two numbers */
#define FIELD_ROOM 32  /* a number, or an empty text, and what stands around it */

static void line_char(struct line *l, char c)
{
	if (l->n < LINE_ROOM)
		l->bytes[l->n++] = c;
}

static void line_text(struct line *l, const char *text)
{
	while (*text)
		line_char(l, *text++);
}

/* If there is no room for all, it is cut between characters; the closing quote always stands. */
static void line_quoted(struct line *l, const char *text)
{
	line_char(l, '"');
	while (*text) {
		char unit[PRINTABLE_UNIT_BYTES] = {'\\', *text};
		size_t n = 1;

		if (*text != '"' && *text != '\\')
			n = printable_unit(unit, text);
		if (l->n + strlen(unit) >= LINE_ROOM)
			break;
		line_text(l, unit);
		text += n;
	}
	line_char(l, '"');
}

/* logfmt needs quotes only if a reader could misread the text, or take it for a number. */
static bool text_is_plain(const char *text)
{
	if (!text[strspn(text, "-0123456789")])
		return false;
	while (*text) {
		char unit[PRINTABLE_UNIT_BYTES];

		if (*text == ' ' || *text == '"' || *text == '=' || *text == '\\')
			return false;
		text += printable_unit(unit, text);
		if (*unit == '\\')
			return false;
	}
	return true;
}

static void line_field(struct line *l, bool json, const struct log_field *field)
{
	if (l->n + strlen(field->key) + FIELD_ROOM > LINE_ROOM)
		return;
	if (json) {
		if (l->n > 1)
			line_char(l, ',');
		line_quoted(l, field->key);
		line_char(l, ':');
	} else {
		if (l->n)
			line_char(l, ' ');
		line_text(l, field->key);
		line_char(l, '=');
	}
	if (!field->text) {
		char number[24];
		(void)snprintf(number, sizeof number, "%lld", (long long)field->number);
		line_text(l, number);
	} else if (!json && text_is_plain(field->text)) {
		line_text(l, field->text);
	} else {
		line_quoted(l, field->text);
	}
}

size_t log_compose(char text[LOG_LINE_BYTES], enum log_format format,
		   const struct log_field *fields, size_t n)
{
	bool json = format == LOG_JSON;
	struct line l = {.n = 0};

	if (json)
		line_char(&l, '{');
	for (size_t i = 0; i < n; i++)
		line_field(&l, json, &fields[i]);
	if (json)
		l.bytes[l.n++] = '}';
	memcpy(text, l.bytes, l.n);
	text[l.n] = '\0';
	return l.n;
}

size_t log_body(char body[LOG_LINE_BYTES], const char *message, const struct log_field *fields,
		size_t n)
{
	bool json = log_state.format == LOG_JSON;
	struct line l = {.n = HEAD_ROOM};

	line_field(&l, json, &LOG_TEXT("msg", message));
	for (size_t i = 0; i < n; i++)
		line_field(&l, json, &fields[i]);
	memcpy(body, l.bytes + HEAD_ROOM, l.n - HEAD_ROOM);
	return l.n - HEAD_ROOM;
}

void log_say(enum log_level level, const char *body, size_t n, uint64_t repeated)
{
	bool json = log_state.format == LOG_JSON;
	struct line l = {.n = 0};
	struct timespec now;
	struct tm utc;
	char stamp[48];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &utc);
	size_t at = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
	(void)snprintf(stamp + at, sizeof stamp - at, ".%03ldZ", now.tv_nsec / 1000000);

	if (json)
		line_char(&l, '{');
	line_field(&l, json, &LOG_TEXT("time", stamp));
	line_field(&l, json, &LOG_TEXT("level", log_level_names[level]));
	line_field(&l, json, &LOG_TEXT("process", log_state.name));
	if (log_state.dropped != log_state.dropped_told) {
		line_field(&l, json, &LOG_NUMBER("dropped_lines", log_state.dropped));
		log_state.dropped_told = log_state.dropped;
	}
	if (repeated)
		line_field(&l, json, &LOG_NUMBER("repeated", repeated));
	memcpy(l.bytes + l.n, body, n);
	l.n += n;
	if (json)
		l.bytes[l.n++] = '}';
	l.bytes[l.n++] = '\n';
	if (!log_sink_write(l.bytes, l.n))
		log_state.dropped++;
}
