/*
 * json: whether a text is JSON, strictly (RFC 8259). Numbers with an exponent are refused, because
 * weir writes none. What a document says is not looked at.
 */
#ifndef TESTS_SUPPORT_JSON_H
#define TESTS_SUPPORT_JSON_H

#include <ctype.h>
#include <stddef.h>
#include <string.h>

/* The end of the value that begins at `at`; NULL: there is no value. */
static inline const char *json_value(const char *at);

static inline const char *json_space(const char *at)
{
	return at + strspn(at, " \t\r\n");
}

static inline const char *json_string(const char *at)
{
	if (*at++ != '"')
		return NULL;
	for (; *at != '"'; at++) {
		if ((unsigned char)*at < 0x20)
			return NULL;
		if (*at != '\\')
			continue;
		at++;
		if (*at == 'u' && strspn(at + 1, "0123456789abcdefABCDEF") >= 4)
			at += 4;
		else if (!*at || !strchr("\"\\/bfnrt", *at))
			return NULL;
	}
	return at + 1;
}

static inline const char *json_number(const char *at)
{
	at += *at == '-';
	if (!isdigit((unsigned char)*at) || (*at == '0' && isdigit((unsigned char)at[1])))
		return NULL;
	at += strspn(at, "0123456789");
	if (*at != '.')
		return at;
	at++;
	return isdigit((unsigned char)*at) ? at + strspn(at, "0123456789") : NULL;
}

static inline const char *json_members(const char *at, char end)
{
	at = json_space(at + 1);
	if (*at == end)
		return at + 1;
	for (;;) {
		if (end == '}') {
			at = json_string(at);
			if (!at || *(at = json_space(at)) != ':')
				return NULL;
			at = json_space(at + 1);
		}
		at = json_value(at);
		if (!at)
			return NULL;
		at = json_space(at);
		if (*at == end)
			return at + 1;
		if (*at != ',')
			return NULL;
		at = json_space(at + 1);
	}
}

static inline const char *json_value(const char *at)
{
	static const char *const words[] = {"true", "false", "null"};

	for (int i = 0; i < 3; i++)
		if (strncmp(at, words[i], strlen(words[i])) == 0)
			return at + strlen(words[i]);
	if (*at == '{')
		return json_members(at, '}');
	if (*at == '[')
		return json_members(at, ']');
	return *at == '"' ? json_string(at) : json_number(at);
}

#endif
