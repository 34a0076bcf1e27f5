#include "reactor/base/printable.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* How many bytes the UTF-8 character at text has; 0: there is none (RFC 3629). */
static size_t utf8_bytes(const unsigned char *c)
{
	size_t n = *c < 0x80		      ? 1
		   : *c >= 0xc2 && *c <= 0xdf ? 2
		   : *c >= 0xe0 && *c <= 0xef ? 3
		   : *c >= 0xf0 && *c <= 0xf4 ? 4
					      : 0;

	for (size_t i = 1; i < n; i++)
		if (c[i] >> 6 != 2)
			return 0;
	/* Overlong forms, surrogates, and what is above U+10FFFF. */
	if ((*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] > 0x9f) ||
	    (*c == 0xf0 && c[1] < 0x90) || (*c == 0xf4 && c[1] > 0x8f))
		return 0;
	return n;
}

/* Of n bytes; those of 4 are above U+FFFF. */
static uint32_t character(const unsigned char *c, size_t n)
{
	if (n == 2)
		return (uint32_t)(c[0] & 0x1f) << 6 | (c[1] & 0x3f);
	if (n == 3)
		return (uint32_t)(c[0] & 0xf) << 12 | (uint32_t)(c[1] & 0x3f) << 6 | (c[2] & 0x3f);
	return n == 1 ? c[0] : 0x10000;
}

static bool is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

/* Marks, embeddings, overrides and isolates of bidirectional text, and both separators. */
static bool misleads(uint32_t c)
{
	return c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069);
}

size_t printable_unit(char unit[PRINTABLE_UNIT_BYTES], const char *text)
{
	const unsigned char *bytes = (const unsigned char *)text;
	size_t n = utf8_bytes(bytes);
	uint32_t c = n ? character(bytes, n) : 0xfffd;

	if (!n || is_control(c) || misleads(c)) {
		(void)snprintf(unit, PRINTABLE_UNIT_BYTES, "\\u%04x", (unsigned)c & 0xffff);
		return n ? n : 1;
	}
	memcpy(unit, text, n);
	unit[n] = '\0';
	return n;
}

char *printable_text(char *to, size_t room, const char *text)
{
	char unit[PRINTABLE_UNIT_BYTES];
	size_t n = 0;

	while (*text) {
		text += printable_unit(unit, text);
		if (n + strlen(unit) >= room)
			break;
		memcpy(to + n, unit, strlen(unit));
		n += strlen(unit);
	}
	to[n] = '\0';
	return to;
}
