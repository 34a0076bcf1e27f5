#include "master/weirctl/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/base/check.h"
#include "reactor/base/utf8.h"

#define WORD "abcdefghijklmnopqrstuvwxyz0123456789_"

static void *must(void *memory)
{
	if (!memory)
		die("memory: %s", strerror(errno));
	return memory;
}

/* The value of four hex digits; -1: they are none. */
static int hex4(const char *at)
{
	int value = 0;

	for (int i = 0; i < 4; i++) {
		const char *digit = at[i] ? strchr("0123456789abcdef", at[i]) : NULL;

		if (!digit)
			return -1;
		value = value * 16 + (int)(digit - "0123456789abcdef");
	}
	return value;
}

/* Takes the quotes and escapes away, in place: what is left is never longer. Returns what is behind
 * the end quote; NULL: it is malformed. */
static char *take_quoted(char *at)
{
	char *to = at++;

	while (*at != '"') {
		int character;

		if (!*at)
			return NULL;
		if (*at != '\\') {
			*to++ = *at++;
		} else if (at[1] == '"' || at[1] == '\\') {
			*to++ = at[1];
			at += 2;
		} else if (at[1] == 'u' && (character = hex4(at + 2)) > 0) {
			to += utf8_encode(to, (uint32_t)character);
			at += 6;
		} else {
			return NULL;
		}
	}
	*to = '\0';
	return at + 1;
}

static bool take_number(const char *text, struct log_field *field)
{
	char *end;

	if (!text[strspn(text, "-0123456789")]) {
		errno = 0;
		field->number = strtoll(text, &end, 10);
		return !errno && !*end && end != text;
	}
	field->text = text;
	return true;
}

/* Reads key=value. Returns what is behind it and the space after it; NULL: it is malformed. */
static char *take_field(char *at, struct log_field *field, bool *ended)
{
	size_t n = strspn(at, WORD);
	char *value = at + n + 1, *end;

	if (!n || at[n] != '=')
		return NULL;
	at[n] = '\0';
	*field = (struct log_field){.key = at};
	if (*value == '"') {
		field->text = value;
		end = take_quoted(value);
		if (!end || (*end && *end != ' '))
			return NULL;
		*ended = !*end;
		return end + 1;
	}
	end = value + strcspn(value, " \"=\\");
	if (end == value || (*end && *end != ' '))
		return NULL;
	*ended = !*end;
	*end = '\0';
	return take_number(value, field) ? end + 1 : NULL;
}

static bool take_record(struct answer_record *record, char *line)
{
	struct log_field fields[ANSWER_FIELDS_MAX];
	size_t n = strspn(line, WORD);
	bool ended = !line[n];
	char *at = line + n + 1;

	if (!n || (line[n] && line[n] != ' '))
		return false;
	line[n] = '\0';
	*record = (struct answer_record){.kind = line, .line = line};
	while (!ended) {
		if (record->fields_n == ANSWER_FIELDS_MAX)
			return false;
		at = take_field(at, &fields[record->fields_n++], &ended);
		if (!at)
			return false;
	}
	n = record->fields_n * sizeof *fields;
	record->fields = memcpy(must(malloc(n + 1)), fields, n);
	return true;
}

const struct answer_record *answer_line(struct answer *answer, const char *line)
{
	struct answer_record record;
	char *copy = must(strdup(line));

	if (!take_record(&record, copy)) {
		free(copy);
		return NULL;
	}
	answer->records = must(realloc(answer->records, (answer->n + 1) * sizeof *answer->records));
	answer->records[answer->n] = record;
	return &answer->records[answer->n++];
}

const struct answer_record *answer_first(const struct answer *answer, const char *kind)
{
	for (size_t i = 0; i < answer->n; i++)
		if (strcmp(answer->records[i].kind, kind) == 0)
			return &answer->records[i];
	return NULL;
}

void answer_clear(struct answer *answer)
{
	for (size_t i = 0; i < answer->n; i++) {
		free(answer->records[i].line);
		free(answer->records[i].fields);
	}
	free(answer->records);
	*answer = (struct answer){0};
}

const struct log_field *answer_field(const struct answer_record *record, const char *key)
{
	for (size_t i = 0; i < record->fields_n; i++)
		if (strcmp(record->fields[i].key, key) == 0)
			return &record->fields[i];
	return NULL;
}
